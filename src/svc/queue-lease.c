/* Leases that are lost, and runs that end or go back without a runner: see queue.h. */
#include <inttypes.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/str.h"
#include "svc/queue-impl.h"

enum { LAST_CHANCE = 30 }; /* part of a lease */

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
    struct item *it = queue_find(c->engine, c->id);

    (void)last_seq;
    if (err && err->code != ERR_STATE && err->code != ERR_NOT_FOUND) {
        log_error("execution could not be closed", "run", c->id, "why", err->msg);
        if (it) {
            it->state = ITEM_QUEUED;
            it->deadline = loop_now_ms(c->engine->loop) + c->engine->config.lease_ms;
        }
    } else if (it) {
        queue_warn_unread(it);
        queue_drop(it, it->cancel_by ? it->cancel_reason : "it has ended");
    }
    queue_pump(c->engine);
    queue_check_drained(c->engine);
    free(c->id);
    free(c);
}

static void close_with(struct item *it, Exec__Event *const *events, size_t count)
{
    struct queue *e = it->engine;
    struct closing *c = mem_new(sizeof *c);

    queue_release_slot(it);
    it->state = ITEM_CLOSING;
    it->deadline = INT64_MAX;
    c->engine = e;
    c->id = mem_str(it->id);
    journal_append(e->journal, it->id, JOURNAL_SERVER, events, count, on_closed, c);
}

void queue_close_cancelled(struct item *it)
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
    struct item *it = queue_find(e, c->id);
    bool gone = err && (err->code == ERR_STATE || err->code == ERR_NOT_FOUND);

    (void)last_seq;
    if (it && it->state == ITEM_CLOSING && gone) {
        queue_drop(it, NULL);
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
    queue_pump(e);
    queue_check_drained(e);
}

void queue_again(struct item *it, const char *why, engine_done_fn *done, void *arg)
{
    struct closing *c = mem_new(sizeof *c);

    it->state = ITEM_CLOSING; /* until the row says queued */
    it->deadline = INT64_MAX;
    *c = (struct closing){.engine = it->engine, .id = mem_str(it->id), .done = done, .arg = arg};
    journal_requeue(it->engine->journal, it->id, it->lost, why, on_requeued, c);
}

/* A run is held to be the cause when its runners die over it again and again. One that waits for a
 * person, and nothing of it runs, does nothing that could be. */
static void lose_claim(struct item *it)
{
    it->lost += !it->waits;
    it->placed = false;
    queue_release_slot(it);
    queue_set(&it->runner_id, NULL);
    if (it->cancel_by) {
        queue_close_cancelled(it);
    } else if (it->lost >= it->engine->config.lost_max) {
        close_failed(it);
    } else {
        log_warn("runner lost; execution is queued again", "run", it->id);
        if (it->engine->dispatch.lost)
            it->engine->dispatch.lost(it->id, it->engine->dispatch.arg);
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
        queue_release_slot(it);
        queue_set(&it->runner_id, NULL);
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

void queue_on_timer(void *arg)
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
    queue_pump(e);
}

void queue_arm(struct queue *e)
{
    int64_t first = INT64_MAX;

    for (const struct item *it = e->items; it; it = it->next)
        if (it->deadline < first)
            first = it->deadline;
    loop_timer_at(e->timer, first);
}
