/* version, and the hidden commands that print what is made from the tables. */
#include <jansson.h>
#include <stdio.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/str.h"
#include "prog/stigmer/cli.h"
#include "prog/stigmer/cmds.h"
#include "prog/stigmer/help.h"
#include "prog/stigmer/live.h"
#include "prog/stigmer/out.h"

#define STATUS_MS 3000

int cmd_internal_man(struct cli *cli)
{
    OWN_BUF struct buf b = {0};

    if (!help_man(&b, cli_word(cli, 0)))
        return cli_usage(cli, "no page '%.80s': stigmer.1, stigmer-server.8, agent-runner.8",
                         cli_word(cli, 0));
    (void)out_flush(STDOUT_FILENO, &b);
    return EXIT_OK;
}

int cmd_internal_config_doc(struct cli *cli)
{
    OWN_BUF struct buf b = {0};

    (void)cli;
    help_config_doc(&b);
    (void)out_flush(STDOUT_FILENO, &b);
    return EXIT_OK;
}

int cmd_internal_version(struct cli *cli)
{
    json_t *o;

    if (cli->format == CLI_TEXT) {
        OWN_BUF struct buf b = {0};
        buf_puts(&b, "stigmer " STIGMER_VERSION "\n");
        (void)out_flush(STDOUT_FILENO, &b);
        return EXIT_OK;
    }
    o = json_object();
    json_object_set_new(o, "schema", json_string("stigmer.cli/version/v1"));
    json_object_set_new(o, "version", json_string(STIGMER_VERSION));
#ifdef STIGMER_COMMIT
    json_object_set_new(o, "commit", json_string(STIGMER_COMMIT));
#else
    json_object_set_new(o, "commit", json_null());
#endif
    json_object_set_new(o, "build", json_string(__VERSION__));
    json_object_set_new(o, "protocols",
                        json_pack("{s:s, s:s, s:s}", "api", "ai.stigmer.agentic.v1", "execution",
                                  "stigmer.execution.v1", "runner", "stigmer.runner.v1"));
    out_document(cli, o);
    json_decref(o);
    return EXIT_OK;
}

/* For a runner that somebody else starts (image/docker-compose.yml): where it finds its server. */
int cmd_internal_runner_env(struct cli *cli)
{
    static const char *const names[][2] = {{"STIGMER_RUNNER_WORKSPACE", "workspace"},
                                           {"STIGMER_RUNNER_API", "api"},
                                           {"STIGMER_RUNNER_KEYS", "keys"}};
    json_t *status;
    struct err err;

    if (live_ask(cli, STATUS_MS, &status, NULL) != LIVE_ANSWERS) {
        err_set(&err, ERR_NOT_RUNNING, "the server of %s does not answer", cli->paths.home);
        err_hint(&err, ERR_NOT_RUNNING, "stigmer server start --runner none");
        return cli_fail(cli, &err);
    }
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        printf("%s=%s\n", names[i][0],
               json_string_value(
                   json_object_get(json_object_get(status, "runnerFolders"), names[i][1])));
    json_decref(status);
    return fflush(stdout) ? EXIT_FAILED : EXIT_OK;
}
