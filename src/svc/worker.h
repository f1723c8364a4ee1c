/* worker.h — all runs of one agent-runner: takes what the server assigns, claims it, lets it run,
 * and gives the place back.
 *
 *   assign ──▶ claim ──▶ run ──▶ over        drain: nothing new, runs are parked, then drained
 *
 * Threads: the loop's. */
#ifndef SVC_WORKER_H
#define SVC_WORKER_H

#include "svc/run.h"

struct worker;

/* What became of an execution here. why: NULL unless WORKER_REFUSED. */
enum worker_over { WORKER_ENDED, WORKER_PARKED, WORKER_LOST, WORKER_REFUSED };
typedef void worker_over_fn(const char *execution_id, enum worker_over how, const char *phase,
                            const struct err *why, void *arg);

struct worker_options {
    struct loop *loop;
    struct http *http;           /* borrowed, outlives the worker */
    struct toolhosts *toolhosts; /* borrowed, outlives the worker */
    const json_t *keys;          /* borrowed */
    const char *workspace_root;  /* borrowed */
    struct egress_proxy *proxy;  /* borrowed, outlives the worker; may be NULL */
    struct server_options server;
    void (*on_attached)(bool attached, void *arg); /* may be NULL */
    void (*on_drained)(void *arg); /* nothing runs any more; free is fine in there */
    worker_over_fn *on_over;       /* of each execution that was taken; may be NULL */
    run_waits_fn *on_waits;        /* of those; may be NULL */
    void *arg;
};

MUST_CHECK enum err_code worker_new(const struct worker_options *o, struct worker **ret,
                                    struct err *err);
void worker_start(struct worker *w); /* attaches */
void worker_free(struct worker *w);  /* what still runs is parked as it is */

/* Something else than the server hands out work: claim it, and run it. Nothing when it is here
 * already, or this worker drains (false). */
bool worker_take(struct worker *w, const char *execution_id);
bool worker_has(const struct worker *w, const char *execution_id);
void worker_cancel(struct worker *w, const char *execution_id, const char *by, const char *reason);
void worker_park(struct worker *w, const char *execution_id);

/* Tools that run get grace_ms to end; then on_drained. */
void worker_drain(struct worker *w, int64_t grace_ms);
/* After on_drained: attaches again, and takes work as before. */
void worker_go_on(struct worker *w);

#endif
