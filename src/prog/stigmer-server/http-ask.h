/* http-ask.h — one HTTP exchange from start to end, for the parts of stigmer-server that run no
 * loop of their own (doctor, models). Each call blocks, at most timeout_ms. */
#ifndef PROG_STIGMER_SERVER_HTTP_ASK_H
#define PROG_STIGMER_SERVER_HTTP_ASK_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

#define HTTP_ASK_MAX ((size_t)8 << 20) /* bytes of an answer */

struct http_ask {
    const char *method, *url;
    const char *const *headers; /* "Name: value", NULL-ended; may be NULL */
    const char *body;           /* NULL: none */
    int64_t timeout_ms;         /* to the first byte, and of silence in between */
    /* NULL: the answer is one JSON value. Else called for each line of it, a JSON value a line;
     * false: enough. An answer with a status that is no success is one value again. */
    bool (*on_line)(const json_t *line, void *arg);
    void *arg;
};

/* *ret_status: of HTTP. *ret: the caller's; NULL when the answer is no JSON, or went to on_line. */
MUST_CHECK enum err_code http_ask(const struct http_ask *a, int *ret_status, json_t **ret,
                                  struct err *err);

#endif
