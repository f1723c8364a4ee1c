/* queue.h — the executions that have not ended, and who runs them. The default engine: a queue in
 * the store, runners that attach. With a dispatch (below) another system hands out the work.
 *
 *   queued ──assign──▶ assigned ──claim (epoch + 1)──▶ claimed ──terminal event──▶ gone
 *      ▲                  │ no claim in time              │ lease lost, runner gone
 *      └──────────────────┴───────────────────────────────┘ (a notice; after LOST_MAX: failed);
 *                                              or given back by a runner that stops: at once
 *
 * - A lease is extended by the runner's heartbeats. When the runner's stream closes, the lease ends
 *   after reattach_ms: a server restart or a short break of the connection costs nothing, because
 *   the runner comes back with a list of what it holds.
 * - A session's runs are for the runners that have its folder (svc/session-place.h).
 * - Two executions of one session never run at once: they share a workspace and a history. They
 *   run in the order they were submitted: one whose runner is lost keeps its place.
 * - Cancel: the wish is written to the execution's row first. If a runner holds the execution it
 *   is told and writes cancel_requested and cancelled itself, in sequence; if none does, or the
 *   runner dies over it, the engine writes them. So a cancel is never lost and never races an
 *   append. The same holds for what people say to a run (svc/inbox.h).
 * Times are monotonic milliseconds of the loop. Threads: the loop's. */
#ifndef SVC_QUEUE_H
#define SVC_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "platform/loop.h"
#include "svc/engine.h"
#include "svc/journal.h"

struct queue;
struct queue_runner;

struct queue_config {
    int64_t lease_ms;     /* 0: 15 s */
    int64_t heartbeat_ms; /* 0: 5 s; what runners are told */
    int64_t reattach_ms;  /* 0: 2 s */
    unsigned lost_max;    /* 0: 5 leases lost in a row without a completed step */
};

/* Reads the queue from the store. */
MUST_CHECK enum err_code queue_new(struct loop *loop, struct store *store, struct journal *journal,
                                   const struct queue_config *config, struct queue **ret,
                                   struct err *err);
void queue_free(struct queue *e);
struct engine *queue_engine(struct queue *e);
const struct queue_config *queue_config(const struct queue *e);

/* ---- who hands out work ----
 * Without a dispatch queued work is assigned to attached runners with a free slot. With one, it is
 * another system's task queue that runners are given work by; order, leases, epochs and cancels
 * stay here, and runners claim what they were given. */

struct queue_dispatch {
    /* It may run now: it is the first open execution of its session. Said again after a lost lease
     * and after a restart, so offering twice must be offering once. */
    void (*offer)(const char *execution_id, const char *session_id, bool own_folder, void *arg);
    /* Who had it has lost it, and did not say so itself. It is offered again. */
    void (*lost)(const char *execution_id, void *arg);
    /* Somebody wants it cancelled; the wish is on disk, and a runner that holds it is told. */
    void (*cancel)(const char *execution_id, const char *reason, void *arg);
    /* It is open no more. why: NULL when its runner has ended it, or it was deleted; else it ended
     * here, without one, and whoever was asked to run it should be told. */
    void (*closed)(const char *execution_id, const char *why, void *arg);
    /* It was deleted, ended or not: workflow-ends.h has it. */
    void (*deleted)(const char *execution_id, void *arg);
    void *arg;
};
void queue_set_dispatch(struct queue *e, const struct queue_dispatch *d);

/* ---- runners ----
 * An execution of a session that has a folder of its own is assigned to a runner that can reach
 * it: that session's own runner, or one that reaches this machine's folders. */

struct queue_reach {
    const char *session; /* NULL or "": all that have no folder of their own; else only this one */
    bool host_paths;     /* and those that have, too */
};

/* A session needs a runner of its own: for queued work that no attached runner can reach, or
 * because there is one already, that an earlier server may have started. Called again and again
 * while that is so; what is needed may be started from in there, but not attached. */
typedef void queue_need_fn(const char *session_id, const char *folder, void *arg);
void queue_on_need(struct queue *e, queue_need_fn *fn, void *arg);

#define QUEUE_WAITING_MAX 1024 /* runs of one runner that wait for a person, besides its slots */

struct queue_held {
    const char *execution_id;
    uint64_t epoch;
    bool waits; /* see queue_waits */
};

struct queue_runner_ops {
    void (*assign)(const char *execution_id, void *arg);
    void (*cancel)(const char *execution_id, const char *reason, void *arg);
    void (*input)(const char *execution_id, const struct inbox_input *in, void *arg);
    void (*decision)(const struct approvals_row *decided, void *arg);
    void (*drain)(int64_t grace_ms, void *arg);
};

/* on_lost is called before the return for each held execution that is somebody else's by now.
 * With slots 0 nothing is assigned until queue_open: so that a welcome can go first. */
struct queue_runner *queue_attach(struct queue *e, const char *runner_id, unsigned slots,
                                  const struct queue_reach *reach, const struct queue_held *held,
                                  size_t held_count, const struct queue_runner_ops *ops, void *arg,
                                  void (*on_lost)(const char *execution_id, void *arg));
void queue_open(struct queue_runner *r, unsigned slots);
/* Its runner says whether it waits for a person, and nothing of it runs: only memory is used
 * meanwhile, so its slot is another's. More than all slots may be busy when that ends. */
void queue_waits(struct queue *e, const char *execution_id, bool waits);
/* The stream closed. */
void queue_detach(struct queue_runner *r);

/* on_cancel: a cancel that the runner may not have heard. */
void queue_heartbeat(struct queue *e, const char *runner_id, const struct queue_held *held,
                     size_t held_count, void (*on_lost)(const char *execution_id, void *arg),
                     void (*on_cancel)(const char *execution_id, void *arg), void *arg);

/* A runner is attached and has let a lease run out without a word of any kind: it is not
 * going to do any. session: as in reach, or NULL. The caller ends it. */
typedef void queue_silent_fn(const char *session, void *arg);
void queue_on_silent(struct queue *e, queue_silent_fn *fn, void *arg);

/* The runner has parked it, and will write nothing more: another one may have it at once. done:
 * when it is queued again; ERR_CONFLICT when this claim does not stand. draining: nothing more is
 * assigned to this runner. */
void queue_release(struct queue *e, const char *runner_id, const struct queue_held *held,
                   bool draining, engine_done_fn *done, void *arg);

/* May this runner claim it? ERR_CONFLICT when it is not assigned to it. After the claim's commit
 * call claimed, or unclaimed when it failed. */
MUST_CHECK enum err_code queue_may_claim(struct queue *e, const char *runner_id,
                                         const char *execution_id, struct err *err);
void queue_claimed(struct queue *e, const char *execution_id, uint64_t epoch);
void queue_unclaimed(struct queue *e, const char *execution_id);

/* An append of this execution was committed. step: a turn or a tool was finished; ended: it held
 * the terminal event. */
void queue_progress(struct queue *e, const char *execution_id, bool step, bool ended);
bool queue_is_current(const struct queue *e, const char *execution_id, uint64_t epoch);

/* Has the session work that has not ended? */
bool queue_busy(const struct queue *e, const char *session_id);

/* Executions it has now. silent: a lease of it ran out while its stream was open, as when its
 * machine is cut off: it is given nothing new until it is heard of. */
unsigned queue_used(const struct queue_runner *r, bool *ret_silent);

/* Attached runners: those of all sessions (session NULL), or of one. */
unsigned queue_runners(const struct queue *e, const char *session);
unsigned queue_running(const struct queue *e);

#endif
