/* http.h — HTTP requests as a client, on libcurl's multi interface driven by the loop.
 * Used for model endpoints and the Docker Engine API (over its unix socket). Never for gRPC.
 *
 * Two waits are told apart, because they mean different things to a person: first_byte_ms (the
 * server never began to answer) and stall_ms (it began and then fell silent). The first counts
 * from the last moment that anything was sent, and not while the connection is being made.
 *
 * HTTP/1.1, or HTTP/2 where TLS agrees on it. Redirects are an answer like any other; the
 * environment's proxies are not used; SSL_CERT_FILE names another CA bundle. The answer's headers
 * have a limit of 64 KiB. Errors name the endpoint without user, path and query. Programs ignore
 * SIGPIPE: TLS writes can raise it.
 *
 * Any function may be called from any callback here; http_free too.
 * Threads: the loop's thread only. */
#ifndef PLATFORM_HTTP_H
#define PLATFORM_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "platform/loop.h"

struct http;     /* one per loop: connection pool */
struct http_req; /* one exchange */

struct http *http_new(struct loop *loop);
void http_free(struct http *h); /* ends exchanges without calling back */

enum http_failure {
    HTTP_FAIL_NONE,
    HTTP_FAIL_CONNECT, /* refused, unreachable, name not found */
    HTTP_FAIL_TLS,
    HTTP_FAIL_FIRST_BYTE, /* no answer within first_byte_ms */
    HTTP_FAIL_STALLED,    /* silence of stall_ms in the middle */
    HTTP_FAIL_BROKEN,     /* connection lost or framing wrong in the middle */
    HTTP_FAIL_LIMIT,      /* more than body_max */
    HTTP_FAIL_OTHER
};

struct http_spec {
    const char *method; /* "GET", "POST", "DELETE", … */
    const char *url;
    const char *unix_socket;    /* NULL: TCP */
    const char *const *headers; /* "Name: value", NULL-ended; copied */
    const void *body;           /* copied; NULL: none */
    size_t body_len;
    int upload_fd; /* > 0: body is read from this descriptor (borrowed), upload_len bytes */
    int64_t upload_len;
    int64_t connect_ms;    /* 0: 10 s */
    int64_t first_byte_ms; /* 0: none */
    int64_t stall_ms;      /* 0: none */
    size_t body_max;       /* of the answer; 0: no limit (streams) */
    /* Called with the status line and headers complete, before the first body byte. */
    void (*on_headers)(struct http_req *r, void *arg);
    /* Body bytes as they come; NULL: collected, see http_req_body. */
    void (*on_data)(struct http_req *r, const void *data, size_t len, void *arg);
    /* Exactly once, unless cancelled. failure NONE means a complete HTTP answer of any status. */
    void (*on_done)(struct http_req *r, enum http_failure failure, const struct err *err,
                    void *arg);
    void (*on_progress)(int64_t sent, int64_t total, void *arg); /* may be NULL */
    void *arg;
};

/* Never calls back before returning. The handle is owned by http; gone after on_done returns. */
struct http_req *http_start(struct http *h, const struct http_spec *spec);
void http_cancel(struct http_req *r); /* no callback follows; fine inside on_data */

int http_req_status(const struct http_req *r);                           /* 0 before headers */
const char *http_req_header(const struct http_req *r, const char *name); /* last value, or NULL */
const char *http_req_body(const struct http_req *r, size_t *ret_len);    /* when on_data is NULL */

#endif
