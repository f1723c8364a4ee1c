/* queue-impl.h — what the files of the queue share: queue.c (items, order, handing out),
 * queue-lease.c (leases that are lost, runs that end without a runner), queue-runners.c (attached
 * runners, claims, heartbeats), queue-input.c (what people say to runs). For them only. */
#ifndef SVC_QUEUE_IMPL_H
#define SVC_QUEUE_IMPL_H

#include "base/map.h"
#include "base/mem.h"
#include "svc/queue.h"

enum item_state { ITEM_QUEUED, ITEM_OFFERED, ITEM_ASSIGNED, ITEM_CLAIMED, ITEM_CLOSING };

/* An execution that has not ended. */
struct item {
    struct queue *engine;            /* borrowed */
    struct item *next;               /* in engine->items, by submission */
    char *id, *session_id;           /* owned */
    char *folder;                    /* owned; the session's own; NULL: none */
    char *domain;                    /* owned; of its session's folder; NULL: any */
    bool placed;                     /* domain is known */
    bool told;                       /* … and its log says that it waits for that */
    char *runner_id;                 /* owned; NULL: nobody's */
    struct queue_runner *runner;     /* borrowed; NULL while its stream is closed */
    char *cancel_by, *cancel_reason; /* owned; NULL: nobody wants that */
    bool waits;                      /* for a person, as was told last, or is to be thought */
    bool slotless;                   /* … so it takes none of its runner's slots */
    bool spoken_to;                  /* it may have inputs or decisions that its journal lacks */
    enum item_state state;
    uint64_t epoch;
    int64_t deadline; /* of the lease, or of the claim that must follow an assignment */
    bool warned;      /* the deadline has passed once */
    unsigned lost;
};

struct queue_runner {
    struct queue *engine;      /* borrowed */
    struct queue_runner *next; /* in engine->runners */
    char *id;                  /* owned */
    char *session;             /* owned; NULL: not of one session only */
    char *folder;              /* owned; that session's; NULL: none is known */
    bool host_paths;
    bool silent; /* a lease ran out while its stream is open: nothing new until it is heard of */
    unsigned slots, used;
    unsigned waiting; /* held, and not among used */
    int64_t heard_ms; /* its last word */
    bool hung;        /* … for so long that whoever can replace it was told */
    struct queue_runner_ops ops;
    void *arg;
};

struct queue {
    struct engine base;
    struct loop *loop;       /* borrowed */
    struct store *store;     /* borrowed */
    struct journal *journal; /* borrowed */
    struct queue_config config;
    struct item *items, **items_tail; /* owned */
    struct map by_id;                 /* execution id → struct item */
    struct map by_session; /* session id → its first open item: only that one may run */
    struct queue_runner *runners;
    queue_need_fn *on_need;
    void *need_arg;
    queue_silent_fn *on_silent;
    void *silent_arg;
    struct queue_dispatch dispatch; /* .offer NULL: attached runners are given work */
    struct loop_timer *timer;       /* the next deadline */
    bool pumping, pump_again;
    bool draining;
    struct loop_timer *drain_timer;
    loop_fn *drain_done;
    void *drain_arg;
};

static inline void queue_set(char **owned, const char *value)
{
    free(*owned);
    *owned = value ? mem_str(value) : NULL;
}

/* ---- queue.c ---- */

struct item *queue_find(const struct queue *e, const char *id);
/* why: NULL when a runner ended it. Whoever hands out work may still have it on its list. */
void queue_drop(struct item *it, const char *why);
void queue_release_slot(struct item *it);
bool queue_is_free(const struct item *it); /* nobody has it, and nothing is waited for */
void queue_give(struct item *it, struct queue_runner *r);
void queue_count_slot(struct item *it); /* what its runner's slots hold, after it->waits changed */
void queue_place(struct item *it);      /* which machines have its session's folder? */
bool queue_has_folder(const struct queue_runner *r, const struct item *it);
void queue_tell_place(struct item *it); /* its log says that it waits for them */
void queue_pump(struct queue *e);       /* hands out what can be */
void queue_check_drained(struct queue *e);

/* ---- queue-lease.c ---- */

void queue_arm(struct queue *e); /* the timer, for the next deadline */
void queue_on_timer(void *arg);
void queue_close_cancelled(struct item *it);
/* done: may be NULL. */
void queue_again(struct item *it, const char *why, engine_done_fn *done, void *arg);

/* ---- queue-input.c ---- */

void queue_input(struct engine *base, const char *id, const struct inbox_input *in,
                 engine_done_fn *done, void *arg);
void queue_decide(struct engine *base, const char *id, const struct approvals_choice *c,
                  engine_decided_fn *done, void *arg);
/* Inputs and decisions, to its runner; what is in its journal is no more told. */
void queue_tell_said(struct item *it);
void queue_warn_unread(const struct item *it);

/* ---- queue-runners.c ---- */

void queue_runner_free(struct queue_runner *r);

#endif
