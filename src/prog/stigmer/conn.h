/* conn.h — the server as the commands see it: one connection, calls that wait for their answer. */
#ifndef PROG_STIGMER_CONN_H
#define PROG_STIGMER_CONN_H

#include <protobuf-c/protobuf-c.h>

#include "base/err.h"
#include "platform/loop.h"
#include "platform/rpc-client.h"
#include "prog/stigmer/cli.h"
#include "prog/stigmer/remote.h"

#define CONN_CALL_MS 30000 /* for one call, when --timeout does not say otherwise */

struct conn {
    const struct cli *cli;
    struct loop *loop;         /* owned */
    struct rpc_client *client; /* owned */
    struct remote remote;      /* owned */
};

/* Nothing is sent yet; only an address, a token or an authority that cannot be right is an error
 * here. */
MUST_CHECK enum err_code conn_open(const struct cli *cli, struct conn *ret, struct err *err);
void conn_close(struct conn *c);

/* One call; *ret is owned by the caller (protobuf_c_message_free_unpacked). A server that does
 * not answer is ERR_NOT_RUNNING with a hint. */
MUST_CHECK enum err_code conn_call(struct conn *c, const char *path,
                                   const ProtobufCMessage *request,
                                   const ProtobufCMessageDescriptor *response, int64_t timeout_ms,
                                   ProtobufCMessage **ret, struct err *err);

/* Turn "the peer is away" into the error a person can act on; other errors stay. */
enum err_code conn_explain(const struct conn *c, enum err_code code, struct err *err);

#endif
