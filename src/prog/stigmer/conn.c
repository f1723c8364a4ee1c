#include "prog/stigmer/conn.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/str.h"

void conn_address(const struct cli *cli, char ret[PATHS_MAX + 8])
{
    const char *given = args_str(&cli->args, "server", NULL);

    if (str_is_empty(given))
        given = getenv("STIGMER_SERVER_ADDR");
    if (!str_is_empty(given))
        (void)str_format(ret, PATHS_MAX + 8, "%s", given);
    else
        (void)str_format(ret, PATHS_MAX + 8, "unix:%s", cli->paths.api_sock);
}

enum err_code conn_open(const struct cli *cli, struct conn *ret, struct err *err)
{
    struct rpc_client_options o = {.fail_fast = true};
    struct conn c = {.cli = cli};
    struct stat st;
    enum err_code code;

    conn_address(cli, c.address);
    if (str_starts(c.address, "unix:") && stat(c.address + 5, &st)) {
        return conn_explain(&c, ERR_UNAVAILABLE, err);
    }
    o.address = c.address;
    c.loop = loop_new();
    code = rpc_client_new(c.loop, &o, &c.client, err);
    if (code) {
        loop_free(c.loop);
        return code;
    }
    *ret = c;
    return ERR_OK;
}

void conn_close(struct conn *c)
{
    rpc_client_free(c->client);
    loop_free(c->loop);
    c->client = NULL;
    c->loop = NULL;
}

enum err_code conn_explain(const struct conn *c, enum err_code code, struct err *err)
{
    if (code != ERR_UNAVAILABLE || (c->client && rpc_client_is_up(c->client)))
        return code;
    err_set(err, ERR_NOT_RUNNING, "the server is not running (%s)", c->address);
    if (args_has(&c->cli->args, "server") || !str_is_empty(getenv("STIGMER_SERVER_ADDR")))
        return err_hint(err, ERR_NOT_RUNNING,
                        "check the address given with --server or "
                        "STIGMER_SERVER_ADDR");
    return err_hint(err, ERR_NOT_RUNNING, "stigmer server start");
}

enum err_code conn_call(struct conn *c, const char *path, const ProtobufCMessage *request,
                        const ProtobufCMessageDescriptor *response, int64_t timeout_ms,
                        ProtobufCMessage **ret, struct err *err)
{
    struct rpc_call_spec spec = {.path = path,
                                 .request = request,
                                 .response = response,
                                 .timeout_ms = timeout_ms ? timeout_ms : CONN_CALL_MS};
    enum err_code code;

    if (!timeout_ms && c->cli->timeout_ms)
        spec.timeout_ms = c->cli->timeout_ms;
    code = rpc_client_unary(c->loop, c->client, &spec, ret, err);
    return code ? conn_explain(c, code, err) : ERR_OK;
}
