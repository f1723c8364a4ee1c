/* rpc-client.h — a gRPC channel on nghttp2 to one address, with TLS or without, reconnecting by
 * itself.
 *
 * Addresses: "unix:/path/to.sock", "127.0.0.1:7234", "[::1]:7234", "localhost:7234" (both
 * families of localhost are tried; other host names are resolved as resolve.h does it).
 * A call started while the channel is down waits for the connection until its deadline, unless
 * fail_fast; back-off between attempts is 50 ms doubling to 5 s with jitter.
 * A TLS handshake that failed is told as tls.h has it, not as ERR_UNAVAILABLE.
 * Threads: the loop's thread only. */
#ifndef PLATFORM_RPC_CLIENT_H
#define PLATFORM_RPC_CLIENT_H

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>

#include "base/err.h"
#include "platform/loop.h"
#include "platform/tls.h"

struct rpc_client;
struct rpc_request;

struct rpc_header {
    const char *name, *value; /* lower case; text */
};
#define RPC_CLIENT_HEADERS 4

struct rpc_client_options {
    const char *address;           /* copied */
    const char *token;             /* sent as "authorization: Bearer …" when set; copied */
    const struct tls_context *tls; /* borrowed until the client is freed; NULL: cleartext */
    const char
        *server_name; /* that the certificate must be for; NULL: the address's host; copied */
    const struct rpc_header *headers; /* sent with every call; copied */
    size_t header_count;              /* at most RPC_CLIENT_HEADERS */
    size_t message_bytes;             /* 0: 64 MiB, what we accept */
    int64_t ping_after_ms;            /* 0: 30 s */
    bool fail_fast;    /* a refused connection fails waiting calls with ERR_UNAVAILABLE */
    bool fail_refused; /* … one where TLS fails does, with ERR_UNAUTHENTICATED or so */
    /* Why an attempt to connect failed, told when the words change; NULL: connected. May be NULL.
     */
    void (*on_reach)(const struct err *why, void *arg);
    void *arg;
};

MUST_CHECK enum err_code rpc_client_new(struct loop *loop, const struct rpc_client_options *o,
                                        struct rpc_client **ret, struct err *err);
void rpc_client_free(struct rpc_client *c); /* ends calls without calling back */
bool rpc_client_is_up(const struct rpc_client *c);

/* A message of the answer: borrowed for the call. */
typedef void rpc_message_fn(const ProtobufCMessage *msg, void *arg);
/* The end, exactly once; NULL means OK. The request handle is gone when it returns. */
typedef void rpc_end_fn(const struct err *err, void *arg);

struct rpc_call_spec {
    const char *path; /* "/pkg.Service/method" */
    const ProtobufCMessage *request;
    const ProtobufCMessageDescriptor *response;
    int64_t timeout_ms; /* 0: none; sent as grpc-timeout and kept here too */
    rpc_message_fn *on_message;
    rpc_end_fn *on_end;
    void *arg;
};
/* Packs the request at once. Never calls back before returning. */
struct rpc_request *rpc_client_call(struct rpc_client *c, const struct rpc_call_spec *spec);
void rpc_request_cancel(struct rpc_request *r); /* no callback follows */

/* Backpressure for streams: while paused, the peer's window is not opened again. */
void rpc_request_pause(struct rpc_request *r, bool paused);

/* One unary call from start to end on a loop of its own: for the CLI. The answer is owned by
 * the caller (protobuf_c_message_free_unpacked). */
MUST_CHECK enum err_code rpc_client_unary(struct loop *loop, struct rpc_client *c,
                                          const struct rpc_call_spec *spec, ProtobufCMessage **ret,
                                          struct err *err);

#endif
