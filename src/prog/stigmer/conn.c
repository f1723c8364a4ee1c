#include "prog/stigmer/conn.h"

#include <string.h>
#include <sys/stat.h>

#include "base/str.h"

enum err_code conn_open(const struct cli *cli, struct conn *ret, struct err *err)
{
    struct conn c = {.cli = cli};
    struct stat st;
    enum err_code code = remote_find(cli, &c.remote, err);

    if (code)
        return code;
    if (c.remote.is_unix && stat(c.remote.address + 5, &st)) {
        code = conn_explain(&c, ERR_UNAVAILABLE, err);
        remote_done(&c.remote);
        return code;
    }
    c.loop = loop_new();
    code = rpc_client_new(c.loop,
                          &(struct rpc_client_options){.address = c.remote.address,
                                                       .token = c.remote.token,
                                                       .tls = c.remote.tls,
                                                       .fail_fast = true},
                          &c.client, err);
    if (code) {
        loop_free(c.loop);
        remote_done(&c.remote);
        return code;
    }
    *ret = c;
    return ERR_OK;
}

void conn_close(struct conn *c)
{
    rpc_client_free(c->client);
    loop_free(c->loop);
    remote_done(&c->remote);
    c->client = NULL;
    c->loop = NULL;
}

/* Cleartext met TLS. The message says so already. */
static enum err_code other_protocol(const struct conn *c, struct err *err)
{
    if (err && !c->remote.is_unix && !err->hint[0] && strstr(err->msg, "TLS"))
        err_hint(err, ERR_UNSUPPORTED, "--server %s%.150s", c->remote.tls ? "tcp://" : "tls://",
                 c->remote.address);
    return ERR_UNSUPPORTED;
}

enum err_code conn_explain(const struct conn *c, enum err_code code, struct err *err)
{
    char why[200];

    if (c->client && rpc_client_is_up(c->client))
        return code;
    if (code == ERR_UNSUPPORTED)
        return other_protocol(c, err);
    if (code != ERR_UNAVAILABLE)
        return code;
    (void)str_format(why, sizeof why, "%s",
                     err && c->client && !c->remote.is_unix ? err->msg : c->remote.address);
    err_set(err, ERR_NOT_RUNNING, "the server is not running (%s)", why);
    if (c->remote.is_given)
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
