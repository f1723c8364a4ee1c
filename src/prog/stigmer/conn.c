#include "prog/stigmer/conn.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/str.h"
#include "prog/stigmer/daemon.h"

#define TELL_MS 1000 /* a longer wait says what it is for */

/* Whether a server runs there is not ours to know. */
static enum err_code not_ours(const struct conn *c, struct err *err)
{
    err_set(err, ERR_DENIED, "no permission to use the server at %s", c->remote.address);
    return err_hint(err, ERR_DENIED,
                    "it is another user's: ask as that user, or give your own --home");
}

enum err_code conn_open(const struct cli *cli, struct conn *ret, struct err *err)
{
    struct conn c = {.cli = cli};
    struct stat st;
    enum err_code code = remote_find(cli, &c.remote, err);

    if (code)
        return code;
    if (c.remote.is_unix && stat(c.remote.address + 5, &st)) {
        code = errno == EACCES ? not_ours(&c, err) : conn_explain(&c, ERR_UNAVAILABLE, err);
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

/* There, perhaps, and no answer in time. */
static enum err_code silent(const struct conn *c, int64_t ms, struct err *err)
{
    err_set(err, ERR_TIMEOUT, "the server (%s) did not answer within %lld.%lld s",
            c->remote.address, (long long)(ms / 1000), (long long)(ms % 1000 / 100));
    return err_hint(err, ERR_TIMEOUT,
                    "stigmer server status says how it is; --timeout waits longer");
}

/* Cleartext met TLS. The message says so already. */
static enum err_code other_protocol(const struct conn *c, struct err *err)
{
    if (err && !c->remote.is_unix && !err->hint[0] && strstr(err->msg, "TLS"))
        err_hint(err, ERR_UNSUPPORTED, "--server %s%.150s", c->remote.tls ? "tcp://" : "tls://",
                 c->remote.address);
    return ERR_UNSUPPORTED;
}

/* Its keeper lives: a server that crashed is back in a moment. */
static bool is_restarted(const struct cli *cli)
{
    struct daemon_pids pids;

    daemon_find(&cli->paths, &pids);
    return pids.keeper.pid != 0;
}

enum err_code conn_explain(const struct conn *c, enum err_code code, struct err *err)
{
    char why[200];

    if (c->client && rpc_client_is_up(c->client))
        return code;
    if (c->remote.is_unix && access(c->remote.address + 5, W_OK) && errno == EACCES)
        return not_ours(c, err);
    if (code == ERR_UNSUPPORTED)
        return other_protocol(c, err);
    if (code != ERR_UNAVAILABLE)
        return code;
    (void)str_format(why, sizeof why, "%s",
                     err && c->client && !c->remote.is_unix ? err->msg : c->remote.address);
    if (!c->remote.is_given && is_restarted(c->cli))
        return err_hint(
            err,
            err_set(err, ERR_NOT_RUNNING, "the server ended and is being started again (%s)", why),
            "try again; `stigmer server status` says when it is ready");
    err_set(err, ERR_NOT_RUNNING, "the server is not running (%s)", why);
    if (c->remote.is_given)
        return err_hint(err, ERR_NOT_RUNNING,
                        "check the address given with --server or "
                        "STIGMER_SERVER_ADDR");
    return err_hint(err, ERR_NOT_RUNNING, "stigmer server start");
}

static void tell_wait(void *arg)
{
    const struct conn *c = arg;

    cli_note(c->cli, "waiting for the server to answer …");
}

enum err_code conn_call(struct conn *c, const char *path, const ProtobufCMessage *request,
                        const ProtobufCMessageDescriptor *response, int64_t timeout_ms,
                        ProtobufCMessage **ret, struct err *err)
{
    struct rpc_call_spec spec = {.path = path,
                                 .request = request,
                                 .response = response,
                                 .timeout_ms = timeout_ms ? timeout_ms : CONN_CALL_MS};
    struct loop_timer *patience;
    enum err_code code;

    if (!timeout_ms && c->cli->timeout_ms)
        spec.timeout_ms = c->cli->timeout_ms;
    patience = loop_timer_new(c->loop, tell_wait, c);
    loop_timer_in(patience, TELL_MS);
    code = rpc_client_unary(c->loop, c->client, &spec, ret, err);
    loop_timer_free(patience);
    if (code == ERR_TIMEOUT)
        return silent(c, spec.timeout_ms, err);
    return code ? conn_explain(c, code, err) : ERR_OK;
}
