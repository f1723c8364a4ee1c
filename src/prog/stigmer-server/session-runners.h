/* session-runners.h — the runners of sessions that have a person's own folder as their workspace:
 * each a container of its own with only that folder mounted, started when there is work for it,
 * ended when there was none for runner.session_idle, and at the stop.
 *
 * Only beside a runner in a container: one that is a process reaches the folders itself.
 * Containers that an earlier server left are found again at the start.
 * Ownership: borrows what it is given. Threads: the loop's. */
#ifndef PROG_STIGMER_SERVER_SESSION_RUNNERS_H
#define PROG_STIGMER_SERVER_SESSION_RUNNERS_H

#include <jansson.h>

#include "prog/stigmer-server/runner-unit.h"
#include "svc/queue.h"
#include "svc/supervise.h"

struct session_runners;

/* beside: the runner of all other sessions. o: its session and folder are set for each. */
struct session_runners *session_runners_new(struct loop *loop, struct queue *engine,
                                            struct supervise *beside,
                                            const struct runner_unit_options *o);
void session_runners_free(struct session_runners *s); /* ends what still runs */

/* That session is gone: its container, if it has one, ends. */
void session_runners_end(struct session_runners *s, const char *session);

/* A runner attached or went. */
void session_runners_changed(struct session_runners *s);

/* The runner of that session does not answer (supervise.h). */
void session_runners_hung(struct session_runners *s, const char *session);

/* Ends all; done when the last has ended, from a callback of the loop. */
void session_runners_stop(struct session_runners *s, int64_t grace_ms, loop_fn *done, void *arg);

/* Appends a component each, as status has them. */
void session_runners_put(const struct session_runners *s, json_t *components);

#endif
