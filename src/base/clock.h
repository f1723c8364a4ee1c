/* clock.h — reading the two clocks. Rules in core never call these: they get time as an argument.
 */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>

#include "base/err.h"

int64_t clock_mono_ms(void); /* for waiting and measuring; starts anywhere, never jumps */
int64_t clock_wall_ms(void); /* milliseconds since 1970-01-01 UTC; may jump */

/* A moment on both clocks: how long ago it was does not change when somebody sets the wall clock.
 */
struct clock_mark {
    int64_t wall_ms;
    int64_t boot_ms; /* goes on while the machine is asleep */
};
struct clock_mark clock_mark_now(void);
/* When it was: as the wall clock told it then, or, after that was set, as it would tell it now. */
int64_t clock_mark_wall_ms(const struct clock_mark *m);

/* "2026-01-31T12:00:00.000Z" (RFC 3339, UTC, milliseconds): 24 characters and a NUL. */
#define CLOCK_TEXT 32
void clock_format(int64_t wall_ms, char ret[CLOCK_TEXT]);
MUST_CHECK enum err_code clock_parse(const char *text, int64_t *ret_wall_ms, struct err *err);

#endif
