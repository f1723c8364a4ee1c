#include "prog/stigmer-server/runner-unit.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/str.h"
#include "svc/backend-process.h"

#define ENV_MAX 24
#define ENV_TEXT (PATHS_MAX + 64)

struct runner_unit {
    const struct config *config; /* borrowed */
    const struct paths *paths;   /* borrowed */
    char keys_folder[PATHS_MAX];
    char program[PATHS_MAX];
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
    put(u, "PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    put(u, "MODE", "local");
    put(u, "TASK_QUEUE", "agent_execution_runner");
    put(u, "STIGMER_SLOTS", config_get_str(u->config, CONFIG_RUNNER_SLOTS));
    put(u, "STIGMER_LOG_LEVEL", config_get_str(u->config, CONFIG_SERVER_LOG_LEVEL));
    put(u, "STIGMER_SANDBOX_REQUIRE", config_get_str(u->config, CONFIG_SANDBOX_REQUIRE));
    put(u, "STIGMER_SANDBOX_EGRESS", config_egress(u->config));
}

struct runner_unit *runner_unit_new(const struct config *config, const struct paths *paths,
                                    const char *keys_folder)
{
    struct runner_unit *u = mem_new(sizeof *u);

    u->config = config;
    u->paths = paths;
    (void)str_format(u->keys_folder, sizeof u->keys_folder, "%s", keys_folder);
    return u;
}

void runner_unit_free(struct runner_unit *u)
{
    free(u);
}

static enum err_code process_backend(struct runner_unit *u, struct loop *loop,
                                     struct runner_backend **ret, struct err *err)
{
    char folder[PATHS_MAX], address[ENV_TEXT];
    struct backend_process_config c;
    enum err_code code = runner_unit_libexec(folder, err);

    if (code)
        return code;
    if (!str_format(u->program, sizeof u->program, "%s/agent-runner", folder) ||
        access(u->program, X_OK) < 0)
        return err_hint(
            err, err_set(err, ERR_NOT_FOUND, "there is no runner program at '%s'", u->program),
            "install stigmer again: scripts/build.sh");
    u->env_count = 0;
    common_env(u);
    (void)str_format(address, sizeof address, "unix:%s", u->paths->runner_sock);
    put(u, "STIGMER_BACKEND_ENDPOINT", address);
    put(u, "WORKSPACE_ROOT", u->paths->workspace);
    put(u, "STIGMER_KEYS_DIR", u->keys_folder);
    c = (struct backend_process_config){u->program, u->env, u->paths->log_runner};
    *ret = backend_process_new(loop, &c);
    return ERR_OK;
}

enum err_code runner_unit_backend(struct runner_unit *u, struct loop *loop, const char *kind,
                                  struct runner_backend **ret, struct err *err)
{
    if (str_eq(kind, "process"))
        return process_backend(u, loop, ret, err);
    return err_hint(
        err, err_set(err, ERR_SANDBOX, "the runner '%s' is not available in this version", kind),
        "stigmer server start --runner process");
}
