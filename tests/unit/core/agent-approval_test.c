/* Calls that policy holds back: nothing of them runs before a person has said so. */
#include "agent-sim.h"

static const char *const commands[] = {"execute"};
static const char *const everything[] = {"*"};

/* clang-format off */
static const struct turn two_commands[] = {
    {"", "tool_use", {SH("a", "make"), LS("b"), SH("c", "make install")}},
    {"all done", "end_turn", {{0}}},
    {0}};
static const struct turn two_looks[] = {
    {"", "tool_use", {LS("a"), LS("b")}}, {"all done", "end_turn", {{0}}}, {0}};
static const struct turn useless[] = {
    {"", "tool_use", {{"a", "execute", "not json"}, {"b", "no_such", "{}"}}}, {"all done", "end_turn", {{0}}}, {0}};
/* clang-format on */

static struct agent_config with_policy(uint64_t epoch, const char *const *patterns)
{
    struct agent_config c = config(epoch);

    c.require_approval = patterns;
    c.require_count = 1;
    return c;
}

static void decide(struct sim *s, const char *id, bool approved, const char *why)
{
    give(s,
         &(struct agent_input){
             .kind = AGENT_DECISION, .call_id = id, .approved = approved, .by = "me", .text = why});
}

static size_t count_of(const struct sim *s, Exec__Event__KindCase kind)
{
    size_t n = 0;

    for (size_t i = 0; i < s->count; i++)
        n += s->journal[i]->kind_case == kind;
    return n;
}

static void all_questions_of_a_turn_are_asked_at_once_and_nothing_runs(void **state)
{
    struct sim s;

    (void)state;
    open_with(&s, two_commands, with_policy(1, commands));
    run_on(&s);
    assert_int_equal(count_of(&s, EXEC__EVENT__KIND_APPROVAL_REQUESTED), 2);
    assert_string_equal(last(&s)->approval_requested->call_id, "c");
    assert_string_equal(last(&s)->approval_requested->name, "execute");
    assert_non_null(strstr(last(&s)->approval_requested->args_json, "make install"));
    assert_int_equal(s.tool_runs, 0);
    assert_false(s.model_called);
    done(&s);
}

static void calls_run_in_their_order_as_they_are_approved(void **state)
{
    struct sim s;

    (void)state;
    open_with(&s, two_commands, with_policy(1, commands));
    run_on(&s);
    decide(&s, "c", true, ""); /* its turn comes after a's */
    assert_int_equal(s.tool_runs, 0);
    decide(&s, "a", true, "");
    assert_int_equal(s.tool_runs, 3);
    assert_string_equal(s.ran[0], "a");
    assert_string_equal(s.ran[1], "b");
    assert_string_equal(s.ran[2], "c");
    run_on(&s);
    assert_completed(&s, "all done");
    done(&s);
}

static void a_call_that_is_denied_does_not_run_and_the_model_reads_why(void **state)
{
    struct sim s;

    (void)state;
    open_with(&s, two_commands, with_policy(1, commands));
    run_on(&s);
    decide(&s, "a", false, "not on a Friday");
    decide(&s, "a", true, ""); /* what is decided stays so */
    assert_int_equal(s.tool_runs, 1);
    assert_string_equal(s.ran[0], "b");
    assert_int_equal(finished_of(&s, "a")->outcome, EXEC__TOOL_FINISHED__OUTCOME__OUTCOME_ERROR);
    assert_non_null(strstr(finished_of(&s, "a")->text, "denied this call; it did not run"));
    assert_non_null(strstr(finished_of(&s, "a")->text, "not on a Friday"));
    decide(&s, "c", false, "");
    run_on(&s);
    assert_completed(&s, "all done");
    assert_int_equal(count_of(&s, EXEC__EVENT__KIND_APPROVAL_DECIDED), 2);
    assert_int_equal(count_of(&s, EXEC__EVENT__KIND_TOOL_STARTED), 1);
    done(&s);
}

static void pure_calls_run_beside_one_that_waits(void **state)
{
    static const char *const names[] = {"read_file"};
    struct sim s;

    (void)state;
    open_with(&s, mixed, with_policy(1, names));
    run_on(&s);
    assert_int_equal(s.tool_runs, 1);
    assert_string_equal(s.ran[0], "a");
    assert_false(s.model_called);
    decide(&s, "b", true, "");
    assert_int_equal(s.tool_runs, 2);
    done(&s);
}

static void what_cannot_be_called_is_not_asked_for(void **state)
{
    struct sim s;

    (void)state;
    open_with(&s, useless, with_policy(1, everything));
    run_on(&s);
    assert_completed(&s, "all done");
    assert_int_equal(count_of(&s, EXEC__EVENT__KIND_APPROVAL_REQUESTED), 0);
    done(&s);
}

static void a_star_holds_back_every_tool_but_the_loop_s_own(void **state)
{
    struct sim s;

    (void)state;
    open_with(&s, mixed, with_policy(1, everything));
    run_on(&s);
    decide(&s, "a", true, "");
    decide(&s, "b", true, "");
    run_on(&s);
    assert_int_equal(count_of(&s, EXEC__EVENT__KIND_APPROVAL_REQUESTED), 5); /* a b, d e f */
    done(&s);
}

/* Another agent_new, as the next runner makes it, over the same journal. */
static void next_runner(struct sim *s, struct agent_config c)
{
    agent_free(s->a);
    s->a = agent_new(&c);
    server_writes(s, EXEC__EVENT__KIND_CLAIMED);
    fold_all(s);
    s->tool_runs = 0;
}

static void a_question_outlives_its_runner_and_is_not_asked_again(void **state)
{
    struct sim s;

    (void)state;
    open_with(&s, two_commands, with_policy(1, commands));
    run_on(&s);
    next_runner(&s, with_policy(2, commands));
    give(&s, &(struct agent_input){.kind = AGENT_START});
    assert_int_equal(count_of(&s, EXEC__EVENT__KIND_APPROVAL_REQUESTED), 2);
    assert_int_equal(s.tool_runs, 0);
    decide(&s, "a", true, "");
    decide(&s, "c", true, "");
    assert_int_equal(s.tool_runs, 3);
    done(&s);
}

static void a_decision_that_came_before_the_claim_counts(void **state)
{
    struct sim s;

    (void)state;
    open_with(&s, two_commands, with_policy(1, commands));
    run_on(&s);
    next_runner(&s, with_policy(2, commands));
    agent_step(
        s.a,
        &(struct agent_input){
            .kind = AGENT_DECISION, .call_id = "a", .approved = true, .by = "me", .text = ""},
        s.now);
    give(&s, &(struct agent_input){.kind = AGENT_START});
    assert_int_equal(s.tool_runs, 2); /* a, and b after it */
    done(&s);
}

/* What was asked stays asked, though policy asks no more. */
static void a_question_stays_when_policy_is_taken_back(void **state)
{
    struct sim s;

    (void)state;
    open_with(&s, two_commands, with_policy(1, commands));
    run_on(&s);
    next_runner(&s, config(2));
    give(&s, &(struct agent_input){.kind = AGENT_START});
    assert_int_equal(s.tool_runs, 0);
    decide(&s, "a", true, "");
    assert_int_equal(s.tool_runs, 2);
    done(&s);
}

static void the_time_of_waiting_is_not_the_run_s(void **state)
{
    struct agent_config c = with_policy(1, commands);
    struct sim s;

    (void)state;
    c.max_duration_ms = 10000;
    open_with(&s, two_commands, c); /* at 1000 */
    s.now = 3000;
    run_on(&s);
    assert_true(agent_deadline_ms(s.a) == INT64_MAX);
    s.now = 9000000;
    give(&s, &(struct agent_input){.kind = AGENT_TICK});
    assert_false(agent_is_over(s.a));
    s.hold_tools = true;
    decide(&s, "a", true, "");
    assert_int_equal(agent_deadline_ms(s.a), 9000000 + 8000); /* 2 s were used before */
    c.epoch = 2;
    s.now += 1000;
    server_writes(&s, EXEC__EVENT__KIND_NOTICE);
    next_runner(&s, c);
    give(&s, &(struct agent_input){.kind = AGENT_START});
    assert_int_equal(s.tool_runs, 1); /* a's outcome is unknown; b runs */
    assert_int_equal(agent_deadline_ms(s.a), s.now + 8000);
    done(&s);
}

static void a_pure_call_that_runs_meanwhile_uses_the_run_s_time(void **state)
{
    static const char *const names[] = {"read_file"};
    struct agent_config c = with_policy(1, names);
    struct sim s;

    (void)state;
    c.max_duration_ms = 10000;
    open_with(&s, mixed, c);
    s.hold_tools = true;
    run_on(&s);
    assert_int_equal(agent_deadline_ms(s.a), 11000);
    s.now = 11000;
    give(&s, &(struct agent_input){.kind = AGENT_TICK});
    assert_failed(&s, "limit", "max_duration");
    done(&s);
}

static void a_cancel_ends_a_run_that_waits(void **state)
{
    struct sim s;

    (void)state;
    open_with(&s, two_commands, with_policy(1, commands));
    run_on(&s);
    give(&s, &(struct agent_input){.kind = AGENT_CANCEL, .by = "me", .text = "enough"});
    assert_int_equal(last(&s)->kind_case, EXEC__EVENT__KIND_CANCELLED);
    assert_true(s.finished);
    decide(&s, "a", true, "");
    assert_int_equal(last(&s)->kind_case, EXEC__EVENT__KIND_CANCELLED);
    assert_int_equal(s.tool_runs, 0);
    done(&s);
}

static void a_parked_run_leaves_the_decision_to_the_next_runner(void **state)
{
    struct sim s;
    size_t before;

    (void)state;
    open_with(&s, two_commands, with_policy(1, commands));
    run_on(&s);
    give(&s, &(struct agent_input){.kind = AGENT_PARK});
    before = s.count;
    decide(&s, "a", true, "");
    assert_int_equal(s.count, before);
    assert_int_equal(s.tool_runs, 0);
    done(&s);
}

static void nothing_is_asked_when_policy_fits_nothing(void **state)
{
    static const char *const names[] = {"write_*"};
    struct sim s;

    (void)state;
    open_with(&s, two_looks, with_policy(1, names));
    run_on(&s);
    assert_completed(&s, "all done");
    assert_int_equal(count_of(&s, EXEC__EVENT__KIND_APPROVAL_REQUESTED), 0);
    done(&s);
}

static void a_journal_that_starts_a_call_nobody_approved_breaks_the_rules(void **state)
{
    struct sim s;
    struct rules rules;
    struct err err;
    Exec__Event e = EXEC__EVENT__INIT;
    Exec__ToolStarted started = EXEC__TOOL_STARTED__INIT;
    Exec__ApprovalDecided decided = EXEC__APPROVAL_DECIDED__INIT;

    (void)state;
    open_with(&s, two_commands, with_policy(1, commands));
    run_on(&s);
    rules_init(&rules);
    for (size_t i = 0; i < s.count; i++)
        assert_int_equal(rules_apply(&rules, s.journal[i], &err), ERR_OK);
    e.seq = s.count + 1;
    e.kind_case = EXEC__EVENT__KIND_TOOL_STARTED;
    e.tool_started = &started;
    started.call_id = (char *)(uintptr_t) "a";
    assert_int_equal(rules_apply(&rules, &e, &err), ERR_INVALID);
    assert_non_null(strstr(err.msg, "nobody has approved"));
    e.kind_case = EXEC__EVENT__KIND_APPROVAL_DECIDED;
    e.approval_decided = &decided;
    decided.call_id = (char *)(uintptr_t) "b"; /* was not asked for */
    assert_int_equal(rules_apply(&rules, &e, &err), ERR_INVALID);
    decided.call_id = (char *)(uintptr_t) "a";
    assert_int_equal(rules_apply(&rules, &e, &err), ERR_OK); /* denied */
    e.seq++;
    assert_int_equal(rules_apply(&rules, &e, &err), ERR_INVALID); /* twice */
    e.kind_case = EXEC__EVENT__KIND_TOOL_STARTED;
    e.tool_started = &started;
    assert_int_equal(rules_apply(&rules, &e, &err), ERR_INVALID);
    rules_done(&rules);
    done(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_questions_of_a_turn_are_asked_at_once_and_nothing_runs),
        cmocka_unit_test(calls_run_in_their_order_as_they_are_approved),
        cmocka_unit_test(a_call_that_is_denied_does_not_run_and_the_model_reads_why),
        cmocka_unit_test(pure_calls_run_beside_one_that_waits),
        cmocka_unit_test(what_cannot_be_called_is_not_asked_for),
        cmocka_unit_test(a_star_holds_back_every_tool_but_the_loop_s_own),
        cmocka_unit_test(a_question_outlives_its_runner_and_is_not_asked_again),
        cmocka_unit_test(a_decision_that_came_before_the_claim_counts),
        cmocka_unit_test(a_question_stays_when_policy_is_taken_back),
        cmocka_unit_test(the_time_of_waiting_is_not_the_run_s),
        cmocka_unit_test(a_pure_call_that_runs_meanwhile_uses_the_run_s_time),
        cmocka_unit_test(a_cancel_ends_a_run_that_waits),
        cmocka_unit_test(a_parked_run_leaves_the_decision_to_the_next_runner),
        cmocka_unit_test(nothing_is_asked_when_policy_fits_nothing),
        cmocka_unit_test(a_journal_that_starts_a_call_nobody_approved_breaks_the_rules),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
