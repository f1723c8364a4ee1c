/* temporal-worker-impl.h — what the files of the workflow worker share: temporal-worker.c (tasks
 * and their answers) and temporal-signals.c (what was signalled). For them only. */
#ifndef SVC_TEMPORAL_WORKER_IMPL_H
#define SVC_TEMPORAL_WORKER_IMPL_H

#include "core/workflow.h"
#include "svc/temporal-worker.h"

#define TEMPORAL_WORKER_PAGES 256 /* of a history, of some hundred events each */
#define TEMPORAL_WORKER_ID 128

struct temporal_worker {
    struct loop *loop;         /* borrowed */
    struct temporal *temporal; /* borrowed */
    struct temporal_poll *poll;
    char *runner_queue; /* owned */
    int64_t heartbeat_ms;
    struct temporal_worker_events ev;
    struct task *tasks; /* owned */
};

/* One workflow task from its arrival to its answer. */
struct task {
    struct temporal_worker *worker; /* NULL: the worker is gone, nothing is answered any more */
    struct task *next, **link;      /* link NULL: in no list any more */
    struct temporal_call *call;     /* for a page of the history */
    Tsvc__PollWorkflowTaskQueueResponse *poll; /* owned */
    Tsvc__GetWorkflowExecutionHistoryResponse *page[TEMPORAL_WORKER_PAGES];
    size_t pages;
    Thist__HistoryEvent **events; /* owned list; events are of poll and pages */
    size_t count;
    struct workflow_decision decision;
    size_t at; /* events before this one have no signal that is still to be acted on */
    char id[TEMPORAL_WORKER_ID]; /* of the execution */
    char queue[TEMPORAL_WORKER_ID];
    json_t *ours; /* owned; the input, when it is of the form that we write; else NULL */
    char why[1024];
    bool cut; /* not the whole history */
};

/* ---- temporal-worker.c ---- */

void temporal_worker_drop(struct task *t); /* unanswered: its worker is gone */
void temporal_worker_fail(struct task *t, const struct err *why); /* it comes again */
void temporal_worker_go_on(struct task *t); /* all signals are heard: what is due is done */

/* ---- temporal-signals.c ---- */

/* What was signalled since the last task, one after the other; then temporal_worker_go_on. */
void temporal_signals_hear(struct task *t);

#endif
