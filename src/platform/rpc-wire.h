/* rpc-wire.h — the bytes of one gRPC connection: a socket, with TLS above it or without. Both ends
 * of a connection have one.
 *
 *   rpc_wire_read  ▶ plain bytes for h2_feed        rpc_wire_flush ◀ h2_take's plain bytes
 *
 * A TLS failure is kept in `fault`. Threads: the loop's. */
#ifndef PLATFORM_RPC_WIRE_H
#define PLATFORM_RPC_WIRE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "platform/tls.h"
#include "wire/h2.h"

#define RPC_WIRE_READ ((size_t)64 << 10) /* the room that rpc_wire_read wants */
#define RPC_WIRE_ROUNDS 8                /* reads or writes in a row before others get their turn */

struct rpc_wire {
    int fd;          /* owned */
    struct tls *tls; /* owned; NULL: cleartext */
    struct buf out;  /* as it goes to the socket */
    size_t out_at;
    uint64_t sent;    /* bytes, ever */
    struct buf plain; /* not encrypted yet; empty but inside rpc_wire_flush */
    struct buf early; /* plain bytes that came with the end of a client's handshake: read first */
    struct err fault; /* code ERR_OK: none */
};

/* tls may be NULL; both are taken over. */
void rpc_wire_init(struct rpc_wire *w, int take_fd, struct tls *take_tls);
void rpc_wire_end(struct rpc_wire *w); /* tells a TLS peer that no more comes, if there is room */
void rpc_wire_done(struct rpc_wire *w);

enum rpc_wire_got {
    RPC_WIRE_NONE, /* nothing now */
    RPC_WIRE_SOME, /* *ret_len bytes (0 is possible), and perhaps more */
    RPC_WIRE_LAST, /* *ret_len bytes, and no more now */
    RPC_WIRE_LOST  /* ended by the peer, or broken */
};
/* to has room for RPC_WIRE_READ bytes. */
enum rpc_wire_got rpc_wire_read(struct rpc_wire *w, void *to, size_t *ret_len);

/* Bytes of our own, before or instead of h2's. Nothing where TLS is not ready. */
void rpc_wire_put(struct rpc_wire *w, const void *data, size_t len);

/* What waits in out to the socket, no more. False: the connection is lost. */
bool rpc_wire_send(struct rpc_wire *w, bool *ret_blocked);

enum rpc_wire_sent {
    RPC_WIRE_DRAINED, /* all that there was has left */
    RPC_WIRE_MORE,    /* some is left: wait until the socket is writable */
    RPC_WIRE_GONE     /* the connection is lost */
};
/* Moves what h2 has to say to the socket, a bounded number of rounds. Nothing of h2 moves before a
 * TLS handshake is done; h2 may be NULL. *ret_broken becomes true when h2 has failed; its last
 * bytes still go. */
enum rpc_wire_sent rpc_wire_flush(struct rpc_wire *w, struct h2 *h2, bool *ret_broken);

bool rpc_wire_is_ready(const struct rpc_wire *w); /* cleartext, or the handshake is done */

#endif
