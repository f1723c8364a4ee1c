/* logfile.h — log files of the components, line by line: what `server logs` reads.
 *
 * A line is `at=TIME level=LEVEL unit=U msg="EVENT" key=value …` (base/log.h) or anything else,
 * such as output of a crashing process: that belongs to the moment of the line before it.
 * Lines of any length are read; past LOGFILE_LINE_MAX the middle is dropped and said. */
#ifndef PROG_STIGMER_LOGFILE_H
#define PROG_STIGMER_LOGFILE_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/log.h"

#define LOGFILE_LINE_MAX ((size_t)1 << 20)

struct logfile {
    const char *component; /* borrowed */
    const char *path;      /* borrowed */
    int fd;                /* owned; -1: not there (yet) */
    ino_t inode;
    off_t at;        /* bytes read */
    struct buf rest; /* bytes of a line without its end */
    uint64_t cut;    /* bytes dropped of that line */
    int64_t last_ms; /* time of the latest line that had one */
};

struct logfile_line {
    const char *component;
    int64_t at_ms;        /* 0: none known */
    bool stamped;         /* the line has its own time */
    enum log_level level; /* LOG_INFO when it does not say */
    char *text;           /* owned; no newline */
    size_t len;
    uint64_t order; /* in which it was read: ties keep it */
};

void logfile_init(struct logfile *f, const char *component, const char *path);
void logfile_done(struct logfile *f);

typedef void logfile_fn(struct logfile_line *line, void *arg); /* may take line->text */

/* Read what is there now; a line without its end waits, unless all is set. A file that was rotated
 * away is read to its end and then the new one from its start. False when it could not be read. */
bool logfile_read(struct logfile *f, bool all, logfile_fn *fn, void *arg);

/* Start reading where the last n lines begin (of the rotated file too, PATH.1). */
void logfile_seek_tail(struct logfile *f, uint64_t n);

void logfile_line_done(struct logfile_line *line);

/* Value of `key=` in the line, unquoted, or NULL; owned by the caller. */
char *logfile_field(const struct logfile_line *line, const char *key);

/* {"at","component","level","event","fields":{…},"raw"} */
json_t *logfile_json(const struct logfile_line *line);

#endif
