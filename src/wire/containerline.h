/* containerline.h — a line of a container's output as it is kept in a log: the engine's time, then
 * what was written.
 *
 *   2026-01-31T12:00:00.123456789Z at=2026-01-31T12:00:00.123Z level=info …
 *
 * Time and text together are a line's identity: a line that is asked of the engine again is known
 * to be there already. Engines tell the time to the nanosecond (Docker) or the second (older
 * Podman): equal lines of one moment are counted, not merged.
 * Ownership: embed the set by value. Threads: none of its own. */
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

#endif
