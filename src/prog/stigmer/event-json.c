#include "prog/stigmer/event-json.h"

#include <string.h>

#include "base/clock.h"
#include "base/own.h"
#include "base/str.h"

#define ARGS_SHOWN 100

static const struct {
    Exec__Event__KindCase kind;
    const char *name;
} kinds[] = {
    {EXEC__EVENT__KIND_SUBMITTED, "submitted"},
    {EXEC__EVENT__KIND_CLAIMED, "claimed"},
    {EXEC__EVENT__KIND_TURN_STARTED, "turn_started"},
    {EXEC__EVENT__KIND_TURN_FINISHED, "turn_finished"},
    {EXEC__EVENT__KIND_TOOL_STARTED, "tool_started"},
    {EXEC__EVENT__KIND_TOOL_FINISHED, "tool_finished"},
    {EXEC__EVENT__KIND_TODOS_CHANGED, "todos_changed"},
    {EXEC__EVENT__KIND_CANCEL_REQUESTED, "cancel_requested"},
    {EXEC__EVENT__KIND_COMPLETED, "completed"},
    {EXEC__EVENT__KIND_FAILED, "failed"},
    {EXEC__EVENT__KIND_CANCELLED, "cancelled"},
    {EXEC__EVENT__KIND_NOTICE, "notice"},
    {EXEC__EVENT__KIND_INPUT_RECEIVED, "input_received"},
    {EXEC__EVENT__KIND_APPROVAL_REQUESTED, "approval_requested"},
    {EXEC__EVENT__KIND_APPROVAL_DECIDED, "approval_decided"},
    {EXEC__EVENT__KIND_LEGACY_STATUS, "legacy_status"},
};

const char *event_json_kind(const Exec__Event *e)
{
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (kinds[i].kind == e->kind_case)
            return kinds[i].name;
    return "unknown";
}

bool event_json_is_terminal(const Exec__Event *e)
{
    return e->kind_case == EXEC__EVENT__KIND_COMPLETED ||
           e->kind_case == EXEC__EVENT__KIND_FAILED || e->kind_case == EXEC__EVENT__KIND_CANCELLED;
}

static void put(json_t *o, const char *key, const char *text)
{
    (void)json_object_set_new(o, key, json_string(text ? text : ""));
}

static void put_int(json_t *o, const char *key, int64_t v)
{
    (void)json_object_set_new(o, key, json_integer(v));
}

static void put_args(json_t *o, const char *text)
{
    json_t *args = json_loads(text ? text : "", JSON_REJECT_DUPLICATES, NULL);

    if (args)
        (void)json_object_set_new(o, "args", args);
    else
        put(o, "argsText", text); /* the model wrote something that is no JSON */
}

static json_t *usage_object(const Exec__Usage *u)
{
    json_t *o = json_object();

    put_int(o, "inputTokens", u ? u->input_tokens : 0);
    put_int(o, "outputTokens", u ? u->output_tokens : 0);
    put_int(o, "cacheReadTokens", u ? u->cache_read_tokens : 0);
    put_int(o, "cacheWriteTokens", u ? u->cache_write_tokens : 0);
    return o;
}

static void put_turn(json_t *o, const Exec__TurnFinished *t)
{
    json_t *calls = json_array();

    put(o, "text", t->text);
    for (size_t i = 0; i < t->n_tool_calls; i++) {
        json_t *c = json_object();
        put(c, "callId", t->tool_calls[i]->call_id);
        put(c, "name", t->tool_calls[i]->name);
        put_args(c, t->tool_calls[i]->args_json);
        json_array_append_new(calls, c);
    }
    json_object_set_new(o, "toolCalls", calls);
    json_object_set_new(o, "usage", usage_object(t->usage));
    put(o, "stop", t->stop);
}

static const char *outcome_name(Exec__ToolFinished__Outcome outcome)
{
    if (outcome == EXEC__TOOL_FINISHED__OUTCOME__OUTCOME_RESULT)
        return "result";
    if (outcome == EXEC__TOOL_FINISHED__OUTCOME__OUTCOME_ERROR)
        return "error";
    return "unknown";
}

static void put_todos(json_t *o, const Exec__TodosChanged *t)
{
    json_t *list = json_array();

    for (size_t i = 0; i < t->n_todos; i++) {
        json_t *item = json_object();
        put(item, "id", t->todos[i]->id);
        put(item, "content", t->todos[i]->content);
        put(item, "status", t->todos[i]->status);
        json_array_append_new(list, item);
    }
    json_object_set_new(o, "todos", list);
}

static void put_kind(json_t *o, const Exec__Event *e)
{
    if (e->kind_case == EXEC__EVENT__KIND_SUBMITTED) {
        put(o, "message", e->submitted->message);
        if (!str_is_empty(e->submitted->model))
            put(o, "model", e->submitted->model);
    } else if (e->kind_case == EXEC__EVENT__KIND_CLAIMED) {
        put(o, "runner", e->claimed->runner_id);
    } else if (e->kind_case == EXEC__EVENT__KIND_TURN_STARTED) {
        put(o, "provider", e->turn_started->provider);
        put(o, "model", e->turn_started->model);
        put_int(o, "turn", e->turn_started->turn);
        put_int(o, "attempt", e->turn_started->attempt);
    } else if (e->kind_case == EXEC__EVENT__KIND_TURN_FINISHED) {
        put_turn(o, e->turn_finished);
    } else if (e->kind_case == EXEC__EVENT__KIND_TOOL_STARTED) {
        put(o, "callId", e->tool_started->call_id);
        put(o, "name", e->tool_started->name);
        put_args(o, e->tool_started->args_json);
        json_object_set_new(o, "effect", json_boolean(e->tool_started->effect));
    } else if (e->kind_case == EXEC__EVENT__KIND_TOOL_FINISHED) {
        put(o, "callId", e->tool_finished->call_id);
        put(o, "outcome", outcome_name(e->tool_finished->outcome));
        put(o, "text", e->tool_finished->text);
    } else if (e->kind_case == EXEC__EVENT__KIND_TODOS_CHANGED) {
        put_todos(o, e->todos_changed);
    } else if (e->kind_case == EXEC__EVENT__KIND_CANCEL_REQUESTED) {
        put(o, "by", e->cancel_requested->by);
        put(o, "reason", e->cancel_requested->reason);
    } else if (e->kind_case == EXEC__EVENT__KIND_COMPLETED) {
        put(o, "answer", e->completed->answer);
    } else if (e->kind_case == EXEC__EVENT__KIND_FAILED) {
        json_t *error = json_object();
        put(error, "class", e->failed->class_);
        put(error, "message", e->failed->message);
        json_object_set_new(o, "error", error);
    } else if (e->kind_case == EXEC__EVENT__KIND_CANCELLED) {
        put(o, "reason", e->cancelled->reason);
    } else if (e->kind_case == EXEC__EVENT__KIND_NOTICE) {
        put(o, "text", e->notice->text);
    } else if (e->kind_case == EXEC__EVENT__KIND_INPUT_RECEIVED) {
        put(o, "id", e->input_received->id);
        put(o, "by", e->input_received->by);
        put(o, "text", e->input_received->text);
    } else if (e->kind_case == EXEC__EVENT__KIND_APPROVAL_REQUESTED) {
        put(o, "callId", e->approval_requested->call_id);
        put(o, "name", e->approval_requested->name);
        put_args(o, e->approval_requested->args_json);
    } else if (e->kind_case == EXEC__EVENT__KIND_APPROVAL_DECIDED) {
        put(o, "callId", e->approval_decided->call_id);
        json_object_set_new(o, "approved", json_boolean(e->approval_decided->approved));
        put(o, "by", e->approval_decided->by);
        put(o, "reason", e->approval_decided->reason);
    }
}

static json_t *new_line(const char *execution_id)
{
    json_t *o = json_object();

    put(o, "schema", "stigmer.cli/run-event/v1");
    put(o, "executionId", execution_id);
    return o;
}

json_t *event_json_object(const char *execution_id, const Exec__Event *e)
{
    json_t *o = new_line(execution_id);
    char at[CLOCK_TEXT];

    clock_format(e->at_ms, at);
    put_int(o, "seq", (int64_t)e->seq);
    put(o, "at", at);
    put(o, "kind", event_json_kind(e));
    put_kind(o, e);
    return o;
}

json_t *event_json_delta(const char *execution_id, unsigned turn, unsigned attempt,
                         const char *text)
{
    json_t *o = new_line(execution_id);

    put(o, "kind", "text_delta");
    put_int(o, "turn", turn);
    put_int(o, "attempt", attempt);
    put(o, "text", text);
    return o;
}

/* The first line of text, cut at a character. */
static void put_short(struct buf *b, const char *text, size_t max)
{
    size_t n = strcspn(text, "\r\n"), len = strlen(text);

    if (n > max)
        for (n = max; n && ((unsigned char)text[n] & 0xc0) == 0x80; n--)
            ;
    buf_put(b, text, n);
    if (n < len)
        buf_puts(b, " …");
}

void event_json_args(struct buf *b, const char *args_json)
{
    static const char *const telling[] = {"command", "file_path", "path", "pattern",
                                          "query",   "url",       "name", NULL};
    json_t *args = json_loads(args_json ? args_json : "", 0, NULL);
    const char *text = NULL, *key;
    json_t *v;

    for (size_t i = 0; telling[i] && !text; i++)
        text = json_string_value(json_object_get(args, telling[i]));
    if (!text && json_is_object(args))
        json_object_foreach(args, key, v) if (!text) text = json_string_value(v);
    if (text)
        put_short(b, text, ARGS_SHOWN);
    else if (!args && args_json)
        put_short(b, args_json, ARGS_SHOWN);
    json_decref(args);
}

void event_json_decision(struct buf *b, const Exec__ApprovalDecided *d)
{
    buf_printf(b, "%s by %s", d->approved ? "approved" : "denied", d->by);
    if (!str_is_empty(d->reason)) {
        buf_puts(b, ": ");
        put_short(b, d->reason, ARGS_SHOWN);
    }
}

void event_json_line(struct buf *b, const Exec__Event *e)
{
    char at[CLOCK_TEXT];

    clock_format(e->at_ms, at);
    buf_printf(b, "%s %4llu %-18s ", at, (unsigned long long)e->seq, event_json_kind(e));
    if (e->kind_case == EXEC__EVENT__KIND_SUBMITTED) {
        put_short(b, e->submitted->message, ARGS_SHOWN);
    } else if (e->kind_case == EXEC__EVENT__KIND_CLAIMED) {
        buf_printf(b, "runner %s, epoch %llu", e->claimed->runner_id, (unsigned long long)e->epoch);
    } else if (e->kind_case == EXEC__EVENT__KIND_TURN_STARTED) {
        buf_printf(b, "turn %u", e->turn_started->turn);
        if (e->turn_started->attempt > 1)
            buf_printf(b, ", attempt %u", e->turn_started->attempt);
        buf_printf(b, ", %s %s", e->turn_started->provider, e->turn_started->model);
    } else if (e->kind_case == EXEC__EVENT__KIND_TURN_FINISHED) {
        put_short(b, e->turn_finished->text, ARGS_SHOWN);
        if (e->turn_finished->n_tool_calls)
            buf_printf(b, "%s[%zu tool call%s]", str_is_empty(e->turn_finished->text) ? "" : " ",
                       e->turn_finished->n_tool_calls,
                       e->turn_finished->n_tool_calls == 1 ? "" : "s");
    } else if (e->kind_case == EXEC__EVENT__KIND_TOOL_STARTED) {
        buf_printf(b, "%s: ", e->tool_started->name);
        event_json_args(b, e->tool_started->args_json);
    } else if (e->kind_case == EXEC__EVENT__KIND_TOOL_FINISHED) {
        buf_printf(b, "%s: ", outcome_name(e->tool_finished->outcome));
        put_short(b, e->tool_finished->text, ARGS_SHOWN);
    } else if (e->kind_case == EXEC__EVENT__KIND_COMPLETED) {
        put_short(b, e->completed->answer, ARGS_SHOWN);
    } else if (e->kind_case == EXEC__EVENT__KIND_FAILED) {
        buf_printf(b, "%s: ", e->failed->class_);
        put_short(b, e->failed->message, 400);
    } else if (e->kind_case == EXEC__EVENT__KIND_CANCELLED) {
        put_short(b, e->cancelled->reason, ARGS_SHOWN);
    } else if (e->kind_case == EXEC__EVENT__KIND_CANCEL_REQUESTED) {
        put_short(b, e->cancel_requested->reason, ARGS_SHOWN);
    } else if (e->kind_case == EXEC__EVENT__KIND_NOTICE) {
        put_short(b, e->notice->text, 400);
    } else if (e->kind_case == EXEC__EVENT__KIND_INPUT_RECEIVED) {
        buf_printf(b, "%s: ", e->input_received->by);
        put_short(b, e->input_received->text, ARGS_SHOWN);
    } else if (e->kind_case == EXEC__EVENT__KIND_APPROVAL_REQUESTED) {
        buf_printf(b, "%s: ", e->approval_requested->name);
        event_json_args(b, e->approval_requested->args_json);
    } else if (e->kind_case == EXEC__EVENT__KIND_APPROVAL_DECIDED) {
        event_json_decision(b, e->approval_decided);
    }
}
