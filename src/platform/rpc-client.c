/* rpc-client.c — one channel: the calls that wait, the connection they use (rpc-link.c), and its
 * renewal (rpc-dial.c).
 *
 *   idle ──a call waits──▶ dialing ──▶ up ──error, GOAWAY──▶ back-off or idle
 *
 * A request lives in one of two lists: waiting (no stream yet) or running (its stream's user).
 * It is freed when it ends; its on_end is always called from the loop, never from rpc_client_call.
 * A connection that has got a GOAWAY is kept for the calls it carries, beside the new one. */
#include "platform/rpc-client.h"

#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "base/mem.h"
#include "base/str.h"
#include "platform/rpc-dial.h"
#include "platform/rpc-link.h"
#include "wire/grpc.h"
#include "wire/h2.h"
#include "wire/pbcheck.h"

#define BACKOFF_MIN_MS 50
#define BACKOFF_MAX_MS 5000
#define NESTING_MAX 100
#define HEADER_BYTES (64 << 10)
#define RETRIES_MAX 5 /* of one call that the server did not look at */

struct rpc_request {
    struct rpc_client *client;
    struct rpc_request *prev, *next; /* in waiting or running */
    struct rpc_link *link;           /* NULL while waiting */
    struct h2_stream *stream;
    char *path;
    uint8_t *body; /* owned: kept until the server has answered, for a retry */
    size_t body_len;
    const ProtobufCMessageDescriptor *response;
    int64_t until; /* INT64_MAX: no deadline */
    struct loop_timer *deadline;
    rpc_message_fn *on_message;
    rpc_end_fn *on_end;
    void *arg;
    unsigned tries;
    bool paused;
    bool failed; /* fault is the end's reason, whatever the stream says later */
    struct err fault;
};

struct rpc_client {
    struct loop *loop;
    char *address;
    char *authorization;                           /* "Bearer …" or NULL */
    struct rpc_header headers[RPC_CLIENT_HEADERS]; /* owned texts */
    size_t header_count;
    void (*on_reach)(const struct err *why, void *arg);
    void *reach_arg;
    char told[300]; /* what on_reach has heard; "" when all is well */
    size_t message_bytes;
    int64_t ping_after_ms;
    bool fail_fast, fail_refused;
    struct rpc_dial *dial;
    struct loop_timer *retry; /* armed: the next attempt has its time */
    bool retry_armed;
    bool dead; /* freed by its owner; goes at the turn's end */
    int64_t backoff_ms;
    struct rpc_link *links; /* the first that is not leaving takes new calls */
    struct rpc_request *waiting;
    struct rpc_request *running;
    struct loop_hook *hook;
    struct err last; /* why the last attempt failed */
    uint8_t in[RPC_WIRE_READ];
};

/* ---- requests ---- */

static void list_remove(struct rpc_request *r)
{
    struct rpc_client *c = r->client;
    if (r->next)
        r->next->prev = r->prev;
    if (r->prev)
        r->prev->next = r->next;
    else if (c->waiting == r)
        c->waiting = r->next;
    else if (c->running == r)
        c->running = r->next;
    r->prev = r->next = NULL;
}

static void list_add(struct rpc_request **list, struct rpc_request *r)
{
    struct rpc_request *last = *list;
    while (list != &r->client->running && last && last->next)
        last = last->next;
    if (list == &r->client->running || !last) {
        r->prev = NULL;
        r->next = *list;
        if (r->next)
            r->next->prev = r;
        *list = r;
    } else {
        r->prev = last;
        r->next = NULL;
        last->next = r;
    }
}

static void request_free(struct rpc_request *r)
{
    list_remove(r);
    if (r->stream)
        h2_stream_set(r->stream, NULL);
    loop_timer_free(r->deadline);
    free(r->path);
    free(r->body);
    free(r);
}

/* The handle is gone for its owner once on_end has returned. */
static void request_end(struct rpc_request *r, const struct err *err)
{
    rpc_end_fn *fn = r->on_end;
    void *arg = r->arg;
    struct err copy;
    if (err)
        copy = *err;
    request_free(r);
    if (fn)
        fn(err ? &copy : NULL, arg);
}

static void request_abort(struct rpc_request *r, const struct err *err)
{
    if (r->stream) {
        h2_stream_reset(r->stream, H2_CANCEL);
        r->link->dirty = true;
    }
    request_end(r, err);
}

static void on_deadline(void *arg)
{
    struct rpc_request *r = arg;
    struct err err;
    if (!r->stream && r->client->last.code)
        err_set(&err, ERR_TIMEOUT, "not reached in time: %.900s", r->client->last.msg);
    else
        err_set(&err, ERR_TIMEOUT, "deadline exceeded");
    request_abort(r, &err);
}

static void request_send(struct rpc_request *r, struct rpc_link *l)
{
    struct rpc_client *c = r->client;
    struct h2_field f[9 + RPC_CLIENT_HEADERS];
    char timeout[16];
    size_t n = 0;
    f[n++] = (struct h2_field){":method", "POST"};
    f[n++] = (struct h2_field){":scheme", l->wire.tls ? "https" : "http"};
    f[n++] = (struct h2_field){":path", r->path};
    f[n++] =
        (struct h2_field){":authority", str_starts(c->address, "unix:") ? "localhost" : c->address};
    f[n++] = (struct h2_field){"content-type", "application/grpc"};
    f[n++] = (struct h2_field){"te", "trailers"};
    f[n++] = (struct h2_field){"user-agent", "stigmer/" STIGMER_VERSION};
    if (r->until != INT64_MAX) {
        int64_t left = r->until - loop_now_ms(c->loop);
        grpc_timeout_format(left > 0 ? left : 0, timeout);
        f[n++] = (struct h2_field){"grpc-timeout", timeout};
    }
    if (c->authorization)
        f[n++] = (struct h2_field){"authorization", c->authorization};
    for (size_t i = 0; i < c->header_count; i++)
        f[n++] = (struct h2_field){c->headers[i].name, c->headers[i].value};
    list_remove(r);
    list_add(&c->running, r);
    r->link = l;
    r->tries++;
    r->stream = h2_request(l->h2, f, n, r);
    uint8_t *to = h2_stream_message(r->stream, r->body_len);
    if (r->body_len)
        memcpy(to, r->body, r->body_len);
    h2_stream_end(r->stream, NULL, 0);
    h2_stream_pause(r->stream, r->paused);
    l->dirty = true;
}

static struct rpc_link *usable(struct rpc_client *c)
{
    for (struct rpc_link *l = c->links; l; l = l->next)
        if (!l->leaving && !l->lost)
            return l;
    return NULL;
}

static void dial(struct rpc_client *c)
{
    if (!c->retry_armed && !c->dead)
        rpc_dial_begin(c->dial);
}

static void start_waiting(struct rpc_client *c)
{
    struct rpc_link *l = usable(c);
    if (!l && c->waiting)
        dial(c);
    while (l && c->waiting)
        request_send(c->waiting, l);
}

/* ---- what a stream tells ---- */

static void on_headers(struct h2_stream *s, void *arg)
{
    (void)s;
    (void)arg;
}

static void request_fault(struct rpc_request *r)
{
    r->failed = true;
    h2_stream_reset(r->stream, H2_CANCEL);
}

static void on_message(struct h2_stream *s, const uint8_t *data, size_t len, bool compressed,
                       void *arg)
{
    (void)arg;
    struct rpc_request *r = h2_stream_user(s);
    if (r->failed)
        return;
    if (compressed) {
        err_set(&r->fault, ERR_UNSUPPORTED, "the server sent a compressed message");
        request_fault(r);
        return;
    }
    ProtobufCMessage *msg = NULL;
    if (pbcheck(r->response, data, len, NESTING_MAX, &r->fault) == ERR_OK)
        msg = protobuf_c_message_unpack(r->response, NULL, len, data);
    else
        err_wrap(&r->fault, r->fault.code, "%s: the answer is not a valid %s", r->path,
                 r->response->name);
    if (!msg) {
        if (!r->fault.code)
            err_set(&r->fault, ERR_INTERNAL, "%s: the answer is not a valid %s", r->path,
                    r->response->name);
        request_fault(r);
        return;
    }
    if (r->on_message)
        r->on_message(msg, r->arg);
    protobuf_c_message_free_unpacked(msg, NULL);
}

static void on_broken(struct h2_stream *s, const struct err *err, void *arg)
{
    (void)arg;
    struct rpc_request *r = h2_stream_user(s);
    if (!r || r->failed)
        return;
    r->fault = *err;
    request_fault(r);
}

static enum err_code code_by_name(const char *name, int status)
{
    for (int i = 1; name && i < ERR_COUNT; i++)
        if (strcmp(err_code_name((enum err_code)i), name) == 0 &&
            err_code_grpc((enum err_code)i) == status)
            return (enum err_code)i;
    return err_code_from_grpc(status);
}

static void decode_text(const char *text, char *to, size_t size)
{
    struct buf b = {0};
    if (text)
        grpc_percent_decode(text, strlen(text), &b);
    snprintf(to, size, "%s", buf_text(&b));
    buf_done(&b);
}

/* True: the answer has a status, *err is filled when it is not OK. */
static bool status_of(struct h2_stream *s, bool *ret_ok, struct err *err)
{
    const char *status = h2_stream_header(s, "grpc-status");
    const char *http = h2_stream_header(s, ":status");
    int64_t n = GRPC_UNKNOWN;
    if (!status && http && strcmp(http, "200") != 0) {
        enum err_code code = strcmp(http, "401") == 0   ? ERR_UNAUTHENTICATED
                             : strcmp(http, "403") == 0 ? ERR_DENIED
                             : strcmp(http, "404") == 0 ? ERR_UNSUPPORTED
                                                        : ERR_UNAVAILABLE;
        err_set(err, code, "the other side is not a gRPC server: HTTP status %.20s", http);
        *ret_ok = false;
        return true;
    }
    if (!status)
        return false;
    if (str_to_int(status, 0, INT32_MAX, &n, NULL))
        n = GRPC_UNKNOWN;
    *ret_ok = n == GRPC_OK;
    if (*ret_ok)
        return true;
    char text[sizeof err->msg], hint[sizeof err->hint];
    decode_text(h2_stream_header(s, "grpc-message"), text, sizeof text);
    decode_text(h2_stream_header(s, "stigmer-hint"), hint, sizeof hint);
    enum err_code code = code_by_name(h2_stream_header(s, "stigmer-code"), (int)n);
    err_set(err, code, "%s", text[0] ? text : grpc_status_name((int)n));
    if (hint[0])
        err_hint(err, code, "%s", hint);
    return true;
}

static void on_end(struct h2_stream *s, void *arg)
{
    (void)arg;
    struct rpc_request *r = h2_stream_user(s);
    struct err err;
    bool ok = false;
    if (!r || r->failed)
        return; /* told when the stream closes */
    if (!status_of(s, &ok, &err))
        err_set(&err, ERR_UNAVAILABLE, "the answer ended without a grpc-status");
    request_end(r, ok ? NULL : &err);
}

static void on_closed(struct h2_stream *s, uint32_t error, void *arg)
{
    struct rpc_link *l = arg;
    struct rpc_request *r = h2_stream_user(s);
    struct err err;
    if (!r)
        return;
    const char *suspicion = l->wire.tls && !h2_greeted(l->h2) ? tls_suspicion(l->wire.tls) : NULL;
    r->stream = NULL;
    r->link = NULL;
    bool untouched = error == H2_REFUSED_STREAM || !h2_stream_was_sent(s);
    if (r->failed) {
        request_end(r, &r->fault);
    } else if (l->fault.code) {
        err_set(&err, l->fault.code, "%s: %.800s", r->client->address, l->fault.msg);
        if (l->fault.hint[0])
            err_hint(&err, err.code, "%s", l->fault.hint);
        request_end(r, &err);
    } else if (untouched && r->tries < RETRIES_MAX) {
        list_remove(r);
        list_add(&r->client->waiting, r);
    } else {
        if (l->lost && suspicion)
            err_set(&err, ERR_UNAUTHENTICATED, "%s: %s", r->client->address, suspicion);
        else if (l->lost)
            err_set(&err, ERR_UNAVAILABLE, "the connection to %s was lost", r->client->address);
        else if (error == H2_CANCEL)
            err_set(&err, ERR_CANCELLED, "the server cancelled the call");
        else
            err_set(&err, ERR_UNAVAILABLE, "the server reset the call (HTTP/2 error %u)", error);
        request_end(r, &err);
    }
}

static void on_drained(struct h2_stream *s, void *arg)
{
    (void)s;
    (void)arg;
}

static void on_goaway(void *arg)
{
    struct rpc_link *l = arg;
    l->leaving = true;
}

/* ---- connections ---- */

static void drop_link(struct rpc_link *l, struct rpc_client *c)
{
    for (struct rpc_link **p = &c->links; *p; p = &(*p)->next)
        if (*p == l) {
            *p = l->next;
            break;
        }
    rpc_link_free(l);
}

static void add_link(struct rpc_client *c, struct rpc_wire *take_wire)
{
    static const struct h2_events events = {
        .headers = on_headers,
        .message = on_message,
        .broken = on_broken,
        .end = on_end,
        .closed = on_closed,
        .drained = on_drained,
        .goaway = on_goaway,
    };
    struct h2_limits limits = {.message_bytes = c->message_bytes,
                               .header_bytes = HEADER_BYTES,
                               .buffered_bytes = SIZE_MAX / 4,
                               .streams = 0};
    struct rpc_link *l =
        rpc_link_new(c->loop, take_wire, c->in, &limits, &events, c->ping_after_ms);

    l->next = c->links;
    c->links = l;
    if (l->wire.early.len)
        rpc_link_read(l);
}

static void on_turn_end(void *arg)
{
    struct rpc_client *c = arg;
    for (struct rpc_link *l = c->links, *next; l && !c->dead; l = next) {
        next = l->next;
        if (l->dirty && !l->lost && h2_greeted(l->h2))
            c->backoff_ms = 0;
        if (l->dirty && !l->lost)
            rpc_link_flush(l);
        if (l->lost)
            drop_link(l, c);
    }
    if (!c->dead && c->waiting)
        start_waiting(c);
    for (struct rpc_link *l = c->links; l && !c->dead; l = l->next)
        if (l->dirty && !l->lost)
            rpc_link_flush(l);
}

/* ---- dialing ---- */

/* NULL: connected. */
static void tell_reach(struct rpc_client *c, const struct err *why)
{
    char words[sizeof c->told];

    (void)str_format(words, sizeof words, "%s", why ? why->msg : "");
    if (!c->on_reach || str_eq(words, c->told))
        return;
    (void)str_format(c->told, sizeof c->told, "%s", words);
    c->on_reach(why, c->reach_arg);
}

static void dial_failed(struct rpc_client *c, const struct err *why)
{
    uint32_t dice = 0;
    err_set(&c->last,
            why->code == ERR_UNAUTHENTICATED || why->code == ERR_UNSUPPORTED ? why->code
                                                                             : ERR_UNAVAILABLE,
            "%s: %.800s", c->address, why->msg);
    if (why->hint[0])
        err_hint(&c->last, c->last.code, "%s", why->hint);
    c->last.sys = why->sys;
    tell_reach(c, &c->last);
    if (c->fail_fast || (c->fail_refused && c->last.code != ERR_UNAVAILABLE)) {
        struct err err = c->last;
        while (!c->dead && c->waiting)
            request_end(c->waiting, &err);
        return;
    }
    c->backoff_ms = c->backoff_ms ? c->backoff_ms * 2 : BACKOFF_MIN_MS;
    if (c->backoff_ms > BACKOFF_MAX_MS)
        c->backoff_ms = BACKOFF_MAX_MS;
    (void)!getrandom(&dice, sizeof dice, GRND_NONBLOCK);
    c->retry_armed = true;
    loop_timer_in(c->retry, c->backoff_ms * 3 / 4 + dice % (c->backoff_ms / 2 + 1));
}

static void on_dialed(struct rpc_wire *take_wire, const struct err *err, void *arg)
{
    struct rpc_client *c = arg;
    if (!take_wire) {
        dial_failed(c, err);
        return;
    }
    c->last.code = ERR_OK;
    tell_reach(c, NULL);
    add_link(c, take_wire);
    start_waiting(c);
}

static void on_retry(void *arg)
{
    struct rpc_client *c = arg;
    c->retry_armed = false;
    start_waiting(c);
}

/* ---- the client ---- */

enum err_code rpc_client_new(struct loop *loop, const struct rpc_client_options *o,
                             struct rpc_client **ret, struct err *err)
{
    struct rpc_client *c = mem_new(sizeof *c);
    enum err_code rc =
        o->header_count > RPC_CLIENT_HEADERS
            ? err_set(err, ERR_INVALID, "more than %d headers", RPC_CLIENT_HEADERS)
            : rpc_dial_new(loop, o->address, o->tls, o->server_name, on_dialed, c, &c->dial, err);
    if (rc) {
        free(c);
        return rc;
    }
    c->loop = loop;
    c->address = mem_str(o->address);
    if (!str_is_empty(o->token)) {
        struct buf b = {0};
        buf_printf(&b, "Bearer %s", o->token);
        c->authorization = buf_take_text(&b);
    }
    c->message_bytes = o->message_bytes ? o->message_bytes : (size_t)64 << 20;
    c->ping_after_ms = o->ping_after_ms ? o->ping_after_ms : 30000;
    c->fail_fast = o->fail_fast;
    c->fail_refused = o->fail_refused;
    for (size_t i = 0; i < o->header_count; i++)
        c->headers[c->header_count++] =
            (struct rpc_header){mem_str(o->headers[i].name), mem_str(o->headers[i].value)};
    c->on_reach = o->on_reach;
    c->reach_arg = o->arg;
    c->retry = loop_timer_new(loop, on_retry, c);
    c->hook = loop_hook_new(loop, on_turn_end, c);
    *ret = c;
    return ERR_OK;
}

static void destroy(void *arg)
{
    struct rpc_client *c = arg;
    while (c->links)
        drop_link(c->links, c);
    free(c->address);
    for (size_t i = 0; i < c->header_count; i++) {
        free((char *)(uintptr_t)c->headers[i].name);
        free((char *)(uintptr_t)c->headers[i].value);
    }
    if (c->authorization)
        explicit_bzero(c->authorization, strlen(c->authorization));
    free(c->authorization);
    free(c);
}

void rpc_client_free(struct rpc_client *c)
{
    if (!c || c->dead)
        return;
    c->dead = true;
    while (c->waiting)
        request_free(c->waiting);
    while (c->running)
        request_free(c->running);
    rpc_dial_free(c->dial);
    loop_timer_free(c->retry);
    loop_hook_free(c->hook);
    /* We may be inside one of its connections' callbacks. */
    loop_later(c->loop, destroy, c);
}

bool rpc_client_is_up(const struct rpc_client *c)
{
    for (const struct rpc_link *l = c->links; l; l = l->next)
        if (!l->leaving && !l->lost && h2_greeted(l->h2))
            return true;
    return false;
}

struct rpc_request *rpc_client_call(struct rpc_client *c, const struct rpc_call_spec *spec)
{
    struct rpc_request *r = mem_new(sizeof *r);
    r->client = c;
    r->path = mem_str(spec->path);
    r->body_len = protobuf_c_message_get_packed_size(spec->request);
    r->body = mem_array(r->body_len, 1);
    protobuf_c_message_pack(spec->request, r->body);
    r->response = spec->response;
    r->on_message = spec->on_message;
    r->on_end = spec->on_end;
    r->arg = spec->arg;
    r->until = INT64_MAX;
    if (spec->timeout_ms > 0) {
        r->until = loop_now_ms(c->loop) + spec->timeout_ms;
        r->deadline = loop_timer_new(c->loop, on_deadline, r);
        loop_timer_at(r->deadline, r->until);
    }
    list_add(&c->waiting, r);
    struct rpc_link *l = usable(c);
    if (l) {
        request_send(r, l);
    } else if (!c->retry_armed && !rpc_dial_is_busy(c->dial)) {
        /* Connecting may fail at once, and failing calls back. */
        c->retry_armed = true;
        loop_timer_in(c->retry, 0);
    }
    return r;
}

void rpc_request_cancel(struct rpc_request *r)
{
    if (r->stream) {
        h2_stream_reset(r->stream, H2_CANCEL);
        r->link->dirty = true;
    }
    request_free(r);
}

void rpc_request_pause(struct rpc_request *r, bool paused)
{
    r->paused = paused;
    if (!r->stream)
        return;
    h2_stream_pause(r->stream, paused);
    r->link->dirty = true;
}

/* ---- one call from start to end ---- */

struct unary {
    struct loop *loop;
    const ProtobufCMessageDescriptor *response;
    ProtobufCMessage *answer;
    bool ended;
    enum err_code rc;
    struct err *err;
};

static void unary_message(const ProtobufCMessage *msg, void *arg)
{
    struct unary *u = arg;
    if (u->answer)
        return;
    uint8_t *bytes = mem_array(protobuf_c_message_get_packed_size(msg), 1);
    size_t len = protobuf_c_message_pack(msg, bytes);
    u->answer = protobuf_c_message_unpack(u->response, NULL, len, bytes);
    free(bytes);
}

static void unary_end(const struct err *err, void *arg)
{
    struct unary *u = arg;
    u->ended = true;
    if (err) {
        u->rc = err->code;
        if (u->err)
            *u->err = *err;
    }
    loop_quit(u->loop);
}

enum err_code rpc_client_unary(struct loop *loop, struct rpc_client *c,
                               const struct rpc_call_spec *spec, ProtobufCMessage **ret,
                               struct err *err)
{
    struct unary u = {.loop = loop, .response = spec->response, .err = err};
    struct rpc_call_spec own = *spec;
    own.on_message = unary_message;
    own.on_end = unary_end;
    own.arg = &u;
    struct rpc_request *r = rpc_client_call(c, &own);
    loop_run(loop);
    if (!u.ended) {
        rpc_request_cancel(r);
        u.rc = err_set(err, ERR_CANCELLED, "interrupted while waiting for %s", spec->path);
    } else if (u.rc == ERR_OK && !u.answer) {
        u.rc = err_set(err, ERR_INTERNAL, "%s: the answer has no message", spec->path);
    }
    if (u.rc) {
        if (u.answer)
            protobuf_c_message_free_unpacked(u.answer, NULL);
        return u.rc;
    }
    *ret = u.answer;
    return ERR_OK;
}
