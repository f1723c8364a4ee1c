/* logfile.h — the log of one component, PATH and what was rotated away (PATH.1, PATH.2, …, the
 * oldest last), read as one sequence of lines from any point of it on, and followed.
 *
 * Reading is pulled, a line at a time, with one buffer: the memory it takes does not depend on how
 * much there is. Lines of any length: past LOGFILE_LINE_MAX the middle is left out and that is said
 * in the line. A file that is rotated, removed, made anew or cut while it is followed costs no line
 * that was there to be read: the open file is read to its end, then the ones that came after it.
 * Errors: a file that cannot be read is passed over; logfile_why tells. Threads: one. */
#ifndef PROG_STIGMER_LOGFILE_H
#define PROG_STIGMER_LOGFILE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/buf.h"
#include "prog/stigmer/logline.h"

#define LOGFILE_LINE_MAX ((size_t)1 << 20)
#define LOGFILE_CHUNK 65536
#define LOGFILE_OLD_MAX 100 /* rotated files that are looked for */

struct logfile {
    const char *component; /* borrowed */
    const char *path;      /* borrowed */
    int fd;                /* owned; -1: not there (yet) */
    dev_t dev;
    ino_t inode;
    off_t at;          /* of the next byte to be read into chunk */
    char *chunk;       /* owned */
    size_t begin, end; /* what of it is not given yet */
    struct buf rest;   /* of a line without its end, or one that crosses chunks */
    uint64_t cut;      /* bytes left out of that line */
    int64_t last_ms;   /* time of the latest line that had one */
    bool replaced;     /* set when another file took its place; the reader clears it */
    int why;           /* errno of what could not be read; 0 */
};

void logfile_init(struct logfile *f, const char *component, const char *path);
void logfile_done(struct logfile *f);

/* The next line; false when there is none (yet). all: a line without its end counts. */
bool logfile_next(struct logfile *f, bool all, struct logline *ret);

/* Where to read from; call one before the first logfile_next. */
void logfile_from_start(struct logfile *f);
void logfile_from_end(struct logfile *f);
void logfile_from_tail(struct logfile *f, uint64_t lines); /* that many before the end */
void logfile_from_time(struct logfile *f, int64_t at_ms);  /* not after the first line of then */

/* A place between two lines, to come back to. */
struct logfile_mark {
    dev_t dev;
    ino_t inode;
    off_t at;
};
struct logfile_mark logfile_mark(const struct logfile *f); /* of the next line */
void logfile_go(struct logfile *f, struct logfile_mark mark);

#endif
