/* rpc-conn.c — a connection's life:
 *
 *   quiet ──first bytes, or 20 ms──▶ new ──SETTINGS──▶ open ──error, GOAWAY, silence──▶ closed
 *     └──not HTTP/2: a short HTTP/1.1 answer──▶ lingering ──peer closes, or 1 s──▶ closed
 *
 * Our SETTINGS wait the 20 ms for the peer's first bytes, so that an HTTP/1 client gets an answer
 * that it can read. Everything that a turn produces leaves at the turn's end in few send() calls:
 * whoever queues something marks the connection dirty, the hook flushes the dirty ones. */
#include "platform/rpc-conn.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/own.h"
#include "platform/sock-owner.h"
#include "platform/sock.h"

#define READ_BYTES (64 << 10)
#define WRITE_BYTES (64 << 10)
#define ROUNDS 8 /* reads or writes in a row before others get their turn */
#define QUIET_MS 20
#define LINGER_MS 1000
#define ACCEPT_AGAIN_MS 100
#define KEEP_BYTES (32 << 10) /* an output buffer larger than this is given back when empty */

static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
#define PREFACE (sizeof preface - 1)

struct listener {
    struct rpc_conns *set;
    int fd; /* owned */
    struct loop_io *io;
    unsigned gates;
    struct listener *next;
};

struct conn {
    struct rpc_conns *set;
    int fd; /* owned */
    struct loop_io *io;
    struct h2 *h2;
    struct loop_timer *timer;
    struct buf out;
    size_t out_at;
    unsigned gates;
    size_t preface_seen;
    int64_t since;  /* accepted at */
    int64_t heard;  /* last bytes from the peer */
    int64_t pinged; /* 0: no ping is waited for */
    bool has_uid;
    bool is_foreign; /* of a user who may not call here */
    uid_t uid;
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
    unsigned count;
    struct conn *dirty;
    struct loop_hook *hook;
    struct loop_timer *again; /* accept is tried again: descriptors had run out */
    uint8_t in[READ_BYTES];
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
    loop_io_free(c->io);
    loop_timer_free(c->timer);
    close(c->fd);
    buf_done(&c->out);
    free(c);
    if (s->count == 0)
        s->none(s->arg);
}

/* False: the connection is lost. */
static bool send_some(struct conn *c, bool *ret_blocked)
{
    while (c->out_at < c->out.len) {
        ssize_t n = send(c->fd, c->out.data + c->out_at, c->out.len - c->out_at, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            *ret_blocked = true;
            return true;
        }
        if (n < 0)
            return false;
        c->out_at += (size_t)n;
    }
    c->out_at = 0;
    if (c->out.cap > KEEP_BYTES)
        buf_done(&c->out);
    else
        buf_clear(&c->out);
    return true;
}

static void linger(struct conn *c)
{
    c->lingering = true;
    (void)shutdown(c->fd, SHUT_WR);
    loop_io_want(c->io, LOOP_READ);
    loop_timer_in(c->timer, LINGER_MS);
}

static void conn_flush(struct conn *c)
{
    bool blocked = false;
    bool more = true;
    if (c->quiet || c->lingering)
        return;
    for (int i = 0; i < ROUNDS && !blocked; i++) {
        if (c->out.len == 0 && h2_take(c->h2, &c->out, WRITE_BYTES, NULL))
            c->closing = true;
        more = c->out.len != 0;
        if (!more)
            break;
        if (!send_some(c, &blocked)) {
            conn_free(c);
            return;
        }
    }
    if (!more && c->closing)
        linger(c);
    else if (!more && h2_is_over(c->h2))
        conn_free(c);
    else
        loop_io_want(c->io, (c->closing ? 0 : LOOP_READ) | (more ? LOOP_WRITE : 0));
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

static void not_http2(struct conn *c)
{
    static const char answer[] =
        "HTTP/1.1 400 Bad Request\r\n"
        "Content-Type: text/plain\r\n"
        "Content-Length: 66\r\n"
        "Connection: close\r\n\r\n"
        "This is a gRPC port: speak HTTP/2 with prior knowledge (grpcurl).\n";
    buf_put(&c->out, answer, sizeof answer - 1);
    bool blocked = false;
    c->quiet = false;
    if (send_some(c, &blocked) && !blocked)
        linger(c);
    else
        conn_free(c);
}

/* False: c is gone. */
static bool take_in(struct conn *c, size_t len)
{
    const uint8_t *p = c->set->in;
    size_t n = PREFACE - c->preface_seen < len ? PREFACE - c->preface_seen : len;
    c->heard = loop_now_ms(c->set->loop);
    c->pinged = 0;
    if (n && memcmp(p, preface + c->preface_seen, n) != 0) {
        not_http2(c);
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

static void on_io(int events, void *arg)
{
    struct conn *c = arg;
    if (events & LOOP_WRITE)
        mark_dirty(c);
    if (!(events & LOOP_READ))
        return;
    for (int i = 0; i < ROUNDS; i++) {
        ssize_t n = recv(c->fd, c->set->in, sizeof c->set->in, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return;
        if (n <= 0) {
            conn_free(c);
            return;
        }
        if (c->lingering || c->closing)
            continue;
        if (!take_in(c, (size_t)n) || (size_t)n < sizeof c->set->in)
            return;
    }
}

static void on_timer(void *arg)
{
    struct conn *c = arg;
    const struct rpc_limits *l = c->set->limits;
    int64_t now = loop_now_ms(c->set->loop);
    if (c->quiet) {
        c->quiet = false;
        mark_dirty(c);
        loop_timer_at(c->timer, c->since + l->first_request_ms);
        return;
    }
    if (c->lingering || c->closing ||
        (!h2_greeted(c->h2) && now >= c->since + l->first_request_ms) ||
        (c->pinged && now >= c->pinged + l->ping_after_ms)) {
        conn_free(c);
        return;
    }
    int64_t next = c->heard + l->ping_after_ms;
    if (!h2_greeted(c->h2)) {
        next = c->since + l->first_request_ms;
    } else if (c->pinged) {
        next = c->pinged + l->ping_after_ms;
    } else if (now >= next) {
        h2_ping(c->h2);
        mark_dirty(c);
        c->pinged = now;
        next = now + l->ping_after_ms;
    }
    loop_timer_at(c->timer, next);
}

static void conn_new(struct listener *ln, int fd)
{
    struct rpc_conns *s = ln->set;
    int one = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one); /* fails on unix: fine */
    sock_keep_alive(fd);
    struct conn *c = mem_new(sizeof *c);
    c->set = s;
    c->fd = fd;
    c->gates = ln->gates;
    enum sock_owner owner = sock_owner_of_peer(fd, &c->uid);
    c->has_uid = owner == SOCK_OWNER_KNOWN;
    c->is_foreign =
        s->limits->own_user_only && sock_owner_is_tcp(fd) &&
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
    loop_io_want(c->io, LOOP_READ);
    loop_timer_in(c->timer, QUIET_MS);
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
        if (ln->set->count >= ln->set->limits->connections)
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

void rpc_conns_listen(struct rpc_conns *s, int take_fd, unsigned gates)
{
    struct listener *ln = mem_new(sizeof *ln);
    *ln = (struct listener){.set = s, .fd = take_fd, .gates = gates, .next = s->listeners};
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
    for (struct conn *c = s->conns; c; c = c->next) {
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
    mark_dirty(conn_of(stream));
}

unsigned rpc_conn_gates(const struct h2_stream *stream)
{
    return conn_of(stream)->gates;
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
