/* agent-sim.h — the agent loop against scripted models and tools, with a journal that is checked
 * after every event. */
#ifndef TESTS_CORE_AGENT_SIM_H
#define TESTS_CORE_AGENT_SIM_H

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/str.h"
#include "core/agent.h"
#include "core/rules.h"

#define MAX 256

struct turn {
    const char *text, *stop;
    struct agent_request calls[4];
};

struct sim {
    struct agent *a;
    Exec__Event *journal[MAX]; /* owned */
    size_t count, acked;
    const struct turn *turns; /* ends with one whose stop is NULL: the last is said again */
    bool hold_acks;
    bool hold_tools;
    bool model_called, finished;
    unsigned tool_runs;
    char ran[64][64]; /* call ids, in order */
    char stopped[8][64];
    unsigned stops, model_stops;
    const char *result;
    int64_t now;
};

static inline Exec__Event *copy(const Exec__Event *e)
{
    size_t len = exec__event__get_packed_size(e);
    uint8_t *bytes = mem_new(len);

    exec__event__pack(e, bytes);
    Exec__Event *out = exec__event__unpack(NULL, len, bytes);
    free(bytes);
    return out;
}

static inline bool is_terminal(const Exec__Event *e)
{
    return e->kind_case == EXEC__EVENT__KIND_COMPLETED ||
           e->kind_case == EXEC__EVENT__KIND_FAILED || e->kind_case == EXEC__EVENT__KIND_CANCELLED;
}

/* The rules of the journal, written down a second time and independently. */
static inline void check_journal(struct sim *s)
{
    const Exec__TurnFinished *turn = NULL;
    unsigned finished[4] = {0};
    struct rules rules;
    struct err err;

    rules_init(&rules);
    for (size_t i = 0; i < s->count; i++)
        if (rules_apply(&rules, s->journal[i], &err))
            fail_msg("%s", err.msg);
    rules_done(&rules);
    for (size_t i = 0; i < s->count; i++) {
        const Exec__Event *e = s->journal[i];

        assert_int_equal(e->seq, i + 1);
        if (i)
            assert_false(is_terminal(s->journal[i - 1]));
        if (e->kind_case == EXEC__EVENT__KIND_TURN_STARTED || is_terminal(e))
            for (size_t k = 0; turn && k < turn->n_tool_calls; k++)
                assert_int_equal(finished[k], 1);
        if (e->kind_case == EXEC__EVENT__KIND_TURN_FINISHED) {
            turn = e->turn_finished;
            memset(finished, 0, sizeof finished);
        }
        if (e->kind_case == EXEC__EVENT__KIND_TOOL_FINISHED) {
            bool known = false;

            for (size_t k = 0; k < turn->n_tool_calls; k++)
                if (str_eq(turn->tool_calls[k]->call_id, e->tool_finished->call_id)) {
                    finished[k]++;
                    known = true;
                }
            assert_true(known);
        }
    }
}

static inline void store(struct sim *s, const Exec__Event *e)
{
    assert_true(s->count < MAX);
    s->journal[s->count++] = copy(e);
    check_journal(s);
}

static inline void server_writes(struct sim *s, Exec__Event__KindCase kind)
{
    Exec__Event e = EXEC__EVENT__INIT;
    Exec__Submitted sub = EXEC__SUBMITTED__INIT;
    Exec__Claimed claim = EXEC__CLAIMED__INIT;
    Exec__CancelRequested cancel = EXEC__CANCEL_REQUESTED__INIT;
    Exec__Notice notice = EXEC__NOTICE__INIT;

    e.seq = s->count + 1;
    e.at_ms = s->now;
    e.kind_case = kind;
    sub.message = (char *)(uintptr_t) "do it";
    if (kind == EXEC__EVENT__KIND_SUBMITTED)
        e.submitted = &sub;
    else if (kind == EXEC__EVENT__KIND_CLAIMED)
        e.claimed = &claim;
    else if (kind == EXEC__EVENT__KIND_NOTICE)
        e.notice = &notice;
    else
        e.cancel_requested = &cancel;
    store(s, &e);
}

static inline void drive(struct sim *s);

static inline void give(struct sim *s, const struct agent_input *in)
{
    agent_step(s->a, in, s->now);
    drive(s);
}

static inline void answer(struct sim *s)
{
    uint32_t n = agent_finished_turns(s->a), i = 0;
    const struct turn *t;
    size_t calls = 0;

    while (i < n && s->turns[i + 1].stop)
        i++;
    t = &s->turns[i];
    while (calls < 4 && t->calls[calls].name)
        calls++;
    s->model_called = false;
    agent_step(s->a,
               &(struct agent_input){.kind = AGENT_TURN,
                                     .text = t->text,
                                     .stop = t->stop,
                                     .calls = t->calls,
                                     .call_count = calls,
                                     .usage = {.input_tokens = 10, .output_tokens = 5}},
               s->now);
}

static inline void ack(struct sim *s)
{
    s->acked = s->count;
    agent_step(s->a, &(struct agent_input){.kind = AGENT_ACKED, .seq = s->count}, s->now);
}

static inline void on_tool(struct sim *s, const struct agent_request *call)
{
    /* Its start is on disk. */
    bool known = false;

    for (size_t i = 0; i < s->acked; i++)
        if (s->journal[i]->kind_case == EXEC__EVENT__KIND_TOOL_STARTED &&
            str_eq(s->journal[i]->tool_started->call_id, call->call_id))
            known = true;
    assert_true(known);
    (void)str_format(s->ran[s->tool_runs++ % 64], 64, "%s", call->call_id);
    if (!s->hold_tools)
        agent_step(s->a,
                   &(struct agent_input){.kind = AGENT_TOOL,
                                         .call_id = call->call_id,
                                         .outcome = EXEC__TOOL_FINISHED__OUTCOME__OUTCOME_RESULT,
                                         .text = s->result ? s->result : "fine"},
                   s->now);
}

static inline void drive(struct sim *s)
{
    struct agent_action act;

    for (bool more = true; more;) {
        more = false;
        while (agent_next(s->a, &act)) {
            more = true;
            if (act.kind == AGENT_APPEND)
                store(s, act.event);
            else if (act.kind == AGENT_CALL_MODEL)
                s->model_called = true;
            else if (act.kind == AGENT_STOP_MODEL)
                s->model_stops++, s->model_called = false;
            else if (act.kind == AGENT_RUN_TOOL)
                on_tool(s, &act.call);
            else if (act.kind == AGENT_STOP_TOOL)
                (void)str_format(s->stopped[s->stops++ % 8], 64, "%s", act.call.call_id);
            else
                s->finished = true;
        }
        if (!s->hold_acks && s->acked < s->count) {
            ack(s);
            more = true;
        }
    }
}

/* Answers until the run is over or waits for something held back. */
static inline void run_on(struct sim *s)
{
    drive(s);
    for (int i = 0; i < 200 && s->model_called; i++) {
        answer(s);
        drive(s);
    }
}

static inline struct agent_config config(uint64_t epoch)
{
    return (struct agent_config){.provider = "openai", .model = "m", .epoch = epoch};
}

static inline void fold_all(struct sim *s)
{
    struct err err;

    for (size_t i = 0; i < s->count; i++)
        assert_int_equal(agent_fold(s->a, s->journal[i], &err), ERR_OK);
    s->acked = s->count;
}

static inline void open_with(struct sim *s, const struct turn *turns, struct agent_config c)
{
    *s = (struct sim){.turns = turns, .now = 1000};
    s->a = agent_new(&c);
    server_writes(s, EXEC__EVENT__KIND_SUBMITTED);
    server_writes(s, EXEC__EVENT__KIND_CLAIMED);
    fold_all(s);
    agent_step(s->a, &(struct agent_input){.kind = AGENT_START}, s->now);
}

static inline void open_sim(struct sim *s, const struct turn *turns)
{
    open_with(s, turns, config(1));
}

static inline void done(struct sim *s)
{
    for (size_t i = 0; i < s->count; i++)
        exec__event__free_unpacked(s->journal[i], NULL);
    agent_free(s->a);
}

static inline const Exec__Event *last(const struct sim *s)
{
    return s->journal[s->count - 1];
}

static inline const Exec__ToolFinished *finished_of(const struct sim *s, const char *id)
{
    for (size_t i = 0; i < s->count; i++)
        if (s->journal[i]->kind_case == EXEC__EVENT__KIND_TOOL_FINISHED &&
            str_eq(s->journal[i]->tool_finished->call_id, id))
            return s->journal[i]->tool_finished;
    fail_msg("call %s has no end", id);
    return NULL;
}

static inline void assert_failed(const struct sim *s, const char *class, const char *word)
{
    assert_int_equal(last(s)->kind_case, EXEC__EVENT__KIND_FAILED);
    assert_string_equal(last(s)->failed->class_, class);
    if (!strstr(last(s)->failed->message, word))
        fail_msg("no '%s' in: %s", word, last(s)->failed->message);
}

static inline void assert_completed(const struct sim *s, const char *answer_text)
{
    assert_int_equal(last(s)->kind_case, EXEC__EVENT__KIND_COMPLETED);
    assert_string_equal(last(s)->completed->answer, answer_text);
    assert_true(s->finished);
}

/* clang-format off */
#define LS(id) {id, "ls", "{}"}
#define SH(id, cmd) {id, "execute", "{\"command\":\"" cmd "\"}"}
static const struct turn mixed[] = {
    {"looking", "tool_use", {LS("a"), {"b", "read_file", "{\"file_path\":\"x\"}"}}},
    {"", "tool_use", {{"c", "write_todos", "{\"todos\":[{\"content\":\"one\",\"status\":\"pending\"}]}"},
                      SH("d", "make"), LS("e"), SH("f", "make install")}},
    {"", "tool_use", {{"g", "no_such", "{}"}, {"h", "ls", "not json"}}},
    {"all done", "end_turn", {{0}}},
    {0}};
static const struct turn plain[] = {{"hello", "end_turn", {{0}}}, {0}};
/* clang-format on */

#endif
