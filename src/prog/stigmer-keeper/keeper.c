#include "prog/stigmer-keeper/keeper.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/own.h"
#include "base/str.h"
#include "core/unit.h"
#include "platform/logsink.h"
#include "platform/proc.h"

#define ARGS_MAX 256
#define TAIL_SIZE 4096 /* of what was logged last */
#define TAIL_LINES 3   /* of it are told as the reason of a crash */
#define READS_MAX 64   /* in a row; more than the pipe holds, and signals get their turn */
#define TEXT_SIZE (TAIL_SIZE + 512)

struct keeper {
    const struct keeper_options *o;
    struct unit unit;
    struct logsink *log;
    int log_read, log_write; /* owned; the pipe that servers write to */
    int signals, control;    /* owned; control: -1 between children */
    pid_t child;
    char exit_text[96]; /* why the last one ended */
    char tail[TAIL_SIZE + 1];
    size_t tail_len;
    bool was_up, stopping;
    bool told_trouble; /* the server knows that its log cannot be written */
    int code;
};

static void write_pids(const struct keeper *k)
{
    char text[160], temp[PATH_MAX];
    OWN_FD int fd = -1;
    size_t len;

    (void)str_format(text, sizeof text, "keeper %d %llu\nserver %d %llu\n", (int)getpid(),
                     proc_started(getpid()), (int)k->child, proc_started(k->child));
    len = strlen(text);
    if (str_format(temp, sizeof temp, "%s.new", k->o->pid_file))
        fd = open(temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, text, len) != (ssize_t)len || rename(temp, k->o->pid_file) < 0)
        log_warn("pid file cannot be written", "path", k->o->pid_file, "why", strerror(errno));
}

/* ---- the log ----------------------------------------------------------------------------- */

static void keep_tail(struct keeper *k, const char *text, size_t len)
{
    if (len > TAIL_SIZE) {
        text += len - TAIL_SIZE;
        len = TAIL_SIZE;
    }
    if (k->tail_len + len > TAIL_SIZE) {
        size_t over = k->tail_len + len - TAIL_SIZE;

        memmove(k->tail, k->tail + over, k->tail_len - over);
        k->tail_len -= over;
    }
    memcpy(k->tail + k->tail_len, text, len);
    k->tail_len += len;
}

static void take_log(struct keeper *k)
{
    static char text[16384];
    ssize_t n;

    for (int i = 0; i < READS_MAX && (n = read(k->log_read, text, sizeof text)) > 0; i++) {
        logsink_write(k->log, text, (size_t)n);
        if (k->o->copies)
            (void)!write(STDERR_FILENO, text, (size_t)n);
        keep_tail(k, text, (size_t)n);
    }
}

/* The last lines of the tail; it may begin in the middle of a line. */
static const char *last_lines(struct keeper *k)
{
    int lines = 0;
    size_t at = k->tail_len;

    k->tail[k->tail_len] = '\0';
    while (at > 0 && (at == k->tail_len || k->tail[at - 1] != '\n' || ++lines < TAIL_LINES))
        at--;
    return k->tail + at;
}

/* The server's status says it: to the person the log itself cannot tell. */
static void tell_trouble(struct keeper *k)
{
    char text[LOGSINK_TROUBLE + 8], trouble[LOGSINK_TROUBLE];

    if (logsink_trouble(k->log, trouble) == k->told_trouble || k->control < 0)
        return;
    (void)str_format(text, sizeof text, "trouble %s", trouble);
    if (send(k->control, text, strlen(text), MSG_NOSIGNAL | MSG_DONTWAIT) > 0)
        k->told_trouble = !k->told_trouble;
}

/* ---- the server -------------------------------------------------------------------------- */

static void tell_past(struct keeper *k)
{
    char text[TEXT_SIZE];
    size_t len;

    (void)str_format(text, sizeof text, "restarts %u\nexit %s\n", k->unit.total, k->exit_text);
    len = strlen(text);
    for (const char *p = last_lines(k); k->unit.total && *p;) {
        size_t n = strcspn(p, "\n");
        int put = snprintf(text + len, sizeof text - len, "log %.*s\n", (int)n, p);

        if (put < 0 || (size_t)put >= sizeof text - len)
            break;
        len += (size_t)put;
        p += n + (p[n] == '\n');
    }
    (void)!send(k->control, text, len, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static _Noreturn void become_server(const struct keeper *k, int control, pid_t keeper)
{
    char number[16];
    const char *argv[ARGS_MAX + 5] = {k->o->server, "--serve", "--keeper-fd", number};
    size_t n = 4;
    sigset_t none;

    for (char *const *a = k->o->argv; *a && n < ARGS_MAX + 4; a++)
        argv[n++] = *a;
    (void)str_format(number, sizeof number, "%d", control);
    sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    (void)prctl(PR_SET_PDEATHSIG, SIGTERM, 0, 0, 0);
    if (getppid() != keeper) /* it died before we could ask */
        _exit(EXIT_FAILED);
    if (fcntl(control, F_SETFD, 0) == 0 && dup2(k->log_write, STDOUT_FILENO) >= 0 &&
        dup2(k->log_write, STDERR_FILENO) >= 0)
        (void)execv(k->o->server, (char *const *)(uintptr_t)argv);
    log_error("server program cannot be run", "path", k->o->server, "why", strerror(errno));
    _exit(EXIT_FAILED);
}

static void spawn(struct keeper *k)
{
    pid_t self = getpid();
    int ends[2] = {-1, -1};

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0 ||
        (k->child = fork()) < 0) {
        log_error("server process cannot be started", "why", strerror(errno));
        own_fd(&ends[0]);
        own_fd(&ends[1]);
        k->child = 0;
        (void)unit_step(&k->unit, UNIT_EXIT, clock_mono_ms(), 0.5);
        return;
    }
    if (k->child == 0)
        become_server(k, ends[1], self);
    close(ends[1]);
    k->control = ends[0];
    tell_past(k);
    k->told_trouble = false;
    write_pids(k);
}

static void take_control(struct keeper *k)
{
    char text[128];
    long long size;
    int files;
    ssize_t n;

    while (k->control >= 0 && (n = recv(k->control, text, sizeof text - 1, MSG_DONTWAIT)) > 0) {
        text[n] = '\0';
        if (str_eq(text, "up"))
            k->was_up = true;
        else if (str_eq(text, "pids"))
            write_pids(k);
        else if (sscanf(text, "log %lld %d", &size, &files) == 2 && size > 0 && files > 0)
            logsink_limit(k->log, size, files);
    }
    if (k->control >= 0 && n == 0) {
        close(k->control);
        k->control = -1;
    }
}

/* The child ended. True: the keeper's work is over too. */
static bool reaped(struct keeper *k, int status)
{
    take_log(k);
    take_control(k);
    own_fd(&k->control);
    k->control = -1;
    k->child = 0;
    k->code = WIFEXITED(status) ? WEXITSTATUS(status) : EXIT_FAILED;
    if (k->stopping || (WIFEXITED(status) && (k->code == 0 || !k->was_up)))
        return true;
    if (WIFSIGNALED(status))
        (void)str_format(k->exit_text, sizeof k->exit_text, "signal %d (%s)", WTERMSIG(status),
                         strsignal(WTERMSIG(status)));
    else
        (void)str_format(k->exit_text, sizeof k->exit_text, "exit code %d", k->code);
    (void)unit_step(&k->unit, UNIT_EXIT, clock_mono_ms(), (double)random() / (double)RAND_MAX);
    log_error(k->unit.state == UNIT_FAILED ? "server ended too often; giving up"
                                           : "server ended; it is started again",
              "why", k->exit_text, "restarts", log_int(k->unit.total));
    return k->unit.state == UNIT_FAILED;
}

static bool reap_all(struct keeper *k)
{
    int status;
    pid_t pid;

    while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
        if (pid == k->child && reaped(k, status))
            return true;
    return false;
}

/* ---- life -------------------------------------------------------------------------------- */

/* True: it is over. */
static bool take_signals(struct keeper *k)
{
    struct signalfd_siginfo info;
    bool over = false;

    while (read(k->signals, &info, sizeof info) == (ssize_t)sizeof info) {
        if (info.ssi_signo == SIGCHLD)
            continue;
        k->stopping = true;
        over = !k->child;
        if (k->child)
            kill(k->child, SIGTERM);
    }
    return reap_all(k) || over;
}

static int wait_ms(const struct keeper *k)
{
    int64_t left;

    if (k->unit.deadline_ms == INT64_MAX)
        return -1;
    left = k->unit.deadline_ms - clock_mono_ms();
    return left > 0 ? (int)left : 0;
}

static void run(struct keeper *k)
{
    for (;;) {
        struct pollfd p[] = {{.fd = k->signals, .events = POLLIN},
                             {.fd = k->log_read, .events = POLLIN},
                             {.fd = k->control, .events = POLLIN}};

        if (poll(p, 3, wait_ms(k)) < 0 && errno != EINTR)
            return;
        take_log(k);
        take_control(k);
        tell_trouble(k);
        if (take_signals(k))
            return;
        if (k->unit.state == UNIT_FAILED) /* it could not even be started, again and again */
            return;
        if (k->unit.state == UNIT_BACKOFF && clock_mono_ms() >= k->unit.deadline_ms) {
            (void)unit_step(&k->unit, UNIT_TIMER, clock_mono_ms(), 0);
            spawn(k);
        }
    }
}

static enum err_code open_all(struct keeper *k, struct err *err)
{
    sigset_t set;
    int ends[2];
    enum err_code code = logsink_open(k->o->log, 10 << 20, 5, &k->log, err);

    if (code)
        return code;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    (void)sigprocmask(SIG_BLOCK, &set, NULL);
    k->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    sigaddset(&set, SIGPIPE); /* told by write itself */
    (void)sigprocmask(SIG_BLOCK, &set, NULL);
    /* Not blocking at either end: a keeper that is stopped must not stop the server. */
    if (k->signals < 0 || pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
        return err_sys(err, errno, "make the keeper's pipes");
    k->log_read = ends[0];
    k->log_write = ends[1];
    log_set_fd(k->log_write);
    return ERR_OK;
}

int keeper_run(const struct keeper_options *o)
{
    static const struct unit_policy policy = {.backoff_min_ms = 200,
                                              .backoff_max_ms = 10000,
                                              .grace_ms = 10000,
                                              .window_ms = 600000,
                                              .restarts = 10};
    static struct keeper k;
    struct err err;

    k = (struct keeper){.o = o, .control = -1, .code = EXIT_FAILED};
    if (open_all(&k, &err)) {
        log_error("keeper cannot start", "why", err.msg);
        return EXIT_FAILED;
    }
    unit_init(&k.unit, &policy);
    (void)unit_step(&k.unit, UNIT_START, clock_mono_ms(), 0);
    spawn(&k);
    if (o->once_fd >= 0)
        close(o->once_fd);
    run(&k);
    take_log(&k);
    (void)unlink(o->pid_file);
    return k.code;
}
