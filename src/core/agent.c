#include "core/agent.h"

#include <inttypes.h>
#include <jansson.h>
#include <string.h>

#include "base/mem.h"
#include "base/own.h"
#include "base/str.h"
#include "core/agent-state.h"
#include "core/policy.h"
#include "core/tooldef.h"

#define REPEATS_WARN 3
#define REPEATS_STOP 6
#define SQUEEZE_MAX 4
#define CALL_ID_MAX 64
#define INPUT_ID_MAX 200

/* What a turn may put into the journal: an event and its neighbour fit one message of 4 MiB. */
#define TURN_TEXT_MAX ((size_t)1 << 20)
#define TURN_ARGS_MAX ((size_t)1536 << 10)
#define TURN_STATE_MAX ((size_t)512 << 10)

bool agent_turn_is_empty(const Exec__TurnFinished *t)
{
    return t->n_tool_calls == 0 && t->text[strspn(t->text, " \t\r\n")] == '\0';
}

bool agent_turn_is_cut(const Exec__TurnFinished *t)
{
    return t->n_tool_calls == 0 && str_eq(t->stop, "max_tokens") && !agent_turn_is_empty(t);
}

static bool is_refusal(const Exec__TurnFinished *t)
{
    return t->n_tool_calls == 0 &&
           (str_eq(t->stop, "refusal") || str_eq(t->stop, "content_filter"));
}

struct agent *agent_new(const struct agent_config *c)
{
    struct agent *a = mem_new(sizeof *a);

    a->provider = mem_str(c->provider);
    a->model = mem_str(c->model);
    a->epoch = c->epoch;
    a->max_turns = c->max_turns;
    a->max_tokens = c->max_tokens;
    a->max_duration_ms = c->max_duration_ms;
    a->context_tokens = c->context_tokens;
    a->max_output_tokens = c->max_output_tokens;
    a->overhead_bytes = c->overhead_bytes;
    a->history_count = c->history_count;
    a->history = mem_array(c->history_count * 2, sizeof *a->history);
    for (size_t i = 0; i < c->history_count; i++) {
        a->history[2 * i] = mem_str(c->history[i].message);
        a->history[2 * i + 1] = mem_str(c->history[i].answer);
    }
    a->require_count = c->require_count;
    a->require_approval = mem_array(c->require_count, sizeof *a->require_approval);
    for (size_t i = 0; i < c->require_count; i++)
        a->require_approval[i] = mem_str(c->require_approval[i]);
    return a;
}

void agent_free(struct agent *a)
{
    if (!a)
        return;
    for (size_t i = 0; i < a->event_count; i++)
        exec__event__free_unpacked(a->events[i], NULL);
    for (size_t i = 0; i < a->history_count * 2; i++)
        free(a->history[i]);
    for (size_t i = 0; i < a->require_count; i++)
        free(a->require_approval[i]);
    free(a->require_approval);
    map_done(&a->call_ids);
    free(a->events);
    free(a->history);
    free(a->calls);
    free(a->actions);
    free(a->provider);
    free(a->model);
    free(a);
}

/* ---- actions ------------------------------------------------------------------------------- */

static void push(struct agent *a, enum agent_action_kind kind, const struct agent_call *call)
{
    struct agent_action *act;

    if (a->action_count == a->action_cap) {
        a->action_cap = a->action_cap ? a->action_cap * 2 : 8;
        a->actions = mem_grow(a->actions, a->action_cap, sizeof *a->actions);
    }
    act = &a->actions[a->action_count++];
    *act = (struct agent_action){.kind = kind};
    if (call)
        act->call =
            (struct agent_request){call->req->call_id, call->req->name, call->req->args_json};
}

bool agent_next(struct agent *a, struct agent_action *ret)
{
    if (a->action_first == a->action_count) {
        a->action_first = a->action_count = 0;
        return false;
    }
    *ret = a->actions[a->action_first++];
    return true;
}

static Exec__Event event_of(Exec__Event__KindCase kind)
{
    Exec__Event e = EXEC__EVENT__INIT;

    e.kind_case = kind;
    return e;
}

/* Journals e: it is part of the state at once, and on its way to the disk. */
static void append(struct agent *a, Exec__Event *e, int64_t now_ms)
{
    Exec__Event *own;
    struct err err;

    e->seq = a->event_count + 1;
    e->at_ms = now_ms;
    e->epoch = a->epoch;
    own = agent_add_event(a, e);
    if (agent_fold_own(a, own, &err))
        abort(); /* the loop broke a rule of its own journal */
    push(a, AGENT_APPEND, NULL);
    a->actions[a->action_count - 1].event = own;
}

/* A copy that is valid UTF-8 and at most max bytes; a cut is said. */
static char *clean_text(const char *text, size_t max)
{
    struct buf out;
    size_t len = text ? strlen(text) : 0, cut = len > max ? max : len;

    buf_init(&out, 0);
    while (cut < len && cut > 0 && ((unsigned char)text[cut] & 0xc0) == 0x80)
        cut--;
    buf_put_text(&out, text, cut);
    if (cut < len)
        buf_printf(&out, "\n[%zu bytes were cut here]", len - cut);
    return buf_take_text(&out);
}

static void append_notice(struct agent *a, const char *text, int64_t now_ms)
{
    Exec__Event e = event_of(EXEC__EVENT__KIND_NOTICE);
    Exec__Notice n = EXEC__NOTICE__INIT;
    OWN_FREE char *clean = clean_text(text, 4096);

    n.text = clean;
    e.notice = &n;
    append(a, &e, now_ms);
}

static bool has_input(const struct agent *a, const char *id)
{
    for (size_t i = 0; i < a->event_count; i++)
        if (a->events[i]->kind_case == EXEC__EVENT__KIND_INPUT_RECEIVED &&
            str_eq(a->events[i]->input_received->id, id))
            return true;
    return false;
}

static void append_input(struct agent *a, const struct agent_input *in, int64_t now_ms)
{
    Exec__Event e = event_of(EXEC__EVENT__KIND_INPUT_RECEIVED);
    Exec__InputReceived i = EXEC__INPUT_RECEIVED__INIT;
    OWN_FREE char *id = clean_text(in->id, INPUT_ID_MAX), *by = clean_text(in->by, 200);
    OWN_FREE char *text = clean_text(in->text, AGENT_RESULT_MAX);

    if (a->parked || has_input(a, id))
        return; /* of a parked run the next runner is told */
    i.id = id;
    i.by = by;
    i.text = text;
    e.input_received = &i;
    append(a, &e, now_ms);
}

static void append_finished(struct agent *a, struct agent_call *c,
                            Exec__ToolFinished__Outcome outcome, const char *text, int64_t now_ms)
{
    Exec__Event e = event_of(EXEC__EVENT__KIND_TOOL_FINISHED);
    Exec__ToolFinished f = EXEC__TOOL_FINISHED__INIT;
    OWN_FREE char *clean = clean_text(text, AGENT_RESULT_MAX);
    struct buf all;

    buf_init(&all, 0);
    buf_puts(&all, clean);
    if (c->repeats >= REPEATS_WARN && c->repeats < REPEATS_STOP)
        buf_printf(&all,
                   "\n[this very call was made %u times in a row; after %d the run is ended. "
                   "Do something else, or answer with what you have]",
                   c->repeats, REPEATS_STOP - 1);
    OWN_FREE char *told = buf_take_text(&all);
    f.call_id = c->req->call_id;
    f.outcome = outcome;
    f.text = told;
    e.tool_finished = &f;
    append(a, &e, now_ms);
}

static void append_started(struct agent *a, struct agent_call *c, bool effect, int64_t now_ms)
{
    Exec__Event e = event_of(EXEC__EVENT__KIND_TOOL_STARTED);
    Exec__ToolStarted s = EXEC__TOOL_STARTED__INIT;

    s.call_id = c->req->call_id;
    s.name = c->req->name;
    s.args_json = c->req->args_json;
    s.effect = effect;
    e.tool_started = &s;
    append(a, &e, now_ms);
}

static void append_asked(struct agent *a, const struct agent_call *c, int64_t now_ms)
{
    Exec__Event e = event_of(EXEC__EVENT__KIND_APPROVAL_REQUESTED);
    Exec__ApprovalRequested r = EXEC__APPROVAL_REQUESTED__INIT;

    r.call_id = c->req->call_id;
    r.name = c->req->name;
    r.args_json = c->req->args_json;
    e.approval_requested = &r;
    append(a, &e, now_ms);
}

static void append_decided(struct agent *a, const struct agent_call *c,
                           const struct agent_input *in, int64_t now_ms)
{
    Exec__Event e = event_of(EXEC__EVENT__KIND_APPROVAL_DECIDED);
    Exec__ApprovalDecided d = EXEC__APPROVAL_DECIDED__INIT;
    OWN_FREE char *by = clean_text(in->by, 200), *reason = clean_text(in->text, 4096);

    d.call_id = c->req->call_id;
    d.approved = in->approved;
    d.by = by;
    d.reason = reason;
    e.approval_decided = &d;
    append(a, &e, now_ms);
}

/* ---- ends ---------------------------------------------------------------------------------- */

/* Every open call gets its one end, so the history stays valid for any provider. */
static void close_everything(struct agent *a, const char *why, int64_t now_ms)
{
    char text[200];

    if (a->model_running) {
        push(a, AGENT_STOP_MODEL, NULL);
        a->model_running = false;
    }
    for (size_t i = 0; i < a->call_count; i++) {
        struct agent_call *c = &a->calls[i];
        bool maybe = c->started_seq && c->effect && (c->running || c->inherited);

        if (c->finished)
            continue;
        if (c->running)
            push(a, AGENT_STOP_TOOL, c);
        (void)str_format(text, sizeof text,
                         maybe ? "%s while it ran: how far it came is not known" : "%s", why);
        append_finished(a, c,
                        maybe ? EXEC__TOOL_FINISHED__OUTCOME__OUTCOME_UNKNOWN
                              : EXEC__TOOL_FINISHED__OUTCOME__OUTCOME_ERROR,
                        text, now_ms);
    }
}

static void append_failed(struct agent *a, const char *class, const char *message, int64_t now_ms)
{
    Exec__Event e = event_of(EXEC__EVENT__KIND_FAILED);
    Exec__Failed f = EXEC__FAILED__INIT;
    OWN_FREE char *kind = mem_str(class), *clean = clean_text(message, 16384);

    close_everything(a, "the run ended", now_ms);
    f.class_ = kind;
    f.message = clean;
    e.failed = &f;
    append(a, &e, now_ms);
}

static void append_cancelled(struct agent *a, const char *by, const char *reason, int64_t now_ms)
{
    Exec__Event e = event_of(EXEC__EVENT__KIND_CANCEL_REQUESTED);
    Exec__CancelRequested r = EXEC__CANCEL_REQUESTED__INIT;
    Exec__Event end = event_of(EXEC__EVENT__KIND_CANCELLED);
    Exec__Cancelled c = EXEC__CANCELLED__INIT;
    OWN_FREE char *clean_by = clean_text(by, 200), *clean = clean_text(reason, 2000);

    close_everything(a, "cancelled", now_ms);
    r.by = clean_by;
    r.reason = clean;
    e.cancel_requested = &r;
    if (!a->cancel_requested)
        append(a, &e, now_ms);
    c.reason = clean;
    end.cancelled = &c;
    append(a, &end, now_ms);
}

/* Texts of the turns that were cut at the output limit belong to the answer. */
static void append_completed(struct agent *a, const char *note, int64_t now_ms)
{
    Exec__Event e = event_of(EXEC__EVENT__KIND_COMPLETED);
    Exec__Completed c = EXEC__COMPLETED__INIT;
    size_t first = a->event_count;
    struct buf all;

    while (first > 0) {
        const Exec__Event *at = a->events[first - 1];

        if (at->kind_case == EXEC__EVENT__KIND_TURN_FINISHED && at->turn_finished != a->last_turn &&
            !agent_turn_is_cut(at->turn_finished))
            break;
        first--;
    }
    buf_init(&all, 0);
    for (size_t i = first; i < a->event_count; i++)
        if (a->events[i]->kind_case == EXEC__EVENT__KIND_TURN_FINISHED)
            buf_puts(&all, a->events[i]->turn_finished->text);
    if (note)
        buf_puts(&all, note);
    OWN_FREE char *answer = buf_take_text(&all);
    c.answer = answer;
    e.completed = &c;
    append(a, &e, now_ms);
}

/* ---- turns --------------------------------------------------------------------------------- */

static void call_model(struct agent *a, uint32_t attempt, int64_t now_ms)
{
    Exec__Event e = event_of(EXEC__EVENT__KIND_TURN_STARTED);
    Exec__TurnStarted t = EXEC__TURN_STARTED__INIT;

    t.provider = a->provider;
    t.model = a->model;
    t.turn = a->finished_turns + 1;
    t.attempt = attempt;
    e.turn_started = &t;
    append(a, &e, now_ms);
    a->model_running = true;
    push(a, AGENT_CALL_MODEL, NULL);
}

static bool has_no_more(const struct agent *a)
{
    return (a->max_turns && a->finished_turns >= a->max_turns) ||
           (a->max_tokens && a->tokens >= a->max_tokens);
}

static bool limit_is_reached(struct agent *a, int64_t now_ms)
{
    char text[300];

    if (!has_no_more(a))
        return false;
    if (a->max_turns && a->finished_turns >= a->max_turns)
        (void)str_format(text, sizeof text,
                         "the run used all of its %" PRIu32 " turns; raise budget.max_turns or "
                         "give a smaller task",
                         a->max_turns);
    else
        (void)str_format(text, sizeof text,
                         "the run used %" PRId64 " tokens of at most %" PRId64
                         "; raise budget.max_tokens or give a smaller task",
                         a->tokens, a->max_tokens);
    append_failed(a, "limit", text, now_ms);
    return true;
}

static bool time_is_up(struct agent *a, int64_t now_ms)
{
    char text[300];

    if (now_ms < agent_deadline_ms(a))
        return false;
    (void)str_format(text, sizeof text,
                     "the run took longer than its %" PRId64
                     " s; raise budget.max_duration or give a smaller task",
                     a->max_duration_ms / 1000);
    append_failed(a, "limit", text, now_ms);
    return true;
}

/* The last turn asked for no tool: is that the end? */
static void decide_end(struct agent *a, int64_t now_ms)
{
    const Exec__TurnFinished *t = a->last_turn;
    char text[600];

    if (a->unread && !has_no_more(a)) {
        call_model(a, 1, now_ms);
        return;
    }
    if (a->unread)
        append_notice(a, "what was said last is not read: the run has used what it may", now_ms);
    if (is_refusal(t)) {
        (void)str_format(text, sizeof text, "%s/%s refused to answer (%s)%s%.300s", a->provider,
                         a->model, t->stop, agent_turn_is_empty(t) ? "" : ": ", t->text);
        append_failed(a, "refusal", text, now_ms);
    } else if (agent_turn_is_empty(t) && a->empty_turns >= 2) {
        if (a->tool_results) {
            append_notice(a, "the model ended without an answer; its tools did run", now_ms);
            append_completed(a, NULL, now_ms);
            return;
        }
        (void)str_format(text, sizeof text,
                         "%s/%s answered twice with nothing (stop reason '%.40s'); try another "
                         "model, or a higher llm.max_output_tokens",
                         a->provider, a->model, t->stop);
        append_failed(a, "model", text, now_ms);
    } else if (agent_turn_is_cut(t) && a->cut_turns >= 2) {
        append_completed(a, "\n\n[the answer was cut at the model's output limit]", now_ms);
    } else if (agent_turn_is_empty(t) || agent_turn_is_cut(t)) {
        if (!limit_is_reached(a, now_ms))
            call_model(a, 1, now_ms);
    } else {
        append_completed(a, NULL, now_ms);
    }
}

/* A call id that no call of this execution has, made from what the provider gave. */
static char *unique_id(const struct agent *a, const struct map *fresh, const char *given, size_t i)
{
    char id[CALL_ID_MAX + 32];

    if (str_is_empty(given) || strlen(given) > CALL_ID_MAX)
        (void)str_format(id, sizeof id, "call_%" PRIu32 "_%zu", a->finished_turns + 1, i + 1);
    else
        (void)str_format(id, sizeof id, "%s", given);
    for (unsigned n = 2; map_get(&a->call_ids, id) || map_get(fresh, id); n++)
        (void)str_format(id, sizeof id, "%.*s_%" PRIu32 "_%zu_%u", CALL_ID_MAX - 20,
                         str_is_empty(given) ? "call" : given, a->finished_turns + 1, i + 1, n);
    return mem_str(id);
}

static void on_turn(struct agent *a, const struct agent_input *in, int64_t now_ms)
{
    Exec__Event e = event_of(EXEC__EVENT__KIND_TURN_FINISHED);
    Exec__TurnFinished t = EXEC__TURN_FINISHED__INIT;
    Exec__Usage usage = EXEC__USAGE__INIT;
    OWN_FREE char *text = clean_text(in->text, TURN_TEXT_MAX), *stop = clean_text(in->stop, 64);
    OWN_FREE Exec__ToolRequest *reqs = mem_array(in->call_count, sizeof *reqs);
    OWN_FREE Exec__ToolRequest **list = mem_array(in->call_count, sizeof(void *));
    struct map fresh = {0};
    size_t args_left = TURN_ARGS_MAX;

    for (size_t i = 0; i < in->call_count; i++) {
        exec__tool_request__init(&reqs[i]);
        reqs[i].call_id = unique_id(a, &fresh, in->calls[i].call_id, i);
        reqs[i].name = clean_text(in->calls[i].name, 200);
        /* Arguments that are cut are no JSON any more: the model reads that. */
        reqs[i].args_json = clean_text(in->calls[i].args_json, args_left);
        args_left -= strlen(reqs[i].args_json) < args_left ? strlen(reqs[i].args_json) : args_left;
        (void)map_put(&fresh, reqs[i].call_id, a);
        list[i] = &reqs[i];
    }
    usage.input_tokens = in->usage.input_tokens;
    usage.output_tokens = in->usage.output_tokens;
    usage.cache_read_tokens = in->usage.cache_read_tokens;
    usage.cache_write_tokens = in->usage.cache_write_tokens;
    t.text = text;
    t.stop = stop;
    t.usage = &usage;
    t.n_tool_calls = in->call_count;
    t.tool_calls = list;
    if (in->provider_state && strlen(in->provider_state) < TURN_STATE_MAX) {
        t.provider_state.len = strlen(in->provider_state) + 1; /* with its NUL: read as text */
        t.provider_state.data = (uint8_t *)(uintptr_t)in->provider_state;
    }
    e.turn_finished = &t;
    a->model_running = false;
    append(a, &e, now_ms);
    for (size_t i = 0; i < in->call_count; i++) {
        free(reqs[i].call_id);
        free(reqs[i].name);
        free(reqs[i].args_json);
    }
    map_done(&fresh);
}

/* ---- tools --------------------------------------------------------------------------------- */

static void append_todos(struct agent *a, const char *args_json, int64_t now_ms)
{
    json_t *args = json_loads(args_json, 0, NULL), *list = json_object_get(args, "todos");
    size_t n = json_array_size(list);
    Exec__Event e = event_of(EXEC__EVENT__KIND_TODOS_CHANGED);
    Exec__TodosChanged changed = EXEC__TODOS_CHANGED__INIT;
    OWN_FREE Exec__Todo *todos = mem_array(n, sizeof *todos);
    OWN_FREE Exec__Todo **refs = mem_array(n, sizeof(void *));
    OWN_FREE char(*ids)[32] = mem_array(n, sizeof *ids);

    for (size_t i = 0; i < n; i++) {
        json_t *item = json_array_get(list, i);
        const char *content = json_string_value(json_object_get(item, "content"));
        uint64_t hash = 1469598103934665603u; /* FNV-1a: the same content keeps its id */
        unsigned same = 1;

        for (const char *p = content; *p; p++)
            hash = (hash ^ (unsigned char)*p) * 1099511628211u;
        exec__todo__init(&todos[i]);
        todos[i].content = (char *)(uintptr_t)content;
        todos[i].status = (char *)(uintptr_t)json_string_value(json_object_get(item, "status"));
        for (size_t k = 0; k < i; k++)
            same += strcmp(todos[k].content, content) == 0;
        (void)str_format(ids[i], sizeof ids[i],
                         same > 1 ? "todo-%010" PRIx64 "-%u" : "todo-%010" PRIx64,
                         hash & 0xffffffffffu, same);
        todos[i].id = ids[i];
        refs[i] = &todos[i];
    }
    changed.n_todos = n;
    changed.todos = refs;
    e.todos_changed = &changed;
    append(a, &e, now_ms);
    json_decref(args);
}

static void finish_todos(struct agent *a, struct agent_call *c, int64_t now_ms)
{
    const Exec__TodosChanged *t;
    struct buf text;

    append_todos(a, *c->req->args_json ? c->req->args_json : "{}", now_ms);
    t = a->events[a->event_count - 1]->todos_changed;
    buf_init(&text, 0);
    buf_printf(&text, "%zu todos:\n", t->n_todos);
    for (size_t i = 0; i < t->n_todos; i++)
        buf_printf(&text, "- [%s] %s\n", t->todos[i]->status, t->todos[i]->content);
    OWN_FREE char *told = buf_take_text(&text);
    append_finished(a, c, EXEC__TOOL_FINISHED__OUTCOME__OUTCOME_RESULT, told, now_ms);
}

/* Why this call cannot be made at all, in words for the model; false: it can. */
static bool is_refused(const struct agent *a, const Exec__ToolRequest *r, struct err *err)
{
    const struct tooldef *def = tooldef_find(r->name);
    char names[400] = "";
    size_t count, at = 0;
    const struct tooldef *all = tooldef_all(&count);

    if (def) {
        if (!tooldef_check(def, r->args_json, err))
            return false;
        if (str_eq(a->last_turn->stop, "max_tokens"))
            (void)err_wrap(err, err->code,
                           "your answer was cut at the output limit, make the call shorter");
        return true;
    }
    for (size_t i = 0; i < count && at < sizeof names; i++) {
        (void)str_format(names + at, sizeof names - at, "%s%s", i ? ", " : "", all[i].name);
        at += strlen(names + at);
    }
    (void)err_set(err, ERR_NOT_FOUND, "there is no tool '%.80s'; the tools are: %s", r->name,
                  names);
    return true;
}

static bool turn_is_pure(const struct agent *a)
{
    for (size_t i = 0; i < a->call_count; i++) {
        const struct tooldef *def = tooldef_find(a->calls[i].req->name);

        if (def && def->effect)
            return false;
    }
    return true;
}

static void finish_denied(struct agent *a, struct agent_call *c, int64_t now_ms)
{
    struct buf text;

    buf_init(&text, 0);
    buf_puts(&text, "A person denied this call; it did not run");
    if (!str_is_empty(c->decision->reason))
        buf_printf(&text, ": %s", c->decision->reason);
    OWN_FREE char *told = buf_take_text(&text);
    append_finished(a, c, EXEC__TOOL_FINISHED__OUTCOME__OUTCOME_ERROR, told, now_ms);
}

/* All questions of a turn are asked at once, so that a person finds them together. What cannot be
 * called anyway, or was begun when policy was another, is not asked for. */
static void ask(struct agent *a, int64_t now_ms)
{
    for (size_t i = 0; i < a->call_count; i++) {
        const struct agent_call *c = &a->calls[i];
        const struct tooldef *def = tooldef_find(c->req->name);
        struct err why;

        if (!c->finished && !c->started_seq && c->approval == AGENT_FREE && def && !def->in_loop &&
            c->repeats < REPEATS_STOP &&
            policy_asks((const char *const *)a->require_approval, a->require_count, c->req->name) &&
            !is_refused(a, c->req, &why))
            append_asked(a, c, now_ms);
    }
}

/* Brings one call as far as it can go now. */
static void advance_call(struct agent *a, struct agent_call *c, int64_t now_ms)
{
    const struct tooldef *def = tooldef_find(c->req->name);
    struct err why;
    bool refused = is_refused(a, c->req, &why);

    if (c->approval == AGENT_ASKED)
        return;
    if (c->approval == AGENT_DENIED) {
        finish_denied(a, c, now_ms);
        return;
    }
    if (!c->started_seq)
        append_started(a, c, def && def->effect && !refused, now_ms);
    if (refused) {
        append_finished(a, c, EXEC__TOOL_FINISHED__OUTCOME__OUTCOME_ERROR, why.msg, now_ms);
    } else if (def->in_loop) {
        finish_todos(a, c, now_ms);
    } else if (c->inherited && c->effect) {
        append_finished(a, c, EXEC__TOOL_FINISHED__OUTCOME__OUTCOME_UNKNOWN,
                        "The outcome of this call is unknown: the runner was replaced while it "
                        "ran. It may have happened in full, in part, or not at all. Check before "
                        "you do it again.",
                        now_ms);
    } else if (!c->running && a->acked >= c->started_seq) {
        c->running = true;
        push(a, AGENT_RUN_TOOL, c);
    }
}

static void advance_tools(struct agent *a, int64_t now_ms)
{
    bool parallel = turn_is_pure(a);
    char text[300];

    ask(a, now_ms);
    for (size_t i = 0; i < a->call_count; i++) {
        struct agent_call *c = &a->calls[i];

        if (c->finished)
            continue;
        if (c->repeats >= REPEATS_STOP) {
            (void)str_format(text, sizeof text,
                             "the model made the same call of '%.60s' %u times in a row; give the "
                             "task in other words, or try another model",
                             c->req->name, c->repeats);
            append_failed(a, "loop", text, now_ms);
            return;
        }
        advance_call(a, c, now_ms);
        if (!parallel && !c->finished)
            return;
    }
}

/* ---- the loop ------------------------------------------------------------------------------ */

static void advance(struct agent *a, int64_t now_ms)
{
    if (!a->over && !a->parked && a->cancel_requested)
        append_cancelled(a, "", a->cancel_requested->reason, now_ms);
    if (!a->over && !a->parked && !time_is_up(a, now_ms) && !a->model_running) {
        if (agent_has_open_calls(a))
            advance_tools(a, now_ms);
        if (!a->over && !agent_has_open_calls(a)) {
            if (a->last_turn && a->call_count == 0 && !a->turn_open)
                decide_end(a, now_ms);
            else if (!limit_is_reached(a, now_ms))
                call_model(a, 1, now_ms);
        }
    }
    if (a->over && a->acked == a->event_count && !a->finish_told) {
        a->finish_told = true;
        push(a, AGENT_FINISH, NULL);
    }
}

static void on_start(struct agent *a, int64_t now_ms)
{
    a->started = true;
    if (!a->claimed_ms)
        a->claimed_ms = a->last_ms = now_ms;
    if (a->over || a->cancel_requested || (!a->turn_open && !a->last_turn))
        return;
    append_notice(a, "the runner was replaced; the run goes on from its last complete step",
                  now_ms);
    if (a->turn_open && !time_is_up(a, now_ms))
        call_model(a, a->attempt + 1, now_ms);
}

static void on_context(struct agent *a, const struct agent_input *in, int64_t now_ms)
{
    if (a->squeeze >= SQUEEZE_MAX) {
        a->model_running = false;
        append_failed(a, "model", in->text, now_ms);
        return;
    }
    a->squeeze++;
    append_notice(a, "the conversation is too long for the model: old tool results are shortened",
                  now_ms);
    call_model(a, a->attempt + 1, now_ms);
}

static void on_tool(struct agent *a, const struct agent_input *in, int64_t now_ms)
{
    struct agent_call *c = agent_find_call(a, in->call_id);

    if (c && c->running && !c->finished)
        append_finished(a, c, in->outcome, in->text, now_ms);
}

/* Of a parked run the next runner is told; what has been decided is not decided again. */
static void on_decision(struct agent *a, const struct agent_input *in, int64_t now_ms)
{
    struct agent_call *c = agent_find_call(a, in->call_id);

    if (c && !c->finished && c->approval == AGENT_ASKED && !a->parked)
        append_decided(a, c, in, now_ms);
}

/* The journal stays as it is: the next runner makes the call of the open turn again. */
static void on_park(struct agent *a)
{
    a->parked = true;
    if (a->model_running)
        push(a, AGENT_STOP_MODEL, NULL);
    a->model_running = false;
}

void agent_step(struct agent *a, const struct agent_input *in, int64_t now_ms)
{
    if (in->kind == AGENT_ACKED) {
        if (in->seq > a->acked && in->seq <= a->event_count)
            a->acked = in->seq;
    } else if (!a->over) {
        switch (in->kind) {
        case AGENT_START:
            on_start(a, now_ms);
            break;
        case AGENT_TURN:
            if (a->model_running)
                on_turn(a, in, now_ms);
            break;
        case AGENT_MODEL_AGAIN:
            if (a->model_running)
                call_model(a, a->attempt + 1, now_ms);
            break;
        case AGENT_MODEL_CONTEXT:
            if (a->model_running)
                on_context(a, in, now_ms);
            break;
        case AGENT_MODEL_FAILED:
            a->model_running = false;
            append_failed(a, in->class ? in->class : "model", in->text, now_ms);
            break;
        case AGENT_TOOL:
            on_tool(a, in, now_ms);
            break;
        case AGENT_CANCEL:
            append_cancelled(a, in->by, in->text, now_ms);
            break;
        case AGENT_INPUT:
            append_input(a, in, now_ms);
            break;
        case AGENT_DECISION:
            on_decision(a, in, now_ms);
            break;
        case AGENT_NOTICE:
            append_notice(a, in->text, now_ms);
            break;
        case AGENT_PARK:
            on_park(a);
            break;
        case AGENT_ACKED:
        case AGENT_TICK:
        default:
            break;
        }
    }
    if (a->started || in->kind == AGENT_START)
        advance(a, now_ms);
}

uint32_t agent_turn(const struct agent *a)
{
    return a->turn;
}

uint32_t agent_attempt(const struct agent *a)
{
    return a->attempt;
}

uint32_t agent_finished_turns(const struct agent *a)
{
    return a->finished_turns;
}

uint64_t agent_last_seq(const struct agent *a)
{
    return a->event_count;
}

bool agent_is_over(const struct agent *a)
{
    return a->over;
}

Exec__Event__KindCase agent_end(const struct agent *a)
{
    return a->over ? a->events[a->event_count - 1]->kind_case : EXEC__EVENT__KIND__NOT_SET;
}

int64_t agent_deadline_ms(const struct agent *a)
{
    return a->max_duration_ms && !a->over && a->claimed_ms && !agent_waits_for_person(a)
               ? a->claimed_ms + a->max_duration_ms - a->spent_ms
               : INT64_MAX;
}
