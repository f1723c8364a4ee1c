#include "clients/docker.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/own.h"
#include "base/str.h"
#include "wire/dockerlog.h"

#define API_OLDEST 41 /* Docker 20.10, 2020; podman 3 */
#define API_KNOWN 51  /* nothing we use has changed up to here; newer engines speak it too */
#define ANSWER_MAX ((size_t)4 << 20)
#define PING_MS 3000
#define ANSWER_MS 60000 /* start and remove work on a busy machine's disks */
#define LOAD_MS 180000
#define URL_SIZE 640
#define NAME_SIZE 256

struct docker_call {
    struct docker *d; /* borrowed */
    struct docker_call *next, *prev;
    struct http_req *req;
    docker_fn *fn;
    docker_output_fn *output;
    docker_progress_fn *progress;
    void *arg;
    struct dockerlog frames;
    struct err err; /* of the frames, or of a call that could not be made */
    bool is_ping, is_load, gone_is_fine;
};

struct docker {
    struct http *http; /* borrowed */
    char socket[DOCKER_SOCKET_MAX];
    unsigned api; /* minor version, agreed on by docker_ping */
    struct docker_call *first;
};

/* ---- where --------------------------------------------------------------------------------- */

enum err_code docker_find(char ret_socket[DOCKER_SOCKET_MAX], struct err *err)
{
    const char *host = getenv("DOCKER_HOST"), *runtime = getenv("XDG_RUNTIME_DIR");
    struct stat st;
    bool fits = true;

    if (!str_is_empty(host) && !str_starts(host, "unix://"))
        return err_hint(
            err, err_set(err, ERR_SANDBOX, "DOCKER_HOST is '%.200s', not a unix socket", host),
            "unset DOCKER_HOST or give unix:///PATH");
    if (!str_is_empty(host))
        fits = str_format(ret_socket, DOCKER_SOCKET_MAX, "%s", host + strlen("unix://"));
    else
        (void)str_format(ret_socket, DOCKER_SOCKET_MAX, "/var/run/docker.sock");
    if (str_is_empty(host) && stat(ret_socket, &st) < 0 && !str_is_empty(runtime)) {
        char own[DOCKER_SOCKET_MAX];

        if (str_format(own, sizeof own, "%s/docker.sock", runtime) && stat(own, &st) == 0)
            memcpy(ret_socket, own, sizeof own);
    }
    return fits ? ERR_OK : err_set(err, ERR_SANDBOX, "DOCKER_HOST is too long for a socket");
}

/* ---- answers ------------------------------------------------------------------------------- */

static void drop(struct docker_call *c)
{
    if (c->prev)
        c->prev->next = c->next;
    else
        c->d->first = c->next;
    if (c->next)
        c->next->prev = c->prev;
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

/* A load ends with status 200 even when it failed: the error is one of its progress messages. */
static enum err_code read_load(const char *body, size_t len, struct err *err)
{
    enum err_code code = ERR_OK;

    while (len && !code) {
        json_error_t at;
        json_t *o = json_loadb(body, len, JSON_DISABLE_EOF_CHECK, &at);
        const char *why = json_string_value(json_object_get(o, "error"));

        if (why)
            code = err_set(err, ERR_CORRUPT,
                           "the container engine refuses the image archive: %.600s", why);
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
        return err_set(err, ERR_SANDBOX, "what answers at '%s' is no container engine", d->socket);
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
    bool there = access(d->socket, F_OK) == 0;

    if (there && access(d->socket, W_OK) < 0)
        return err_hint(err,
                        err_set(err, ERR_SANDBOX,
                                "no permission to use the container engine at '%s'", d->socket),
                        "add this user to the group 'docker', or: stigmer server start --runner "
                        "process");
    if (!there)
        err_set(err, ERR_SANDBOX, "no container engine: '%s' does not exist", d->socket);
    else
        err_set(err, ERR_SANDBOX, "no container engine answers at '%s': %.300s", d->socket,
                why->msg);
    return err_hint(err, ERR_SANDBOX, "start Docker, or: stigmer server start --runner process");
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
    if (status == 304 || (status == 404 && c->gone_is_fine))
        return ERR_OK;
    if (status < 200 || status > 299)
        return refused(status, body ? body : "", err);
    if (c->is_ping)
        return agree(c->d, http_req_header(c->req, "Api-Version"), err);
    return c->is_load ? read_load(body ? body : "", body ? len : 0, err) : ERR_OK;
}

static void on_done(struct http_req *r, enum http_failure failure, const struct err *why, void *arg)
{
    struct docker_call *c = arg;
    struct err err = {0};
    size_t len;
    const char *body;
    json_t *answer = NULL;

    c->req = r;
    if (judge(c, failure, why, &err)) {
        finish(c, &err, NULL);
        return;
    }
    body = c->output || c->is_load ? NULL : http_req_body(r, &len);
    if (body && len)
        answer = json_loadb(body, len, 0, NULL);
    finish(c, NULL, answer);
    json_decref(answer);
}

static void on_frame(int stream, const char *text, size_t len, void *arg)
{
    struct docker_call *c = arg;

    (void)stream;
    c->output(text, len, c->arg);
}

static void on_data(struct http_req *r, const void *data, size_t len, void *arg)
{
    struct docker_call *c = arg;
    struct err err;

    if (http_req_status(r) != 200 || !dockerlog_feed(&c->frames, data, len, &err))
        return;
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
    docker_progress_fn *progress;
    void *arg;
    bool is_ping, is_load, gone_is_fine;
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
                              .progress = a.progress,
                              .arg = a.arg,
                              .is_ping = a.is_ping,
                              .is_load = a.is_load,
                              .gone_is_fine = a.gone_is_fine};
    if (d->first)
        d->first->prev = c;
    d->first = c;
    dockerlog_init(&c->frames, on_frame, c);
    make_url(c, &a, url);
    spec = (struct http_spec){.method = a.method,
                              .url = url,
                              .unix_socket = d->socket,
                              .headers = a.fd > 0 ? tar_type : json_type,
                              .body = a.take_body,
                              .body_len = a.take_body ? strlen(a.take_body) : 0,
                              .upload_fd = a.fd,
                              .upload_len = a.len,
                              .connect_ms = PING_MS,
                              .first_byte_ms = a.first_byte_ms,
                              .body_max = a.output ? 0 : ANSWER_MAX,
                              .on_data = a.output ? on_data : NULL,
                              .on_done = on_done,
                              .on_progress = on_progress,
                              .arg = c};
    c->req = http_start(d->http, &spec);
    free(a.take_body);
    return c;
}

struct docker *docker_new(struct http *http, const char *socket)
{
    struct docker *d = mem_new(sizeof *d);

    d->http = http;
    d->api = API_OLDEST;
    (void)str_format(d->socket, sizeof d->socket, "%s", socket);
    return d;
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
                               .first_byte_ms = PING_MS,
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
                               .is_load = true,
                               .fd = fd,
                               .len = len,
                               .first_byte_ms = LOAD_MS,
                               .fn = fn,
                               .progress = progress,
                               .arg = arg});
}

/* label is "name=value" with any text as value: percent-encoded JSON in the query. */
struct docker_call *docker_list(struct docker *d, const char *label, docker_fn *fn, void *arg)
{
    static const char hex[] = "0123456789ABCDEF";
    json_t *filters = json_pack("{s:[s]}", "label", label);
    char *text = json_dumps(filters, JSON_COMPACT);
    struct buf path = {0};
    struct docker_call *c;

    json_decref(filters);
    buf_puts(&path, "/containers/json?all=1&filters=");
    for (const char *p = text ? text : "{}"; *p; p++) {
        buf_putc(&path, '%');
        buf_putc(&path, hex[(unsigned char)*p >> 4]);
        buf_putc(&path, hex[*p & 15]);
    }
    free(text);
    c = ask(d, (struct ask){.method = "GET",
                            .before = buf_text(&path),
                            .first_byte_ms = ANSWER_MS,
                            .fn = fn,
                            .arg = arg});
    buf_done(&path);
    return c;
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
                               .gone_is_fine = true,
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

struct docker_call *docker_logs(struct docker *d, const char *container, int64_t since,
                                docker_output_fn *output, docker_fn *fn, void *arg)
{
    char after[96];

    (void)str_format(after, sizeof after, "/logs?follow=1&stdout=1&stderr=1&since=%" PRId64, since);
    return ask(d, (struct ask){.method = "GET",
                               .before = "/containers/",
                               .name = container,
                               .after = after,
                               .fn = fn,
                               .output = output,
                               .arg = arg});
}
