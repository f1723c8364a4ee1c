/* Questions of policy in the store, and what is decided of them. */
#include "svc/approvals.h"

#include "world.h"

/* To a journal in which a turn has asked for call "a" and "b", both held back: seq 5 and 6. */
static void ask_two(struct world *w)
{
    Exec__TurnStarted started = EXEC__TURN_STARTED__INIT;
    Exec__ToolRequest calls[2] = {EXEC__TOOL_REQUEST__INIT, EXEC__TOOL_REQUEST__INIT};
    Exec__ToolRequest *list[2] = {&calls[0], &calls[1]};
    Exec__TurnFinished turn = EXEC__TURN_FINISHED__INIT;
    Exec__ApprovalRequested asked[2] = {EXEC__APPROVAL_REQUESTED__INIT,
                                        EXEC__APPROVAL_REQUESTED__INIT};
    Exec__Event e[4] = {EXEC__EVENT__INIT, EXEC__EVENT__INIT, EXEC__EVENT__INIT, EXEC__EVENT__INIT};
    static char ids[2][2] = {"a", "b"}, tool[] = "execute";

    assert_int_equal(do_job(w, create_job, "x"), ERR_OK);
    assert_int_equal(do_job(w, claim_job, "runner-1"), ERR_OK);
    e[0].kind_case = EXEC__EVENT__KIND_TURN_STARTED;
    e[0].turn_started = &started;
    e[1].kind_case = EXEC__EVENT__KIND_TURN_FINISHED;
    e[1].turn_finished = &turn;
    turn.n_tool_calls = 2;
    turn.tool_calls = list;
    for (int i = 0; i < 2; i++) {
        calls[i].call_id = asked[i].call_id = ids[i];
        calls[i].name = asked[i].name = tool;
        e[2 + i].kind_case = EXEC__EVENT__KIND_APPROVAL_REQUESTED;
        e[2 + i].approval_requested = &asked[i];
    }
    for (unsigned i = 0; i < 4; i++) {
        e[i].seq = 3 + i;
        e[i].at_ms = 3000 + i;
    }
    assert_int_equal(append(w, 1, (Exec__Event *[]){&e[0], &e[1], &e[2], &e[3]}, 4), ERR_OK);
}

struct deciding {
    struct approvals_choice c;
    struct approvals_decided ret;
};

static enum err_code decide_job(sqlite3 *db, void *arg, struct err *err)
{
    struct deciding *d = arg;

    return approvals_tx_decide(db, "x", &d->c, &d->ret, err);
}

static enum err_code decide(struct world *w, struct deciding *d)
{
    d->c.by = d->c.by ? d->c.by : "me";
    d->c.reason = d->c.reason ? d->c.reason : "";
    return do_job(w, decide_job, (const char *)d);
}

/* "a?" waits, "a+" is approved and not told, "a-" denied; in order. */
static bool note(const struct approvals_row *r, void *arg)
{
    char *out = arg;

    snprintf(out + strlen(out), 64 - strlen(out), "%s%s%s", *out ? " " : "", r->call_id,
             !r->decided   ? "?"
             : r->approved ? "+"
                           : "-");
    return true;
}

static void assert_open(struct world *w, const char *expected)
{
    char got[64] = "", of_all[64] = "";

    assert_int_equal(approvals_open(store_read_db(w->store), "x", note, got, NULL), ERR_OK);
    assert_string_equal(got, expected);
    assert_int_equal(approvals_open(store_read_db(w->store), NULL, note, of_all, NULL), ERR_OK);
    assert_string_equal(of_all, expected);
}

static enum err_code try_decided(struct world *w, uint64_t seq, const char *id, bool approved)
{
    Exec__ApprovalDecided d = EXEC__APPROVAL_DECIDED__INIT;
    Exec__Event e = EXEC__EVENT__INIT;

    e.seq = seq;
    e.at_ms = 4000;
    e.kind_case = EXEC__EVENT__KIND_APPROVAL_DECIDED;
    e.approval_decided = &d;
    d.call_id = (char *)(uintptr_t)id;
    d.approved = approved;
    return append(w, 1, (Exec__Event *[]){&e}, 1);
}

static void append_decided(struct world *w, uint64_t seq, const char *id, bool approved)
{
    assert_int_equal(try_decided(w, seq, id, approved), ERR_OK);
}

static void a_decision_is_open_until_the_journal_has_it(void **state)
{
    struct world *w = *state;
    struct deciding d = {.c = {.seq = 5, .approve = true}};

    ask_two(w);
    assert_open(w, "a? b?");
    assert_int_equal(decide(w, &d), ERR_OK);
    assert_int_equal(d.ret.seq, 5);
    assert_string_equal(d.ret.tool, "execute");
    assert_open(w, "a+ b?");
    world_close(w);
    world_open(w);
    assert_open(w, "a+ b?");
    append_decided(w, 7, "a", true);
    assert_open(w, "b?");
}

static void the_same_decision_again_is_a_success_and_another_one_is_not(void **state)
{
    struct world *w = *state;
    struct deciding yes = {.c = {.seq = 5, .approve = true}}, no = {.c = {.seq = 5}};

    ask_two(w);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(decide(w, &yes), ERR_OK);
        assert_int_equal(decide(w, &yes), ERR_OK);
        assert_int_equal(decide(w, &no), ERR_STATE);
        if (i == 0)
            append_decided(w, 7, "a", true);
    }
    assert_open(w, "b?");
}

static void without_a_number_it_is_the_one_that_waits(void **state)
{
    struct world *w = *state;
    struct deciding any = {.c = {.approve = false}}, by_call = {.c = {.call_id = "a"}};

    ask_two(w);
    assert_int_equal(decide(w, &any), ERR_STATE); /* two do */
    assert_int_equal(decide(w, &by_call), ERR_OK);
    assert_int_equal(by_call.ret.seq, 5);
    assert_int_equal(decide(w, &any), ERR_OK);
    assert_int_equal(any.ret.seq, 6);
    assert_open(w, "a- b-");
    assert_int_equal(decide(w, &any), ERR_STATE); /* none does */
}

static void a_journal_tells_of_no_decision_that_nobody_made(void **state)
{
    struct world *w = *state;
    struct deciding no = {.c = {.seq = 5}};

    ask_two(w);
    assert_int_equal(try_decided(w, 7, "a", true), ERR_INVALID);
    assert_int_equal(decide(w, &no), ERR_OK);
    assert_int_equal(try_decided(w, 7, "a", true), ERR_INVALID);
    assert_int_equal(try_decided(w, 7, "b", false), ERR_INVALID);
    assert_int_equal(try_decided(w, 7, "a", false), ERR_OK);
    assert_open(w, "b?");
}

static void what_was_never_asked_is_not_found(void **state)
{
    struct world *w = *state;
    struct deciding number = {.c = {.seq = 4, .approve = true}}, call = {.c = {.call_id = "z"}};

    ask_two(w);
    assert_int_equal(decide(w, &number), ERR_NOT_FOUND);
    assert_int_equal(decide(w, &call), ERR_NOT_FOUND);
    assert_open(w, "a? b?");
}

static void with_the_end_of_a_run_its_questions_go(void **state)
{
    struct world *w = *state;
    Exec__Failed f = EXEC__FAILED__INIT;
    Exec__Event e = EXEC__EVENT__INIT;

    ask_two(w);
    e.seq = 7;
    e.at_ms = 4000;
    e.kind_case = EXEC__EVENT__KIND_FAILED;
    e.failed = &f;
    assert_int_equal(append(w, 1, (Exec__Event *[]){&e}, 1), ERR_OK);
    assert_open(w, "");
}

static enum err_code delete_job(sqlite3 *db, void *arg, struct err *err)
{
    return journal_tx_delete(db, arg, err);
}

static void a_run_that_is_deleted_takes_its_questions_along(void **state)
{
    struct world *w = *state;

    ask_two(w);
    assert_int_equal(do_job(w, delete_job, "x"), ERR_OK);
    assert_open(w, "");
}

static void a_reason_has_a_limit_and_is_text(void **state)
{
    static char reason[APPROVALS_REASON_MAX + 2];
    struct approvals_choice c = {.seq = 1, .by = "me", .reason = reason};
    struct err err;

    (void)state;
    memset(reason, 'x', sizeof reason - 2);
    assert_int_equal(approvals_check(&c, &err), ERR_OK);
    reason[sizeof reason - 2] = 'x';
    assert_int_equal(approvals_check(&c, &err), ERR_INVALID);
    c.reason = "\xff";
    assert_int_equal(approvals_check(&c, &err), ERR_INVALID);
}

#define IN_A_WORLD(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_A_WORLD(a_decision_is_open_until_the_journal_has_it),
        IN_A_WORLD(the_same_decision_again_is_a_success_and_another_one_is_not),
        IN_A_WORLD(without_a_number_it_is_the_one_that_waits),
        IN_A_WORLD(a_journal_tells_of_no_decision_that_nobody_made),
        IN_A_WORLD(what_was_never_asked_is_not_found),
        IN_A_WORLD(with_the_end_of_a_run_its_questions_go),
        IN_A_WORLD(a_run_that_is_deleted_takes_its_questions_along),
        cmocka_unit_test(a_reason_has_a_limit_and_is_text),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
