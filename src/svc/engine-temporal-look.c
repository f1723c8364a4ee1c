/* What became of workflows outside of the journal, and who polls: see engine-temporal.h. */
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "clients/temporal-payload.h"
#include "svc/engine-temporal-impl.h"

#define LOOK_BACK_S (10 * 60) /* the two clocks may be apart by that */
#define CLOSED_PAGE 200

/* ---- the journal's end from outside ---------------------------------------------------------- */

/* Of an execution that is ended here: whom to tell when that is on disk. */
struct ending {
    struct engine_temporal *engine; /* borrowed */
    char *id;                       /* owned */
    engine_done_fn *done;
    void *arg;
};

static void on_ended(const struct err *err, uint64_t last_seq, void *arg)
{
    struct ending *g = arg;

    (void)last_seq;
    if (!err || err->code == ERR_STATE || err->code == ERR_NOT_FOUND)
        queue_progress(g->engine->queue, g->id, false, true);
    else
        log_error("execution could not be closed", "run", g->id, "why", err->msg);
    if (g->done)
        g->done(err, g->arg);
    free(g->id);
    free(g);
}

void engine_temporal_end_journal(struct engine_temporal *e, const char *id, bool cancelled,
                                 const char *why, engine_done_fn *done, void *arg)
{
    Exec__Event ask = EXEC__EVENT__INIT, end = EXEC__EVENT__INIT;
    Exec__CancelRequested r = EXEC__CANCEL_REQUESTED__INIT;
    Exec__Cancelled c = EXEC__CANCELLED__INIT;
    Exec__Failed f = EXEC__FAILED__INIT;
    Exec__Event *list[] = {&ask, &end};
    struct ending *g = mem_new(sizeof *g);
    char by[] = "temporal", class[] = "temporal", *text = (char *)(uintptr_t)why;

    *g = (struct ending){.engine = e, .id = mem_str(id), .done = done, .arg = arg};
    ask.at_ms = end.at_ms = clock_wall_ms();
    r.by = by;
    r.reason = c.reason = f.message = text;
    f.class_ = class;
    ask.kind_case = EXEC__EVENT__KIND_CANCEL_REQUESTED;
    ask.cancel_requested = &r;
    end.kind_case = cancelled ? EXEC__EVENT__KIND_CANCELLED : EXEC__EVENT__KIND_FAILED;
    if (cancelled)
        end.cancelled = &c;
    else
        end.failed = &f;
    journal_append(e->journal, id, JOURNAL_SERVER, cancelled ? list : list + 1, cancelled ? 2 : 1,
                   on_ended, g);
}

/* ---- a workflow that has ended without us ------------------------------------------------------
 */

static void close_like(struct offer *o, const Thist__HistoryEvent *last)
{
    char why[1000] = "its workflow has ended in Temporal";
    bool cancelled = false;

    switch (last ? (int)last->attributes_case : 0) {
    case THIST__HISTORY_EVENT__ATTRIBUTES_WORKFLOW_EXECUTION_TERMINATED_EVENT_ATTRIBUTES: {
        const Thist__WorkflowExecutionTerminatedEventAttributes *a =
            last->workflow_execution_terminated_event_attributes;

        cancelled = true;
        (void)str_format(why, sizeof why, "terminated in Temporal by %.200s%s%.600s",
                         *a->identity ? a->identity : "somebody", *a->reason ? ": " : "",
                         a->reason);
        break;
    }
    case THIST__HISTORY_EVENT__ATTRIBUTES_WORKFLOW_EXECUTION_TIMED_OUT_EVENT_ATTRIBUTES:
        (void)str_format(why, sizeof why, "its workflow timed out in Temporal");
        break;
    case THIST__HISTORY_EVENT__ATTRIBUTES_WORKFLOW_EXECUTION_FAILED_EVENT_ATTRIBUTES:
        temporal_payload_failure(last->workflow_execution_failed_event_attributes->failure, why,
                                 sizeof why);
        break;
    default:
        cancelled =
            last && last->event_type == TENUM__EVENT_TYPE__EVENT_TYPE_WORKFLOW_EXECUTION_CANCELED;
    }
    str_cut_bad(why);
    log_info("a workflow has ended outside", "run", o->id, "why", why);
    engine_temporal_end_journal(o->engine, o->id, cancelled, why, NULL, NULL);
}

static bool is_closing(const Thist__HistoryEvent *last)
{
    static const int kinds[] = {
        TENUM__EVENT_TYPE__EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED,
        TENUM__EVENT_TYPE__EVENT_TYPE_WORKFLOW_EXECUTION_FAILED,
        TENUM__EVENT_TYPE__EVENT_TYPE_WORKFLOW_EXECUTION_TIMED_OUT,
        TENUM__EVENT_TYPE__EVENT_TYPE_WORKFLOW_EXECUTION_CANCELED,
        TENUM__EVENT_TYPE__EVENT_TYPE_WORKFLOW_EXECUTION_TERMINATED,
        TENUM__EVENT_TYPE__EVENT_TYPE_WORKFLOW_EXECUTION_CONTINUED_AS_NEW,
    };

    for (size_t i = 0; last && i < sizeof kinds / sizeof *kinds; i++)
        if ((int)last->event_type == kinds[i])
            return true;
    return false;
}

/* The run that was seen to end may not have been the last: a reset ends one and begins another. */
static void on_how(const ProtobufCMessage *answer, const struct err *err, void *arg)
{
    struct offer *o = arg;
    struct engine_temporal *e = o->engine;
    const Thist__History *h;
    const Thist__HistoryEvent *last = NULL;

    o->call = NULL;
    if (o->closed) {
        engine_temporal_drop_closed(o);
        return;
    }
    if (err && err->code != ERR_NOT_FOUND) {
        engine_temporal_set_fault(e, err);
        engine_temporal_make_due(o);
        engine_temporal_try_again(e);
        return;
    }
    if (answer) {
        h = ((const Tsvc__GetWorkflowExecutionHistoryResponse *)answer)->history;
        last = h && h->n_events ? h->events[h->n_events - 1] : NULL;
    }
    if (is_closing(last)) {
        close_like(o, last);
    } else { /* it is open, or it is not there at all */
        engine_temporal_make_due(o);
        engine_temporal_start_due(e);
    }
}

void engine_temporal_ask_how(struct offer *o)
{
    Tsvc__GetWorkflowExecutionHistoryRequest r = TSVC__GET_WORKFLOW_EXECUTION_HISTORY_REQUEST__INIT;
    Tcom__WorkflowExecution x = TCOM__WORKFLOW_EXECUTION__INIT;
    char id[256];

    if (o->call)
        return;
    engine_temporal_workflow_id(o->id, id, sizeof id);
    x.workflow_id = id;
    r.execution = &x;
    r.history_event_filter_type =
        TENUM__HISTORY_EVENT_FILTER_TYPE__HISTORY_EVENT_FILTER_TYPE_CLOSE_EVENT;
    o->call = temporal_call(o->engine->temporal, TEMPORAL_GET_HISTORY, &r.base,
                            ENGINE_TEMPORAL_TRY_MS, on_how, o);
}

/* ---- asking for those ---- */

static void ask_closed(struct engine_temporal *e, ProtobufCBinaryData page);

static void on_closed_list(const ProtobufCMessage *answer, const struct err *err, void *arg)
{
    struct engine_temporal *e = arg;
    const Tsvc__ListWorkflowExecutionsResponse *m;
    const size_t prefix = sizeof TEMPORAL_WORKER_WORKFLOW; /* with the slash */

    e->looking = false;
    if (err) { /* what is missed now is seen later: since then it is looked back */
        log_debug("closed workflows cannot be listed", "why", err->msg);
        return;
    }
    m = (const Tsvc__ListWorkflowExecutionsResponse *)answer;
    for (size_t i = 0; i < m->n_executions; i++) {
        const Tcom__WorkflowExecution *x = m->executions[i]->execution;
        struct offer *o = NULL;

        if (x && strlen(x->workflow_id) > prefix)
            o = map_get(&e->offers, x->workflow_id + prefix);
        if (o && !o->closed && o->run_id && str_eq(o->run_id, x->run_id))
            engine_temporal_ask_how(o);
    }
    if (m->next_page_token.len)
        ask_closed(e, m->next_page_token);
    else
        e->looked_ms = e->looking_ms;
}

/* What we end ourselves has ended in the journal before: it is no offer any more. */
static void ask_closed(struct engine_temporal *e, ProtobufCBinaryData page)
{
    Tsvc__ListWorkflowExecutionsRequest r = TSVC__LIST_WORKFLOW_EXECUTIONS_REQUEST__INIT;
    char query[300], since[CLOCK_TEXT];

    if (e->looking)
        return;
    clock_format(e->looked_ms - (int64_t)LOOK_BACK_S * 1000, since);
    (void)str_format(query, sizeof query,
                     "WorkflowType = '" TEMPORAL_WORKER_WORKFLOW "' AND ExecutionStatus IN "
                     "('Terminated', 'TimedOut', 'Canceled', 'Failed') AND CloseTime > '%s'",
                     since);
    r.query = query;
    r.page_size = CLOSED_PAGE;
    r.next_page_token = page;
    e->looking = true;
    temporal_call(e->temporal, TEMPORAL_LIST_WORKFLOWS, &r.base, TEMPORAL_ONCE, on_closed_list, e);
}

static void look_for_closed(struct engine_temporal *e)
{
    if (e->looking)
        return;
    e->looking_ms = clock_wall_ms();
    ask_closed(e, (ProtobufCBinaryData){0});
}

static int pollers_of(const ProtobufCMessage *answer)
{
    return answer ? (int)((const Tsvc__DescribeTaskQueueResponse *)answer)->n_pollers : -1;
}

static void on_workflow_pollers(const ProtobufCMessage *answer, const struct err *err, void *arg)
{
    (void)err;
    ((struct engine_temporal *)arg)->workflow_pollers = pollers_of(answer);
}

static void on_runner_pollers(const ProtobufCMessage *answer, const struct err *err, void *arg)
{
    (void)err;
    ((struct engine_temporal *)arg)->runner_pollers = pollers_of(answer);
}

void engine_temporal_ask_pollers(struct engine_temporal *e)
{
    Tsvc__DescribeTaskQueueRequest r = TSVC__DESCRIBE_TASK_QUEUE_REQUEST__INIT;
    Tqueue__TaskQueue q = TQUEUE__TASK_QUEUE__INIT;
    char name[] = TEMPORAL_WORKER_QUEUE;

    r.task_queue = &q;
    q.kind = TENUM__TASK_QUEUE_KIND__TASK_QUEUE_KIND_NORMAL;
    q.name = name;
    r.task_queue_type = TENUM__TASK_QUEUE_TYPE__TASK_QUEUE_TYPE_WORKFLOW;
    if (!e->ready)
        return;
    temporal_call(e->temporal, TEMPORAL_DESCRIBE_TASK_QUEUE, &r.base, TEMPORAL_ONCE,
                  on_workflow_pollers, e);
    q.name = e->runner_queue;
    r.task_queue_type = TENUM__TASK_QUEUE_TYPE__TASK_QUEUE_TYPE_ACTIVITY;
    temporal_call(e->temporal, TEMPORAL_DESCRIBE_TASK_QUEUE, &r.base, TEMPORAL_ONCE,
                  on_runner_pollers, e);
}

void engine_temporal_on_look(void *arg)
{
    struct engine_temporal *e = arg;

    engine_temporal_ask_pollers(e);
    if (!e->offers.len)
        return;
    look_for_closed(e);
    loop_timer_in(e->look, ENGINE_TEMPORAL_LOOK_MS);
}
