#include "svc/worker.h"

#include <assert.h>
#include <malloc.h>
#include <string.h>

#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/str.h"

#define GRACE_MS 5000 /* when the server names none */

struct worker {
    struct worker_options o;
    struct server *server;
    char *version;      /* owned; of this program */
    struct map runs;    /* execution id → struct run */
    struct map claims;  /* execution id → struct claim */
    struct map givings; /* execution id → struct giving */
    struct loop_timer *grace;
    bool draining, drained, later_due, dead;
};

/* A parked run on its way back to the server. */
struct giving {
    struct worker *worker;
    char *id;
    struct server_release *call;
};

/* A claim on its way. */
struct claim {
    struct worker *worker;
    char *id;
    struct server_claim *call;
    bool cancelled, parked;
    char *cancel_by, *cancel_reason; /* owned; NULL unless cancelled */
};

static void claim_free(struct claim *c)
{
    (void)map_remove(&c->worker->claims, c->id);
    free(c->id);
    free(c->cancel_by);
    free(c->cancel_reason);
    free(c);
}

static void giving_free(struct giving *g)
{
    (void)map_remove(&g->worker->givings, g->id);
    free(g->id);
    free(g);
}

/* ---- the end -------------------------------------------------------------------------------- */

static void tell_drained(void *arg)
{
    struct worker *w = arg;

    w->later_due = false;
    if (w->dead)
        free(w);
    else
        w->o.on_drained(w->o.arg);
}

static void check_drained(struct worker *w)
{
    if (!w->draining || w->drained || w->runs.len || w->claims.len || w->givings.len)
        return;
    w->drained = w->later_due = true;
    loop_timer_at(w->grace, INT64_MAX);
    server_detach(w->server);
    log_info("drained");
    loop_later(w->o.loop, tell_drained, w);
}

static void free_runs(struct worker *w)
{
    const char *id;
    void *value;

    for (size_t i = 0; map_next(&w->claims, &i, &id, &value);) {
        struct claim *c = value;

        server_claim_cancel(c->call);
        claim_free(c);
    }
    for (size_t i = 0; map_next(&w->givings, &i, &id, &value);) {
        struct giving *g = value;

        server_release_cancel(g->call);
        giving_free(g);
    }
    for (size_t i = 0; map_next(&w->runs, &i, &id, &value);) {
        (void)map_remove(&w->runs, id);
        run_free(value);
    }
}

static void on_grace(void *arg)
{
    struct worker *w = arg;
    const char *id;
    void *value;

    log_warn("tools did not end within the grace time", "runs", log_int(w->runs.len));
    for (size_t i = 0; w->o.on_over && map_next(&w->runs, &i, &id, &value);)
        w->o.on_over(id, WORKER_PARKED, "", NULL, w->o.arg);
    for (size_t i = 0; w->o.on_over && map_next(&w->claims, &i, &id, &value);)
        w->o.on_over(id, WORKER_PARKED, "", NULL, w->o.arg);
    for (size_t i = 0; w->o.on_over && map_next(&w->givings, &i, &id, &value);)
        w->o.on_over(id, WORKER_PARKED, "", NULL, w->o.arg);
    free_runs(w);
    check_drained(w);
}

void worker_drain(struct worker *w, int64_t grace_ms)
{
    const char *id;
    void *value;

    if (w->draining)
        return;
    log_info("draining", "runs", log_int(w->runs.len));
    w->draining = true;
    loop_timer_in(w->grace, grace_ms);
    for (size_t i = 0; map_next(&w->runs, &i, &id, &value);)
        run_park(value);
    check_drained(w);
}

void worker_go_on(struct worker *w)
{
    assert(w->drained);
    w->draining = w->drained = false;
    server_attach(w->server);
}

/* ---- runs ----------------------------------------------------------------------------------- */

static void tell_over(struct worker *w, const struct run *r)
{
    static const enum worker_over how[] = {
        [RUN_ENDED] = WORKER_ENDED, [RUN_PARKED] = WORKER_PARKED, [RUN_LOST] = WORKER_LOST};

    if (w->o.on_over)
        w->o.on_over(run_id(r), how[run_end(r)], run_phase(r), NULL, w->o.arg);
}

static void on_given(const struct err *err, void *arg)
{
    struct giving *g = arg;
    struct worker *w = g->worker;

    if (err)
        log_debug("a parked run could not be given back", "run", g->id, "why", err->msg);
    if (w->o.on_over)
        w->o.on_over(g->id, WORKER_PARKED, "", NULL, w->o.arg);
    giving_free(g);
    check_drained(w);
}

/* So that another runner need not wait for the end of our lease. */
static void give_back(struct worker *w, const struct run *r)
{
    struct giving *g = mem_new(sizeof *g);

    g->worker = w;
    g->id = mem_str(run_id(r));
    (void)map_put(&w->givings, g->id, g);
    g->call = server_release(w->server, g->id, run_epoch(r), w->draining, on_given, g);
}

static void on_over(struct run *r, void *arg)
{
    struct worker *w = arg;

    log_info("run ends", "run", run_id(r), "runs", log_int(w->runs.len - 1));
    (void)map_remove(&w->runs, run_id(r));
    if (run_end(r) == RUN_PARKED)
        give_back(w, r);
    else
        tell_over(w, r);
    toolhost_release(w->o.toolhosts, run_session(r));
    run_free(r);
    if (w->runs.len == 0)
        (void)malloc_trim(0); /* what many runs needed goes back to the machine */
    check_drained(w);
}

static void start_run(struct claim *c, const Runner__ClaimResponse *claim)
{
    struct worker *w = c->worker;
    struct run_env env = {.loop = w->o.loop,
                          .http = w->o.http,
                          .server = w->server,
                          .toolhosts = w->o.toolhosts,
                          .keys = w->o.keys,
                          .workspace_root = w->o.workspace_root,
                          .proxy = w->o.proxy,
                          .on_waits = w->o.on_waits,
                          .arg = w->o.arg};
    struct err err;
    struct run *r;

    if (run_new(&env, claim, on_over, w, &r, &err)) {
        log_error("cannot run", "run", c->id, "error", err.msg);
        if (w->o.on_over)
            w->o.on_over(c->id, WORKER_REFUSED, "", &err, w->o.arg);
        return;
    }
    (void)map_put(&w->runs, run_id(r), r);
    if (c->cancelled)
        run_cancel(r, c->cancel_by, c->cancel_reason);
    else if (w->draining || c->parked)
        run_park(r);
}

static void on_claimed(const Runner__ClaimResponse *claim, const struct err *err, void *arg)
{
    struct claim *c = arg;
    struct worker *w = c->worker;

    if (claim)
        start_run(c, claim);
    else
        log_warn("claim refused", "run", c->id, "error", err->msg);
    if (!claim && w->o.on_over)
        w->o.on_over(c->id, WORKER_REFUSED, "", err, w->o.arg);
    claim_free(c);
    check_drained(w);
}

/* ---- commands of the server ----------------------------------------------------------------- */

bool worker_has(const struct worker *w, const char *execution_id)
{
    return map_get(&w->runs, execution_id) || map_get(&w->claims, execution_id) ||
           map_get(&w->givings, execution_id);
}

bool worker_take(struct worker *w, const char *execution_id)
{
    struct claim *c;

    if (w->draining || worker_has(w, execution_id))
        return false;
    c = mem_new(sizeof *c);
    c->worker = w;
    c->id = mem_str(execution_id);
    (void)map_put(&w->claims, execution_id, c);
    c->call = server_claim(w->server, execution_id, on_claimed, c);
    return true;
}

static void on_assign(const char *execution_id, void *arg)
{
    (void)worker_take(arg, execution_id);
}

void worker_cancel(struct worker *w, const char *execution_id, const char *by, const char *reason)
{
    struct claim *c = map_get(&w->claims, execution_id);
    struct run *r = map_get(&w->runs, execution_id);

    if (c && !c->cancelled) {
        c->cancelled = true;
        c->cancel_by = mem_str(by);
        c->cancel_reason = mem_str(reason);
    }
    if (r)
        run_cancel(r, by, reason);
}

void worker_park(struct worker *w, const char *execution_id)
{
    struct claim *c = map_get(&w->claims, execution_id);
    struct run *r = map_get(&w->runs, execution_id);

    if (c)
        c->parked = true;
    if (r)
        run_park(r);
}

static void on_cancel(const char *execution_id, const char *reason, void *arg)
{
    worker_cancel(arg, execution_id, "person", reason);
}

/* To a run whose claim is on its way it is said with the claim, or again. */
static void on_input(const Runner__Input *in, void *arg)
{
    struct worker *w = arg;
    struct run *r = map_get(&w->runs, in->execution_id);

    if (r)
        run_input(r, in);
}

static void on_decision(const Runner__Decision *d, void *arg)
{
    struct worker *w = arg;
    struct run *r = map_get(&w->runs, d->execution_id);

    if (r)
        run_decision(r, d);
}

static void on_drain(int64_t grace_ms, void *arg)
{
    worker_drain(arg, grace_ms > 0 ? grace_ms : GRACE_MS);
}

static void on_attached(const char *server_version, void *arg)
{
    struct worker *w = arg;

    log_info("attached", "server", server_version, "runs", log_int(w->runs.len));
    if (!str_eq(server_version, w->version))
        log_warn("the server is of another version than this runner", "server", server_version,
                 "runner", w->version);
    if (w->o.on_attached)
        w->o.on_attached(true, w->o.arg);
}

static void on_unreachable(const struct err *why, void *arg)
{
    (void)arg;
    log_warn("the server cannot be reached, trying again", "why", why->msg, "hint", why->hint);
}

static void on_detached(const struct err *why, void *arg)
{
    struct worker *w = arg;

    log_warn("detached, coming back", "why", why->msg, "hint", why->hint, "runs",
             log_int(w->runs.len));
    if (w->o.on_attached)
        w->o.on_attached(false, w->o.arg);
}

/* ---- life ----------------------------------------------------------------------------------- */

enum err_code worker_new(const struct worker_options *o, struct worker **ret, struct err *err)
{
    struct worker *w = mem_new(sizeof *w);
    struct server_events ev = {.on_attached = on_attached,
                               .on_detached = on_detached,
                               .on_unreachable = on_unreachable,
                               .on_assign = on_assign,
                               .on_cancel = on_cancel,
                               .on_input = on_input,
                               .on_decision = on_decision,
                               .on_drain = on_drain,
                               .arg = w};
    enum err_code code = server_new(o->loop, &o->server, &ev, &w->server, err);

    if (code) {
        free(w);
        return code;
    }
    w->o = *o;
    w->version = mem_str(o->server.version);
    w->grace = loop_timer_new(o->loop, on_grace, w);
    *ret = w;
    return ERR_OK;
}

void worker_start(struct worker *w)
{
    server_attach(w->server);
}

void worker_free(struct worker *w)
{
    if (!w)
        return;
    free_runs(w);
    loop_timer_free(w->grace);
    server_free(w->server);
    free(w->version);
    map_done(&w->runs);
    map_done(&w->claims);
    map_done(&w->givings);
    w->dead = true;
    if (!w->later_due)
        free(w);
}
