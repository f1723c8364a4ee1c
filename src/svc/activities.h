/* activities.h — the activity worker: polls a task queue of Temporal for executions, hands them to
 * the worker, keeps their heartbeats, and tells how they went.
 *
 *   poll ──▶ take (claim at the server, run) ──▶ ended ──▶ completed, or cancelled when asked to
 *                                            ├─▶ parked, this runner stops ──▶ handed back: a
 *                                            │   result that has the workflow schedule it anew
 *                                            └─▶ parked, lost, held by another ──▶ failed, to be
 *                                                tried again: by another runner within moments
 *
 * Handed back is only what the server that scheduled it takes so ("handBack": true in the input;
 * core/workflow.h), and what is not paused there: a pause is of the activity that it was said to.
 * Temporal's timer of a retry takes most of a second, which a hand-back goes without. A runner that
 * its server drains does not: that server stops itself, and would be given a workflow task that
 * nobody answers.
 *
 * Heartbeats come from a timer, three in each time-out. A task that Temporal has given up on goes
 * on here as long as the server's lease holds: whoever gets it next is refused until the lease ends
 * or the run has. No task is polled for that there is no slot for. Threads: the loop's. */
#ifndef SVC_ACTIVITIES_H
#define SVC_ACTIVITIES_H

#include "clients/temporal.h"
#include "svc/worker.h"

struct activities;

struct activities_options {
    struct temporal *temporal; /* borrowed */
    const char *queue;         /* copied */
    const char *domain;        /* of the sessions' folders here: "<queue>@<domain>" is polled, too;
                                  NULL or "": none */
    unsigned slots;
    loop_fn *on_idle; /* after activities_drain: every task has its answer; may be NULL */
    void *arg;
};

struct activities *activities_new(struct loop *loop, const struct activities_options *o);
void activities_free(struct activities *a);

/* worker: borrowed; its on_over comes here (activities_over). Polls while open is true: a runner
 * that its server does not know can claim nothing. */
void activities_open(struct activities *a, struct worker *worker, bool open);
void activities_over(struct activities *a, const char *execution_id, enum worker_over how,
                     const char *phase, const struct err *why);
/* The worker's on_waits: who waits for a person takes no slot. */
void activities_waits(struct activities *a, const char *execution_id, bool waits);

/* Takes nothing new. Polls that are open stay so, and what they still bring is given back at once.
 * ends: the process ends, its server does not: runs are handed back, and before the first of them
 * the polls are cancelled, or its next activity would come here. Only the first drain counts. */
void activities_drain(struct activities *a, bool ends);
/* After a drain: polls as before, once it is opened again. */
void activities_go_on(struct activities *a);
bool activities_is_idle(const struct activities *a);

#endif
