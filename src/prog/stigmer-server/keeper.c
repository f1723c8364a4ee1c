#include "prog/stigmer-server/keeper.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/own.h"
#include "base/str.h"
#include "core/unit.h"
#include "prog/stigmer-server/own-log.h"

struct keeper {
    const struct paths *paths;
    struct unit unit;
    struct keeper_past past;
    pid_t child;
    int up_fd; /* the child writes here when it is ready; -1 between children */
    bool was_up, stopping;
    int code;
};

/* Field 22 of /proc/PID/stat, clock ticks since boot; 0 when the process is gone (proc(5)). */
static unsigned long long start_of(pid_t pid)
{
    char path[64], text[1024];
    const char *p;
    unsigned long long start = 0;
    ssize_t n;
    OWN_FD int fd = -1;

    (void)str_format(path, sizeof path, "/proc/%d/stat", (int)pid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (n <= 0)
        return 0;
    text[n] = '\0';
    p = strrchr(text, ')'); /* the name before it may hold anything */
    for (int field = 2; p && field < 22; field++)
        p = strchr(p + 1, ' ');
    if (p)
        start = strtoull(p + 1, NULL, 10);
    return start;
}

static void write_pids(const struct keeper *k)
{
    char text[160], temp[PATHS_MAX + 8];
    OWN_FD int fd = -1;
    size_t len;

    (void)str_format(text, sizeof text, "keeper %d %llu\nserver %d %llu\n", (int)getpid(),
                     start_of(getpid()), (int)k->child, start_of(k->child));
    len = strlen(text);
    (void)str_format(temp, sizeof temp, "%s.new", k->paths->pid_file);
    fd = open(temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, text, len) != (ssize_t)len || rename(temp, k->paths->pid_file) < 0)
        log_warn("pid file cannot be written", "path", k->paths->pid_file, "why", strerror(errno));
}

static void run_child(int up, const struct keeper_past *past, keeper_child_fn *child, void *arg)
{
    pid_t parent = getppid();
    sigset_t none;

    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    (void)prctl(PR_SET_PDEATHSIG, SIGTERM, 0, 0, 0);
    if (getppid() != parent)
        _exit(EXIT_FAILED); /* the keeper died before we could ask */
    exit(child(up, past, arg));
}

static void spawn(struct keeper *k, keeper_child_fn *child, void *arg)
{
    int ends[2];

    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0 || (k->child = fork()) < 0) {
        log_error("server process cannot be started", "why", strerror(errno));
        k->child = 0;
        (void)unit_step(&k->unit, UNIT_EXIT, clock_mono_ms(), 0.5);
        return;
    }
    if (k->child == 0) {
        close(ends[0]);
        run_child(ends[1], &k->past, child, arg);
    }
    close(ends[1]);
    k->up_fd = ends[0];
    write_pids(k);
}

static bool saw_up(struct keeper *k)
{
    char byte;
    bool up = k->up_fd >= 0 && read(k->up_fd, &byte, 1) == 1;

    own_fd(&k->up_fd);
    k->up_fd = -1;
    return up;
}

/* The child ended. True: the keeper's work is over too. */
static bool reaped(struct keeper *k, int status)
{
    char *why = k->past.last_exit;
    size_t size = sizeof k->past.last_exit;

    k->was_up |= saw_up(k);
    k->child = 0;
    k->code = WIFEXITED(status) ? WEXITSTATUS(status) : EXIT_FAILED;
    if (k->stopping || (WIFEXITED(status) && (k->code == 0 || !k->was_up)))
        return true;
    if (WIFSIGNALED(status))
        (void)str_format(why, size, "signal %d (%s)", WTERMSIG(status),
                         strsignal(WTERMSIG(status)));
    else
        (void)str_format(why, size, "exit code %d", k->code);
    own_log_reopen(k->paths->log_server);
    log_error("server ended; it is started again", "why", why);
    (void)unit_step(&k->unit, UNIT_EXIT, clock_mono_ms(), (double)random() / (double)RAND_MAX);
    k->past.restarts = k->unit.total;
    if (k->unit.state == UNIT_FAILED)
        log_error("server ends again and again; giving up", "restarts", log_int(k->unit.total));
    return k->unit.state == UNIT_FAILED;
}

/* One signal, or the unit's deadline. */
static int wait_signal(const struct keeper *k, const sigset_t *set)
{
    int64_t left;
    struct timespec ts;

    if (k->unit.deadline_ms == INT64_MAX)
        return sigwaitinfo(set, NULL);
    left = k->unit.deadline_ms - clock_mono_ms();
    left = left > 0 ? left : 0;
    ts = (struct timespec){.tv_sec = left / 1000, .tv_nsec = left % 1000 * 1000000};
    return sigtimedwait(set, NULL, &ts);
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

int keeper_run(const struct paths *paths, int once_fd, keeper_child_fn *child, void *arg)
{
    static const struct unit_policy policy = {.backoff_min_ms = 200,
                                              .backoff_max_ms = 10000,
                                              .grace_ms = 10000,
                                              .window_ms = 600000,
                                              .restarts = 10};
    struct keeper k = {.paths = paths, .up_fd = -1};
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigprocmask(SIG_BLOCK, &set, NULL);
    unit_init(&k.unit, &policy);
    (void)unit_step(&k.unit, UNIT_START, clock_mono_ms(), 0);
    spawn(&k, child, arg);
    if (once_fd >= 0)
        close(once_fd);
    for (;;) {
        int sig = wait_signal(&k, &set);
        if (sig == SIGTERM || sig == SIGINT) {
            k.stopping = true;
            if (!k.child)
                break;
            kill(k.child, SIGTERM);
        }
        if (reap_all(&k))
            break;
        if (k.unit.state == UNIT_BACKOFF && clock_mono_ms() >= k.unit.deadline_ms) {
            (void)unit_step(&k.unit, UNIT_TIMER, clock_mono_ms(), 0);
            spawn(&k, child, arg);
        }
    }
    (void)unlink(paths->pid_file);
    return k.code;
}
