/* rpc-server.h — a gRPC server on nghttp2: unary and server-streaming methods, over unix sockets
 * and TCP, where TLS and a token can be asked for; cleartext is HTTP/2 with prior knowledge.
 *
 *   listener ──accept──▶ connection ──HEADERS+DATA──▶ call ──handler──▶ send* ──▶ finish
 *
 * Nothing of the server may be freed from inside a handler: do that through loop_later.
 *
 * What it takes care of: deadlines (grpc-timeout → DEADLINE_EXCEEDED), cancel, trailers-only
 * errors, percent-encoded messages, message and header limits, flow control, keep-alive pings,
 * (seldom, so that an idle server sleeps: a TCP peer whose machine is gone is found by the kernel's
 * own keep-alive in a minute), peers that send or take nothing (rpc_limits), GOAWAY drain,
 * 404/405/415 for what is not gRPC, gzip refused with UNIMPLEMENTED and grpc-accept-encoding:
 * identity.
 *
 * Each request has an id: what the client's metadata x-request-id says, when that is 1 to 64
 * letters, digits or any of "._:-", else one of ours. It is in the trailers under the same name,
 * and in every line that is logged while a handler runs (log_set_request).
 *
 * Ownership: a call is a handle owned by the server; it stays valid until rpc_call_finish/fail
 * has been called by the handler's side OR its on_closed callback has run, whichever is first.
 * A handler may finish at once or keep the pointer and finish in a later turn; when it keeps it,
 * it sets rpc_call_on_closed and forgets the pointer there.
 * Threads: the loop's thread only. */
#ifndef PLATFORM_RPC_SERVER_H
#define PLATFORM_RPC_SERVER_H

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <sys/types.h>

#include "base/err.h"
#include "platform/loop.h"
#include "platform/tls.h"

struct rpc_server;
struct rpc_call;

/* req: unpacked and freed by the server after the handler has returned. */
typedef void rpc_handler_fn(struct rpc_call *call, const ProtobufCMessage *req, void *arg);

typedef void rpc_ended_fn(struct rpc_call *call, void *arg);

struct rpc_method {
    const char *name; /* "create": lower camelCase, case-sensitive */
    const ProtobufCMessageDescriptor *request;
    const ProtobufCMessageDescriptor *response;
    bool streams; /* the server sends any number of messages */
    rpc_handler_fn *fn;
    bool client_streams;  /* fn is called for every message that the client sends … */
    rpc_ended_fn *on_end; /* … and this when it sends no more; NULL: the call is finished */
};

struct rpc_service {
    const char *name;                 /* "ai.stigmer.agentic.agent.v1.AgentCommandController" */
    const struct rpc_method *methods; /* ends with name == NULL; borrowed for the server's life */
    bool is_open;                     /* answers without the token, too */
};

struct rpc_limits {
    size_t message_bytes;     /* 0: GRPC_MESSAGE_MAX */
    size_t header_bytes;      /* 0: 16 KiB, all headers of one request together */
    unsigned streams;         /* 0: 256 at once on one connection */
    unsigned connections;     /* 0: 1024; the last quarter not over TCP */
    size_t buffered_bytes;    /* 0: 256 KiB unsent per call before rpc_call_is_full */
    unsigned nesting;         /* 0: 64 levels of submessage */
    int64_t ping_after_ms;    /* 0: 5 min of silence, then a ping; unanswered as long: closed */
    int64_t first_request_ms; /* 0: 20 s for a new peer: TLS handshake, preface and SETTINGS */
    int64_t request_ms; /* 0: 60 s (to 120) in which nothing of a begun request comes: ended */
    int64_t answer_ms;  /* 0: 10 min in which a peer takes nothing of what waits for it: ended */
    int64_t idle_ms;    /* 0: 15 min without a call on TCP, then GOAWAY */
    bool own_user_only; /* over TCP: calls of other users than ours and root are refused,
                           unless there is a token, which then decides */
};

struct rpc_server *rpc_server_new(struct loop *loop, const struct rpc_limits *limits);
void rpc_server_free(struct rpc_server *s); /* closes everything at once */

/* Add a service. arg goes to its handlers. Names are listed by reflection in order of addition. */
void rpc_server_add(struct rpc_server *s, const struct rpc_service *service, void *arg);

/* A listening socket that the caller made (bound, listening, nonblocking); taken over.
 * gate: bitmask of RPC_GATE_*; only services added with a matching gate answer on it. */
void rpc_server_listen(struct rpc_server *s, int take_fd, unsigned gates);
/* The same with TLS; the context is borrowed until the server is freed. */
void rpc_server_listen_tls(struct rpc_server *s, int take_fd, unsigned gates,
                           const struct tls_context *tls);

/* From here on each call over TCP needs "authorization: Bearer TOKEN", but for open services. NULL:
 * none. Copied. */
void rpc_server_set_token(struct rpc_server *s, const char *token);
/* Closes it; the connections that came by it stay. */
void rpc_server_unlisten(struct rpc_server *s, int fd);

/* Services are on gate 1 unless restricted: */
void rpc_server_restrict(struct rpc_server *s, const char *service, unsigned gates);
#define RPC_GATE_API 1u    /* the public API: unix socket api.sock and TCP */
#define RPC_GATE_RUNNER 2u /* run/runner.sock */
#define RPC_GATE_REMOTE 4u /* TCP, for services with a token of their own */

/* Over TCP this service wants this token in place of the server's; hint: where a caller has it
 * from. NULL: nobody may call it there. Copied, but for the hint. */
void rpc_server_set_own_token(struct rpc_server *s, const char *service, const char *token,
                              const char *hint);

/* Stop accepting, send GOAWAY, let open calls end until grace is over; then done is called. */
void rpc_server_drain(struct rpc_server *s, int64_t grace_ms, loop_fn *done, void *arg);

unsigned rpc_server_connections(const struct rpc_server *s);

/* How a request ended; also one that reached no handler. The log's request is set meanwhile. */
struct rpc_ended_call {
    const char *path;      /* "/service/method", as the client sent it */
    const struct err *err; /* NULL: well; ERR_CANCELLED: the client went away */
    int64_t took_ms;
};
typedef void rpc_observer_fn(const struct rpc_ended_call *call, void *arg);
void rpc_server_observe(struct rpc_server *s, rpc_observer_fn *fn, void *arg);

/* The names of the services that answer on a gate; NULL past the last. */
const char *rpc_server_service(const struct rpc_server *s, unsigned gates, size_t i);

/* ---- a call ---- */
const char *rpc_call_metadata(const struct rpc_call *c, const char *name); /* NULL when absent */
/* Who calls: of a unix socket, and of TCP from this machine where the kernel tells. */
bool rpc_call_peer_uid(const struct rpc_call *c, uid_t *ret);
unsigned rpc_call_gate(const struct rpc_call *c);

void rpc_call_send(struct rpc_call *c, const ProtobufCMessage *msg); /* packs at once */
void rpc_call_finish(struct rpc_call *c);                            /* status OK */
void rpc_call_fail(struct rpc_call *c, const struct err *err);
void rpc_call_reply(struct rpc_call *c, const ProtobufCMessage *msg); /* send + finish */

/* The peer reads slowly: send no more until the callback set here is called. It stays set, and is
 * called each time that a call which was full has room again. */
bool rpc_call_is_full(const struct rpc_call *c);
void rpc_call_on_drained(struct rpc_call *c, loop_fn *fn, void *arg);

/* Called once when the call is over for any reason but our own finish/fail: cancel, deadline,
 * connection lost, server stopping. The call is gone when it returns. */
void rpc_call_on_closed(struct rpc_call *c, loop_fn *fn, void *arg);

#endif
