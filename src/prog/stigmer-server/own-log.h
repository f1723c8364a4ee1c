/* own-log.h — the server's own log, which is its standard output and error: kept within the limits
 * that server.log.max_size and server.log.max_files set.
 *
 * The keeper and the server write to the same file. The server renames it when it is too big and
 * goes on with a new one; the keeper, which seldom has a word, looks for the new one before it
 * speaks. Where standard error is something else (a terminal), nothing is touched. */
#ifndef PROG_STIGMER_SERVER_OWN_LOG_H
#define PROG_STIGMER_SERVER_OWN_LOG_H

#include <stdint.h>

#include "platform/loop.h"

struct own_log;

struct own_log *own_log_new(struct loop *loop, const char *path, int64_t max_size, int max_files);
void own_log_free(struct own_log *l);

/* Standard output and error become the file that path names now. */
void own_log_reopen(const char *path);

#endif
