/* paths.h — where everything of one installation lives below its home (design, section 6).
 * Text only: nothing here touches the file system. */
#ifndef CORE_PATHS_H
#define CORE_PATHS_H

#include "base/err.h"

#define PATHS_MAX 1024

struct paths {
    char home[PATHS_MAX];        /* $STIGMER_HOME or ~/.stigmer; absolute */
    char config[PATHS_MAX];      /* home/config.yaml */
    char data[PATHS_MAX];        /* home/data, 0700; 0711 as root, see serve.c */
    char db[PATHS_MAX];          /* data/stigmer.db */
    char workspace[PATHS_MAX];   /* data/workspace */
    char logs[PATHS_MAX];        /* data/logs */
    char log_server[PATHS_MAX];  /* data/logs/stigmer-server.log */
    char log_runner[PATHS_MAX];  /* data/logs/agent-runner.log */
    char run[PATHS_MAX];         /* data/run, 0700 */
    char api_sock[PATHS_MAX];    /* data/run/api.sock, 0600 */
    char runner_dir[PATHS_MAX];  /* data/run/runner: mounted into the container */
    char runner_sock[PATHS_MAX]; /* data/run/runner/runner.sock */
    char pid_file[PATHS_MAX];    /* data/run/server.pid: "<pid> <start time in clock ticks>\n" */
    char lock_file[PATHS_MAX];   /* data/run/start.lock: flock while a start or stop is under way */
    char state_file[PATHS_MAX];  /* data/run/server.json: last status the server wrote */
    char engine_file[PATHS_MAX]; /* data/run/engine: which container engine was used last */
    char temporal_dir[PATHS_MAX]; /* data/temporal, 0700: of the Temporal server started here */
    char temporal_db[PATHS_MAX];  /* data/temporal/temporal.db */
    char log_temporal[PATHS_MAX]; /* data/logs/temporal.log */
    char container_id[PATHS_MAX]; /* data/agent-runner-container.id */
};

/* home: flag value or NULL; env_home: STIGMER_HOME or NULL; user_home: HOME. A unix socket path
 * holds 107 bytes: a home too long for that is ERR_INVALID with a hint. */
MUST_CHECK enum err_code paths_make(const char *home, const char *env_home, const char *user_home,
                                    struct paths *ret, struct err *err);

#endif
