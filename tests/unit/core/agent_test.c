/* The agent loop against scripted models and tools. The journal it writes is checked after every
 * event; runs are cut and resumed at every place. */
#include "agent-sim.h"

static void a_question_without_tools_is_one_turn(void **state)
{
    struct sim s;

    (void)state;
    open_sim(&s, plain);
    run_on(&s);
    assert_completed(&s, "hello");
    assert_int_equal(s.count, 5);
    assert_int_equal(s.journal[2]->turn_started->turn, 1);
    assert_int_equal(s.journal[3]->turn_finished->usage->output_tokens, 5);
    done(&s);
}

static void tools_run_and_their_faults_are_told_to_the_model(void **state)
{
    struct sim s;

    (void)state;
    open_sim(&s, mixed);
    run_on(&s);
    assert_completed(&s, "all done");
    assert_int_equal(s.tool_runs, 5);
    assert_string_equal(s.ran[2], "d");
    assert_string_equal(s.ran[4], "f");
    assert_int_equal(finished_of(&s, "g")->outcome, EXEC__TOOL_FINISHED__OUTCOME__OUTCOME_ERROR);
    assert_non_null(strstr(finished_of(&s, "g")->text, "execute, read_file"));
    assert_non_null(strstr(finished_of(&s, "h")->text, "not valid JSON"));
    assert_non_null(strstr(finished_of(&s, "c")->text, "[pending] one"));
    done(&s);
}

static void a_tool_waits_until_its_start_is_on_disk(void **state)
{
    static const struct turn turns[] = {
        {"", "tool_use", {SH("x", "date")}}, {"ok", "end_turn", {{0}}}, {0}};
    struct sim s;

    (void)state;
    open_sim(&s, turns);
    s.hold_acks = true;
    run_on(&s);
    assert_int_equal(s.tool_runs, 0);
    assert_int_equal(last(&s)->kind_case, EXEC__EVENT__KIND_TOOL_STARTED);
    s.hold_acks = false;
    run_on(&s);
    assert_int_equal(s.tool_runs, 1);
    assert_completed(&s, "ok");
    done(&s);
}

static void pure_calls_run_in_parallel_and_effects_in_order(void **state)
{
    static const struct turn pure[] = {{"", "tool_use", {LS("a"), LS("b")}}, {0}};
    static const struct turn effect[] = {{"", "tool_use", {LS("a"), SH("b", "x"), LS("c")}}, {0}};
    struct sim s;

    (void)state;
    open_sim(&s, pure);
    s.hold_tools = true;
    run_on(&s);
    assert_int_equal(s.tool_runs, 2);
    done(&s);
    open_sim(&s, effect);
    s.hold_tools = true;
    run_on(&s);
    assert_int_equal(s.tool_runs, 1);
    done(&s);
}

/* Every effect whose start is in the journal may have happened: it is not run again. */
static void resume_at(const struct sim *whole, size_t prefix, const struct turn *turns)
{
    struct sim s = {.turns = turns, .now = 5000};
    struct agent_config c = config(2);
    struct agent_action act;
    size_t before;

    s.a = agent_new(&c);
    for (size_t i = 0; i < prefix; i++)
        s.journal[s.count++] = copy(whole->journal[i]);
    if (!is_terminal(last(&s)))
        server_writes(&s, EXEC__EVENT__KIND_CLAIMED);
    before = s.count;
    fold_all(&s);
    agent_step(s.a, &(struct agent_input){.kind = AGENT_START}, s.now);
    run_on(&s);
    assert_true(s.finished);
    assert_false(agent_next(s.a, &act));
    assert_completed(&s, last(whole)->completed->answer);
    for (size_t i = 0; i < before; i++) {
        const Exec__ToolStarted *t = s.journal[i]->tool_started;
        bool open = true;

        if (s.journal[i]->kind_case != EXEC__EVENT__KIND_TOOL_STARTED)
            continue;
        for (size_t k = i; k < before; k++)
            if (s.journal[k]->kind_case == EXEC__EVENT__KIND_TOOL_FINISHED &&
                str_eq(s.journal[k]->tool_finished->call_id, t->call_id))
                open = false;
        for (unsigned k = 0; k < s.tool_runs; k++)
            if (str_eq(s.ran[k], t->call_id) && (t->effect || !open))
                fail_msg("prefix %zu: call %s ran twice", prefix, t->call_id);
        if (open && t->effect)
            assert_int_equal(finished_of(&s, t->call_id)->outcome,
                             EXEC__TOOL_FINISHED__OUTCOME__OUTCOME_UNKNOWN);
    }
    done(&s);
}

static void a_run_resumes_at_every_event_and_no_effect_happens_twice(void **state)
{
    struct sim s;

    (void)state;
    open_sim(&s, mixed);
    run_on(&s);
    for (size_t prefix = 1; prefix <= s.count; prefix++)
        resume_at(&s, prefix, mixed);
    done(&s);
}

static void folding_twice_gives_the_same_journal(void **state)
{
    struct sim one, two;

    (void)state;
    open_sim(&one, mixed);
    run_on(&one);
    open_sim(&two, mixed);
    run_on(&two);
    assert_int_equal(one.count, two.count);
    for (size_t i = 0; i < one.count; i++) {
        uint8_t a[4096], b[4096];
        size_t n = exec__event__pack(one.journal[i], a);

        assert_int_equal(n, exec__event__pack(two.journal[i], b));
        assert_memory_equal(a, b, n);
    }
    done(&one);
    done(&two);
}

static void a_broken_journal_is_refused(void **state)
{
    struct agent_config c = config(1);
    struct agent *a = agent_new(&c);
    Exec__Event e = EXEC__EVENT__INIT;
    Exec__ToolFinished f = EXEC__TOOL_FINISHED__INIT;
    struct err err;

    (void)state;
    e.seq = 2;
    assert_int_equal(agent_fold(a, &e, &err), ERR_CORRUPT);
    e.seq = 1;
    e.kind_case = EXEC__EVENT__KIND_TOOL_FINISHED;
    e.tool_finished = &f;
    assert_int_equal(agent_fold(a, &e, &err), ERR_CORRUPT);
    agent_free(a);
}

static void call_ids_are_unique_within_the_execution(void **state)
{
    static const struct turn turns[] = {
        {"",
         "tool_use",
         {LS("same"), {"same", "glob", "{\"pattern\":\"*\"}"}, {"", "ls", "{\"path\":\"a\"}"}}},
        {"", "tool_use", {LS("same")}},
        {"ok", "end_turn", {{0}}},
        {0}};
    struct sim s;

    (void)state;
    open_sim(&s, turns);
    run_on(&s);
    assert_completed(&s, "ok");
    assert_int_equal(s.tool_runs, 4);
    for (unsigned i = 0; i < 4; i++)
        for (unsigned k = 0; k < i; k++)
            assert_string_not_equal(s.ran[i], s.ran[k]);
    done(&s);
}

static void todos_keep_their_ids_when_they_move(void **state)
{
    static const struct turn turns[] = {
        {"",
         "tool_use",
         {{"1", "write_todos",
           "{\"todos\":[{\"content\":\"a\",\"status\":\"pending\"},{\"content\":\"b\",\"status\":"
           "\"pending\"}]}"}}},
        {"",
         "tool_use",
         {{"2", "write_todos",
           "{\"todos\":[{\"content\":\"b\",\"status\":\"completed\"},{\"content\":\"a\",\"status\":"
           "\"in_progress\"},{\"content\":\"a\",\"status\":\"pending\"}]}"}}},
        {"ok", "end_turn", {{0}}},
        {0}};
    const Exec__TodosChanged *seen[2];
    size_t n = 0;
    struct sim s;

    (void)state;
    open_sim(&s, turns);
    run_on(&s);
    for (size_t i = 0; i < s.count; i++)
        if (s.journal[i]->kind_case == EXEC__EVENT__KIND_TODOS_CHANGED)
            seen[n++] = s.journal[i]->todos_changed;
    assert_int_equal(n, 2);
    assert_string_equal(seen[0]->todos[0]->id, seen[1]->todos[1]->id);
    assert_string_equal(seen[0]->todos[1]->id, seen[1]->todos[0]->id);
    assert_string_not_equal(seen[1]->todos[1]->id, seen[1]->todos[2]->id);
    done(&s);
}

static void limits_end_the_run_with_their_name(void **state)
{
    static const struct turn turns[] = {{"", "tool_use", {LS("a")}},
                                        {"", "tool_use", {SH("b", "1")}},
                                        {"", "tool_use", {SH("c", "2")}},
                                        {0}};
    struct agent_config c = config(1);
    struct sim s;

    (void)state;
    c.max_turns = 2;
    open_with(&s, turns, c);
    run_on(&s);
    assert_failed(&s, "limit", "max_turns");
    done(&s);
    c = config(1);
    c.max_tokens = 30;
    open_with(&s, turns, c);
    run_on(&s);
    assert_failed(&s, "limit", "max_tokens");
    assert_int_equal(agent_finished_turns(s.a), 2);
    done(&s);
}

static void the_time_limit_stops_what_runs(void **state)
{
    static const struct turn turns[] = {{"", "tool_use", {SH("slow", "sleep 9")}}, {0}};
    struct agent_config c = config(1);
    struct sim s;

    (void)state;
    c.max_duration_ms = 500;
    open_with(&s, turns, c);
    s.hold_tools = true;
    run_on(&s);
    assert_int_equal(agent_deadline_ms(s.a), 1500);
    give(&s, &(struct agent_input){.kind = AGENT_TICK});
    assert_false(agent_is_over(s.a));
    s.now = 1500;
    give(&s, &(struct agent_input){.kind = AGENT_TICK});
    assert_failed(&s, "limit", "max_duration");
    assert_string_equal(s.stopped[0], "slow");
    assert_int_equal(finished_of(&s, "slow")->outcome,
                     EXEC__TOOL_FINISHED__OUTCOME__OUTCOME_UNKNOWN);
    assert_true(s.finished);
    done(&s);
}

/* Another runner takes it over after the clock was set, by day ms, and after 400 ms of work. */
static int64_t left_after_a_jump(int64_t day)
{
    static const struct turn turns[] = {{"", "tool_use", {SH("slow", "sleep 9")}}, {0}};
    struct agent_config c = config(1);
    struct sim s;
    int64_t left;

    c.max_duration_ms = 500;
    open_with(&s, turns, c);
    s.hold_tools = true;
    s.now += 400;
    run_on(&s);
    agent_free(s.a);
    s.now += day;
    s.a = agent_new(&c);
    server_writes(&s, EXEC__EVENT__KIND_CLAIMED);
    fold_all(&s);
    left = agent_deadline_ms(s.a) - s.now;
    done(&s);
    return left;
}

static void a_clock_that_is_set_ends_no_run(void **state)
{
    (void)state;
    assert_int_equal(left_after_a_jump(0), 100);
    assert_int_equal(left_after_a_jump(86400000), 100);
    assert_int_equal(left_after_a_jump(-86400000), 100);
}

/* The server says why a run waits for a runner: before the first one, and between two. */
static void the_time_a_notice_tells_of_is_no_work(void **state)
{
    static const struct turn turns[] = {{"", "tool_use", {SH("slow", "sleep 9")}}, {0}};
    struct agent_config c = config(1);
    struct sim s = {.turns = turns, .now = 1764130000000};

    (void)state;
    c.max_duration_ms = 500;
    s.a = agent_new(&c);
    server_writes(&s, EXEC__EVENT__KIND_SUBMITTED);
    server_writes(&s, EXEC__EVENT__KIND_NOTICE);
    s.now += 86400000;
    server_writes(&s, EXEC__EVENT__KIND_CLAIMED);
    s.now += 100;
    server_writes(&s, EXEC__EVENT__KIND_CANCEL_REQUESTED);
    s.now += 86400000;
    server_writes(&s, EXEC__EVENT__KIND_NOTICE);
    s.now += 86400000;
    server_writes(&s, EXEC__EVENT__KIND_CLAIMED);
    fold_all(&s);
    assert_int_equal(agent_deadline_ms(s.a) - s.now, 500);
    done(&s);
}

static void an_empty_answer_is_asked_for_once_more(void **state)
{
    static const struct turn once[] = {
        {" \n", "end_turn", {{0}}}, {"there", "end_turn", {{0}}}, {0}};
    static const struct turn twice[] = {{"", "end_turn", {{0}}}, {0}};
    static const struct turn after[] = {
        {"", "tool_use", {SH("a", "x")}}, {"", "end_turn", {{0}}}, {0}};
    struct agent_conversation conv;
    struct sim s;

    (void)state;
    open_sim(&s, once);
    drive(&s);
    answer(&s);
    drive(&s);
    agent_conversation_make(s.a, &conv);
    assert_int_equal(conv.count, 2);
    assert_int_equal(conv.messages[1].role, AGENT_USER);
    agent_conversation_done(&conv);
    run_on(&s);
    assert_completed(&s, "there");
    done(&s);
    open_sim(&s, twice);
    run_on(&s);
    assert_failed(&s, "model", "twice");
    assert_int_equal(agent_finished_turns(s.a), 2);
    done(&s);
    open_sim(&s, after);
    run_on(&s);
    assert_completed(&s, "");
    done(&s);
}

static void an_answer_cut_at_the_limit_is_continued_once(void **state)
{
    static const struct turn once[] = {
        {"first ", "max_tokens", {{0}}}, {"second", "end_turn", {{0}}}, {0}};
    static const struct turn always[] = {{"x", "max_tokens", {{0}}}, {0}};
    struct sim s;

    (void)state;
    open_sim(&s, once);
    run_on(&s);
    assert_completed(&s, "first second");
    done(&s);
    open_sim(&s, always);
    run_on(&s);
    assert_completed(&s, "xx\n\n[the answer was cut at the model's output limit]");
    done(&s);
}

static void a_refusal_fails_with_what_the_model_said(void **state)
{
    static const struct turn turns[] = {{"I will not", "refusal", {{0}}}, {0}};
    struct sim s;

    (void)state;
    open_sim(&s, turns);
    run_on(&s);
    assert_failed(&s, "refusal", "openai/m refused to answer (refusal): I will not");
    done(&s);
}

static void the_same_call_again_and_again_is_warned_of_and_then_ended(void **state)
{
    static const struct turn turns[] = {{"", "tool_use", {SH("p", "poll")}}, {0}};
    struct sim s;
    unsigned warned = 0;

    (void)state;
    open_sim(&s, turns);
    run_on(&s);
    assert_failed(&s, "loop", "6 times in a row");
    assert_int_equal(s.tool_runs, 5);
    for (size_t i = 0; i < s.count; i++)
        if (s.journal[i]->kind_case == EXEC__EVENT__KIND_TOOL_FINISHED &&
            strstr(s.journal[i]->tool_finished->text, "in a row"))
            warned++;
    assert_int_equal(warned, 3);
    done(&s);
}

static void cancel_closes_open_calls_before_the_end(void **state)
{
    static const struct turn turns[] = {{"", "tool_use", {SH("one", "x"), SH("two", "y")}}, {0}};
    struct sim s;

    (void)state;
    open_sim(&s, turns);
    s.hold_tools = true;
    run_on(&s);
    give(&s, &(struct agent_input){.kind = AGENT_CANCEL, .by = "person", .text = "enough"});
    assert_int_equal(last(&s)->kind_case, EXEC__EVENT__KIND_CANCELLED);
    assert_string_equal(last(&s)->cancelled->reason, "enough");
    assert_int_equal(s.journal[s.count - 2]->kind_case, EXEC__EVENT__KIND_CANCEL_REQUESTED);
    assert_int_equal(finished_of(&s, "one")->outcome,
                     EXEC__TOOL_FINISHED__OUTCOME__OUTCOME_UNKNOWN);
    assert_int_equal(finished_of(&s, "two")->outcome, EXEC__TOOL_FINISHED__OUTCOME__OUTCOME_ERROR);
    assert_int_equal(s.stops, 1);
    give(&s, &(struct agent_input){.kind = AGENT_TOOL, .call_id = "one", .text = "late"});
    assert_int_equal(last(&s)->kind_case, EXEC__EVENT__KIND_CANCELLED);
    done(&s);
}

static void cancel_works_after_every_event(void **state)
{
    struct sim whole;

    (void)state;
    open_sim(&whole, mixed);
    run_on(&whole);
    for (size_t prefix = 1; prefix < whole.count; prefix++) {
        struct sim s = {.turns = mixed, .now = 5000};
        struct agent_config c = config(2);

        s.a = agent_new(&c);
        for (size_t i = 0; i < prefix; i++)
            s.journal[s.count++] = copy(whole.journal[i]);
        server_writes(&s, EXEC__EVENT__KIND_CANCEL_REQUESTED);
        fold_all(&s);
        agent_step(s.a, &(struct agent_input){.kind = AGENT_START}, s.now);
        run_on(&s);
        assert_true(s.finished);
        assert_int_equal(last(&s)->kind_case, EXEC__EVENT__KIND_CANCELLED);
        assert_int_equal(s.tool_runs, 0);
        done(&s);
    }
    done(&whole);
}

static void a_failed_call_is_made_again_with_the_next_attempt(void **state)
{
    struct sim s;

    (void)state;
    open_sim(&s, plain);
    drive(&s);
    give(&s, &(struct agent_input){.kind = AGENT_NOTICE, .text = "429; trying again"});
    give(&s, &(struct agent_input){.kind = AGENT_MODEL_AGAIN});
    assert_int_equal(last(&s)->turn_started->attempt, 2);
    assert_int_equal(last(&s)->turn_started->turn, 1);
    give(&s, &(struct agent_input){.kind = AGENT_MODEL_FAILED, .text = "openai: 401"});
    assert_failed(&s, "model", "401");
    assert_true(s.finished);
    done(&s);
}

static void a_parked_run_begins_nothing_and_goes_on_elsewhere(void **state)
{
    static const struct turn turns[] = {
        {"", "tool_use", {SH("a", "x")}}, {"ok", "end_turn", {{0}}}, {0}};
    struct sim s;

    (void)state;
    open_sim(&s, turns);
    s.hold_tools = true;
    run_on(&s);
    give(&s, &(struct agent_input){.kind = AGENT_PARK});
    give(&s, &(struct agent_input){.kind = AGENT_TOOL,
                                   .call_id = "a",
                                   .outcome = EXEC__TOOL_FINISHED__OUTCOME__OUTCOME_RESULT,
                                   .text = "done"});
    assert_int_equal(last(&s)->kind_case, EXEC__EVENT__KIND_TOOL_FINISHED);
    assert_false(s.model_called);
    agent_free(s.a);
    struct agent_config c = config(2);
    s.a = agent_new(&c);
    fold_all(&s);
    agent_step(s.a, &(struct agent_input){.kind = AGENT_START}, s.now);
    run_on(&s);
    assert_completed(&s, "ok");
    assert_int_equal(s.tool_runs, 1);
    done(&s);
}

static void the_conversation_has_history_and_results_in_the_order_of_calls(void **state)
{
    static const struct agent_exchange history[] = {{"earlier", "before"}};
    static const struct turn turns[] = {{"hm", "tool_use", {LS("a"), LS("b")}}, {0}};
    struct agent_config c = config(1);
    struct agent_conversation conv;
    struct sim s;

    (void)state;
    c.history = history;
    c.history_count = 1;
    open_with(&s, turns, c);
    s.hold_tools = true;
    run_on(&s);
    give(&s, &(struct agent_input){.kind = AGENT_TOOL,
                                   .call_id = "b",
                                   .outcome = EXEC__TOOL_FINISHED__OUTCOME__OUTCOME_RESULT,
                                   .text = "B"});
    give(&s, &(struct agent_input){.kind = AGENT_TOOL,
                                   .call_id = "a",
                                   .outcome = EXEC__TOOL_FINISHED__OUTCOME__OUTCOME_ERROR,
                                   .text = "A"});
    agent_conversation_make(s.a, &conv);
    assert_int_equal(conv.count, 6);
    assert_string_equal(conv.messages[0].text, "earlier");
    assert_string_equal(conv.messages[1].text, "before");
    assert_string_equal(conv.messages[2].text, "do it");
    assert_int_equal(conv.messages[3].call_count, 2);
    assert_string_equal(conv.messages[4].text, "A");
    assert_true(conv.messages[4].is_error);
    assert_string_equal(conv.messages[5].call_id, "b");
    agent_conversation_done(&conv);
    done(&s);
}

static void a_long_conversation_loses_its_oldest_results_first(void **state)
{
    static const struct turn turns[] = {{"", "tool_use", {SH("a", "1")}},
                                        {"", "tool_use", {SH("b", "2")}},
                                        {"", "tool_use", {SH("c", "3")}},
                                        {"", "tool_use", {SH("d", "4")}},
                                        {0}};
    static char big[9001];
    struct agent_config c = config(1);
    struct agent_conversation conv;
    struct sim s;

    (void)state;
    memset(big, 'x', sizeof big - 1);
    c.context_tokens = 10000;
    c.max_output_tokens = 1000;
    open_with(&s, turns, c);
    s.result = big;
    drive(&s);
    for (int i = 0; i < 4; i++) {
        answer(&s);
        drive(&s);
    }
    agent_conversation_make(s.a, &conv);
    assert_int_equal(conv.clipped, 2);
    assert_true(strlen(conv.messages[2].text) < 1000);
    assert_int_equal(strlen(conv.messages[8].text), 9000);
    agent_conversation_done(&conv);
    give(&s, &(struct agent_input){.kind = AGENT_MODEL_CONTEXT, .text = "too long"});
    assert_int_equal(agent_attempt(s.a), 2);
    agent_conversation_make(s.a, &conv);
    assert_int_equal(conv.clipped, 3);
    agent_conversation_done(&conv);
    for (int i = 0; i < 4; i++)
        give(&s, &(struct agent_input){.kind = AGENT_MODEL_CONTEXT, .text = "too long"});
    assert_failed(&s, "model", "too long");
    done(&s);
}

static void an_enormous_answer_is_cut_and_says_so(void **state)
{
    static char huge[5u << 20];
    const struct turn turns[] = {
        {"", "tool_use", {{"w", "write_file", huge}}}, {huge, "end_turn", {{0}}}, {0}};
    struct sim s;

    (void)state;
    memset(huge, 'y', sizeof huge - 1);
    open_sim(&s, turns);
    run_on(&s);
    assert_int_equal(last(&s)->kind_case, EXEC__EVENT__KIND_COMPLETED);
    assert_true(strlen(last(&s)->completed->answer) < (1u << 20) + 100);
    assert_non_null(strstr(last(&s)->completed->answer, "bytes were cut here"));
    assert_non_null(strstr(finished_of(&s, "w")->text, "arguments"));
    for (size_t i = 0; i < s.count; i++)
        assert_true(exec__event__get_packed_size(s.journal[i]) < (3u << 20));
    done(&s);
}

static void bytes_that_are_no_text_are_replaced(void **state)
{
    static const struct turn turns[] = {
        {"", "tool_use", {SH("a", "1")}}, {"ok", "end_turn", {{0}}}, {0}};
    struct sim s;

    (void)state;
    open_sim(&s, turns);
    s.result = "a\xff"
               "b";
    run_on(&s);
    assert_string_equal(finished_of(&s, "a")->text, "a\xef\xbf\xbd"
                                                    "b");
    done(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_question_without_tools_is_one_turn),
        cmocka_unit_test(tools_run_and_their_faults_are_told_to_the_model),
        cmocka_unit_test(a_tool_waits_until_its_start_is_on_disk),
        cmocka_unit_test(pure_calls_run_in_parallel_and_effects_in_order),
        cmocka_unit_test(a_run_resumes_at_every_event_and_no_effect_happens_twice),
        cmocka_unit_test(folding_twice_gives_the_same_journal),
        cmocka_unit_test(a_broken_journal_is_refused),
        cmocka_unit_test(call_ids_are_unique_within_the_execution),
        cmocka_unit_test(todos_keep_their_ids_when_they_move),
        cmocka_unit_test(limits_end_the_run_with_their_name),
        cmocka_unit_test(the_time_limit_stops_what_runs),
        cmocka_unit_test(a_clock_that_is_set_ends_no_run),
        cmocka_unit_test(the_time_a_notice_tells_of_is_no_work),
        cmocka_unit_test(an_empty_answer_is_asked_for_once_more),
        cmocka_unit_test(an_answer_cut_at_the_limit_is_continued_once),
        cmocka_unit_test(a_refusal_fails_with_what_the_model_said),
        cmocka_unit_test(the_same_call_again_and_again_is_warned_of_and_then_ended),
        cmocka_unit_test(cancel_closes_open_calls_before_the_end),
        cmocka_unit_test(cancel_works_after_every_event),
        cmocka_unit_test(a_failed_call_is_made_again_with_the_next_attempt),
        cmocka_unit_test(a_parked_run_begins_nothing_and_goes_on_elsewhere),
        cmocka_unit_test(the_conversation_has_history_and_results_in_the_order_of_calls),
        cmocka_unit_test(a_long_conversation_loses_its_oldest_results_first),
        cmocka_unit_test(an_enormous_answer_is_cut_and_says_so),
        cmocka_unit_test(bytes_that_are_no_text_are_replaced),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
