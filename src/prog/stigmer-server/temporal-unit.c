#include "prog/stigmer-server/temporal-unit.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/own.h"
#include "base/str.h"
#include "platform/sock.h"
#include "prog/stigmer-server/runner-unit.h"
#include "svc/backend-process.h"

#define ARGS 32
#define UI_PORT "8233"
#define PATH_TEXT 4096
#define PATH_DEFAULT "/usr/local/bin:/usr/bin:/bin"

struct unit_of_temporal {
    struct runner_backend base;
    struct loop *loop;           /* borrowed */
    const struct config *config; /* borrowed */
    const struct paths *paths;   /* borrowed */
    struct runner_backend
        *inner;               /* owned; of this start; NULL: there was none, or it was blocked */
    struct loop_timer *later; /* owned; tells of a block after start has returned */
    struct err blocked;
    struct temporal_unit_place place;
    char keeper[PATHS_MAX], program[PATHS_MAX], parent[16];
    char path_env[PATH_TEXT + 8], home_env[PATHS_MAX + 8];
    const char *argv[ARGS];
    const char *env[4];
    char ui[128], notice[300];
};

static struct unit_of_temporal *self(struct runner_backend *b)
{
    return (struct unit_of_temporal *)b; /* base is the first member */
}

/* ---- the program ------------------------------------------------------------------------- */

static bool is_program(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && S_ISREG(st.st_mode) && access(path, X_OK) == 0;
}

static const char *search_path(void)
{
    const char *path = getenv("PATH");

    return str_is_empty(path) ? PATH_DEFAULT : path;
}

static bool find_on_path(const char *name, char ret[PATHS_MAX])
{
    for (const char *p = search_path(); *p;) {
        size_t n = strcspn(p, ":");

        if (*p == '/' && str_format(ret, PATHS_MAX, "%.*s/%s", (int)n, p, name) && is_program(ret))
            return true;
        p += n + (p[n] == ':');
    }
    return false;
}

enum err_code temporal_unit_program(const struct config *c, char ret[PATHS_MAX], struct err *err)
{
    static const char hint[] =
        "get it (go install github.com/temporalio/cli/cmd/temporal@v1.5.1, or a release of "
        "github.com/temporalio/cli), or use the engine that needs none: --engine embedded";
    const char *name = config_get_str(c, CONFIG_TEMPORAL_BINARY);
    char found[PATHS_MAX];

    if (name[0] != '/' && strchr(name, '/'))
        return err_set(err, ERR_INVALID,
                       "temporal.binary: '%.200s' is neither an absolute path nor a plain name",
                       name);
    if (name[0] != '/' && !find_on_path(name, found))
        return err_hint(err,
                        err_set(err, ERR_SANDBOX,
                                "there is no program '%.100s' on PATH (%.300s); temporal.binary "
                                "can name its place",
                                name, search_path()),
                        "%s", hint);
    if (name[0] == '/' && (!is_program(name) || !str_format(found, sizeof found, "%s", name)))
        return err_hint(
            err,
            err_set(err, ERR_SANDBOX, "temporal.binary: there is no program at '%.300s'", name),
            "%s", hint);
    memcpy(ret, found, sizeof found);
    return ERR_OK;
}

/* ---- the place --------------------------------------------------------------------------- */

static enum err_code ui_port(const struct config *c, char ret[8], struct err *err)
{
    const char *url = config_get_str(c, CONFIG_TEMPORAL_UI), *at = url + strlen("http://");
    char address[128];
    size_t len;

    if (str_is_empty(url)) {
        (void)str_format(ret, 8, "%s", UI_PORT);
        return ERR_OK;
    }
    len = str_starts(url, "http://") ? strcspn(at, "/") : 0;
    if (!len || !str_format(address, sizeof address, "%.*s", (int)len, at) ||
        !config_is_loopback(address) || !str_format(ret, 8, "%s", strrchr(address, ':') + 1))
        return err_hint(err,
                        err_set(err, ERR_INVALID,
                                "temporal.ui: '%.120s' is no address that a server started here "
                                "can have",
                                url),
                        "stigmer config set temporal.ui http://127.0.0.1:8233");
    return ERR_OK;
}

enum err_code temporal_unit_place(const struct config *c, struct temporal_unit_place *ret,
                                  struct err *err)
{
    const char *address = config_get_str(c, CONFIG_TEMPORAL_ADDRESS);
    struct temporal_unit_place p = {{0}};
    char host[SOCK_HOST];

    if (!config_is_loopback(address) || !sock_host(address, host) || str_ends(address, ":0"))
        return err_hint(err,
                        err_set(err, ERR_INVALID,
                                "temporal.address: a server started here listens on a port of "
                                "loopback only, not on '%.120s'",
                                address),
                        "use a server that is there: temporal.managed false");
    (void)str_format(p.host, sizeof p.host, "%.60s",
                     str_eq(host, "localhost") ? "127.0.0.1" : host);
    (void)str_format(p.port, sizeof p.port, "%s", strrchr(address, ':') + 1);
    if (ui_port(c, p.ui_port, err))
        return err ? err->code : ERR_INVALID;
    *ret = p;
    return ERR_OK;
}

static enum err_code check_port(const char *host, const char *port, struct err *err)
{
    char address[96];
    OWN_FD int fd = -1;

    (void)str_format(address, sizeof address, strchr(host, ':') ? "[%s]:%s" : "%s:%s", host, port);
    return sock_listen(address, 0, &fd, err);
}

/* A UI is no reason not to start. */
static void choose_ui(struct unit_of_temporal *u)
{
    struct err err;

    if (check_port(u->place.host, u->place.ui_port, &err))
        (void)str_format(u->notice, sizeof u->notice,
                         "Temporal has no web UI: %.150s; temporal.ui can name another address",
                         err.msg);
    else
        (void)str_format(u->ui, sizeof u->ui,
                         strchr(u->place.host, ':') ? "http://[%s]:%s" : "http://%s:%s",
                         u->place.host, u->place.ui_port);
    if (u->notice[0])
        log_warn("temporal has no web UI", "why", err.msg);
}

/* ---- a start ----------------------------------------------------------------------------- */

static enum err_code find_all(struct unit_of_temporal *u, struct err *err)
{
    char folder[PATHS_MAX];
    enum err_code code;

    if ((code = temporal_unit_place(u->config, &u->place, err)) ||
        (code = temporal_unit_program(u->config, u->program, err)) ||
        (code = runner_unit_libexec(folder, err)))
        return code;
    if (!str_format(u->keeper, sizeof u->keeper, "%s/stigmer-keeper", folder))
        return err_set(err, ERR_INVALID, "the path '%s' is too long", folder);
    if (mkdir(u->paths->temporal_dir, 0700) < 0 && errno != EEXIST)
        return err_sys(err, errno, "make the folder '%s'", u->paths->temporal_dir);
    if ((code = check_port(u->place.host, u->place.port, err)))
        return err_hint(err, code,
                        "stop that process, or choose another: stigmer config set "
                        "temporal.address 127.0.0.1:PORT, with temporal.managed true; false "
                        "uses the Temporal server that is there");
    choose_ui(u);
    return ERR_OK;
}

/* How often Temporal looks for tasks that it can hand on. Its own 20 a second is meant for a
 * cluster that many share: each step of a run waits 50 ms for that. Here it is this person's alone,
 * and it looks only when there is something. */
#define TASKS_A_SECOND(what) "history.transferProcessor" what "=1000"

static void fill_command(struct unit_of_temporal *u)
{
    const char *namespace = config_get_str(u->config, CONFIG_TEMPORAL_NAMESPACE);
    const char *const words[] = {u->keeper,
                                 "--tied",
                                 u->parent,
                                 u->program,
                                 "server",
                                 "start-dev",
                                 "--ip",
                                 u->place.host,
                                 "--port",
                                 u->place.port,
                                 "--db-filename",
                                 u->paths->temporal_db,
                                 "--namespace",
                                 namespace,
                                 "--log-level",
                                 "warn",
                                 "--color",
                                 "never",
                                 "--dynamic-config-value",
                                 TASKS_A_SECOND("MaxPollRPS"),
                                 "--dynamic-config-value",
                                 TASKS_A_SECOND("MaxPollHostRPS")};
    size_t n = sizeof words / sizeof words[0];

    (void)str_format(u->parent, sizeof u->parent, "%d", (int)getpid());
    (void)str_format(u->path_env, sizeof u->path_env, "PATH=%.4000s", search_path());
    (void)str_format(u->home_env, sizeof u->home_env, "HOME=%s", u->paths->temporal_dir);
    memcpy(u->argv, words, sizeof words);
    if (*u->ui) {
        u->argv[n++] = "--ui-port";
        u->argv[n++] = u->place.ui_port;
    } else {
        u->argv[n++] = "--headless";
    }
    u->argv[n] = NULL;
    u->env[0] = u->path_env;
    u->env[1] = u->home_env;
    u->env[2] = NULL;
}

static void drop_inner(struct unit_of_temporal *u)
{
    if (u->inner)
        u->inner->ops->free(u->inner);
    u->inner = NULL;
}

static void start(struct runner_backend *b)
{
    struct unit_of_temporal *u = self(b);

    drop_inner(u);
    u->ui[0] = u->notice[0] = '\0';
    if (find_all(u, &u->blocked)) {
        loop_timer_in(u->later, 0);
        return;
    }
    fill_command(u);
    u->inner = backend_process_new(
        u->loop, &(struct backend_process_config){
                     .what = "temporal",
                     .argv = u->argv,
                     .envp = u->env,
                     .log_file = u->paths->log_temporal,
                     .log_max_size = config_get_size(u->config, CONFIG_SERVER_LOG_MAX_SIZE),
                     .log_max_files = (int)config_get_int(u->config, CONFIG_SERVER_LOG_MAX_FILES),
                     .foreign = true});
    u->inner->events = u->base.events;
    u->inner->ops->start(u->inner);
}

static void tell_blocked(void *arg)
{
    struct unit_of_temporal *u = arg;

    u->base.events.on_blocked(&u->blocked, u->base.events.arg);
}

static void stop(struct runner_backend *b)
{
    if (self(b)->inner)
        self(b)->inner->ops->stop(self(b)->inner);
}

static void kill_now(struct runner_backend *b)
{
    if (self(b)->inner)
        self(b)->inner->ops->kill(self(b)->inner);
}

/* ---- as a backend -------------------------------------------------------------------------- */

static const char *kind_of(const struct runner_backend *b)
{
    (void)b;
    return "process";
}

static pid_t pid_of(const struct runner_backend *b)
{
    const struct runner_backend *inner = ((const struct unit_of_temporal *)b)->inner;

    return inner ? inner->ops->pid(inner) : 0;
}

static const char *trouble_of(const struct runner_backend *b)
{
    const struct runner_backend *inner = ((const struct unit_of_temporal *)b)->inner;

    return inner ? inner->ops->trouble(inner) : "";
}

static const char *nothing(const struct runner_backend *b)
{
    (void)b;
    return "";
}

static void free_unit(struct runner_backend *b)
{
    struct unit_of_temporal *u = self(b);

    drop_inner(u);
    loop_timer_free(u->later);
    free(u);
}

const char *temporal_unit_ui(const struct runner_backend *b)
{
    return ((const struct unit_of_temporal *)b)->ui;
}

const char *temporal_unit_notice(const struct runner_backend *b)
{
    return ((const struct unit_of_temporal *)b)->notice;
}

struct runner_backend *temporal_unit_new(struct loop *loop, const struct config *config,
                                         const struct paths *paths)
{
    static const struct runner_backend_ops ops = {.kind = kind_of,
                                                  .runtime = kind_of,
                                                  .start = start,
                                                  .stop = stop,
                                                  .kill = kill_now,
                                                  .pid = pid_of,
                                                  .container_id = nothing,
                                                  .trouble = trouble_of,
                                                  .free = free_unit};
    struct unit_of_temporal *u = mem_new(sizeof *u);

    u->base.ops = &ops;
    u->loop = loop;
    u->config = config;
    u->paths = paths;
    u->later = loop_timer_new(loop, tell_blocked, u);
    return &u->base;
}
