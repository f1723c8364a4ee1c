/* engine-temporal-impl.h — what the files of the Temporal engine share: engine-temporal.c (is it
 * there; what the workflow worker asks), engine-temporal-start.c (the outbox: what the queue offers
 * becomes workflows), engine-temporal-look.c (what became of them outside; who polls),
 * engine-temporal-lost.c (attempts whose runner is lost). For them only. */
#ifndef SVC_ENGINE_TEMPORAL_IMPL_H
#define SVC_ENGINE_TEMPORAL_IMPL_H

#include "base/map.h"
#include "svc/engine-temporal.h"
#include "svc/temporal-worker.h"

#define ENGINE_TEMPORAL_TRY_MS 3000   /* then it is told that it waits, and why */
#define ENGINE_TEMPORAL_LOOK_MS 10000 /* how often closed workflows are asked for */

/* An execution that may run: offered by the queue, not closed. */
struct offer {
    struct engine_temporal *engine; /* borrowed */
    char *id, *session, *run_id;    /* owned; run_id NULL: not started */
    struct temporal_call *call;     /* a start, or a look at how it ended */
    char *closed;                   /* owned; it is open no more: tell Temporal when it can hear */
    struct offer *due_next, **due_link; /* due_link NULL: is not to be started */
    bool own_folder, told;
    bool starting; /* call is a start */
};

struct engine_temporal {
    struct loop *loop;         /* borrowed */
    struct store *store;       /* borrowed */
    struct journal *journal;   /* borrowed */
    struct queue *queue;       /* borrowed */
    struct temporal *temporal; /* borrowed */
    struct temporal_worker *worker;
    char *runner_queue; /* owned */
    bool make_namespace;
    struct map offers;             /* execution id → struct offer */
    struct offer *due, **due_tail; /* those to be started, in the order they were offered */
    unsigned starting;
    struct lost *lost;              /* owned; asked about */
    struct map deleted;             /* execution id → struct deleted, owned; asked to end */
    struct temporal_call *greeting; /* one of the calls that lead to ready */
    struct loop_timer *again, *look;
    int64_t again_ms;
    bool again_armed, looking, ready; /* ready: the namespace is there */
    int64_t looked_ms, looking_ms;    /* wall clock: the last whole look began; the one under way */
    char trouble[600], version[64];
    int workflow_pollers, runner_pollers;
    loop_fn *on_change;
    void *change_arg;
};

/* ---- engine-temporal.c ---- */

void engine_temporal_set_trouble(struct engine_temporal *e, const char *why); /* "": all is well */
void engine_temporal_set_fault(struct engine_temporal *e, const struct err *err);
void engine_temporal_try_again(struct engine_temporal *e); /* after a while */
/* The run says itself why it waits; once for every time that Temporal is away. */
void engine_temporal_tell_waiting(struct offer *o);

/* ---- engine-temporal-start.c ---- */

void engine_temporal_dispatch(struct engine_temporal *e); /* of its queue, from now on */
/* To be started, or started again: that says whether its workflow is there, and which run it has.
 */
void engine_temporal_make_due(struct offer *o);
void engine_temporal_start_due(struct engine_temporal *e);
void engine_temporal_offer_all_again(struct engine_temporal *e);
void engine_temporal_drop(struct offer *o);
void engine_temporal_drop_closed(struct offer *o); /* that had waited for the end of its call */
void engine_temporal_offer_free(struct offer *o);  /* that is in no map */
void engine_temporal_workflow_id(const char *execution_id, char *ret, size_t size);
struct temporal_call *engine_temporal_request_cancel(struct engine_temporal *e,
                                                     const char *execution_id, const char *reason,
                                                     int64_t try_ms, temporal_done_fn *done,
                                                     void *arg);

/* ---- engine-temporal-look.c ---- */

/* Ends the journal from outside of any runner. A runner that still has it is refused from now on.
 */
void engine_temporal_end_journal(struct engine_temporal *e, const char *id, bool cancelled,
                                 const char *why, engine_done_fn *done, void *arg);
void engine_temporal_ask_how(struct offer *o); /* has it ended? */
void engine_temporal_on_look(void *arg);       /* of the timer */

/* ---- engine-temporal-lost.c ---- */

void engine_temporal_lost(struct engine_temporal *e, const char *execution_id);
void engine_temporal_lost_free(struct engine_temporal *e); /* all of them */

/* ---- engine-temporal-deleted.c ---- */

void engine_temporal_end_deleted(struct engine_temporal *e); /* the workflows that are due */
void engine_temporal_deleted_free(struct engine_temporal *e);

#endif
