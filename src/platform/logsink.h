/* logsink.h — a log file that others' output is written to, with a limit on its size.
 *
 * Whole lines stay together: at a line's end, once the file has grown past max_size, PATH becomes
 * PATH.1, PATH.1 becomes PATH.2 and so on, and max_files are kept, PATH included. A line that is
 * longer than max_size alone still lies in one file.
 *
 * A disk that is full costs log lines, never the program: what cannot be written is counted, and
 * when there is room again a line says how many lines are missing. Lines go whole: of one that was
 * cut by the full disk the rest is lost as well, and "…" ends it. A file that somebody removed is
 * made anew at the next write, and so is its folder; several writers of one process may share a
 * path. Writing and rotating allocate nothing. Ownership: one heap object. Threads: the caller's.
 */
#ifndef PLATFORM_LOGSINK_H
#define PLATFORM_LOGSINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct logsink;

MUST_CHECK enum err_code logsink_open(const char *path, int64_t max_size, int max_files,
                                      struct logsink **ret, struct err *err);
void logsink_write(struct logsink *s, const void *data, size_t len);

/* What a person should know of it now: that lines are being lost, and why. False: all is well. */
#define LOGSINK_TROUBLE 512
bool logsink_trouble(const struct logsink *s, char ret[LOGSINK_TROUBLE]);

void logsink_close(struct logsink *s); /* NULL is fine */

/* Other limits from the next write on. */
void logsink_limit(struct logsink *s, int64_t max_size, int max_files);

#endif
