#include "svc/egress-proxy.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/base64.h"
#include "base/buf.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/own.h"
#include "base/str.h"
#include "core/egress-request.h"
#include "platform/resolve.h"
#include "platform/sock.h"

#define HEAD_MAX ((size_t)16 << 10)
#define PIPE_SIZE ((size_t)64 << 10) /* of each direction */
#define MOST 512                     /* connections at once, of all runs */
#define MOST_OF_RUN 64
#define HEAD_MS 15000    /* for a request to arrive */
#define CONNECT_MS 15000 /* for each way there, resolving included */
#define IDLE_MS 600000   /* a tunnel without a byte */
#define LINGER_MS 2000   /* for a client to read why it was refused */
#define AGAIN_MS 100     /* without descriptors to accept with */
#define USER "stigmer"
#define TOKEN_BYTES 16
#define TOKEN_SIZE (2 * TOKEN_BYTES + 1)

struct grant {
    struct grant *next;
    char *run; /* owned */
    char token[TOKEN_SIZE];
    char *basic;   /* owned; "Basic" credentials of USER and the token */
    unsigned open; /* connections */
};

/* Bytes on their way to one side. */
struct pipe {
    uint8_t *data; /* owned */
    size_t begin, end;
    bool closed; /* no more come from the other side */
    bool told;   /* and this side was told */
};

enum state { READ_HEAD, RESOLVING, CONNECTING, TUNNEL, REFUSING };

struct conn {
    struct egress_proxy *proxy;
    struct conn *next, *prev;
    struct grant *grant; /* borrowed; NULL before the request was read */
    enum state state;
    int client, upstream; /* owned; -1 */
    struct loop_io *client_io, *upstream_io;
    struct loop_timer *timer;
    struct buf head;
    struct pipe to_client, to_upstream;
    struct resolve_query *query;
    struct sock_addr addresses[SOCK_ADDRS];
    size_t count, at;
    struct egress_request request;
    bool any_address;
};

struct egress_proxy {
    struct loop *loop; /* borrowed */
    struct resolver *resolver;
    char *policy;
    int fd; /* owned; listening */
    struct loop_io *io;
    struct loop_timer *again; /* accepting goes on */
    unsigned port;
    struct grant *grants;
    struct conn *first;
    size_t count;
};

/* ---- the end ------------------------------------------------------------------------------- */

static void conn_free(struct conn *c)
{
    struct egress_proxy *p = c->proxy;

    if (c->prev)
        c->prev->next = c->next;
    else
        p->first = c->next;
    if (c->next)
        c->next->prev = c->prev;
    p->count--;
    if (c->grant)
        c->grant->open--;
    resolve_cancel(c->query);
    loop_io_free(c->client_io);
    loop_io_free(c->upstream_io);
    loop_timer_free(c->timer);
    own_fd(&c->client);
    own_fd(&c->upstream);
    buf_done(&c->head);
    free(c->to_client.data);
    free(c->to_upstream.data);
    free(c);
}

/* ---- pipes --------------------------------------------------------------------------------- */

static void pipe_put(struct pipe *p, const void *data, size_t len)
{
    if (!p->data)
        p->data = mem_array(PIPE_SIZE, 1);
    memcpy(p->data + p->end, data, len); /* the callers look at the room */
    p->end += len;
}

static size_t pipe_room(const struct pipe *p)
{
    return PIPE_SIZE - p->end;
}

/* False: the connection is broken. */
static bool pipe_fill(struct pipe *p, int from)
{
    ssize_t n;

    if (p->closed || !pipe_room(p))
        return true;
    if (!p->data)
        p->data = mem_array(PIPE_SIZE, 1);
    n = recv(from, p->data + p->end, pipe_room(p), MSG_DONTWAIT);
    if (n > 0)
        p->end += (size_t)n;
    p->closed |= n == 0;
    return n >= 0 || errno == EAGAIN || errno == EINTR;
}

static bool pipe_drain(struct pipe *p, int to)
{
    while (p->begin < p->end) {
        ssize_t n = send(to, p->data + p->begin, p->end - p->begin, MSG_NOSIGNAL | MSG_DONTWAIT);

        if (n < 0)
            return errno == EAGAIN || errno == EINTR;
        p->begin += (size_t)n;
    }
    p->begin = p->end = 0;
    if (p->closed && !p->told) {
        p->told = true;
        (void)shutdown(to, SHUT_WR);
    }
    return true;
}

static void want_io(struct conn *c)
{
    bool tunnel = c->state == TUNNEL;
    int client = 0, upstream = 0;

    if (c->state == READ_HEAD || c->state == REFUSING ||
        (tunnel && !c->to_upstream.closed && pipe_room(&c->to_upstream)))
        client |= LOOP_READ;
    if (c->to_client.begin < c->to_client.end)
        client |= LOOP_WRITE;
    if (tunnel && !c->to_client.closed && pipe_room(&c->to_client))
        upstream |= LOOP_READ;
    if (c->state == CONNECTING || (tunnel && c->to_upstream.begin < c->to_upstream.end))
        upstream |= LOOP_WRITE;
    loop_io_want(c->client_io, client);
    if (c->upstream_io)
        loop_io_want(c->upstream_io, upstream);
}

/* ---- answers ------------------------------------------------------------------------------- */

static void audit(const struct conn *c, const char *verdict, const char *why)
{
    log_info("egress", "run", c->grant ? c->grant->run : "", "host", c->request.host, "port",
             log_int(c->request.port), "verdict", verdict, "why", why);
}

/* What was asked for is answered with a status; then the connection ends. */
static void refuse(struct conn *c, int status, const char *reason, const char *more,
                   const char *text)
{
    char answer[1024];
    OWN_BUF struct buf body = {0};

    buf_printf(&body, "egress refused: %s\n", text);
    (void)snprintf(answer, sizeof answer,
                   "HTTP/1.1 %d %s\r\n%sContent-Type: text/plain\r\nContent-Length: %zu\r\n"
                   "Connection: close\r\n\r\n%s",
                   status, reason, more, body.len, buf_text(&body));
    c->state = REFUSING;
    c->to_client = (struct pipe){.data = c->to_client.data};
    pipe_put(&c->to_client, answer, strlen(answer));
    c->to_client.closed = true;
    loop_timer_in(c->timer, LINGER_MS);
    if (!pipe_drain(&c->to_client, c->client))
        loop_timer_in(c->timer, 0);
    else
        want_io(c);
}

/* What a client still sends is read and forgotten: closing with it unread would be a reset, which
 * takes the answer away from it. */
static void read_out(struct conn *c)
{
    char chunk[4096];
    ssize_t n = recv(c->client, chunk, sizeof chunk, MSG_DONTWAIT);

    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR) ||
        !pipe_drain(&c->to_client, c->client))
        loop_timer_in(c->timer, 0);
    else
        want_io(c);
}

static void refuse_host(struct conn *c, const char *why)
{
    char text[640];

    audit(c, "refused", why);
    (void)str_format(text, sizeof text, "%s: %.300s. sandbox.egress says where tools may connect",
                     c->request.host, why);
    refuse(c, 403, "Forbidden", "", text);
}

static void fail_host(struct conn *c, const char *why)
{
    char text[640];

    audit(c, "failed", why);
    (void)str_format(text, sizeof text, "%s: %.300s", c->request.host, why);
    refuse(c, 502, "Bad Gateway", "", text);
}

/* ---- the way there ------------------------------------------------------------------------- */

static void tunnel(struct conn *c)
{
    static const char ok[] = "HTTP/1.1 200 Connection established\r\n\r\n";

    c->state = TUNNEL;
    audit(c, "allowed", "");
    if (c->request.is_connect)
        pipe_put(&c->to_client, ok, sizeof ok - 1);
    loop_timer_in(c->timer, IDLE_MS);
    if (!pipe_drain(&c->to_client, c->client) || !pipe_drain(&c->to_upstream, c->upstream)) {
        conn_free(c);
        return;
    }
    want_io(c);
}

static void pump(struct conn *c)
{
    bool ok = pipe_fill(&c->to_upstream, c->client) && pipe_fill(&c->to_client, c->upstream) &&
              pipe_drain(&c->to_upstream, c->upstream) && pipe_drain(&c->to_client, c->client);

    if (!ok || (c->to_client.told && c->to_upstream.told)) {
        conn_free(c);
        return;
    }
    loop_timer_in(c->timer, IDLE_MS);
    want_io(c);
}

static void connect_next(struct conn *c, const char *last);

static void on_upstream(int events, void *arg)
{
    struct conn *c = arg;
    struct err err;

    (void)events;
    if (c->state == TUNNEL) {
        pump(c);
        return;
    }
    if (c->state != CONNECTING)
        return;
    if (sock_connected(c->upstream, &err))
        connect_next(c, err.msg);
    else
        tunnel(c);
}

static void close_upstream(struct conn *c)
{
    loop_io_free(c->upstream_io);
    c->upstream_io = NULL;
    own_fd(&c->upstream);
    c->upstream = -1;
}

static bool may_reach(const struct conn *c, const struct sock_addr *a, const char **ret_why)
{
    if (c->any_address)
        return true;
    if (!egress_is_public((const struct sockaddr *)&a->ss, ret_why))
        return false;
    *ret_why = "an address of this machine";
    return !sock_is_own(a);
}

/* The next address that may be; last: why the one before could not be had. */
static void connect_next(struct conn *c, const char *last)
{
    const char *why = NULL;

    close_upstream(c);
    while (c->at < c->count) {
        const struct sock_addr *a = &c->addresses[c->at++];
        bool done;

        if (!may_reach(c, a, &why))
            continue;
        if (sock_connect(a, &c->upstream, &done, NULL))
            continue;
        c->state = CONNECTING;
        c->upstream_io = loop_io_new(c->proxy->loop, c->upstream, on_upstream, c);
        loop_timer_in(c->timer, CONNECT_MS);
        want_io(c);
        return;
    }
    if (!last && why)
        refuse_host(c, why);
    else
        fail_host(c, last ? last : "no connection");
}

static void on_resolved(const struct err *err, const struct sock_addr *addresses, size_t count,
                        void *arg)
{
    struct conn *c = arg;

    c->query = NULL;
    if (err) {
        fail_host(c, err->msg);
        return;
    }
    memcpy(c->addresses, addresses, count * sizeof *addresses);
    c->count = count;
    connect_next(c, NULL);
}

static void go(struct conn *c)
{
    enum egress_verdict v = egress_judge(c->proxy->policy, c->request.host, c->request.port);

    if (v == EGRESS_REFUSED) {
        refuse_host(c, "it is not among the hosts that are allowed");
        return;
    }
    c->any_address = v == EGRESS_ALLOWED;
    c->state = RESOLVING;
    loop_timer_in(c->timer, CONNECT_MS);
    want_io(c);
    c->query = resolve_start(c->proxy->resolver, c->request.host, c->request.port, on_resolved, c);
}

/* ---- the request --------------------------------------------------------------------------- */

/* "Basic <base64 of user:token>" (RFC 7617): whose token it is. */
static struct grant *who(const struct egress_proxy *p, const char *value, size_t len)
{
    static const char scheme[] = "Basic ";
    const size_t skip = sizeof scheme - 1;
    char text[128];

    if (!value || len <= skip || len - skip >= sizeof text || strncasecmp(value, scheme, skip) != 0)
        return NULL;
    (void)str_format(text, sizeof text, "%.*s", (int)(len - skip), value + skip);
    for (struct grant *g = p->grants; g; g = g->next)
        if (str_eq_secret(text, g->basic))
            return g;
    return NULL;
}

/* What the server gets first: the head as it is for it, and what came after it already. */
static bool forward(struct conn *c, const struct buf *head, size_t body_at)
{
    size_t more = c->head.len - body_at;

    if (head->len + more > PIPE_SIZE)
        return false;
    if (head->len)
        pipe_put(&c->to_upstream, head->data, head->len);
    if (more)
        pipe_put(&c->to_upstream, c->head.data + body_at, more);
    return true;
}

static void take_head(struct conn *c, size_t body_at)
{
    const char *head = buf_text(&c->head), *auth;
    OWN_BUF struct buf rewritten = {0};
    size_t len = 0;

    auth = egress_request_credentials(head, &len);
    c->grant = who(c->proxy, auth, len);
    if (!c->grant) {
        refuse(c, 407, "Proxy Authentication Required",
               "Proxy-Authenticate: Basic realm=\"stigmer\"\r\n",
               "this proxy is for the tools of an agent");
        return;
    }
    if (++c->grant->open > MOST_OF_RUN) {
        refuse(c, 429, "Too Many Requests", "", "the run has 64 connections open");
        return;
    }
    if (!egress_request_read(head, body_at, &c->request, &rewritten) ||
        !forward(c, &rewritten, body_at)) {
        refuse(c, 400, "Bad Request", "", "not a CONNECT or an absolute http:// request");
        return;
    }
    go(c);
}

static void read_head(struct conn *c)
{
    char chunk[4096];
    ssize_t n = recv(c->client, chunk, sizeof chunk, MSG_DONTWAIT);
    const char *end;

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        conn_free(c);
        return;
    }
    buf_put(&c->head, chunk, (size_t)n);
    end = memmem(c->head.data, c->head.len, "\r\n\r\n", 4);
    if (end)
        take_head(c, (size_t)(end + 4 - (const char *)c->head.data));
    else if (c->head.len > HEAD_MAX)
        refuse(c, 431, "Request Header Fields Too Large", "", "the head is over 16 KiB");
}

static void on_client(int events, void *arg)
{
    struct conn *c = arg;

    (void)events;
    if (c->state == READ_HEAD)
        read_head(c);
    else if (c->state == TUNNEL)
        pump(c);
    else if (c->state == REFUSING)
        read_out(c);
}

static void on_timer(void *arg)
{
    struct conn *c = arg;

    if (c->state == RESOLVING || c->state == CONNECTING) {
        resolve_cancel(TAKE(c->query));
        connect_next(c, "no answer in time");
    } else {
        conn_free(c);
    }
}

static void on_accept(int events, void *arg)
{
    struct egress_proxy *p = arg;
    struct conn *c;
    int fd = accept4(p->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

    (void)events;
    if (fd < 0) {
        if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
            loop_io_want(p->io, 0); /* it stays readable: nobody could be served meanwhile */
            loop_timer_in(p->again, AGAIN_MS);
        }
        return;
    }
    if (p->count >= MOST) {
        close(fd);
        return;
    }
    c = mem_new(sizeof *c);
    *c = (struct conn){.proxy = p, .next = p->first, .client = fd, .upstream = -1};
    if (c->next)
        c->next->prev = c;
    p->first = c;
    p->count++;
    buf_init(&c->head, HEAD_MAX + 8192);
    c->client_io = loop_io_new(p->loop, fd, on_client, c);
    c->timer = loop_timer_new(p->loop, on_timer, c);
    loop_timer_in(c->timer, HEAD_MS);
    want_io(c);
}

static void on_again(void *arg)
{
    struct egress_proxy *p = arg;

    loop_io_want(p->io, LOOP_READ);
}

/* ---- life ---------------------------------------------------------------------------------- */

enum err_code egress_proxy_new(struct loop *loop, const char *policy, struct egress_proxy **ret,
                               struct err *err)
{
    struct egress_proxy *p = mem_new(sizeof *p);
    char name[64];
    enum err_code code;

    p->loop = loop;
    p->fd = -1;
    p->policy = mem_str(policy);
    if ((code = resolve_new(loop, &p->resolver, err)) ||
        (code = sock_listen("127.0.0.1:0", 0, &p->fd, err)) ||
        (code = sock_name(p->fd, name, sizeof name, err))) {
        egress_proxy_free(p);
        return err_wrap(err, code, "the tools' way out");
    }
    p->port = (unsigned)strtoul(strrchr(name, ':') + 1, NULL, 10);
    p->again = loop_timer_new(loop, on_again, p);
    p->io = loop_io_new(loop, p->fd, on_accept, p);
    loop_io_want(p->io, LOOP_READ);
    *ret = p;
    return ERR_OK;
}

static void free_grant(struct grant *g)
{
    explicit_bzero(g->token, sizeof g->token);
    explicit_bzero(g->basic, strlen(g->basic));
    free(g->basic);
    free(g->run);
    free(g);
}

void egress_proxy_free(struct egress_proxy *p)
{
    if (!p)
        return;
    while (p->first)
        conn_free(p->first);
    while (p->grants) {
        struct grant *g = p->grants;

        p->grants = g->next;
        free_grant(g);
    }
    loop_io_free(p->io);
    loop_timer_free(p->again);
    own_fd(&p->fd);
    resolve_free(p->resolver);
    free(p->policy);
    free(p);
}

unsigned egress_proxy_port(const struct egress_proxy *p)
{
    return p->port;
}

void egress_proxy_grant(struct egress_proxy *p, const char *run_id, char ret[EGRESS_PROXY_URL])
{
    struct grant *g = mem_new(sizeof *g);
    uint8_t bytes[TOKEN_BYTES];
    char pair[sizeof USER + TOKEN_SIZE];

    while (getrandom(bytes, sizeof bytes, 0) != (ssize_t)sizeof bytes)
        ;
    str_hex(bytes, sizeof bytes, g->token);
    (void)str_format(pair, sizeof pair, USER ":%s", g->token);
    g->basic = base64_text((const uint8_t *)pair, strlen(pair));
    g->run = mem_str(run_id);
    g->next = p->grants;
    p->grants = g;
    (void)str_format(ret, EGRESS_PROXY_URL, "http://" USER ":%s@127.0.0.1:%u", g->token, p->port);
}

void egress_proxy_revoke(struct egress_proxy *p, const char *run_id)
{
    for (struct grant **at = &p->grants; *at; at = &(*at)->next) {
        struct grant *g = *at;

        if (!str_eq(g->run, run_id))
            continue;
        for (struct conn *c = p->first, *next; c; c = next) {
            next = c->next;
            if (c->grant == g)
                conn_free(c);
        }
        *at = g->next;
        free_grant(g);
        return;
    }
}
