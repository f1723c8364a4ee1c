/* What the model is shown: the session's history, the task, every turn and its results. */
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "core/agent-state.h"

#define BYTES_PER_TOKEN 3   /* on the safe side of English text and of code */
#define MESSAGE_BYTES 16    /* what a message costs besides its text */
#define DEFAULT_OUTPUT 4096 /* tokens kept free when nothing is said */
#define CLIPPED_BYTES 400   /* of a result that was shortened: its head and tail */
#define KEEP_RESULTS 2      /* the newest results are shortened last */

static struct agent_message *add(struct agent_conversation *c)
{
    if (c->count == c->cap) {
        c->cap = c->cap ? c->cap * 2 : 16;
        c->messages = mem_grow(c->messages, c->cap, sizeof *c->messages);
    }
    c->messages[c->count] = (struct agent_message){.text = ""};
    return &c->messages[c->count++];
}

static void *keep(struct agent_conversation *c, void *made)
{
    c->texts = mem_grow(c->texts, c->text_count + 1, sizeof *c->texts);
    c->texts[c->text_count++] = made;
    return made;
}

static void add_text(struct agent_conversation *c, enum agent_role role, const char *text)
{
    struct agent_message *m = add(c);

    m->role = role;
    m->text = text;
}

static void add_turn(struct agent_conversation *c, const Exec__TurnFinished *t)
{
    struct agent_message *m;

    if (agent_turn_is_empty(t)) {
        add_text(c, AGENT_USER,
                 "You answered with nothing. Go on with the task, or say that it is done.");
        return;
    }
    m = add(c);
    m->role = AGENT_ASSISTANT;
    m->text = t->text;
    if (t->provider_state.len)
        m->provider_state = (const char *)t->provider_state.data;
    if (t->n_tool_calls) {
        struct agent_request *calls = keep(c, mem_array(t->n_tool_calls, sizeof *calls));

        for (size_t i = 0; i < t->n_tool_calls; i++)
            calls[i] = (struct agent_request){t->tool_calls[i]->call_id, t->tool_calls[i]->name,
                                              t->tool_calls[i]->args_json};
        m->calls = calls;
        m->call_count = t->n_tool_calls;
    }
    if (agent_turn_is_cut(t))
        add_text(c, AGENT_USER,
                 "Your answer was cut at the output limit. Go on exactly where it ends; do not "
                 "repeat anything.");
}

/* Results stand in the order of the calls they answer, whatever order they came in. */
static void add_results(struct agent_conversation *c, const struct agent *a, size_t turn_at)
{
    const Exec__TurnFinished *t = a->events[turn_at]->turn_finished;

    for (size_t i = 0; i < t->n_tool_calls; i++) {
        for (size_t k = turn_at + 1; k < a->event_count; k++) {
            const Exec__Event *e = a->events[k];
            struct agent_message *m;

            if (e->kind_case == EXEC__EVENT__KIND_TURN_FINISHED)
                break;
            if (e->kind_case != EXEC__EVENT__KIND_TOOL_FINISHED ||
                strcmp(e->tool_finished->call_id, t->tool_calls[i]->call_id) != 0)
                continue;
            m = add(c);
            m->role = AGENT_RESULT;
            m->text = *e->tool_finished->text ? e->tool_finished->text : "(no output)";
            m->call_id = e->tool_finished->call_id;
            m->tool_name = t->tool_calls[i]->name;
            m->is_error = e->tool_finished->outcome != EXEC__TOOL_FINISHED__OUTCOME__OUTCOME_RESULT;
            break;
        }
    }
}

static size_t message_bytes(const struct agent_message *m)
{
    size_t n = MESSAGE_BYTES + strlen(m->text);

    for (size_t i = 0; i < m->call_count; i++)
        n += MESSAGE_BYTES + strlen(m->calls[i].name) + strlen(m->calls[i].args_json);
    return n + (m->provider_state ? strlen(m->provider_state) : 0);
}

static size_t whole_char(const char *text, size_t at)
{
    while (at > 0 && ((unsigned char)text[at] & 0xc0) == 0x80)
        at--;
    return at;
}

/* Shortens one result to head and tail; says how many bytes that saved. */
static size_t clip(struct agent_conversation *c, struct agent_message *m)
{
    size_t len = strlen(m->text), head, tail;
    struct buf out;

    if (len <= 2 * CLIPPED_BYTES)
        return 0;
    head = whole_char(m->text, CLIPPED_BYTES / 2);
    tail = whole_char(m->text, len - CLIPPED_BYTES / 2);
    buf_init(&out, 0);
    buf_put(&out, m->text, head);
    buf_printf(&out,
               "\n[%zu bytes of this older result are left out to fit the model's context; run "
               "the tool again if you need them]\n",
               tail - head);
    buf_puts(&out, m->text + tail);
    m->text = keep(c, buf_take_text(&out));
    c->clipped++;
    return len - strlen(m->text);
}

/* Bytes the conversation may have; SIZE_MAX: no limit is known. Every refusal by the provider
 * takes a third off what was too much. */
static size_t room(const struct agent *a, size_t total)
{
    size_t max = SIZE_MAX;

    if (a->context_tokens > 0) {
        int64_t out = a->max_output_tokens > 0 ? a->max_output_tokens : DEFAULT_OUTPUT;
        int64_t in =
            a->context_tokens - (out < a->context_tokens / 2 ? out : a->context_tokens / 2);

        max = (size_t)in * BYTES_PER_TOKEN;
        max = max > a->overhead_bytes ? max - a->overhead_bytes : 0;
    }
    if (a->squeeze && total < max)
        max = total;
    for (unsigned i = 0; i < a->squeeze; i++)
        max = max / 3 * 2;
    return max;
}

static void fit(const struct agent *a, struct agent_conversation *c)
{
    size_t total = 0, results = 0, max;

    for (size_t i = 0; i < c->count; i++) {
        total += message_bytes(&c->messages[i]);
        results += c->messages[i].role == AGENT_RESULT;
    }
    max = room(a, total);
    for (size_t spare = KEEP_RESULTS, pass = 0; pass < 2 && total > max; pass++, spare = 0) {
        size_t seen = 0;

        for (size_t i = 0; i < c->count && total > max; i++)
            if (c->messages[i].role == AGENT_RESULT && ++seen + spare <= results)
                total -= clip(c, &c->messages[i]);
    }
}

/* What was said up to there, from event `from` on. */
static void add_inputs(struct agent_conversation *c, const struct agent *a, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++)
        if (a->events[i]->kind_case == EXEC__EVENT__KIND_INPUT_RECEIVED)
            add_text(c, AGENT_USER, a->events[i]->input_received->text);
}

void agent_conversation_make(const struct agent *a, struct agent_conversation *ret)
{
    size_t read = 0; /* inputs before this event stand where the model read them */

    *ret = (struct agent_conversation){0};
    for (size_t i = 0; i < a->history_count; i++) {
        const char *message = a->history[2 * i], *answer = a->history[2 * i + 1];

        add_text(ret, AGENT_USER, *message ? message : "(no text)");
        add_text(ret, AGENT_ASSISTANT, *answer ? answer : "(I gave no answer.)");
    }
    add_text(ret, AGENT_USER,
             a->submitted && *a->submitted->message ? a->submitted->message : "(no text)");
    for (size_t i = 0; i < a->event_count; i++) {
        if (a->events[i]->kind_case == EXEC__EVENT__KIND_TURN_STARTED) {
            add_inputs(ret, a, read, i);
            read = i;
        } else if (a->events[i]->kind_case == EXEC__EVENT__KIND_TURN_FINISHED) {
            add_turn(ret, a->events[i]->turn_finished);
            add_results(ret, a, i);
        }
    }
    add_inputs(ret, a, read, a->event_count);
    fit(a, ret);
}

void agent_conversation_done(struct agent_conversation *c)
{
    for (size_t i = 0; i < c->text_count; i++)
        free(c->texts[i]);
    free(c->texts);
    free(c->messages);
    *c = (struct agent_conversation){0};
}
