/* rpc-conn.h — the connections of an rpc server: accept, read, write, time-outs. What they carry
 * is told through h2_events (arg: the same as here); a server's streams reach their connection by
 * the functions at the end. Threads: the loop's thread only. */
#ifndef PLATFORM_RPC_CONN_H
#define PLATFORM_RPC_CONN_H

#include "base/map.h"
#include "platform/loop.h"
#include "platform/rpc-server.h"
#include "platform/tls.h"
#include "wire/h2.h"

struct rpc_conns;

/* limits: borrowed, with every field set. none: called when the last connection has gone. */
struct rpc_conns *rpc_conns_new(struct loop *loop, const struct rpc_limits *limits,
                                const struct h2_events *events, loop_fn *none, void *arg);
void rpc_conns_free(struct rpc_conns *s);
/* tls: borrowed until the connections are freed; NULL: cleartext. */
void rpc_conns_listen(struct rpc_conns *s, int take_fd, unsigned gates,
                      const struct tls_context *tls);
/* Closes it; the connections that came by it stay. */
void rpc_conns_unlisten(struct rpc_conns *s, int fd);
void rpc_conns_drain(struct rpc_conns *s); /* no new connections or calls */
void rpc_conns_close_all(struct rpc_conns *s);
unsigned rpc_conns_count(const struct rpc_conns *s);

void rpc_conn_touch(struct h2_stream *stream); /* something waits to be sent */
unsigned rpc_conn_gates(const struct h2_stream *stream);
void rpc_conn_close(struct h2_stream *stream);           /* the whole connection, soon */
bool rpc_conn_lacks_tls(const struct h2_stream *stream); /* cleartext on a port with TLS */
bool rpc_conn_is_tcp(const struct h2_stream *stream);
bool rpc_conn_is_foreign(const struct h2_stream *stream);
bool rpc_conn_uid(const struct h2_stream *stream, uid_t *ret);

#endif
