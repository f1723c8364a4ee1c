#include "prog/stigmer-server/runner-unit.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/own.h"
#include "base/str.h"
#include "clients/docker.h"
#include "prog/stigmer-server/engine-file.h"
#include "svc/backend-docker.h"
#include "svc/backend-process.h"
#include "svc/engine-temporal.h"
#include "svc/keys.h"

#define ENV_MAX 24
#define ENV_TEXT (PATHS_MAX + 64)
#define STICK_MS 10000 /* how long the engine of a container that was left is waited for */

struct runner_unit {
    struct runner_backend base;
    struct runner_unit_options o;
    struct loop *loop;            /* borrowed */
    struct runner_backend *inner; /* owned; the choice; NULL before the first */
    struct http *http;            /* owned; NULL while no engine is asked */
    struct docker *docker;        /* owned; likewise */
    struct docker_place place;    /* of docker */
    struct docker_call *ping;     /* while it is asked */
    struct loop_timer *later;     /* owned; goes on with the choice after start has returned */
    const char *const *choices;   /* "docker", … NULL-ended: in this order */
    size_t at;
    int64_t stick_until; /* 0: nothing to stick to */
    bool wants_end;      /* a stop came while it was being chosen */
    struct err err;      /* of the last choice that could not be had */
    char keys_mark[KEYS_MARK];
    char program[PATHS_MAX];
    char archive[PATHS_MAX];
    char name[160], id_file[PATHS_MAX + 96], log_file[PATHS_MAX];
    char notice[640], reach[512];
    char env_text[ENV_MAX][ENV_TEXT];
    const char *env[ENV_MAX + 1];
    const char *argv[3]; /* of a process */
    size_t env_count;
};

enum err_code runner_unit_libexec(char ret[PATHS_MAX], struct err *err)
{
    char self[PATHS_MAX];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    char *slash;

    if (n <= 0)
        return err_sys(err, errno, "find out where stigmer-server lies");
    self[n] = '\0';
    slash = strrchr(self, '/');
    *slash = '\0';
    (void)str_format(ret, PATHS_MAX, "%s", self);
    return ERR_OK;
}

/* PREFIX/libexec/stigmer → PREFIX/share/stigmer */
enum err_code runner_unit_archive(char ret[PATHS_MAX], struct err *err)
{
    char folder[PATHS_MAX];
    enum err_code code = runner_unit_libexec(folder, err);

    for (int up = 0; !code && up < 2; up++) {
        char *slash = strrchr(folder, '/');

        if (slash)
            *slash = '\0';
    }
    if (!code && !str_format(ret, PATHS_MAX, "%s/share/stigmer/agent-runner-image.tar", folder))
        code = err_set(err, ERR_INVALID, "the path '%s' is too long", folder);
    return code;
}

void runner_unit_archive_id(char ret[RUNNER_UNIT_IMAGE_ID])
{
    char archive[PATHS_MAX], path[PATHS_MAX + 8];
    FILE *f = NULL;

    *ret = '\0';
    if (runner_unit_archive(archive, NULL) == ERR_OK &&
        str_format(path, sizeof path, "%s.id", archive))
        f = fopen(path, "re");
    if (f && fgets(ret, RUNNER_UNIT_IMAGE_ID, f))
        ret[strcspn(ret, "\n")] = '\0';
    if (f)
        (void)fclose(f);
}

/* ---- what the runner is told --------------------------------------------------------------- */

static void put(struct runner_unit *u, const char *name, const char *value)
{
    if (u->env_count == ENV_MAX)
        return;
    (void)str_format(u->env_text[u->env_count], ENV_TEXT, "%s=%s", name, value);
    u->env[u->env_count] = u->env_text[u->env_count];
    u->env[++u->env_count] = NULL;
}

/* Where it polls for work, when Temporal hands it out. */
static void put_temporal(struct runner_unit *u)
{
    char queue[ENV_TEXT] = ENGINE_TEMPORAL_RUNNER_QUEUE;
    const struct config *c = u->o.config;

    if (u->o.session)
        engine_temporal_session_queue(ENGINE_TEMPORAL_RUNNER_QUEUE, u->o.session, queue,
                                      sizeof queue);
    put(u, "TASK_QUEUE", queue);
    if (!str_eq(config_get_str(c, CONFIG_ENGINE), "temporal"))
        return;
    put(u, "TEMPORAL_SERVICE_ADDRESS", config_get_str(c, CONFIG_TEMPORAL_ADDRESS));
    put(u, "TEMPORAL_NAMESPACE", config_get_str(c, CONFIG_TEMPORAL_NAMESPACE));
    if (!config_temporal_has_tls(c))
        return;
    put(u, "TEMPORAL_TLS", "true"); /* certificates, key and API key are in the keys folder */
    put(u, "TEMPORAL_TLS_SERVER_NAME", config_get_str(c, CONFIG_TEMPORAL_TLS_SERVER_NAME));
}

/* What every runner is told, wherever it runs. No secret is among it. */
static void common_env(struct runner_unit *u)
{
    u->env_count = 0;
    put(u, "PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    put(u, "MODE", "local");
    put_temporal(u);
    put(u, "STIGMER_SLOTS", config_get_str(u->o.config, CONFIG_RUNNER_SLOTS));
    put(u, "STIGMER_LOG_LEVEL", config_get_str(u->o.config, CONFIG_SERVER_LOG_LEVEL));
    put(u, "STIGMER_SANDBOX_REQUIRE", config_get_str(u->o.config, CONFIG_SANDBOX_REQUIRE));
    put(u, "STIGMER_SANDBOX_EGRESS", config_egress(u->o.config));
    put(u, "STIGMER_TOOL_PROCESSES", config_get_str(u->o.config, CONFIG_RUNNER_PIDS));
}

static enum err_code find_program(struct runner_unit *u, struct err *err)
{
    char folder[PATHS_MAX];
    enum err_code code = runner_unit_libexec(folder, err);

    if (code)
        return code;
    if (str_format(u->program, sizeof u->program, "%s/agent-runner", folder) &&
        access(u->program, X_OK) == 0)
        return ERR_OK;
    return err_hint(err,
                    err_set(err, ERR_NOT_FOUND, "there is no runner program at '%s'", u->program),
                    "install stigmer again: scripts/build.sh");
}

/* ---- backends ------------------------------------------------------------------------------ */

static enum err_code process_backend(struct runner_unit *u, struct runner_backend **ret,
                                     struct err *err)
{
    char address[ENV_TEXT], memory[24];
    struct backend_process_config c;
    enum err_code code = find_program(u, err);

    if (code)
        return code;
    common_env(u);
    (void)str_format(address, sizeof address, "unix:%s", u->o.paths->runner_sock);
    put(u, "STIGMER_BACKEND_ENDPOINT", address);
    put(u, "WORKSPACE_ROOT", u->o.paths->workspace);
    put(u, "STIGMER_HOST_PATHS", "1");
    (void)str_format(memory, sizeof memory, "%lld",
                     (long long)config_get_size(u->o.config, CONFIG_RUNNER_MEMORY));
    put(u, "STIGMER_TOOL_MEMORY", memory); /* a container has its own limit */
    put(u, "STIGMER_KEYS_DIR", u->o.keys_folder);
    u->argv[0] = u->program;
    u->argv[1] = "launch";
    c = (struct backend_process_config){
        .what = "agent-runner",
        .argv = u->argv,
        .envp = u->env,
        .log_file = u->o.paths->log_runner,
        .log_max_size = config_get_size(u->o.config, CONFIG_SERVER_LOG_MAX_SIZE),
        .log_max_files = (int)config_get_int(u->o.config, CONFIG_SERVER_LOG_MAX_FILES)};
    *ret = backend_process_new(u->loop, &c);
    return ERR_OK;
}

static struct container_spec spec_of(struct runner_unit *u)
{
    const struct config *c = u->o.config;
    bool direct = str_eq(config_egress(c), "allow");

    return (struct container_spec){
        .image = config_get_str(c, CONFIG_RUNNER_IMAGE),
        /* tools that may connect anywhere must not reach this machine's own services */
        .network = direct ? "bridge" : config_get_str(c, CONFIG_RUNNER_NETWORK),
        .home = u->o.paths->home,
        .env = u->env,
        .session = u->o.session,
        .workspace = u->o.session ? u->o.folder : u->o.paths->workspace,
        .api_folder = u->o.paths->runner_dir,
        .keys_folder = u->o.keys_folder,
        .program = u->program,
        .keys_mark = u->keys_mark,
        .memory = config_get_size(c, CONFIG_RUNNER_MEMORY),
        .cpus = config_get_number(c, CONFIG_RUNNER_CPUS),
        .pids = config_get_int(c, CONFIG_RUNNER_PIDS),
        .log_max_size = config_get_size(c, CONFIG_SERVER_LOG_MAX_SIZE),
        .log_max_files = config_get_int(c, CONFIG_SERVER_LOG_MAX_FILES)};
}

static bool names_this_machine(const char *url)
{
    const char *host = strstr(url, "://");

    host = host ? host + 3 : url;
    return str_starts(host, "127.") || str_starts(host, "localhost") || str_starts(host, "[::1]");
}

/* A network that does not reach Temporal: such a runner gets no run. */
static bool misses_temporal(const struct runner_unit *u, const char *network)
{
    return str_eq(config_get_str(u->o.config, CONFIG_ENGINE), "temporal") &&
           (str_eq(network, "none") ||
            (!str_eq(network, "host") &&
             names_this_machine(config_get_str(u->o.config, CONFIG_TEMPORAL_ADDRESS))));
}

/* What the container's network cannot reach is told at the start, not by every run. */
static void check_reach(struct runner_unit *u, const char *network)
{
    const char *url = config_get_str(u->o.config, CONFIG_LLM_BASE_URL);
    bool needs_model = !str_eq(config_get_str(u->o.config, CONFIG_LLM_PROVIDER), "replay");

    if (misses_temporal(u, network))
        (void)str_format(u->reach, sizeof u->reach,
                         "the container's network '%s' does not reach Temporal at %.200s, so it "
                         "gets no run; set runner.network to host, or use --runner process",
                         network, config_get_str(u->o.config, CONFIG_TEMPORAL_ADDRESS));
    else if (needs_model && str_eq(network, "none"))
        (void)str_format(u->reach, sizeof u->reach,
                         "runner.network is none: the runner reaches no model, only recordings");
    else if (needs_model && !str_eq(network, "host") && names_this_machine(url))
        (void)str_format(u->reach, sizeof u->reach,
                         "the model's address %.200s is this machine's own, which the container's "
                         "network '%s' does not reach; use host.docker.internal in llm.base_url",
                         url, network);
}

static enum err_code docker_backend(struct runner_unit *u, struct runner_backend **ret,
                                    struct err *err)
{
    struct backend_docker_config c;
    enum err_code code;

    if ((code = find_program(u, err)) || (code = runner_unit_archive(u->archive, err)) ||
        (code = keys_mark(u->o.keys_folder, u->o.token, u->keys_mark, err)))
        return code;
    common_env(u);
    put(u, "STIGMER_BACKEND_ENDPOINT", "unix:/run/stigmer/api/runner.sock");
    put(u, "WORKSPACE_ROOT", "/workspace");
    put(u, "STIGMER_KEYS_DIR", "/run/stigmer/keys");
    if (u->o.session)
        put(u, "STIGMER_RUNNER_SESSION", u->o.session);
    c = (struct backend_docker_config){.spec = spec_of(u),
                                       .runtime = u->place.runtime,
                                       .name = u->name,
                                       .archive = u->archive,
                                       .id_file = u->id_file,
                                       .log_file = u->o.paths->log_runner};
    check_reach(u, c.spec.network);
    *ret = backend_docker_new(u->loop, u->docker, &c);
    return ERR_OK;
}

/* ---- the choice ---------------------------------------------------------------------------- */

static struct runner_unit *self(struct runner_backend *b)
{
    return (struct runner_unit *)b; /* base is the first member */
}

static void close_engine(struct runner_unit *u)
{
    docker_free(TAKE(u->docker));
    http_free(TAKE(u->http));
    u->ping = NULL;
}

static void drop_inner(struct runner_unit *u)
{
    if (u->inner)
        u->inner->ops->free(u->inner);
    u->inner = NULL;
}

/* Why the choices before this one could not be had. */
static void note_failure(struct runner_unit *u, const struct err *why)
{
    size_t len = strlen(u->notice);

    u->err = *why;
    (void)str_format(u->notice + len, sizeof u->notice - len, "%s%.250s", len ? "; " : "",
                     why->msg);
}

static void say_choice(struct runner_unit *u, const char *runtime)
{
    char why[sizeof u->notice];

    (void)str_format(why, sizeof why, "%s", u->notice);
    u->notice[0] = '\0';
    if (*why && str_eq(runtime, "process"))
        (void)str_format(
            u->notice, sizeof u->notice,
            "the runner is a sandboxed process on this machine, not a container (%.500s)", why);
    else if (*why)
        log_info("container engine chosen", "engine", runtime, "because", why);
    if (u->notice[0])
        log_warn("runner chosen", "runner", runtime, "because", why);
}

static void begin(struct runner_unit *u, const char *runtime)
{
    bool process = str_eq(runtime, "process");
    struct err err;
    enum err_code code =
        process ? process_backend(u, &u->inner, &err) : docker_backend(u, &u->inner, &err);

    u->stick_until = 0;
    if (code) {
        u->base.events.on_blocked(&err, u->base.events.arg);
        return;
    }
    say_choice(u, runtime);
    if (process)
        close_engine(u);
    else
        engine_file_write(u->o.paths->engine_file, &u->place);
    u->inner->events = u->base.events;
    u->inner->ops->start(u->inner);
}

static void try_choice(struct runner_unit *u);

/* A container that was left, and its engine does not answer (yet): no second runner beside it. */
static bool sticks(struct runner_unit *u)
{
    int64_t now = loop_now_ms(u->loop);

    if (access(u->id_file, F_OK) < 0)
        return false;
    if (!u->stick_until)
        u->stick_until = now + STICK_MS;
    return now < u->stick_until;
}

static void next_choice(struct runner_unit *u, const struct err *why)
{
    note_failure(u, why);
    close_engine(u);
    if (u->choices[u->at + 1] && !sticks(u)) {
        u->at++;
        try_choice(u);
        return;
    }
    u->base.events.on_blocked(&u->err, u->base.events.arg);
}

static bool is_stopped(struct runner_unit *u)
{
    struct err why;

    if (!u->wants_end)
        return false;
    err_set(&why, ERR_OK, "stopped while it was starting");
    u->base.events.on_exited(&why, u->base.events.arg);
    return true;
}

static void on_ping(const struct err *err, const json_t *answer, void *arg)
{
    struct runner_unit *u = arg;

    (void)answer;
    u->ping = NULL;
    if (is_stopped(u))
        return;
    if (err)
        next_choice(u, err);
    else
        begin(u, u->choices[u->at]);
}

static void try_choice(struct runner_unit *u)
{
    const char *runtime = u->choices[u->at];
    char asking[256];
    struct err err;

    if (str_eq(runtime, "process")) {
        begin(u, runtime);
        return;
    }
    if (docker_find(runtime, &u->place, &err)) {
        next_choice(u, &err);
        return;
    }
    u->http = http_new(u->loop);
    u->docker = docker_new(u->http, &u->place);
    (void)str_format(asking, sizeof asking, "asking %s at '%.200s'", runtime, u->place.socket);
    u->base.events.on_progress(asking, u->base.events.arg);
    u->ping = docker_ping(u->docker, on_ping, u);
}

static void on_later(void *arg)
{
    struct runner_unit *u = arg;

    if (!is_stopped(u))
        try_choice(u);
}

/* ---- as a backend -------------------------------------------------------------------------- */

static const char *const *choices_of(const struct config *c)
{
    static const char *const all[] = {"docker", "podman", "process", NULL};
    static const char *const docker[] = {"docker", NULL}, *const podman[] = {"podman", NULL},
                             *const process[] = {"process", NULL};
    const char *kind = config_get_str(c, CONFIG_RUNNER_KIND);

    return str_eq(kind, "docker")    ? docker
           : str_eq(kind, "podman")  ? podman
           : str_eq(kind, "process") ? process
                                     : all;
}

static void start(struct runner_backend *b)
{
    struct runner_unit *u = self(b);

    drop_inner(u);
    close_engine(u);
    u->choices = choices_of(u->o.config);
    u->at = 0;
    u->wants_end = false;
    u->notice[0] = u->reach[0] = '\0';
    loop_timer_in(u->later, 0);
}

static void stop(struct runner_backend *b)
{
    struct runner_unit *u = self(b);

    u->wants_end = true;
    if (u->inner)
        u->inner->ops->stop(u->inner);
}

static void kill_now(struct runner_backend *b)
{
    struct runner_unit *u = self(b);

    u->wants_end = true;
    if (u->inner) {
        u->inner->ops->kill(u->inner);
    } else {
        docker_cancel(TAKE(u->ping));
        loop_timer_in(u->later, 0);
    }
}

static pid_t pid_of(const struct runner_backend *b)
{
    const struct runner_backend *inner = ((const struct runner_unit *)b)->inner;

    return inner ? inner->ops->pid(inner) : 0;
}

static const char *container_of(const struct runner_backend *b)
{
    const struct runner_backend *inner = ((const struct runner_unit *)b)->inner;

    return inner ? inner->ops->container_id(inner) : "";
}

static const char *trouble_of(const struct runner_backend *b)
{
    const struct runner_backend *inner = ((const struct runner_unit *)b)->inner;

    return inner ? inner->ops->trouble(inner) : "";
}

static const char *runtime_of(const struct runner_backend *b)
{
    const struct runner_unit *u = (const struct runner_unit *)b;

    return u->inner ? u->inner->ops->runtime(u->inner) : choices_of(u->o.config)[0];
}

static const char *kind_of(const struct runner_backend *b)
{
    const struct runner_backend *inner = ((const struct runner_unit *)b)->inner;

    if (inner)
        return inner->ops->kind(inner);
    return str_eq(runtime_of(b), "process") ? "process" : "container";
}

static void free_unit(struct runner_backend *b)
{
    struct runner_unit *u = self(b);

    drop_inner(u);
    close_engine(u);
    loop_timer_free(u->later);
    free(u);
}

bool runner_unit_waits(const struct runner_backend *b)
{
    const struct runner_unit *u = (const struct runner_unit *)b;

    return u->stick_until && u->choices[1];
}

const char *runner_unit_notice(const struct runner_backend *b)
{
    const struct runner_unit *u = (const struct runner_unit *)b;

    return u->notice[0] ? u->notice : u->reach;
}

struct runner_backend *runner_unit_new(struct loop *loop, const struct runner_unit_options *o)
{
    static const struct runner_backend_ops ops = {.kind = kind_of,
                                                  .runtime = runtime_of,
                                                  .start = start,
                                                  .stop = stop,
                                                  .kill = kill_now,
                                                  .pid = pid_of,
                                                  .container_id = container_of,
                                                  .trouble = trouble_of,
                                                  .free = free_unit};
    const char *name = config_get_str(o->config, CONFIG_RUNNER_NAME);
    struct runner_unit *u = mem_new(sizeof *u);

    u->base.ops = &ops;
    u->o = *o;
    u->loop = loop;
    u->later = loop_timer_new(loop, on_later, u);
    (void)str_format(u->name, sizeof u->name, o->session ? "%.100s-%.40s" : "%.100s", name,
                     o->session);
    if (o->session)
        (void)str_format(u->id_file, sizeof u->id_file, "%s/container-%.80s.id", o->paths->run,
                         o->session);
    else
        (void)str_format(u->id_file, sizeof u->id_file, "%s", o->paths->container_id);
    return &u->base;
}
