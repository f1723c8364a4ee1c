#include "core/fold.h"

#include <jansson.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/str.h"

#define NESTING_MAX 64

struct fold {
    Aexec__AgentExecutionStatus *status; /* owned */
};

static Aexec__AgentExecutionStatus *empty_status(void)
{
    Aexec__AgentExecutionStatus *s = mem_new(sizeof *s);

    aexec__agent_execution_status__init(s);
    s->counts = mem_new(sizeof *s->counts);
    aexec__execution_counts__init(s->counts);
    return s;
}

struct fold *fold_new(void)
{
    struct fold *f = mem_new(sizeof *f);

    f->status = empty_status();
    return f;
}

void fold_free(struct fold *f)
{
    if (!f)
        return;
    if (f->status)
        aexec__agent_execution_status__free_unpacked(f->status, NULL);
    free(f);
}

Aexec__AgentExecutionStatus *fold_peek(struct fold *f)
{
    return f->status;
}

Aexec__AgentExecutionStatus *fold_take(struct fold *f)
{
    Aexec__AgentExecutionStatus *s = f->status;

    f->status = empty_status();
    return s;
}

/* ---- building messages that protobuf-c will free ----------------------------------------------
 */

static char *text_of(const char *s)
{
    return mem_str(s);
}

/* Unset strings of protobuf-c are one shared constant that is never freed. */
static void set_text(char **field, const char *value)
{
    if (*field && *field != (char *)protobuf_c_empty_string)
        free(*field);
    *field = text_of(value);
}

static void set_time(char **field, int64_t at_ms)
{
    char text[CLOCK_TEXT];

    clock_format(at_ms, text);
    set_text(field, text);
}

static void list_add(void ***list, size_t *count, void *item)
{
    *list = mem_grow(*list, *count + 1, sizeof **list);
    (*list)[(*count)++] = item;
}
#define LIST_ADD(list, count, item) list_add((void ***)&(list), &(count), item)

static Google__Protobuf__Value *value_of(const json_t *j, int depth);

static Google__Protobuf__Struct *struct_of(const json_t *object, int depth)
{
    Google__Protobuf__Struct *s = mem_new(sizeof *s);
    const char *key;
    json_t *value;

    google__protobuf__struct__init(s);
    json_object_foreach((json_t *)(uintptr_t)object, key, value)
    {
        Google__Protobuf__Struct__FieldsEntry *e = mem_new(sizeof *e);
        google__protobuf__struct__fields_entry__init(e);
        e->key = text_of(key);
        e->value = value_of(value, depth + 1);
        LIST_ADD(s->fields, s->n_fields, e);
    }
    return s;
}

static Google__Protobuf__ListValue *list_of(const json_t *array, int depth)
{
    Google__Protobuf__ListValue *l = mem_new(sizeof *l);

    google__protobuf__list_value__init(l);
    for (size_t i = 0; i < json_array_size(array); i++)
        LIST_ADD(l->values, l->n_values, value_of(json_array_get(array, i), depth + 1));
    return l;
}

static Google__Protobuf__Value *value_of(const json_t *j, int depth)
{
    Google__Protobuf__Value *v = mem_new(sizeof *v);

    google__protobuf__value__init(v);
    v->kind_case = GOOGLE__PROTOBUF__VALUE__KIND_NULL_VALUE;
    if (json_is_string(j)) {
        v->kind_case = GOOGLE__PROTOBUF__VALUE__KIND_STRING_VALUE;
        v->string_value = text_of(json_string_value(j));
    } else if (json_is_number(j)) {
        v->kind_case = GOOGLE__PROTOBUF__VALUE__KIND_NUMBER_VALUE;
        v->number_value = json_number_value(j);
    } else if (json_is_boolean(j)) {
        v->kind_case = GOOGLE__PROTOBUF__VALUE__KIND_BOOL_VALUE;
        v->bool_value = json_is_true(j);
    } else if (json_is_object(j) && depth < NESTING_MAX) {
        v->kind_case = GOOGLE__PROTOBUF__VALUE__KIND_STRUCT_VALUE;
        v->struct_value = struct_of(j, depth);
    } else if (json_is_array(j) && depth < NESTING_MAX) {
        v->kind_case = GOOGLE__PROTOBUF__VALUE__KIND_LIST_VALUE;
        v->list_value = list_of(j, depth);
    }
    return v;
}

/* What a model writes as arguments may be no JSON object at all: then it is shown as it came. */
static Google__Protobuf__Struct *args_of(const char *args_json)
{
    json_t *j = json_loads(args_json, 0, NULL);
    Google__Protobuf__Struct *s;

    if (!json_is_object(j)) {
        json_decref(j);
        j = json_object();
        json_object_set_new(j, "_raw", json_string(args_json));
    }
    s = struct_of(j, 0);
    json_decref(j);
    return s;
}

/* The names that old clients draw by. */
static const char *component_of(const char *tool)
{
    static const char *const rows[][2] = {
        {"execute", "terminal"}, {"read_file", "preview"}, {"write_file", "editor"},
        {"edit_file", "editor"}, {"grep", "search"},       {"glob", "search"},
        {"ls", "filesystem"},    {"write_todos", "todo"},  {"task", "subagent"},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (strcmp(rows[i][0], tool) == 0)
            return rows[i][1];
    return "tool";
}

static Aexec__ToolCall *call_of(const Exec__ToolRequest *r)
{
    Aexec__ToolCall *c = mem_new(sizeof *c);

    aexec__tool_call__init(c);
    c->id = text_of(r->call_id);
    c->name = text_of(r->name);
    c->args = args_of(r->args_json);
    c->status = AEXEC__TOOL_CALL_STATUS__TOOL_CALL_PENDING;
    c->component_metadata = mem_new(sizeof *c->component_metadata);
    aexec__component_metadata__init(c->component_metadata);
    c->component_metadata->component_type = text_of(component_of(r->name));
    c->component_metadata->component_group = text_of("main-agent-tools");
    return c;
}

static Aexec__ToolCall *copy_call(const Aexec__ToolCall *c)
{
    size_t len = aexec__tool_call__get_packed_size(c);
    uint8_t *bytes = mem_array(len, 1);
    Aexec__ToolCall *copy;

    aexec__tool_call__pack(c, bytes);
    copy = mem_check(aexec__tool_call__unpack(NULL, len, bytes));
    free(bytes);
    return copy;
}

static Aexec__AgentMessage *add_message(struct fold *f, Aexec__MessageType type,
                                        const char *content, int64_t at_ms)
{
    Aexec__AgentMessage *m = mem_new(sizeof *m);

    aexec__agent_message__init(m);
    m->type = type;
    m->content = text_of(content);
    set_time(&m->timestamp, at_ms);
    LIST_ADD(f->status->messages, f->status->n_messages, m);
    return m;
}

/* ---- one event each ----------------------------------------------------------------------------
 */

static void turn_finished(struct fold *f, const Exec__Event *e)
{
    const Exec__TurnFinished *t = e->turn_finished;
    Aexec__AgentMessage *m = add_message(f, AEXEC__MESSAGE_TYPE__MESSAGE_AI, t->text, e->at_ms);

    f->status->counts->turns++;
    f->status->counts->tool_calls += (unsigned)t->n_tool_calls;
    if (t->usage) {
        f->status->counts->input_tokens += t->usage->input_tokens;
        f->status->counts->output_tokens += t->usage->output_tokens;
    }
    for (size_t i = 0; i < t->n_tool_calls; i++) {
        LIST_ADD(m->tool_calls, m->n_tool_calls, call_of(t->tool_calls[i]));
        LIST_ADD(f->status->tool_calls, f->status->n_tool_calls, call_of(t->tool_calls[i]));
    }
}

static void update_call(Aexec__ToolCall *c, const Exec__Event *e)
{
    const Exec__ToolFinished *t;

    if (e->kind_case == EXEC__EVENT__KIND_TOOL_STARTED) {
        c->status = AEXEC__TOOL_CALL_STATUS__TOOL_CALL_RUNNING;
        set_time(&c->started_at, e->at_ms);
        return;
    }
    t = e->tool_finished;
    set_time(&c->completed_at, e->at_ms);
    if (t->outcome == EXEC__TOOL_FINISHED__OUTCOME__OUTCOME_RESULT) {
        c->status = AEXEC__TOOL_CALL_STATUS__TOOL_CALL_COMPLETED;
        set_text(&c->result, t->text);
    } else {
        c->status = AEXEC__TOOL_CALL_STATUS__TOOL_CALL_FAILED;
        set_text(&c->error, t->text);
    }
}

/* The newest call with this id in a list, or NULL. */
static Aexec__ToolCall *find_call(Aexec__ToolCall **calls, size_t count, const char *id)
{
    while (count-- > 0)
        if (strcmp(calls[count]->id, id) == 0)
            return calls[count];
    return NULL;
}

static void tool_event(struct fold *f, const Exec__Event *e)
{
    bool ends = e->kind_case == EXEC__EVENT__KIND_TOOL_FINISHED;
    const char *id = ends ? e->tool_finished->call_id : e->tool_started->call_id;
    Aexec__AgentExecutionStatus *s = f->status;
    Aexec__ToolCall *c = find_call(s->tool_calls, s->n_tool_calls, id);

    if (c)
        update_call(c, e);
    for (size_t i = s->n_messages; i-- > 0;) {
        Aexec__AgentMessage *m = s->messages[i];
        Aexec__ToolCall *in = m->type == AEXEC__MESSAGE_TYPE__MESSAGE_AI
                                  ? find_call(m->tool_calls, m->n_tool_calls, id)
                                  : NULL;
        if (in) {
            update_call(in, e);
            break;
        }
    }
    if (ends) {
        Aexec__AgentMessage *m =
            add_message(f, AEXEC__MESSAGE_TYPE__MESSAGE_TOOL, e->tool_finished->text, e->at_ms);
        if (c)
            LIST_ADD(m->tool_calls, m->n_tool_calls, copy_call(c));
    }
}

static void approval_requested(struct fold *f, const Exec__Event *e)
{
    struct buf say;

    buf_init(&say, 0);
    buf_printf(&say, "%s needs a person's approval", e->approval_requested->name);
    add_message(f, AEXEC__MESSAGE_TYPE__MESSAGE_SYSTEM, buf_text(&say), e->at_ms);
    f->status->counts->waiting_approvals++;
    buf_done(&say);
}

static void approval_decided(struct fold *f, const Exec__Event *e)
{
    const Exec__ApprovalDecided *d = e->approval_decided;
    struct buf say;

    buf_init(&say, 0);
    buf_printf(&say, "%s by %s", d->approved ? "approved" : "denied", d->by);
    if (!str_is_empty(d->reason))
        buf_printf(&say, ": %s", d->reason);
    add_message(f, AEXEC__MESSAGE_TYPE__MESSAGE_SYSTEM, buf_text(&say), e->at_ms);
    if (f->status->counts->waiting_approvals)
        f->status->counts->waiting_approvals--;
    buf_done(&say);
}

static Aexec__TodoStatus todo_status(const char *s)
{
    return str_eq(s, "completed")     ? AEXEC__TODO_STATUS__TODO_COMPLETED
           : str_eq(s, "in_progress") ? AEXEC__TODO_STATUS__TODO_IN_PROGRESS
           : str_eq(s, "cancelled")   ? AEXEC__TODO_STATUS__TODO_CANCELLED
                                      : AEXEC__TODO_STATUS__TODO_PENDING;
}

static void drop_todos(Aexec__AgentExecutionStatus *s)
{
    for (size_t i = 0; i < s->n_todos; i++)
        protobuf_c_message_free_unpacked(&s->todos[i]->base, NULL);
    free(s->todos);
    s->todos = NULL;
    s->n_todos = 0;
}

/* When a todo of this id was first seen, so that it keeps its created_at. */
static char *created_at(const Aexec__AgentExecutionStatus *s, const char *id, int64_t at_ms)
{
    char now[CLOCK_TEXT];

    for (size_t i = 0; i < s->n_todos; i++)
        if (strcmp(s->todos[i]->key, id) == 0 && s->todos[i]->value)
            return text_of(s->todos[i]->value->created_at);
    clock_format(at_ms, now);
    return text_of(now);
}

static void todos_changed(struct fold *f, const Exec__Event *e)
{
    Aexec__AgentExecutionStatus next = AEXEC__AGENT_EXECUTION_STATUS__INIT;
    Aexec__AgentExecutionStatus *s = f->status;

    for (size_t i = 0; i < e->todos_changed->n_todos; i++) {
        const Exec__Todo *t = e->todos_changed->todos[i];
        Aexec__AgentExecutionStatus__TodosEntry *entry = mem_new(sizeof *entry);
        aexec__agent_execution_status__todos_entry__init(entry);
        entry->key = text_of(t->id);
        entry->value = mem_new(sizeof *entry->value);
        aexec__todo_item__init(entry->value);
        entry->value->id = text_of(t->id);
        entry->value->content = text_of(t->content);
        entry->value->status = todo_status(t->status);
        entry->value->created_at = created_at(s, t->id, e->at_ms);
        set_time(&entry->value->updated_at, e->at_ms);
        LIST_ADD(next.todos, next.n_todos, entry);
    }
    drop_todos(s);
    s->todos = next.todos;
    s->n_todos = next.n_todos;
}

/* The original's rule: lists replace when not empty, scalars when set; nothing can be cleared. */
#define MOVE_LIST(to, from, field)                                                                 \
    do {                                                                                           \
        if ((from)->n_##field) {                                                                   \
            size_t n_ = (to)->n_##field;                                                           \
            void *p_ = (to)->field;                                                                \
            (to)->n_##field = (from)->n_##field;                                                   \
            (to)->field = (from)->field;                                                           \
            (from)->n_##field = n_;                                                                \
            (from)->field = p_;                                                                    \
        }                                                                                          \
    } while (0)

/* An old runner tells no turns and calls of its own: its messages do. */
static void count_messages(Aexec__AgentExecutionStatus *s)
{
    s->counts->turns = 0;
    for (size_t i = 0; i < s->n_messages; i++)
        s->counts->turns += s->messages[i]->type == AEXEC__MESSAGE_TYPE__MESSAGE_AI;
    s->counts->tool_calls = (uint32_t)s->n_tool_calls;
}

static void legacy_status(struct fold *f, const Exec__LegacyStatus *l)
{
    Aexec__AgentExecutionStatus *s = f->status;
    Aexec__AgentExecutionStatus *in =
        aexec__agent_execution_status__unpack(NULL, l->status.len, l->status.data);

    if (!in)
        return;
    MOVE_LIST(s, in, messages);
    MOVE_LIST(s, in, tool_calls);
    MOVE_LIST(s, in, sub_agent_executions);
    MOVE_LIST(s, in, todos);
    count_messages(s);
    if (in->phase)
        s->phase = in->phase;
    if (!str_is_empty(in->error))
        set_text(&s->error, in->error);
    if (!str_is_empty(in->started_at))
        set_text(&s->started_at, in->started_at);
    if (!str_is_empty(in->completed_at))
        set_text(&s->completed_at, in->completed_at);
    aexec__agent_execution_status__free_unpacked(in, NULL);
}

static void ended(struct fold *f, Aexec__ExecutionPhase phase, const char *say, int64_t at_ms)
{
    f->status->phase = phase;
    f->status->counts->waiting_approvals = 0; /* what waited was closed with it */
    set_time(&f->status->completed_at, at_ms);
    if (!str_is_empty(say))
        add_message(f, AEXEC__MESSAGE_TYPE__MESSAGE_SYSTEM, say, at_ms);
}

static void cancelled(struct fold *f, const Exec__Event *e)
{
    struct buf say;

    buf_init(&say, 0);
    buf_printf(&say, str_is_empty(e->cancelled->reason) ? "cancelled" : "cancelled: %s",
               e->cancelled->reason);
    ended(f, AEXEC__EXECUTION_PHASE__EXECUTION_CANCELLED, buf_text(&say), e->at_ms);
    buf_done(&say);
}

void fold_apply(struct fold *f, const Exec__Event *e)
{
    Aexec__AgentExecutionStatus *s = f->status;

    switch (e->kind_case) {
    case EXEC__EVENT__KIND_SUBMITTED:
        s->phase = AEXEC__EXECUTION_PHASE__EXECUTION_PENDING;
        add_message(f, AEXEC__MESSAGE_TYPE__MESSAGE_HUMAN, e->submitted->message, e->at_ms);
        break;
    case EXEC__EVENT__KIND_CLAIMED:
        s->counts->attempt++;
        s->phase = AEXEC__EXECUTION_PHASE__EXECUTION_IN_PROGRESS;
        if (str_is_empty(s->started_at))
            set_time(&s->started_at, e->at_ms);
        break;
    case EXEC__EVENT__KIND_TURN_FINISHED:
        turn_finished(f, e);
        break;
    case EXEC__EVENT__KIND_TOOL_STARTED:
    case EXEC__EVENT__KIND_TOOL_FINISHED:
        tool_event(f, e);
        break;
    case EXEC__EVENT__KIND_APPROVAL_REQUESTED:
        approval_requested(f, e);
        break;
    case EXEC__EVENT__KIND_APPROVAL_DECIDED:
        approval_decided(f, e);
        break;
    case EXEC__EVENT__KIND_TODOS_CHANGED:
        todos_changed(f, e);
        break;
    case EXEC__EVENT__KIND_INPUT_RECEIVED:
        add_message(f, AEXEC__MESSAGE_TYPE__MESSAGE_HUMAN, e->input_received->text, e->at_ms);
        break;
    case EXEC__EVENT__KIND_NOTICE:
        add_message(f, AEXEC__MESSAGE_TYPE__MESSAGE_SYSTEM, e->notice->text, e->at_ms);
        break;
    case EXEC__EVENT__KIND_COMPLETED:
        ended(f, AEXEC__EXECUTION_PHASE__EXECUTION_COMPLETED, NULL, e->at_ms);
        break;
    case EXEC__EVENT__KIND_FAILED:
        set_text(&s->error, e->failed->message);
        ended(f, AEXEC__EXECUTION_PHASE__EXECUTION_FAILED, e->failed->message, e->at_ms);
        break;
    case EXEC__EVENT__KIND_CANCELLED:
        cancelled(f, e);
        break;
    case EXEC__EVENT__KIND_LEGACY_STATUS:
        legacy_status(f, e->legacy_status);
        break;
    case EXEC__EVENT__KIND_TURN_STARTED:
    case EXEC__EVENT__KIND_CANCEL_REQUESTED:
    case EXEC__EVENT__KIND__NOT_SET:
    case _EXEC__EVENT__KIND__CASE_IS_INT_SIZE:
    default:
        break;
    }
}
