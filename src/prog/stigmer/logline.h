/* logline.h — one line of a component's log: what `server logs` filters and shows.
 *
 * A line is `at=TIME level=LEVEL unit=U msg="EVENT" key=value …` (base/log.h) or anything else,
 * such as output of a crashing process: that belongs to the moment of the line before it. What a
 * container wrote has the engine's time in front (wire/containerline.h). */
#ifndef PROG_STIGMER_LOGLINE_H
#define PROG_STIGMER_LOGLINE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/log.h"

#define LOGLINE_STAMP 28 /* bytes of "at=" and its time, and a space */

struct logline {
    const char *component; /* borrowed */
    const char *text;      /* borrowed; no newline, any bytes */
    size_t len;
    size_t lead;          /* bytes in front of text: the engine's time, of a container's line; 0 */
    int64_t at_ms;        /* 0: none known; the engine's time where there is one */
    bool stamped;         /* the text begins with its own time */
    enum log_level level; /* LOG_INFO when it does not say */
};

/* Fills lead, at_ms, stamped and level, and passes the lead, from text and len; last_ms is the time
 * of an unstamped line. */
void logline_parse(struct logline *l, int64_t last_ms);

/* The value of a key, unquoted, "msg" being the event. False: it has none. */
bool logline_get(const struct logline *l, const char *key, struct buf *ret);

/* Has it `key=value`, unquoted or quoted? */
bool logline_has(const struct logline *l, const char *key, const char *value);

/* {"at","component","level","event","fields":{…},"raw"}: always valid text; the caller's. */
json_t *logline_json(const struct logline *l);

#endif
