/* workflow.h — the workflow of one execution on Temporal, as a pure function of its history: which
 * command comes next. It is replayed from the start with every workflow task, so the same history
 * gives the same command, whoever replays it and when.
 *
 *   started ──▶ one activity ──completed──▶ completed        cancel requested: of the activity,
 *                 ▲          ├─failed, timed out──▶ failed    or, while none is open, of the
 *                 │          ├─canceled──▶ cancelled          workflow itself
 *                 └──────────┴─handed back
 *
 * Handed back: the activity completed with {"handedBack": true}: its runner stops, and another one
 * is to go on at once, which a retry's timer would not let it. Then it is scheduled again.
 *
 * A decision never names what the history shows to be done: at most one command is due at a time.
 * Kinds of events that this function does not know change nothing: no command of ours leads to
 * them, so they cannot be what it waits for (a newer server may write some). Events that only a
 * command leads to which this workflow never gives mean that the history is another program's.
 *
 * Signals change no command: what they say is for the run.
 *
 * No I/O, no clock, no randomness. What a decision points to is borrowed from the events.
 * Source: temporal.api.history.v1 and the rules of workflow task completion. */
#ifndef CORE_WORKFLOW_H
#define CORE_WORKFLOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "temporal/api/history/v1/message.pb-c.h"

enum workflow_step {
    WORKFLOW_WAIT,            /* nothing is due */
    WORKFLOW_SCHEDULE,        /* the activity */
    WORKFLOW_CANCEL_ACTIVITY, /* scheduled_id */
    WORKFLOW_COMPLETE,        /* result */
    WORKFLOW_FAIL,            /* failure */
    WORKFLOW_CANCEL,
    WORKFLOW_OVER /* the history has its closing event */
};

/* So often in one history, and no more: then a hand-back counts as any other result. Each is six
 * events, so they are 1,200 at most, read whole with every task; Temporal warns from 10,240 on and
 * ends a workflow at 51,200. May be raised, never lowered: open histories would be decided
 * otherwise. */
#define WORKFLOW_HAND_BACKS_MAX 200

struct workflow_decision {
    enum workflow_step step;
    const Tcom__Payloads *input;  /* of the workflow; NULL: none */
    int64_t scheduled_id;         /* event of the open activity; 0: none was scheduled since … */
    unsigned hand_backs;          /* … the last of these */
    const Tcom__Payloads *result; /* of the activity; NULL: none */
    const Tfail__Failure *failure;
    bool cancel_requested;
    const char *cancel_reason; /* "" when none was given */
    const char *cancel_by;     /* identity of who asked */
    unsigned unknown;          /* events of kinds that are not known here */
    size_t heard; /* events before this one were there when a task was last completed: their
                   * signals have been acted on */
};

/* ERR_CORRUPT: not a history (no start). ERR_STATE: not of this workflow: the task must be failed
 * as non-deterministic. */
MUST_CHECK enum err_code workflow_decide(Thist__HistoryEvent *const *events, size_t count,
                                         struct workflow_decision *ret, struct err *err);

#endif
