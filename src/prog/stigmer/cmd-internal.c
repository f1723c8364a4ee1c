/* version, and the hidden commands that print what is made from the tables. */
#include <jansson.h>
#include <stdio.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/str.h"
#include "prog/stigmer/cli.h"
#include "prog/stigmer/cmds.h"
#include "prog/stigmer/help.h"
#include "prog/stigmer/out.h"

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
