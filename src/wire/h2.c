/* h2.c — the glue to nghttp2.
 *
 * Traps that shape it: nghttp2_session_del closes no stream, so h2_free does it; taking bytes may
 * close any stream, so `drained` events wait in a list walk after it; a request that nghttp2 gives
 * up before it was sent is not always told as closed, so it is swept after taking. */
#include "wire/h2.h"

#include <assert.h>
#include <nghttp2/nghttp2.h>
#include <string.h>

#include "base/mem.h"
#include "wire/grpc.h"

#define STREAM_WINDOW (256 << 10)
#define CONNECTION_WINDOW (4 << 20)
#define FIELDS_MAX 24
#define OUT_KEEP (64 << 10) /* a larger buffer is given back once it is empty */

struct h2 {
    nghttp2_session *session; /* owned */
    struct h2_events ev;
    struct h2_limits limits;
    void *arg;
    void *owner;
    struct h2_stream *streams;
    unsigned count;
    bool is_server;
    bool greeted;
    bool drained; /* some stream is to be told */
    bool unsent;  /* some stream is to be swept */
};

struct h2_stream {
    struct h2 *h;
    struct h2_stream *prev, *next;
    int32_t id;
    void *user;
    struct buf fields; /* name NUL value NUL … as they came */
    struct grpc_reader reader;
    uint8_t *out; /* owned: unsent body */
    size_t out_at, out_len, out_cap;
    struct buf trailers; /* same form as fields */
    size_t unconsumed;   /* bytes that the peer's window waits for */
    bool told_headers, too_big, broken;
    bool answered, ending, ended; /* our half: head queued, end asked for, end reached */
    bool deferred, full, drained, told_to_stop;
    bool paused, peer_ended, reset, sent, unsent;
    bool moved, waited; /* since the last sweep; at the last sweep */
    unsigned still;     /* sweeps in a row that found it waiting and not moved */
};

/* ---- streams ---- */

static struct h2_stream *stream_new(struct h2 *h, int32_t id)
{
    struct h2_stream *s = mem_new(sizeof *s);
    s->h = h;
    s->id = id;
    buf_init(&s->fields, h->limits.header_bytes);
    grpc_reader_init(&s->reader, h->limits.message_bytes);
    s->next = h->streams;
    if (s->next)
        s->next->prev = s;
    h->streams = s;
    h->count++;
    return s;
}

static void stream_close(struct h2_stream *s, uint32_t error)
{
    struct h2 *h = s->h;
    h->ev.closed(s, error, h->arg);
    if (s->prev)
        s->prev->next = s->next;
    else
        h->streams = s->next;
    if (s->next)
        s->next->prev = s->prev;
    h->count--;
    buf_done(&s->fields);
    buf_done(&s->trailers);
    grpc_reader_done(&s->reader);
    free(s->out);
    free(s);
}

static struct h2_stream *stream_of(struct h2 *h, int32_t id)
{
    return nghttp2_session_get_stream_user_data(h->session, id);
}

void h2_stream_set(struct h2_stream *s, void *user)
{
    s->user = user;
}

void *h2_stream_user(const struct h2_stream *s)
{
    return s->user;
}

void *h2_stream_owner(const struct h2_stream *s)
{
    return s->h->owner;
}

const char *h2_stream_header(const struct h2_stream *s, const char *name)
{
    const char *p = buf_text(&s->fields);
    const char *end = p + s->fields.len;
    while (p < end) {
        const char *value = p + strlen(p) + 1;
        if (strcmp(p, name) == 0)
            return value;
        p = value + strlen(value) + 1;
    }
    return NULL;
}

bool h2_stream_headers_too_big(const struct h2_stream *s)
{
    return s->too_big;
}

bool h2_stream_was_sent(const struct h2_stream *s)
{
    return s->sent;
}

bool h2_stream_is_full(const struct h2_stream *s)
{
    return s->out_len - s->out_at > s->h->limits.buffered_bytes;
}

bool h2_stream_peer_ended(const struct h2_stream *s)
{
    return s->peer_ended;
}

bool h2_stream_is_amid(const struct h2_stream *s)
{
    return !grpc_reader_is_empty(&s->reader);
}

bool h2_stream_has_headers(const struct h2_stream *s)
{
    return s->told_headers;
}

/* ---- what comes in ---- */

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    struct h2 *h = user;
    if (h->is_server && frame->hd.type == NGHTTP2_HEADERS &&
        frame->headers.cat == NGHTTP2_HCAT_REQUEST)
        nghttp2_session_set_stream_user_data(session, frame->hd.stream_id,
                                             stream_new(h, frame->hd.stream_id));
    return 0;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags,
                     void *user)
{
    (void)session;
    (void)flags;
    struct h2_stream *s = stream_of(user, frame->hd.stream_id);
    if (!s || s->too_big)
        return 0;
    /* nghttp2 ends both with a NUL; a NUL inside is refused by its header checks. */
    if (s->fields.len + name_len + value_len + 2 > s->h->limits.header_bytes) {
        s->too_big = true;
        return 0;
    }
    buf_put(&s->fields, name, name_len + 1);
    buf_put(&s->fields, value, value_len + 1);
    return 0;
}

static void peer_ended(struct h2_stream *s)
{
    struct err err;
    if (s->peer_ended)
        return;
    s->peer_ended = true;
    if (!s->broken && !grpc_reader_is_empty(&s->reader)) {
        s->broken = true;
        err_set(&err, ERR_INVALID, "the last message ends in the middle");
        s->h->ev.broken(s, &err, s->h->arg);
        return;
    }
    s->h->ev.end(s, s->h->arg);
}

static int on_frame_recv(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    struct h2 *h = user;
    (void)session;
    if (frame->hd.type == NGHTTP2_SETTINGS && !(frame->hd.flags & NGHTTP2_FLAG_ACK))
        h->greeted = true;
    if (frame->hd.type == NGHTTP2_GOAWAY)
        h->ev.goaway(h->arg);
    if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA)
        return 0;
    struct h2_stream *s = stream_of(h, frame->hd.stream_id);
    if (!s)
        return 0;
    if (frame->hd.type == NGHTTP2_HEADERS && !s->told_headers) {
        s->told_headers = true;
        h->ev.headers(s, h->arg);
    }
    if (frame->hd.flags & NGHTTP2_FLAG_END_STREAM)
        peer_ended(s);
    return 0;
}

static void open_window(struct h2_stream *s)
{
    if (s->paused || !s->unconsumed)
        return;
    nghttp2_session_consume_stream(s->h->session, s->id, s->unconsumed);
    s->unconsumed = 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data,
                   size_t len, void *user)
{
    struct h2 *h = user;
    nghttp2_session_consume_connection(session, len);
    struct h2_stream *s = stream_of(h, id);
    if (!s)
        return 0;
    /* We have answered in full and the peer goes on sending: tell it to stop, without an error (RFC
     * 9113, 8.1). Not before it goes on: some clients drop an answer for a reset that follows it.
     */
    if (h->is_server && s->ended && !s->told_to_stop && !(flags & NGHTTP2_FLAG_END_STREAM)) {
        s->told_to_stop = true;
        nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, id, NGHTTP2_NO_ERROR);
    }
    s->unconsumed += len;
    s->moved = true;
    open_window(s);
    if (s->broken || !s->user)
        return 0;
    struct err err;
    enum err_code rc = grpc_reader_feed(&s->reader, data, len, &err);
    const uint8_t *msg;
    size_t msg_len;
    bool compressed;
    while (s->user && !s->broken && grpc_reader_next(&s->reader, &msg, &msg_len, &compressed))
        h->ev.message(s, msg, msg_len, compressed, h->arg);
    if (rc && s->user) {
        s->broken = true;
        h->ev.broken(s, &err, h->arg);
    }
    return 0;
}

static int on_stream_close(nghttp2_session *session, int32_t id, uint32_t error, void *user)
{
    struct h2_stream *s = stream_of(user, id);
    if (!s)
        return 0;
    nghttp2_session_set_stream_user_data(session, id, NULL);
    stream_close(s, error);
    return 0;
}

/* ---- what goes out ---- */

static int on_frame_send(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    struct h2 *h = user;
    (void)session;
    if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA)
        return 0;
    struct h2_stream *s = stream_of(h, frame->hd.stream_id);
    if (!s)
        return 0;
    s->sent = true;
    if (h->is_server && (frame->hd.flags & NGHTTP2_FLAG_END_STREAM))
        s->ended = true;
    return 0;
}

static int on_frame_not_send(nghttp2_session *session, const nghttp2_frame *frame, int error,
                             void *user)
{
    struct h2 *h = user;
    (void)session;
    (void)error;
    if (h->is_server || frame->hd.type != NGHTTP2_HEADERS)
        return 0;
    for (struct h2_stream *s = h->streams; s; s = s->next)
        if (s->id == frame->hd.stream_id)
            s->unsent = h->unsent = true;
    return 0;
}

static size_t fields_to_nv(const char *p, size_t len, nghttp2_nv nv[FIELDS_MAX])
{
    const char *end = p + len;
    size_t n = 0;
    while (p < end && n < FIELDS_MAX) {
        size_t name_len = strlen(p);
        const char *value = p + name_len + 1;
        size_t value_len = strlen(value);
        nv[n++] = (nghttp2_nv){.name = (uint8_t *)(uintptr_t)p,
                               .namelen = name_len,
                               .value = (uint8_t *)(uintptr_t)value,
                               .valuelen = value_len};
        p = value + value_len + 1;
    }
    return n;
}

static void out_taken(struct h2_stream *s, size_t n)
{
    s->out_at += n;
    s->moved |= n != 0;
    size_t left = s->out_len - s->out_at;
    if (left == 0) {
        s->out_at = s->out_len = 0;
        if (s->out_cap > OUT_KEEP) {
            free(s->out);
            s->out = NULL;
            s->out_cap = 0;
        }
    }
    if (s->full && left <= s->h->limits.buffered_bytes / 2) {
        s->full = false;
        s->drained = s->h->drained = true;
    }
}

static ssize_t on_read_body(nghttp2_session *session, int32_t id, uint8_t *to, size_t len,
                            uint32_t *flags, nghttp2_data_source *source, void *user)
{
    struct h2_stream *s = source->ptr;
    (void)user;
    size_t n = s->out_len - s->out_at;
    if (n > len)
        n = len;
    if (n)
        memcpy(to, s->out + s->out_at, n);
    out_taken(s, n);
    if (s->out_len == 0 && s->ending) {
        *flags |= NGHTTP2_DATA_FLAG_EOF;
        if (s->trailers.len) {
            nghttp2_nv nv[FIELDS_MAX];
            size_t count = fields_to_nv(buf_text(&s->trailers), s->trailers.len, nv);
            if (nghttp2_submit_trailer(session, id, nv, count) == 0)
                *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
        }
        return (ssize_t)n;
    }
    if (n == 0) {
        s->deferred = true;
        return NGHTTP2_ERR_DEFERRED;
    }
    return (ssize_t)n;
}

static void resume(struct h2_stream *s)
{
    if (!s->deferred)
        return;
    s->deferred = false;
    nghttp2_session_resume_data(s->h->session, s->id);
}

static uint8_t *out_grow(struct h2_stream *s, size_t len)
{
    if (s->out_at && s->out_len + len > s->out_cap) {
        memmove(s->out, s->out + s->out_at, s->out_len - s->out_at);
        s->out_len -= s->out_at;
        s->out_at = 0;
    }
    if (s->out_len + len > s->out_cap) {
        size_t cap = s->out_cap + s->out_cap / 2;
        if (cap < s->out_len + len)
            cap = s->out_len + len;
        s->out = mem_grow(s->out, cap, 1);
        s->out_cap = cap;
    }
    uint8_t *p = s->out + s->out_len;
    s->out_len += len;
    if (h2_stream_is_full(s))
        s->full = true;
    resume(s);
    return p;
}

uint8_t *h2_stream_message(struct h2_stream *s, size_t len)
{
    uint8_t *p = out_grow(s, GRPC_PREFIX + len);
    grpc_prefix(p, len);
    return p + GRPC_PREFIX;
}

void h2_stream_raw(struct h2_stream *s, const void *data, size_t len)
{
    if (len)
        memcpy(out_grow(s, len), data, len);
}

static size_t fields_in(const struct h2_field *fields, size_t n, nghttp2_nv nv[FIELDS_MAX])
{
    assert(n <= FIELDS_MAX);
    for (size_t i = 0; i < n; i++)
        nv[i] = (nghttp2_nv){.name = (uint8_t *)(uintptr_t)fields[i].name,
                             .namelen = strlen(fields[i].name),
                             .value = (uint8_t *)(uintptr_t)fields[i].value,
                             .valuelen = strlen(fields[i].value)};
    return n;
}

struct h2_stream *h2_request(struct h2 *h, const struct h2_field *fields, size_t n, void *user)
{
    nghttp2_nv nv[FIELDS_MAX];
    struct h2_stream *s = stream_new(h, 0);
    s->user = user;
    s->answered = true;
    nghttp2_data_provider body = {.source.ptr = s, .read_callback = on_read_body};
    s->id = nghttp2_submit_request(h->session, NULL, nv, fields_in(fields, n, nv), &body, s);
    /* Only when the ids of a connection are used up: then the sweep tells it as refused. */
    if (s->id < 0)
        s->unsent = h->unsent = true;
    return s;
}

void h2_stream_answer(struct h2_stream *s, const struct h2_field *fields, size_t n, bool end)
{
    nghttp2_nv nv[FIELDS_MAX];
    if (s->answered || s->reset)
        return;
    s->answered = true;
    s->ending = end;
    nghttp2_data_provider body = {.source.ptr = s, .read_callback = on_read_body};
    nghttp2_submit_response(s->h->session, s->id, nv, fields_in(fields, n, nv), end ? NULL : &body);
}

void h2_stream_end(struct h2_stream *s, const struct h2_field *trailers, size_t n)
{
    if (s->ending || s->reset)
        return;
    s->ending = true;
    for (size_t i = 0; i < n; i++) {
        buf_put(&s->trailers, trailers[i].name, strlen(trailers[i].name) + 1);
        buf_put(&s->trailers, trailers[i].value, strlen(trailers[i].value) + 1);
    }
    resume(s);
}

void h2_stream_reset(struct h2_stream *s, uint32_t error)
{
    if (s->reset)
        return;
    s->reset = true;
    s->out_at = s->out_len = 0;
    nghttp2_submit_rst_stream(s->h->session, NGHTTP2_FLAG_NONE, s->id, error);
}

void h2_stream_pause(struct h2_stream *s, bool paused)
{
    s->paused = paused;
    open_window(s);
}

/* ---- the connection ---- */

static struct h2 *h2_new(const struct h2_limits *l, const struct h2_events *ev, void *arg,
                         bool is_server)
{
    struct h2 *h = mem_new(sizeof *h);
    *h = (struct h2){.ev = *ev, .limits = *l, .arg = arg, .is_server = is_server};
    nghttp2_session_callbacks *cb;
    nghttp2_option *option;
    mem_check(nghttp2_session_callbacks_new(&cb) ? NULL : cb);
    mem_check(nghttp2_option_new(&option) ? NULL : option);
    nghttp2_session_callbacks_set_on_begin_headers_callback(cb, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame_recv);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_stream_close);
    nghttp2_session_callbacks_set_on_frame_send_callback(cb, on_frame_send);
    nghttp2_session_callbacks_set_on_frame_not_send_callback(cb, on_frame_not_send);
    nghttp2_option_set_no_auto_window_update(option, 1);
    /* Enough for a client that gives up on many calls at once, not for a flood of resets. */
    nghttp2_option_set_stream_reset_rate_limit(option, 10000, 1000);
    int rc = is_server ? nghttp2_session_server_new2(&h->session, cb, h, option)
                       : nghttp2_session_client_new2(&h->session, cb, h, option);
    mem_check(rc ? NULL : h->session);
    nghttp2_session_callbacks_del(cb);
    nghttp2_option_del(option);
    nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, STREAM_WINDOW},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, (uint32_t)l->header_bytes},
        is_server ? (nghttp2_settings_entry){NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, l->streams}
                  : (nghttp2_settings_entry){NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
    };
    nghttp2_submit_settings(h->session, NGHTTP2_FLAG_NONE, settings, 3);
    nghttp2_session_set_local_window_size(h->session, NGHTTP2_FLAG_NONE, 0, CONNECTION_WINDOW);
    return h;
}

struct h2 *h2_new_server(const struct h2_limits *l, const struct h2_events *ev, void *arg)
{
    return h2_new(l, ev, arg, true);
}

struct h2 *h2_new_client(const struct h2_limits *l, const struct h2_events *ev, void *arg)
{
    return h2_new(l, ev, arg, false);
}

void h2_free(struct h2 *h)
{
    if (!h)
        return;
    for (struct h2_stream *s = h->streams; s; s = s->next)
        s->reset = true; /* its owner may speak to it once more: nothing is queued then */
    while (h->streams)
        stream_close(h->streams, H2_CANCEL);
    nghttp2_session_del(h->session);
    free(h);
}

enum err_code h2_feed(struct h2 *h, const void *data, size_t len, struct err *err)
{
    ssize_t n = nghttp2_session_mem_recv(h->session, data, len);
    if (n < 0)
        return err_set(err, ERR_INVALID, "not valid HTTP/2: %s", nghttp2_strerror((int)n));
    return ERR_OK;
}

static void sweep(struct h2 *h)
{
    h->unsent = false;
    for (struct h2_stream *s = h->streams, *next; s; s = next) {
        next = s->next;
        if (!s->unsent)
            continue;
        nghttp2_session_set_stream_user_data(h->session, s->id, NULL);
        stream_close(s, H2_REFUSED_STREAM);
    }
}

static void tell_drained(struct h2 *h)
{
    h->drained = false;
    for (struct h2_stream *s = h->streams; s; s = s->next)
        if (s->drained) {
            s->drained = false;
            h->ev.drained(s, h->arg);
        }
}

enum err_code h2_take(struct h2 *h, struct buf *out, size_t enough, struct err *err)
{
    enum err_code rc = ERR_OK;
    while (!rc && out->len < enough) {
        const uint8_t *p;
        ssize_t n = nghttp2_session_mem_send(h->session, &p);
        if (n < 0)
            rc = err_set(err, ERR_INTERNAL, "HTTP/2: %s", nghttp2_strerror((int)n));
        else if (n == 0)
            break;
        else
            rc = buf_add(out, p, (size_t)n, err);
    }
    if (h->unsent)
        sweep(h);
    if (h->drained)
        tell_drained(h);
    return rc;
}

bool h2_wants_out(const struct h2 *h)
{
    return h->unsent || nghttp2_session_want_write(h->session);
}

bool h2_is_over(const struct h2 *h)
{
    return !nghttp2_session_want_read(h->session) && !nghttp2_session_want_write(h->session);
}

bool h2_greeted(const struct h2 *h)
{
    return h->greeted;
}

unsigned h2_streams(const struct h2 *h)
{
    return h->count;
}

void h2_set_owner(struct h2 *h, void *owner)
{
    h->owner = owner;
}

static bool sweep_stream(struct h2_stream *s)
{
    bool outgoing = s->out_len > s->out_at;
    bool waits = (outgoing || (!s->peer_ended && !s->paused)) && !s->reset;
    bool still = waits && s->waited && (!s->moved || !s->told_headers);
    s->still = still ? s->still + 1 : 0;
    s->waited = waits;
    s->moved = false;
    if (still && s->h->ev.stalled)
        s->h->ev.stalled(s, !outgoing, s->still, s->h->arg);
    return waits && !s->reset;
}

bool h2_sweep(struct h2 *h)
{
    bool any = false;
    for (struct h2_stream *s = h->streams; s; s = s->next)
        any |= sweep_stream(s);
    return any;
}

void h2_ping(struct h2 *h)
{
    nghttp2_submit_ping(h->session, NGHTTP2_FLAG_NONE, NULL);
}

void h2_notice(struct h2 *h)
{
    nghttp2_submit_shutdown_notice(h->session);
}

void h2_goaway(struct h2 *h)
{
    nghttp2_submit_goaway(h->session, NGHTTP2_FLAG_NONE,
                          nghttp2_session_get_last_proc_stream_id(h->session), NGHTTP2_NO_ERROR,
                          NULL, 0);
}
