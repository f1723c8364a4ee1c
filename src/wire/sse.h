/* sse.h — server-sent events (WHATWG HTML, "Server-sent events"): bytes in, events out. Bytes may
 * come split anywhere. Lines end with CR, LF or CRLF; a leading BOM, comments, ids and retry
 * times are skipped. Events without data are not told, as the format has it.
 *
 * Ownership: embed by value; the event's text is borrowed for the call. Not thread-safe. */
#ifndef WIRE_SSE_H
#define WIRE_SSE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"

/* name is "message" when the stream gave none. false: stop, the rest is not looked at. */
typedef bool sse_fn(const char *name, const char *data, size_t len, void *arg);

struct sse {
    struct buf line, data;
    char name[64];
    bool has_data, after_cr, stopped;
    unsigned bom; /* bytes of a BOM seen so far; 4: past it */
    sse_fn *fn;
    void *arg;
};

/* event_max: the longest line, and the most data of one event, in bytes. */
void sse_init(struct sse *s, size_t event_max, sse_fn *fn, void *arg);
void sse_done(struct sse *s);

/* ERR_LIMIT when an event is larger than event_max; the parser is of no more use then. */
MUST_CHECK enum err_code sse_feed(struct sse *s, const void *data, size_t len, struct err *err);

/* The stream has ended. An event whose lines are whole but whose blank line is missing is told
 * (the format would drop it, but servers do end so); a line cut in the middle is dropped. */
void sse_finish(struct sse *s);

#endif
