#include "platform/resolve.h"

#include <ares.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

#include "base/mem.h"

#define TRY_MS 3000
#define TRIES 2

struct watched { /* one socket of c-ares */
    struct resolver *resolver;
    struct watched *next;
    int fd;
    struct loop_io *io;
};

struct resolver {
    struct loop *loop;
    ares_channel channel;
    struct watched *watched; /* owned */
    struct loop_timer *timer;
    struct resolve_query *first; /* owned */
};

struct resolve_query {
    struct resolver *resolver;
    struct resolve_query *next;
    struct loop_timer *later; /* tells the answer outside of resolve_start */
    unsigned port;
    struct err err;
    struct sock_addr addresses[SOCK_ADDRS];
    size_t count;
    resolve_fn *fn; /* NULL once cancelled */
    void *arg;
    bool answered;
};

static void arm(struct resolver *r)
{
    struct timeval space, *left = ares_timeout(r->channel, NULL, &space);

    if (left)
        loop_timer_in(r->timer, left->tv_sec * 1000 + left->tv_usec / 1000 + 1);
    else
        loop_timer_at(r->timer, INT64_MAX);
}

static void on_io(int events, void *arg)
{
    const struct watched *w = arg;
    struct resolver *r = w->resolver;
    int fd = w->fd;

    ares_process_fd(r->channel, events & LOOP_READ ? fd : ARES_SOCKET_BAD,
                    events & LOOP_WRITE ? fd : ARES_SOCKET_BAD);
    arm(r);
}

static void on_timer(void *arg)
{
    struct resolver *r = arg;

    ares_process_fd(r->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
    arm(r);
}

static void on_socket(void *arg, ares_socket_t fd, int readable, int writable)
{
    struct resolver *r = arg;
    struct watched **p = &r->watched, *w;

    while (*p && (*p)->fd != fd)
        p = &(*p)->next;
    w = *p;
    if (!readable && !writable) { /* it is about to be closed */
        if (w) {
            *p = w->next;
            loop_io_free(w->io);
            free(w);
        }
        return;
    }
    if (!w) {
        w = mem_new(sizeof *w);
        *w = (struct watched){.resolver = r, .fd = fd, .next = r->watched};
        w->io = loop_io_new(r->loop, fd, on_io, w);
        r->watched = w;
    }
    loop_io_want(w->io, (readable ? LOOP_READ : 0) | (writable ? LOOP_WRITE : 0));
}

/* ---- queries ------------------------------------------------------------------------------- */

static void free_query(struct resolve_query *q)
{
    struct resolve_query **p = &q->resolver->first;

    while (*p && *p != q)
        p = &(*p)->next;
    if (*p)
        *p = q->next;
    loop_timer_free(q->later);
    free(q);
}

static void tell(void *arg)
{
    struct resolve_query *q = arg;
    resolve_fn *fn = q->fn;
    struct resolve_query copy = *q;

    free_query(q);
    if (fn)
        fn(copy.err.code ? &copy.err : NULL, copy.addresses, copy.count, copy.arg);
}

static void take(struct resolve_query *q, const struct ares_addrinfo *info)
{
    for (const struct ares_addrinfo_node *n = info->nodes; n && q->count < SOCK_ADDRS;
         n = n->ai_next) {
        struct sock_addr *a = &q->addresses[q->count];

        if (n->ai_addrlen > sizeof a->ss || (n->ai_family != AF_INET && n->ai_family != AF_INET6))
            continue;
        memcpy(&a->ss, n->ai_addr, n->ai_addrlen);
        a->len = n->ai_addrlen;
        if (n->ai_family == AF_INET)
            ((struct sockaddr_in *)&a->ss)->sin_port = htons((uint16_t)q->port);
        else
            ((struct sockaddr_in6 *)&a->ss)->sin6_port = htons((uint16_t)q->port);
        q->count++;
    }
}

static void on_answer(void *arg, int status, int timeouts, struct ares_addrinfo *info)
{
    struct resolve_query *q = arg;

    (void)timeouts;
    q->answered = true;
    if (status == ARES_SUCCESS && info)
        take(q, info);
    if (info)
        ares_freeaddrinfo(info);
    if (!q->count)
        err_set(&q->err, ERR_NOT_FOUND, "the name cannot be resolved: %s",
                status == ARES_SUCCESS ? "it has no address" : ares_strerror(status));
    if (q->fn)
        loop_timer_in(q->later, 0);
    else
        free_query(q);
}

struct resolve_query *resolve_start(struct resolver *r, const char *host, unsigned port,
                                    resolve_fn *fn, void *arg)
{
    static const struct ares_addrinfo_hints hints = {.ai_family = AF_UNSPEC,
                                                     .ai_socktype = SOCK_STREAM};
    struct resolve_query *q = mem_new(sizeof *q);

    *q =
        (struct resolve_query){.resolver = r, .next = r->first, .port = port, .fn = fn, .arg = arg};
    q->later = loop_timer_new(r->loop, tell, q);
    r->first = q;
    ares_getaddrinfo(r->channel, host, NULL, &hints, on_answer, q);
    arm(r);
    return q;
}

void resolve_cancel(struct resolve_query *q)
{
    if (!q)
        return;
    q->fn = NULL;
    if (q->answered)
        free_query(q); /* else its answer is still to come from c-ares, and frees it */
}

enum err_code resolve_new(struct loop *loop, struct resolver **ret, struct err *err)
{
    struct resolver *r = mem_new(sizeof *r);
    struct ares_options o = {
        .timeout = TRY_MS, .tries = TRIES, .sock_state_cb = on_socket, .sock_state_cb_data = r};
    int status = ares_library_init(ARES_LIB_INIT_ALL);

    r->loop = loop;
    if (status == ARES_SUCCESS)
        status = ares_init_options(&r->channel, &o,
                                   ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_SOCK_STATE_CB);
    if (status != ARES_SUCCESS) {
        free(r);
        return err_set(err, ERR_INTERNAL, "names cannot be resolved here: %s",
                       ares_strerror(status));
    }
    r->timer = loop_timer_new(loop, on_timer, r);
    *ret = r;
    return ERR_OK;
}

void resolve_free(struct resolver *r)
{
    if (!r)
        return;
    for (struct resolve_query *q = r->first; q; q = q->next)
        q->fn = NULL;
    ares_destroy(r->channel); /* ends what is open: on_answer frees those */
    while (r->first)          /* answered, and not told yet */
        free_query(r->first);
    while (r->watched) {
        struct watched *w = r->watched;

        r->watched = w->next;
        loop_io_free(w->io);
        free(w);
    }
    loop_timer_free(r->timer);
    ares_library_cleanup();
    free(r);
}
