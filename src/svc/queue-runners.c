/* Attached runners: what they are given, claim and hold: see queue.h. */
#include <string.h>

#include "base/log.h"
#include "base/str.h"
#include "svc/queue-impl.h"
#include "svc/session-place.h"

/* ---- runners --------------------------------------------------------------------------------- */

static struct queue_runner *find_runner(const struct queue *e, const char *id)
{
    struct queue_runner *r = e->runners;

    while (r && !str_eq(r->id, id))
        r = r->next;
    return r;
}

void queue_runner_free(struct queue_runner *r)
{
    free(r->id);
    free(r->session);
    free(r->folder);
    free(r);
}

void queue_waits(struct queue *e, const char *execution_id, bool waits)
{
    struct item *it = queue_find(e, execution_id);

    if (!it || it->waits == waits)
        return;
    it->waits = waits;
    queue_count_slot(it);
    if (waits)
        queue_pump(e);
}

/* Does this claim still stand? Then it is the runner's again. */
static bool readopt(struct queue *e, struct queue_runner *r, const struct queue_held *held)
{
    struct item *it = queue_find(e, held->execution_id);

    if (!it || it->epoch != held->epoch || it->state != ITEM_CLAIMED ||
        !str_eq(it->runner_id, r->id))
        return false;
    if (!it->runner) {
        it->runner = r;
        it->slotless = false;
        r->used++;
    }
    it->waits = held->waits;
    queue_count_slot(it);
    it->deadline = loop_now_ms(e->loop) + e->config.lease_ms;
    it->warned = false;
    it->spoken_to = true; /* not known: looked up when it is welcomed */
    if (it->cancel_by)
        r->ops.cancel(it->id, it->cancel_reason, r->arg);
    return true;
}

struct queue_runner *queue_attach(struct queue *e, const char *runner_id, unsigned slots,
                                  const struct queue_reach *reach, const struct queue_held *held,
                                  size_t held_count, const struct queue_runner_ops *runner_ops,
                                  void *arg, void (*on_lost)(const char *execution_id, void *arg))
{
    struct queue_runner *r = find_runner(e, runner_id);

    if (r) /* its old stream has not been seen to close yet */
        queue_detach(r);
    r = mem_new(sizeof *r);
    r->engine = e;
    r->id = mem_str(runner_id);
    if (reach && !str_is_empty(reach->session)) {
        r->session = mem_str(reach->session);
        r->folder = session_place_folder(store_read_db(e->store), r->session);
    }
    r->host_paths = reach && reach->host_paths;
    r->heard_ms = loop_now_ms(e->loop);
    r->slots = slots;
    r->ops = *runner_ops;
    r->arg = arg;
    r->next = e->runners;
    e->runners = r;
    for (size_t i = 0; i < held_count; i++)
        if (!readopt(e, r, &held[i]) && on_lost)
            on_lost(held[i].execution_id, arg);
    log_info("runner attached", "runner", runner_id, "holds", log_int(held_count));
    queue_pump(e);
    return r;
}

void queue_open(struct queue_runner *r, unsigned slots)
{
    r->slots = slots;
    if (r->engine->draining)
        r->ops.drain(0, r->arg);
    for (struct item *it = r->engine->items; it; it = it->next)
        if (it->runner == r)
            queue_tell_said(it);
    queue_pump(r->engine);
}

void queue_detach(struct queue_runner *r)
{
    struct queue *e = r->engine;
    int64_t until = loop_now_ms(e->loop) + e->config.reattach_ms;

    for (struct item *it = e->items; it; it = it->next)
        if (it->runner == r) {
            it->runner = NULL;
            it->slotless = false;
            if (it->deadline > until)
                it->deadline = until;
        }
    for (struct queue_runner **p = &e->runners; *p; p = &(*p)->next)
        if (*p == r) {
            *p = r->next;
            break;
        }
    log_info("runner detached", "runner", r->id);
    queue_runner_free(r);
    queue_check_drained(e);
    queue_arm(e);
}

static void hear_of(struct queue *e, const char *runner_id)
{
    struct queue_runner *r = find_runner(e, runner_id);

    if (!r)
        return;
    r->heard_ms = loop_now_ms(e->loop);
    if (!r->silent)
        return;
    r->silent = false;
    log_info("the runner is heard of again", "runner", runner_id);
    queue_pump(e);
}

void queue_heartbeat(struct queue *e, const char *runner_id, const struct queue_held *held,
                     size_t held_count, void (*on_lost)(const char *execution_id, void *arg),
                     void (*on_cancel)(const char *execution_id, void *arg), void *arg)
{
    int64_t now = loop_now_ms(e->loop), until = now + e->config.lease_ms;

    hear_of(e, runner_id);
    for (size_t i = 0; i < held_count; i++) {
        struct item *it = queue_find(e, held[i].execution_id);
        if (!it || it->epoch != held[i].epoch || it->state != ITEM_CLAIMED ||
            !str_eq(it->runner_id, runner_id)) {
            on_lost(held[i].execution_id, arg);
            continue;
        }
        it->deadline = until;
        it->warned = false;
        queue_waits(e, it->id, held[i].waits);
        if (it->cancel_by)
            on_cancel(it->id, arg);
        queue_tell_said(it);
    }
    queue_arm(e);
}

void queue_release(struct queue *e, const char *runner_id, const struct queue_held *held,
                   bool draining, engine_done_fn *done, void *arg)
{
    struct queue_runner *r = find_runner(e, runner_id);
    struct item *it = queue_find(e, held->execution_id);
    struct err err;

    if (r && draining)
        r->slots = 0;
    if (!it || it->state != ITEM_CLAIMED || it->epoch != held->epoch ||
        !str_eq(it->runner_id, runner_id)) {
        err_set(&err, ERR_CONFLICT, "execution '%.80s' is not held by runner '%.80s'",
                held->execution_id, runner_id);
        done(&err, arg);
        return;
    }
    queue_release_slot(it);
    queue_set(&it->runner_id, NULL);
    if (it->cancel_by) {
        queue_close_cancelled(it);
        done(NULL, arg);
    } else {
        log_info("execution given back; it is queued again", "run", it->id, "runner", runner_id);
        queue_again(it, "the runner stops; the run goes on from its last step", done, arg);
    }
}

/* With a dispatch runners say themselves what they were given: what has no runner is theirs. */
static enum err_code take(struct queue *e, struct item *it, const char *runner_id, struct err *err)
{
    struct queue_runner *r = find_runner(e, runner_id);

    if (!r)
        return err_set(err, ERR_UNAVAILABLE, "runner '%.80s' is not attached", runner_id);
    if (e->draining)
        return err_set(err, ERR_UNAVAILABLE, "the server is stopping");
    if (map_get(&e->by_session, it->session_id) != it)
        return err_set(err, ERR_CONFLICT, "an earlier run of session '%.80s' has not ended",
                       it->session_id);
    if (it->state == ITEM_CLAIMED && str_eq(it->runner_id, runner_id))
        queue_release_slot(it); /* given to it again: it has lost the run, and knows it */
    else if (!queue_is_free(it))
        return err_set(err, ERR_CONFLICT, "execution '%.80s' is held by runner '%.80s'", it->id,
                       it->runner_id ? it->runner_id : "nobody for a moment");
    if (!it->placed)
        queue_place(it);
    if (!queue_has_folder(r, it)) {
        queue_tell_place(it);
        return err_set(err, ERR_DENIED, "the folder of its session is of %s%.60s",
                       *it->domain ? "the runners of " : "the server's machine", it->domain);
    }
    queue_give(it, r);
    return ERR_OK;
}

enum err_code queue_may_claim(struct queue *e, const char *runner_id, const char *execution_id,
                              struct err *err)
{
    struct item *it;
    struct journal_head head;
    enum err_code code;

    hear_of(e, runner_id);
    it = queue_find(e, execution_id);
    if (!it && e->dispatch.offer && journal_head(e->journal, execution_id, &head, NULL) == ERR_OK &&
        head.state == JOURNAL_ENDED)
        return err_set(err, ERR_STATE, "execution '%.80s' has ended", execution_id);
    if (!it)
        return err_set(err, ERR_NOT_FOUND, "there is no open execution '%.80s'", execution_id);
    if (e->dispatch.offer && it->state != ITEM_ASSIGNED && (code = take(e, it, runner_id, err)))
        return code;
    if (it->state != ITEM_ASSIGNED || !str_eq(it->runner_id, runner_id))
        return err_set(err, ERR_CONFLICT, "execution '%.80s' is not assigned to runner '%.80s'",
                       execution_id, runner_id);
    it->deadline = INT64_MAX; /* while the claim is being written */
    if (it->runner)
        it->runner->heard_ms = loop_now_ms(e->loop);
    return ERR_OK;
}

void queue_claimed(struct queue *e, const char *execution_id, uint64_t epoch)
{
    struct item *it = queue_find(e, execution_id);

    if (!it)
        return;
    it->state = ITEM_CLAIMED;
    it->warned = false;
    it->epoch = epoch;
    queue_count_slot(it);
    it->deadline = loop_now_ms(e->loop) + (it->runner ? e->config.lease_ms : e->config.reattach_ms);
    if (it->cancel_by && it->runner)
        it->runner->ops.cancel(it->id, it->cancel_reason, it->runner->arg);
    queue_arm(e);
    if (it->slotless)
        queue_pump(e);
}

void queue_unclaimed(struct queue *e, const char *execution_id)
{
    struct item *it = queue_find(e, execution_id);

    if (!it || it->state != ITEM_ASSIGNED)
        return;
    queue_release_slot(it);
    queue_set(&it->runner_id, NULL);
    it->state = ITEM_QUEUED;
    it->deadline = loop_now_ms(e->loop) + e->config.heartbeat_ms; /* not at once again */
    queue_arm(e);
}

bool queue_is_current(const struct queue *e, const char *execution_id, uint64_t epoch)
{
    const struct item *it = queue_find(e, execution_id);

    return it && it->state == ITEM_CLAIMED && it->epoch == epoch;
}

void queue_progress(struct queue *e, const char *execution_id, bool step, bool ended)
{
    struct item *it = queue_find(e, execution_id);

    if (!it)
        return;
    if (it->runner)
        it->runner->heard_ms = loop_now_ms(e->loop);
    if (step)
        it->lost = 0;
    if (!ended)
        return;
    queue_warn_unread(it);
    queue_drop(it, NULL);
    queue_check_drained(e);
    queue_pump(e);
}

void queue_on_silent(struct queue *e, queue_silent_fn *fn, void *arg)
{
    e->on_silent = fn;
    e->silent_arg = arg;
}

unsigned queue_runners(const struct queue *e, const char *session)
{
    unsigned n = 0;

    for (const struct queue_runner *r = e->runners; r; r = r->next)
        n += session ? str_eq(r->session, session) : !r->session;
    return n;
}

bool queue_busy(const struct queue *e, const char *session_id)
{
    for (const struct item *it = e->items; it; it = it->next)
        if (str_eq(it->session_id, session_id))
            return true;
    return false;
}

void queue_set_dispatch(struct queue *e, const struct queue_dispatch *d)
{
    e->dispatch = *d;
    if (d->offer)
        e->base.outside = true;
    queue_pump(e);
}

void queue_on_need(struct queue *e, queue_need_fn *fn, void *arg)
{
    e->on_need = fn;
    e->need_arg = arg;
    queue_pump(e);
}

unsigned queue_used(const struct queue_runner *r, bool *ret_silent)
{
    *ret_silent = r->silent;
    return r->used;
}

unsigned queue_running(const struct queue *e)
{
    unsigned n = 0;

    for (const struct item *it = e->items; it; it = it->next)
        n += it->state == ITEM_CLAIMED || it->state == ITEM_ASSIGNED;
    return n;
}
