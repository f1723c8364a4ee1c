/* The signals of a workflow's history: what people say to its run, and decide for it. Each is kept
 * by the server before the task that brings it is answered; done again, it is nothing new. */
#include <inttypes.h>
#include <string.h>

#include "base/log.h"
#include "base/str.h"
#include "clients/temporal-payload.h"
#include "svc/temporal-worker-impl.h"

static void on_heard(const struct err *err, void *arg)
{
    struct task *t = arg;

    if (!t->worker) {
        temporal_worker_drop(t);
        return;
    }
    if (err && (err->code == ERR_STATE || err->code == ERR_NOT_FOUND || err->code == ERR_LIMIT)) {
        log_warn("what was signalled does not reach the run", "run", t->id, "why", err->msg);
    } else if (err) {
        temporal_worker_fail(t, err); /* it comes again */
        return;
    }
    temporal_signals_hear(t);
}

static enum err_code read_said(const Thist__WorkflowExecutionSignaledEventAttributes *a,
                               json_t **ret, struct err *err)
{
    enum err_code code = temporal_payload_read(a->input, ret, err);

    if (!code && !json_is_string(*ret) && !json_is_string(json_object_get(*ret, "text"))) {
        json_decref(*ret);
        code = err_set(err, ERR_INVALID, "its input must be a text, or {\"text\": \"…\"}");
    }
    return code;
}

static bool is_input(const Thist__HistoryEvent *e)
{
    return e->attributes_case ==
               THIST__HISTORY_EVENT__ATTRIBUTES_WORKFLOW_EXECUTION_SIGNALED_EVENT_ATTRIBUTES &&
           str_eq(e->workflow_execution_signaled_event_attributes->signal_name, "input");
}

/* The same in every history of this workflow: a reset begins a new run and says its signals again,
 * as other events. So it is the text, and the how many-th of the signals it is. */
static void name_said(const struct task *t, const char *text, char *ret, size_t size)
{
    const Tcom__WorkflowExecution *x = t->poll->workflow_execution;
    uint64_t hash = 1469598103934665603u; /* FNV-1a */
    size_t nth = 0;

    for (size_t i = 0; i < t->at; i++)
        nth += is_input(t->events[i]);
    for (const char *p = x ? x->workflow_id : ""; *p; p++)
        hash = (hash ^ (unsigned char)*p) * 1099511628211u;
    for (const char *p = text; *p; p++)
        hash = (hash ^ (unsigned char)*p) * 1099511628211u;
    (void)str_format(ret, size, "temporal/%zu/%016" PRIx64, nth, hash);
}

/* True: on_heard goes on. */
static bool say(struct task *t, const Thist__HistoryEvent *e)
{
    const Thist__WorkflowExecutionSignaledEventAttributes *a =
        e->workflow_execution_signaled_event_attributes;
    struct inbox_input in = {.by = str_is_empty(a->identity) ? "temporal" : a->identity};
    char id[INBOX_ID_MAX];
    json_t *said;
    struct err err;
    bool begun = false;

    if (read_said(a, &said, &err)) {
        log_warn("a signal that cannot be read", "run", t->id, "signal", "input", "why", err.msg);
        return false;
    }
    in.id = id;
    in.text = json_string_value(json_is_string(said) ? said : json_object_get(said, "text"));
    name_said(t, in.text, id, sizeof id);
    if (inbox_check(&in, &err)) {
        log_warn("a signal that cannot be read", "run", t->id, "signal", "input", "why", err.msg);
    } else {
        begun = true;
        t->worker->ev.input(t->id, &in, on_heard, t, t->worker->ev.arg);
    }
    json_decref(said);
    return begun;
}

/* ---- decisions ----------------------------------------------------------------------------------
 */

static void on_decided(const struct err *err, const struct approvals_decided *d, void *arg)
{
    (void)d;
    on_heard(err, arg);
}

/* Which call: the approval's name ("aex-….12"), its number, or the call's own id. One must be
 * named: a task may be done again, and then something else may wait. */
static bool read_which(const struct task *t, const json_t *which, struct approvals_choice *c)
{
    const char *text = json_string_value(which), *number = text;
    size_t own = strlen(t->id);
    int64_t seq = json_is_integer(which) ? json_integer_value(which) : 0;

    if (text && str_starts(text, t->id) && text[own] == '.')
        number = text + own + 1;
    if (text && str_to_int(number, 1, INT64_MAX, &seq, NULL)) {
        seq = 0;
        c->call_id = number == text && *text ? text : NULL;
    }
    c->seq = seq > 0 ? (uint64_t)seq : 0;
    return c->seq || c->call_id;
}

static enum err_code read_choice(const struct task *t, const json_t *in, struct approvals_choice *c,
                                 struct err *err)
{
    const json_t *id = json_object_get(in, "id"), *reason = json_object_get(in, "reason");
    const json_t *which = json_is_object(in) ? (id ? id : json_object_get(in, "call")) : in;

    if (!read_which(t, which, c) || (reason && !json_is_string(reason)))
        return err_set(err, ERR_INVALID,
                       "its input must name the call, as in \"%.80s.12\" or {\"id\": \"%.80s.12\", "
                       "\"reason\": \"…\"}",
                       t->id, t->id);
    if (reason)
        c->reason = json_string_value(reason);
    return approvals_check(c, err);
}

/* True: on_decided goes on. */
static bool decide(struct task *t, const Thist__HistoryEvent *e, bool approve)
{
    const Thist__WorkflowExecutionSignaledEventAttributes *a =
        e->workflow_execution_signaled_event_attributes;
    struct approvals_choice c = {.approve = approve,
                                 .by = str_is_empty(a->identity) ? "temporal" : a->identity,
                                 .reason = ""};
    json_t *in;
    struct err err;
    enum err_code code = temporal_payload_read(a->input, &in, &err);

    if (!code) {
        code = read_choice(t, in, &c, &err);
        if (!code)
            t->worker->ev.decide(t->id, &c, on_decided, t, t->worker->ev.arg);
        json_decref(in);
    }
    if (code)
        log_warn("a signal that cannot be read", "run", t->id, "signal",
                 approve ? "approve" : "deny", "why", err.msg);
    return !code;
}

/* ---- all of them --------------------------------------------------------------------------------
 */

/* Who sent it should find out that it does nothing. */
static void tell_strange(const struct task *t, const char *signal)
{
    char name[80];

    (void)str_format(name, sizeof name, "%s", signal);
    str_cut_bad(name);
    log_warn("a signal is not known here, and does nothing", "run", t->id, "signal", name);
}

/* True: its end goes on with the next. */
static bool act_on(struct task *t, const Thist__HistoryEvent *e)
{
    const char *name = e->workflow_execution_signaled_event_attributes->signal_name;

    if (str_eq(name, "input"))
        return say(t, e);
    if (str_eq(name, "approve") || str_eq(name, "deny"))
        return decide(t, e, *name == 'a');
    tell_strange(t, name);
    return false;
}

void temporal_signals_hear(struct task *t)
{
    while (t->at < t->count) {
        const Thist__HistoryEvent *e = t->events[t->at++];

        if (e->attributes_case ==
                THIST__HISTORY_EVENT__ATTRIBUTES_WORKFLOW_EXECUTION_SIGNALED_EVENT_ATTRIBUTES &&
            act_on(t, e))
            return;
    }
    temporal_worker_go_on(t);
}
