/* temporal-worker.h — the workflow worker of this server: polls workflow tasks, lets core/workflow
 * decide by their history, and answers. Queries are answered from the journal, not from the
 * history.
 *
 * No sticky queue: a history has few events (core/workflow.h), so a task carries it whole, and a
 * server that comes back needs nothing that another one has kept. The signal `input` ({"text": …},
 * or the text alone) is said to the run (svc/inbox.h), before the task that brings it is answered:
 * so none is lost but above the inbox's limit, and none is said twice. `approve` and `deny` decide
 * on a call that waits for a person (svc/approvals.h): "<execution id>.<seq>", the number alone,
 * the call's id, or {"id": …, "reason": …}. Other signals are told in the log. The activity's input
 * is the workflow's. To an object of our own form it adds "handBack": true while the history has
 * room: so a runner knows that this server takes {"handedBack": true} for what it is
 * (core/workflow.h). Who does not know the key fails the activity, as ever. A workflow never closes
 * before the journal of its execution has: what closes it is done first. Threads: the loop's. */
#ifndef SVC_TEMPORAL_WORKER_H
#define SVC_TEMPORAL_WORKER_H

#include <jansson.h>

#include "clients/temporal.h"
#include "svc/engine.h"

#define TEMPORAL_WORKER_WORKFLOW "stigmer/agent-execution/invoke" /* type, and prefix of ids */
#define TEMPORAL_WORKER_ACTIVITY "stigmer/agent-execution/run"
#define TEMPORAL_WORKER_QUEUE "agent_execution_stigmer"

struct temporal_worker;

struct temporal_worker_events {
    /* The workflow ends without a result: the journal must have ended first. */
    void (*close)(const char *execution_id, bool cancelled, const char *why, engine_done_fn *done,
                  void *done_arg, void *arg);
    /* Somebody asked Temporal to cancel it. */
    void (*cancel)(const char *execution_id, const char *by, const char *reason,
                   engine_done_fn *done, void *done_arg, void *arg);
    /* Somebody has signalled `input`; in->id differs for each signal. It has passed inbox_check. */
    void (*input)(const char *execution_id, const struct inbox_input *in, engine_done_fn *done,
                  void *done_arg, void *arg);
    /* Somebody has signalled `approve` or `deny`. It has passed approvals_check. */
    void (*decide)(const char *execution_id, const struct approvals_choice *c,
                   engine_decided_fn *done, void *done_arg, void *arg);
    /* What the journal says: {"phase": …, "ended": …, …}, the caller's; NULL: there is none such.
     */
    json_t *(*status)(const char *execution_id, void *arg);
    void (*trouble)(void *arg); /* polls have begun to fail */
    void *arg;
};

struct temporal_worker_options {
    const char *runner_queue; /* for activities whose workflow names none; copied */
    int64_t heartbeat_ms;     /* time-out of an activity's heartbeats; 0: 30 s */
};

struct temporal_worker *temporal_worker_new(struct loop *loop, struct temporal *t,
                                            const struct temporal_worker_options *o,
                                            const struct temporal_worker_events *ev);
void temporal_worker_free(struct temporal_worker *w);
void temporal_worker_start(struct temporal_worker *w); /* polls; again: the server answers */
void temporal_worker_rest(struct temporal_worker *w);  /* polls no more; what it has is done */

/* A task that came another way: with the answer to a start. */
void temporal_worker_take(struct temporal_worker *w, const Tsvc__PollWorkflowTaskQueueResponse *m);

const char *temporal_worker_trouble(const struct temporal_worker *w); /* why polls fail; "" */

#endif
