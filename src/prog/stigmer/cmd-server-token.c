/* server runner-token: what runners on other machines show to this server. */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/own.h"
#include "base/str.h"
#include "platform/runner-token.h"
#include "prog/stigmer/cli.h"
#include "prog/stigmer/cmds.h"
#include "prog/stigmer/conn.h"
#include "prog/stigmer/daemon.h"
#include "stigmer/execution/v1/service.pb-c.h"

#define ANSWER_MS 5000

/* The server that runs has to know it: it makes it. */
static enum err_code ask_server(const struct cli *cli, bool rotate, char **ret, struct err *err)
{
    Exec__RunnerTokenRequest m = EXEC__RUNNER_TOKEN_REQUEST__INIT;
    ProtobufCMessage *answer = NULL;
    struct conn conn;
    enum err_code code = conn_open(cli, &conn, err);

    if (code)
        return code;
    m.rotate = rotate;
    code = conn_call(&conn, "/stigmer.execution.v1.ServerService/runnerToken", &m.base,
                     &exec__runner_token_response__descriptor, ANSWER_MS, &answer, err);
    conn_close(&conn);
    if (code)
        return code;
    *ret = mem_str(((const Exec__RunnerTokenResponse *)answer)->token);
    protobuf_c_message_free_unpacked(answer, NULL);
    return ERR_OK;
}

int cmd_server_token_run(struct cli *cli)
{
    bool rotate = args_bool(&cli->args, "rotate", false);
    struct daemon_pids pids;
    struct err err = {0};
    char *token = NULL;
    enum err_code code;

    daemon_find(&cli->paths, &pids);
    if (pids.server.pid || pids.keeper.pid)
        code = ask_server(cli, rotate, &token, &err);
    else
        code = runner_token_make(cli->paths.home, rotate, &token, &err);
    if (code)
        return cli_fail(cli, &err);
    printf("%s\n", token);
    explicit_bzero(token, strlen(token));
    free(token);
    if (rotate)
        cli_note(cli, "runners with the old token are sent away; give them this one");
    return fflush(stdout) ? EXIT_FAILED : EXIT_OK;
}
