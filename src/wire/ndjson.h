/* ndjson.h — newline-delimited JSON: bytes in, lines out. Only the splitting: what a line says is
 * the caller's. Lines end with LF or CRLF; blank lines are skipped. Bytes may come split anywhere.
 *
 * Ownership: embed by value; the line is borrowed for the call and followed by a NUL. */
#ifndef WIRE_NDJSON_H
#define WIRE_NDJSON_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"

typedef bool ndjson_fn(const char *line, size_t len, void *arg); /* false: stop */

struct ndjson {
    struct buf line;
    bool stopped;
    ndjson_fn *fn;
    void *arg;
};

void ndjson_init(struct ndjson *n, size_t line_max, ndjson_fn *fn, void *arg);
void ndjson_done(struct ndjson *n);

/* ERR_LIMIT when a line is longer than line_max. */
MUST_CHECK enum err_code ndjson_feed(struct ndjson *n, const void *data, size_t len,
                                     struct err *err);
void ndjson_finish(struct ndjson *n); /* the last line may lack its newline */

#endif
