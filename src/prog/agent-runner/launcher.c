#include "prog/agent-runner/launcher.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
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
#include "base/log.h"
#include "base/mem.h"
#include "base/own.h"
#include "base/str.h"
#include "platform/sandbox.h"
#include "prog/agent-runner/key-files.h"
#include "wire/toolproto.h"

enum { HOSTS_MAX = 256, END_MS = 3000 };

struct launcher {
    int exe_fd;  /* owned; this program, to run it again after root is gone */
    int socket;  /* owned; to the worker */
    int signals; /* owned */
    pid_t self;
    pid_t worker;
    pid_t hosts[HOSTS_MAX]; /* 0: a free place */
    bool in_container;
    bool ending;
    int exit_code;
};

/* ---- children ---------------------------------------------------------------------------- */

/* fds[i] becomes descriptor 3 + i; every other one above 2 is closed at the exec. */
static _Noreturn void become(const struct launcher *l, const int *fds, unsigned count,
                             const char *const argv[], char *const env[])
{
    int high[4];
    sigset_t none;

    for (unsigned i = 0; i < count; i++)
        high[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, 64);
    int exe = fcntl(l->exe_fd, F_DUPFD_CLOEXEC, 64);
    for (unsigned i = 0; i < count; i++)
        if (dup2(high[i], 3 + (int)i) < 0)
            _exit(111);
    (void)close_range(3 + count, ~0u, CLOSE_RANGE_CLOEXEC);
    sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    (void)setsid();
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    if (getppid() != l->self) /* it died before the line above */
        _exit(111);
    (void)execveat(exe, "", (char *const *)argv, env, AT_EMPTY_PATH);
    dprintf(2, "agent-runner: cannot run itself: %s\n", strerror(errno));
    _exit(111);
}

static enum err_code start_worker(struct launcher *l, int socket, int keys_fd, struct err *err)
{
    const char *const argv[] = {"agent-runner", "worker", NULL};
    const int fds[] = {socket, keys_fd};

    l->worker = fork();
    if (l->worker < 0)
        return err_sys(err, errno, "cannot start the worker");
    if (l->worker > 0)
        return ERR_OK;
    if (l->in_container &&
        (setgroups(0, NULL) < 0 ||
         setresgid(LAUNCHER_WORKER_UID, LAUNCHER_WORKER_UID, LAUNCHER_WORKER_UID) < 0 ||
         setresuid(LAUNCHER_WORKER_UID, LAUNCHER_WORKER_UID, LAUNCHER_WORKER_UID) < 0)) {
        dprintf(2, "agent-runner: cannot become the worker's user: %s\n", strerror(errno));
        _exit(EXIT_SANDBOX);
    }
    become(l, fds, 2, argv, environ);
}

/* A tool host gets these names of the environment and no other. */
static char **host_env(void)
{
    static const char *const names[] = {"WORKSPACE_ROOT",         "STIGMER_SANDBOX_REPORT",
                                        "STIGMER_RUNNER_SESSION", "STIGMER_SANDBOX_REQUIRE",
                                        "STIGMER_LOG_LEVEL",      "STIGMER_TOOL_PROCESSES",
                                        "STIGMER_TOOL_MEMORY",    "ASAN_OPTIONS"};
    char **env = mem_array(sizeof names / sizeof *names + 1, sizeof *env);
    size_t n = 0;

    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *value = getenv(names[i]);
        size_t size = strlen(names[i]) + strlen(value ? value : "") + 2;

        if (!value)
            continue;
        env[n] = mem_new(size);
        (void)str_format(env[n++], size, "%s=%s", names[i], value);
    }
    return env;
}

static enum err_code start_host(struct launcher *l, const char *folder, unsigned port, int *ret_fd,
                                struct err *err)
{
    char number[12];
    const char *const argv[] = {"agent-runner", "tool-host",
                                folder,         l->in_container ? "container" : "process",
                                number,         NULL};
    int pair[2];
    size_t place = 0;
    pid_t pid;

    (void)str_format(number, sizeof number, "%u", port);
    while (place < HOSTS_MAX && l->hosts[place])
        place++;
    if (place == HOSTS_MAX)
        return err_set(err, ERR_LIMIT, "%d tool hosts are running already", HOSTS_MAX);
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return err_sys(err, errno, "cannot make a socket");
    pid = fork();
    if (pid == 0)
        become(l, &pair[1], 1, argv, host_env());
    (void)close(pair[1]);
    if (pid < 0) {
        int sys = errno;

        (void)close(pair[0]);
        return err_sys(err, sys, "cannot start a tool host");
    }
    l->hosts[place] = pid;
    *ret_fd = pair[0];
    return ERR_OK;
}

static bool is_known(const struct launcher *l, pid_t pid)
{
    for (size_t i = 0; i < HOSTS_MAX; i++)
        if (l->hosts[i] == pid)
            return true;
    return pid == l->worker;
}

/* What a dead tool host left behind is our child now: end it. all: the tool hosts as well. */
static void kill_strangers(const struct launcher *l, bool all)
{
    char path[64];
    long pid;
    FILE *f;

    (void)str_format(path, sizeof path, "/proc/self/task/%d/children", getpid());
    f = fopen(path, "re");
    while (f && fscanf(f, "%ld", &pid) == 1)
        if (pid > 1 && (all || !is_known(l, (pid_t)pid)))
            (void)kill((pid_t)pid, SIGKILL);
    if (f)
        (void)fclose(f);
}

/* ---- requests of the worker --------------------------------------------------------------- */

static void reply(const struct launcher *l, const char *text, int fd)
{
    struct iovec iov = {(void *)(uintptr_t)text, strlen(text)};
    union {
        struct cmsghdr head;
        char space[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

    if (fd >= 0) {
        msg.msg_control = control.space;
        msg.msg_controllen = sizeof control.space;
        control.head = (struct cmsghdr){CMSG_LEN(sizeof fd), SOL_SOCKET, SCM_RIGHTS};
        memcpy(CMSG_DATA(&control.head), &fd, sizeof fd);
    }
    if (sendmsg(l->socket, &msg, MSG_NOSIGNAL) < 0)
        log_warn("cannot answer the worker", "error", strerror(errno));
}

static void on_request(struct launcher *l)
{
    char text[TOOLPROTO_DATAGRAM_MAX + 1], folder[TOOLPROTO_FOLDER_MAX + 1], answer[256];
    ssize_t n = recv(l->socket, text, sizeof text, MSG_DONTWAIT);
    struct err err = {0};
    uint64_t serial;
    unsigned port;
    OWN_FD int fd = -1;

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) { /* the worker is going; its end is told by a signal */
        (void)close(take_fd(&l->socket));
        return;
    }
    if (toolproto_open_parse(text, (size_t)n, &serial, folder, &port, &err)) {
        log_error("the worker broke the protocol", "error", err.msg);
        (void)kill(l->worker, SIGKILL);
        return;
    }
    /* Also while all of us are ending: what an ending worker asks for is of a call that runs, and
     * "no" would be the last word on it. */
    if (start_host(l, folder, port, &fd, &err)) {
        (void)str_format(answer, sizeof answer, "failed %llu %.200s", (unsigned long long)serial,
                         err.msg);
        reply(l, answer, -1);
        return;
    }
    (void)str_format(answer, sizeof answer, "opened %llu", (unsigned long long)serial);
    reply(l, answer, fd);
}

/* ---- life -------------------------------------------------------------------------------- */

static void on_death(struct launcher *l, pid_t pid, int status)
{
    for (size_t i = 0; i < HOSTS_MAX; i++)
        if (l->hosts[i] == pid) {
            l->hosts[i] = 0;
            kill_strangers(l, false);
            return;
        }
    if (pid != l->worker)
        return;
    l->worker = 0;
    l->exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : EXIT_FAILED;
    if (!l->ending || l->exit_code)
        log_warn("the worker has ended", "exit", log_int(l->exit_code), "signal",
                 log_int(WIFSIGNALED(status) ? WTERMSIG(status) : 0));
    if (!l->ending && !l->exit_code)
        l->exit_code = EXIT_FAILED;
    l->ending = true;
}

static void on_signals(struct launcher *l)
{
    struct signalfd_siginfo info;
    int status;
    pid_t pid;

    while (read(l->signals, &info, sizeof info) == (ssize_t)sizeof info)
        if (info.ssi_signo != SIGCHLD && l->worker) {
            l->ending = true;
            (void)kill(l->worker, SIGTERM);
        }
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
        on_death(l, pid, status);
}

static void run(struct launcher *l)
{
    while (l->worker) {
        struct pollfd p[] = {{.fd = l->signals, .events = POLLIN},
                             {.fd = l->socket, .events = POLLIN}};

        if (poll(p, 2, -1) < 0)
            continue;
        if (p[1].revents)
            on_request(l);
        if (p[0].revents)
            on_signals(l);
    }
}

/* The sockets of the tool hosts are closed with the worker, so they end; what does not, is made
 * to. Returns when there is no child left. */
static void end_all(struct launcher *l)
{
    int64_t until = clock_mono_ms() + END_MS;

    for (;;) {
        struct pollfd p = {.fd = l->signals, .events = POLLIN};
        int64_t left = until - clock_mono_ms();

        on_signals(l);
        if (waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD)
            return;
        kill_strangers(l, left <= 0);
        (void)poll(&p, 1, left > 0 ? (int)left : 20);
    }
}

static enum err_code prepare(struct launcher *l, struct err *err)
{
    struct sandbox_report report;
    sigset_t wanted;
    char *json;
    enum err_code code;

    if (str_is_empty(getenv("WORKSPACE_ROOT")))
        return err_set(err, ERR_INVALID, "WORKSPACE_ROOT is not set");
    sandbox_probe(getenv("STIGMER_SANDBOX_EGRESS"), &report);
    code = sandbox_require(&report, getenv("STIGMER_SANDBOX_REQUIRE"), err);
    if (code)
        return code;
    if (report.egress_note[0])
        log_warn("egress is reduced", "note", report.egress_note);
    json = sandbox_report_json(&report);
    (void)setenv("STIGMER_SANDBOX_REPORT", json, 1);
    free(json);
    sigemptyset(&wanted);
    sigaddset(&wanted, SIGCHLD);
    sigaddset(&wanted, SIGTERM);
    sigaddset(&wanted, SIGINT);
    sigaddset(&wanted, SIGHUP);
    (void)sigprocmask(SIG_BLOCK, &wanted, NULL);
    l->signals = signalfd(-1, &wanted, SFD_CLOEXEC | SFD_NONBLOCK);
    l->exe_fd = open("/proc/self/exe", O_PATH | O_CLOEXEC);
    if (l->signals < 0 || l->exe_fd < 0 || prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0)
        return err_sys(err, errno, "cannot prepare");
    return ERR_OK;
}

static enum err_code start(struct launcher *l, struct err *err)
{
    int pair[2];
    OWN_FD int keys = -1;
    enum err_code code = prepare(l, err);

    if (!code)
        code = key_files_seal(&keys, err);
    if (code)
        return code;
    /* After the probe's children: nothing may look into this process from now on. */
    (void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return err_sys(err, errno, "cannot make a socket");
    l->socket = pair[0];
    code = start_worker(l, pair[1], keys, err);
    (void)close(pair[1]);
    return code;
}

int launcher_main(int argc, char **argv)
{
    struct launcher l = {.exe_fd = -1, .socket = -1, .signals = -1, .self = getpid()};
    struct err err = {0};
    enum err_code code;

    (void)argc;
    (void)argv;
    log_set_unit("launcher");
    l.in_container = getpid() == 1 && geteuid() == 0;
    if (!l.in_container) /* a server that is killed leaves no runner behind */
        (void)prctl(PR_SET_PDEATHSIG, SIGTERM, 0, 0, 0);
    code = start(&l, &err);
    if (code) {
        log_error("cannot start", "code", err_code_name(code), "error", err.msg, "hint", err.hint);
        return (int)err_code_exit(code);
    }
    /* From here on no outside error ends us: only the worker's end does. */
    log_info("started", "container", l.in_container ? "true" : "false");
    run(&l);
    end_all(&l);
    return l.exit_code;
}
