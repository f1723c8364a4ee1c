/* run.h — one claimed execution in this worker: it feeds core/agent and carries out its actions
 * with the model, the tool host and the server.
 *
 *   claim ──▶ fold ──▶ [append, call model, run tools]* ──▶ terminal event on disk ──▶ over
 *                            │ lost, parked
 *                            ▼
 *                          over (no terminal event: another runner goes on from the journal)
 *
 * Order of effects: a tool starts when its tool_started is acknowledged, never before.
 * A waiting run holds its journal and one HTTP exchange, nothing else.
 * Ownership: the environment's parts are borrowed and outlive the run. Threads: the loop's. */
#ifndef SVC_RUN_H
#define SVC_RUN_H

#include <jansson.h>

#include "clients/server.h"
#include "platform/http.h"
#include "platform/loop.h"
#include "svc/egress-proxy.h"
#include "svc/toolhost.h"

struct run;

/* It has begun to wait for a person, and nothing of it runs meanwhile; or has ended that. */
typedef void run_waits_fn(const char *id, bool waits, void *arg);

struct run_env {
    struct loop *loop;
    struct http *http;
    struct server *server;
    struct toolhosts *toolhosts;
    const json_t *keys;         /* {"llm.anthropic": "…", …}; never logged */
    const char *workspace_root; /* as the tools see it */
    struct egress_proxy *proxy; /* the tools' way out; NULL: they have none, or need none */
    run_waits_fn *on_waits;     /* may be NULL */
    void *arg;                  /* of it */
};

/* The run needs nothing more from this worker; it is safe to free it in there. */
typedef void run_over_fn(struct run *r, void *arg);

/* ERR_CORRUPT: the journal of the claim breaks its rules; nothing was started. */
MUST_CHECK enum err_code run_new(const struct run_env *env, const Runner__ClaimResponse *claim,
                                 run_over_fn *over, void *arg, struct run **ret, struct err *err);
void run_free(struct run *r); /* stops what is in flight; without a terminal event it is parked */

void run_cancel(struct run *r, const char *by, const char *reason);

/* A person says something to it; the same id again is nothing new. */
void run_input(struct run *r, const Runner__Input *in);
void run_decision(struct run *r, const Runner__Decision *d);

/* Begin nothing new; over when what runs has ended and is on disk. */
void run_park(struct run *r);

/* How it went, once it is over. */
enum run_end {
    RUN_ENDED,  /* its terminal event is on disk */
    RUN_PARKED, /* another runner goes on */
    RUN_LOST    /* another runner has it */
};
enum run_end run_end(const struct run *r);
const char *run_phase(const struct run *r); /* "EXECUTION_COMPLETED", … of RUN_ENDED */

const char *run_id(const struct run *r);
const char *run_session(const struct run *r);
uint64_t run_epoch(const struct run *r); /* of its claim */

#endif
