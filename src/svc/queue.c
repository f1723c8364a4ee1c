#include "svc/queue.h"

#include <string.h>

#include "base/log.h"
#include "base/str.h"
#include "svc/queue-impl.h"
#include "svc/session-place.h"

static struct queue *self(struct engine *base)
{
    return (struct queue *)base; /* base is the first member */
}

/* ---- items ------------------------------------------------------------------------------------
 */

struct item *queue_find(const struct queue *e, const char *id)
{
    return map_get(&e->by_id, id);
}

static struct item *add_item(struct queue *e, const char *id, const char *session_id,
                             const char *folder)
{
    struct item *it = mem_new(sizeof *it);

    it->engine = e;
    it->id = mem_str(id);
    it->session_id = mem_str(session_id);
    it->folder = str_is_empty(folder) ? NULL : mem_str(folder);
    it->deadline = INT64_MAX;
    *e->items_tail = it;
    e->items_tail = &it->next;
    map_put(&e->by_id, id, it);
    if (!map_get(&e->by_session, session_id))
        map_put(&e->by_session, session_id, it);
    return it;
}

void queue_release_slot(struct item *it)
{
    if (it->runner && it->slotless)
        it->runner->waiting--;
    else if (it->runner)
        it->runner->used--;
    it->runner = NULL;
    it->slotless = false;
}

void queue_count_slot(struct item *it)
{
    bool slotless = it->waits && it->runner && it->state == ITEM_CLAIMED;

    if (slotless == it->slotless || !it->runner)
        return;
    it->slotless = slotless;
    it->runner->used += slotless ? -1u : 1u;
    it->runner->waiting += slotless ? 1u : -1u;
}

/* it goes: the next of its session, in the order they were submitted, is the first now. */
static void pass_turn(struct item *it)
{
    struct map *m = &it->engine->by_session;
    struct item *next = it->next;

    if (map_get(m, it->session_id) != it)
        return;
    while (next && !str_eq(next->session_id, it->session_id))
        next = next->next;
    if (next)
        map_put(m, it->session_id, next);
    else
        map_remove(m, it->session_id);
}

static void free_item(struct item *it)
{
    free(it->id);
    free(it->session_id);
    free(it->folder);
    free(it->domain);
    free(it->runner_id);
    free(it->cancel_by);
    free(it->cancel_reason);
    free(it);
}

/* why: NULL when a runner ended it. Whoever hands out work may still have it on its list. */
void queue_drop(struct item *it, const char *why)
{
    struct queue *e = it->engine;

    if (e->dispatch.offer)
        e->dispatch.closed(it->id, why, e->dispatch.arg);
    queue_release_slot(it);
    pass_turn(it);
    map_remove(&e->by_id, it->id);
    for (struct item **p = &e->items; *p; p = &(*p)->next)
        if (*p == it) {
            *p = it->next;
            if (e->items_tail == &it->next)
                e->items_tail = p;
            break;
        }
    free_item(it);
}

/* ---- drain ------------------------------------------------------------------------------------
 */

static void end_drain(void *arg)
{
    struct queue *e = arg;
    loop_fn *done = e->drain_done;

    e->drain_done = NULL;
    loop_timer_free(e->drain_timer);
    e->drain_timer = NULL;
    if (done)
        done(e->drain_arg);
}

static bool anything_runs(const struct queue *e)
{
    for (const struct item *it = e->items; it; it = it->next)
        if (it->runner)
            return true;
    return false;
}

void queue_check_drained(struct queue *e)
{
    if (e->drain_done && !anything_runs(e))
        loop_timer_in(e->drain_timer, 0);
}

static void drain(struct engine *base, int64_t grace_ms, loop_fn *done, void *arg)
{
    struct queue *e = self(base);

    e->draining = true;
    e->drain_done = done;
    e->drain_arg = arg;
    if (!e->drain_timer)
        e->drain_timer = loop_timer_new(e->loop, end_drain, e);
    loop_timer_in(e->drain_timer, grace_ms);
    for (struct queue_runner *r = e->runners; r; r = r->next)
        r->ops.drain(grace_ms, r->arg);
    queue_check_drained(e);
}

/* ---- assigning --------------------------------------------------------------------------------
 */

static bool reaches(const struct queue_runner *r, const struct item *it)
{
    if (r->session)
        return str_eq(r->session, it->session_id);
    return r->host_paths || !it->folder;
}

static bool anyone_reaches(const struct queue *e, const struct item *it)
{
    for (const struct queue_runner *r = e->runners; r; r = r->next)
        if (reaches(r, it))
            return true;
    return false;
}

/* Has it the folder of the session? */
bool queue_has_folder(const struct queue_runner *r, const struct item *it)
{
    return !it->domain || str_eq(it->domain, session_place_domain_of(r->id));
}

void queue_place(struct item *it)
{
    char domain[SESSION_PLACE_DOMAIN];
    bool found =
        !it->folder && session_place_find(store_read_db(it->engine->store), it->session_id, domain);

    it->placed = true;
    queue_set(&it->domain, found ? domain : NULL);
}

/* Runners are there, and none has the folder: the run's log says what it waits for. */
void queue_tell_place(struct item *it)
{
    const struct queue *e = it->engine;
    bool others = false;

    for (const struct queue_runner *r = e->runners; r; r = r->next) {
        if (r->session)
            continue;
        if (queue_has_folder(r, it))
            return;
        others = true;
    }
    if (!others || it->told)
        return;
    it->told = true;
    session_place_tell(e->journal, it->id, it->domain);
}

static struct queue_runner *free_runner(struct queue *e, const struct item *it)
{
    struct queue_runner *best = NULL;

    for (struct queue_runner *r = e->runners; r; r = r->next)
        if (reaches(r, it) && queue_has_folder(r, it) && r->used < r->slots &&
            r->waiting < QUEUE_WAITING_MAX && !r->silent &&
            (!best || r->slots - r->used > best->slots - best->used))
            best = r;
    return best;
}

void queue_give(struct item *it, struct queue_runner *r)
{
    it->state = ITEM_ASSIGNED;
    it->warned = false;
    it->runner = r;
    r->used++;
    queue_set(&it->runner_id, r->id);
}

static void assign(struct item *it, struct queue_runner *r)
{
    struct queue *e = it->engine;

    queue_give(it, r);
    it->deadline = loop_now_ms(e->loop) + e->config.lease_ms;
    log_debug("execution assigned", "run", it->id, "runner", r->id);
    r->ops.assign(it->id, r->arg);
}

static void hand_out(struct item *it)
{
    struct queue *e = it->engine;
    struct queue_runner *r;

    if (!it->placed)
        queue_place(it);
    if (it->folder && e->on_need && !anyone_reaches(e, it))
        e->on_need(it->session_id, it->folder, e->need_arg);
    if (e->dispatch.offer) {
        it->state = ITEM_OFFERED;
        queue_tell_place(it);
        e->dispatch.offer(it->id, it->session_id, it->folder != NULL, e->dispatch.arg);
    } else if ((r = free_runner(e, it))) {
        assign(it, r);
    } else {
        queue_tell_place(it);
    }
}

/* Nobody has it, and nothing is waited for. */
bool queue_is_free(const struct item *it)
{
    return (it->state == ITEM_QUEUED || it->state == ITEM_OFFERED) && it->deadline == INT64_MAX;
}

static void pump_once(struct queue *e)
{
    struct item *it = e->items;

    for (struct queue_runner *r = e->runners; r && e->on_need; r = r->next)
        if (r->session && r->folder)
            e->on_need(r->session, r->folder, e->need_arg);
    while (it) {
        struct item *next = it->next;

        if (queue_is_free(it) && it->cancel_by)
            queue_close_cancelled(it);
        else if (queue_is_free(it) && it->state == ITEM_QUEUED && !e->draining &&
                 map_get(&e->by_session, it->session_id) == it)
            hand_out(it);
        it = next;
    }
}

/* Gives queued work to free runners. A runner's callback may come back here: then once more. */
void queue_pump(struct queue *e)
{
    e->pump_again = true;
    if (e->pumping)
        return;
    e->pumping = true;
    while (e->pump_again) {
        e->pump_again = false;
        pump_once(e);
    }
    e->pumping = false;
    queue_arm(e);
}

/* ---- the engine's interface ------------------------------------------------------------------ */

static void submit(struct engine *base, const char *id)
{
    struct queue *e = self(base);
    struct journal_head head;
    struct err err;

    if (queue_find(e, id))
        return;
    if (journal_head(e->journal, id, &head, &err)) {
        log_error("a submitted execution cannot be read", "run", id, "why", err.msg);
        return;
    }
    if (head.state == JOURNAL_ENDED)
        return;
    add_item(e, id, head.session_id, head.folder);
    queue_pump(e);
}

static void forget(struct engine *base, const char *id)
{
    struct queue *e = self(base);
    struct item *it = queue_find(e, id);

    if (it && it->runner)
        it->runner->ops.cancel(it->id, "deleted", it->runner->arg);
    if (it)
        queue_drop(it, NULL);
    if (e->dispatch.deleted)
        e->dispatch.deleted(id, e->dispatch.arg);
    if (it)
        queue_pump(e);
}

static void ended(struct engine *base, const char *id)
{
    queue_progress(self(base), id, false, true);
}

struct cancelling {
    struct queue *engine;   /* borrowed */
    char *id, *by, *reason; /* owned */
    engine_done_fn *done;
    void *arg;
};

static enum err_code cancel_job(sqlite3 *db, void *arg, struct err *err)
{
    struct cancelling *c = arg;
    struct journal_head head;
    enum err_code code = journal_tx_head(db, c->id, &head, err);

    if (code)
        return code;
    if (head.state == JOURNAL_ENDED)
        return err_set(err, ERR_STATE, "execution '%.80s' has ended already", c->id);
    return journal_tx_ask_cancel(db, c->id, c->by, c->reason, err);
}

static void cancel_written(const struct err *err, void *arg)
{
    struct cancelling *c = arg;
    struct item *it = queue_find(c->engine, c->id);

    if (!err && it && !it->cancel_by) {
        it->cancel_by = mem_str(c->by);
        it->cancel_reason = mem_str(c->reason);
        if (it->runner)
            it->runner->ops.cancel(it->id, it->cancel_reason, it->runner->arg);
        if (c->engine->dispatch.offer && it->state != ITEM_QUEUED)
            c->engine->dispatch.cancel(it->id, it->cancel_reason, c->engine->dispatch.arg);
    }
    if (c->done)
        c->done(err, c->arg);
    queue_pump(c->engine);
    free(c->id);
    free(c->by);
    free(c->reason);
    free(c);
}

static void cancel(struct engine *base, const char *id, const char *by, const char *reason,
                   engine_done_fn *done, void *arg)
{
    struct cancelling *c = mem_new(sizeof *c);

    c->engine = self(base);
    c->id = mem_str(id);
    c->by = mem_str(by);
    c->reason = mem_str(reason);
    c->done = done;
    c->arg = arg;
    store_submit(c->engine->store, cancel_job, cancel_written, c);
}

static const struct engine_ops ops = {.name = "embedded",
                                      .submit = submit,
                                      .cancel = cancel,
                                      .input = queue_input,
                                      .decide = queue_decide,
                                      .drain = drain,
                                      .ended = ended,
                                      .forget = forget};

/* ---- life
 * ------------------------------------------------------------------------------------------ */

static void load(const struct journal_open *x, void *arg)
{
    struct queue *e = arg;
    struct item *it = add_item(e, x->id, x->session_id, x->folder);

    it->epoch = x->epoch;
    it->lost = x->lost;
    it->waits = approvals_wait(store_read_db(e->store), x->id); /* until its runner says so */
    if (x->cancel_by) {
        it->cancel_by = mem_str(x->cancel_by);
        it->cancel_reason = mem_str(x->cancel_reason);
    }
    if (x->is_claimed) {
        it->state = ITEM_CLAIMED;
        it->runner_id = mem_str(x->runner);
        it->deadline = loop_now_ms(e->loop) + e->config.reattach_ms;
    }
}

enum err_code queue_new(struct loop *loop, struct store *store, struct journal *journal,
                        const struct queue_config *config, struct queue **ret, struct err *err)
{
    struct queue *e = mem_new(sizeof *e);
    enum err_code code;

    e->base.ops = &ops;
    e->loop = loop;
    e->store = store;
    e->journal = journal;
    if (config)
        e->config = *config;
    if (!e->config.lease_ms)
        e->config.lease_ms = 15000;
    if (!e->config.heartbeat_ms)
        e->config.heartbeat_ms = 5000;
    if (!e->config.reattach_ms)
        e->config.reattach_ms = 2000;
    if (!e->config.lost_max)
        e->config.lost_max = 5;
    e->items_tail = &e->items;
    e->timer = loop_timer_new(loop, queue_on_timer, e);
    if ((code = journal_keep_order(journal, err)) ||
        (code = journal_read_open(journal, load, e, err))) {
        queue_free(e);
        return code;
    }
    queue_pump(e);
    *ret = e;
    return ERR_OK;
}

void queue_free(struct queue *e)
{
    if (!e)
        return;
    while (e->runners) {
        struct queue_runner *r = e->runners;
        e->runners = r->next;
        queue_runner_free(r);
    }
    while (e->items) {
        struct item *it = e->items;
        e->items = it->next;
        free_item(it);
    }
    map_done(&e->by_id);
    map_done(&e->by_session);
    loop_timer_free(e->timer);
    loop_timer_free(e->drain_timer);
    free(e);
}

struct engine *queue_engine(struct queue *e)
{
    return &e->base;
}

const struct queue_config *queue_config(const struct queue *e)
{
    return &e->config;
}
