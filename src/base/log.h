/* log.h — structured lines to stderr (or another fd): a fixed event text, then key=value pairs.
 *
 *   at=2026-01-31T12:00:00.000Z level=info unit=api msg="listening" addr=127.0.0.1:7234
 *
 * Values are quoted and escaped when they need it, so a line is always one line. One write(2) a
 * line, no allocation; past LOG_LINE bytes a line is cut and ends in "…". When writing fails or
 * would block, lines are dropped, never the program; the next line that can be written says how
 * many. Never a secret; never a prompt body above debug. Thread-safe. The level, the unit name and
 * each thread's request are the only mutable globals of the code base. */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdbool.h>

#include "base/err.h"

#define LOG_LINE 4096 /* PIPE_BUF: lines of several writers to one pipe stay whole (pipe(7)) */

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG, LOG_LEVELS };

struct log_num {
    char text[24];
};
struct log_num log_num_make(long long v);
#define log_int(v) (log_num_make((long long)(v)).text)

void log_set_level(enum log_level level);
void log_set_unit(const char *unit); /* kept by pointer: a literal */
/* Until it is set again, lines of this thread end in req=; NULL: in none. Kept by copy. */
#define LOG_REQUEST 65
void log_set_request(const char *id);
void log_set_fd(int fd);
bool log_is_on(enum log_level level);
MUST_CHECK enum err_code log_level_parse(const char *text, enum log_level *ret, struct err *err);
const char *log_level_name(enum log_level level);

void log_write(enum log_level level, const char *event, const char *const kv[]);

#define log_kv_(level, event, ...)                                                                 \
    do {                                                                                           \
        if (log_is_on(level))                                                                      \
            log_write(level, event, (const char *const[]){__VA_ARGS__ __VA_OPT__(, ) NULL});       \
    } while (0)
#define log_error(event, ...) log_kv_(LOG_ERROR, event, __VA_ARGS__) /* we lost something */
#define log_warn(event, ...) log_kv_(LOG_WARN, event, __VA_ARGS__)   /* we go on */
#define log_info(event, ...) log_kv_(LOG_INFO, event, __VA_ARGS__)   /* state changes */
#define log_debug(event, ...) log_kv_(LOG_DEBUG, event, __VA_ARGS__) /* decisions */

#endif
