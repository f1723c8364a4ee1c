/* rpc-server.c — services, calls and drain; the connections are in rpc-conn.c. */
#include "platform/rpc-server.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "platform/rpc-conn.h"
#include "wire/grpc.h"
#include "wire/pbcheck.h"

struct service {
    const struct rpc_service *table;
    void *arg;
    unsigned gates;
    bool has_own_token; /* over TCP the one below decides, and no other */
    char *own_token;    /* owned; NULL: nobody may */
    const char *own_hint;
};

struct entry {
    const struct rpc_method *method;
    size_t service; /* index: the array may move */
};

struct rpc_server {
    struct loop *loop;
    struct rpc_limits limits;
    char *token; /* owned; NULL: none is asked for */
    struct rpc_conns *conns;
    struct service *services;
    size_t service_count;
    struct map paths;   /* "/service/method" → struct entry, owned */
    struct map by_name; /* service name → its index + 1 */
    loop_fn *drained;
    void *drained_arg;
    struct loop_timer *grace;
    rpc_observer_fn *observer;
    void *observer_arg;
    uint32_t mark; /* of this server, in the ids of its requests */
    uint64_t requests;
};

struct rpc_call {
    struct rpc_server *server;
    struct h2_stream *stream;
    const struct entry *entry;
    ProtobufCMessage *request; /* owned: a unary request until the peer has ended */
    struct loop_timer *deadline;
    loop_fn *on_closed;
    void *on_closed_arg;
    loop_fn *on_drained;
    void *on_drained_arg;
    int64_t begun_ms; /* mono */
    char id[LOG_REQUEST];
    bool answered; /* response headers are out */
    bool over;     /* its on_closed is running */
};

/* ---- requests ---- */

static bool is_sane_id(const char *id)
{
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._:-";
    size_t len = id ? strlen(id) : 0;

    return len && len < LOG_REQUEST && strspn(id, allowed) == len;
}

static void name_request(struct rpc_server *s, const struct h2_stream *stream,
                         char ret[LOG_REQUEST])
{
    const char *theirs = h2_stream_header(stream, "x-request-id");

    if (!is_sane_id(theirs) || !str_format(ret, LOG_REQUEST, "%s", theirs))
        (void)str_format(ret, LOG_REQUEST, "%08" PRIx32 "-%" PRIx64, s->mark, ++s->requests);
}

static void tell_ended(struct rpc_server *s, const struct h2_stream *stream, const char *id,
                       int64_t begun_ms, const struct err *err)
{
    const char *path = h2_stream_header(stream, ":path");

    if (!s->observer)
        return;
    log_set_request(id);
    s->observer(
        &(struct rpc_ended_call){path ? path : "", err, begun_ms ? clock_mono_ms() - begun_ms : 0},
        s->observer_arg);
    log_set_request(NULL);
}

void rpc_server_observe(struct rpc_server *s, rpc_observer_fn *fn, void *arg)
{
    s->observer = fn;
    s->observer_arg = arg;
}

/* ---- calls ---- */

static void call_free(struct rpc_call *c)
{
    h2_stream_set(c->stream, NULL);
    if (c->request)
        protobuf_c_message_free_unpacked(c->request, NULL);
    loop_timer_free(c->deadline);
    free(c);
}

static void call_tell_closed(struct rpc_call *c)
{
    c->over = true;
    if (c->on_closed)
        c->on_closed(c->on_closed_arg);
}

#define STATUS_FIELDS 8

struct status_text {
    char number[16];
    struct buf message, hint;
};

/* The fields of a status; those of an answer without a body first. */
static size_t status_fields(struct h2_field f[STATUS_FIELDS], struct status_text *t, bool only,
                            const char *http_status, const char *id, const struct err *err)
{
    size_t n = 0;
    if (only) {
        f[n++] = (struct h2_field){":status", http_status};
        f[n++] = (struct h2_field){"content-type", "application/grpc"};
    }
    snprintf(t->number, sizeof t->number, "%d", err ? err_code_grpc(err->code) : GRPC_OK);
    f[n++] = (struct h2_field){"grpc-status", t->number};
    f[n++] = (struct h2_field){"x-request-id", id};
    if (!err)
        return n;
    grpc_percent_encode(err->msg, &t->message);
    f[n++] = (struct h2_field){"grpc-message", buf_text(&t->message)};
    f[n++] = (struct h2_field){"stigmer-code", err_code_name(err->code)};
    if (err->hint[0]) {
        grpc_percent_encode(err->hint, &t->hint);
        f[n++] = (struct h2_field){"stigmer-hint", buf_text(&t->hint)};
    }
    return n;
}

static void stream_fail(struct h2_stream *s, const char *http_status, const char *id,
                        const struct err *err)
{
    struct h2_field f[STATUS_FIELDS + 1];
    struct status_text t = {0};
    size_t n = status_fields(f, &t, true, http_status, id, err);
    f[n++] = (struct h2_field){"grpc-accept-encoding", "identity"};
    h2_stream_answer(s, f, n, true);
    buf_done(&t.message);
    buf_done(&t.hint);
}

static void call_end(struct rpc_call *c, const struct err *err)
{
    struct h2_stream *s = c->stream;
    if (c->over)
        return;
    tell_ended(c->server, s, c->id, c->begun_ms, err);
    if (!c->answered && err) {
        stream_fail(s, "200", c->id, err);
    } else {
        struct h2_field f[STATUS_FIELDS];
        struct status_text t = {0};
        size_t n = status_fields(f, &t, !c->answered, "200", c->id, err);
        if (c->answered)
            h2_stream_end(s, f, n);
        else
            h2_stream_answer(s, f, n, true);
        buf_done(&t.message);
        buf_done(&t.hint);
    }
    rpc_conn_touch(s);
    call_free(c);
}

void rpc_call_send(struct rpc_call *c, const ProtobufCMessage *msg)
{
    static const struct h2_field head[] = {{":status", "200"},
                                           {"content-type", "application/grpc"}};
    if (c->over)
        return;
    if (!c->answered) {
        c->answered = true;
        h2_stream_answer(c->stream, head, 2, false);
    }
    uint8_t *to = h2_stream_message(c->stream, protobuf_c_message_get_packed_size(msg));
    protobuf_c_message_pack(msg, to);
    rpc_conn_touch(c->stream);
}

void rpc_call_finish(struct rpc_call *c)
{
    call_end(c, NULL);
}

void rpc_call_fail(struct rpc_call *c, const struct err *err)
{
    call_end(c, err);
}

void rpc_call_reply(struct rpc_call *c, const ProtobufCMessage *msg)
{
    rpc_call_send(c, msg);
    rpc_call_finish(c);
}

const char *rpc_call_metadata(const struct rpc_call *c, const char *name)
{
    return h2_stream_header(c->stream, name);
}

bool rpc_call_peer_uid(const struct rpc_call *c, uid_t *ret)
{
    return rpc_conn_uid(c->stream, ret);
}

unsigned rpc_call_gate(const struct rpc_call *c)
{
    return rpc_conn_gates(c->stream);
}

bool rpc_call_is_full(const struct rpc_call *c)
{
    return h2_stream_is_full(c->stream);
}

void rpc_call_on_drained(struct rpc_call *c, loop_fn *fn, void *arg)
{
    c->on_drained = fn;
    c->on_drained_arg = arg;
}

void rpc_call_on_closed(struct rpc_call *c, loop_fn *fn, void *arg)
{
    c->on_closed = fn;
    c->on_closed_arg = arg;
}

/* Over for a reason that its handler learns of. */
static void call_stop(struct rpc_call *c, const struct err *err)
{
    call_tell_closed(c);
    c->over = false;
    call_end(c, err);
}

static void on_deadline(void *arg)
{
    struct rpc_call *c = arg;
    struct err err;
    err_set(&err, ERR_TIMEOUT, "deadline exceeded");
    call_stop(c, &err);
}

/* ---- what a connection tells ---- */

static enum err_code find_method(struct rpc_server *s, struct h2_stream *stream,
                                 const struct entry **ret, struct err *err)
{
    char service[256];
    const char *path = h2_stream_header(stream, ":path");
    const char *slash = path && path[0] == '/' ? strchr(path + 1, '/') : NULL;
    if (!slash || (size_t)(slash - path) > sizeof service)
        return err_set(err, ERR_UNSUPPORTED, "malformed method name %.200s", path ? path : "");
    memcpy(service, path + 1, (size_t)(slash - path - 1));
    service[slash - path - 1] = '\0';
    size_t index = (size_t)(uintptr_t)map_get(&s->by_name, service);
    if (!index || !(s->services[index - 1].gates & rpc_conn_gates(stream)))
        return err_set(err, ERR_UNSUPPORTED, "unknown service %s", service);
    *ret = map_get(&s->paths, path);
    if (!*ret)
        return err_set(err, ERR_UNSUPPORTED, "unknown method %.200s for service %s", slash + 1,
                       service);
    return ERR_OK;
}

static bool is_grpc_type(const char *type)
{
    static const char want[] = "application/grpc";
    if (!type || strncmp(type, want, sizeof want - 1) != 0)
        return false;
    char after = type[sizeof want - 1];
    return after == '\0' || after == '+' || after == ';';
}

static bool shows_token(const char *token, const struct h2_stream *stream)
{
    static const char scheme[] = "bearer ";
    const char *given = h2_stream_header(stream, "authorization");

    return given && strncasecmp(given, scheme, sizeof scheme - 1) == 0 &&
           str_eq_secret(given + sizeof scheme - 1, token);
}

static enum err_code check_own_token(const struct service *service, const struct h2_stream *stream,
                                     struct err *err)
{
    if (service->own_token && shows_token(service->own_token, stream))
        return ERR_OK;
    err_set(err, ERR_UNAUTHENTICATED,
            h2_stream_header(stream, "authorization") ? "%s does not accept this token"
                                                      : "%s wants a token",
            service->table->name);
    return err_hint(err, ERR_UNAUTHENTICATED, "%s", service->own_hint);
}

/* May the peer call entry (NULL: what is not there)? */
static enum err_code check_peer(const struct rpc_server *s, const struct h2_stream *stream,
                                const struct entry *entry, struct err *err)
{
    if (!rpc_conn_is_tcp(stream))
        return ERR_OK;
    if (rpc_conn_lacks_tls(stream))
        return err_hint(err, err_set(err, ERR_STATE, "this port speaks TLS"),
                        "--server tls://HOST:PORT (elsewhere: TLS in place of plaintext)");
    if (entry && s->services[entry->service].has_own_token)
        return check_own_token(&s->services[entry->service], stream, err);
    if (!s->token && !rpc_conn_is_foreign(stream))
        return ERR_OK;
    if (!s->token)
        return err_hint(err,
                        err_set(err, ERR_DENIED,
                                "this API is another user's: TCP is for that user and root alone"),
                        "call it as the user who started the server");
    if ((entry && s->services[entry->service].table->is_open) || shows_token(s->token, stream))
        return ERR_OK;
    err_set(err, ERR_UNAUTHENTICATED,
            h2_stream_header(stream, "authorization") ? "the server does not accept this token"
                                                      : "the server wants a token");
    return err_hint(err, ERR_UNAUTHENTICATED,
                    "--token-file FILE or STIGMER_TOKEN, with what its server.token_file holds "
                    "(elsewhere: authorization: Bearer TOKEN)");
}

static enum err_code check_headers(struct rpc_server *s, struct h2_stream *stream,
                                   const struct entry **ret, int64_t *ret_timeout_ms,
                                   struct err *err)
{
    const char *encoding = h2_stream_header(stream, "grpc-encoding");
    const char *timeout = h2_stream_header(stream, "grpc-timeout");
    const struct entry *entry = NULL;
    struct err refused;
    enum err_code rc;
    if (h2_stream_headers_too_big(stream))
        return err_set(err, ERR_LIMIT, "the request's headers are larger than %zu bytes",
                       s->limits.header_bytes);
    rc = find_method(s, stream, &entry, err);
    if (check_peer(s, stream, entry, &refused)) { /* who may not call learns no names */
        *err = refused;
        return refused.code;
    }
    if (!rc && encoding && strcmp(encoding, "identity") != 0)
        rc = err_set(err, ERR_UNSUPPORTED, "grpc-encoding %.40s is not supported, only identity is",
                     encoding);
    if (!rc && timeout)
        rc = grpc_timeout_parse(timeout, strlen(timeout), ret_timeout_ms, err);
    if (!rc)
        *ret = entry;
    return rc;
}

static void begin_call(struct rpc_server *s, struct h2_stream *stream, const struct entry *entry,
                       const char *id, int64_t timeout_ms)
{
    struct rpc_call *c = mem_new(sizeof *c);

    c->server = s;
    c->stream = stream;
    c->entry = entry;
    c->begun_ms = clock_mono_ms();
    memcpy(c->id, id, sizeof c->id);
    h2_stream_set(stream, c);
    if (timeout_ms >= 0) {
        c->deadline = loop_timer_new(s->loop, on_deadline, c);
        loop_timer_in(c->deadline, timeout_ms);
    }
}

static void on_headers(struct h2_stream *stream, void *arg)
{
    struct rpc_server *s = arg;
    struct err err;
    const struct entry *entry = NULL;
    int64_t timeout_ms = -1;
    char id[LOG_REQUEST];
    const char *method = h2_stream_header(stream, ":method"), *refused = NULL;

    name_request(s, stream, id);
    if (!h2_stream_headers_too_big(stream) && (!method || strcmp(method, "POST") != 0)) {
        err_set(&err, ERR_INTERNAL, "gRPC needs the method POST, not %.40s", method ? method : "");
        refused = "405";
    } else if (!h2_stream_headers_too_big(stream) &&
               !is_grpc_type(h2_stream_header(stream, "content-type"))) {
        err_set(&err, ERR_INVALID, "the content-type is not application/grpc");
        refused = "415";
    } else if (check_headers(s, stream, &entry, &timeout_ms, &err)) {
        refused = "200";
    }
    if (!refused) {
        begin_call(s, stream, entry, id, timeout_ms);
        return;
    }
    tell_ended(s, stream, id, 0, &err);
    stream_fail(stream, refused, id, &err);
}

static enum err_code unpack(const struct rpc_call *c, const uint8_t *data, size_t len,
                            ProtobufCMessage **ret, struct err *err)
{
    const ProtobufCMessageDescriptor *d = c->entry->method->request;
    enum err_code rc = pbcheck(d, data, len, c->server->limits.nesting, err);
    if (rc)
        return err_wrap(err, rc, "the request is not a valid %s", d->name);
    *ret = protobuf_c_message_unpack(d, NULL, len, data);
    if (!*ret)
        return err_set(err, ERR_INVALID, "the request is not a valid %s", d->name);
    return ERR_OK;
}

static void on_message(struct h2_stream *stream, const uint8_t *data, size_t len, bool compressed,
                       void *arg)
{
    struct rpc_server *s = arg;
    struct rpc_call *c = h2_stream_user(stream);
    ProtobufCMessage *req = NULL;
    struct err err;
    enum err_code rc = ERR_OK;
    if (compressed)
        rc = err_set(&err, ERR_UNSUPPORTED, "compressed messages are not supported");
    else if (c->request)
        rc = err_set(&err, ERR_INVALID, "this method takes one message and got more");
    else
        rc = unpack(c, data, len, &req, &err);
    if (rc) {
        if (c->on_closed)
            call_tell_closed(c);
        c->over = false;
        call_end(c, &err);
    } else if (c->entry->method->client_streams) {
        log_set_request(c->id);
        c->entry->method->fn(c, req, s->services[c->entry->service].arg);
        log_set_request(NULL);
        protobuf_c_message_free_unpacked(req, NULL);
    } else {
        c->request = req;
    }
}

static void on_broken(struct h2_stream *stream, const struct err *err, void *arg)
{
    (void)arg;
    struct rpc_call *c = h2_stream_user(stream);
    if (c)
        call_stop(c, err);
}

static void on_end(struct h2_stream *stream, void *arg)
{
    struct rpc_server *s = arg;
    struct rpc_call *c = h2_stream_user(stream);
    if (!c)
        return;
    const struct entry *e = c->entry;
    void *service_arg = s->services[e->service].arg;
    log_set_request(c->id);
    if (e->method->client_streams) {
        if (e->method->on_end)
            e->method->on_end(c, service_arg);
        else
            rpc_call_finish(c);
    } else if (!c->request) {
        struct err err;
        err_set(&err, ERR_INVALID, "this method takes one message and got none");
        call_end(c, &err);
    } else {
        ProtobufCMessage *req = c->request;
        c->request = NULL;
        e->method->fn(c, req, service_arg);
        protobuf_c_message_free_unpacked(req, NULL);
    }
    log_set_request(NULL);
}

static void on_closed(struct h2_stream *stream, uint32_t error, void *arg)
{
    (void)arg;
    (void)error;
    struct rpc_call *c = h2_stream_user(stream);
    struct err err;
    if (!c)
        return;
    err_set(&err, ERR_CANCELLED, "the client went away");
    tell_ended(c->server, stream, c->id, c->begun_ms, &err);
    call_tell_closed(c);
    call_free(c);
}

static void on_drained(struct h2_stream *stream, void *arg)
{
    (void)arg;
    struct rpc_call *c = h2_stream_user(stream);
    if (c && c->on_drained)
        c->on_drained(c->on_drained_arg);
}

static void on_stalled(struct h2_stream *stream, bool incoming, unsigned sweeps, void *arg)
{
    const struct rpc_server *s = arg;
    struct rpc_call *c = h2_stream_user(stream);
    struct err err;
    if (!h2_stream_has_headers(stream)) {
        rpc_conn_close(stream);
    } else if (!incoming && sweeps * s->limits.request_ms < s->limits.answer_ms) {
        return;
    } else if (!incoming) {
        h2_stream_reset(stream, H2_CANCEL);
    } else if (!c) { /* answered long ago */
        h2_stream_reset(stream, H2_NO_ERROR);
    } else if (c->entry->method->client_streams && !h2_stream_is_amid(stream)) {
        return; /* it may think as long as it likes */
    } else {
        err_set(&err, ERR_TIMEOUT, "the request is not complete, and nothing of it came for %lld s",
                (long long)(s->limits.request_ms / 1000));
        call_stop(c, &err);
    }
    rpc_conn_touch(stream);
}

static void on_goaway(void *arg)
{
    (void)arg;
}

/* ---- the server ---- */

static void drain_done(struct rpc_server *s)
{
    loop_fn *fn = s->drained;
    if (!fn)
        return;
    s->drained = NULL;
    loop_timer_free(s->grace);
    s->grace = NULL;
    loop_later(s->loop, fn, s->drained_arg);
}

static void on_no_connections(void *arg)
{
    drain_done(arg);
}

struct rpc_server *rpc_server_new(struct loop *loop, const struct rpc_limits *limits)
{
    static const struct h2_events events = {
        .headers = on_headers,
        .message = on_message,
        .broken = on_broken,
        .end = on_end,
        .closed = on_closed,
        .drained = on_drained,
        .stalled = on_stalled,
        .goaway = on_goaway,
    };
    struct rpc_server *s = mem_new(sizeof *s);
    struct rpc_limits l = limits ? *limits : (struct rpc_limits){0};
    l.message_bytes = l.message_bytes ? l.message_bytes : GRPC_MESSAGE_MAX;
    l.header_bytes = l.header_bytes ? l.header_bytes : 16 << 10;
    l.streams = l.streams ? l.streams : 256;
    l.connections = l.connections ? l.connections : 1024;
    l.buffered_bytes = l.buffered_bytes ? l.buffered_bytes : 256 << 10;
    l.nesting = l.nesting ? l.nesting : 64;
    l.ping_after_ms = l.ping_after_ms ? l.ping_after_ms : 300000;
    l.first_request_ms = l.first_request_ms ? l.first_request_ms : 20000;
    l.request_ms = l.request_ms ? l.request_ms : 60000;
    l.answer_ms = l.answer_ms ? l.answer_ms : 600000;
    l.idle_ms = l.idle_ms ? l.idle_ms : 900000;
    s->loop = loop;
    s->mark = (uint32_t)clock_wall_ms() ^ (uint32_t)getpid() << 16;
    s->limits = l;
    s->conns = rpc_conns_new(loop, &s->limits, &events, on_no_connections, s);
    return s;
}

static void forget_token(char **token)
{
    if (*token)
        explicit_bzero(*token, strlen(*token));
    free(*token);
    *token = NULL;
}

void rpc_server_free(struct rpc_server *s)
{
    if (!s)
        return;
    s->drained = NULL;
    rpc_server_set_token(s, NULL);
    for (size_t i = 0; i < s->service_count; i++)
        forget_token(&s->services[i].own_token);
    rpc_conns_free(s->conns);
    loop_timer_free(s->grace);
    void *value;
    const char *key;
    for (size_t i = 0; map_next(&s->paths, &i, &key, &value);)
        free(value);
    map_done(&s->paths);
    map_done(&s->by_name);
    free(s->services);
    free(s);
}

void rpc_server_add(struct rpc_server *s, const struct rpc_service *service, void *arg)
{
    size_t at = s->service_count++;
    s->services = mem_grow(s->services, s->service_count, sizeof *s->services);
    s->services[at] = (struct service){.table = service, .arg = arg, .gates = RPC_GATE_API};
    map_put(&s->by_name, service->name, (void *)(uintptr_t)(at + 1));
    for (const struct rpc_method *m = service->methods; m->name; m++) {
        char path[512];
        bool fits = str_format(path, sizeof path, "/%s/%s", service->name, m->name);
        assert(fits);
        (void)fits;
        struct entry *e = mem_new(sizeof *e);
        e->method = m;
        e->service = at;
        free(map_put(&s->paths, path, e));
    }
}

void rpc_server_restrict(struct rpc_server *s, const char *service, unsigned gates)
{
    size_t index = (size_t)(uintptr_t)map_get(&s->by_name, service);
    assert(index);
    if (index)
        s->services[index - 1].gates = gates;
}

void rpc_server_set_own_token(struct rpc_server *s, const char *service, const char *token,
                              const char *hint)
{
    size_t index = (size_t)(uintptr_t)map_get(&s->by_name, service);
    assert(index);
    if (!index)
        return;
    struct service *own = &s->services[index - 1];
    forget_token(&own->own_token);
    own->has_own_token = true;
    own->own_token = str_is_empty(token) ? NULL : mem_str(token);
    own->own_hint = hint;
}

const char *rpc_server_service(const struct rpc_server *s, unsigned gates, size_t i)
{
    for (size_t k = 0; k < s->service_count; k++)
        if ((s->services[k].gates & gates) && i-- == 0)
            return s->services[k].table->name;
    return NULL;
}

void rpc_server_listen(struct rpc_server *s, int take_fd, unsigned gates)
{
    rpc_conns_listen(s->conns, take_fd, gates, NULL);
}

void rpc_server_listen_tls(struct rpc_server *s, int take_fd, unsigned gates,
                           const struct tls_context *tls)
{
    rpc_conns_listen(s->conns, take_fd, gates, tls);
}

void rpc_server_set_token(struct rpc_server *s, const char *token)
{
    forget_token(&s->token);
    s->token = str_is_empty(token) ? NULL : mem_str(token);
}

void rpc_server_unlisten(struct rpc_server *s, int fd)
{
    rpc_conns_unlisten(s->conns, fd);
}

unsigned rpc_server_connections(const struct rpc_server *s)
{
    return rpc_conns_count(s->conns);
}

static void on_grace_over(void *arg)
{
    struct rpc_server *s = arg;
    rpc_conns_close_all(s->conns);
    drain_done(s);
}

void rpc_server_drain(struct rpc_server *s, int64_t grace_ms, loop_fn *done, void *arg)
{
    s->drained = done;
    s->drained_arg = arg;
    s->grace = loop_timer_new(s->loop, on_grace_over, s);
    loop_timer_in(s->grace, grace_ms);
    rpc_conns_drain(s->conns);
    if (rpc_conns_count(s->conns) == 0)
        drain_done(s);
}
