#include "prog/stigmer/live.h"

#include "prog/stigmer/conn.h"
#include "prog/stigmer/daemon.h"
#include "stigmer/execution/v1/service.pb-c.h"

#define STATUS_PATH "/stigmer.execution.v1.ServerService/status"
#define SHUTDOWN_PATH "/stigmer.execution.v1.ServerService/shutdown"

enum live_state live_ask(const struct cli *cli, int64_t timeout_ms, json_t **ret_status,
                         struct err *err)
{
    Exec__StatusRequest request = EXEC__STATUS_REQUEST__INIT;
    struct daemon_pids pids;
    ProtobufCMessage *answer = NULL;
    struct conn conn;
    enum err_code code = conn_open(cli, &conn, err);

    *ret_status = NULL;
    if (!code) {
        code = conn_call(&conn, STATUS_PATH, &request.base, &exec__status_response__descriptor,
                         timeout_ms, &answer, err);
        conn_close(&conn);
    }
    if (!code) {
        *ret_status = json_loads(((Exec__StatusResponse *)answer)->json, 0, NULL);
        protobuf_c_message_free_unpacked(answer, NULL);
        if (*ret_status)
            return LIVE_ANSWERS;
    }
    daemon_find(&cli->paths, &pids);
    return pids.keeper.pid || pids.server.pid || code == ERR_OK ? LIVE_SILENT : LIVE_GONE;
}

enum err_code live_shutdown(const struct cli *cli, int64_t grace_ms, struct err *err)
{
    Exec__ShutdownRequest request = EXEC__SHUTDOWN_REQUEST__INIT;
    ProtobufCMessage *answer = NULL;
    struct conn conn;
    enum err_code code = conn_open(cli, &conn, err);

    if (code)
        return code;
    request.grace_ms = grace_ms;
    code = conn_call(&conn, SHUTDOWN_PATH, &request.base, &exec__shutdown_response__descriptor,
                     5000, &answer, err);
    conn_close(&conn);
    if (!code)
        protobuf_c_message_free_unpacked(answer, NULL);
    return code;
}
