#include "core/rules.h"

#include <inttypes.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"

#define CALLS_MAX 256

void rules_init(struct rules *r)
{
    *r = (struct rules){0};
}

static void drop_calls(struct rules *r)
{
    for (size_t i = 0; i < r->call_count; i++) {
        free(r->calls[i].id);
        free(r->calls[i].name);
    }
    free(r->calls);
    r->calls = NULL;
    r->call_count = 0;
}

void rules_done(struct rules *r)
{
    drop_calls(r);
}

void rules_begin_at(struct rules *r, uint64_t seq)
{
    r->head = seq - 1;
    r->turn_open = true;
}

bool rules_is_terminal(const Exec__Event *e)
{
    return e->kind_case == EXEC__EVENT__KIND_COMPLETED ||
           e->kind_case == EXEC__EVENT__KIND_FAILED || e->kind_case == EXEC__EVENT__KIND_CANCELLED;
}

const char *rules_kind_name(const Exec__Event *e)
{
    const ProtobufCFieldDescriptor *f =
        protobuf_c_message_descriptor_get_field(&exec__event__descriptor, (unsigned)e->kind_case);

    return f ? f->name : "event of no known kind";
}

static enum err_code out_of_order(const Exec__Event *e, const char *why, struct err *err)
{
    return err_set(err, ERR_INVALID, "event %" PRIu64 " (%s) is out of order: %s", e->seq,
                   rules_kind_name(e), why);
}

static bool has_open_calls(const struct rules *r)
{
    for (size_t i = 0; i < r->call_count; i++)
        if (!r->calls[i].finished)
            return true;
    return false;
}

static struct rules_call *find_call(struct rules *r, const char *id)
{
    for (size_t i = 0; i < r->call_count; i++)
        if (strcmp(r->calls[i].id, id) == 0)
            return &r->calls[i];
    return NULL;
}

static enum err_code turn_finished(struct rules *r, const Exec__Event *e, struct err *err)
{
    const Exec__TurnFinished *t = e->turn_finished;

    if (!r->turn_open)
        return out_of_order(e, "no turn is under way", err);
    if (t->n_tool_calls > CALLS_MAX)
        return err_set(err, ERR_LIMIT, "a turn of %zu tool calls; the limit is %d", t->n_tool_calls,
                       CALLS_MAX);
    for (size_t i = 0; i < t->n_tool_calls; i++)
        for (size_t k = 0; k <= i; k++)
            if (str_is_empty(t->tool_calls[i]->call_id) ||
                (k < i && str_eq(t->tool_calls[i]->call_id, t->tool_calls[k]->call_id)))
                return out_of_order(e, "its tool calls need ids that differ", err);
    drop_calls(r);
    r->calls = mem_array(t->n_tool_calls, sizeof *r->calls);
    r->call_count = t->n_tool_calls;
    for (size_t i = 0; i < t->n_tool_calls; i++) {
        r->calls[i].id = mem_str(t->tool_calls[i]->call_id);
        r->calls[i].name = mem_str(t->tool_calls[i]->name);
    }
    r->turn_open = false;
    return ERR_OK;
}

static enum err_code tool_event(struct rules *r, const Exec__Event *e, struct err *err)
{
    bool ends = e->kind_case == EXEC__EVENT__KIND_TOOL_FINISHED;
    struct rules_call *c =
        find_call(r, ends ? e->tool_finished->call_id : e->tool_started->call_id);

    if (!c)
        return out_of_order(e, "the last turn asked for no such call", err);
    if (c->finished)
        return out_of_order(e, "the call is finished already", err);
    if (!ends && (c->approval == RULES_ASKED || c->approval == RULES_DENIED))
        return out_of_order(e, "nobody has approved the call", err);
    c->finished = ends;
    return ERR_OK;
}

static enum err_code approval_event(struct rules *r, const Exec__Event *e, struct err *err)
{
    bool asks = e->kind_case == EXEC__EVENT__KIND_APPROVAL_REQUESTED;
    struct rules_call *c =
        find_call(r, asks ? e->approval_requested->call_id : e->approval_decided->call_id);

    if (!c)
        return out_of_order(e, "the last turn asked for no such call", err);
    if (c->finished)
        return out_of_order(e, "the call is finished already", err);
    if (c->approval != (asks ? RULES_FREE : RULES_ASKED))
        return out_of_order(e, asks ? "it is asked for already" : "it does not wait for that", err);
    if (asks && !str_eq(e->approval_requested->name, c->name))
        return out_of_order(e, "it names another tool than its call", err);
    c->approval = asks                            ? RULES_ASKED
                  : e->approval_decided->approved ? RULES_APPROVED
                                                  : RULES_DENIED;
    return ERR_OK;
}

static enum err_code check(struct rules *r, const Exec__Event *e, struct err *err)
{
    switch (e->kind_case) {
    case EXEC__EVENT__KIND_SUBMITTED:
        return e->seq == 1 ? ERR_OK : out_of_order(e, "only the first event is", err);
    case EXEC__EVENT__KIND_TURN_STARTED:
        if (has_open_calls(r))
            return out_of_order(e, "a tool call of the last turn is not finished", err);
        r->turn_open = true;
        return ERR_OK;
    case EXEC__EVENT__KIND_TURN_FINISHED:
        return turn_finished(r, e, err);
    case EXEC__EVENT__KIND_TOOL_STARTED:
    case EXEC__EVENT__KIND_TOOL_FINISHED:
        return tool_event(r, e, err);
    case EXEC__EVENT__KIND_APPROVAL_REQUESTED:
    case EXEC__EVENT__KIND_APPROVAL_DECIDED:
        return approval_event(r, e, err);
    case EXEC__EVENT__KIND_COMPLETED:
        if (has_open_calls(r))
            return out_of_order(e, "a tool call of the last turn is not finished", err);
        return ERR_OK;
    case EXEC__EVENT__KIND_CLAIMED:
    case EXEC__EVENT__KIND_TODOS_CHANGED:
    case EXEC__EVENT__KIND_CANCEL_REQUESTED:
    case EXEC__EVENT__KIND_FAILED:
    case EXEC__EVENT__KIND_CANCELLED:
    case EXEC__EVENT__KIND_NOTICE:
    case EXEC__EVENT__KIND_INPUT_RECEIVED:
    case EXEC__EVENT__KIND_LEGACY_STATUS:
        return ERR_OK;
    case EXEC__EVENT__KIND__NOT_SET:
    case _EXEC__EVENT__KIND__CASE_IS_INT_SIZE:
    default:
        return out_of_order(e, "this version does not know it", err);
    }
}

enum err_code rules_apply(struct rules *r, const Exec__Event *e, struct err *err)
{
    enum err_code code;

    if (r->terminal)
        return err_set(err, ERR_STATE, "the execution has ended; nothing can follow");
    if (e->seq != r->head + 1)
        return err_set(err, ERR_CONFLICT, "event %" PRIu64 " where %" PRIu64 " comes next", e->seq,
                       r->head + 1);
    if ((code = check(r, e, err)))
        return code;
    r->head = e->seq;
    r->terminal = rules_is_terminal(e);
    return ERR_OK;
}
