/* containerline.h — a line of a container's output as it is kept in a log: the engine's time, then
 * what was written.
 *
 *   2026-01-31T12:00:00.123456789Z at=2026-01-31T12:00:00.123Z level=info …
 *
 * Time and text together are a line's identity: a line that comes again is known to be there
 * already. Engines tell the time to the nanosecond (Docker) or the second (older Podman): in the
 * set, equal lines of one moment are counted, not merged. Ownership: embed set and window by value,
 * zeroed. Threads: none of their own. */
#ifndef WIRE_CONTAINERLINE_H
#define WIRE_CONTAINERLINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CONTAINERLINE_STAMP 31 /* bytes of the time and the space after it */
#define CONTAINERLINE_TEXT 32

/* An engine's time at the beginning of text: RFC 3339, "Z" or an offset, up to nine digits of a
 * second. How many bytes it takes, the space included; 0: there is none. */
size_t containerline_read(const char *text, size_t len, int64_t *ret_ns);

/* The same, of the one form that is kept. */
bool containerline_stamp(const char *line, size_t len, int64_t *ret_ns);
void containerline_format(int64_t ns, char ret[CONTAINERLINE_TEXT]);

struct containerline_id {
    int64_t ns;
    uint64_t hash;
    bool used;
};

struct containerline_set {
    struct containerline_id *ids; /* owned; sorted once it is asked */
    size_t count, room;
    int64_t first_ns, last_ns; /* the earliest and the latest; 0 while it is empty */
    bool sorted;
};

void containerline_set_done(struct containerline_set *s);
/* line: without its newline; one that has no stamp is passed over. */
void containerline_set_add(struct containerline_set *s, const char *line, size_t len);
void containerline_set_reset(struct containerline_set *s); /* all are in it again */
/* Is it in the set? Each time it was added it is there once: taken out, so to say. */
bool containerline_set_take(struct containerline_set *s, const char *line, size_t len);

/* The newest lines of a stream that repeats itself and mixes two streams' times a little: which
 * lines are new? What is older than all that is remembered has been seen. */
#define CONTAINERLINE_WINDOW ((size_t)16384)

struct containerline_window {
    struct containerline_id *ids; /* owned; by time: from is the first of count */
    size_t from, count, room;
    int64_t floor_ns; /* what is older has been seen */
};

void containerline_window_done(struct containerline_window *w);
/* A line that is there before the stream begins; sealed: all those are added. */
void containerline_window_add(struct containerline_window *w, const char *line, size_t len);
void containerline_window_seal(struct containerline_window *w);
/* Remembers it. now_ns: the wall clock; when it was set back, old times are new ones. A line of a
 * whole second (an engine that tells no more) is known as often as it was there when the window was
 * sealed; any other is known once it was seen. */
bool containerline_window_is_new(struct containerline_window *w, const char *line, size_t len,
                                 int64_t now_ns);

#endif
