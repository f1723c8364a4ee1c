#include "core/paths.h"

#include <string.h>

#include "base/str.h"

#define SOCKET_PATH_MAX 107 /* sizeof sun_path - 1, unix(7) */

static enum err_code pick_home(const char *home, const char *env_home, const char *user_home,
                               char ret[PATHS_MAX], struct err *err)
{
    const char *base = !str_is_empty(home) ? home : env_home;
    bool fits;

    if (str_is_empty(base) && str_is_empty(user_home))
        return err_hint(
            err, err_set(err, ERR_INVALID, "no home folder: HOME and STIGMER_HOME are empty"),
            "set STIGMER_HOME or give --home DIR");
    if (!str_is_empty(base) && base[0] != '/')
        return err_set(err, ERR_INVALID, "home '%.200s' is not an absolute path", base);
    if (!str_is_empty(base))
        fits = str_format(ret, PATHS_MAX, "%s", base);
    else
        fits = str_format(ret, PATHS_MAX, "%s/.stigmer", user_home);
    for (size_t n = strlen(ret); n > 1 && ret[n - 1] == '/'; n--)
        ret[n - 1] = '\0';
    return fits ? ERR_OK : err_set(err, ERR_INVALID, "the path of the home folder is too long");
}

enum err_code paths_make(const char *home, const char *env_home, const char *user_home,
                         struct paths *ret, struct err *err)
{
    struct paths p = {0};
    enum err_code code = pick_home(home, env_home, user_home, p.home, err);
    bool ok;

    if (code)
        return code;
    /* clang-format off */
    ok = str_format(p.config, PATHS_MAX, "%s/config.yaml", p.home)
      && str_format(p.data, PATHS_MAX, "%s/data", p.home)
      && str_format(p.db, PATHS_MAX, "%s/stigmer.db", p.data)
      && str_format(p.workspace, PATHS_MAX, "%s/workspace", p.data)
      && str_format(p.logs, PATHS_MAX, "%s/logs", p.data)
      && str_format(p.log_server, PATHS_MAX, "%s/stigmer-server.log", p.logs)
      && str_format(p.log_runner, PATHS_MAX, "%s/agent-runner.log", p.logs)
      && str_format(p.run, PATHS_MAX, "%s/run", p.data)
      && str_format(p.api_sock, PATHS_MAX, "%s/api.sock", p.run)
      && str_format(p.runner_dir, PATHS_MAX, "%s/runner", p.run)
      && str_format(p.runner_sock, PATHS_MAX, "%s/runner.sock", p.runner_dir)
      && str_format(p.pid_file, PATHS_MAX, "%s/server.pid", p.run)
      && str_format(p.lock_file, PATHS_MAX, "%s/start.lock", p.run)
      && str_format(p.state_file, PATHS_MAX, "%s/server.json", p.run)
      && str_format(p.engine_file, PATHS_MAX, "%s/engine", p.run)
      && str_format(p.temporal_dir, PATHS_MAX, "%s/temporal", p.data)
      && str_format(p.temporal_db, PATHS_MAX, "%s/temporal.db", p.temporal_dir)
      && str_format(p.log_temporal, PATHS_MAX, "%s/temporal.log", p.logs)
      && str_format(p.container_id, PATHS_MAX, "%s/agent-runner-container.id", p.data);
    /* clang-format on */
    if (!ok || strlen(p.runner_sock) > SOCKET_PATH_MAX)
        return err_hint(err,
                        err_set(err, ERR_INVALID,
                                "home '%.200s' is too long: a socket below it would have a path of "
                                "%zu bytes, the system allows %d",
                                p.home, strlen(p.runner_sock), SOCKET_PATH_MAX),
                        "choose a shorter folder with --home or STIGMER_HOME");
    *ret = p;
    return ERR_OK;
}
