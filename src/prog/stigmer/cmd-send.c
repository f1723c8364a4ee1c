/* send RUN -m TEXT: something is said to a run that is under way. */
#include "base/own.h"
#include "prog/stigmer/cli.h"
#include "prog/stigmer/cmds.h"
#include "prog/stigmer/conn.h"
#include "prog/stigmer/kinds.h"
#include "prog/stigmer/message.h"
#include "stigmer/execution/v1/service.pb-c.h"

#define SEND_PATH "/stigmer.execution.v1.ExecutionService/send"
#define TEXT_MAX ((size_t)64 << 10) /* as the server has it */

int cmd_send_run(struct cli *cli)
{
    Exec__SendRequest request = EXEC__SEND_REQUEST__INIT;
    OWN_BUF struct buf text = {0};
    struct kinds_any *r = NULL;
    ProtobufCMessage *answer = NULL;
    struct conn conn;
    struct err err = {0};
    enum err_code code;

    if (message_read(cli, "send", TEXT_MAX, &text, &err) || conn_open(cli, &conn, &err))
        return cli_fail(cli, &err);
    code = kinds_find(&conn, kinds_by_word("run"), cli_word(cli, 0), &r, &err);
    if (!code) {
        request.execution_id = (char *)(uintptr_t)kinds_id(r);
        request.text = (char *)(uintptr_t)buf_text(&text);
        request.id = (char *)(uintptr_t)args_str(&cli->args, "id", "");
        code = conn_call(&conn, SEND_PATH, &request.base, &exec__send_response__descriptor, 0,
                         &answer, &err);
    }
    if (!code) {
        cli_note(cli,
                 ((Exec__SendResponse *)answer)->journaled ? "%s reads it with its next turn"
                                                           : "%s is told when a runner has it",
                 kinds_id(r));
        protobuf_c_message_free_unpacked(answer, NULL);
    }
    kinds_free(r);
    conn_close(&conn);
    return code ? cli_fail(cli, &err) : EXIT_OK;
}
