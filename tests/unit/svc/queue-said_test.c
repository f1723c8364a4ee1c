/* What people say to runs and decide for them: kept, told until the journal has it. */
#include "queue-bench.h"

/* ---- messages ------------------------------------------------------------------------------ */

static enum err_code say(struct bench *b, const char *id, const char *said_id, const char *text)
{
    struct waiting x = {.loop = b->w.loop};
    const struct inbox_input in = {said_id, "me", text};
    struct engine *e = queue_engine(b->e);

    e->ops->input(e, id, &in, on_job, &x);
    loop_run(b->w.loop);
    return x.code;
}

static size_t unread(struct bench *b, const char *id)
{
    size_t n;

    assert_int_equal(inbox_unread(store_read_db(b->w.store), id, NULL, NULL, &n, NULL), ERR_OK);
    return n;
}

static void journal_has(struct bench *b, const char *id, const char *said_id, uint64_t seq)
{
    Exec__Event e = EXEC__EVENT__INIT;
    Exec__InputReceived in = EXEC__INPUT_RECEIVED__INIT;
    struct waiting x = {.loop = b->w.loop};

    in.id = (char *)(uintptr_t)said_id;
    e.kind_case = EXEC__EVENT__KIND_INPUT_RECEIVED;
    e.input_received = &in;
    e.seq = seq;
    journal_append(b->w.journal, id, 1, (Exec__Event *[]){&e}, 1, on_append, &x);
    loop_run(b->w.loop);
    assert_int_equal(x.code, ERR_OK);
}

static void what_is_said_to_a_run_is_told_until_its_journal_has_it(void **state)
{
    struct bench *b = *state;

    let_a_run_r1(b);
    assert_int_equal(say(b, "r1", "one", "left"), ERR_OK);
    assert_int_equal(b->a.inputs, 1);
    assert_string_equal(b->a.said, "me: left");
    assert_int_equal(unread(b, "r1"), 1);
    beat(&b->a);
    assert_int_equal(b->a.inputs, 2); /* it may not have heard it */
    journal_has(b, "r1", "one", 3);
    beat(&b->a);
    assert_int_equal(b->a.inputs, 2);
    assert_int_equal(unread(b, "r1"), 0);
    assert_int_equal(say(b, "r1", "one", "left"), ERR_OK); /* its sender was not answered */
    assert_int_equal(b->a.inputs, 2);
    assert_int_equal(say(b, "r1", "two", "right"), ERR_OK);
    assert_string_equal(b->a.said, "me: right");
}

static void what_is_said_to_a_run_that_waits_is_there_for_its_claim(void **state)
{
    struct bench *b = *state;

    submit(b, "r1", "s1");
    assert_int_equal(say(b, "r1", "one", "left"), ERR_OK);
    assert_int_equal(say(b, "r9", "one", "left"), ERR_NOT_FOUND);
    assert_int_equal(cancel(b, "r1"), ERR_OK);
    settle(b);
    assert_int_equal(say(b, "r1", "two", "left"), ERR_STATE); /* it has ended */
}

static void a_run_that_does_not_read_is_told_no_more_than_it_can_hold(void **state)
{
    struct bench *b = *state;
    char id[16];

    submit(b, "r1", "s1");
    for (int i = 0; i < 100; i++) {
        (void)str_format(id, sizeof id, "%d", i);
        assert_int_equal(say(b, "r1", id, "left"), ERR_OK);
    }
    assert_int_equal(say(b, "r1", "more", "left"), ERR_LIMIT);
    assert_int_equal(unread(b, "r1"), 100);
    assert_int_equal(say(b, "r1", "37", "left"), ERR_OK); /* it has that one */
}

/* ---- calls that wait ------------------------------------------------------------------------- */

/* A turn that asks for call "a", which policy holds back; the question's seq. */
static uint64_t ask(struct bench *b, const char *id, uint64_t epoch)
{
    Exec__TurnStarted started = EXEC__TURN_STARTED__INIT;
    Exec__ToolRequest call = EXEC__TOOL_REQUEST__INIT, *calls = &call;
    Exec__TurnFinished turn = EXEC__TURN_FINISHED__INIT;
    Exec__ApprovalRequested asked = EXEC__APPROVAL_REQUESTED__INIT;
    Exec__Event e[3] = {EXEC__EVENT__INIT, EXEC__EVENT__INIT, EXEC__EVENT__INIT};
    struct waiting x = {.loop = b->w.loop};
    struct journal_head head;

    assert_int_equal(journal_head(b->w.journal, id, &head, NULL), ERR_OK);
    call.call_id = asked.call_id = (char *)(uintptr_t) "a";
    call.name = asked.name = (char *)(uintptr_t) "execute";
    turn.n_tool_calls = 1;
    turn.tool_calls = &calls;
    e[0].kind_case = EXEC__EVENT__KIND_TURN_STARTED;
    e[0].turn_started = &started;
    e[1].kind_case = EXEC__EVENT__KIND_TURN_FINISHED;
    e[1].turn_finished = &turn;
    e[2].kind_case = EXEC__EVENT__KIND_APPROVAL_REQUESTED;
    e[2].approval_requested = &asked;
    for (unsigned i = 0; i < 3; i++)
        e[i].seq = head.seq + 1 + i;
    journal_append(b->w.journal, id, epoch, (Exec__Event *[]){&e[0], &e[1], &e[2]}, 3, on_append,
                   &x);
    loop_run(b->w.loop);
    assert_int_equal(x.code, ERR_OK);
    queue_progress(b->e, id, true, false);
    return head.seq + 3;
}

struct decided {
    struct waiting wait;
    struct approvals_decided what;
};

static void on_decided(const struct err *err, const struct approvals_decided *d, void *arg)
{
    struct decided *x = arg;

    x->what = *d;
    on_job(err, &x->wait);
}

static enum err_code decide(struct bench *b, const char *id, uint64_t seq, bool approve)
{
    struct decided x = {.wait = {.loop = b->w.loop}};
    const struct approvals_choice c = {
        .seq = seq, .approve = approve, .by = "me", .reason = approve ? "" : "no"};
    struct engine *e = queue_engine(b->e);

    e->ops->decide(e, id, &c, on_decided, &x);
    loop_run(b->w.loop);
    if (!x.wait.code)
        assert_string_equal(x.what.tool, "execute");
    return x.wait.code;
}

static void a_decision_is_told_until_the_journal_has_it(void **state)
{
    struct bench *b = *state;
    Exec__ApprovalDecided d = EXEC__APPROVAL_DECIDED__INIT;
    Exec__Event e = EXEC__EVENT__INIT;
    struct waiting x = {.loop = b->w.loop};
    uint64_t seq;

    let_a_run_r1(b);
    seq = ask(b, "r1", 1);
    beat(&b->a);
    assert_int_equal(b->a.decisions, 0);
    assert_int_equal(decide(b, "r1", 0, false), ERR_OK);
    assert_int_equal(b->a.decisions, 1);
    assert_string_equal(b->a.said, "a denied by me: no");
    beat(&b->a);
    assert_int_equal(b->a.decisions, 2); /* it may not have heard it */
    e.seq = seq + 1;
    e.kind_case = EXEC__EVENT__KIND_APPROVAL_DECIDED;
    e.approval_decided = &d;
    d.call_id = (char *)(uintptr_t) "a";
    journal_append(b->w.journal, "r1", 1, (Exec__Event *[]){&e}, 1, on_append, &x);
    loop_run(b->w.loop);
    assert_int_equal(x.code, ERR_OK);
    beat(&b->a);
    assert_int_equal(b->a.decisions, 2);
    assert_int_equal(decide(b, "r1", seq, true), ERR_STATE);
    assert_int_equal(decide(b, "r1", seq, false), ERR_OK); /* the same again */
    assert_int_equal(decide(b, "r9", seq, false), ERR_NOT_FOUND);
}

/* Nobody's fault: while it waits there is no step that could be completed. */
static void a_run_that_waits_for_a_person_is_not_given_up_for_its_runners(void **state)
{
    struct bench *b = *state;
    uint64_t seq = 0;

    submit(b, "r1", "s1");
    for (unsigned i = 0; i < LOST_MAX + 2; i++) {
        uint64_t epoch;

        b->a.got_count = 0;
        attach(b, &b->a, "A", 1);
        wait_until(b, &b->a.got_count, 1);
        epoch = claim(b, &b->a, "r1");
        seq = seq ? seq : ask(b, "r1", epoch);
        queue_waits(b->e, "r1", true);
        detach(&b->a);
    }
    b->a.got_count = 0;
    attach(b, &b->a, "A", 1);
    wait_until(b, &b->a.got_count, 1);
    assert_int_equal(decide(b, "r1", seq, true), ERR_OK);
}

static void a_run_that_waits_for_a_person_leaves_its_slot_to_others(void **state)
{
    struct bench *b = *state;
    bool silent;

    let_a_run_r1(b); /* the runner's one slot */
    submit(b, "r2", "s2");
    settle(b);
    assert_int_equal(b->a.got_count, 1);
    (void)ask(b, "r1", 1);
    queue_waits(b->e, "r1", true);
    wait_until(b, &b->a.got_count, 2);
    assert_string_equal(b->a.got[1], "r2");
    assert_int_equal(queue_used(b->a.handle, &silent), 1);
    queue_waits(b->e, "r1", false); /* both work now */
    assert_int_equal(queue_used(b->a.handle, &silent), 2);
}

static void a_run_that_waits_leaves_the_slot_of_its_next_runner_too(void **state)
{
    struct bench *b = *state;
    bool silent;

    let_a_run_r1(b);
    (void)ask(b, "r1", 1);
    queue_waits(b->e, "r1", true);
    detach(&b->a);
    attach(b, &b->b, "B", 1);
    wait_until(b, &b->b.got_count, 1);
    assert_string_equal(b->b.got[0], "r1");
    submit(b, "r2", "s2");
    settle(b);
    assert_int_equal(b->b.got_count, 1);
    (void)claim(b, &b->b, "r1"); /* its runner has said nothing yet */
    wait_until(b, &b->b.got_count, 2);
    assert_string_equal(b->b.got[1], "r2");
    assert_int_equal(queue_used(b->b.handle, &silent), 1);
}

/* One that waits while another call of it runs: that one may be what its runners die of. */
static void a_run_that_works_beside_its_question_is_given_up_for_its_runners(void **state)
{
    struct bench *b = *state;
    struct loop_timer *t = loop_timer_new(b->w.loop, quit, b->w.loop);
    uint64_t seq = 0;

    submit(b, "r1", "s1");
    for (unsigned i = 0; i < LOST_MAX; i++) {
        uint64_t epoch;

        b->a.got_count = 0;
        attach(b, &b->a, "A", 1);
        wait_until(b, &b->a.got_count, 1);
        epoch = claim(b, &b->a, "r1");
        seq = seq ? seq : ask(b, "r1", epoch);
        queue_waits(b->e, "r1", false);
        detach(&b->a);
    }
    while (state_of(b, "r1") != JOURNAL_ENDED) {
        loop_timer_in(t, REATTACH_MS);
        loop_run(b->w.loop);
    }
    loop_timer_free(t);
    assert_int_equal(last_of(b, "r1").kind, EXEC__EVENT__KIND_FAILED);
}

static void a_runner_that_stops_is_not_held_against_the_run(void **state)
{
    struct bench *b = *state;
    struct journal_head head;

    let_a_run_r1(b);
    for (uint64_t epoch = 1; epoch < LOST_MAX + 2; epoch++) {
        const struct queue_held held = {"r1", epoch};
        struct waiting x = {.loop = b->w.loop};

        b->a.got_count = 0;
        queue_release(b->e, "A", &held, false, on_job, &x);
        loop_run(b->w.loop);
        assert_int_equal(x.code, ERR_OK);
        wait_until(b, &b->a.got_count, 1);
        (void)claim(b, &b->a, "r1");
    }
    assert_int_equal(journal_head(b->w.journal, "r1", &head, NULL), ERR_OK);
    assert_int_equal(head.lost, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_is_said_to_a_run_is_told_until_its_journal_has_it),
        TEST(what_is_said_to_a_run_that_waits_is_there_for_its_claim),
        TEST(a_run_that_does_not_read_is_told_no_more_than_it_can_hold),
        TEST(a_decision_is_told_until_the_journal_has_it),
        TEST(a_run_that_waits_for_a_person_is_not_given_up_for_its_runners),
        TEST(a_run_that_waits_for_a_person_leaves_its_slot_to_others),
        TEST(a_run_that_waits_leaves_the_slot_of_its_next_runner_too),
        TEST(a_run_that_works_beside_its_question_is_given_up_for_its_runners),
        TEST(a_runner_that_stops_is_not_held_against_the_run),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
