/* One model call: the exchange (or its recording) on one side, the parser on the other. */
#include "clients/model.h"

#include <strings.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/own.h"
#include "base/str.h"
#include "clients/model-cassette.h"
#include "clients/model-impl.h"
#include "wire/ndjson.h"
#include "wire/sse.h"

#define FIRST_BYTE_DEFAULT_MS 600000
#define STALL_DEFAULT_MS 120000
#define ERROR_BODY_MAX ((size_t)64 << 10)
/* After the format's own end some servers leave the connection open: not waited for. Within this
 * time the connection stays usable for the next call. */
#define GRACE_MS 1000

struct model_call {
    struct loop *loop; /* borrowed */
    struct http *http; /* borrowed */
    const struct model_provider *provider;
    struct model_events ev;
    char *model, *url, *api_key; /* owned */
    struct http_req *req;        /* borrowed from http; NULL when replayed or over */
    struct loop_timer *timer;    /* owned: next recorded chunk, early failure, or grace */
    struct model_parse parse;
    struct sse sse;
    struct ndjson lines;
    struct buf body; /* error answers, and answers that are not streamed */
    json_t *tape;    /* owned: the recorded exchange */
    size_t tape_at;
    struct model_cassette *rec; /* owned, or NULL */
    size_t raw;
    uint32_t salt;
    int status;
    int64_t retry_after_ms;
    bool is_whole;  /* the answer is one JSON value although a stream was asked for */
    bool in_feed;   /* the parser is on the stack */
    bool cancelled; /* model_cancel was called from on_text */
};

static const struct model_provider *const providers[] = {&model_anthropic, &model_openai,
                                                         &model_ollama};

/* For the words of failures only. */
static const struct model_provider no_recording = {.name = "replay"},
                                   no_provider = {.name = "model"};

const struct model_provider *model_provider_find(const char *name)
{
    for (size_t i = 0; i < sizeof providers / sizeof *providers; i++) {
        if (str_eq(name, providers[i]->name))
            return providers[i];
    }
    return NULL;
}

const char *model_default_name(const char *provider)
{
    const struct model_provider *p = model_provider_find(provider);

    return p ? p->model : NULL;
}

const char *model_default_url(const char *provider)
{
    const struct model_provider *p = model_provider_find(provider);

    return p ? p->url : NULL;
}

void model_turn_done(struct model_turn *t)
{
    for (size_t i = 0; i < t->call_count; i++) {
        free(t->calls[i].call_id);
        free(t->calls[i].name);
        free(t->calls[i].args_json);
    }
    free(t->calls);
    free(t->text);
    free(t->provider_state);
    *t = (struct model_turn){0};
}

/* ---- the end of a call ----------------------------------------------------------------------- */

static void call_free(struct model_call *c)
{
    http_cancel(c->req);
    loop_timer_free(c->timer);
    model_parse_done(&c->parse);
    sse_done(&c->sse);
    ndjson_done(&c->lines);
    buf_done(&c->body);
    json_decref(c->tape);
    model_cassette_free(c->rec);
    free(c->model);
    free(c->url);
    free(c->api_key);
    free(c);
}

void model_cancel(struct model_call *c)
{
    if (!c)
        return;
    c->cancelled = true;
    if (!c->in_feed)
        call_free(c);
}

static void tell_record(struct model_call *c)
{
    OWN_FREE char *line = NULL;

    if (!c->rec)
        return;
    line = model_cassette_line(c->rec);
    c->ev.on_record(line, c->ev.arg);
}

static void call_fail(struct model_call *c, enum model_fault fault, int status, const char *why)
{
    struct model_failure f = {
        .fault = fault, .status = status, .retry_after_ms = c->retry_after_ms};
    struct model_fault_about about = {.provider = c->provider,
                                      .model = c->model,
                                      .url = c->url ? c->url : "",
                                      .api_key = c->api_key};
    struct model_events ev = c->ev;

    model_fault_fill(&f, &about, why);
    tell_record(c);
    call_free(c);
    ev.on_fail(&f, ev.arg);
}

static void call_succeed(struct model_call *c)
{
    struct model_turn turn;
    struct model_events ev = c->ev;

    model_parse_model(&c->parse, c->model);
    model_parse_take(&c->parse, c->salt, &turn);
    tell_record(c);
    call_free(c);
    ev.on_done(&turn, ev.arg);
    model_turn_done(&turn);
}

static enum model_fault fault_of(enum http_failure f)
{
    switch (f) {
    case HTTP_FAIL_CONNECT:
    case HTTP_FAIL_TLS:
        return MODEL_FAULT_CONNECT;
    case HTTP_FAIL_FIRST_BYTE:
        return MODEL_FAULT_FIRST_BYTE;
    case HTTP_FAIL_STALLED:
        return MODEL_FAULT_STALLED;
    case HTTP_FAIL_LIMIT:
        return MODEL_FAULT_TOO_LARGE;
    case HTTP_FAIL_OTHER:
        return MODEL_FAULT_REQUEST;
    case HTTP_FAIL_NONE:
    case HTTP_FAIL_BROKEN:
        break;
    }
    return MODEL_FAULT_BROKEN;
}

static bool is_good(const struct model_call *c)
{
    return c->status >= 200 && c->status < 300;
}

static void end_of_parse(struct model_call *c)
{
    struct model_parse *p = &c->parse;

    if (p->failed)
        call_fail(c, p->fault, p->fault_status ? p->fault_status : c->status, p->why);
    else if (p->complete)
        call_succeed(c);
    else if (!c->raw)
        call_fail(c, MODEL_FAULT_BROKEN, c->status, "the answer is empty");
    else
        call_fail(c, MODEL_FAULT_BROKEN, c->status, "the answer stops before its end");
}

static void end_of_error(struct model_call *c)
{
    char why[512];
    enum model_fault f =
        model_fault_read(c->status, buf_text(&c->body), c->body.len, why, sizeof why);

    call_fail(c, f, c->status, why);
}

/* The exchange is over, or is not worth waiting for any longer. */
static void call_end(struct model_call *c, enum http_failure failure, const char *why)
{
    if (failure != HTTP_FAIL_NONE && !c->parse.complete && !c->parse.failed &&
        (!c->status || is_good(c))) {
        if (c->rec)
            model_cassette_failure(c->rec, model_fault_name(fault_of(failure)));
        call_fail(c, fault_of(failure), c->status, why);
        return;
    }
    if (!is_good(c)) {
        end_of_error(c);
        return;
    }
    c->in_feed = true;
    if (c->is_whole) {
        json_t *v = model_parse_json(buf_text(&c->body), c->body.len);

        if (json_is_object(v))
            c->provider->whole(&c->parse, v);
        json_decref(v);
    } else if (c->provider->is_ndjson) {
        ndjson_finish(&c->lines);
    } else {
        sse_finish(&c->sse);
    }
    c->in_feed = false;
    if (c->cancelled)
        call_free(c);
    else
        end_of_parse(c);
}

/* ---- the answer as it comes ------------------------------------------------------------------ */

static bool on_value(struct model_call *c, const char *data, size_t len)
{
    json_t *v = model_parse_json(data, len);

    if (json_is_object(v))
        c->provider->event(&c->parse, v);
    else
        model_parse_fail(&c->parse, MODEL_FAULT_BROKEN, 0,
                         "the stream holds something that is no JSON object: %.120s", data);
    json_decref(v);
    return !c->parse.failed && !c->cancelled;
}

static bool on_line(const char *line, size_t len, void *arg)
{
    return on_value(arg, line, len);
}

static bool on_event(const char *name, const char *data, size_t len, void *arg)
{
    struct model_call *c = arg;

    (void)name; /* every format says in the data too what it is */
    if (str_eq(data, "[DONE]")) {
        c->parse.complete = true;
        return true;
    }
    return len ? on_value(c, data, len) : true;
}

static void call_head(struct model_call *c, int status, const char *content_type,
                      const char *retry_after, const char *retry_after_ms)
{
    c->status = status;
    c->retry_after_ms = model_fault_retry_after(retry_after, retry_after_ms, clock_wall_ms());
    c->is_whole = !c->provider->is_ndjson && content_type &&
                  !strncasecmp(content_type, "application/json", 16);
    buf_init(&c->body, is_good(c) ? MODEL_EVENT_MAX : ERROR_BODY_MAX);
}

static enum err_code feed(struct model_call *c, const void *data, size_t len)
{
    if (!is_good(c)) { /* the beginning of a long error says enough */
        size_t room = ERROR_BODY_MAX - c->body.len;

        buf_put(&c->body, data, len < room ? len : room);
        return ERR_OK;
    }
    if (c->is_whole)
        return buf_add(&c->body, data, len, NULL);
    if (c->provider->is_ndjson)
        return ndjson_feed(&c->lines, data, len, NULL);
    return sse_feed(&c->sse, data, len, NULL);
}

/* May end the call: c is not to be touched after it. */
static void call_data(struct model_call *c, const void *data, size_t len)
{
    enum err_code rc;

    c->raw += len;
    if (c->rec)
        model_cassette_chunk(c->rec, data, len);
    c->in_feed = true;
    rc = c->raw > MODEL_RAW_MAX ? ERR_LIMIT : feed(c, data, len);
    c->in_feed = false;
    if (c->cancelled) {
        call_free(c);
        return;
    }
    if (rc != ERR_OK)
        model_parse_fail(&c->parse, MODEL_FAULT_TOO_LARGE, 0,
                         "the answer holds a piece that is too large");
    if (c->parse.failed)
        end_of_parse(c);
    else if (c->parse.complete && !c->tape)
        loop_timer_in(c->timer, GRACE_MS);
}

/* ---- a real exchange ------------------------------------------------------------------------- */

static void on_headers(struct http_req *r, void *arg)
{
    struct model_call *c = arg;

    call_head(c, http_req_status(r), http_req_header(r, "content-type"),
              http_req_header(r, "retry-after"), http_req_header(r, "retry-after-ms"));
    if (!c->rec)
        return;
    model_cassette_head(c->rec, c->status);
    for (size_t i = 0; model_cassette_headers[i]; i++)
        model_cassette_keep(c->rec, model_cassette_headers[i],
                            http_req_header(r, model_cassette_headers[i]));
}

static void on_data(struct http_req *r, const void *data, size_t len, void *arg)
{
    (void)r;
    call_data(arg, data, len);
}

static void on_done(struct http_req *r, enum http_failure failure, const struct err *err, void *arg)
{
    struct model_call *c = arg;

    (void)r;
    c->req = NULL; /* gone after this callback */
    call_end(c, failure, err->msg);
}

static void send_request(struct model_call *c, const struct model_request *req, const char *body,
                         size_t len)
{
    OWN_BUF struct buf key;
    const char *headers[6];
    size_t n = 0;

    buf_init(&key, 0);
    headers[n++] = "Content-Type: application/json";
    headers[n++] =
        c->provider->is_ndjson ? "Accept: application/x-ndjson" : "Accept: text/event-stream";
    headers[n++] = "User-Agent: stigmer/" STIGMER_VERSION;
    if (c->provider->header)
        headers[n++] = c->provider->header;
    if (c->api_key[0]) {
        c->provider->auth(c->api_key, &key);
        headers[n++] = buf_text(&key);
    }
    headers[n] = NULL;
    c->req =
        http_start(c->http, &(struct http_spec){
                                .method = "POST",
                                .url = c->url,
                                .headers = headers,
                                .body = body,
                                .body_len = len,
                                .first_byte_ms = req->first_byte_ms > 0 ? req->first_byte_ms
                                                                        : FIRST_BYTE_DEFAULT_MS,
                                .stall_ms = req->stall_ms > 0 ? req->stall_ms : STALL_DEFAULT_MS,
                                .on_headers = on_headers,
                                .on_data = on_data,
                                .on_done = on_done,
                                .arg = c,
                            });
}

/* ---- a recorded one -------------------------------------------------------------------------- */

static enum http_failure failure_of(const char *name)
{
    static const enum http_failure all[] = {HTTP_FAIL_CONNECT, HTTP_FAIL_FIRST_BYTE,
                                            HTTP_FAIL_STALLED, HTTP_FAIL_BROKEN};

    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        if (str_eq(name, model_fault_name(fault_of(all[i]))))
            return all[i];
    }
    return HTTP_FAIL_NONE;
}

/* One chunk a turn of the loop, so that a replayed stream streams. */
static void replay_step(struct model_call *c)
{
    const json_t *chunks = json_object_get(c->tape, "chunks");
    OWN_FREE char *bytes = NULL;
    size_t len = 0;

    if (c->tape_at < json_array_size(chunks)) {
        bytes = model_cassette_bytes(json_array_get(chunks, c->tape_at++), &len);
        loop_timer_in(c->timer, 0);
        if (bytes)
            call_data(c, bytes, len);
        return;
    }
    call_end(c, failure_of(model_parse_field(c->tape, "failure")), "recorded failure");
}

static void on_timer(void *arg)
{
    struct model_call *c = arg;

    if (c->tape)
        replay_step(c);
    else if (c->parse.failed)
        call_fail(c, c->parse.fault, 0, c->parse.why);
    else
        call_end(c, HTTP_FAIL_NONE, ""); /* the grace time is over */
}

static void replay_start(struct model_call *c, const char *body, size_t len)
{
    const json_t *headers = json_object_get(c->tape, "headers");
    const json_t *digest = json_object_get(c->tape, "request");
    unsigned long long was = strtoull(model_parse_field(digest, "fnv1a64"), NULL, 16);
    const char *retry_ms = model_parse_field(headers, "retry-after-ms");
    const char *retry = model_parse_field(headers, "retry-after");
    int status = (int)model_parse_number(c->tape, "status", 0);

    if (was != model_cassette_hash(body, len))
        log_debug("request differs from the recorded one", "provider", c->provider->name);
    if (status)
        call_head(c, status, model_parse_field(headers, "content-type"), retry[0] ? retry : NULL,
                  retry_ms[0] ? retry_ms : NULL);
    if (c->rec) {
        model_cassette_head(c->rec, status);
        for (size_t i = 0; model_cassette_headers[i]; i++)
            model_cassette_keep(
                c->rec, model_cassette_headers[i],
                json_string_value(json_object_get(headers, model_cassette_headers[i])));
    }
    loop_timer_in(c->timer, 0);
}

/* ---- starting -------------------------------------------------------------------------------- */

/* What cannot even begin: told from the loop, like every other failure. */
static struct model_call *start_failed(struct model_call *c, enum model_fault fault,
                                       const char *why)
{
    model_parse_fail(&c->parse, fault, 0, "%s", why);
    json_decref(c->tape);
    c->tape = NULL;
    loop_timer_in(c->timer, 0);
    return c;
}

static struct model_call *call_new(struct loop *loop, struct http *http,
                                   const struct model_request *req, const struct model_events *ev)
{
    struct model_call *c = mem_new(sizeof *c);

    c->loop = loop;
    c->http = http;
    c->ev = *ev;
    c->retry_after_ms = -1;
    c->api_key = mem_str(req->api_key);
    c->timer = loop_timer_new(loop, on_timer, c);
    model_parse_init(&c->parse);
    c->parse.on_text = ev->on_text;
    c->parse.arg = ev->arg;
    sse_init(&c->sse, MODEL_EVENT_MAX, on_event, c);
    ndjson_init(&c->lines, MODEL_EVENT_MAX, on_line, c);
    return c;
}

static char *url_of(const struct model_provider *p, const char *base)
{
    OWN_BUF struct buf b;

    buf_init(&b, 0);
    if (str_is_empty(base))
        base = p->url;
    if (!strstr(base, "://")) /* "localhost:11434" is what people write */
        buf_puts(&b, "http://");
    buf_puts(&b, base);
    return p->endpoint(buf_text(&b));
}

struct model_call *model_start(struct loop *loop, struct http *http,
                               const struct model_request *req, const struct model_events *ev)
{
    struct model_call *c = call_new(loop, http, req, ev);
    struct model_request full = *req;
    OWN_FREE char *body = NULL;
    enum err_code rc = ERR_OK;
    struct err err;
    json_t *o;

    if (req->cassette)
        rc = model_cassette_find(req->cassette, req->cassette_len, req->exchange, &c->tape, &err);
    c->provider =
        model_provider_find(c->tape ? model_parse_field(c->tape, "provider") : req->provider);
    c->model = mem_str(req->model);
    if (!c->provider) {
        c->provider = req->cassette ? &no_recording : &no_provider;
        if (rc == ERR_OK)
            return start_failed(c, MODEL_FAULT_REQUEST,
                                "there is no such provider; use anthropic, openai or ollama");
    }
    if (rc != ERR_OK)
        return start_failed(c, MODEL_FAULT_CASSETTE, err.msg);
    if (!c->model[0]) {
        const char *recorded = model_parse_field(json_object_get(c->tape, "request"), "model");

        free(c->model);
        c->model = mem_str(recorded[0] ? recorded : c->provider->model);
    }
    full.model = c->model;
    c->url = url_of(c->provider, c->tape ? NULL : req->base_url);
    o = c->provider->body(&full);
    body = mem_check(json_dumps(o, JSON_COMPACT));
    json_decref(o);
    c->salt = (uint32_t)model_cassette_hash(body, strlen(body));
    if (ev->on_record)
        c->rec =
            model_cassette_new(c->provider->name, c->model, body, strlen(body), req->message_count);
    if (c->tape)
        replay_start(c, body, strlen(body));
    else
        send_request(c, req, body, strlen(body));
    return c;
}
