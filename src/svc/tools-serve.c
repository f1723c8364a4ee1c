#include "svc/tools-serve.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/own.h"
#include "base/str.h"
#include "core/tooldef.h"
#include "svc/tools-exec.h"
#include "wire/toolproto.h"

enum {
    JOBS_MAX = 16,
    CHUNK = 64 << 10,
    TIMEOUT_S = 120,
    UNREAD_MAX = 8 << 20 /* answers the worker has not taken: no further call is read */
};

struct job {
    uint64_t id;
    struct tools_exec *exec; /* owned; NULL: a free place */
    bool cancelled;          /* nobody wants the answer */
};

struct serve {
    const struct tools *tools; /* borrowed */
    int socket;
    int signals; /* owned */
    bool direct_network;
    bool ending; /* no more calls; wait for the children */
    struct buf in, out;
    struct job jobs[JOBS_MAX];
};

static void answer(struct serve *s, bool good, uint64_t id, const struct buf *text)
{
    size_t len = text->len < TOOLPROTO_REPLY_MAX ? text->len : TOOLPROTO_REPLY_MAX;

    toolproto_put(&s->out, good ? TOOLPROTO_RESULT : TOOLPROTO_ERROR, id, buf_text(text), len);
}

static void refuse(struct serve *s, uint64_t id, const struct err *err)
{
    toolproto_put(&s->out, TOOLPROTO_ERROR, id, err->msg, strlen(err->msg));
}

static struct job *free_job(struct serve *s)
{
    for (size_t i = 0; i < JOBS_MAX; i++)
        if (!s->jobs[i].exec)
            return &s->jobs[i];
    return NULL;
}

/* What a command sees: nothing of this process, and the run's own names last so that they win. */
static char **make_env(const struct serve *s, char *const *own)
{
    const char *base[][2] = {{"PATH", "/usr/local/bin:/usr/bin:/bin"},
                             {"HOME", s->tools->root},
                             {"PWD", s->tools->root},
                             {"TMPDIR", s->tools->tmp},
                             {"LANG", "C.UTF-8"},
                             {"TERM", "dumb"},
                             /* names are resolved over TCP: there is no UDP */
                             {s->direct_network ? "RES_OPTIONS" : NULL, "use-vc"}};
    char **env = mem_array(sizeof base / sizeof *base + TOOLPROTO_ENV_MAX + 1, sizeof *env);
    size_t n = 0;

    for (size_t i = 0; i < sizeof base / sizeof *base && base[i][0]; i++) {
        size_t len = strlen(base[i][0]), size = len + strlen(base[i][1]) + 2;
        bool replaced = false;

        for (size_t k = 0; own[k]; k++)
            replaced = replaced || (strncmp(own[k], base[i][0], len) == 0 && own[k][len] == '=');
        if (replaced)
            continue;
        env[n] = mem_new(size);
        (void)str_format(env[n++], size, "%s=%s", base[i][0], base[i][1]);
    }
    for (size_t k = 0; own[k]; k++)
        env[n++] = mem_str(own[k]);
    return env;
}

static void free_env(char **env)
{
    for (size_t i = 0; env[i]; i++)
        free(env[i]);
    free(env);
}

static enum err_code start_command(struct serve *s, struct job *j, const struct toolproto_call *c,
                                   const json_t *args, struct err *err)
{
    const json_t *timeout = json_object_get(args, "timeout_seconds");
    char **env = make_env(s, c->env);
    const struct tools_exec_command cmd = {
        .command = json_string_value(json_object_get(args, "command")),
        .working_dir = json_string_value(json_object_get(args, "working_dir")),
        .env = env,
        .timeout_s = timeout ? json_integer_value(timeout) : TIMEOUT_S,
    };
    enum err_code code = tools_exec_start(s->tools, &cmd, clock_mono_ms(), &j->exec, err);

    free_env(env);
    return code;
}

static enum err_code run_quick(struct serve *s, uint64_t id, const char *name, const json_t *args,
                               struct err *err)
{
    static const struct {
        const char *name;
        tools_fn *fn;
    } quick[] = {{"read_file", tools_file_read},
                 {"write_file", tools_file_write},
                 {"edit_file", tools_edit_file},
                 {"ls", tools_file_ls}};

    for (size_t i = 0; i < sizeof quick / sizeof *quick; i++) {
        struct buf out = {0};
        enum err_code code;

        if (!str_eq(quick[i].name, name))
            continue;
        code = quick[i].fn(s->tools, args, &out, err);
        if (!code)
            answer(s, true, id, &out);
        buf_done(&out);
        return code;
    }
    return err_set(err, ERR_INVALID, "there is no tool '%.60s' here", name);
}

static enum err_code begin(struct serve *s, uint64_t id, const struct toolproto_call *c,
                           const json_t *args, struct err *err)
{
    bool is_command = str_eq(c->name, "execute"), is_glob = str_eq(c->name, "glob");
    struct job *j;
    enum err_code code;

    if (!is_command && !is_glob && !str_eq(c->name, "grep"))
        return run_quick(s, id, c->name, args, err);
    j = free_job(s);
    if (!j)
        return err_set(err, ERR_LIMIT, "%d commands are running already; wait for one to end",
                       JOBS_MAX);
    *j = (struct job){.id = id};
    if (is_command)
        code = start_command(s, j, c, args, err);
    else
        code = tools_exec_search(s->tools, is_glob ? tools_search_glob : tools_search_grep, args,
                                 clock_mono_ms(), &j->exec, err);
    return code;
}

static enum err_code on_call(struct serve *s, const struct toolproto_frame *f, struct err *err)
{
    struct toolproto_call c;
    struct err why = {0};
    const struct tooldef *def;
    enum err_code code = toolproto_call_parse(f->body, f->len, &c, err);

    if (code)
        return code;
    def = tooldef_find(c.name);
    if (!def || def->in_loop)
        code = err_set(&why, ERR_INVALID, "there is no tool '%.60s' here", c.name);
    else
        code = tooldef_check(def, c.args_json, &why);
    if (!code) {
        json_t *args = json_loads(c.args_json, 0, NULL);

        code = begin(s, f->id, &c, args, &why);
        json_decref(args);
    }
    if (code)
        refuse(s, f->id, &why);
    toolproto_call_done(&c);
    return ERR_OK;
}

static void on_cancel(struct serve *s, uint64_t id)
{
    for (size_t i = 0; i < JOBS_MAX; i++)
        if (s->jobs[i].exec && s->jobs[i].id == id) {
            s->jobs[i].cancelled = true;
            tools_exec_kill(s->jobs[i].exec);
        }
}

static enum err_code on_input(struct serve *s, struct err *err)
{
    OWN_FREE char *chunk = mem_new(CHUNK);
    ssize_t n = read(s->socket, chunk, CHUNK);
    enum err_code code;

    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? ERR_OK : err_sys(err, errno, "worker's socket");
    if (n == 0) {
        s->ending = true;
        return ERR_OK;
    }
    code = buf_add(&s->in, chunk, (size_t)n, err);
    while (!code) {
        struct toolproto_frame f;
        size_t used;

        code = toolproto_next(s->in.data, s->in.len, TOOLPROTO_CALL_MAX, &f, &used, err);
        if (code || !used)
            break;
        if (f.kind == TOOLPROTO_CALL)
            code = on_call(s, &f, err);
        else if (f.kind == TOOLPROTO_CANCEL)
            on_cancel(s, f.id);
        else
            code = err_set(err, ERR_CORRUPT, "a frame that only a host sends");
        buf_shift(&s->in, used);
    }
    return code;
}

static void on_output(struct serve *s)
{
    ssize_t n = send(s->socket, s->out.data, s->out.len, MSG_NOSIGNAL | MSG_DONTWAIT);

    if (n > 0)
        buf_shift(&s->out, (size_t)n);
    else if (n < 0 && errno != EAGAIN && errno != EINTR)
        s->ending = true;
}

static void end_job(struct serve *s, struct job *j, int status)
{
    struct buf text = {0};
    bool good = tools_exec_finish(j->exec, status, &text);

    if (!j->cancelled && !s->ending)
        answer(s, good, j->id, &text);
    buf_done(&text);
    tools_exec_free(j->exec);
    *j = (struct job){0};
}

/* Also orphans of a keeper that was killed from outside: they are this process's children. */
static void on_children(struct serve *s)
{
    struct signalfd_siginfo info;
    int status;
    pid_t pid;

    while (read(s->signals, &info, sizeof info) == (ssize_t)sizeof info)
        if (info.ssi_signo == SIGTERM)
            s->ending = true;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
        for (size_t i = 0; i < JOBS_MAX; i++)
            if (s->jobs[i].exec && tools_exec_pid(s->jobs[i].exec) == pid)
                end_job(s, &s->jobs[i], status);
}

static bool has_jobs(const struct serve *s)
{
    for (size_t i = 0; i < JOBS_MAX; i++)
        if (s->jobs[i].exec)
            return true;
    return false;
}

static int next_deadline(struct serve *s)
{
    int64_t now = clock_mono_ms(), next = INT64_MAX;

    for (size_t i = 0; i < JOBS_MAX; i++) {
        if (!s->jobs[i].exec)
            continue;
        if (tools_exec_deadline(s->jobs[i].exec) <= now)
            tools_exec_on_deadline(s->jobs[i].exec);
        if (tools_exec_deadline(s->jobs[i].exec) < next)
            next = tools_exec_deadline(s->jobs[i].exec);
    }
    if (next == INT64_MAX)
        return -1;
    return next - now > INT_MAX ? INT_MAX : next > now ? (int)(next - now) : 0;
}

static enum err_code turn(struct serve *s, struct err *err)
{
    struct pollfd p[JOBS_MAX + 2];
    int timeout = next_deadline(s);

    p[0] = (struct pollfd){
        .fd = s->ending ? -1 : s->socket,
        .events = (short)((s->out.len < UNREAD_MAX ? POLLIN : 0) | (s->out.len ? POLLOUT : 0))};
    p[1] = (struct pollfd){.fd = s->signals, .events = POLLIN};
    for (size_t i = 0; i < JOBS_MAX; i++)
        p[i + 2] = (struct pollfd){.fd = s->jobs[i].exec ? tools_exec_fd(s->jobs[i].exec) : -1,
                                   .events = POLLIN};
    if (poll(p, JOBS_MAX + 2, timeout) < 0)
        return errno == EINTR ? ERR_OK : err_sys(err, errno, "poll");
    for (size_t i = 0; i < JOBS_MAX; i++)
        if (p[i + 2].revents && s->jobs[i].exec)
            tools_exec_on_readable(s->jobs[i].exec);
    if (p[1].revents)
        on_children(s);
    if (p[0].revents & POLLOUT)
        on_output(s);
    return p[0].revents & (POLLIN | POLLHUP | POLLERR) ? on_input(s, err) : ERR_OK;
}

enum err_code tools_serve(const struct tools *t, int socket, bool direct_network, struct err *err)
{
    struct serve s = {.tools = t, .socket = socket, .direct_network = direct_network};
    enum err_code code = ERR_OK;
    sigset_t wanted;
    bool told = false;

    sigemptyset(&wanted);
    sigaddset(&wanted, SIGCHLD);
    sigaddset(&wanted, SIGTERM);
    if (sigprocmask(SIG_BLOCK, &wanted, NULL) < 0)
        return err_sys(err, errno, "signals");
    s.signals = signalfd(-1, &wanted, SFD_CLOEXEC | SFD_NONBLOCK);
    if (s.signals < 0)
        return err_sys(err, errno, "signals");
    buf_init(&s.in, TOOLPROTO_CALL_MAX + CHUNK + 64);
    toolproto_put(&s.out, TOOLPROTO_READY, 0, "", 0);
    while (!s.ending || has_jobs(&s)) {
        if (s.ending && !told)
            for (size_t i = 0; i < JOBS_MAX; i++)
                if (s.jobs[i].exec)
                    tools_exec_kill(s.jobs[i].exec);
        told = s.ending;
        if (turn(&s, err)) {
            code = err ? err->code : ERR_CORRUPT;
            s.ending = true;
        }
    }
    buf_done(&s.in);
    buf_done(&s.out);
    (void)close(s.signals);
    return code;
}
