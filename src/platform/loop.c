/* loop.c — the event loop on libuv.
 *
 * Ownership: every watcher is one heap block with its uv handle first; uv_close keeps the block
 * alive until libuv has let go of it, so a _free is fine at any time, inside a callback too.
 * Every loop_later, loop_post and done of loop_work runs exactly once, at the latest in loop_free,
 * so that what their arg owns is never lost. Watchers that are left at loop_free are closed
 * without a callback. */
#include "platform/loop.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
#include <uv.h>

#include "base/mem.h"

#define LATER_ROUNDS 64 /* chains of loop_later that run in one turn before I/O gets its say */

struct task {
    loop_fn *fn;
    void *arg;
    struct task *next;
};

struct queue {
    struct task *head;
    struct task **tail;
};

struct loop {
    uv_loop_t uv;
    uv_prepare_t prepare;
    uv_check_t check;
    uv_idle_t idle; /* active while later is not empty: the poll must not sleep */
    uv_async_t wake;
    struct queue later;
    pthread_mutex_t posted_lock;
    struct queue posted; /* under posted_lock */
    struct loop_hook *hooks;
    bool running;
    bool quit;
    bool in_hooks;
};

struct loop_hook {
    struct loop *loop;
    loop_fn *fn; /* NULL: freed, waits to be swept */
    void *arg;
    struct loop_hook *next;
};

struct loop_timer {
    uv_timer_t uv;
    struct loop *loop;
    loop_fn *fn;
    void *arg;
};

struct loop_io {
    uv_poll_t uv;
    loop_io_fn *fn;
    void *arg;
    int want;
};

struct loop_signal {
    uv_signal_t uv;
    loop_fn *fn;
    void *arg;
};

struct loop_child {
    uv_process_t uv;
    loop_child_fn *fn; /* NULL: nobody watches any more */
    void *arg;
    pid_t pid; /* 0 after the end */
};

struct work {
    uv_work_t uv;
    loop_fn *work;
    loop_fn *done;
    void *arg;
};

static void queue_add(struct queue *q, loop_fn *fn, void *arg)
{
    struct task *t = mem_new(sizeof *t);
    t->fn = fn;
    t->arg = arg;
    if (!q->tail)
        q->tail = &q->head;
    *q->tail = t;
    q->tail = &t->next;
}

static struct task *queue_take(struct queue *q)
{
    struct task *t = q->head;
    *q = (struct queue){0};
    return t;
}

static void tasks_run(struct task *t)
{
    while (t) {
        struct task *next = t->next;
        t->fn(t->arg);
        free(t);
        t = next;
    }
}

static void hooks_sweep(struct loop *loop)
{
    for (struct loop_hook **p = &loop->hooks; *p;) {
        struct loop_hook *h = *p;
        if (h->fn) {
            p = &h->next;
        } else {
            *p = h->next;
            free(h);
        }
    }
}

static void turn_end(struct loop *loop)
{
    for (int i = 0; loop->later.head && i < LATER_ROUNDS; i++)
        tasks_run(queue_take(&loop->later));
    if (!loop->later.head)
        uv_idle_stop(&loop->idle);
    loop->in_hooks = true;
    for (struct loop_hook *h = loop->hooks; h; h = h->next)
        if (h->fn)
            h->fn(h->arg);
    loop->in_hooks = false;
    hooks_sweep(loop);
}

/* Timers run before the poll, I/O after it: each of the two is followed by a turn's end. */
static void on_prepare(uv_prepare_t *h)
{
    turn_end(h->data);
}

static void on_check(uv_check_t *h)
{
    turn_end(h->data);
}

static void on_idle(uv_idle_t *h)
{
    (void)h;
}

static struct task *posted_take(struct loop *loop)
{
    pthread_mutex_lock(&loop->posted_lock);
    struct task *t = queue_take(&loop->posted);
    pthread_mutex_unlock(&loop->posted_lock);
    return t;
}

static void on_wake(uv_async_t *h)
{
    tasks_run(posted_take(h->data));
}

static void must(int rc, const char *what)
{
    if (rc == 0)
        return;
    fprintf(stderr, "%s: %s\n", what, uv_strerror(rc));
    abort();
}

struct loop *loop_new(void)
{
    struct loop *loop = mem_new(sizeof *loop);
    const struct sigaction ignore = {.sa_handler = SIG_IGN};

    /* A peer that hangs up while we write is an error of that write, not the program's end. */
    (void)sigaction(SIGPIPE, &ignore, NULL);
    must(uv_loop_init(&loop->uv), "uv_loop_init");
    must(uv_prepare_init(&loop->uv, &loop->prepare), "uv_prepare_init");
    must(uv_check_init(&loop->uv, &loop->check), "uv_check_init");
    must(uv_idle_init(&loop->uv, &loop->idle), "uv_idle_init");
    must(uv_async_init(&loop->uv, &loop->wake, on_wake), "uv_async_init");
    loop->prepare.data = loop->check.data = loop->wake.data = loop;
    must(uv_prepare_start(&loop->prepare, on_prepare), "uv_prepare_start");
    must(uv_check_start(&loop->check, on_check), "uv_check_start");
    uv_unref((uv_handle_t *)&loop->prepare);
    uv_unref((uv_handle_t *)&loop->check);
    uv_unref((uv_handle_t *)&loop->wake);
    pthread_mutex_init(&loop->posted_lock, NULL);
    return loop;
}

static void on_close_block(uv_handle_t *h)
{
    free(h);
}

static bool is_own_handle(const struct loop *loop, const uv_handle_t *h)
{
    const char *p = (const char *)h;
    const char *from = (const char *)loop;
    return p >= from && p < from + sizeof *loop;
}

/* Nothing of it calls back any more, but its owner may still free it. */
static void silence(uv_handle_t *h, void *arg)
{
    if (uv_is_closing(h) || is_own_handle(arg, h))
        return;
    if (h->type == UV_TIMER)
        uv_timer_stop((uv_timer_t *)h);
    else if (h->type == UV_POLL)
        uv_poll_stop((uv_poll_t *)h);
    else if (h->type == UV_SIGNAL)
        uv_signal_stop((uv_signal_t *)h);
    else if (h->type == UV_PROCESS)
        uv_unref(h);
}

static void close_rest(uv_handle_t *h, void *arg)
{
    if (!uv_is_closing(h))
        uv_close(h, is_own_handle(arg, h) ? NULL : on_close_block);
}

void loop_free(struct loop *loop)
{
    if (!loop)
        return;
    for (struct loop_hook *h = loop->hooks; h; h = h->next)
        h->fn = NULL;
    /* What is queued may queue more; helper threads are waited for by uv_run. */
    for (;;) {
        uv_walk(&loop->uv, silence, loop);
        uv_run(&loop->uv, UV_RUN_DEFAULT);
        struct task *t = posted_take(loop);
        if (!t && !uv_loop_alive(&loop->uv))
            break;
        tasks_run(t);
    }
    uv_walk(&loop->uv, close_rest, loop);
    uv_run(&loop->uv, UV_RUN_DEFAULT);
    hooks_sweep(loop);
    must(uv_loop_close(&loop->uv), "uv_loop_close");
    pthread_mutex_destroy(&loop->posted_lock);
    free(loop);
}

void loop_run(struct loop *loop)
{
    loop->running = true;
    while (!loop->quit) {
        uv_run(&loop->uv, UV_RUN_DEFAULT);
        struct task *t = loop->quit ? NULL : posted_take(loop);
        if (!t && !uv_loop_alive(&loop->uv))
            break;
        tasks_run(t);
    }
    loop->quit = false;
    loop->running = false;
}

void loop_quit(struct loop *loop)
{
    loop->quit = true;
    uv_stop(&loop->uv);
}

/* libuv's cached time is of the last turn; between runs it may be long ago. */
static uint64_t fresh_now(struct loop *loop)
{
    if (!loop->running)
        uv_update_time(&loop->uv);
    return uv_now(&loop->uv);
}

int64_t loop_now_ms(const struct loop *loop)
{
    return (int64_t)fresh_now((struct loop *)loop);
}

void loop_later(struct loop *loop, loop_fn *fn, void *arg)
{
    if (!loop->later.head)
        uv_idle_start(&loop->idle, on_idle);
    queue_add(&loop->later, fn, arg);
}

void loop_post(struct loop *loop, loop_fn *fn, void *arg)
{
    pthread_mutex_lock(&loop->posted_lock);
    queue_add(&loop->posted, fn, arg);
    uv_async_send(&loop->wake);
    pthread_mutex_unlock(&loop->posted_lock);
}

static void on_work(uv_work_t *req)
{
    struct work *w = (struct work *)req;
    w->work(w->arg);
}

static void on_work_done(uv_work_t *req, int status)
{
    (void)status;
    struct work *w = (struct work *)req;
    loop_fn *done = w->done;
    void *arg = w->arg;
    free(w);
    if (done)
        done(arg);
}

void loop_work(struct loop *loop, loop_fn *work, loop_fn *done, void *arg)
{
    struct work *w = mem_new(sizeof *w);
    w->work = work;
    w->done = done;
    w->arg = arg;
    must(uv_queue_work(&loop->uv, &w->uv, on_work, on_work_done), "uv_queue_work");
}

struct loop_hook *loop_hook_new(struct loop *loop, loop_fn *fn, void *arg)
{
    struct loop_hook *h = mem_new(sizeof *h);
    *h = (struct loop_hook){.loop = loop, .fn = fn, .arg = arg};
    struct loop_hook **p = &loop->hooks;
    while (*p)
        p = &(*p)->next;
    *p = h;
    return h;
}

void loop_hook_free(struct loop_hook *h)
{
    if (!h)
        return;
    h->fn = NULL;
    if (!h->loop->in_hooks)
        hooks_sweep(h->loop);
}

static void on_timer(uv_timer_t *uv)
{
    struct loop_timer *t = (struct loop_timer *)uv;
    t->fn(t->arg);
}

struct loop_timer *loop_timer_new(struct loop *loop, loop_fn *fn, void *arg)
{
    struct loop_timer *t = mem_new(sizeof *t);
    t->loop = loop;
    t->fn = fn;
    t->arg = arg;
    must(uv_timer_init(&loop->uv, &t->uv), "uv_timer_init");
    return t;
}

void loop_timer_at(struct loop_timer *t, int64_t when_ms)
{
    if (when_ms == INT64_MAX) {
        uv_timer_stop(&t->uv);
        return;
    }
    int64_t now = (int64_t)fresh_now(t->loop);
    must(uv_timer_start(&t->uv, on_timer, when_ms > now ? (uint64_t)(when_ms - now) : 0, 0),
         "uv_timer_start");
}

void loop_timer_in(struct loop_timer *t, int64_t delay_ms)
{
    int64_t now = (int64_t)fresh_now(t->loop);
    loop_timer_at(t, delay_ms >= INT64_MAX - now ? INT64_MAX : now + delay_ms);
}

void loop_timer_free(struct loop_timer *t)
{
    if (t)
        uv_close((uv_handle_t *)&t->uv, on_close_block);
}

static void on_poll(uv_poll_t *uv, int status, int events);

static void poll_set(struct loop_io *io)
{
    if (!io->want) {
        uv_poll_stop(&io->uv);
        return;
    }
    int events =
        (io->want & LOOP_READ ? UV_READABLE : 0) | (io->want & LOOP_WRITE ? UV_WRITABLE : 0);
    must(uv_poll_start(&io->uv, events, on_poll), "uv_poll_start");
}

static void on_poll(uv_poll_t *uv, int status, int events)
{
    struct loop_io *io = (struct loop_io *)uv;
    int got = (events & UV_READABLE ? LOOP_READ : 0) | (events & UV_WRITABLE ? LOOP_WRITE : 0);
    if (status < 0)
        got = LOOP_READ | LOOP_WRITE;
    io->fn(got, io->arg);
    /* libuv stops a watcher that has seen an error; ours stays level-triggered. */
    if (status < 0 && !uv_is_closing((uv_handle_t *)uv))
        poll_set(io);
}

struct loop_io *loop_io_new(struct loop *loop, int fd, loop_io_fn *fn, void *arg)
{
    struct loop_io *io = mem_new(sizeof *io);
    io->fn = fn;
    io->arg = arg;
    must(uv_poll_init(&loop->uv, &io->uv, fd), "uv_poll_init");
    return io;
}

void loop_io_want(struct loop_io *io, int events)
{
    if (io->want == events)
        return;
    io->want = events;
    poll_set(io);
}

void loop_io_free(struct loop_io *io)
{
    if (io)
        uv_close((uv_handle_t *)&io->uv, on_close_block);
}

static void on_signal(uv_signal_t *uv, int signum)
{
    (void)signum;
    struct loop_signal *s = (struct loop_signal *)uv;
    s->fn(s->arg);
}

struct loop_signal *loop_signal_new(struct loop *loop, int signum, loop_fn *fn, void *arg)
{
    struct loop_signal *s = mem_new(sizeof *s);
    s->fn = fn;
    s->arg = arg;
    must(uv_signal_init(&loop->uv, &s->uv), "uv_signal_init");
    must(uv_signal_start(&s->uv, on_signal, signum), "uv_signal_start");
    return s;
}

void loop_signal_free(struct loop_signal *s)
{
    if (s)
        uv_close((uv_handle_t *)&s->uv, on_close_block);
}

static void on_exit_child(uv_process_t *uv, int64_t exit_status, int term_signal)
{
    struct loop_child *c = (struct loop_child *)uv;
    c->pid = 0;
    if (c->fn)
        c->fn((int)exit_status, term_signal, c->arg);
    else if (!uv_is_closing((uv_handle_t *)uv))
        uv_close((uv_handle_t *)uv, on_close_block);
}

/* Every descriptor above 2 closes on exec; libuv clears the flag again on those it hands on. */
static void mark_cloexec(void)
{
    if (close_range(3, ~0U, CLOSE_RANGE_CLOEXEC) == 0)
        return;
    DIR *dir = opendir("/proc/self/fd");
    if (!dir)
        return;
    for (const struct dirent *e; (e = readdir(dir));) {
        char *end;
        long fd = strtol(e->d_name, &end, 10);
        if (*end == '\0' && end != e->d_name && fd > 2 && fd < INT_MAX)
            (void)fcntl((int)fd, F_SETFD, FD_CLOEXEC);
    }
    closedir(dir);
}

enum err_code loop_child_spawn(struct loop *loop, const struct loop_spawn *spawn, loop_child_fn *fn,
                               void *arg, struct loop_child **ret, struct err *err)
{
    size_t count = spawn->fd_count < 3 ? 3 : spawn->fd_count;
    uv_stdio_container_t *stdio = mem_array(count, sizeof *stdio);
    for (size_t i = 0; i < count; i++) {
        int fd = i < spawn->fd_count ? spawn->fd_map[i] : -1;
        stdio[i].flags = fd < 0 ? UV_IGNORE : UV_INHERIT_FD;
        if (fd >= 0)
            stdio[i].data.fd = fd;
    }
    struct loop_child *c = mem_new(sizeof *c);
    c->fn = fn;
    c->arg = arg;
    uv_process_options_t o = {
        .exit_cb = on_exit_child,
        .file = spawn->argv[0],
        .args = (char **)(uintptr_t)spawn->argv,
        .env = (char **)(uintptr_t)spawn->envp,
        .cwd = spawn->cwd,
        .flags = spawn->new_session ? UV_PROCESS_DETACHED : 0,
        .stdio_count = (int)count,
        .stdio = stdio,
    };
    mark_cloexec();
    int rc = uv_spawn(&loop->uv, &c->uv, &o);
    free(stdio);
    if (rc < 0) {
        uv_close((uv_handle_t *)&c->uv, on_close_block);
        return err_sys(err, -rc, "cannot start %s", spawn->argv[0]);
    }
    c->pid = c->uv.pid;
    *ret = c;
    return ERR_OK;
}

pid_t loop_child_pid(const struct loop_child *c)
{
    return c->pid;
}

void loop_child_kill(struct loop_child *c, int sig)
{
    if (c->pid > 0)
        (void)kill(c->pid, sig);
}

void loop_child_free(struct loop_child *c)
{
    if (!c)
        return;
    c->fn = NULL;
    if (c->pid == 0) {
        uv_close((uv_handle_t *)&c->uv, on_close_block);
        return;
    }
    /* Stays known to libuv, which reaps it when it ends; the loop does not wait for that. */
    uv_unref((uv_handle_t *)&c->uv);
}
