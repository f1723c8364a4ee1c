/* What a person says to a run: where the model reads it, and that no run completes over it. */
#include "agent-sim.h"

static void say(struct sim *s, const char *id, const char *text)
{
    give(s, &(struct agent_input){.kind = AGENT_INPUT, .id = id, .by = "me", .text = text});
}

/* What the model is shown now: a letter for each message's role, and the text of the last one. */
static void assert_shown(const struct sim *s, const char *roles, const char *newest)
{
    struct agent_conversation c;
    char got[32] = "";

    agent_conversation_make(s->a, &c);
    for (size_t i = 0; i < c.count && i < sizeof got - 1; i++)
        got[i] = "uar"[c.messages[i].role];
    assert_string_equal(got, roles);
    assert_string_equal(c.messages[c.count - 1].text, newest);
    agent_conversation_done(&c);
}

static void an_input_is_read_after_the_results_of_the_turn_it_came_in(void **state)
{
    struct sim s;

    (void)state;
    open_sim(&s, mixed);
    s.hold_tools = true;
    drive(&s);
    answer(&s); /* two pure tools, which run */
    drive(&s);
    say(&s, "one", "not the tests");
    say(&s, "one", "not the tests"); /* told again: nothing new */
    assert_int_equal(last(&s)->kind_case, EXEC__EVENT__KIND_INPUT_RECEIVED);
    assert_string_equal(last(&s)->input_received->by, "me");
    give(&s, &(struct agent_input){.kind = AGENT_TOOL,
                                   .call_id = "a",
                                   .outcome = EXEC__TOOL_FINISHED__OUTCOME__OUTCOME_RESULT,
                                   .text = "fine"});
    give(&s, &(struct agent_input){.kind = AGENT_TOOL,
                                   .call_id = "b",
                                   .outcome = EXEC__TOOL_FINISHED__OUTCOME__OUTCOME_RESULT,
                                   .text = "fine"});
    assert_true(s.model_called);
    assert_shown(&s, "uarru", "not the tests");
    s.hold_tools = false;
    run_on(&s);
    assert_completed(&s, "all done");
    done(&s);
}

static void a_run_does_not_complete_while_something_said_is_unread(void **state)
{
    struct sim s;

    (void)state;
    open_sim(&s, plain);
    drive(&s);
    say(&s, "one", "and in French"); /* the call is under way */
    answer(&s);
    drive(&s);
    assert_false(s.finished);
    assert_true(s.model_called);
    assert_shown(&s, "uau", "and in French");
    run_on(&s);
    assert_completed(&s, "hello");
    say(&s, "two", "too late");
    assert_completed(&s, "hello");
    done(&s);
}

static void a_run_that_may_not_go_on_completes_with_what_it_has(void **state)
{
    struct sim s;
    struct agent_config c = config(1);

    (void)state;
    c.max_turns = 1;
    open_with(&s, plain, c);
    drive(&s);
    say(&s, "one", "and in French");
    run_on(&s);
    assert_completed(&s, "hello");
    assert_non_null(strstr(s.journal[s.count - 2]->notice->text, "not read"));
    done(&s);
}

static void an_input_stays_where_the_model_read_it(void **state)
{
    struct sim s;

    (void)state;
    open_sim(&s, plain);
    drive(&s);
    say(&s, "one", "in French"); /* the call breaks, and the next one shows it */
    give(&s, &(struct agent_input){.kind = AGENT_MODEL_AGAIN});
    assert_shown(&s, "uu", "in French");
    answer(&s);
    drive(&s);
    assert_completed(&s, "hello");
    assert_shown(&s, "uua", "hello");
    done(&s);
}

static void what_was_said_before_the_claim_is_read_by_the_first_call_of_its_runner(void **state)
{
    struct sim s = {.turns = plain, .now = 1000};
    const struct agent_config c = config(1);

    (void)state;
    s.a = agent_new(&c);
    server_writes(&s, EXEC__EVENT__KIND_SUBMITTED);
    server_writes(&s, EXEC__EVENT__KIND_CLAIMED);
    fold_all(&s);
    agent_step(s.a,
               &(struct agent_input){.kind = AGENT_INPUT, .id = "1", .by = "me", .text = "gently"},
               s.now);
    agent_step(s.a, &(struct agent_input){.kind = AGENT_START}, s.now);
    drive(&s);
    assert_shown(&s, "uu", "gently");
    run_on(&s);
    assert_completed(&s, "hello");
    done(&s);
}

static void a_parked_run_leaves_what_is_said_to_the_next_runner(void **state)
{
    struct sim s;
    size_t before;

    (void)state;
    open_sim(&s, plain);
    drive(&s);
    give(&s, &(struct agent_input){.kind = AGENT_PARK});
    before = s.count;
    say(&s, "one", "gently");
    assert_int_equal(s.count, before);
    done(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_input_is_read_after_the_results_of_the_turn_it_came_in),
        cmocka_unit_test(a_run_does_not_complete_while_something_said_is_unread),
        cmocka_unit_test(a_run_that_may_not_go_on_completes_with_what_it_has),
        cmocka_unit_test(an_input_stays_where_the_model_read_it),
        cmocka_unit_test(what_was_said_before_the_claim_is_read_by_the_first_call_of_its_runner),
        cmocka_unit_test(a_parked_run_leaves_what_is_said_to_the_next_runner),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
