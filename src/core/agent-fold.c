/* The journal's events, one after the other, into what the agent loop remembers: see agent.h. */
#include <inttypes.h>
#include <string.h>

#include "base/mem.h"
#include "base/own.h"
#include "core/agent-state.h"

struct agent_call *agent_find_call(struct agent *a, const char *id)
{
    for (size_t i = 0; i < a->call_count; i++)
        if (strcmp(a->calls[i].req->call_id, id) == 0)
            return &a->calls[i];
    return NULL;
}

bool agent_has_open_calls(const struct agent *a)
{
    for (size_t i = 0; i < a->call_count; i++)
        if (!a->calls[i].finished)
            return true;
    return false;
}

static int64_t usage_total(const Exec__Usage *u)
{
    return u ? u->input_tokens + u->output_tokens + u->cache_read_tokens + u->cache_write_tokens
             : 0;
}

static void fold_turn_finished(struct agent *a, const Exec__TurnFinished *t)
{
    a->turn_open = false;
    a->last_turn = t;
    a->finished_turns++;
    a->tokens += usage_total(t->usage);
    a->empty_turns = agent_turn_is_empty(t) ? a->empty_turns + 1 : 0;
    a->cut_turns = agent_turn_is_cut(t) ? a->cut_turns + 1 : 0;
    free(a->calls);
    a->calls = mem_array(t->n_tool_calls, sizeof *a->calls);
    a->call_count = t->n_tool_calls;
    for (size_t i = 0; i < t->n_tool_calls; i++) {
        const Exec__ToolRequest *r = t->tool_calls[i], *p = a->previous_call;
        bool same = p && strcmp(p->name, r->name) == 0 && strcmp(p->args_json, r->args_json) == 0;

        a->previous_repeats = same ? a->previous_repeats + 1 : 1;
        a->previous_call = r;
        a->calls[i].req = r;
        a->calls[i].repeats = a->previous_repeats;
        (void)map_put(&a->call_ids, r->call_id, a);
    }
}

static enum err_code fold_tool(struct agent *a, const Exec__Event *e, struct err *err)
{
    bool starts = e->kind_case == EXEC__EVENT__KIND_TOOL_STARTED;
    const char *id = starts ? e->tool_started->call_id : e->tool_finished->call_id;
    struct agent_call *c = agent_find_call(a, id);

    if (!c || c->finished)
        return err_set(err, ERR_CORRUPT, "event %" PRIu64 " of the journal %s call '%.60s', %s",
                       e->seq, starts ? "starts" : "finishes", id,
                       c ? "which is finished" : "which its turn does not have");
    if (starts) {
        c->started_seq = e->seq;
        c->effect = e->tool_started->effect;
        c->inherited = !a->started;
    } else {
        c->finished = true;
        c->running = false;
        a->tool_results += e->tool_finished->outcome != EXEC__TOOL_FINISHED__OUTCOME__OUTCOME_ERROR;
    }
    return ERR_OK;
}

static enum err_code fold_approval(struct agent *a, const Exec__Event *e, struct err *err)
{
    bool asks = e->kind_case == EXEC__EVENT__KIND_APPROVAL_REQUESTED;
    const char *id = asks ? e->approval_requested->call_id : e->approval_decided->call_id;
    struct agent_call *c = agent_find_call(a, id);

    if (!c || c->finished || c->approval != (asks ? AGENT_FREE : AGENT_ASKED))
        return err_set(err, ERR_CORRUPT,
                       "event %" PRIu64 " of the journal %s call '%.60s', which does not wait for "
                       "that",
                       e->seq, asks ? "asks for" : "decides", id);
    if (asks) {
        c->approval = AGENT_ASKED;
        return ERR_OK;
    }
    c->decision = e->approval_decided;
    c->approval = c->decision->approved ? AGENT_APPROVED : AGENT_DENIED;
    return ERR_OK;
}

/* Nothing runs, and nothing can until somebody has decided. */
bool agent_waits_for_person(const struct agent *a)
{
    bool asked = false;

    for (size_t i = 0; i < a->call_count; i++) {
        const struct agent_call *c = &a->calls[i];

        if (!c->finished && c->started_seq)
            return false;
        asked |= !c->finished && c->approval == AGENT_ASKED;
    }
    return asked;
}

/* Told by the runner's clock, which does not jump within a claim. Notices may be the server's, of a
 * run that waits. */
static bool is_runners(const Exec__Event *e)
{
    return e->kind_case != EXEC__EVENT__KIND_SUBMITTED &&
           e->kind_case != EXEC__EVENT__KIND_CLAIMED && e->kind_case != EXEC__EVENT__KIND_NOTICE &&
           e->kind_case != EXEC__EVENT__KIND_CANCEL_REQUESTED;
}

enum err_code agent_fold_own(struct agent *a, const Exec__Event *e, struct err *err)
{
    if (is_runners(e) && e->at_ms > a->last_ms) {
        if (agent_waits_for_person(a))
            a->claimed_ms += e->at_ms - a->last_ms; /* a person's time, not the run's */
        a->last_ms = e->at_ms;
    }
    switch (e->kind_case) {
    case EXEC__EVENT__KIND_SUBMITTED:
        a->submitted = e->submitted;
        break;
    case EXEC__EVENT__KIND_CLAIMED:
        a->spent_ms += a->last_ms - a->claimed_ms;
        a->claimed_ms = a->last_ms = e->at_ms;
        break;
    case EXEC__EVENT__KIND_TURN_STARTED:
        if (agent_has_open_calls(a))
            return err_set(err, ERR_CORRUPT,
                           "event %" PRIu64 " of the journal starts a turn while a tool call of "
                           "the last one is open",
                           e->seq);
        a->turn_open = true;
        a->unread = false;
        a->turn = a->finished_turns + 1;
        a->attempt = e->turn_started->attempt;
        break;
    case EXEC__EVENT__KIND_TURN_FINISHED:
        fold_turn_finished(a, e->turn_finished);
        break;
    case EXEC__EVENT__KIND_TOOL_STARTED:
    case EXEC__EVENT__KIND_TOOL_FINISHED:
        return fold_tool(a, e, err);
    case EXEC__EVENT__KIND_APPROVAL_REQUESTED:
    case EXEC__EVENT__KIND_APPROVAL_DECIDED:
        return fold_approval(a, e, err);
    case EXEC__EVENT__KIND_CANCEL_REQUESTED:
        a->cancel_requested = e->cancel_requested;
        break;
    case EXEC__EVENT__KIND_INPUT_RECEIVED:
        a->unread = true;
        break;
    case EXEC__EVENT__KIND_COMPLETED:
    case EXEC__EVENT__KIND_FAILED:
    case EXEC__EVENT__KIND_CANCELLED:
        a->over = true;
        break;
    case EXEC__EVENT__KIND_TODOS_CHANGED:
    case EXEC__EVENT__KIND_NOTICE:
    case EXEC__EVENT__KIND_LEGACY_STATUS:
    case EXEC__EVENT__KIND__NOT_SET:
    case _EXEC__EVENT__KIND__CASE_IS_INT_SIZE:
    default:
        break;
    }
    return ERR_OK;
}

/* The journal keeps its own copy: what it was made from lives on the caller's stack. */
static Exec__Event *copy_event(const Exec__Event *e)
{
    size_t len = exec__event__get_packed_size(e);
    OWN_FREE uint8_t *bytes = mem_array(len, 1);

    exec__event__pack(e, bytes);
    return mem_check(exec__event__unpack(NULL, len, bytes));
}

Exec__Event *agent_add_event(struct agent *a, const Exec__Event *e)
{
    if (a->event_count == a->event_cap) {
        a->event_cap = a->event_cap ? a->event_cap * 2 : 8;
        a->events = mem_grow(a->events, a->event_cap, sizeof *a->events);
    }
    return a->events[a->event_count++] = copy_event(e);
}

enum err_code agent_fold(struct agent *a, const Exec__Event *e, struct err *err)
{
    if (e->seq != a->event_count + 1)
        return err_set(err, ERR_CORRUPT,
                       "the journal goes on with event %" PRIu64 " where %zu was expected", e->seq,
                       a->event_count + 1);
    if (a->over)
        return err_set(err, ERR_CORRUPT, "event %" PRIu64 " of the journal follows the end",
                       e->seq);
    enum err_code code = agent_fold_own(a, agent_add_event(a, e), err);
    a->acked = e->seq;
    return code;
}
