#include "prog/stigmer-server/http-ask.h"

#include <stdbool.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "platform/http.h"
#include "platform/loop.h"
#include "wire/ndjson.h"

#define CONNECT_MS 3000
#define LINE_MAX_BYTES ((size_t)1 << 20)

struct asking {
    const struct http_ask *a;
    struct loop *loop;
    struct ndjson lines;
    int status;
    json_t *answer;
    struct err err;
    bool enough;
};

static bool on_line(const char *line, size_t len, void *arg)
{
    struct asking *g = arg;
    json_t *value = json_loadb(line, len, JSON_DECODE_ANY, NULL);

    if (g->status < 200 || g->status > 299) { /* no stream: the one line that says why */
        json_decref(g->answer);
        g->answer = value;
        return true;
    }
    g->enough = value && !g->a->on_line(value, g->a->arg);
    json_decref(value);
    return !g->enough;
}

static void on_data(struct http_req *r, const void *data, size_t len, void *arg)
{
    struct asking *g = arg;

    g->status = http_req_status(r);
    if (ndjson_feed(&g->lines, data, len, &g->err) || g->enough) {
        http_cancel(r);
        loop_quit(g->loop);
    }
}

static void on_done(struct http_req *r, enum http_failure failure, const struct err *err, void *arg)
{
    struct asking *g = arg;
    size_t len = 0;
    const char *body;

    if (failure) {
        g->err = *err;
    } else {
        g->status = http_req_status(r);
        body = g->a->on_line ? NULL : http_req_body(r, &len);
        if (body && len)
            g->answer = json_loadb(body, len, JSON_DECODE_ANY, NULL);
        ndjson_finish(&g->lines); /* a last line without its end */
    }
    loop_quit(g->loop);
}

enum err_code http_ask(const struct http_ask *a, int *ret_status, json_t **ret, struct err *err)
{
    struct asking g = {.a = a, .loop = loop_new()};
    struct http *http = http_new(g.loop);
    const struct http_spec spec = {.method = a->method,
                                   .url = a->url,
                                   .headers = a->headers,
                                   .body = a->body,
                                   .body_len = a->body ? strlen(a->body) : 0,
                                   .connect_ms = CONNECT_MS,
                                   .first_byte_ms = a->timeout_ms,
                                   .stall_ms = a->timeout_ms,
                                   .body_max = a->on_line ? 0 : HTTP_ASK_MAX,
                                   .on_data = a->on_line ? on_data : NULL,
                                   .on_done = on_done,
                                   .arg = &g};

    ndjson_init(&g.lines, LINE_MAX_BYTES, on_line, &g);
    (void)http_start(http, &spec);
    loop_run(g.loop);
    http_free(http);
    loop_free(g.loop);
    ndjson_done(&g.lines);
    *ret_status = g.status;
    *ret = g.answer;
    if (g.err.code && err)
        *err = g.err;
    return g.err.code;
}
