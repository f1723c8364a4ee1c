#include "prog/stigmer-server/runner-unit.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/own.h"
#include "base/str.h"
#include "clients/docker.h"
#include "svc/backend-docker.h"
#include "svc/backend-process.h"
#include "svc/keys.h"

#define ENV_MAX 24
#define ENV_TEXT (PATHS_MAX + 64)

struct runner_unit {
    struct loop *loop;           /* borrowed */
    const struct config *config; /* borrowed */
    const struct paths *paths;   /* borrowed */
    const char *token;           /* borrowed */
    struct http *http;           /* owned; NULL while no engine is asked */
    struct docker *docker;       /* owned; likewise */
    struct loop_timer *later;    /* owned; tells a choice that needed no question */
    runner_unit_fn *fn;
    void *arg;
    struct err err; /* of a choice told later */
    char keys_folder[PATHS_MAX];
    char keys_mark[KEYS_MARK];
    char program[PATHS_MAX];
    char archive[PATHS_MAX];
    char notice[512];
    char env_text[ENV_MAX][ENV_TEXT];
    const char *env[ENV_MAX + 1];
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

/* ---- what the runner is told --------------------------------------------------------------- */

static void put(struct runner_unit *u, const char *name, const char *value)
{
    if (u->env_count == ENV_MAX)
        return;
    (void)str_format(u->env_text[u->env_count], ENV_TEXT, "%s=%s", name, value);
    u->env[u->env_count] = u->env_text[u->env_count];
    u->env[++u->env_count] = NULL;
}

/* What every runner is told, wherever it runs. No secret is among it. */
static void common_env(struct runner_unit *u)
{
    u->env_count = 0;
    put(u, "PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    put(u, "MODE", "local");
    put(u, "TASK_QUEUE", "agent_execution_runner");
    put(u, "STIGMER_SLOTS", config_get_str(u->config, CONFIG_RUNNER_SLOTS));
    put(u, "STIGMER_LOG_LEVEL", config_get_str(u->config, CONFIG_SERVER_LOG_LEVEL));
    put(u, "STIGMER_SANDBOX_REQUIRE", config_get_str(u->config, CONFIG_SANDBOX_REQUIRE));
    put(u, "STIGMER_SANDBOX_EGRESS", config_egress(u->config));
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
    char address[ENV_TEXT];
    struct backend_process_config c;
    enum err_code code = find_program(u, err);

    if (code)
        return code;
    common_env(u);
    (void)str_format(address, sizeof address, "unix:%s", u->paths->runner_sock);
    put(u, "STIGMER_BACKEND_ENDPOINT", address);
    put(u, "WORKSPACE_ROOT", u->paths->workspace);
    put(u, "STIGMER_KEYS_DIR", u->keys_folder);
    c = (struct backend_process_config){
        .program = u->program,
        .envp = u->env,
        .log_file = u->paths->log_runner,
        .log_max_size = config_get_size(u->config, CONFIG_SERVER_LOG_MAX_SIZE),
        .log_max_files = (int)config_get_int(u->config, CONFIG_SERVER_LOG_MAX_FILES)};
    *ret = backend_process_new(u->loop, &c);
    return ERR_OK;
}

static struct container_spec spec_of(struct runner_unit *u)
{
    const struct config *c = u->config;
    bool direct = str_eq(config_egress(c), "allow");

    return (struct container_spec){
        .image = config_get_str(c, CONFIG_RUNNER_IMAGE),
        /* tools that may connect anywhere must not reach this machine's own services */
        .network = direct ? "bridge" : config_get_str(c, CONFIG_RUNNER_NETWORK),
        .home = u->paths->home,
        .env = u->env,
        .workspace = u->paths->workspace,
        .api_folder = u->paths->runner_dir,
        .keys_folder = u->keys_folder,
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

/* A model that the container's network cannot reach is told at the start, not by every run. */
static void check_reach(struct runner_unit *u, const char *network)
{
    const char *url = config_get_str(u->config, CONFIG_LLM_BASE_URL);

    if (str_eq(config_get_str(u->config, CONFIG_LLM_PROVIDER), "replay"))
        return;
    if (str_eq(network, "none"))
        (void)str_format(u->notice, sizeof u->notice,
                         "runner.network is none: the runner reaches no model, only recordings");
    else if (!str_eq(network, "host") && names_this_machine(url))
        (void)str_format(u->notice, sizeof u->notice,
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
        (code = keys_mark(u->keys_folder, u->token, u->keys_mark, err)))
        return code;
    common_env(u);
    put(u, "STIGMER_BACKEND_ENDPOINT", "unix:/run/stigmer/api/runner.sock");
    put(u, "WORKSPACE_ROOT", "/workspace");
    put(u, "STIGMER_KEYS_DIR", "/run/stigmer/keys");
    c = (struct backend_docker_config){.spec = spec_of(u),
                                       .name = config_get_str(u->config, CONFIG_RUNNER_NAME),
                                       .archive = u->archive,
                                       .id_file = u->paths->container_id,
                                       .log_file = u->paths->log_runner};
    check_reach(u, c.spec.network);
    *ret = backend_docker_new(u->loop, u->docker, &c);
    return ERR_OK;
}

/* ---- the choice ---------------------------------------------------------------------------- */

static void close_engine(struct runner_unit *u)
{
    docker_free(TAKE(u->docker));
    http_free(TAKE(u->http));
}

static enum err_code open_engine(struct runner_unit *u, struct err *err)
{
    char socket[DOCKER_SOCKET_MAX];
    enum err_code code = docker_find(socket, err);

    if (code)
        return code;
    u->http = http_new(u->loop);
    u->docker = docker_new(u->http, socket);
    return ERR_OK;
}

static void tell(struct runner_unit *u, bool container)
{
    struct runner_backend *b = NULL;
    struct err err = u->err;
    enum err_code code = err.code;

    if (!container)
        close_engine(u);
    if (!code)
        code = container ? docker_backend(u, &b, &err) : process_backend(u, &b, &err);
    u->fn(b, u->notice, code ? &err : NULL, u->arg);
}

static void on_later(void *arg)
{
    struct runner_unit *u = arg;

    tell(u, u->docker != NULL);
}

static void take_process(struct runner_unit *u, const struct err *why)
{
    (void)str_format(u->notice, sizeof u->notice,
                     "the runner is a sandboxed process on this machine, not a container (%.380s)",
                     why->msg);
}

static void on_ping(const struct err *err, const json_t *answer, void *arg)
{
    struct runner_unit *u = arg;

    (void)answer;
    if (err)
        take_process(u, err);
    tell(u, !err);
}

/* A container that an earlier server of this home left is a choice already made: an engine that is
 * being restarted must not get a second runner beside it. */
static bool had_container(const struct runner_unit *u)
{
    return access(u->paths->container_id, F_OK) == 0;
}

void runner_unit_choose(struct runner_unit *u, runner_unit_fn *fn, void *arg)
{
    const char *kind = config_get_str(u->config, CONFIG_RUNNER_KIND);
    struct err err;

    u->fn = fn;
    u->arg = arg;
    if (!str_eq(kind, "process") && open_engine(u, &err)) {
        if (str_eq(kind, "auto"))
            take_process(u, &err);
        else
            u->err = err;
    }
    if (u->docker && str_eq(kind, "auto") && !had_container(u))
        (void)docker_ping(u->docker, on_ping, u);
    else
        loop_timer_in(u->later, 0);
}

struct runner_unit *runner_unit_new(struct loop *loop, const struct config *config,
                                    const struct paths *paths, const char *keys_folder,
                                    const char *token)
{
    struct runner_unit *u = mem_new(sizeof *u);

    u->loop = loop;
    u->config = config;
    u->paths = paths;
    u->token = token;
    u->later = loop_timer_new(loop, on_later, u);
    (void)str_format(u->keys_folder, sizeof u->keys_folder, "%s", keys_folder);
    return u;
}

void runner_unit_free(struct runner_unit *u)
{
    if (!u)
        return;
    loop_timer_free(u->later);
    close_engine(u);
    free(u);
}
