/* HTTP client on libcurl's multi-socket interface.
 *
 * libcurl says which descriptors and which deadline it waits for; the loop waits; pump() hands the
 * result back. libcurl forbids calls into itself from its own callbacks, so everything that a
 * caller may do there (start, cancel, free) is noted and carried out when libcurl has returned. */
#include "platform/http.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdarg.h>
#include <strings.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/own.h"
#include "base/str.h"

#define HEADERS_MAX ((size_t)64 << 10)
#define CONNECT_DEFAULT_MS 10000
#define UPLOAD_CHUNK 65536L /* of files; small bodies do with libcurl's least */
#define UPLOAD_CHUNK_SMALL 16384L

enum req_state {
    REQ_NEW,    /* not yet known to libcurl */
    REQ_ACTIVE, /* in the multi handle */
    REQ_FAILED, /* never reached libcurl; on_done is due */
    REQ_DEAD    /* no callback follows; to be released */
};

struct sock {
    struct http *http;  /* borrowed */
    struct loop_io *io; /* owned */
    curl_socket_t fd;
};

struct http {
    struct loop *loop;        /* borrowed */
    CURLM *multi;             /* owned */
    struct loop_timer *timer; /* owned: libcurl's own deadline */
    struct loop_timer *kick;  /* owned: failures that must not be told from within http_start */
    struct http_req *first;   /* owned list of exchanges */
    const char *ca_file;      /* borrowed from the environment, or NULL */
    unsigned in_curl;         /* libcurl is on the stack */
    unsigned depth;           /* a sweep is on the stack */
    bool dead;                /* http_free was called from a callback */
};

struct http_req {
    struct http *http; /* borrowed */
    struct http_req *next, *prev;
    struct http_spec spec;      /* its pointers are ours (below) or NULL, but for arg */
    CURL *easy;                 /* owned */
    struct curl_slist *headers; /* owned */
    char *where;                /* owned: who is asked, for messages; no credentials */
    void *body;                 /* owned copy of the request's body */
    struct loop_timer *wait;    /* owned: first byte and stall */
    int64_t last_ms;            /* when something last moved */
    int64_t sent;               /* upload seen by progress */
    int64_t upload_at;          /* next byte to read from upload_fd */
    struct buf head;            /* answer headers, "name: value\0" one after the other */
    struct buf answer;          /* collected body */
    size_t received;
    int status;
    enum req_state state;
    bool head_done;
    bool first_seen;
    enum http_failure failure;
    struct err err;
};

static void sweep(struct http *h);

/* ---- failures ---------------------------------------------------------------------------- */

static enum err_code failure_code(enum http_failure f)
{
    switch (f) {
    case HTTP_FAIL_NONE:
        return ERR_OK;
    case HTTP_FAIL_CONNECT:
    case HTTP_FAIL_TLS:
    case HTTP_FAIL_BROKEN:
        return ERR_UNAVAILABLE;
    case HTTP_FAIL_FIRST_BYTE:
    case HTTP_FAIL_STALLED:
        return ERR_TIMEOUT;
    case HTTP_FAIL_LIMIT:
        return ERR_LIMIT;
    case HTTP_FAIL_OTHER:
        break;
    }
    return ERR_INTERNAL;
}

ERR_PRINTF(3, 4)
static void req_fail(struct http_req *r, enum http_failure failure, const char *fmt, ...)
{
    char text[400];
    va_list ap;

    if (r->failure != HTTP_FAIL_NONE)
        return;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    r->failure = failure;
    err_set(&r->err, failure_code(failure), "%s: %s", r->where, text);
}

static enum http_failure failure_of(CURLcode rc)
{
    /* Not -Wswitch-enum: libcurl's list is long and grows. */
    if (rc == CURLE_COULDNT_RESOLVE_HOST || rc == CURLE_COULDNT_CONNECT ||
        rc == CURLE_OPERATION_TIMEDOUT) /* only the connect deadline is libcurl's */
        return HTTP_FAIL_CONNECT;
    if (rc == CURLE_SSL_CONNECT_ERROR || rc == CURLE_PEER_FAILED_VERIFICATION ||
        rc == CURLE_SSL_CACERT_BADFILE || rc == CURLE_SSL_CIPHER || rc == CURLE_SSL_CERTPROBLEM ||
        rc == CURLE_SSL_ISSUER_ERROR || rc == CURLE_USE_SSL_FAILED)
        return HTTP_FAIL_TLS;
    if (rc == CURLE_GOT_NOTHING || rc == CURLE_RECV_ERROR || rc == CURLE_SEND_ERROR ||
        rc == CURLE_PARTIAL_FILE || rc == CURLE_HTTP2 || rc == CURLE_HTTP2_STREAM ||
        rc == CURLE_WEIRD_SERVER_REPLY || rc == CURLE_UNSUPPORTED_PROTOCOL ||
        rc == CURLE_SEND_FAIL_REWIND || rc == CURLE_BAD_CONTENT_ENCODING)
        return HTTP_FAIL_BROKEN;
    return HTTP_FAIL_OTHER;
}

static void req_fail_curl(struct http_req *r, CURLcode rc)
{
    enum http_failure f = failure_of(rc);
    long sys = 0;

    /* The scheme is checked before anything is sent; later it means an answer without a head. */
    if (rc == CURLE_UNSUPPORTED_PROTOCOL) {
        req_fail(r, f, "the answer is not HTTP/1.1");
        return;
    }
    curl_easy_getinfo(r->easy, CURLINFO_OS_ERRNO, &sys);
    if (sys && f == HTTP_FAIL_CONNECT)
        req_fail(r, f, "%s (%s)", curl_easy_strerror(rc), strerror((int)sys));
    else
        req_fail(r, f, "%s", curl_easy_strerror(rc));
}

/* ---- what libcurl calls ------------------------------------------------------------------ */

static void moved(struct http_req *r)
{
    r->last_ms = loop_now_ms(r->http->loop);
}

static void first_byte(struct http_req *r)
{
    r->first_seen = true;
    if (r->spec.stall_ms > 0)
        loop_timer_in(r->wait, r->spec.stall_ms);
    else
        loop_timer_at(r->wait, INT64_MAX);
}

static bool keep_header(struct http_req *r, const char *line, size_t len)
{
    while (len && (line[len - 1] == '\r' || line[len - 1] == '\n'))
        len--;
    if (r->head.len + len + 1 > HEADERS_MAX) {
        req_fail(r, HTTP_FAIL_LIMIT, "the answer's headers are larger than %zu KiB",
                 HEADERS_MAX >> 10);
        return false;
    }
    buf_put(&r->head, line, len);
    buf_putc(&r->head, '\0');
    return true;
}

static size_t on_header(char *data, size_t size, size_t count, void *arg)
{
    struct http_req *r = arg;
    size_t len = size * count;
    long status = 0;

    if (r->state != REQ_ACTIVE)
        return 0;
    moved(r);
    if (r->head_done)
        return len; /* trailers */
    if (len >= 5 && !strncmp(data, "HTTP/", 5)) {
        buf_clear(&r->head); /* a 1xx head came before */
        return len;
    }
    if (len > 2 || (len && data[0] != '\r' && data[0] != '\n'))
        return keep_header(r, data, len) ? len : 0;
    curl_easy_getinfo(r->easy, CURLINFO_RESPONSE_CODE, &status);
    if (status >= 100 && status < 200 && status != 101)
        return len;
    r->status = (int)status;
    r->head_done = true;
    first_byte(r);
    if (r->spec.on_headers)
        r->spec.on_headers(r, r->spec.arg);
    return r->state == REQ_ACTIVE ? len : 0;
}

static size_t on_body(char *data, size_t size, size_t count, void *arg)
{
    struct http_req *r = arg;
    size_t len = size * count;

    if (r->state != REQ_ACTIVE)
        return 0;
    moved(r);
    r->received += len;
    if (r->spec.body_max && r->received > r->spec.body_max) {
        req_fail(r, HTTP_FAIL_LIMIT, "the answer is larger than %zu bytes", r->spec.body_max);
        return 0;
    }
    if (r->spec.on_data) {
        r->spec.on_data(r, data, len, r->spec.arg);
        return r->state == REQ_ACTIVE ? len : 0;
    }
    if (buf_add(&r->answer, data, len, NULL) != ERR_OK) {
        req_fail(r, HTTP_FAIL_LIMIT, "the answer is larger than %zu bytes", r->answer.len);
        return 0;
    }
    return len;
}

static size_t on_upload(char *data, size_t size, size_t count, void *arg)
{
    struct http_req *r = arg;
    size_t want = size * count;
    int64_t left = r->spec.upload_len - r->upload_at;
    ssize_t n;

    if (r->state != REQ_ACTIVE)
        return CURL_READFUNC_ABORT;
    if ((int64_t)want > left)
        want = (size_t)left;
    if (!want)
        return 0;
    n = pread(r->spec.upload_fd, data, want, r->upload_at);
    if (n <= 0) {
        req_fail(r, HTTP_FAIL_OTHER, "cannot read what is to be sent: %s",
                 n ? strerror(errno) : "the file is shorter than it was");
        return CURL_READFUNC_ABORT;
    }
    r->upload_at += n;
    return (size_t)n;
}

/* A kept-alive connection that turns out dead makes libcurl send the body again. */
static int on_seek(void *arg, curl_off_t offset, int origin)
{
    struct http_req *r = arg;

    if (origin != SEEK_SET || offset < 0 || offset > r->spec.upload_len)
        return CURL_SEEKFUNC_FAIL;
    r->upload_at = offset;
    return CURL_SEEKFUNC_OK;
}

static int on_transfer(void *arg, curl_off_t dl_total, curl_off_t dl, curl_off_t ul_total,
                       curl_off_t ul)
{
    struct http_req *r = arg;

    (void)dl_total;
    (void)dl;
    if (r->state != REQ_ACTIVE)
        return 1;
    if (ul != r->sent) {
        r->sent = ul;
        moved(r);
        if (r->spec.on_progress)
            r->spec.on_progress(ul, ul_total, r->spec.arg);
    }
    return r->state == REQ_ACTIVE ? 0 : 1;
}

/* ---- libcurl and the loop ---------------------------------------------------------------- */

static void act(struct http *h, curl_socket_t fd, int events)
{
    int running;

    h->in_curl++;
    (void)curl_multi_socket_action(h->multi, fd, events, &running);
    h->in_curl--;
    sweep(h);
}

static void on_io(int events, void *arg)
{
    struct sock *s = arg;
    int bits = 0;

    if (events & LOOP_READ)
        bits |= CURL_CSELECT_IN;
    if (events & LOOP_WRITE)
        bits |= CURL_CSELECT_OUT;
    act(s->http, s->fd, bits);
}

static void on_timer(void *arg)
{
    act(arg, CURL_SOCKET_TIMEOUT, 0);
}

static void on_kick(void *arg)
{
    sweep(arg);
}

static int want_timer(CURLM *multi, long ms, void *arg)
{
    struct http *h = arg;

    (void)multi;
    if (ms < 0)
        loop_timer_at(h->timer, INT64_MAX);
    else
        loop_timer_in(h->timer, ms);
    return 0;
}

static int want_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *sock)
{
    struct http *h = arg;
    struct sock *s = sock;

    (void)easy;
    if (what == CURL_POLL_REMOVE) {
        if (s) {
            loop_io_free(s->io);
            free(s);
            curl_multi_assign(h->multi, fd, NULL);
        }
        return 0;
    }
    if (!s) {
        s = mem_new(sizeof *s);
        s->http = h;
        s->fd = fd;
        s->io = loop_io_new(h->loop, fd, on_io, s);
        curl_multi_assign(h->multi, fd, s);
    }
    loop_io_want(s->io,
                 (what & CURL_POLL_IN ? LOOP_READ : 0) | (what & CURL_POLL_OUT ? LOOP_WRITE : 0));
    return 0;
}

struct http *http_new(struct loop *loop)
{
    struct http *h = mem_new(sizeof *h);

    curl_global_init(CURL_GLOBAL_DEFAULT);
    h->loop = loop;
    h->multi = mem_check(curl_multi_init());
    h->timer = loop_timer_new(loop, on_timer, h);
    h->kick = loop_timer_new(loop, on_kick, h);
    h->ca_file = getenv("SSL_CERT_FILE");
    curl_multi_setopt(h->multi, CURLMOPT_SOCKETFUNCTION, want_socket);
    curl_multi_setopt(h->multi, CURLMOPT_SOCKETDATA, h);
    curl_multi_setopt(h->multi, CURLMOPT_TIMERFUNCTION, want_timer);
    curl_multi_setopt(h->multi, CURLMOPT_TIMERDATA, h);
    return h;
}

/* ---- an exchange's life ------------------------------------------------------------------ */

static void req_release(struct http_req *r)
{
    struct http *h = r->http;

    if (r->prev)
        r->prev->next = r->next;
    else
        h->first = r->next;
    if (r->next)
        r->next->prev = r->prev;
    loop_timer_free(r->wait);
    if (r->easy) {
        h->in_curl++;
        curl_multi_remove_handle(h->multi, r->easy);
        curl_easy_cleanup(r->easy);
        h->in_curl--;
    }
    curl_slist_free_all(r->headers);
    free(r->where);
    free(r->body);
    buf_done(&r->head);
    buf_done(&r->answer);
    free(r);
}

/* Tells the result, then releases. */
static void req_finish(struct http_req *r)
{
    void (*on_done)(struct http_req *, enum http_failure, const struct err *, void *) =
        r->spec.on_done;

    r->state = REQ_DEAD;
    loop_timer_at(r->wait, INT64_MAX);
    if (on_done)
        on_done(r, r->failure, &r->err, r->spec.arg);
    req_release(r);
}

static void http_destroy(struct http *h)
{
    while (h->first) {
        h->first->state = REQ_DEAD;
        req_release(h->first);
    }
    h->in_curl++;
    curl_multi_cleanup(h->multi); /* closes sockets: calls want_socket */
    loop_timer_free(h->timer);
    loop_timer_free(h->kick);
    curl_global_cleanup();
    free(h);
}

static void req_submit(struct http_req *r)
{
    CURLMcode rc;

    r->state = REQ_ACTIVE;
    moved(r);
    r->http->in_curl++;
    rc = curl_multi_add_handle(r->http->multi, r->easy);
    r->http->in_curl--;
    if (rc == CURLM_OK)
        return;
    r->state = REQ_FAILED;
    req_fail(r, HTTP_FAIL_OTHER, "%s", curl_multi_strerror(rc));
    loop_timer_in(r->http->kick, 0);
}

static struct http_req *find_state(struct http *h, enum req_state state)
{
    for (struct http_req *r = h->first; r; r = r->next) {
        if (r->state == state)
            return r;
    }
    return NULL;
}

static void sweep_finished(struct http *h)
{
    CURLMsg *m;
    int left;

    while (!h->dead && (m = curl_multi_info_read(h->multi, &left))) {
        struct http_req *r;
        char *private = NULL;
        CURLcode rc = m->data.result;

        if (m->msg != CURLMSG_DONE)
            continue;
        curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, &private);
        r = (struct http_req *)(void *)private;
        if (r->state == REQ_DEAD) {
            req_release(r);
            continue;
        }
        if (rc != CURLE_OK)
            req_fail_curl(r, rc);
        req_finish(r);
    }
}

/* What had to wait until libcurl was off the stack. */
static void sweep(struct http *h)
{
    struct http_req *r;

    if (h->in_curl || h->depth)
        return;
    h->depth++;
    for (;;) {
        sweep_finished(h);
        if (h->dead)
            break;
        if ((r = find_state(h, REQ_DEAD)))
            req_release(r);
        else if ((r = find_state(h, REQ_FAILED)))
            req_finish(r);
        else if ((r = find_state(h, REQ_NEW)))
            req_submit(r);
        else
            break;
    }
    h->depth--;
    if (h->dead)
        http_destroy(h);
}

/* The wait is looked at lazily: each byte only notes the time. */
static void on_wait(void *arg)
{
    struct http_req *r = arg;
    int64_t limit = r->first_seen ? r->spec.stall_ms : r->spec.first_byte_ms;
    int64_t now = loop_now_ms(r->http->loop);
    curl_off_t connected = 0;

    if (r->state != REQ_ACTIVE)
        return;
    curl_easy_getinfo(r->easy, CURLINFO_PRETRANSFER_TIME_T, &connected);
    if (!connected && !r->first_seen)
        r->last_ms = now; /* still connecting: libcurl's own deadline holds */
    if (limit <= 0)
        return;
    if (now < r->last_ms + limit) {
        loop_timer_at(r->wait, r->last_ms + limit);
        return;
    }
    if (r->first_seen)
        req_fail(r, HTTP_FAIL_STALLED, "the answer began and then stopped for %lld ms",
                 (long long)limit);
    else
        req_fail(r, HTTP_FAIL_FIRST_BYTE, "no answer within %lld ms", (long long)limit);
    r->state = REQ_FAILED;
    sweep(r->http);
}

/* "http://host:port" or "unix:/path": no user, no query. */
static char *where_of(const struct http_spec *spec)
{
    char text[300] = "the endpoint";
    char *scheme = NULL, *host = NULL, *port = NULL;
    CURLU *u;

    if (!str_is_empty(spec->unix_socket)) {
        (void)str_format(text, sizeof text, "unix:%s", spec->unix_socket);
        return mem_str(text);
    }
    u = mem_check(curl_url());
    if (!curl_url_set(u, CURLUPART_URL, spec->url ? spec->url : "", 0) &&
        !curl_url_get(u, CURLUPART_SCHEME, &scheme, 0) &&
        !curl_url_get(u, CURLUPART_HOST, &host, 0)) {
        (void)curl_url_get(u, CURLUPART_PORT, &port, 0);
        (void)str_format(text, sizeof text, "%s://%s%s%s", scheme, host, port ? ":" : "",
                         port ? port : "");
    }
    curl_free(scheme);
    curl_free(host);
    curl_free(port);
    curl_url_cleanup(u);
    return mem_str(text);
}

static void set_headers(struct http_req *r, const char *const *headers)
{
    bool has_type = false;

    for (; headers && *headers; headers++) {
        has_type |= !strncasecmp(*headers, "Content-Type:", 13);
        r->headers = mem_check(curl_slist_append(r->headers, *headers));
    }
    r->headers = mem_check(curl_slist_append(r->headers, "Expect:"));
    if (!has_type) /* libcurl would call every POST a form */
        r->headers = mem_check(curl_slist_append(r->headers, "Content-Type:"));
    curl_easy_setopt(r->easy, CURLOPT_HTTPHEADER, r->headers);
}

static void set_body(struct http_req *r)
{
    CURL *e = r->easy;
    const char *method = r->spec.method;
    bool is_post = str_eq(method, "POST") || str_eq(method, "PUT") || str_eq(method, "PATCH");

    if (r->spec.upload_fd > 0) {
        curl_easy_setopt(e, CURLOPT_UPLOAD, 1L);
        curl_easy_setopt(e, CURLOPT_INFILESIZE_LARGE, (curl_off_t)r->spec.upload_len);
        curl_easy_setopt(e, CURLOPT_READFUNCTION, on_upload);
        curl_easy_setopt(e, CURLOPT_READDATA, r);
        curl_easy_setopt(e, CURLOPT_SEEKFUNCTION, on_seek);
        curl_easy_setopt(e, CURLOPT_SEEKDATA, r);
    } else if (r->spec.body_len || is_post) {
        curl_easy_setopt(e, CURLOPT_POST, 1L);
        curl_easy_setopt(e, CURLOPT_POSTFIELDS, r->spec.body_len ? r->body : "");
        curl_easy_setopt(e, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)r->spec.body_len);
    } else if (str_eq(method, "HEAD")) {
        curl_easy_setopt(e, CURLOPT_NOBODY, 1L);
    }
    curl_easy_setopt(e, CURLOPT_CUSTOMREQUEST, method);
    curl_easy_setopt(e, CURLOPT_UPLOAD_BUFFERSIZE,
                     r->spec.upload_fd > 0 ? UPLOAD_CHUNK : UPLOAD_CHUNK_SMALL);
}

static void set_transfer(struct http_req *r, const struct http_spec *spec)
{
    CURL *e = r->easy;

    curl_easy_setopt(e, CURLOPT_PRIVATE, r);
    curl_easy_setopt(e, CURLOPT_URL, spec->url ? spec->url : "");
    curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(e, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS);
    curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(e, CURLOPT_PROXY, ""); /* the environment's proxies are not ours to use */
    curl_easy_setopt(e, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(e, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS,
                     (long)(spec->connect_ms > 0 ? spec->connect_ms : CONNECT_DEFAULT_MS));
    curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(e, CURLOPT_HEADERDATA, r);
    curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(e, CURLOPT_WRITEDATA, r);
    curl_easy_setopt(e, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(e, CURLOPT_XFERINFOFUNCTION, on_transfer);
    curl_easy_setopt(e, CURLOPT_XFERINFODATA, r);
    if (!str_is_empty(spec->unix_socket))
        curl_easy_setopt(e, CURLOPT_UNIX_SOCKET_PATH, spec->unix_socket);
    if (!str_is_empty(r->http->ca_file))
        curl_easy_setopt(e, CURLOPT_CAINFO, r->http->ca_file);
}

struct http_req *http_start(struct http *h, const struct http_spec *spec)
{
    struct http_req *r = mem_new(sizeof *r);

    r->http = h;
    r->spec = *spec;
    r->easy = mem_check(curl_easy_init());
    r->wait = loop_timer_new(h->loop, on_wait, r);
    r->where = where_of(spec);
    r->body = spec->body_len ? mem_copy(spec->body, spec->body_len) : NULL;
    buf_init(&r->head, HEADERS_MAX + 2);
    buf_init(&r->answer, spec->body_max);
    r->next = h->first;
    if (r->next)
        r->next->prev = r;
    h->first = r;
    set_transfer(r, spec);
    set_headers(r, spec->headers);
    set_body(r);
    r->spec.method = r->spec.url = r->spec.unix_socket = NULL; /* were borrowed */
    r->spec.headers = NULL;
    r->spec.body = NULL;
    if (spec->first_byte_ms > 0)
        loop_timer_in(r->wait, spec->first_byte_ms);
    if (!h->in_curl)
        req_submit(r);
    return r;
}

void http_cancel(struct http_req *r)
{
    if (!r || r->state == REQ_DEAD)
        return;
    r->state = REQ_DEAD;
    loop_timer_at(r->wait, INT64_MAX);
    if (!r->http->in_curl && !r->http->depth)
        req_release(r);
}

void http_free(struct http *h)
{
    if (!h)
        return;
    if (!h->in_curl && !h->depth) {
        http_destroy(h);
        return;
    }
    h->dead = true;
    for (struct http_req *r = h->first; r; r = r->next)
        r->state = REQ_DEAD;
}

/* ---- what the answer said ---------------------------------------------------------------- */

int http_req_status(const struct http_req *r)
{
    return r->status;
}

const char *http_req_header(const struct http_req *r, const char *name)
{
    const char *at = buf_text(&r->head), *end = at + r->head.len, *found = NULL;
    size_t len = strlen(name);

    for (; at < end; at += strlen(at) + 1) {
        if (!strncasecmp(at, name, len) && at[len] == ':')
            found = at + len + 1;
    }
    while (found && (*found == ' ' || *found == '\t'))
        found++;
    return found;
}

const char *http_req_body(const struct http_req *r, size_t *ret_len)
{
    if (ret_len)
        *ret_len = r->answer.len;
    return buf_text(&r->answer);
}
