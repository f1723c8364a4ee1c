/* engine-temporal.h — executions handed out through Temporal: one workflow an execution, one
 * activity that runners poll for. Only ids travel; the journal stays the truth, and the queue of
 * svc/queue.h keeps order, leases, epochs and cancels.
 *
 *   offer ──StartWorkflowExecution──▶ workflow ──(temporal-worker)──▶ activity ──▶ a runner claims
 *
 * Starting is the outbox: the workflow's id is made of the execution's, and an id is used once, so
 * starting again after a crash or a lost answer starts nothing new. Every execution that has not
 * ended is offered again when the server starts. While Temporal is away executions are accepted,
 * stay pending, and say why.
 * When it was away they are all offered again: it may have forgotten them (a development server
 * without a database).
 * A deletion notes that the workflow is to end (svc/workflow-ends.h); it is asked to as soon as
 * Temporal can hear that.
 * A runner that lost its lease without a word is told to Temporal: its attempt fails at once, and
 * not only when its heartbeats have been missed. What an operator does to a workflow from outside
 * (terminate) is found by asking, every 10 s while there is work, and when a start says that the
 * workflow has ended. A reset ends one run of it and begins another: that is no end. Threads: the
 * loop's. */
#ifndef SVC_ENGINE_TEMPORAL_H
#define SVC_ENGINE_TEMPORAL_H

#include <jansson.h>

#include "clients/temporal.h"
#include "svc/journal.h"
#include "svc/queue.h"

struct engine_temporal;

#define ENGINE_TEMPORAL_RUNNER_QUEUE "agent_execution_runner"

struct engine_temporal_options {
    const char *runner_queue; /* copied; NULL: ENGINE_TEMPORAL_RUNNER_QUEUE */
    int64_t heartbeat_ms;     /* of activities; 0: 30 s */
    bool make_namespace;      /* the server is our own: a namespace that is not there is made */
};

/* Makes itself the dispatch of queue. All borrowed, for its life; the name of an execution's agent
 * is read from the store for the workflow's memo. */
struct engine_temporal *engine_temporal_new(struct loop *loop, struct store *store,
                                            struct journal *journal, struct queue *queue,
                                            struct temporal *t,
                                            const struct engine_temporal_options *o);
void engine_temporal_free(struct engine_temporal *e); /* before queue, journal and t */

/* A session with a folder of its own has a queue of its own; a workspace domain
 * (svc/session-place.h) has "<queue>@<domain>", which its runners poll beside the common one. */
void engine_temporal_session_queue(const char *runner_queue, const char *session_id, char *ret,
                                   size_t size);

/* The live truth, for status. */
struct engine_temporal_report {
    bool reached;                         /* the last thing asked was answered */
    const char *trouble;                  /* borrowed; "" when all is well */
    const char *server_version;           /* borrowed; "" not known yet */
    int workflow_pollers, runner_pollers; /* -1: not known yet */
    size_t offered, started;              /* open executions; of those, with a workflow */
};
void engine_temporal_report(const struct engine_temporal *e, struct engine_temporal_report *ret);

/* Asks for the pollers; the report has them a moment later. Also done by itself while there is
 * work. */
void engine_temporal_ask_pollers(struct engine_temporal *e);

/* The server was started anew: it is asked from the beginning whether it takes work. */
void engine_temporal_greet(struct engine_temporal *e);

/* The stack stops, and the server with it: nothing new is asked of it. */
void engine_temporal_rest(struct engine_temporal *e);

/* Called when the report's trouble comes or goes, and when Temporal has begun to take work. */
void engine_temporal_on_change(struct engine_temporal *e, loop_fn *fn, void *arg);

/* The workflow's run id; NULL while it has none. */
const char *engine_temporal_run_id(const struct engine_temporal *e, const char *execution_id);

#endif
