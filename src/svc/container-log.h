/* container-log.h — a container's output, frame by frame as the engine sends it, made into lines
 * with the engine's time (wire/containerline.h), each given once.
 *
 * Whoever begins to listen, or does so again (after a crash, after the engine was restarted), calls
 * container_log_resume with the log as it is: the lines at its end are remembered, the engine is
 * asked from their time on, and what is remembered is passed over when it comes again. Nothing else
 * is kept anywhere: the log alone says where it ends.
 *   1. A line is given when all of it is there; what a broken stream left of one is forgotten.
 *   2. A line at the end of the log without its newline (a writer that was killed) is cut off.
 *   3. A line older than what is remembered has been given; one that comes again is passed over:
 *      Docker before 23 sends its file from the beginning again when it was rotated meanwhile.
 * A line is lost when the engine does not send it: it has rotated it away before anybody asked, or
 * (Docker before 23) has rotated its file while a listener began, or twice while one was behind;
 * svc/container-spec.c makes those files large. And when several containers share a log: one that
 * is listened to again only after another has added more than CONTAINER_LOG_TAIL to it.
 *
 * A line longer than CONTAINER_LOG_LINE_MAX is given in pieces, a line each, a nanosecond apart.
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
