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

#include "base/buf.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/own.h"
#include "base/str.h"
#include "core/egress.h"
#include "platform/resolve.h"
#include "platform/sock.h"

#define HEAD_MAX ((size_t)16 << 10)
#define PIPE_SIZE ((size_t)64 << 10) /* of each direction */
#define MOST 512                     /* connections at once, of all runs */
#define MOST_OF_RUN 64
#define HEAD_MS 15000    /* for a request to arrive */
#define CONNECT_MS 15000 /* for each way there, resolving included */
#define IDLE_MS 600000   /* a tunnel without a byte */
#define TOKEN_BYTES 16
#define TOKEN_SIZE (2 * TOKEN_BYTES + 1)

struct grant {
    struct grant *next;
    char *run; /* owned */
    char token[TOKEN_SIZE];
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
    char host[EGRESS_HOST_MAX + 1];
    unsigned port;
    bool is_connect, any_address;
};

struct egress_proxy {
    struct loop *loop; /* borrowed */
    struct resolver *resolver;
    char *policy;
    int fd; /* owned; listening */
    struct loop_io *io;
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

    if (c->state == READ_HEAD || (tunnel && !c->to_upstream.closed && pipe_room(&c->to_upstream)))
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
    log_info("egress", "run", c->grant ? c->grant->run : "", "host", c->host, "port",
             log_int(c->port), "verdict", verdict, "why", why);
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
    loop_timer_in(c->timer, HEAD_MS);
    if (!pipe_drain(&c->to_client, c->client) || c->to_client.told)
        loop_timer_in(c->timer, 0);
    else
        want_io(c);
}

static void refuse_host(struct conn *c, const char *why)
{
    char text[640];

    audit(c, "refused", why);
    (void)str_format(text, sizeof text, "%s: %.300s. sandbox.egress says where tools may connect",
                     c->host, why);
    refuse(c, 403, "Forbidden", "", text);
}

static void fail_host(struct conn *c, const char *why)
{
    char text[640];

    audit(c, "failed", why);
    (void)str_format(text, sizeof text, "%s: %.300s", c->host, why);
    refuse(c, 502, "Bad Gateway", "", text);
}

/* ---- the way there ------------------------------------------------------------------------- */

static void tunnel(struct conn *c)
{
    static const char ok[] = "HTTP/1.1 200 Connection established\r\n\r\n";

    c->state = TUNNEL;
    audit(c, "allowed", "");
    if (c->is_connect)
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

/* The next address that may be; last: why the one before could not be had. */
static void connect_next(struct conn *c, const char *last)
{
    const char *why = NULL;

    close_upstream(c);
    while (c->at < c->count) {
        const struct sock_addr *a = &c->addresses[c->at++];
        bool done;

        if (!c->any_address && !egress_is_public((const struct sockaddr *)&a->ss, &why))
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
    enum egress_verdict v = egress_judge(c->proxy->policy, c->host, c->port);

    if (v == EGRESS_REFUSED) {
        refuse_host(c, "it is not among the hosts that are allowed");
        return;
    }
    c->any_address = v == EGRESS_ALLOWED;
    c->state = RESOLVING;
    loop_timer_in(c->timer, CONNECT_MS);
    want_io(c);
    c->query = resolve_start(c->proxy->resolver, c->host, c->port, on_resolved, c);
}

/* ---- the request --------------------------------------------------------------------------- */

/* "host:port", "[v6]:port" or "host"; false: it is none. */
static bool take_authority(struct conn *c, const char *text, size_t len, unsigned default_port)
{
    const char *end = text + len, *host = text, *stop, *port = NULL;
    size_t n;
    unsigned long number = default_port;

    if (len && *text == '[') {
        host++;
        stop = memchr(host, ']', (size_t)(end - host));
        if (!stop)
            return false;
        if (stop + 1 < end && stop[1] == ':')
            port = stop + 2;
        else if (stop + 1 != end)
            return false;
    } else {
        stop = memchr(text, ':', len);
        port = stop ? stop + 1 : NULL;
        stop = stop ? stop : end;
    }
    n = (size_t)(stop - host);
    if (!n || n > EGRESS_HOST_MAX ||
        strspn(host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRST"
                     "UVWXYZ0123456789.-_:") < n)
        return false;
    if (port) {
        char digits[8];

        if (port == end || end - port > 5 || strspn(port, "0123456789") < (size_t)(end - port))
            return false;
        (void)str_format(digits, sizeof digits, "%.*s", (int)(end - port), port);
        number = strtoul(digits, NULL, 10);
    }
    memcpy(c->host, host, n);
    c->host[n] = '\0';
    c->port = (unsigned)number;
    return number >= 1 && number <= 65535;
}

/* The value of a header field; NULL: it is not there. */
static const char *field(const char *head, const char *name, size_t *ret_len)
{
    size_t n = strlen(name);

    for (const char *line = strstr(head, "\r\n"); line && line[2];
         line = strstr(line + 2, "\r\n")) {
        const char *p = line + 2;

        if (strncasecmp(p, name, n) != 0 || p[n] != ':')
            continue;
        p += n + 1;
        p += strspn(p, " \t");
        *ret_len = strcspn(p, "\r");
        return p;
    }
    return NULL;
}

static int base64_digit(char c)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *at = c ? strchr(digits, c) : NULL;

    return at ? (int)(at - digits) : -1;
}

/* "Basic <base64 of user:token>": whose token it is. */
static struct grant *who(const struct egress_proxy *p, const char *value, size_t len)
{
    char text[128], *token;
    size_t n = 0;
    uint32_t bits = 0;
    int have = 0;

    if (!value || len < 6 || len > 140 || strncasecmp(value, "Basic ", 6) != 0)
        return NULL;
    for (size_t i = 6; i < len && n < sizeof text - 1; i++) {
        int d = base64_digit(value[i]);

        if (d < 0)
            break;
        bits = bits << 6 | (uint32_t)d;
        have += 6;
        if (have >= 8) {
            have -= 8;
            text[n++] = (char)(bits >> have & 0xff);
        }
    }
    text[n] = '\0';
    token = strchr(text, ':');
    for (struct grant *g = p->grants; token && g; g = g->next)
        if (str_eq_secret(token + 1, g->token))
            return g;
    return NULL;
}

/* An absolute request in the form that a server wants, for this one exchange. */
static bool rewrite(struct conn *c, const char *head, const char *path, const char *line_end,
                    size_t body_at)
{
    const char *space = strchr(head, ' ');
    OWN_BUF struct buf b = {0};

    buf_put(&b, head, (size_t)(space - head) + 1);
    if (*path != '/')
        buf_putc(&b, '/');
    buf_put(&b, path, (size_t)(line_end - path));
    for (const char *line = line_end; line && line[2] != '\r';) {
        const char *p = line + 2, *next = strstr(p, "\r\n");

        if (strncasecmp(p, "proxy-", 6) != 0 && strncasecmp(p, "connection:", 11) != 0) {
            buf_puts(&b, "\r\n");
            buf_put(&b, p, (size_t)(next - p));
        }
        line = next;
    }
    buf_puts(&b, "\r\nConnection: close\r\n\r\n");
    buf_put(&b, c->head.data + body_at, c->head.len - body_at);
    if (b.len > PIPE_SIZE)
        return false;
    pipe_put(&c->to_upstream, b.data, b.len);
    return true;
}

static bool take_connect(struct conn *c, const char *target, size_t len, size_t body_at)
{
    if (!take_authority(c, target, len, 0))
        return false;
    c->is_connect = true;
    if (c->head.len > body_at) /* a client that does not wait for the answer */
        pipe_put(&c->to_upstream, c->head.data + body_at, c->head.len - body_at);
    return true;
}

static bool take_absolute(struct conn *c, const char *head, const char *target, size_t len,
                          const char *line_end, size_t body_at)
{
    static const char scheme[] = "http://";
    const char *authority = target + sizeof scheme - 1, *path;
    size_t left;

    if (len < sizeof scheme || strncasecmp(target, scheme, sizeof scheme - 1) != 0)
        return false;
    left = len - (sizeof scheme - 1);
    path = authority + strcspn(authority, "/?# ");
    if ((size_t)(path - authority) > left || memchr(authority, '@', (size_t)(path - authority)) ||
        !take_authority(c, authority, (size_t)(path - authority), 80))
        return false;
    return rewrite(c, head, path, line_end, body_at);
}

static void take_head(struct conn *c, size_t body_at)
{
    const char *head = buf_text(&c->head), *line_end = strstr(head, "\r\n"), *space, *end, *auth;
    size_t len = 0;

    auth = field(head, "Proxy-Authorization", &len);
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
    space = strchr(head, ' ');
    end = space ? memchr(space + 1, ' ',
                         (size_t)(line_end - space - 1 > 0 ? line_end - space - 1 : 0))
                : NULL;
    if (!space || space > line_end || !end || strncmp(end + 1, "HTTP/1.", 7) != 0 ||
        memchr(head, '\0', body_at) ||
        !(strncmp(head, "CONNECT ", 8) == 0
              ? take_connect(c, space + 1, (size_t)(end - space - 1), body_at)
              : take_absolute(c, head, space + 1, (size_t)(end - space - 1), line_end, body_at))) {
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
    else if (c->state == REFUSING && (!pipe_drain(&c->to_client, c->client) || c->to_client.told))
        loop_timer_in(c->timer, 0);
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
    if (fd < 0)
        return;
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
    p->io = loop_io_new(loop, p->fd, on_accept, p);
    loop_io_want(p->io, LOOP_READ);
    *ret = p;
    return ERR_OK;
}

static void free_grant(struct grant *g)
{
    explicit_bzero(g->token, sizeof g->token);
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

    while (getrandom(bytes, sizeof bytes, 0) != (ssize_t)sizeof bytes)
        ;
    str_hex(bytes, sizeof bytes, g->token);
    g->run = mem_str(run_id);
    g->next = p->grants;
    p->grants = g;
    (void)str_format(ret, EGRESS_PROXY_URL, "http://stigmer:%s@127.0.0.1:%u", g->token, p->port);
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
