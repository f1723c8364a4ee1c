#include "svc/queue.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/str.h"
#include "svc/session-place.h"

enum { LAST_CHANCE = 30 }; /* part of a lease */

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

static void pump(struct queue *e);
static void arm(struct queue *e);

static struct queue *self(struct engine *base)
{
    return (struct queue *)base; /* base is the first member */
}

/* ---- items ------------------------------------------------------------------------------------
 */

static struct item *find(const struct queue *e, const char *id)
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

static void release_slot(struct item *it)
{
    if (it->runner)
        it->runner->used--;
    it->runner = NULL;
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
static void drop_item(struct item *it, const char *why)
{
    struct queue *e = it->engine;

    if (e->dispatch.offer)
        e->dispatch.closed(it->id, why, e->dispatch.arg);
    release_slot(it);
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

static void set_owned(char **field, const char *value)
{
    free(*field);
    *field = value ? mem_str(value) : NULL;
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

static void check_drained(struct queue *e)
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
    check_drained(e);
}

/* ---- writing for nobody: cancel and give up ---------------------------------------------------
 */

struct closing {
    struct queue *engine; /* borrowed */
    char *id;             /* owned */
    engine_done_fn *done; /* may be NULL */
    void *arg;
};

static void on_closed(const struct err *err, uint64_t last_seq, void *arg)
{
    struct closing *c = arg;
    struct item *it = find(c->engine, c->id);

    (void)last_seq;
    if (err && err->code != ERR_STATE && err->code != ERR_NOT_FOUND) {
        log_error("execution could not be closed", "run", c->id, "why", err->msg);
        if (it) {
            it->state = ITEM_QUEUED;
            it->deadline = loop_now_ms(c->engine->loop) + c->engine->config.lease_ms;
        }
    } else if (it) {
        drop_item(it, it->cancel_by ? it->cancel_reason : "it has ended");
    }
    pump(c->engine);
    check_drained(c->engine);
    free(c->id);
    free(c);
}

static void close_with(struct item *it, Exec__Event *const *events, size_t count)
{
    struct queue *e = it->engine;
    struct closing *c = mem_new(sizeof *c);

    release_slot(it);
    it->state = ITEM_CLOSING;
    it->deadline = INT64_MAX;
    c->engine = e;
    c->id = mem_str(it->id);
    journal_append(e->journal, it->id, JOURNAL_SERVER, events, count, on_closed, c);
}

static void close_cancelled(struct item *it)
{
    Exec__Event ask = EXEC__EVENT__INIT, end = EXEC__EVENT__INIT;
    Exec__CancelRequested r = EXEC__CANCEL_REQUESTED__INIT;
    Exec__Cancelled c = EXEC__CANCELLED__INIT;

    r.by = it->cancel_by;
    r.reason = it->cancel_reason;
    c.reason = it->cancel_reason;
    ask.kind_case = EXEC__EVENT__KIND_CANCEL_REQUESTED;
    ask.cancel_requested = &r;
    end.kind_case = EXEC__EVENT__KIND_CANCELLED;
    end.cancelled = &c;
    ask.at_ms = end.at_ms = clock_wall_ms();
    log_info("execution cancelled", "run", it->id, "by", it->cancel_by);
    close_with(it, (Exec__Event *[]){&ask, &end}, 2);
}

static void close_failed(struct item *it)
{
    Exec__Event end = EXEC__EVENT__INIT;
    Exec__Failed f = EXEC__FAILED__INIT;
    char class[] = "runner", message[256];

    snprintf(message, sizeof message,
             "the runner was lost %u times in a row without completing a step of this run; it is "
             "not tried again. 'stigmer server logs -c agent-runner' may say why",
             it->lost);
    f.class_ = class;
    f.message = message;
    end.kind_case = EXEC__EVENT__KIND_FAILED;
    end.failed = &f;
    end.at_ms = clock_wall_ms();
    log_warn("execution given up", "run", it->id, "lost", log_int(it->lost));
    close_with(it, (Exec__Event *[]){&end}, 1);
}

/* ---- losing a lease ---------------------------------------------------------------------- */

static void on_requeued(const struct err *err, uint64_t last_seq, void *arg)
{
    struct closing *c = arg;
    struct queue *e = c->engine;
    struct item *it = find(e, c->id);
    bool gone = err && (err->code == ERR_STATE || err->code == ERR_NOT_FOUND);

    (void)last_seq;
    if (it && it->state == ITEM_CLOSING && gone) {
        drop_item(it, NULL);
    } else if (it && it->state == ITEM_CLOSING) {
        it->state = ITEM_QUEUED;
        it->deadline = err ? loop_now_ms(e->loop) + e->config.lease_ms : INT64_MAX;
    }
    if (err && !gone)
        log_error("execution could not be queued again", "run", c->id, "why", err->msg);
    if (c->done)
        c->done(err, c->arg);
    free(c->id);
    free(c);
    pump(e);
    check_drained(e);
}

static void queue_again(struct item *it, const char *why, engine_done_fn *done, void *arg)
{
    struct closing *c = mem_new(sizeof *c);

    it->state = ITEM_CLOSING; /* until the row says queued */
    it->deadline = INT64_MAX;
    *c = (struct closing){.engine = it->engine, .id = mem_str(it->id), .done = done, .arg = arg};
    journal_requeue(it->engine->journal, it->id, why, on_requeued, c);
}

static void lose_claim(struct item *it)
{
    it->lost++;
    it->placed = false;
    release_slot(it);
    set_owned(&it->runner_id, NULL);
    if (it->cancel_by) {
        close_cancelled(it);
    } else if (it->lost >= it->engine->config.lost_max) {
        close_failed(it);
    } else {
        log_warn("runner lost; execution is queued again", "run", it->id);
        queue_again(it, "the runner was lost; the run goes on from its last step", NULL, NULL);
    }
}

/* Its stream is open and it says nothing: stopped, or at a loss. Told once. */
static void check_silence(struct item *it, int64_t now)
{
    struct queue_runner *r = it->runner;
    struct queue *e = it->engine;

    if (!r || r->hung || it->state == ITEM_QUEUED ||
        now - r->heard_ms < e->config.lease_ms - e->config.heartbeat_ms)
        return;
    r->hung = true;
    log_error("runner is attached and does not answer", "runner", r->id, "silent_ms",
              log_int(now - r->heard_ms));
    if (e->on_silent)
        e->on_silent(r->session, e->silent_arg);
}

static void lose(struct item *it)
{
    if (it->runner && !it->runner->silent) {
        it->runner->silent = true;
        log_warn("nothing is heard of a runner", "runner", it->runner->id);
    }
    if (it->state == ITEM_CLAIMED) {
        lose_claim(it);
    } else if (it->state == ITEM_ASSIGNED) { /* nothing was begun: silently back */
        release_slot(it);
        set_owned(&it->runner_id, NULL);
        it->state = ITEM_QUEUED;
        it->deadline = INT64_MAX;
    } else if (it->state == ITEM_QUEUED) {
        it->deadline = INT64_MAX; /* a pause after an error is over */
    }
}

/* This process may have been stopped, or the machine: what its runners have said meanwhile is read
 * before anything is held against them. */
static bool is_overdue(struct item *it, int64_t now)
{
    if (it->deadline > now)
        return false;
    if (it->warned || it->state == ITEM_QUEUED)
        return true;
    it->warned = true;
    it->deadline = now + it->engine->config.lease_ms / LAST_CHANCE;
    return false;
}

static void on_timer(void *arg)
{
    struct queue *e = arg;
    int64_t now = loop_now_ms(e->loop);
    struct item *it = e->items;

    while (it) {
        struct item *next = it->next; /* losing frees nothing at once */
        if (is_overdue(it, now)) {
            check_silence(it, now);
            lose(it);
        }
        it = next;
    }
    pump(e);
}

static void arm(struct queue *e)
{
    int64_t first = INT64_MAX;

    for (const struct item *it = e->items; it; it = it->next)
        if (it->deadline < first)
            first = it->deadline;
    loop_timer_at(e->timer, first);
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
static bool has_folder(const struct queue_runner *r, const struct item *it)
{
    return !it->domain || str_eq(it->domain, session_place_domain_of(r->id));
}

static void place(struct item *it)
{
    char domain[SESSION_PLACE_DOMAIN];
    bool found =
        !it->folder && session_place_find(store_read_db(it->engine->store), it->session_id, domain);

    it->placed = true;
    set_owned(&it->domain, found ? domain : NULL);
}

/* Runners are there, and none has the folder: the run's log says what it waits for. */
static void tell_place(struct item *it)
{
    const struct queue *e = it->engine;
    bool others = false;

    for (const struct queue_runner *r = e->runners; r; r = r->next) {
        if (r->session)
            continue;
        if (has_folder(r, it))
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
        if (reaches(r, it) && has_folder(r, it) && r->used < r->slots && !r->silent &&
            (!best || r->slots - r->used > best->slots - best->used))
            best = r;
    return best;
}

static void give(struct item *it, struct queue_runner *r)
{
    it->state = ITEM_ASSIGNED;
    it->warned = false;
    it->runner = r;
    r->used++;
    set_owned(&it->runner_id, r->id);
}

static void assign(struct item *it, struct queue_runner *r)
{
    struct queue *e = it->engine;

    give(it, r);
    it->deadline = loop_now_ms(e->loop) + e->config.lease_ms;
    log_debug("execution assigned", "run", it->id, "runner", r->id);
    r->ops.assign(it->id, r->arg);
}

static void hand_out(struct item *it)
{
    struct queue *e = it->engine;
    struct queue_runner *r;

    if (!it->placed)
        place(it);
    if (it->folder && e->on_need && !anyone_reaches(e, it))
        e->on_need(it->session_id, it->folder, e->need_arg);
    if (e->dispatch.offer) {
        it->state = ITEM_OFFERED;
        tell_place(it);
        e->dispatch.offer(it->id, it->session_id, it->folder != NULL, e->dispatch.arg);
    } else if ((r = free_runner(e, it))) {
        assign(it, r);
    } else {
        tell_place(it);
    }
}

/* Nobody has it, and nothing is waited for. */
static bool is_free(const struct item *it)
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

        if (is_free(it) && it->cancel_by)
            close_cancelled(it);
        else if (is_free(it) && it->state == ITEM_QUEUED && !e->draining &&
                 map_get(&e->by_session, it->session_id) == it)
            hand_out(it);
        it = next;
    }
}

/* Gives queued work to free runners. A runner's callback may come back here: then once more. */
static void pump(struct queue *e)
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
    arm(e);
}

/* ---- the engine's interface ------------------------------------------------------------------ */

static void submit(struct engine *base, const char *id)
{
    struct queue *e = self(base);
    struct journal_head head;
    struct err err;

    if (find(e, id))
        return;
    if (journal_head(e->journal, id, &head, &err)) {
        log_error("a submitted execution cannot be read", "run", id, "why", err.msg);
        return;
    }
    if (head.state == JOURNAL_ENDED)
        return;
    add_item(e, id, head.session_id, head.folder);
    pump(e);
}

static void forget(struct engine *base, const char *id)
{
    struct queue *e = self(base);
    struct item *it = find(e, id);

    if (!it)
        return;
    if (it->runner)
        it->runner->ops.cancel(it->id, "deleted", it->runner->arg);
    drop_item(it, "it was deleted");
    pump(e);
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
    struct item *it = find(c->engine, c->id);

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
    pump(c->engine);
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
                                      .drain = drain,
                                      .ended = ended,
                                      .forget = forget};

/* ---- runners --------------------------------------------------------------------------------- */

static struct queue_runner *find_runner(const struct queue *e, const char *id)
{
    struct queue_runner *r = e->runners;

    while (r && !str_eq(r->id, id))
        r = r->next;
    return r;
}

static void free_runner_of(struct queue_runner *r)
{
    free(r->id);
    free(r->session);
    free(r->folder);
    free(r);
}

/* Does this claim still stand? Then it is the runner's again. */
static bool readopt(struct queue *e, struct queue_runner *r, const struct queue_held *held)
{
    struct item *it = find(e, held->execution_id);

    if (!it || it->epoch != held->epoch || it->state != ITEM_CLAIMED ||
        !str_eq(it->runner_id, r->id))
        return false;
    if (!it->runner) {
        it->runner = r;
        r->used++;
    }
    it->deadline = loop_now_ms(e->loop) + e->config.lease_ms;
    it->warned = false;
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
    pump(e);
    return r;
}

void queue_open(struct queue_runner *r, unsigned slots)
{
    r->slots = slots;
    if (r->engine->draining)
        r->ops.drain(0, r->arg);
    pump(r->engine);
}

void queue_detach(struct queue_runner *r)
{
    struct queue *e = r->engine;
    int64_t until = loop_now_ms(e->loop) + e->config.reattach_ms;

    for (struct item *it = e->items; it; it = it->next)
        if (it->runner == r) {
            it->runner = NULL;
            if (it->deadline > until)
                it->deadline = until;
        }
    for (struct queue_runner **p = &e->runners; *p; p = &(*p)->next)
        if (*p == r) {
            *p = r->next;
            break;
        }
    log_info("runner detached", "runner", r->id);
    free_runner_of(r);
    check_drained(e);
    arm(e);
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
    pump(e);
}

void queue_heartbeat(struct queue *e, const char *runner_id, const struct queue_held *held,
                     size_t held_count, void (*on_lost)(const char *execution_id, void *arg),
                     void (*on_cancel)(const char *execution_id, void *arg), void *arg)
{
    int64_t now = loop_now_ms(e->loop), until = now + e->config.lease_ms;

    hear_of(e, runner_id);
    for (size_t i = 0; i < held_count; i++) {
        struct item *it = find(e, held[i].execution_id);
        if (!it || it->epoch != held[i].epoch || it->state != ITEM_CLAIMED ||
            !str_eq(it->runner_id, runner_id)) {
            on_lost(held[i].execution_id, arg);
            continue;
        }
        it->deadline = until;
        it->warned = false;
        if (it->cancel_by)
            on_cancel(it->id, arg);
    }
    arm(e);
}

void queue_release(struct queue *e, const char *runner_id, const struct queue_held *held,
                   bool draining, engine_done_fn *done, void *arg)
{
    struct queue_runner *r = find_runner(e, runner_id);
    struct item *it = find(e, held->execution_id);
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
    release_slot(it);
    set_owned(&it->runner_id, NULL);
    if (it->cancel_by) {
        close_cancelled(it);
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
        release_slot(it); /* given to it again: it has lost the run, and knows it */
    else if (!is_free(it))
        return err_set(err, ERR_CONFLICT, "execution '%.80s' is held by runner '%.80s'", it->id,
                       it->runner_id ? it->runner_id : "nobody for a moment");
    if (!it->placed)
        place(it);
    if (!has_folder(r, it)) {
        tell_place(it);
        return err_set(err, ERR_DENIED, "the folder of its session is of %s%.60s",
                       *it->domain ? "the runners of " : "the server's machine", it->domain);
    }
    give(it, r);
    return ERR_OK;
}

enum err_code queue_may_claim(struct queue *e, const char *runner_id, const char *execution_id,
                              struct err *err)
{
    struct item *it;
    struct journal_head head;
    enum err_code code;

    hear_of(e, runner_id);
    it = find(e, execution_id);
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
    struct item *it = find(e, execution_id);

    if (!it)
        return;
    it->state = ITEM_CLAIMED;
    it->warned = false;
    it->epoch = epoch;
    it->deadline = loop_now_ms(e->loop) + (it->runner ? e->config.lease_ms : e->config.reattach_ms);
    if (it->cancel_by && it->runner)
        it->runner->ops.cancel(it->id, it->cancel_reason, it->runner->arg);
    arm(e);
}

void queue_unclaimed(struct queue *e, const char *execution_id)
{
    struct item *it = find(e, execution_id);

    if (!it || it->state != ITEM_ASSIGNED)
        return;
    release_slot(it);
    set_owned(&it->runner_id, NULL);
    it->state = ITEM_QUEUED;
    it->deadline = loop_now_ms(e->loop) + e->config.heartbeat_ms; /* not at once again */
    arm(e);
}

bool queue_is_current(const struct queue *e, const char *execution_id, uint64_t epoch)
{
    const struct item *it = find(e, execution_id);

    return it && it->state == ITEM_CLAIMED && it->epoch == epoch;
}

void queue_progress(struct queue *e, const char *execution_id, bool step, bool ended)
{
    struct item *it = find(e, execution_id);

    if (!it)
        return;
    if (it->runner)
        it->runner->heard_ms = loop_now_ms(e->loop);
    if (step)
        it->lost = 0;
    if (!ended)
        return;
    drop_item(it, NULL);
    check_drained(e);
    pump(e);
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
    pump(e);
}

void queue_on_need(struct queue *e, queue_need_fn *fn, void *arg)
{
    e->on_need = fn;
    e->need_arg = arg;
    pump(e);
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

/* ---- life
 * ------------------------------------------------------------------------------------------ */

static void load(const struct journal_open *x, void *arg)
{
    struct queue *e = arg;
    struct item *it = add_item(e, x->id, x->session_id, x->folder);

    it->epoch = x->epoch;
    it->lost = x->lost;
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
    e->timer = loop_timer_new(loop, on_timer, e);
    if ((code = journal_keep_order(journal, err)) ||
        (code = journal_read_open(journal, load, e, err))) {
        queue_free(e);
        return code;
    }
    pump(e);
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
        free_runner_of(r);
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
