#include "platform/rpc-dial.h"

#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/own.h"
#include "platform/resolve.h"
#include "platform/sock.h"

#define ADDRESS_MS 10000

struct rpc_dial {
    struct loop *loop;
    char *address;
    char *host;                    /* owned; what the certificate must be for */
    const struct tls_context *tls; /* borrowed */
    rpc_dial_fn *fn;
    void *arg;
    struct sock_addr addrs[SOCK_ADDRS];
    size_t count, at;
    struct resolver *resolver; /* owned; NULL but while the name is looked up */
    int fd;                    /* connecting; -1 */
    struct rpc_wire wire;      /* greeting, when is_greeting */
    bool is_greeting;
    struct loop_io *io;
    struct loop_timer *limit;
    struct err refused; /* by a peer that answered: says more than that another address does not */
};

static void next_address(struct rpc_dial *d, const struct err *why);

static void leave_address(struct rpc_dial *d)
{
    loop_io_free(TAKE(d->io));
    loop_timer_at(d->limit, INT64_MAX);
    if (d->is_greeting)
        rpc_wire_done(&d->wire);
    own_fd(&d->fd);
    d->fd = -1;
    d->is_greeting = false;
}

static void address_failed(struct rpc_dial *d, const struct err *why)
{
    if (why->code != ERR_UNAVAILABLE)
        d->refused = *why;
    leave_address(d);
    d->at++;
    next_address(d, why);
}

static void on_limit(void *arg)
{
    struct rpc_dial *d = arg;
    struct err err;

    err_set(&err, ERR_UNAVAILABLE, "no answer within %d s", ADDRESS_MS / 1000);
    address_failed(d, &err);
}

/* The last call of whoever calls it: d may be gone. */
static void tell_wire(struct rpc_dial *d)
{
    struct rpc_wire wire = d->wire;

    d->is_greeting = false;
    leave_address(d);
    d->fn(&wire, NULL, d->arg);
}

/* The handshake: what there is to say, then what there is to hear. */
static void greet(struct rpc_dial *d)
{
    uint8_t early[RPC_WIRE_READ];
    size_t len = 0;
    bool broken = false;
    enum rpc_wire_got got = rpc_wire_read(&d->wire, early, &len);
    enum rpc_wire_sent sent = rpc_wire_flush(&d->wire, NULL, &broken);
    struct err err;

    if (got == RPC_WIRE_LOST || sent == RPC_WIRE_GONE) {
        if (d->wire.fault.code)
            err = d->wire.fault;
        else
            err_set(&err, ERR_UNAVAILABLE, "the connection was closed while TLS began");
        address_failed(d, &err);
    } else if (!rpc_wire_is_ready(&d->wire)) {
        loop_io_want(d->io, LOOP_READ | (sent == RPC_WIRE_MORE ? LOOP_WRITE : 0));
    } else {
        buf_put(&d->wire.early, early, len);
        tell_wire(d);
    }
}

static void on_greet_io(int events, void *arg)
{
    (void)events;
    greet(arg);
}

static void connected(struct rpc_dial *d)
{
    rpc_wire_init(&d->wire, take_fd(&d->fd), d->tls ? tls_new_client(d->tls, d->host) : NULL);
    d->is_greeting = true;
    if (!d->tls) {
        tell_wire(d);
        return;
    }
    loop_io_free(d->io);
    d->io = loop_io_new(d->loop, d->wire.fd, on_greet_io, d);
    greet(d);
}

static void on_connect_io(int events, void *arg)
{
    struct rpc_dial *d = arg;
    struct err err;

    (void)events;
    if (sock_connected(d->fd, &err))
        address_failed(d, &err);
    else
        connected(d);
}

static void next_address(struct rpc_dial *d, const struct err *why)
{
    struct err err = {0};

    if (why)
        err = *why;
    else
        err_set(&err, ERR_UNAVAILABLE, "no address");
    for (; d->at < d->count; d->at++) {
        bool done = false;

        if (sock_connect(&d->addrs[d->at], &d->fd, &done, &err))
            continue;
        if (done) {
            connected(d);
            return;
        }
        d->io = loop_io_new(d->loop, d->fd, on_connect_io, d);
        loop_io_want(d->io, LOOP_WRITE);
        loop_timer_in(d->limit, ADDRESS_MS);
        return;
    }
    if (d->refused.code)
        err = d->refused;
    d->fn(NULL, &err, d->arg);
}

static void on_resolved(const struct err *why, const struct sock_addr *addresses, size_t count,
                        void *arg)
{
    struct rpc_dial *d = arg;
    struct err err;

    d->count = why ? 0 : count;
    if (count)
        memcpy(d->addrs, addresses, count * sizeof *addresses);
    if (why)
        err_set(&err, ERR_UNAVAILABLE, "%.600s", why->msg);
    resolve_free(TAKE(d->resolver));
    next_address(d, why ? &err : NULL);
}

/* A resolver an attempt: it is seldom, and /etc/resolv.conf may be another by the next one. */
static void look_up(struct rpc_dial *d)
{
    char name[SOCK_HOST];
    unsigned port = 0;
    struct err err;

    if (!sock_host(d->address, name) || !sock_port(d->address, &port))
        err_set(&err, ERR_INVALID, "'%.200s' names no host and port", d->address);
    else if (resolve_new(d->loop, &d->resolver, &err) == ERR_OK)
        resolve_start(d->resolver, name, port, on_resolved, d);
    if (!d->resolver)
        d->fn(NULL, &err, d->arg);
}

void rpc_dial_begin(struct rpc_dial *d)
{
    if (rpc_dial_is_busy(d))
        return;
    d->at = 0;
    d->refused.code = ERR_OK;
    if (sock_needs_lookup(d->address))
        look_up(d);
    else
        next_address(d, NULL);
}

bool rpc_dial_is_busy(const struct rpc_dial *d)
{
    return d->resolver || d->io || d->is_greeting;
}

enum err_code rpc_dial_new(struct loop *loop, const char *address, const struct tls_context *tls,
                           const char *host, rpc_dial_fn *fn, void *arg, struct rpc_dial **ret,
                           struct err *err)
{
    struct sock_addr addrs[SOCK_ADDRS];
    char name[SOCK_HOST] = "";
    size_t count = 0;
    enum err_code rc;

    if (!address)
        return err_set(err, ERR_INVALID, "no address to connect to");
    if (!sock_needs_lookup(address) && (rc = sock_resolve(address, addrs, &count, err)))
        return rc;
    if (tls && !host && !sock_host(address, name))
        return err_set(err, ERR_INVALID, "TLS is for host:port, not for %s", address);
    struct rpc_dial *d = mem_new(sizeof *d);
    *d = (struct rpc_dial){.loop = loop, .tls = tls, .fn = fn, .arg = arg, .fd = -1};
    d->address = mem_str(address);
    d->host = mem_str(host ? host : name);
    d->limit = loop_timer_new(loop, on_limit, d);
    if (count)
        memcpy(d->addrs, addrs, count * sizeof *addrs);
    d->count = count;
    *ret = d;
    return ERR_OK;
}

void rpc_dial_free(struct rpc_dial *d)
{
    if (!d)
        return;
    resolve_free(d->resolver);
    leave_address(d);
    loop_timer_free(d->limit);
    free(d->address);
    free(d->host);
    free(d);
}
