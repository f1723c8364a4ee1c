#include "clients/docker.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/own.h"
#include "base/str.h"
#include "wire/dockerlog.h"
#include "wire/ndjson.h"

#define API_OLDEST 41 /* Docker 20.10, 2020; podman 3 */
#define API_KNOWN 51  /* nothing we use has changed up to here; newer engines speak it too */
#define ANSWER_MAX ((size_t)4 << 20)
#define EVENT_MAX ((size_t)256 << 10)
#define PING_MS 3000
#define PING_ANSWER_MS 10000 /* Podman that has to wake up first, on a busy machine */
#define ANSWER_MS 60000      /* start and remove work on a busy machine's disks */
#define LOAD_MS 180000
#define URL_SIZE 640
#define NAME_SIZE 256

struct docker_call {
    struct docker *d; /* borrowed */
    struct docker_call *next, *prev;
    struct http_req *req;
    docker_fn *fn;
    docker_output_fn *output;
    docker_event_fn *event;
    docker_progress_fn *progress;
    void *arg;
    struct dockerlog frames;
    struct ndjson lines;
    struct err err;           /* of the frames, or of a call that could not be made */
    const char *load_failure; /* of a load or build: how an error among its messages is told */
    char *removes;            /* owned; of a removal: the container */
    bool is_ping;
};

struct docker {
    struct http *http; /* borrowed */
    struct docker_place place;
    unsigned api; /* minor version, agreed on by docker_ping */
    bool is_podman;
    struct docker_call *first;
};

/* ---- answers ------------------------------------------------------------------------------- */

static void drop(struct docker_call *c)
{
    if (c->prev)
        c->prev->next = c->next;
    else
        c->d->first = c->next;
    if (c->next)
        c->next->prev = c->prev;
    ndjson_done(&c->lines);
    free(c->removes);
    free(c);
}

static void finish(struct docker_call *c, const struct err *err, const json_t *answer)
{
    docker_fn *fn = c->fn;
    void *arg = c->arg;

    drop(c);
    fn(err, answer, arg);
}

static enum err_code code_of(int status)
{
    if (status == 404)
        return ERR_NOT_FOUND;
    if (status == 409)
        return ERR_CONFLICT;
    return status < 500 ? ERR_INVALID : ERR_INTERNAL;
}

/* "message" of an error answer; else the text itself, when it is text. */
static enum err_code refused(int status, const char *body, struct err *err)
{
    json_t *o = json_loads(body, 0, NULL);
    const char *message = json_string_value(json_object_get(o, "message"));
    enum err_code code;

    if (message)
        code = err_set(err, code_of(status), "the container engine says: %.600s", message);
    else
        code = err_set(err, code_of(status), "the container engine answers with status %d", status);
    json_decref(o);
    return code;
}

/* A load or build ends with status 200 even when it failed: the error is one of its progress
 * messages. */
static enum err_code read_load(const char *body, size_t len, const char *failure, struct err *err)
{
    enum err_code code = ERR_OK;

    while (len && !code) {
        json_error_t at;
        json_t *o = json_loadb(body, len, JSON_DISABLE_EOF_CHECK, &at);
        const char *why = json_string_value(json_object_get(o, "error"));

        if (why)
            code = err_set(err, ERR_CORRUPT, "the container engine %s: %.600s", failure, why);
        json_decref(o);
        if (!o || at.position <= 0 || (size_t)at.position > len)
            break;
        body += at.position;
        len -= (size_t)at.position;
    }
    return code;
}

static enum err_code agree(struct docker *d, const char *version, struct err *err)
{
    int64_t minor;

    if (!version || !str_starts(version, "1.") || str_to_int(version + 2, 0, 10000, &minor, NULL))
        return err_set(err, ERR_SANDBOX, "what answers at '%s' is no container engine",
                       d->place.socket);
    if (minor < API_OLDEST)
        return err_hint(err,
                        err_set(err, ERR_SANDBOX,
                                "the container engine speaks API 1.%d; 1.%d is needed", (int)minor,
                                API_OLDEST),
                        "Docker 20.10 or newer");
    d->api = minor < API_KNOWN ? (unsigned)minor : API_KNOWN;
    return ERR_OK;
}

static enum err_code not_there(const struct docker *d, const struct err *why, struct err *err)
{
    bool there = access(d->place.socket, F_OK) == 0;
    bool is_podman = str_eq(d->place.runtime, "podman");

    if (there && access(d->place.socket, W_OK) < 0)
        return err_hint(err,
                        err_set(err, ERR_SANDBOX,
                                "no permission to use the container engine at '%s'",
                                d->place.socket),
                        "%s, or: stigmer server start --runner process",
                        is_podman ? "systemctl --user enable --now podman.socket"
                                  : "as root: usermod -aG docker YOU, then log in again");
    if (!there)
        err_set(err, ERR_SANDBOX, "no container engine: '%s' does not exist", d->place.socket);
    else
        err_set(err, ERR_SANDBOX, "no container engine answers at '%s': %.300s", d->place.socket,
                why->msg);
    return err_hint(err, ERR_SANDBOX, "%sstart %s, or: stigmer server start --runner process",
                    there ? "" : "install or ",
                    is_podman ? "Podman's API (podman system service)"
                              : "Docker (systemctl start docker)");
}

static enum err_code judge(struct docker_call *c, enum http_failure failure, const struct err *why,
                           struct err *err)
{
    int status = http_req_status(c->req);
    size_t len;
    const char *body = http_req_body(c->req, &len);

    if (c->err.code) {
        *err = c->err;
        return err->code;
    }
    if (failure == HTTP_FAIL_CONNECT || (c->is_ping && failure))
        return not_there(c->d, why, err);
    if (failure)
        return err_set(err, why->code, "the container engine: %.800s", why->msg);
    if (status == 304 || (status == 404 && c->removes))
        return ERR_OK;
    if (status < 200 || status > 299)
        return refused(status, body ? body : "", err);
    if (c->is_ping)
        return agree(c->d, http_req_header(c->req, "Api-Version"), err);
    return c->load_failure ? read_load(body ? body : "", body ? len : 0, c->load_failure, err)
                           : ERR_OK;
}

/* Podman speaks Docker's API; the list of its parts tells. */
static bool names_podman(const json_t *version)
{
    const json_t *parts = json_object_get(version, "Components"), *part;
    size_t i;

    json_array_foreach(parts, i, part)
    {
        if (str_eq(json_string_value(json_object_get(part, "Name")), "Podman Engine"))
            return true;
    }
    return false;
}

static void on_done(struct http_req *r, enum http_failure failure, const struct err *why,
                    void *arg);

/* Somebody else is at it: the container is as good as gone, but its name is not free yet. */
static bool is_being_removed(const struct docker_call *c)
{
    size_t len;
    const char *body = http_req_body(c->req, &len);

    return c->removes && http_req_status(c->req) == 409 && body &&
           strstr(body, "already in progress");
}

static void wait_removed(struct docker_call *c)
{
    char url[URL_SIZE];
    OWN_FREE char *name = TAKE(c->removes); /* once; a 404 now says that it is gone */
    static char gone[] = "";

    (void)str_format(url, sizeof url, "http://docker/v1.%u/containers/%s/wait?condition=removed",
                     c->d->api, name);
    c->removes = mem_str(gone);
    c->req = http_start(c->d->http, &(struct http_spec){.method = "POST",
                                                        .url = url,
                                                        .unix_socket = c->d->place.socket,
                                                        .connect_ms = PING_MS,
                                                        .first_byte_ms = ANSWER_MS,
                                                        .body_max = ANSWER_MAX,
                                                        .on_done = on_done,
                                                        .arg = c});
}

static void on_done(struct http_req *r, enum http_failure failure, const struct err *why, void *arg)
{
    struct docker_call *c = arg;
    struct err err = {0};
    size_t len;
    const char *body;
    json_t *answer = NULL;

    c->req = r;
    if (is_being_removed(c)) {
        wait_removed(c);
        return;
    }
    if (judge(c, failure, why, &err)) {
        finish(c, &err, NULL);
        return;
    }
    body = c->output || c->event || c->load_failure ? NULL : http_req_body(r, &len);
    if (body && len)
        answer = json_loadb(body, len, 0, NULL);
    if (c->is_ping)
        c->d->is_podman = names_podman(answer);
    finish(c, NULL, answer);
    json_decref(answer);
}

static void on_frame(int stream, bool begins, const char *text, size_t len, void *arg)
{
    struct docker_call *c = arg;

    c->output(stream, begins, text, len, c->arg);
}

/* A line that is no JSON is passed over: what happened is asked for anyway when it matters. */
static bool on_line(const char *line, size_t len, void *arg)
{
    struct docker_call *c = arg;
    json_t *event = json_loadb(line, len, 0, NULL);

    if (event)
        c->event(event, c->arg);
    json_decref(event);
    return true;
}

static void on_data(struct http_req *r, const void *data, size_t len, void *arg)
{
    struct docker_call *c = arg;
    struct err err;

    if (http_req_status(r) != 200)
        return;
    if (c->event ? !ndjson_feed(&c->lines, data, len, &err)
                 : !dockerlog_feed(&c->frames, data, len, &err)) {
        if (c->output)
            c->output(0, false, "", 0, c->arg);
        return;
    }
    http_cancel(r);
    finish(c, &err, NULL);
}

static void on_progress(int64_t sent, int64_t total, void *arg)
{
    struct docker_call *c = arg;

    if (c->progress)
        c->progress(sent, total, c->arg);
}

/* ---- asking -------------------------------------------------------------------------------- */

/* What images and containers can be called; nothing that a URL would read otherwise. */
static bool is_name(const char *s)
{
    size_t n = strlen(s);

    return n && n < NAME_SIZE && !strstr(s, "..") && s[0] != '/' &&
           strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-/:@") == n;
}

struct ask {
    const char *method;
    const char *before, *name, *after; /* of the path below /v1.N; name is checked */
    char *take_body;                   /* JSON; owned (free) */
    int fd;                            /* > 0: the body, of len bytes */
    int64_t len;
    int64_t first_byte_ms; /* 0: the answer may take for ever */
    docker_fn *fn;
    docker_output_fn *output;
    docker_event_fn *event;
    docker_progress_fn *progress;
    void *arg;
    const char *load_failure;
    bool is_ping, removes;
};

/* A name that is none is told like every other error: later. Until then we ask for nothing. */
static void make_url(struct docker_call *c, struct ask *a, char url[URL_SIZE])
{
    if (a->name && !is_name(a->name))
        err_set(&c->err, ERR_INVALID, "'%.100s' is no name of an image or container", a->name);
    if (a->is_ping) /* before there is a version */
        (void)str_format(url, URL_SIZE, "http://docker%s", a->before);
    else if (!c->err.code &&
             !str_format(url, URL_SIZE, "http://docker/v1.%u%s%s%s", c->d->api, a->before,
                         a->name ? a->name : "", a->after ? a->after : ""))
        err_set(&c->err, ERR_INVALID, "a request to the container engine is too long");
    if (!c->err.code)
        return;
    a->method = "GET";
    (void)str_format(url, URL_SIZE, "http://docker/_ping");
}

static struct docker_call *ask(struct docker *d, struct ask a)
{
    static const char *const json_type[] = {"Content-Type: application/json", NULL};
    static const char *const tar_type[] = {"Content-Type: application/x-tar", NULL};
    struct docker_call *c = mem_new(sizeof *c);
    char url[URL_SIZE];
    struct http_spec spec;

    *c = (struct docker_call){.d = d,
                              .next = d->first,
                              .fn = a.fn,
                              .output = a.output,
                              .event = a.event,
                              .progress = a.progress,
                              .arg = a.arg,
                              .is_ping = a.is_ping,
                              .load_failure = a.load_failure,
                              .removes = a.removes ? mem_str(a.name) : NULL};
    if (d->first)
        d->first->prev = c;
    d->first = c;
    dockerlog_init(&c->frames, on_frame, c);
    ndjson_init(&c->lines, EVENT_MAX, on_line, c);
    make_url(c, &a, url);
    spec = (struct http_spec){.method = a.method,
                              .url = url,
                              .unix_socket = d->place.socket,
                              .headers = a.fd > 0 ? tar_type : json_type,
                              .body = a.take_body,
                              .body_len = a.take_body ? strlen(a.take_body) : 0,
                              .upload_fd = a.fd,
                              .upload_len = a.len,
                              .connect_ms = PING_MS,
                              .first_byte_ms = a.first_byte_ms,
                              .body_max = a.output || a.event ? 0 : ANSWER_MAX,
                              .on_data = a.output || a.event ? on_data : NULL,
                              .on_done = on_done,
                              .on_progress = on_progress,
                              .arg = c};
    c->req = http_start(d->http, &spec);
    free(a.take_body);
    return c;
}

struct docker *docker_new(struct http *http, const struct docker_place *place)
{
    struct docker *d = mem_new(sizeof *d);

    d->http = http;
    d->api = API_OLDEST;
    d->place = *place;
    return d;
}

bool docker_is_podman(const struct docker *d)
{
    return d->is_podman;
}

unsigned docker_api(const struct docker *d)
{
    return d->api;
}

void docker_free(struct docker *d)
{
    if (!d)
        return;
    while (d->first)
        docker_cancel(d->first);
    free(d);
}

void docker_cancel(struct docker_call *c)
{
    if (!c)
        return;
    http_cancel(c->req);
    drop(c);
}

struct docker_call *docker_ping(struct docker *d, docker_fn *fn, void *arg)
{
    return ask(d, (struct ask){.method = "GET",
                               .before = "/version",
                               .is_ping = true,
                               .first_byte_ms = PING_ANSWER_MS,
                               .fn = fn,
                               .arg = arg});
}

struct docker_call *docker_image(struct docker *d, const char *name, docker_fn *fn, void *arg)
{
    return ask(d, (struct ask){.method = "GET",
                               .before = "/images/",
                               .name = name,
                               .after = "/json",
                               .first_byte_ms = ANSWER_MS,
                               .fn = fn,
                               .arg = arg});
}

struct docker_call *docker_load(struct docker *d, int fd, int64_t len, docker_progress_fn *progress,
                                docker_fn *fn, void *arg)
{
    return ask(d, (struct ask){.method = "POST",
                               .before = "/images/load?quiet=1",
                               .load_failure = "refuses the image archive",
                               .fd = fd,
                               .len = len,
                               .first_byte_ms = LOAD_MS,
                               .fn = fn,
                               .progress = progress,
                               .arg = arg});
}

struct docker_call *docker_build(struct docker *d, const char *tag, int fd, int64_t len,
                                 docker_progress_fn *progress, docker_fn *fn, void *arg)
{
    return ask(d, (struct ask){.method = "POST",
                               .before = "/build?rm=1&forcerm=1&t=",
                               .name = tag,
                               .load_failure = "cannot build the image",
                               .fd = fd,
                               .len = len,
                               .first_byte_ms = LOAD_MS,
                               .fn = fn,
                               .progress = progress,
                               .arg = arg});
}

/* Filters are JSON in the query; any text may be in them: every byte is percent-encoded. */
static void put_filters(struct buf *path, const json_t *filters)
{
    static const char hex[] = "0123456789ABCDEF";
    OWN_FREE char *text = json_dumps(filters, JSON_COMPACT);

    for (const char *p = text ? text : "{}"; *p; p++) {
        buf_putc(path, '%');
        buf_putc(path, hex[(unsigned char)*p >> 4]);
        buf_putc(path, hex[*p & 15]);
    }
}

/* label is "name=value"; path ends where the filters begin. */
static struct docker_call *ask_labelled(struct docker *d, const char *path, const char *label,
                                        docker_fn *fn, void *arg)
{
    json_t *filters = json_pack("{s:[s]}", "label", label);
    OWN_BUF struct buf all = {0};

    buf_puts(&all, path);
    put_filters(&all, filters);
    json_decref(filters);
    return ask(d, (struct ask){.method = "GET",
                               .before = buf_text(&all),
                               .first_byte_ms = ANSWER_MS,
                               .fn = fn,
                               .arg = arg});
}

struct docker_call *docker_list(struct docker *d, const char *label, docker_fn *fn, void *arg)
{
    return ask_labelled(d, "/containers/json?all=1&filters=", label, fn, arg);
}

struct docker_call *docker_images(struct docker *d, const char *label, docker_fn *fn, void *arg)
{
    return ask_labelled(d, "/images/json?filters=", label, fn, arg);
}

struct docker_call *docker_events(struct docker *d, const char *container, docker_event_fn *event,
                                  docker_fn *fn, void *arg)
{
    json_t *filters = json_pack("{s:[s],s:[s]}", "type", "container", "container", container);
    OWN_BUF struct buf path = {0};

    buf_puts(&path, "/events?filters=");
    put_filters(&path, filters);
    json_decref(filters);
    return ask(
        d, (struct ask){
               .method = "GET", .before = buf_text(&path), .fn = fn, .event = event, .arg = arg});
}

static struct docker_call *ask_about(struct docker *d, const char *method, const char *container,
                                     const char *after, docker_fn *fn, void *arg)
{
    return ask(d, (struct ask){.method = method,
                               .before = "/containers/",
                               .name = container,
                               .after = after,
                               .first_byte_ms = ANSWER_MS,
                               .fn = fn,
                               .arg = arg});
}

struct docker_call *docker_inspect(struct docker *d, const char *container, docker_fn *fn,
                                   void *arg)
{
    return ask_about(d, "GET", container, "/json", fn, arg);
}

struct docker_call *docker_create(struct docker *d, const char *name, const json_t *body,
                                  docker_fn *fn, void *arg)
{
    return ask(d, (struct ask){.method = "POST",
                               .before = "/containers/create?name=",
                               .name = name,
                               .take_body = json_dumps(body, JSON_COMPACT),
                               .first_byte_ms = ANSWER_MS,
                               .fn = fn,
                               .arg = arg});
}

struct docker_call *docker_start(struct docker *d, const char *container, docker_fn *fn, void *arg)
{
    return ask_about(d, "POST", container, "/start", fn, arg);
}

struct docker_call *docker_kill(struct docker *d, const char *container, const char *signal,
                                docker_fn *fn, void *arg)
{
    char after[48];

    (void)str_format(after, sizeof after, "/kill?signal=%s", signal);
    return ask_about(d, "POST", container, after, fn, arg);
}

struct docker_call *docker_remove(struct docker *d, const char *container, docker_fn *fn, void *arg)
{
    return ask(d, (struct ask){.method = "DELETE",
                               .before = "/containers/",
                               .name = container,
                               .after = "?force=1&v=1",
                               .removes = true,
                               .first_byte_ms = ANSWER_MS,
                               .fn = fn,
                               .arg = arg});
}

struct docker_call *docker_wait(struct docker *d, const char *container, docker_fn *fn, void *arg)
{
    return ask(d, (struct ask){.method = "POST",
                               .before = "/containers/",
                               .name = container,
                               .after = "/wait?condition=not-running",
                               .fn = fn,
                               .arg = arg});
}

struct docker_call *docker_logs(struct docker *d, const char *container, int64_t since, bool follow,
                                docker_output_fn *output, docker_fn *fn, void *arg)
{
    char after[96];

    (void)str_format(after, sizeof after,
                     "/logs?follow=%d&stdout=1&stderr=1&timestamps=1&since=%" PRId64, follow,
                     since);
    return ask(d, (struct ask){.method = "GET",
                               .before = "/containers/",
                               .name = container,
                               .after = after,
                               .fn = fn,
                               .output = output,
                               .arg = arg});
}
