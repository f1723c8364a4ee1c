/* The embedded engine with leases of some milliseconds: who gets what, and what becomes of a run
 * whose runner goes. Nothing is timed: each test waits for what must come. */
#include "queue-bench.h"

#include "base/ulid.h"

/* ---- who gets what ------------------------------------------------------------------------- */

static void a_run_goes_to_a_runner_with_a_free_slot(void **state)
{
    struct bench *b = *state;

    submit(b, "r1", "s1"); /* before there is anybody */
    attach(b, &b->a, "A", 2);
    wait_until(b, &b->a.got_count, 1);
    submit(b, "r2", "s2");
    wait_until(b, &b->a.got_count, 2);
    submit(b, "r3", "s3");
    settle(b);
    assert_int_equal(b->a.got_count, 2); /* full */
    attach(b, &b->b, "B", 1);
    wait_until(b, &b->b.got_count, 1);
    assert_string_equal(b->b.got[0], "r3");
}

static void nothing_is_given_before_a_runner_is_open(void **state)
{
    struct bench *b = *state;

    submit(b, "r1", "s1");
    attach(b, &b->a, "A", 0);
    settle(b);
    assert_int_equal(b->a.got_count, 0);
    queue_open(b->a.handle, 1);
    wait_until(b, &b->a.got_count, 1);
}

static void two_runs_of_one_session_never_run_at_once(void **state)
{
    struct bench *b = *state;

    attach(b, &b->a, "A", 4);
    submit(b, "r1", "same");
    submit(b, "r2", "same");
    submit(b, "r3", "other");
    wait_until(b, &b->a.got_count, 2);
    settle(b);
    assert_int_equal(b->a.got_count, 2);
    assert_string_equal(b->a.got[1], "r3"); /* it did not wait behind r2 */
    (void)claim(b, &b->a, "r1");
    queue_progress(b->e, "r1", true, true);
    wait_until(b, &b->a.got_count, 3);
    assert_string_equal(b->a.got[2], "r2");
}

/* While it is queued again, and while a claim that failed is waited out, it has no runner. */
static void a_run_that_loses_its_runner_keeps_its_place_in_the_session(void **state)
{
    struct bench *b = *state;

    attach(b, &b->a, "A", 1);
    submit(b, "r1", "same");
    submit(b, "r2", "same");
    wait_until(b, &b->a.got_count, 1);
    (void)claim(b, &b->a, "r1");
    detach(&b->a);
    attach(b, &b->b, "B", 4); /* waits with free slots for what A has lost */
    wait_until(b, &b->b.got_count, 1);
    assert_string_equal(b->b.got[0], "r1");
    queue_unclaimed(b->e, "r1");
    wait_until(b, &b->b.got_count, 2);
    assert_string_equal(b->b.got[1], "r1");
    (void)claim(b, &b->b, "r1");
    queue_progress(b->e, "r1", true, true);
    wait_until(b, &b->b.got_count, 3);
    assert_string_equal(b->b.got[2], "r2");
}

static void only_the_runner_that_was_given_a_run_may_claim_it(void **state)
{
    struct bench *b = *state;

    attach(b, &b->a, "A", 1);
    submit(b, "r1", "s1");
    wait_until(b, &b->a.got_count, 1);
    assert_int_equal(queue_may_claim(b->e, "B", "r1", NULL), ERR_CONFLICT);
    assert_int_equal(queue_may_claim(b->e, "A", "r1", NULL), ERR_OK);
    assert_int_equal(queue_may_claim(b->e, "A", "nobody", NULL), ERR_NOT_FOUND);
}

/* ---- where folders lie --------------------------------------------------------------------- */

static void a_session_stays_where_its_folder_is(void **state)
{
    struct bench *b = *state;

    attach(b, &b->a, "A@north", 4);
    submit(b, "r1", "s1");
    wait_until(b, &b->a.got_count, 1);
    (void)claim(b, &b->a, "r1");
    queue_progress(b->e, "r1", true, true);
    attach(b, &b->b, "B@south", 4);
    detach(&b->a);
    submit(b, "r2", "s1");
    submit(b, "r3", "s2");
    wait_until(b, &b->b.got_count, 1); /* a new session goes anywhere */
    settle(b);
    assert_string_equal(b->b.got[0], "r3");
    assert_int_equal(b->b.got_count, 1);
    assert_true(last_of(b, "r2").requeued); /* its log says what it waits for */
    attach(b, &b->a, "C@north", 4);
    wait_until(b, &b->a.got_count, 2);
    assert_string_equal(b->a.got[1], "r2");
}

static void a_run_that_was_lost_goes_on_where_its_folder_is(void **state)
{
    struct bench *b = *state;

    attach(b, &b->a, "A@north", 1);
    submit(b, "r1", "s1");
    wait_until(b, &b->a.got_count, 1);
    (void)claim(b, &b->a, "r1");
    attach(b, &b->b, "B", 4);
    detach(&b->a);
    attach(b, &b->a, "C@north", 1);
    wait_until(b, &b->a.got_count, 2);
    assert_string_equal(b->a.got[1], "r1");
    assert_int_equal(b->b.got_count, 0);
}

/* ---- leases -------------------------------------------------------------------------------- */

static void a_run_whose_runner_is_gone_goes_to_another(void **state)
{
    struct bench *b = *state;
    uint64_t first;

    attach(b, &b->a, "A", 1);
    submit(b, "r1", "s1");
    wait_until(b, &b->a.got_count, 1);
    first = claim(b, &b->a, "r1");
    detach(&b->a);
    attach(b, &b->b, "B", 1);
    wait_until(b, &b->b.got_count, 1);
    assert_int_equal(claim(b, &b->b, "r1"), first + 1);
    assert_true(queue_is_current(b->e, "r1", first + 1));
    assert_false(queue_is_current(b->e, "r1", first));
}

static void a_runner_that_is_silent_loses_its_lease(void **state)
{
    struct bench *b = *state;

    let_a_run_r1(b);
    attach(b, &b->b, "B", 1); /* A is still attached and says nothing */
    wait_until(b, &b->b.got_count, 1);
    const struct queue_held held = {"r1", 1};
    bool silent;
    (void)queue_used(b->a.handle, &silent);
    assert_true(silent);
    submit(b, "r2", "s2");
    settle(b);
    assert_int_equal(b->a.got_count, 1); /* nothing new for who may be cut off */
    queue_heartbeat(b->e, "A", &held, 1, on_lost, on_told_cancel, &b->a);
    assert_int_equal(b->a.lost, 1); /* and is told when it wakes up */
    wait_until(b, &b->a.got_count, 2);
}

static void heartbeats_keep_a_lease(void **state)
{
    struct bench *b = *state;
    unsigned beats = 0;
    struct loop_timer *t;

    let_a_run_r1(b);
    attach(b, &b->b, "B", 1);
    t = loop_timer_new(b->w.loop, quit, b->w.loop);
    for (; beats < 8; beats++) { /* more than two leases long */
        loop_timer_in(t, LEASE_MS / 3);
        loop_run(b->w.loop);
        beat(&b->a);
    }
    loop_timer_free(t);
    assert_int_equal(b->a.lost, 0);
    assert_int_equal(b->b.got_count, 0);
}

static void a_runner_that_comes_back_in_time_keeps_what_it_holds(void **state)
{
    static const struct queue_runner_ops ops = {on_assign, on_cancel, on_input, on_decision,
                                                on_drain};
    struct bench *b = *state;
    const struct queue_held held = {"r1", 1};

    let_a_run_r1(b);
    detach(&b->a);
    b->a.handle = queue_attach(b->e, "A", 1, NULL, &held, 1, &ops, &b->a, on_lost);
    attach(b, &b->b, "B", 1);
    settle(b);
    assert_int_equal(b->a.lost, 0);
    assert_true(queue_is_current(b->e, "r1", 1));
    assert_int_equal(b->b.got_count, 0);
}

static void a_runner_that_comes_back_too_late_is_told_what_it_lost(void **state)
{
    static const struct queue_runner_ops ops = {on_assign, on_cancel, on_input, on_decision,
                                                on_drain};
    struct bench *b = *state;
    const struct queue_held held = {"r1", 1};

    let_a_run_r1(b);
    detach(&b->a);
    attach(b, &b->b, "B", 1);
    wait_until(b, &b->b.got_count, 1);
    (void)claim(b, &b->b, "r1");
    b->a.handle = queue_attach(b->e, "A", 1, NULL, &held, 1, &ops, &b->a, on_lost);
    assert_int_equal(b->a.lost, 1);
}

/* A run that kills whoever takes it must not do so for ever. */
static void a_run_that_loses_every_runner_fails(void **state)
{
    struct bench *b = *state;
    struct loop_timer *t = loop_timer_new(b->w.loop, quit, b->w.loop);

    submit(b, "r1", "s1");
    for (unsigned i = 0; i < LOST_MAX; i++) {
        b->a.got_count = 0;
        attach(b, &b->a, "A", 1);
        wait_until(b, &b->a.got_count, 1);
        (void)claim(b, &b->a, "r1");
        detach(&b->a);
    }
    while (state_of(b, "r1") != JOURNAL_ENDED) {
        loop_timer_in(t, REATTACH_MS);
        loop_run(b->w.loop);
    }
    loop_timer_free(t);
    assert_int_equal(last_of(b, "r1").kind, EXEC__EVENT__KIND_FAILED);
    b->a.got_count = 0;
    attach(b, &b->a, "A", 1);
    settle(b);
    assert_int_equal(b->a.got_count, 0);
}

static void a_completed_step_forgives_lost_runners(void **state)
{
    struct bench *b = *state;

    submit(b, "r1", "s1");
    for (unsigned i = 0; i < LOST_MAX + 2; i++) {
        b->a.got_count = 0;
        attach(b, &b->a, "A", 1);
        wait_until(b, &b->a.got_count, 1);
        uint64_t epoch = claim(b, &b->a, "r1");
        Exec__TurnStarted started = EXEC__TURN_STARTED__INIT;
        Exec__TurnFinished finished = EXEC__TURN_FINISHED__INIT;
        Exec__Event e[2] = {EXEC__EVENT__INIT, EXEC__EVENT__INIT};
        struct journal_head head;
        struct waiting x = {.loop = b->w.loop};

        assert_int_equal(journal_head(b->w.journal, "r1", &head, NULL), ERR_OK);
        started.turn = i + 1;
        started.attempt = 1;
        e[0].kind_case = EXEC__EVENT__KIND_TURN_STARTED;
        e[0].turn_started = &started;
        e[1].kind_case = EXEC__EVENT__KIND_TURN_FINISHED;
        e[1].turn_finished = &finished;
        e[0].seq = head.seq + 1;
        e[1].seq = head.seq + 2;
        journal_append(b->w.journal, "r1", epoch, (Exec__Event *[]){&e[0], &e[1]}, 2, on_append,
                       &x);
        loop_run(b->w.loop);
        assert_int_equal(x.code, ERR_OK);
        queue_progress(b->e, "r1", true, false);
        detach(&b->a);
    }
    assert_int_equal(state_of(b, "r1"), JOURNAL_CLAIMED);
}

/* ---- cancel and drain ---------------------------------------------------------------------- */

static void a_queued_run_is_cancelled_by_the_engine(void **state)
{
    struct bench *b = *state;

    submit(b, "r1", "s1");
    assert_int_equal(cancel(b, "r1"), ERR_OK);
    settle(b);
    assert_int_equal(last_of(b, "r1").kind, EXEC__EVENT__KIND_CANCELLED);
    attach(b, &b->a, "A", 1);
    settle(b);
    assert_int_equal(b->a.got_count, 0);
    assert_int_equal(cancel(b, "r1"), ERR_STATE); /* it has ended */
}

static void
a_runner_is_told_of_a_cancel_and_one_that_dies_over_it_is_replaced_by_the_engine(void **state)
{
    struct bench *b = *state;
    struct loop_timer *t = loop_timer_new(b->w.loop, quit, b->w.loop);

    let_a_run_r1(b);
    assert_int_equal(cancel(b, "r1"), ERR_OK);
    wait_until(b, &b->a.cancels, 1);
    assert_int_equal(state_of(b, "r1"), JOURNAL_CLAIMED); /* its runner has the word */
    detach(&b->a);
    while (state_of(b, "r1") != JOURNAL_ENDED) {
        loop_timer_in(t, REATTACH_MS);
        loop_run(b->w.loop);
    }
    loop_timer_free(t);
    assert_int_equal(last_of(b, "r1").kind, EXEC__EVENT__KIND_CANCELLED);
}

static void on_drained(void *arg)
{
    struct bench *b = arg;

    b->drained = true;
    loop_quit(b->w.loop);
}

static void a_drain_tells_runners_gives_nothing_more_and_waits_for_them(void **state)
{
    struct bench *b = *state;
    struct engine *e = queue_engine(b->e);

    attach(b, &b->a, "A", 4);
    submit(b, "r1", "s1");
    wait_until(b, &b->a.got_count, 1);
    (void)claim(b, &b->a, "r1");
    e->ops->drain(e, 60000, on_drained, b);
    submit(b, "r2", "s2");
    settle(b);
    assert_int_equal(b->a.drains, 1);
    assert_int_equal(b->a.got_count, 1);
    assert_false(b->drained);
    queue_progress(b->e, "r1", true, true);
    loop_run(b->w.loop);
    assert_true(b->drained);
}

static void a_drain_does_not_wait_longer_than_its_grace(void **state)
{
    struct bench *b = *state;
    struct engine *e = queue_engine(b->e);

    let_a_run_r1(b);
    e->ops->drain(e, 20, on_drained, b);
    loop_run(b->w.loop);
    assert_true(b->drained);
}

static void the_queue_outlives_the_engine(void **state)
{
    struct bench *b = *state;

    submit(b, "r1", "s1");
    submit(b, "r2", "s2");
    queue_free(b->e);
    assert_int_equal(queue_new(b->w.loop, b->w.store, b->w.journal, NULL, &b->e, NULL), ERR_OK);
    attach(b, &b->a, "A", 4);
    wait_until(b, &b->a.got_count, 2);
    assert_string_equal(b->a.got[0], "r1"); /* in its order */
}

/* The clock was set back by a day while the server was down. */
static void a_new_id_comes_after_those_of_the_store_whatever_the_clock_says(void **state)
{
    static const char newest[] = "aex-7zzzzzzzzy0000000000000zzz";
    struct bench *b = *state;
    char id[ULID_LEN + 1], next[ULID_LEN + 1];

    submit(b, newest, "s1");
    queue_free(b->e);
    assert_int_equal(queue_new(b->w.loop, b->w.store, b->w.journal, NULL, &b->e, NULL), ERR_OK);
    ulid_make(1000, id);
    ulid_make(1000, next);
    assert_true(strcmp(id, newest + 4) > 0 && strcmp(next, id) > 0);
    assert_true(ulid_is_valid(next));
}

/* ---- given back by a runner that stops ------------------------------------------------------ */

static void note_done(const struct err *err, void *arg)
{
    *(enum err_code *)arg = err ? err->code : ERR_OK;
}

static enum err_code release(struct bench *b, const struct runner *r, const char *id,
                             uint64_t epoch, bool draining)
{
    const struct queue_held held = {id, epoch};
    enum err_code code = ERR_INTERNAL;

    queue_release(b->e, r->id, &held, draining, note_done, &code);
    settle(b);
    return code;
}

static void what_a_runner_gives_back_goes_to_another_at_once(void **state)
{
    struct bench *b = *state;

    let_a_run_r1(b);
    assert_int_equal(release(b, &b->a, "r1", 1, true), ERR_OK);
    assert_int_equal(b->a.got_count, 1); /* it drains: not to itself */
    assert_int_equal(state_of(b, "r1"), JOURNAL_QUEUED);
    attach(b, &b->b, "B", 1);
    wait_until(b, &b->b.got_count, 1);
    assert_int_equal(claim(b, &b->b, "r1"), 2);
}

static void only_the_claim_that_stands_is_given_back(void **state)
{
    struct bench *b = *state;

    let_a_run_r1(b);
    attach(b, &b->b, "B", 1);
    assert_int_equal(release(b, &b->a, "r1", 7, false), ERR_CONFLICT);
    assert_int_equal(release(b, &b->b, "r1", 1, false), ERR_CONFLICT);
    assert_int_equal(release(b, &b->a, "r9", 1, false), ERR_CONFLICT);
    assert_int_equal(state_of(b, "r1"), JOURNAL_CLAIMED);
    assert_true(queue_is_current(b->e, "r1", 1));
}

static void a_run_to_be_cancelled_that_is_given_back_ends_cancelled(void **state)
{
    struct bench *b = *state;
    struct engine *e = queue_engine(b->e);

    let_a_run_r1(b);
    e->ops->cancel(e, "r1", "me", "enough", NULL, NULL);
    wait_until(b, &b->a.cancels, 1);
    assert_int_equal(release(b, &b->a, "r1", 1, false), ERR_OK);
    assert_int_equal(last_of(b, "r1").kind, EXEC__EVENT__KIND_CANCELLED);
}

/* ---- another system hands out the work ------------------------------------------------------- */

struct dispatch {
    char offered[RUNS][16], closed[RUNS][16], why[RUNS][32];
    unsigned offers, cancels, closes, own_folders, losses;
    struct bench *bench;
};

static void on_offer(const char *id, const char *session, bool own_folder, void *arg)
{
    struct dispatch *d = arg;

    assert_true(d->offers < RUNS && *session);
    (void)str_format(d->offered[d->offers++], sizeof d->offered[0], "%s", id);
    d->own_folders += own_folder;
    look(d->bench);
}

static void on_offer_lost(const char *id, void *arg)
{
    assert_string_equal(id, "r1");
    ((struct dispatch *)arg)->losses++;
}

static void on_offer_cancel(const char *id, const char *reason, void *arg)
{
    (void)id;
    (void)reason;
    ((struct dispatch *)arg)->cancels++;
}

static void on_offer_closed(const char *id, const char *why, void *arg)
{
    struct dispatch *d = arg;

    (void)str_format(d->closed[d->closes], sizeof d->closed[0], "%s", id);
    (void)str_format(d->why[d->closes++], sizeof d->why[0], "%s", why ? why : "-");
}

static void dispatch(struct bench *b, struct dispatch *d)
{
    *d = (struct dispatch){.bench = b};
    queue_set_dispatch(b->e, &(struct queue_dispatch){on_offer, on_offer_lost, on_offer_cancel,
                                                      on_offer_closed, NULL, d});
}

static void what_may_run_is_offered_once_and_assigned_to_nobody(void **state)
{
    struct bench *b = *state;
    struct dispatch d;

    submit(b, "r1", "same"); /* before there is a dispatch */
    dispatch(b, &d);
    attach(b, &b->a, "A", 4);
    submit(b, "r2", "same");
    submit(b, "r3", "other");
    settle(b);
    assert_int_equal(d.offers, 2); /* r2 waits for r1 */
    assert_string_equal(d.offered[0], "r1");
    assert_string_equal(d.offered[1], "r3");
    assert_int_equal(b->a.got_count, 0);
    assert_int_equal(queue_may_claim(b->e, "A", "r2", NULL), ERR_CONFLICT);
    (void)claim(b, &b->a, "r1");
    queue_progress(b->e, "r1", true, true);
    assert_int_equal(d.offers, 3);
    assert_string_equal(d.offered[2], "r2");
    assert_string_equal(d.why[0], "-"); /* its runner has ended it */
}

static void any_attached_runner_may_claim_what_is_offered_and_nobody_else(void **state)
{
    struct bench *b = *state;
    struct dispatch d;

    dispatch(b, &d);
    submit(b, "r1", "s1");
    assert_int_equal(queue_may_claim(b->e, "A", "r1", NULL), ERR_UNAVAILABLE);
    attach(b, &b->a, "A", 1);
    attach(b, &b->b, "B", 1);
    assert_int_equal(queue_may_claim(b->e, "B", "r9", NULL), ERR_NOT_FOUND);
    (void)claim(b, &b->b, "r1");
    assert_int_equal(queue_may_claim(b->e, "A", "r1", NULL), ERR_CONFLICT);
    assert_int_equal(claim(b, &b->b, "r1"), 2); /* given to it again: it has lost it, and knows */
    queue_progress(b->e, "r1", true, true);
    assert_int_equal(d.closes, 1);
}

static void a_lost_lease_offers_again(void **state)
{
    struct bench *b = *state;
    struct dispatch d;

    dispatch(b, &d);
    attach(b, &b->a, "A", 1);
    submit(b, "r1", "s1");
    (void)claim(b, &b->a, "r1");
    detach(&b->a);
    wait_until(b, &d.offers, 2);
    assert_string_equal(d.offered[1], "r1");
    assert_int_equal(d.losses, 1);
    attach(b, &b->b, "B", 1);
    assert_int_equal(claim(b, &b->b, "r1"), 2);
}

static void what_is_given_back_is_offered_again(void **state)
{
    struct bench *b = *state;
    struct dispatch d;

    dispatch(b, &d);
    attach(b, &b->a, "A", 1);
    submit(b, "r1", "s1");
    (void)claim(b, &b->a, "r1");
    assert_int_equal(release(b, &b->a, "r1", 1, false), ERR_OK);
    assert_int_equal(d.offers, 2);
    assert_int_equal(d.losses, 0); /* who gives it back tells Temporal itself */
    attach(b, &b->b, "B", 1);
    assert_int_equal(claim(b, &b->b, "r1"), 2);
}

static void a_cancel_of_what_is_offered_closes_it_and_of_what_is_held_tells_both(void **state)
{
    struct bench *b = *state;
    struct engine *e = queue_engine(b->e);
    struct dispatch d;

    dispatch(b, &d);
    attach(b, &b->a, "A", 1);
    submit(b, "r1", "s1");
    submit(b, "r2", "s2");
    e->ops->cancel(e, "r1", "me", "never mind", NULL, NULL);
    settle(b);
    assert_int_equal(d.closes, 1);
    assert_string_equal(d.closed[0], "r1");
    assert_string_equal(d.why[0], "never mind");
    assert_int_equal(last_of(b, "r1").kind, EXEC__EVENT__KIND_CANCELLED);
    assert_int_equal(queue_may_claim(b->e, "A", "r1", NULL), ERR_STATE);
    (void)claim(b, &b->a, "r2");
    e->ops->cancel(e, "r2", "me", "enough", NULL, NULL);
    settle(b);
    assert_int_equal(b->a.cancels, 1);
    assert_int_equal(d.cancels, 2); /* r1's, too: it had been offered */
    assert_int_equal(d.closes, 1);  /* the runner ends it */
}

static void what_is_deleted_is_closed_and_the_session_goes_on(void **state)
{
    struct bench *b = *state;
    struct engine *e = queue_engine(b->e);
    struct dispatch d;

    dispatch(b, &d);
    submit(b, "r1", "same");
    submit(b, "r2", "same");
    e->ops->forget(e, "r1");
    assert_string_equal(d.closed[0], "r1");
    assert_int_equal(d.offers, 2);
    assert_string_equal(d.offered[1], "r2");
}

static void a_drain_offers_and_hands_out_nothing(void **state)
{
    struct bench *b = *state;
    struct engine *e = queue_engine(b->e);
    struct dispatch d;

    dispatch(b, &d);
    attach(b, &b->a, "A", 2);
    submit(b, "r1", "s1");
    e->ops->drain(e, 60000, on_drained, b);
    loop_run(b->w.loop);
    submit(b, "r2", "s2");
    assert_int_equal(d.offers, 1);
    assert_int_equal(queue_may_claim(b->e, "A", "r1", NULL), ERR_UNAVAILABLE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_run_goes_to_a_runner_with_a_free_slot),
        TEST(nothing_is_given_before_a_runner_is_open),
        TEST(two_runs_of_one_session_never_run_at_once),
        TEST(a_run_that_loses_its_runner_keeps_its_place_in_the_session),
        TEST(only_the_runner_that_was_given_a_run_may_claim_it),
        TEST(a_session_stays_where_its_folder_is),
        TEST(a_run_that_was_lost_goes_on_where_its_folder_is),
        TEST(a_run_whose_runner_is_gone_goes_to_another),
        TEST(a_runner_that_is_silent_loses_its_lease),
        TEST(heartbeats_keep_a_lease),
        TEST(a_runner_that_comes_back_in_time_keeps_what_it_holds),
        TEST(a_runner_that_comes_back_too_late_is_told_what_it_lost),
        TEST(a_run_that_loses_every_runner_fails),
        TEST(a_completed_step_forgives_lost_runners),
        TEST(a_queued_run_is_cancelled_by_the_engine),
        TEST(a_runner_is_told_of_a_cancel_and_one_that_dies_over_it_is_replaced_by_the_engine),
        TEST(a_drain_tells_runners_gives_nothing_more_and_waits_for_them),
        TEST(a_drain_does_not_wait_longer_than_its_grace),
        TEST(the_queue_outlives_the_engine),
        TEST(a_new_id_comes_after_those_of_the_store_whatever_the_clock_says),
        TEST(what_a_runner_gives_back_goes_to_another_at_once),
        TEST(only_the_claim_that_stands_is_given_back),
        TEST(a_run_to_be_cancelled_that_is_given_back_ends_cancelled),
        TEST(what_may_run_is_offered_once_and_assigned_to_nobody),
        TEST(any_attached_runner_may_claim_what_is_offered_and_nobody_else),
        TEST(a_lost_lease_offers_again),
        TEST(what_is_given_back_is_offered_again),
        TEST(a_cancel_of_what_is_offered_closes_it_and_of_what_is_held_tells_both),
        TEST(what_is_deleted_is_closed_and_the_session_goes_on),
        TEST(a_drain_offers_and_hands_out_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
