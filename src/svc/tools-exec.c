#include "svc/tools-exec.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/own.h"
#include "base/str.h"
#include "platform/sandbox.h"

enum {
    HEAD = 32 << 10,
    TAIL = 32 << 10,
    CHUNK = 64 << 10,
    OUTPUTS_MAX = 10000,
    SEARCH_S = 60,
    VMSTAT_MAX = 32 << 10,
    KILL_GRACE_MS = 10000, /* a keeper that has not ended by then is killed itself */
};
#define WHOLE_MAX ((uint64_t)16 << 20)

struct tools_exec {
    const struct tools *tools; /* borrowed */
    pid_t pid;
    int out_fd;    /* owned; everything it prints */
    int status_fd; /* owned; the keeper tells the shell's wait status; -1 for a search */
    int64_t deadline_ms;
    int64_t timeout_s;
    bool timed_out;
    bool search;
    int64_t oom_kills; /* of the whole machine when it began; -1: not known */
    struct buf head;
    char *tail; /* owned ring of TAIL bytes; NULL until needed */
    uint64_t total;
    int whole_fd;       /* owned; -1 until the output is longer than head and tail */
    char whole_rel[64]; /* its name */
};

/* ---- in the children --------------------------------------------------------------------- */

/* Kill direct children until there are none: orphans of the killed become direct ones. */
static void sweep_listed(void)
{
    char path[64];
    long pid;

    (void)str_format(path, sizeof path, "/proc/self/task/%d/children", getpid());
    for (FILE *f = fopen(path, "re"); f; f = NULL) {
        while (fscanf(f, "%ld", &pid) == 1)
            if (pid > 1)
                (void)kill((pid_t)pid, SIGKILL);
        (void)fclose(f);
    }
}

/* is_alone: a kill of everything reaches nothing but our descendants. */
static void sweep(pid_t shell, bool is_alone)
{
    for (;;) {
        const struct timespec pause = {.tv_nsec = 2000000};
        pid_t got;

        if (is_alone)
            (void)kill(-1, SIGKILL);
        else
            sweep_listed();
        (void)kill(-shell, SIGKILL);
        while ((got = waitpid(-1, NULL, WNOHANG)) > 0)
            ;
        if (got < 0 && errno == ECHILD)
            return;
        (void)nanosleep(&pause, NULL);
    }
}

static _Noreturn void run_shell(const struct tools *t, const struct tools_exec_command *cmd,
                                int cwd_fd, pid_t keeper)
{
    const char *const argv[] = {"sh", "-c", cmd->command, NULL};
    sigset_t none;

    (void)setsid();
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    if (getppid() != keeper) /* it died before the line above */
        _exit(126);
    (void)sandbox_nest();
    sandbox_share_processes(t->running);
    sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    if (fchdir(cwd_fd) < 0) {
        dprintf(2, "cannot enter the working directory: %s\n", strerror(errno));
        _exit(126);
    }
    (void)close_range(3, ~0u, 0);
    (void)execve("/bin/sh", (char *const *)argv, cmd->env);
    dprintf(2, "cannot run /bin/sh: %s\n", strerror(errno));
    _exit(127);
}

/* The keeper of one command. SIGCHLD and SIGTERM are blocked since the host's start. Its exit code
 * is 0, or the errno of why it could not begin. */
static _Noreturn void keep(const struct tools *t, const struct tools_exec_command *cmd, int cwd_fd,
                           int status_fd)
{
    bool is_alone = sandbox_nest() && kill(getppid(), 0) < 0 && errno == EPERM;
    int status = 0, seen;
    bool ended = false;
    sigset_t wanted;
    pid_t self = getpid(), shell, got;

    (void)prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    sigemptyset(&wanted);
    sigaddset(&wanted, SIGCHLD);
    sigaddset(&wanted, SIGTERM);
    shell = fork();
    if (shell == 0)
        run_shell(t, cmd, cwd_fd, self);
    if (shell < 0)
        _exit(errno);
    while (!ended && sigwaitinfo(&wanted, NULL) != SIGTERM)
        while ((got = waitpid(-1, &seen, WNOHANG)) > 0)
            if (got == shell) {
                status = seen;
                ended = true;
            }
    sweep(shell, is_alone);
    if (ended)
        (void)!write(status_fd, &status, sizeof status);
    _exit(0);
}

static _Noreturn void search(const struct tools *t, tools_fn *fn, const json_t *args, int out_fd)
{
    const struct rlimit cpu = {SEARCH_S, SEARCH_S};
    struct buf out = {0};
    struct err err = {0};
    char first;

    (void)setrlimit(RLIMIT_CPU, &cpu);
    first = fn(t, args, &out, &err) ? 'E' : 'R';
    if (first == 'E') {
        buf_clear(&out);
        buf_puts(&out, err.msg);
    }
    (void)!write(out_fd, &first, 1);
    for (size_t at = 0; at < out.len;) {
        ssize_t n = write(out_fd, out.data + at, out.len - at);

        if (n <= 0)
            break;
        at += (size_t)n;
    }
    _exit(0);
}

/* Descriptors of the host that a child must not hold: all but its three and those named. */
static void enter_child(pid_t host, int out_fd, int *a, int *b)
{
    enum { A = 3, B = 4, HIGH = 64 };
    int high_a = fcntl(*a, F_DUPFD_CLOEXEC, HIGH), high_b = fcntl(*b, F_DUPFD_CLOEXEC, HIGH);
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);

    /* Not SIGKILL: a keeper whose host dies still has a command to end. */
    (void)prctl(PR_SET_PDEATHSIG, SIGTERM, 0, 0, 0);
    if (getppid() != host || dup2(null, 0) < 0 || dup2(out_fd, 1) < 0 || dup2(out_fd, 2) < 0 ||
        dup3(high_a, A, O_CLOEXEC) < 0 || dup3(high_b, B, O_CLOEXEC) < 0)
        _exit(errno ? errno : EIO);
    (void)close_range(B + 1, ~0u, 0);
    *a = A;
    *b = B;
}

/* ---- in the host ------------------------------------------------------------------------- */

/* How many processes the kernel has killed for memory, in this container or elsewhere. */
static int64_t count_oom_kills(const struct tools *t)
{
    char text[VMSTAT_MAX];
    size_t len = 0;
    const char *at;

    for (ssize_t n = 1; n > 0; len += (size_t)n) /* the kernel gives a page at once */
        if ((n = pread(t->vmstat_fd, text + len, sizeof text - 1 - len, (off_t)len)) < 0)
            return -1;
    text[len] = '\0';
    at = strstr(text, "\noom_kill ");
    return at ? strtoll(at + strlen("\noom_kill "), NULL, 10) : -1;
}

static struct tools_exec *exec_new(const struct tools *t, int64_t timeout_s, int64_t now_ms)
{
    struct tools_exec *x = mem_new(sizeof *x);

    x->tools = t;
    x->out_fd = x->status_fd = x->whole_fd = -1;
    x->timeout_s = timeout_s;
    x->oom_kills = count_oom_kills(t);
    x->deadline_ms = now_ms + timeout_s * 1000;
    return x;
}

static enum err_code start_failed(struct tools_exec *x, int sys, struct err *err)
{
    tools_exec_free(x);
    return err_sys(err, sys, "cannot start a process");
}

enum err_code tools_exec_start(const struct tools *t, const struct tools_exec_command *cmd,
                               int64_t now_ms, struct tools_exec **ret, struct err *err)
{
    struct tools_exec *x;
    char rel[PATH_MAX];
    int out[2] = {-1, -1}, status[2] = {-1, -1}, sys;
    OWN_FD int cwd = -1;
    pid_t host = getpid();
    enum err_code code = tools_path_resolve(t, cmd->working_dir ? cmd->working_dir : ".", rel, err);

    if (!code)
        code = tools_path_open(t, rel, O_RDONLY | O_DIRECTORY, 0, &cwd, err);
    if (code)
        return code;
    x = exec_new(t, cmd->timeout_s, now_ms);
    if (pipe2(out, O_CLOEXEC) < 0)
        return start_failed(x, errno, err);
    x->out_fd = out[0];
    if (pipe2(status, O_CLOEXEC) < 0) {
        sys = errno;
        (void)close(out[1]);
        return start_failed(x, sys, err);
    }
    x->status_fd = status[0];
    x->pid = fork();
    sys = errno;
    if (x->pid == 0) {
        enter_child(host, out[1], &cwd, &status[1]);
        keep(t, cmd, cwd, status[1]);
    }
    (void)close(out[1]);
    (void)close(status[1]);
    if (x->pid < 0)
        return start_failed(x, sys, err);
    (void)fcntl(x->out_fd, F_SETFL, O_NONBLOCK);
    (void)fcntl(x->status_fd, F_SETFL, O_NONBLOCK);
    *ret = x;
    return ERR_OK;
}

enum err_code tools_exec_search(const struct tools *t, tools_fn *fn, const json_t *args,
                                int64_t now_ms, struct tools_exec **ret, struct err *err)
{
    struct tools_exec *x = exec_new(t, SEARCH_S, now_ms);
    int out[2], sys;

    x->search = true;
    if (pipe2(out, O_CLOEXEC) < 0)
        return start_failed(x, errno, err);
    x->out_fd = out[0];
    x->pid = fork();
    sys = errno;
    if (x->pid == 0) {
        struct tools child = *t;
        sigset_t none;

        enter_child(getppid(), out[1], &child.root_fd, &out[1]);
        sigemptyset(&none);
        (void)sigprocmask(SIG_SETMASK, &none, NULL);
        search(&child, fn, args, out[1]);
    }
    (void)close(out[1]);
    if (x->pid < 0)
        return start_failed(x, sys, err);
    (void)fcntl(x->out_fd, F_SETFL, O_NONBLOCK);
    *ret = x;
    return ERR_OK;
}

void tools_exec_free(struct tools_exec *x)
{
    if (!x)
        return;
    own_fd(&x->out_fd);
    own_fd(&x->status_fd);
    own_fd(&x->whole_fd);
    buf_done(&x->head);
    free(x->tail);
    free(x);
}

int tools_exec_fd(const struct tools_exec *x)
{
    return x->out_fd;
}

pid_t tools_exec_pid(const struct tools_exec *x)
{
    return x->pid;
}

int64_t tools_exec_deadline(const struct tools_exec *x)
{
    return x->deadline_ms;
}

void tools_exec_kill(struct tools_exec *x)
{
    (void)kill(x->pid, x->search ? SIGKILL : SIGTERM);
}

void tools_exec_on_deadline(struct tools_exec *x)
{
    if (x->timed_out) {
        (void)kill(x->pid, SIGKILL);
        x->deadline_ms = INT64_MAX;
        return;
    }
    x->timed_out = true;
    x->deadline_ms += KILL_GRACE_MS;
    tools_exec_kill(x);
}

/* The next free .stigmer/output/<n>.txt; without one the whole is not kept. */
static void open_whole(struct tools_exec *x)
{
    for (unsigned i = 1; i < OUTPUTS_MAX && x->whole_fd < 0; i++) {
        OWN_FD int dir = -1;
        const char *name;

        (void)str_format(x->whole_rel, sizeof x->whole_rel, TOOLS_OWN_FOLDER "/output/%u.txt", i);
        if (tools_path_open_parent(x->tools, x->whole_rel, &dir, &name, NULL))
            return;
        x->whole_fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
        if (x->whole_fd < 0 && errno != EEXIST)
            return;
    }
}

static void write_whole(struct tools_exec *x, const char *data, size_t len, uint64_t at)
{
    if (x->whole_fd < 0 || at >= WHOLE_MAX)
        return;
    if (len > WHOLE_MAX - at)
        len = (size_t)(WHOLE_MAX - at);
    if (write(x->whole_fd, data, len) != (ssize_t)len) {
        (void)close(take_fd(&x->whole_fd));
        x->whole_rel[0] = '\0';
    }
}

/* The bytes in the ring, oldest first. */
static size_t copy_tail(const struct tools_exec *x, char *dst)
{
    uint64_t in_tail = x->total - x->head.len;
    size_t n = in_tail < TAIL ? (size_t)in_tail : TAIL, at = (size_t)(in_tail % TAIL);

    if (in_tail <= TAIL) {
        memcpy(dst, x->tail, n);
    } else {
        memcpy(dst, x->tail + at, TAIL - at);
        memcpy(dst + TAIL - at, x->tail, at);
    }
    return n;
}

static void keep_output(struct tools_exec *x, const char *data, size_t len)
{
    size_t head_room = HEAD - x->head.len, to_head = len < head_room ? len : head_room;

    if (x->whole_fd < 0 && x->total <= HEAD + TAIL && x->total + len > HEAD + TAIL) {
        open_whole(x);
        write_whole(x, (const char *)x->head.data, x->head.len, 0);
        if (x->tail) {
            OWN_FREE char *tail = mem_new(TAIL);

            write_whole(x, tail, copy_tail(x, tail), x->head.len);
        }
    }
    write_whole(x, data, len, x->total);
    buf_put(&x->head, data, to_head);
    x->total += to_head;
    for (size_t i = to_head; i < len;) {
        size_t at = (size_t)((x->total - x->head.len) % TAIL), n = len - i;

        if (!x->tail)
            x->tail = mem_new(TAIL);
        if (n > TAIL - at)
            n = TAIL - at;
        memcpy(x->tail + at, data + i, n);
        x->total += n;
        i += n;
    }
}

void tools_exec_on_readable(struct tools_exec *x)
{
    OWN_FREE char *chunk = mem_new(CHUNK);
    /* A bounded number of turns: a fast writer must not keep the host from its other work. */
    for (unsigned i = 0; i < 16 && x->out_fd >= 0; i++) {
        ssize_t n = read(x->out_fd, chunk, CHUNK);

        if (n > 0 && x->search)
            buf_put(&x->head, chunk, (size_t)n);
        else if (n > 0)
            keep_output(x, chunk, (size_t)n);
        else if (n == 0 || (errno != EAGAIN && errno != EINTR))
            (void)close(take_fd(&x->out_fd));
        else if (errno == EAGAIN)
            return;
    }
}

/* All writers are dead, so the end comes after at most one pipe's content. */
static void drain(struct tools_exec *x)
{
    for (unsigned i = 0; i < 64 && x->out_fd >= 0; i++)
        tools_exec_on_readable(x);
}

static void put_output(const struct tools_exec *x, struct buf *out)
{
    const char *head = (const char *)x->head.data;
    size_t head_len = x->head.len, tail_len = 0, skip = 0;
    OWN_FREE char *tail = NULL;

    if (x->tail) {
        tail = mem_new(TAIL);
        tail_len = copy_tail(x, tail);
    }
    if (x->total > HEAD + TAIL) {
        head_len = tools_text_split(head, head_len, head_len - 1);
        while (skip < 4 && skip < tail_len && ((unsigned char)tail[skip] & 0xc0) == 0x80)
            skip++;
        tools_text_clean(out, head, head_len);
        buf_printf(out, "\n[%llu bytes cut here; ",
                   (unsigned long long)(x->total - head_len - (tail_len - skip)));
        if (x->whole_rel[0] && x->total <= WHOLE_MAX)
            buf_printf(out, "the whole output is in %s]\n", x->whole_rel);
        else if (x->whole_rel[0])
            buf_printf(out, "the first %llu bytes are in %s]\n", (unsigned long long)WHOLE_MAX,
                       x->whole_rel);
        else
            buf_puts(out, "they are lost]\n");
        tools_text_clean(out, tail + skip, tail_len - skip);
    } else {
        struct buf all = {0};

        buf_put(&all, head, head_len);
        buf_put(&all, tail, tail_len);
        tools_text_clean(out, all.data, all.len);
        buf_done(&all);
    }
    if (out->len && out->data[out->len - 1] != '\n')
        buf_putc(out, '\n');
}

/* A child that ended before it began: nothing was run, and that is no result. */
static bool did_not_begin(int wait_status, struct buf *out)
{
    int sys = WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : 0;

    if (sys)
        buf_printf(out, "cannot start a process: %s; nothing was run", strerror(sys));
    return sys != 0;
}

static bool finish_search(struct tools_exec *x, int wait_status, struct buf *out)
{
    if (x->head.len && WIFEXITED(wait_status)) {
        buf_put(out, x->head.data + 1, x->head.len - 1);
        return x->head.data[0] == 'R';
    }
    buf_printf(out,
               "the search did not end within %d s of work; search a smaller folder, or for a "
               "simpler pattern",
               SEARCH_S);
    return false;
}

/* A kill that is the kernel's own, and one for memory at that: the shell tells its child's by 137.
 */
static void put_oom(const struct tools_exec *x, int status, struct buf *out)
{
    bool killed = WIFSIGNALED(status) ? WTERMSIG(status) == SIGKILL
                                      : WIFEXITED(status) && WEXITSTATUS(status) == 128 + SIGKILL;

    if (killed && x->oom_kills >= 0 && count_oom_kills(x->tools) > x->oom_kills)
        buf_puts(out, "the kernel killed it because memory ran out; use less memory at once, or "
                      "ask for a larger runner.memory\n");
}

bool tools_exec_finish(struct tools_exec *x, int wait_status, struct buf *out)
{
    int status = 0;
    bool told;

    drain(x);
    if (did_not_begin(wait_status, out))
        return false;
    if (x->search)
        return finish_search(x, wait_status, out);
    told = read(x->status_fd, &status, sizeof status) == (ssize_t)sizeof status;
    put_output(x, out);
    if (x->timed_out)
        buf_printf(out, "timed out after %lld s\n", (long long)x->timeout_s);
    else if (told && WIFEXITED(status))
        buf_printf(out, "exit code %d\n", WEXITSTATUS(status));
    else
        buf_printf(out, "killed by SIG%s\n",
                   told && WIFSIGNALED(status) && sigabbrev_np(WTERMSIG(status))
                       ? sigabbrev_np(WTERMSIG(status))
                       : "KILL");
    if (!x->timed_out)
        put_oom(x, told ? status : W_EXITCODE(0, SIGKILL), out);
    return true;
}
