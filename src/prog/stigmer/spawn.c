#include "prog/stigmer/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/own.h"
#include "base/str.h"

#define ARGS_MAX 200
#define READY_LINE_MAX 65536
#define OUTPUT_MAX ((size_t)4 << 20)
#define EARLY_MS 5000 /* for the keeper to end after its server */
#define TELL_MS 1000  /* a longer wait says what it is for */

static const char *const secret_names[] = {"ANTHROPIC_API_KEY", "OPENAI_API_KEY",
                                           "STIGMER_LLM_API_KEY", NULL};

struct launch {
    char program[PATHS_MAX];
    const char *argv[ARGS_MAX + 1];
    const char **envp;       /* owned array of borrowed text */
    char secrets_number[12]; /* the descriptor that the server finds the keys at */
    int log_fd, secrets_fd, ready_fd;
};

/* The environment without the keys and the token. */
static const char **clean_environment(void)
{
    size_t n = 0, kept = 0;
    const char **envp;

    while (environ[n])
        n++;
    envp = mem_array(n + 1, sizeof *envp);
    for (size_t i = 0; i < n; i++) {
        bool secret = str_starts(environ[i], "STIGMER_TOKEN="); /* the caller's, no server's */
        for (size_t k = 0; secret_names[k]; k++) {
            size_t len = strlen(secret_names[k]);
            secret |= strncmp(environ[i], secret_names[k], len) == 0 && environ[i][len] == '=';
        }
        if (!secret)
            envp[kept++] = environ[i];
    }
    return envp;
}

static enum err_code make_secrets(int *ret_fd, struct err *err)
{
    json_t *o = json_object();
    OWN_FD int fd = memfd_create("stigmer-secrets", MFD_CLOEXEC);
    char *text;
    bool ok;

    for (size_t i = 0; secret_names[i]; i++) {
        const char *value = getenv(secret_names[i]);
        if (!str_is_empty(value) && json_object_set_new(o, secret_names[i], json_string(value))) {
            json_decref(o);
            return err_set(err, ERR_INVALID, "%s is not valid text", secret_names[i]);
        }
    }
    text = json_dumps(o, JSON_COMPACT);
    json_decref(o);
    ok = text && fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text) &&
         lseek(fd, 0, SEEK_SET) == 0;
    if (text)
        explicit_bzero(text, strlen(text));
    free(text);
    if (!ok)
        return err_sys(err, errno, "cannot make the memory file for provider keys");
    *ret_fd = take_fd(&fd);
    return ERR_OK;
}

/* A service manager may have put sockets at 3 and above (sd_listen_fds(3)). */
static int after_sockets(void)
{
    const char *fds = getenv("LISTEN_FDS");
    int64_t count = 0;

    if (str_is_empty(fds) || str_to_int(fds, 0, 64, &count, NULL))
        count = 0;
    return 4 + (int)count;
}

static enum err_code prepare(const struct cli *cli, const char *const *sets, bool foreground,
                             struct launch *l, struct err *err)
{
    size_t n = 0;
    enum err_code code = cli_libexec(cli, "stigmer-server", l->program, err);

    if (code)
        return code;
    l->argv[n++] = l->program;
    l->argv[n++] = "--home";
    l->argv[n++] = cli->paths.home;
    if (!foreground) {
        l->argv[n++] = "--ready-fd";
        l->argv[n++] = "3";
    } else {
        l->argv[n++] = "--foreground";
    }
    (void)str_format(l->secrets_number, sizeof l->secrets_number, "%d",
                     foreground ? after_sockets() : 4);
    l->argv[n++] = "--secrets-fd";
    l->argv[n++] = l->secrets_number;
    for (; sets && *sets; sets++) {
        if (n + 2 > ARGS_MAX)
            return err_set(err, ERR_INVALID, "more than %d settings", (ARGS_MAX - 7) / 2);
        l->argv[n++] = "--set";
        l->argv[n++] = *sets;
    }
    l->argv[n] = NULL;
    code = make_secrets(&l->secrets_fd, err);
    if (!code)
        l->envp = clean_environment();
    return code;
}

static void launch_done(struct launch *l)
{
    free(l->envp);
    own_fd(&l->log_fd);
    own_fd(&l->secrets_fd);
    own_fd(&l->ready_fd);
}

/* In the child: only async-signal-safe calls. Sources are moved above the targets first, so that
 * no dup2 hits a descriptor that is still needed. */
static void run_child(const struct launch *l, int null_fd)
{
    int log_fd = fcntl(l->log_fd, F_DUPFD_CLOEXEC, 10);
    int ready = fcntl(l->ready_fd, F_DUPFD_CLOEXEC, 10);
    int secrets = fcntl(l->secrets_fd, F_DUPFD_CLOEXEC, 10);
    int in = fcntl(null_fd, F_DUPFD_CLOEXEC, 10);
    sigset_t none;

    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    if (log_fd < 0 || ready < 0 || secrets < 0 || in < 0 || setsid() < 0 || dup2(in, 0) < 0 ||
        dup2(log_fd, 1) < 0 || dup2(log_fd, 2) < 0 || dup2(ready, 3) < 0 || dup2(secrets, 4) < 0)
        _exit(127);
    execve(l->program, (char *const *)(uintptr_t)l->argv, (char *const *)(uintptr_t)l->envp);
    _exit(127);
}

static enum err_code fork_server(const struct cli *cli, struct launch *l, int *ret_read,
                                 pid_t *ret_pid, struct err *err)
{
    OWN_FD int null_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    OWN_FD int read_fd = -1;
    int ends[2];
    pid_t pid;

    l->log_fd = open(cli->paths.log_server, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (l->log_fd < 0)
        return err_sys(err, errno, "cannot open %s", cli->paths.log_server);
    if (null_fd < 0 || pipe2(ends, O_CLOEXEC))
        return err_sys(err, errno, "cannot make a pipe for the server");
    read_fd = ends[0];
    l->ready_fd = ends[1];
    pid = fork();
    if (pid < 0)
        return err_sys(err, errno, "cannot start a process");
    if (pid == 0)
        run_child(l, null_fd);
    own_fd(&l->ready_fd);
    l->ready_fd = -1;
    *ret_read = take_fd(&read_fd);
    *ret_pid = pid;
    return ERR_OK;
}

/* ---- how the start goes ------------------------------------------------------------------ */

struct start {
    const struct cli *cli;
    pid_t pid;
    int64_t began_ms;
    int64_t until_ms;
    json_t *ready; /* owned */
    bool failed;
    struct err *err;
    char progress[200];
    bool told; /* the latest progress is printed */
};

static void take_error(struct start *s, const json_t *e)
{
    const char *name = json_string_value(json_object_get(e, "code"));
    const char *message = json_string_value(json_object_get(e, "message"));
    const char *hint = json_string_value(json_object_get(e, "hint"));
    enum err_code code = err_code_named(name);

    s->failed = true;
    err_set(s->err, code, "%.900s", message ? message : "the server gave no reason");
    err_wrap(s->err, code, "server start failed");
    if (!str_is_empty(hint))
        err_hint(s->err, code, "%s", hint);
}

static void take_line(struct start *s, const char *line)
{
    json_t *o = json_loads(line, 0, NULL);
    const char *progress = json_string_value(json_object_get(o, "progress"));
    const json_t *error = json_object_get(o, "error");

    if (progress && !str_eq(progress, s->progress)) {
        (void)str_format(s->progress, sizeof s->progress, "%s", progress);
        s->told = false;
    } else if (json_is_object(error)) {
        take_error(s, error);
    } else if (json_is_true(json_object_get(o, "ready"))) {
        s->ready = json_incref(o);
    }
    json_decref(o);
}

static void take_lines(struct start *s, struct buf *b)
{
    char *end;

    while (!s->ready && !s->failed && b->len && (end = memchr(b->data, '\n', b->len))) {
        *end = '\0';
        take_line(s, (const char *)b->data);
        buf_shift(b, (size_t)((uint8_t *)end - b->data) + 1);
    }
}

/* What is waited for is said once a wait is longer than a second. */
static void tell_progress(struct start *s)
{
    if (s->told || !s->progress[0] || clock_mono_ms() - s->began_ms < TELL_MS)
        return;
    s->told = true;
    cli_note(s->cli, "%s …", s->progress);
}

/* The server's end of the pipe is closed. Its keeper ends too, but for a server that was killed
 * from outside: that one is started again, and nobody tells us of it. */
static enum err_code ended_early(struct start *s)
{
    int64_t until = clock_mono_ms() + EARLY_MS;
    int status = 0;
    pid_t got;

    while ((got = waitpid(s->pid, &status, WNOHANG)) == 0 && clock_mono_ms() < until)
        (void)poll(NULL, 0, 20);
    if (got == 0)
        return err_hint(
            s->err,
            err_set(s->err, ERR_INTERNAL,
                    "the server was killed while it started; its keeper starts it again"),
            "stigmer server status");
    if (WIFSIGNALED(status))
        return err_set(s->err, ERR_INTERNAL,
                       "server start failed: the server was ended by signal %d before it was ready",
                       WTERMSIG(status));
    if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
        return err_set(s->err, ERR_INTERNAL, "server start failed: the program could not be run");
    return err_set(s->err, ERR_INTERNAL,
                   "server start failed: the server ended with exit code %d before it was ready",
                   WIFEXITED(status) ? WEXITSTATUS(status) : -1);
}

/* The whole session of the start that did not succeed: the keeper ends its children itself. */
static void end_start(struct start *s)
{
    for (int i = 0; i < 2; i++) {
        int sig = i ? SIGKILL : SIGTERM;
        int64_t until = clock_mono_ms() + 10000;
        kill(i ? -s->pid : s->pid, sig); /* our own child, not yet waited for: it is nobody else */
        while (clock_mono_ms() < until) {
            pid_t got = waitpid(s->pid, NULL, WNOHANG);
            if (got == s->pid || (got < 0 && errno != EINTR))
                return;
            (void)poll(NULL, 0, 10);
        }
    }
}

static enum err_code follow_start(struct start *s, int fd)
{
    struct buf b;
    enum err_code code = ERR_OK;

    buf_init(&b, READY_LINE_MAX);
    while (!s->ready && !s->failed && !code) {
        struct pollfd pfd = {.fd = fd, .events = POLLIN};
        int64_t now = clock_mono_ms(), next = s->until_ms;
        char chunk[4096];
        ssize_t got;
        if (!s->told && s->progress[0] && s->began_ms + TELL_MS < next)
            next = s->began_ms + TELL_MS;
        if (now >= s->until_ms) {
            code = err_hint(s->err,
                            err_set(s->err, ERR_TIMEOUT,
                                    "server start failed: not ready after %lld s%s%s",
                                    (long long)((now - s->began_ms) / 1000),
                                    s->progress[0] ? "; the last step was: " : "", s->progress),
                            "give it more time with --wait-timeout 2m");
            end_start(s);
            break;
        }
        if (poll(&pfd, 1, next > now ? (int)(next - now) : 0) > 0) {
            got = read(fd, chunk, sizeof chunk);
            if (got > 0)
                code = buf_add(&b, chunk, (size_t)got, s->err);
            else if (got == 0)
                code = ended_early(s);
            take_lines(s, &b);
        }
        tell_progress(s);
    }
    buf_done(&b);
    if (s->failed) {
        end_start(s);
        return s->err->code;
    }
    return code;
}

/* How long a log is now; 0 when there is none. */
static int64_t log_size(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 ? (int64_t)st.st_size : 0;
}

static void tell_last_log_lines(const struct cli *cli, const char *path, int64_t from)
{
    OWN_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
    static const size_t most = 4000;
    char chunk[4001];
    off_t end = fd < 0 ? -1 : lseek(fd, 0, SEEK_END);
    ssize_t n;
    const char *p;
    int lines = 0;

    if (end <= from || cli->quiet)
        return;
    if (end - from > (off_t)most)
        from = end - (off_t)most;
    n = pread(fd, chunk, most, from);
    if (n <= 0)
        return;
    chunk[n] = '\0';
    for (p = chunk + n - 1; p > chunk; p--)
        if (p[-1] == '\n' && ++lines >= 5)
            break;
    while (*p) { /* the last five, each made safe for the terminal by cli_note */
        size_t len = strcspn(p, "\n");
        cli_note(cli, "  %.*s", (int)(len < 2000 ? len : 2000), p);
        p += len + (p[len] == '\n');
    }
}

enum err_code spawn_server(const struct cli *cli, const struct spawn_how *how, json_t **ret,
                           struct err *err)
{
    struct launch l = {.log_fd = -1, .secrets_fd = -1, .ready_fd = -1};
    struct start s = {.cli = cli, .began_ms = clock_mono_ms(), .err = err};
    OWN_FD int read_fd = -1;
    int64_t server_from = log_size(cli->paths.log_server);
    int64_t temporal_from = log_size(cli->paths.log_temporal);
    enum err_code code = prepare(cli, how->sets, false, &l, err);

    if (!code)
        code = fork_server(cli, &l, &read_fd, &s.pid, err);
    launch_done(&l);
    if (code)
        return code;
    *ret = NULL;
    if (!how->wait)
        return ERR_OK;
    s.until_ms = s.began_ms + how->timeout_ms;
    code = follow_start(&s, read_fd);
    if (!code) {
        *ret = s.ready;
        return ERR_OK;
    }
    tell_last_log_lines(cli, cli->paths.log_server, server_from);
    tell_last_log_lines(cli, cli->paths.log_temporal, temporal_from);
    return code;
}

enum err_code spawn_foreground(const struct cli *cli, const char *const *sets, struct err *err)
{
    struct launch l = {.log_fd = -1, .secrets_fd = -1, .ready_fd = -1};
    enum err_code code = prepare(cli, sets, true, &l, err);

    if (!code && dup2(l.secrets_fd, after_sockets()) < 0)
        code = err_sys(err, errno, "cannot hand over the provider keys");
    if (!code) {
        if (l.secrets_fd == after_sockets()) /* dup2 to itself keeps close-on-exec */
            (void)fcntl(l.secrets_fd, F_SETFD, 0);
        execve(l.program, (char *const *)(uintptr_t)l.argv, (char *const *)(uintptr_t)l.envp);
        code = err_sys(err, errno, "cannot run %s", l.program);
    }
    launch_done(&l);
    return code;
}

/* ---- the server program as a tool -------------------------------------------------------- */

static enum err_code read_all(const struct cli *cli, const char *doing, int fd, struct buf *ret,
                              struct err *err)
{
    struct pollfd pfd = {.fd = fd, .events = POLLIN};
    char chunk[16384];
    ssize_t n;

    if (poll(&pfd, 1, TELL_MS) == 0)
        cli_note(cli, "%s …", doing);
    while ((n = read(fd, chunk, sizeof chunk)) != 0) {
        enum err_code code;
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_sys(err, errno, "cannot read what stigmer-server says");
        code = buf_add(ret, chunk, (size_t)n, err);
        if (code)
            return code;
    }
    return ERR_OK;
}

/* argv: room for SPAWN_ARGS; the program, our home, then args. */
#define SPAWN_ARGS 20

static enum err_code start_tool(const struct cli *cli, const char *const *args, bool bound,
                                int *ret_fd, pid_t *ret_pid, struct err *err)
{
    const char *argv[SPAWN_ARGS] = {NULL, "--home", cli->paths.home};
    char program[PATHS_MAX];
    int ends[2];
    size_t n = 3;
    pid_t pid;
    enum err_code code = cli_libexec(cli, "stigmer-server", program, err);

    if (code)
        return code;
    argv[0] = program;
    for (; args[n - 3] && n < SPAWN_ARGS - 1; n++)
        argv[n] = args[n - 3];
    if (pipe2(ends, O_CLOEXEC))
        return err_sys(err, errno, "cannot make a pipe");
    pid = fork();
    if (pid == 0) {
        if (dup2(ends[1], 1) < 0 || (bound && prctl(PR_SET_PDEATHSIG, SIGKILL)))
            _exit(127);
        execv(program, (char *const *)(uintptr_t)argv);
        _exit(127);
    }
    close(ends[1]);
    if (pid < 0) {
        close(ends[0]);
        return err_sys(err, errno, "cannot start a process");
    }
    *ret_fd = ends[0];
    *ret_pid = pid;
    return ERR_OK;
}

static int wait_for(pid_t pid)
{
    int status = 0;

    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    return status;
}

enum err_code spawn_output(const struct cli *cli, const char *const *args, const char *doing,
                           struct buf *ret, struct err *err)
{
    int fd, status;
    pid_t pid;
    enum err_code code = start_tool(cli, args, false, &fd, &pid, err);

    if (code)
        return code;
    ret->max = OUTPUT_MAX;
    code = read_all(cli, doing, fd, ret, err);
    close(fd);
    status = wait_for(pid);
    if (!code && (!WIFEXITED(status) || WEXITSTATUS(status) > EXIT_FAILED))
        code = err_set(err, ERR_INTERNAL, "stigmer-server %s failed (%s %d)", args[0],
                       WIFEXITED(status) ? "exit code" : "signal",
                       WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
    return code;
}

enum err_code spawn_lines(const struct cli *cli, const char *const *args, spawn_line_fn *fn,
                          void *arg, struct err *err)
{
    OWN_BUF struct buf b = {0};
    char chunk[16384], *end;
    ssize_t n;
    int fd, status;
    pid_t pid;
    enum err_code code = start_tool(cli, args, false, &fd, &pid, err);

    if (code)
        return code;
    buf_init(&b, OUTPUT_MAX);
    while (!code && ((n = read(fd, chunk, sizeof chunk)) > 0 || (n < 0 && errno == EINTR))) {
        if (n > 0)
            code = buf_add(&b, chunk, (size_t)n, err);
        while (b.len && (end = memchr(b.data, '\n', b.len))) {
            *end = '\0';
            fn((const char *)b.data, (size_t)((uint8_t *)end - b.data), arg);
            buf_shift(&b, (size_t)((uint8_t *)end - b.data) + 1);
        }
    }
    close(fd); /* one that has not ended writes into the void from here on */
    status = wait_for(pid);
    if (!code && WIFSIGNALED(status))
        code = err_set(err, ERR_INTERNAL, "stigmer-server %s was ended by signal %d", args[0],
                       WTERMSIG(status));
    return code;
}

enum err_code spawn_cleanup(const struct cli *cli, struct err *err)
{
    static const char *const args[] = {"--cleanup", NULL};
    OWN_BUF struct buf b = {0};

    return spawn_output(cli, args, "removing what the server left", &b, err);
}

enum err_code spawn_stream(const struct cli *cli, const char *const *args, int *ret_fd,
                           pid_t *ret_pid, struct err *err)
{
    return start_tool(cli, args, true, ret_fd, ret_pid, err);
}

void spawn_end(pid_t pid)
{
    kill(pid, SIGKILL);
    (void)wait_for(pid);
}
