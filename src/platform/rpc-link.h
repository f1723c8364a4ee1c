/* rpc-link.h — one connection of an rpc client, from its greeting to its end. Between rpc-client.c,
 * whose calls it carries, and the socket.
 *
 * A link that has got a GOAWAY is kept for the calls it carries, beside a newer one. A lost link is
 * freed by its owner at the turn's end. Threads: the loop's. */
#ifndef PLATFORM_RPC_LINK_H
#define PLATFORM_RPC_LINK_H

#include <stdbool.h>

#include "platform/loop.h"
#include "platform/rpc-wire.h"

struct rpc_link {
    struct loop *loop;
    struct rpc_wire wire;
    struct loop_io *io;
    struct h2 *h2;
    struct loop_timer *timer;
    int64_t ping_after_ms;
    int64_t heard, pinged;
    uint8_t *in;      /* borrowed: RPC_WIRE_READ bytes to read into */
    struct err fault; /* why it is lost, when that is known; code ERR_OK: not */
    bool leaving;     /* GOAWAY: no new calls */
    bool dirty;       /* to be flushed at the turn's end */
    bool lost;        /* to be freed at the turn's end */
    struct rpc_link *next;
};

/* events: their arg is the link. */
struct rpc_link *rpc_link_new(struct loop *loop, struct rpc_wire *take_wire, uint8_t *in,
                              const struct h2_limits *limits, const struct h2_events *events,
                              int64_t ping_after_ms);
void rpc_link_free(struct rpc_link *l); /* ends its streams; they are told */
void rpc_link_read(struct rpc_link *l); /* what has come already */
void rpc_link_flush(struct rpc_link *l);

#endif
