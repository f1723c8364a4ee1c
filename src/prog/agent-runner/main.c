/* main.c — agent-runner's parts, by the first argument. See launcher.h for who starts whom. */
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/own.h"
#include "base/str.h"
#include "platform/sandbox.h"
#include "prog/agent-runner/healthcheck.h"
#include "prog/agent-runner/launcher.h"
#include "prog/agent-runner/tool-host.h"
#include "prog/agent-runner/worker-main.h"

static int probe_main(int argc, char **argv)
{
    struct sandbox_report r;
    char *json;

    (void)argc;
    (void)argv;
    sandbox_probe(getenv("STIGMER_SANDBOX_EGRESS"), &r);
    json = sandbox_report_json(&r);
    (void)puts(json);
    free(json);
    return EXIT_OK;
}

static int version_main(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    (void)puts("agent-runner " STIGMER_VERSION);
    return EXIT_OK;
}

static int healthcheck(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    return healthcheck_main();
}

static const struct {
    const char *name;
    int (*main)(int argc, char **argv);
} parts[] = {
    {"launch", launcher_main},    {"worker", worker_main}, {"tool-host", tool_host_main},
    {"healthcheck", healthcheck}, {"probe", probe_main},   {"version", version_main},
    {"--version", version_main},
};

int main(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "launch";
    enum log_level level;

    own_standard_fds();
    if (log_level_parse(getenv("STIGMER_LOG_LEVEL"), &level, NULL) == ERR_OK)
        log_set_level(level);
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (str_eq(parts[i].name, name))
            return parts[i].main(argc, argv);
    (void)fprintf(stderr,
                  "agent-runner: unknown part '%s'; there are launch, probe, healthcheck "
                  "and version\n",
                  name);
    return EXIT_USAGE;
}
