#include "svc/toolhost.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/own.h"
#include "base/str.h"
#include "core/tooldef.h"
#include "wire/toolproto.h"

enum { IDLE_MS = 60000, CHUNK = 64 << 10, WAITING_MAX = 40 << 20 };

struct toolhost_call {
    struct toolhosts *all; /* borrowed */
    struct host *host;     /* borrowed; NULL: refused before it reached one */
    struct toolhost_call *next;
    uint64_t id;
    char *run; /* owned */
    bool effect;
    bool again;    /* pure, and its host died once: it was sent a second time */
    bool lost;     /* its host is gone; the answer is being given */
    char *body;    /* owned; of a pure call, to send it again */
    char *refusal; /* owned; the answer of a refused call */
    toolhost_done_fn *done;
    void *arg;
};

/* One per session, as long as the session is in use; its process may come and go.
 *
 *   CLOSED ─ a call ─▶ OPENING ─ launcher: opened ─▶ OPEN ─ end of stream, bad frame ─▶ CLOSED
 *                         └ launcher: failed ─▶ CLOSED, calls answered */
enum host_state { HOST_CLOSED, HOST_OPENING, HOST_OPEN };

struct host {
    struct toolhosts *all; /* borrowed */
    struct host *next;
    char *session_id; /* owned */
    char *folder;     /* owned */
    enum host_state state;
    uint64_t serial; /* of the request to open it */
    int fd;          /* owned; -1 unless OPEN */
    struct loop_io *io;
    struct loop_timer *idle;
    bool released;
    struct buf in, out;
    struct toolhost_call *calls; /* owned; in the order they were made */
};

struct toolhosts {
    struct loop *loop; /* borrowed */
    int launcher_fd;   /* borrowed; -1 once the launcher is gone */
    struct loop_io *launcher_io;
    loop_fn *on_gone;
    void *gone_arg;
    struct host *hosts;            /* owned */
    struct toolhost_call *refused; /* owned */
    struct loop_timer *refusing;   /* answers them, outside of toolhost_start */
    uint64_t last_id;
    unsigned port; /* that hosts may connect to; 0: none */
};

static void on_host(int events, void *arg);

static void append_call(struct toolhost_call **list, struct toolhost_call *c)
{
    while (*list)
        list = &(*list)->next;
    c->next = NULL;
    *list = c;
}

static void unlink_call(struct toolhost_call **list, const struct toolhost_call *c)
{
    while (*list && *list != c)
        list = &(*list)->next;
    if (*list)
        *list = c->next;
}

static void call_free(struct toolhost_call *c)
{
    free(c->run);
    free(c->body);
    free(c->refusal);
    free(c);
}

/* c is in no list any more. done may start and cancel others. */
static void finish(struct toolhost_call *c, enum toolhost_outcome outcome, const char *text,
                   size_t len)
{
    toolhost_done_fn *done = c->done;
    void *arg = c->arg;

    call_free(c);
    done(outcome, text, len, arg);
}

/* ---- one host ---------------------------------------------------------------------------- */

static void host_close(struct host *h)
{
    loop_io_free(h->io);
    h->io = NULL;
    own_fd(&h->fd);
    h->fd = -1;
    h->state = HOST_CLOSED;
    h->serial = 0;
    buf_clear(&h->in);
    buf_clear(&h->out);
}

static void host_free(struct host *h)
{
    for (struct host **p = &h->all->hosts; *p; p = &(*p)->next)
        if (*p == h) {
            *p = h->next;
            break;
        }
    while (h->calls) {
        struct toolhost_call *c = h->calls;

        h->calls = c->next;
        call_free(c);
    }
    host_close(h);
    loop_timer_free(h->idle);
    buf_done(&h->in);
    buf_done(&h->out);
    free(h->session_id);
    free(h->folder);
    free(h);
}

static void want_io(struct host *h)
{
    if (h->io)
        loop_io_want(h->io, LOOP_READ | (h->out.len ? LOOP_WRITE : 0));
}

static void arm_idle(struct host *h)
{
    if (h->released && !h->calls)
        loop_timer_in(h->idle, IDLE_MS);
    else
        loop_timer_at(h->idle, INT64_MAX);
}

/* Answers every call that is marked lost. New calls may arrive meanwhile; they are not. */
static void answer_lost(struct host *h, enum toolhost_outcome outcome, const char *what)
{
    OWN_FREE char *text = mem_str(what);
    struct toolhost_call *c;

    for (;;) {
        for (c = h->calls; c && !c->lost; c = c->next)
            ;
        if (!c)
            break;
        unlink_call(&h->calls, c);
        /* A pure call is lost only when it cannot be done: that it did nothing is known. */
        finish(c, c->effect ? outcome : TOOLHOST_ERROR, text, strlen(text));
    }
    arm_idle(h);
}

/* A line for each run that it is about. */
static void warn(const struct host *h, const char *event, const char *why)
{
    if (!h->calls)
        log_warn(event, "session", h->session_id, "why", why);
    for (const struct toolhost_call *c = h->calls, *first; c; c = c->next) {
        for (first = h->calls; !str_eq(first->run, c->run);)
            first = first->next;
        if (first == c)
            log_warn(event, "run", c->run, "session", h->session_id, "why", why);
    }
}

static void host_failed(struct host *h, const char *what)
{
    warn(h, "a tool host could not start", what);
    host_close(h);
    for (struct toolhost_call *c = h->calls; c; c = c->next)
        c->lost = true;
    answer_lost(h, TOOLHOST_ERROR, what);
}

/* A launcher that does not take requests: the answers come later, this runs inside
 * toolhost_start. */
static void refuse_calls(struct host *h, const char *what)
{
    struct toolhost_call **list = &h->calls, *c;

    h->state = HOST_CLOSED;
    buf_clear(&h->out);
    while ((c = *list)) {
        if (c->lost) {
            list = &c->next;
            continue;
        }
        *list = c->next;
        c->host = NULL;
        c->refusal = mem_str(what);
        append_call(&h->all->refused, c);
    }
    loop_timer_in(h->all->refusing, 0);
}

/* Calls that wait for a host keep waiting: this process ends, and its runs go on elsewhere. */
static void launcher_gone(struct toolhosts *t)
{
    log_error("the launcher is gone");
    loop_io_free(t->launcher_io);
    t->launcher_io = NULL;
    t->launcher_fd = -1;
    t->on_gone(t->gone_arg);
}

static void host_open(struct host *h)
{
    char text[TOOLPROTO_DATAGRAM_MAX];

    if (h->all->launcher_fd < 0)
        return;
    h->serial = ++h->all->last_id;
    h->state = HOST_OPENING;
    (void)str_format(text, sizeof text, "open %" PRIu64 " %s %u", h->serial, h->folder,
                     h->all->port);
    if (send(h->all->launcher_fd, text, strlen(text), MSG_NOSIGNAL | MSG_DONTWAIT) >= 0)
        return;
    if (errno == EPIPE || errno == ECONNRESET)
        launcher_gone(h->all);
    else
        refuse_calls(h, "the sandbox cannot be started: the launcher does not answer");
}

/* Its process is gone. Effects may have happened: unknown. Pure calls run once more in a new one;
 * a call that kills its host twice is not tried a third time. */
static void host_died(struct host *h, const char *why)
{
    bool pending = false;

    warn(h, "a tool host is gone", why);
    host_close(h);
    for (struct toolhost_call *c = h->calls; c; c = c->next) {
        c->lost = c->effect || c->again;
        if (c->lost)
            continue;
        c->again = true;
        toolproto_put(&h->out, TOOLPROTO_CALL, c->id, c->body, strlen(c->body));
        pending = true;
    }
    if (pending)
        host_open(h);
    answer_lost(h, TOOLHOST_UNKNOWN,
                "the sandbox ended while this ran; whether it took effect is not known");
}

static bool write_some(struct host *h)
{
    while (h->out.len) {
        ssize_t n = send(h->fd, h->out.data, h->out.len, MSG_NOSIGNAL | MSG_DONTWAIT);

        if (n < 0)
            return errno == EAGAIN || errno == EINTR;
        buf_shift(&h->out, (size_t)n);
    }
    return true;
}

/* False: the host is closed or may be; stop looking at its input. */
static bool on_frame(struct host *h, const struct toolproto_frame *f)
{
    struct toolhost_call *c = h->calls;

    if (f->kind == TOOLPROTO_READY && f->len) {
        OWN_FREE char *why = mem_strn(f->body, f->len);

        host_failed(h, why);
        return false;
    }
    if (f->kind == TOOLPROTO_READY)
        return true;
    if (f->kind != TOOLPROTO_RESULT && f->kind != TOOLPROTO_ERROR) {
        host_died(h, "it sent a frame that is not its to send");
        return false;
    }
    while (c && c->id != f->id)
        c = c->next;
    if (!c) /* cancelled meanwhile */
        return true;
    OWN_FREE char *text = mem_strn(f->body, f->len);
    size_t len = f->len;
    bool good = f->kind == TOOLPROTO_RESULT;
    uint64_t serial = h->serial;

    unlink_call(&h->calls, c);
    finish(c, good ? TOOLHOST_RESULT : TOOLHOST_ERROR, text, len);
    arm_idle(h);
    return h->serial == serial;
}

static void read_some(struct host *h)
{
    OWN_FREE char *chunk = mem_new(CHUNK);
    ssize_t n = recv(h->fd, chunk, CHUNK, MSG_DONTWAIT);
    struct err err = {0};

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        host_died(h, "it ended");
        return;
    }
    buf_put(&h->in, chunk, (size_t)n);
    for (;;) {
        struct toolproto_frame f;
        OWN_BUF struct buf frame = {0};
        size_t used;

        if (toolproto_next(h->in.data, h->in.len, TOOLPROTO_REPLY_MAX, &f, &used, &err)) {
            host_died(h, err.msg);
            return;
        }
        if (!used)
            return;
        /* Out of the input first: the callback may close this host. */
        buf_put(&frame, f.body, f.len);
        f.body = buf_text(&frame);
        buf_shift(&h->in, used);
        if (!on_frame(h, &f))
            return;
    }
}

static void on_host(int events, void *arg)
{
    struct host *h = arg;

    if ((events & LOOP_WRITE) && !write_some(h)) {
        host_died(h, "it does not read");
        return;
    }
    if (events & LOOP_READ)
        read_some(h);
    want_io(h);
}

/* ---- the launcher's answers --------------------------------------------------------------- */

static struct host *host_by_serial(const struct toolhosts *t, uint64_t serial)
{
    struct host *h = t->hosts;

    while (h && (h->state != HOST_OPENING || h->serial != serial))
        h = h->next;
    return h;
}

static void on_answer(struct toolhosts *t, char *text, int fd)
{
    bool opened = str_starts(text, "opened ");
    char *p = strchr(text, ' '), *end = p;
    uint64_t serial = p ? strtoull(p, &end, 10) : 0;
    struct host *h = host_by_serial(t, serial);

    if (!h || (opened && fd < 0)) {
        own_fd(&fd);
        return;
    }
    if (!opened) {
        own_fd(&fd);
        host_failed(h, *end == ' ' ? end + 1 : "the sandbox cannot be started");
        return;
    }
    h->fd = fd;
    h->state = HOST_OPEN;
    h->io = loop_io_new(t->loop, fd, on_host, h);
    want_io(h);
}

static void on_launcher(int events, void *arg)
{
    struct toolhosts *t = arg;
    char text[TOOLPROTO_DATAGRAM_MAX + 1];
    union {
        struct cmsghdr head;
        char space[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec iov = {text, sizeof text - 1};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control.space,
                         .msg_controllen = sizeof control.space};
    ssize_t n = recvmsg(t->launcher_fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    const struct cmsghdr *c;
    int fd = -1;

    (void)events;
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        launcher_gone(t);
        return;
    }
    text[n] = '\0';
    c = CMSG_FIRSTHDR(&msg);
    if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS)
        memcpy(&fd, CMSG_DATA(c), sizeof fd);
    on_answer(t, text, fd);
}

/* ---- from above --------------------------------------------------------------------------- */

static void on_refusing(void *arg)
{
    struct toolhosts *t = arg;

    while (t->refused) {
        struct toolhost_call *c = t->refused;
        OWN_FREE char *text = TAKE(c->refusal);

        t->refused = c->next;
        finish(c, TOOLHOST_ERROR, text, strlen(text));
    }
}

struct toolhosts *toolhosts_new(struct loop *loop, int launcher_fd, loop_fn *on_gone, void *arg)
{
    struct toolhosts *t = mem_new(sizeof *t);

    t->loop = loop;
    t->launcher_fd = launcher_fd;
    t->on_gone = on_gone;
    t->gone_arg = arg;
    t->launcher_io = loop_io_new(loop, launcher_fd, on_launcher, t);
    loop_io_want(t->launcher_io, LOOP_READ);
    t->refusing = loop_timer_new(loop, on_refusing, t);
    return t;
}

void toolhosts_allow_port(struct toolhosts *t, unsigned port)
{
    t->port = port;
}

void toolhosts_free(struct toolhosts *t)
{
    if (!t)
        return;
    while (t->hosts)
        host_free(t->hosts);
    while (t->refused) {
        struct toolhost_call *c = t->refused;

        t->refused = c->next;
        call_free(c);
    }
    loop_io_free(t->launcher_io);
    loop_timer_free(t->refusing);
    free(t);
}

static void on_idle(void *arg)
{
    host_free(arg);
}

static struct host *find_host(const struct toolhosts *t, const char *session_id)
{
    struct host *h = t->hosts;

    while (h && !str_eq(h->session_id, session_id))
        h = h->next;
    return h;
}

static struct host *get_host(struct toolhosts *t, const struct toolhost_request *req)
{
    struct host *h = find_host(t, req->session_id);

    if (h)
        return h;
    h = mem_new(sizeof *h);
    h->all = t;
    h->fd = -1;
    h->session_id = mem_str(req->session_id);
    h->folder = mem_str(req->workspace);
    h->idle = loop_timer_new(t->loop, on_idle, h);
    buf_init(&h->in, TOOLPROTO_REPLY_MAX + 2 * CHUNK);
    h->next = t->hosts;
    t->hosts = h;
    return h;
}

static enum err_code check(const struct toolhost_request *req, const struct tooldef *def,
                           struct err *err)
{
    if (!def || def->in_loop)
        return err_set(err, ERR_INVALID, "there is no tool '%.60s'", req->name);
    if (!toolproto_folder_is_valid(req->workspace))
        return err_set(err, ERR_INVALID, "the session has no usable workspace folder");
    if (req->env_count > TOOLPROTO_ENV_MAX)
        return err_set(err, ERR_LIMIT, "the run's environment has more than %d names",
                       TOOLPROTO_ENV_MAX);
    return tooldef_check(def, req->args_json, err);
}

static struct toolhost_call *refuse(struct toolhosts *t, struct toolhost_call *c,
                                    const struct err *err)
{
    c->refusal = mem_str(err->msg);
    append_call(&t->refused, c);
    loop_timer_in(t->refusing, 0);
    return c;
}

struct toolhost_call *toolhost_start(struct toolhosts *t, const struct toolhost_request *req,
                                     toolhost_done_fn *done, void *arg)
{
    const struct tooldef *def = tooldef_find(req->name);
    struct toolhost_call *c = mem_new(sizeof *c);
    const char *(*env)[2] = mem_array(req->env_count, sizeof *env);
    struct err err = {0};
    struct host *h;

    *c = (struct toolhost_call){
        .all = t, .id = ++t->last_id, .run = mem_str(req->run), .done = done, .arg = arg};
    for (size_t i = 0; i < req->env_count; i++) {
        env[i][0] = req->env[i].name;
        env[i][1] = req->env[i].value;
    }
    if (check(req, def, &err)) {
        free(env);
        return refuse(t, c, &err);
    }
    c->effect = def->effect;
    c->body = toolproto_call_make(req->name, req->args_json, (const char *const(*)[2])env,
                                  req->env_count);
    free(env);
    h = get_host(t, req);
    if (strlen(c->body) > TOOLPROTO_CALL_MAX || h->out.len > WAITING_MAX) {
        (void)err_set(&err, ERR_LIMIT,
                      "the arguments are larger than %zu MB, or too many calls wait",
                      TOOLPROTO_CALL_MAX >> 20);
        return refuse(t, c, &err);
    }
    c->host = h;
    h->released = false;
    append_call(&h->calls, c);
    arm_idle(h);
    toolproto_put(&h->out, TOOLPROTO_CALL, c->id, c->body, strlen(c->body));
    if (c->effect) {
        free(c->body);
        c->body = NULL;
    }
    if (h->state == HOST_CLOSED)
        host_open(h);
    want_io(h);
    return c;
}

void toolhost_cancel(struct toolhost_call *c)
{
    struct host *h;

    if (!c)
        return;
    h = c->host;
    if (!h) {
        unlink_call(&c->all->refused, c);
        call_free(c);
        return;
    }
    unlink_call(&h->calls, c);
    toolproto_put(&h->out, TOOLPROTO_CANCEL, c->id, "", 0);
    call_free(c);
    want_io(h);
    arm_idle(h);
}

void toolhost_release(struct toolhosts *t, const char *session_id)
{
    struct host *h = find_host(t, session_id);

    if (!h)
        return;
    h->released = true;
    arm_idle(h);
}
