/* ulid.h — 26 lower-case Crockford base32 characters: 48 bits of time, 80 random bits
 * (github.com/ulid/spec). Ids sort by creation time; within one process also
 * inside a millisecond (the random part counts up) and when the clock is set back (the last time
 * stays). Thread-safe. */
#ifndef BASE_ULID_H
#define BASE_ULID_H

#include <stdbool.h>
#include <stdint.h>

#define ULID_LEN 26

void ulid_make(int64_t wall_ms, char ret[ULID_LEN + 1]);
bool ulid_is_valid(const char *s); /* exactly 26 characters of the alphabet, no overflow */

#endif
