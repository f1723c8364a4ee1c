/* container-log.h — a container's output, frame by frame as the engine sends it, made into lines
 * with the engine's time (wire/containerline.h), none lost and none doubled.
 *
 * Whoever begins to listen, or does so again (after a crash, after the engine was restarted), calls
 * container_log_resume with the log as it is: the lines at its end are remembered, the engine is
 * asked from their time on, and what is remembered is passed over when it comes again. Nothing else
 * is kept anywhere: the log alone says where it ends.
 *   1. A line is given when all of it is there; what a broken stream left of one is forgotten.
 *   2. A line at the end of the log without its newline (a writer that was killed) is cut off.
 *   3. A line older than what is remembered has been given.
 * So a line is lost only when the engine has rotated it away before anybody asked.
 *
 * A line longer than CONTAINER_LOG_LINE_MAX is given in pieces, a line each.
 * Threads: the caller's. */
#ifndef SVC_CONTAINER_LOG_H
#define SVC_CONTAINER_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CONTAINER_LOG_LINE_MAX ((size_t)256 << 10)
#define CONTAINER_LOG_TAIL ((size_t)1 << 20) /* of the log, that are remembered */

struct container_log;

/* Whole lines, each with its newline; as many as came at once. */
typedef void container_log_fn(const char *lines, size_t len, void *arg);

struct container_log *container_log_new(container_log_fn *fn, void *arg);
void container_log_free(struct container_log *l); /* NULL is fine */

/* What comes next follows the log at path. may_cut: its writer is us. The time, in seconds of the
 * wall clock, from which the engine is to be asked; 0: from the beginning. */
int64_t container_log_resume(struct container_log *l, const char *path, bool may_cut);

/* A piece of a frame (wire/dockerlog.h), with the engine's time at the frame's beginning. */
void container_log_take(struct container_log *l, int stream, bool begins, const char *text,
                        size_t len);
void container_log_flush(struct container_log *l); /* gives what is whole */
void container_log_end(struct container_log *l);   /* the container has ended: all there is */

#endif
