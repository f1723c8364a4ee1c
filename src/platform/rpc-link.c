#include "platform/rpc-link.h"

#include <string.h>

#include "base/mem.h"

#define TLS_ALERT 21

static void lose(struct rpc_link *l)
{
    l->lost = true;
    if (!l->fault.code)
        l->fault = l->wire.fault;
    loop_io_want(l->io, 0);
}

void rpc_link_flush(struct rpc_link *l)
{
    bool broken = false;
    enum rpc_wire_sent sent = rpc_wire_flush(&l->wire, l->h2, &broken);

    l->dirty = false;
    if (broken || sent == RPC_WIRE_GONE ||
        (sent == RPC_WIRE_DRAINED && (h2_is_over(l->h2) || (l->leaving && h2_streams(l->h2) == 0))))
        lose(l);
    else
        loop_io_want(l->io, LOOP_READ | (sent == RPC_WIRE_MORE ? LOOP_WRITE : 0));
}

/* The other side's first bytes are no HTTP/2: what are they? */
static void name_stranger(struct rpc_link *l, const uint8_t *p, size_t len)
{
    if (len && p[0] == TLS_ALERT)
        err_set(&l->fault, ERR_UNSUPPORTED, "the other side speaks TLS");
    else if (len >= 5 && memcmp(p, "HTTP/", 5) == 0)
        err_set(&l->fault, ERR_UNSUPPORTED, "the other side speaks HTTP/1: it is no gRPC server");
}

static bool take_in(struct rpc_link *l, size_t len)
{
    if (!h2_greeted(l->h2))
        name_stranger(l, l->in, len);
    if (h2_feed(l->h2, l->in, len, NULL))
        return false;
    l->heard = loop_now_ms(l->loop);
    l->pinged = 0;
    return true;
}

static void on_io(int events, void *arg)
{
    struct rpc_link *l = arg;

    l->dirty = true;
    for (int i = 0; i < RPC_WIRE_ROUNDS && (events & LOOP_READ) && !l->lost; i++) {
        size_t n = 0;
        enum rpc_wire_got got = rpc_wire_read(&l->wire, l->in, &n);

        if (got == RPC_WIRE_NONE)
            return;
        if (got == RPC_WIRE_LOST || (n && !take_in(l, n))) {
            lose(l);
            return;
        }
        if (got == RPC_WIRE_LAST)
            return;
    }
}

void rpc_link_read(struct rpc_link *l)
{
    on_io(LOOP_READ, l);
}

static void on_timer(void *arg)
{
    struct rpc_link *l = arg;
    int64_t now = loop_now_ms(l->loop);

    if (l->pinged && now >= l->pinged + l->ping_after_ms) {
        lose(l);
        return;
    }
    if (!l->pinged && now >= l->heard + l->ping_after_ms) {
        h2_ping(l->h2);
        l->dirty = true;
        l->pinged = now;
    }
    loop_timer_at(l->timer, (l->pinged ? l->pinged : l->heard) + l->ping_after_ms);
}

struct rpc_link *rpc_link_new(struct loop *loop, struct rpc_wire *take_wire, uint8_t *in,
                              const struct h2_limits *limits, const struct h2_events *events,
                              int64_t ping_after_ms)
{
    struct rpc_link *l = mem_new(sizeof *l);

    l->loop = loop;
    l->wire = *take_wire;
    l->in = in;
    l->ping_after_ms = ping_after_ms;
    l->h2 = h2_new_client(limits, events, l);
    l->io = loop_io_new(loop, l->wire.fd, on_io, l);
    l->timer = loop_timer_new(loop, on_timer, l);
    l->heard = loop_now_ms(loop);
    l->dirty = true;
    loop_io_want(l->io, LOOP_READ);
    loop_timer_in(l->timer, ping_after_ms);
    return l;
}

void rpc_link_free(struct rpc_link *l)
{
    l->lost = true;
    h2_free(l->h2);
    loop_io_free(l->io);
    loop_timer_free(l->timer);
    rpc_wire_done(&l->wire);
    free(l);
}
