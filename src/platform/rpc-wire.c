#include "platform/rpc-wire.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"

#define WRITE_BYTES ((size_t)64 << 10)
#define CIPHER_BYTES ((size_t)32 << 10) /* one read of TLS; fewer than RPC_WIRE_READ once plain */
#define KEEP_BYTES (32 << 10)           /* a buffer larger than this is given back when empty */

_Static_assert(CIPHER_BYTES < RPC_WIRE_READ, "what one read brings leaves the session at once");

void rpc_wire_init(struct rpc_wire *w, int take_fd, struct tls *take_tls)
{
    *w = (struct rpc_wire){.fd = take_fd, .tls = take_tls};
}

static void emptied(struct buf *b)
{
    if (b->cap > KEEP_BYTES)
        buf_done(b);
    else
        buf_clear(b);
}

bool rpc_wire_send(struct rpc_wire *w, bool *ret_blocked)
{
    while (w->out_at < w->out.len) {
        ssize_t n = send(w->fd, w->out.data + w->out_at, w->out.len - w->out_at, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            *ret_blocked = true;
            return true;
        }
        if (n < 0)
            return false;
        w->out_at += (size_t)n;
        w->sent += (size_t)n;
    }
    w->out_at = 0;
    emptied(&w->out);
    return true;
}

void rpc_wire_end(struct rpc_wire *w)
{
    bool blocked = false;

    if (!w->tls)
        return;
    tls_end(w->tls);
    tls_take(w->tls, &w->out);
    (void)rpc_wire_send(w, &blocked);
}

void rpc_wire_done(struct rpc_wire *w)
{
    rpc_wire_end(w);
    tls_free(w->tls);
    close(w->fd);
    buf_done(&w->out);
    buf_done(&w->plain);
    buf_done(&w->early);
}

bool rpc_wire_is_ready(const struct rpc_wire *w)
{
    return !w->tls || tls_is_ready(w->tls);
}

static enum rpc_wire_got receive(int fd, void *to, size_t size, size_t *ret_len)
{
    ssize_t n;

    do
        n = recv(fd, to, size, 0);
    while (n < 0 && errno == EINTR);
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
        return RPC_WIRE_NONE;
    if (n <= 0)
        return RPC_WIRE_LOST;
    *ret_len = (size_t)n;
    return (size_t)n < size ? RPC_WIRE_LAST : RPC_WIRE_SOME;
}

static enum rpc_wire_got read_tls(struct rpc_wire *w, void *to, size_t *ret_len)
{
    uint8_t cipher[CIPHER_BYTES];
    size_t len = 0;
    enum rpc_wire_got got = receive(w->fd, cipher, sizeof cipher, &len);

    if (got == RPC_WIRE_NONE || got == RPC_WIRE_LOST)
        return got;
    *ret_len = 0;
    if (tls_feed(w->tls, cipher, len, &w->fault) ||
        (tls_is_ready(w->tls) && tls_read(w->tls, to, RPC_WIRE_READ, ret_len, &w->fault)))
        return RPC_WIRE_LOST;
    return tls_is_ended(w->tls) && !*ret_len ? RPC_WIRE_LOST : got;
}

enum rpc_wire_got rpc_wire_read(struct rpc_wire *w, void *to, size_t *ret_len)
{
    if (w->early.len) {
        *ret_len = w->early.len;
        memcpy(to, w->early.data, w->early.len);
        buf_done(&w->early);
        return RPC_WIRE_SOME;
    }
    return w->tls ? read_tls(w, to, ret_len) : receive(w->fd, to, RPC_WIRE_READ, ret_len);
}

void rpc_wire_put(struct rpc_wire *w, const void *data, size_t len)
{
    if (!w->tls)
        buf_put(&w->out, data, len);
    else if (tls_is_ready(w->tls) && tls_write(w->tls, data, len, &w->fault) == ERR_OK)
        tls_take(w->tls, &w->out);
}

/* Into out, which is empty. False: TLS has failed. */
static bool pull(struct rpc_wire *w, struct h2 *h2, bool *ret_broken)
{
    if (!w->tls) {
        if (h2 && h2_take(h2, &w->out, WRITE_BYTES, NULL))
            *ret_broken = true;
        return true;
    }
    if (h2 && tls_is_ready(w->tls)) {
        if (h2_take(h2, &w->plain, WRITE_BYTES, NULL))
            *ret_broken = true;
        if (tls_write(w->tls, w->plain.data, w->plain.len, &w->fault))
            return false;
        emptied(&w->plain);
    }
    tls_take(w->tls, &w->out);
    return true;
}

enum rpc_wire_sent rpc_wire_flush(struct rpc_wire *w, struct h2 *h2, bool *ret_broken)
{
    bool blocked = false;

    for (int i = 0; i < RPC_WIRE_ROUNDS && !blocked; i++) {
        if (w->out.len == 0 && !pull(w, h2, ret_broken))
            return RPC_WIRE_GONE;
        if (w->out.len == 0)
            return RPC_WIRE_DRAINED;
        if (!rpc_wire_send(w, &blocked))
            return RPC_WIRE_GONE;
    }
    return RPC_WIRE_MORE;
}
