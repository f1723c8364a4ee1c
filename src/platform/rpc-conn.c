/* rpc-conn.c — a connection's life:
 *
 *   [TLS ──handshake──▶] quiet ──first bytes, or 20 ms──▶ new ──SETTINGS──▶ open ──▶ closed
 *     └──not TLS            └──not HTTP/2: a short answer──▶ lingering ──peer closes, or 1 s──▶
 * closed
 *
 * Our SETTINGS wait the 20 ms for the peer's first bytes, so that an HTTP/1 client gets an answer
 * that it can read. What ends an open one: an error, GOAWAY, and time (rpc_limits): a greeting that
 * is not complete, silence, output that is not taken, TCP without a call. Everything that a turn
 * produces leaves at the turn's end in few send() calls: whoever queues something marks the
 * connection dirty, the hook flushes the dirty ones. */
#include "platform/rpc-conn.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/own.h"
#include "platform/rpc-wire.h"
#include "platform/sock-owner.h"
#include "platform/sock.h"

#define QUIET_MS 20
#define LINGER_MS 1000
#define ACCEPT_AGAIN_MS 100

static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
#define PREFACE (sizeof preface - 1)

struct listener {
    struct rpc_conns *set;
    int fd; /* owned */
    struct loop_io *io;
    unsigned gates;
    bool is_tcp;
    const struct tls_context *tls; /* borrowed; NULL: cleartext */
    struct listener *next;
};

struct conn {
    struct rpc_conns *set;
    struct rpc_wire wire;
    struct loop_io *io;
    struct h2 *h2;
    struct loop_timer *timer;
    int64_t due; /* when the timer fires */
    unsigned gates;
    size_t preface_seen;
    int64_t since;      /* accepted at */
    int64_t heard;      /* last bytes from the peer */
    int64_t pinged;     /* 0: no ping is waited for */
    int64_t idle_since; /* 0: a call is open, or none was yet */
    int64_t sweep_at;   /* 0: no stream waits for its peer */
    uint64_t swept;     /* bytes sent at the last sweep */
    unsigned stuck;     /* sweeps in a row that found the same unsent bytes */
    bool has_uid;
    bool is_tcp;
    bool is_foreign; /* of a user who may not call here */
    uid_t uid;
    bool peek;      /* the first bytes of a TLS connection have not come */
    bool lacks_tls; /* it speaks in the clear where TLS is spoken */
    bool quiet, lingering, closing, dirty;
    struct conn *prev, *next;
    struct conn *next_dirty;
};

struct rpc_conns {
    struct loop *loop;
    const struct rpc_limits *limits;
    struct h2_events events;
    loop_fn *none;
    void *arg;
    struct listener *listeners;
    struct conn *conns;
    unsigned count, tcp_count;
    struct conn *dirty;
    struct loop_hook *hook;
    struct loop_timer *again; /* accept is tried again: descriptors had run out */
    uint8_t in[RPC_WIRE_READ];
};

static void mark_dirty(struct conn *c)
{
    if (c->dirty)
        return;
    c->dirty = true;
    c->next_dirty = c->set->dirty;
    c->set->dirty = c;
}

static void conn_free(struct conn *c)
{
    struct rpc_conns *s = c->set;
    h2_free(c->h2); /* calls end here and may mark the connection dirty once more */
    for (struct conn **p = &s->dirty; *p; p = &(*p)->next_dirty)
        if (*p == c) {
            *p = c->next_dirty;
            break;
        }
    if (c->prev)
        c->prev->next = c->next;
    else
        s->conns = c->next;
    if (c->next)
        c->next->prev = c->prev;
    s->count--;
    s->tcp_count -= c->is_tcp;
    loop_io_free(c->io);
    loop_timer_free(c->timer);
    rpc_wire_done(&c->wire);
    free(c);
    if (s->count == 0)
        s->none(s->arg);
}

static void set_timer(struct conn *c, int64_t when)
{
    c->due = when;
    loop_timer_at(c->timer, when);
}

static void linger(struct conn *c)
{
    c->lingering = true;
    rpc_wire_end(&c->wire);
    (void)shutdown(c->wire.fd, SHUT_WR);
    loop_io_want(c->io, LOOP_READ);
    set_timer(c, loop_now_ms(c->set->loop) + LINGER_MS);
}

/* After what was sent: do calls wait for their peer, or does the connection wait for calls? */
static void note_streams(struct conn *c)
{
    int64_t now = loop_now_ms(c->set->loop);

    if (h2_streams(c->h2) == 0) {
        c->idle_since = c->idle_since ? c->idle_since : now;
        return;
    }
    c->idle_since = 0;
    if (c->sweep_at)
        return;
    c->sweep_at = now + c->set->limits->request_ms;
    c->swept = c->wire.sent;
    c->stuck = 0;
    if (c->sweep_at < c->due)
        set_timer(c, c->sweep_at);
}

static void conn_flush(struct conn *c)
{
    bool broken = false;
    enum rpc_wire_sent sent;

    if (c->lingering)
        return;
    sent = rpc_wire_flush(&c->wire, c->quiet ? NULL : c->h2, &broken);
    c->closing |= broken;
    if (sent == RPC_WIRE_GONE) {
        conn_free(c);
        return;
    }
    if (sent == RPC_WIRE_DRAINED && c->closing) {
        linger(c);
    } else if (sent == RPC_WIRE_DRAINED && !c->quiet && h2_is_over(c->h2)) {
        conn_free(c);
    } else {
        note_streams(c);
        loop_io_want(c->io,
                     (c->closing ? 0 : LOOP_READ) | (sent == RPC_WIRE_MORE ? LOOP_WRITE : 0));
    }
}

static void on_more(void *arg)
{
    (void)arg;
}

static void flush_dirty(void *arg)
{
    struct rpc_conns *s = arg;
    struct conn *c;
    /* Flushing may make room, and room may make a handler send more. */
    unsigned budget = 4 * s->count + 4;
    while ((c = s->dirty) && budget--) {
        s->dirty = c->next_dirty;
        c->dirty = false;
        conn_flush(c);
    }
    if (s->dirty)
        loop_later(s->loop, on_more, NULL);
}

/* The last words of a connection that never spoke HTTP/2 (or TLS) as it should. */
static void dismiss(struct conn *c, const void *data, size_t len)
{
    bool blocked = false;

    c->quiet = false;
    rpc_wire_put(&c->wire, data, len);
    if (rpc_wire_send(&c->wire, &blocked) && !blocked)
        linger(c);
    else
        conn_free(c);
}

static void dismiss_http1(struct conn *c, const char *words)
{
    char answer[300];
    int n = snprintf(answer, sizeof answer,
                     "HTTP/1.1 400 Bad Request\r\n"
                     "Content-Type: text/plain\r\n"
                     "Content-Length: %zu\r\n"
                     "Connection: close\r\n\r\n%s",
                     strlen(words), words);

    dismiss(c, answer, (size_t)n);
}

/* Cleartext on a port that speaks TLS is answered in kind: HTTP/2 goes on without TLS, and each
 * call is told so (rpc_conn_lacks_tls). */
static void not_tls(struct conn *c, const uint8_t *first, size_t len)
{
    tls_free(TAKE(c->wire.tls));
    c->peek = false;
    if (memcmp(first, preface, len < PREFACE ? len : PREFACE) == 0)
        c->lacks_tls = true;
    else
        dismiss_http1(c, "This port speaks TLS: call it with https:// (grpcurl -cacert).\n");
}

/* False: c is gone, or has no more to read. */
static bool take_in(struct conn *c, size_t len)
{
    const uint8_t *p = c->set->in;
    size_t n = PREFACE - c->preface_seen < len ? PREFACE - c->preface_seen : len;
    c->heard = loop_now_ms(c->set->loop);
    c->pinged = 0;
    if (n && memcmp(p, preface + c->preface_seen, n) != 0) {
        dismiss_http1(c, "This is a gRPC port: speak HTTP/2 with prior knowledge (grpcurl).\n");
        return false;
    }
    c->preface_seen += n;
    c->quiet = false;
    mark_dirty(c);
    if (h2_feed(c->h2, p, len, NULL)) {
        c->closing = true;
        return false;
    }
    return true;
}

/* False: there is nothing to read now, or c is gone. */
static bool looks_well(struct conn *c)
{
    uint8_t first[PREFACE];
    ssize_t n = recv(c->wire.fd, first, sizeof first, MSG_PEEK);

    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR)) {
        conn_free(c);
        return false;
    }
    if (n > 0 && !tls_is_hello(first, (size_t)n)) {
        not_tls(c, first, (size_t)n);
        return c->lacks_tls;
    }
    c->peek = n < 0;
    return n > 0;
}

/* A TLS peer that failed is sent the alert that tells it why. */
static void lose(struct conn *c)
{
    bool broken = false;

    if (c->wire.tls && c->wire.fault.code)
        (void)rpc_wire_flush(&c->wire, NULL, &broken);
    conn_free(c);
}

static void on_io(int events, void *arg)
{
    struct conn *c = arg;
    if (events & LOOP_WRITE)
        mark_dirty(c);
    if (!(events & LOOP_READ) || (c->peek && !looks_well(c)))
        return;
    for (int i = 0; i < RPC_WIRE_ROUNDS; i++) {
        bool was_ready = rpc_wire_is_ready(&c->wire);
        size_t n = 0;
        enum rpc_wire_got got = rpc_wire_read(&c->wire, c->set->in, &n);
        if (got == RPC_WIRE_NONE)
            return;
        if (got == RPC_WIRE_LOST) {
            lose(c);
            return;
        }
        if (c->wire.tls)
            mark_dirty(c); /* the handshake's next bytes */
        if (!was_ready && rpc_wire_is_ready(&c->wire) && c->quiet)
            set_timer(c, loop_now_ms(c->set->loop) + QUIET_MS);
        if (c->lingering || c->closing)
            continue;
        if ((n && !take_in(c, n)) || got == RPC_WIRE_LAST)
            return;
    }
}

/* Calls that stand still. False: the connection's own output does, for too long. */
static bool sweep(struct conn *c, int64_t now)
{
    const struct rpc_limits *l = c->set->limits;
    bool stuck = c->wire.out.len && c->wire.sent == c->swept;

    c->stuck = stuck ? c->stuck + 1 : 0;
    c->swept = c->wire.sent;
    c->sweep_at = h2_sweep(c->h2) || stuck ? now + l->request_ms : 0;
    return c->stuck * l->request_ms < l->answer_ms;
}

static bool is_out_of_time(struct conn *c, int64_t now)
{
    const struct rpc_limits *l = c->set->limits;

    if (c->lingering || c->closing)
        return true;
    if (!h2_greeted(c->h2))
        return now >= c->since + l->first_request_ms;
    if (c->pinged && now >= c->pinged + l->ping_after_ms)
        return true;
    return c->sweep_at && now >= c->sweep_at && !sweep(c, now);
}

static int64_t next_due(const struct conn *c)
{
    const struct rpc_limits *l = c->set->limits;
    int64_t next = (c->pinged ? c->pinged : c->heard) + l->ping_after_ms;

    if (!h2_greeted(c->h2))
        return c->since + l->first_request_ms;
    if (c->sweep_at && c->sweep_at < next)
        next = c->sweep_at;
    if (c->is_tcp && c->idle_since && c->idle_since + l->idle_ms < next)
        next = c->idle_since + l->idle_ms;
    return next;
}

static void on_timer(void *arg)
{
    struct conn *c = arg;
    const struct rpc_limits *l = c->set->limits;
    int64_t now = loop_now_ms(c->set->loop);
    if (c->quiet && rpc_wire_is_ready(&c->wire) && !c->lingering) {
        c->quiet = false;
        mark_dirty(c);
        set_timer(c, c->since + l->first_request_ms);
        return;
    }
    if (is_out_of_time(c, now)) {
        conn_free(c);
        return;
    }
    if (h2_greeted(c->h2) && c->is_tcp && c->idle_since && now >= c->idle_since + l->idle_ms) {
        h2_goaway(c->h2);
        c->closing = true; /* when it has left */
        mark_dirty(c);
        set_timer(c, now + LINGER_MS);
        return;
    }
    if (h2_greeted(c->h2) && !c->pinged && now >= c->heard + l->ping_after_ms) {
        h2_ping(c->h2);
        mark_dirty(c);
        c->pinged = now;
    }
    set_timer(c, next_due(c));
}

static void conn_new(struct listener *ln, int fd)
{
    struct rpc_conns *s = ln->set;
    int one = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one); /* fails on unix: fine */
    sock_keep_alive(fd);
    struct conn *c = mem_new(sizeof *c);
    c->set = s;
    rpc_wire_init(&c->wire, fd, ln->tls ? tls_new_server(ln->tls) : NULL);
    c->peek = ln->tls != NULL;
    c->is_tcp = ln->is_tcp;
    c->gates = ln->gates;
    enum sock_owner owner = sock_owner_of_peer(fd, &c->uid);
    c->has_uid = owner == SOCK_OWNER_KNOWN;
    c->is_foreign =
        s->limits->own_user_only && c->is_tcp &&
        (owner == SOCK_OWNER_NOT_HERE || (c->has_uid && c->uid != 0 && c->uid != geteuid()));
    c->io = loop_io_new(s->loop, fd, on_io, c);
    c->timer = loop_timer_new(s->loop, on_timer, c);
    c->since = c->heard = loop_now_ms(s->loop);
    c->quiet = true;
    struct h2_limits l = {.message_bytes = s->limits->message_bytes,
                          .header_bytes = s->limits->header_bytes,
                          .buffered_bytes = s->limits->buffered_bytes,
                          .streams = s->limits->streams};
    c->h2 = h2_new_server(&l, &s->events, s->arg);
    h2_set_owner(c->h2, c);
    c->next = s->conns;
    if (c->next)
        c->next->prev = c;
    s->conns = c;
    s->count++;
    s->tcp_count += c->is_tcp;
    loop_io_want(c->io, LOOP_READ);
    set_timer(c, c->since + (c->wire.tls ? s->limits->first_request_ms : QUIET_MS));
}

/* The last quarter is kept for the unix sockets: strangers on TCP must not lock the owner out. */
static bool is_full(const struct listener *ln)
{
    unsigned max = ln->set->limits->connections;

    return ln->set->count >= max || (ln->is_tcp && ln->set->tcp_count >= max - max / 4);
}

static void on_accept(int events, void *arg)
{
    struct listener *ln = arg;
    (void)events;
    for (int i = 0; i < 64; i++) {
        int fd = accept4(ln->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS)) {
            for (struct listener *l = ln->set->listeners; l; l = l->next)
                loop_io_want(l->io, 0);
            loop_timer_in(ln->set->again, ACCEPT_AGAIN_MS);
        }
        if (fd < 0)
            return; /* nobody waits, or the one who did has gone */
        if (is_full(ln))
            close(fd);
        else
            conn_new(ln, fd);
    }
}

static void on_again(void *arg)
{
    struct rpc_conns *s = arg;
    for (struct listener *l = s->listeners; l; l = l->next)
        loop_io_want(l->io, LOOP_READ);
}

struct rpc_conns *rpc_conns_new(struct loop *loop, const struct rpc_limits *limits,
                                const struct h2_events *events, loop_fn *none, void *arg)
{
    struct rpc_conns *s = mem_new(sizeof *s);
    s->loop = loop;
    s->limits = limits;
    s->events = *events;
    s->none = none;
    s->arg = arg;
    s->hook = loop_hook_new(loop, flush_dirty, s);
    s->again = loop_timer_new(loop, on_again, s);
    return s;
}

void rpc_conns_listen(struct rpc_conns *s, int take_fd, unsigned gates,
                      const struct tls_context *tls)
{
    struct listener *ln = mem_new(sizeof *ln);
    *ln = (struct listener){.set = s,
                            .fd = take_fd,
                            .gates = gates,
                            .is_tcp = sock_owner_is_tcp(take_fd),
                            .tls = tls,
                            .next = s->listeners};
    ln->io = loop_io_new(s->loop, take_fd, on_accept, ln);
    loop_io_want(ln->io, LOOP_READ);
    s->listeners = ln;
}

static void close_first(struct listener **at)
{
    struct listener *ln = *at;

    *at = ln->next;
    loop_io_free(ln->io);
    close(ln->fd);
    free(ln);
}

void rpc_conns_unlisten(struct rpc_conns *s, int fd)
{
    for (struct listener **at = &s->listeners; *at; at = &(*at)->next)
        if ((*at)->fd == fd) {
            close_first(at);
            return;
        }
}

static void close_listeners(struct rpc_conns *s)
{
    while (s->listeners)
        close_first(&s->listeners);
}

void rpc_conns_drain(struct rpc_conns *s)
{
    close_listeners(s);
    for (struct conn *c = s->conns, *next; c; c = next) {
        next = c->next;
        if (!rpc_wire_is_ready(&c->wire)) {
            conn_free(c);
            continue;
        }
        c->quiet = false;
        h2_goaway(c->h2);
        mark_dirty(c);
    }
}

void rpc_conns_close_all(struct rpc_conns *s)
{
    while (s->conns)
        conn_free(s->conns);
}

void rpc_conns_free(struct rpc_conns *s)
{
    if (!s)
        return;
    close_listeners(s);
    rpc_conns_close_all(s);
    loop_hook_free(s->hook);
    loop_timer_free(s->again);
    free(s);
}

unsigned rpc_conns_count(const struct rpc_conns *s)
{
    return s->count;
}

static struct conn *conn_of(const struct h2_stream *stream)
{
    return h2_stream_owner(stream);
}

void rpc_conn_touch(struct h2_stream *stream)
{
    conn_of(stream)->idle_since = 0; /* a call may come and end within one turn */
    mark_dirty(conn_of(stream));
}

unsigned rpc_conn_gates(const struct h2_stream *stream)
{
    return conn_of(stream)->gates;
}

void rpc_conn_close(struct h2_stream *stream)
{
    conn_of(stream)->closing = true;
    mark_dirty(conn_of(stream));
}

bool rpc_conn_lacks_tls(const struct h2_stream *stream)
{
    return conn_of(stream)->lacks_tls;
}

bool rpc_conn_is_tcp(const struct h2_stream *stream)
{
    return conn_of(stream)->is_tcp;
}

bool rpc_conn_is_foreign(const struct h2_stream *stream)
{
    return conn_of(stream)->is_foreign;
}

bool rpc_conn_uid(const struct h2_stream *stream, uid_t *ret)
{
    *ret = conn_of(stream)->uid;
    return conn_of(stream)->has_uid;
}
