#include "svc/engine-temporal.h"

#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/own.h"
#include "base/str.h"
#include "clients/temporal-payload.h"
#include "svc/records.h"
#include "svc/session-place.h"
#include "svc/temporal-worker.h"

#define START_TRY_MS 3000 /* then it is told that it waits, and why */
#define AGAIN_MIN_MS 500
#define AGAIN_MAX_MS 10000
#define AGAIN_OWN_MS 500      /* of a server of our own: it is on its way up */
#define SETTLE_MS 2000        /* until runners that come up with us poll */
#define LOOK_MS 10000         /* how often closed workflows are asked for */
#define LOOK_BACK_S (10 * 60) /* the two clocks may be apart by that */
#define STARTS_MAX 32         /* in flight */
#define CANCEL_TRY_MS 600000
#define CLOSED_PAGE 200
#define RETENTION_S (72 * 3600)
#define TASK_SECONDS 10 /* Temporal gives a workflow task out again after that */

/* An execution that may run: offered by the queue, not closed. */
struct offer {
    struct engine_temporal *engine; /* borrowed */
    char *id, *session, *run_id;    /* owned; run_id NULL: not started */
    struct temporal_call *call;     /* a start, or a look at how it ended */
    char *closed;                   /* owned; it is open no more: tell Temporal when it can hear */
    struct offer *due_next, **due_link; /* due_link NULL: is not to be started */
    bool own_folder, told;
    bool starting; /* call is a start */
};

struct engine_temporal {
    struct loop *loop;         /* borrowed */
    struct store *store;       /* borrowed */
    struct journal *journal;   /* borrowed */
    struct queue *queue;       /* borrowed */
    struct temporal *temporal; /* borrowed */
    struct temporal_worker *worker;
    char *runner_queue; /* owned */
    bool make_namespace;
    struct map offers;             /* execution id → struct offer */
    struct offer *due, **due_tail; /* those to be started, in the order they were offered */
    unsigned starting;
    struct temporal_call *greeting; /* one of the calls that lead to ready */
    struct loop_timer *again, *look;
    int64_t again_ms;
    bool again_armed, looking, ready; /* ready: the namespace is there */
    int64_t looked_ms, looking_ms;    /* wall clock: the last whole look began; the one under way */
    char trouble[600], version[64];
    int workflow_pollers, runner_pollers;
    loop_fn *on_change;
    void *change_arg;
};

static void start_due(struct engine_temporal *e);
static void tell_all_waiting(struct engine_temporal *e);
static void greet(struct engine_temporal *e);

/* ---- trouble --------------------------------------------------------------------------------- */

static void tell_change(const struct engine_temporal *e)
{
    if (e->on_change)
        e->on_change(e->change_arg);
}

static void set_trouble(struct engine_temporal *e, const char *why)
{
    bool changed = str_is_empty(e->trouble) != str_is_empty(why);

    (void)str_format(e->trouble, sizeof e->trouble, "%s", why);
    if (changed && *why) {
        log_warn("temporal does not take work", "address", temporal_address(e->temporal), "why",
                 why);
        tell_all_waiting(e);
    } else if (changed) {
        log_info("temporal takes work again", "address", temporal_address(e->temporal));
    }
    if (changed)
        tell_change(e);
}

/* With what mends it. */
static void set_fault(struct engine_temporal *e, const struct err *err)
{
    char words[sizeof e->trouble];

    (void)str_format(words, sizeof words, err->hint[0] ? "%.400s (%.180s)" : "%.590s", err->msg,
                     err->hint);
    str_cut_bad(words);
    set_trouble(e, words);
}

static void try_again(struct engine_temporal *e)
{
    int64_t most;

    if (e->again_armed)
        return;
    most = e->make_namespace ? AGAIN_OWN_MS : AGAIN_MAX_MS;
    e->again_ms = e->again_ms ? e->again_ms * 2 : AGAIN_MIN_MS;
    if (e->again_ms > most)
        e->again_ms = most;
    e->again_armed = true;
    loop_timer_in(e->again, e->again_ms);
}

static void on_again(void *arg)
{
    struct engine_temporal *e = arg;

    e->again_armed = false;
    if (e->ready && e->due)
        start_due(e);
    else
        greet(e);
}

/* The run says itself why it waits; once for every time that Temporal is away. */
static void tell_waiting(struct offer *o)
{
    struct engine_temporal *e = o->engine;
    Exec__Event n = EXEC__EVENT__INIT;
    Exec__Notice m = EXEC__NOTICE__INIT;
    char text[900], place[300];
    const char *why = e->trouble;

    if (o->told)
        return;
    o->told = true;
    (void)str_format(place, sizeof place, "Temporal at %s: ", temporal_address(e->temporal));
    if (str_starts(why, place)) /* not twice */
        why += strlen(place);
    (void)str_format(text, sizeof text, "waiting for %s%s", place, why);
    str_cut_bad(text);
    m.text = text;
    n.kind_case = EXEC__EVENT__KIND_NOTICE;
    n.notice = &m;
    n.at_ms = clock_wall_ms();
    journal_append(e->journal, o->id, JOURNAL_SERVER, (Exec__Event *[]){&n}, 1, NULL, NULL);
}

/* What was offered before it was known that Temporal takes nothing. */
static void tell_all_waiting(struct engine_temporal *e)
{
    const char *id;
    void *value;

    for (size_t i = 0; map_next(&e->offers, &i, &id, &value);) {
        struct offer *o = value;

        if (!o->run_id && !o->closed)
            tell_waiting(o);
    }
}

/* ---- offers ---------------------------------------------------------------------------------- */

/* To be started, or started again: that says whether its workflow is there, and which run it has.
 */
static void make_due(struct offer *o)
{
    struct engine_temporal *e = o->engine;

    if (o->due_link || o->call || o->closed)
        return;
    o->due_next = NULL;
    o->due_link = e->due_tail;
    *e->due_tail = o;
    e->due_tail = &o->due_next;
}

static void not_due(struct offer *o)
{
    if (!o->due_link)
        return;
    *o->due_link = o->due_next;
    if (o->due_next)
        o->due_next->due_link = o->due_link;
    else
        o->engine->due_tail = o->due_link;
    o->due_link = NULL;
}

static void offer_free(struct offer *o)
{
    not_due(o);
    if (o->call)
        temporal_call_cancel(o->call);
    o->engine->starting -= o->starting;
    free(o->id);
    free(o->session);
    free(o->run_id);
    free(o->closed);
    free(o);
}

static void drop(struct offer *o)
{
    (void)map_remove(&o->engine->offers, o->id);
    offer_free(o);
}

static void workflow_id(const char *execution_id, char *ret, size_t size)
{
    (void)str_format(ret, size, TEMPORAL_WORKER_WORKFLOW "/%s", execution_id);
}

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

/* Ends the journal from outside of any runner. A runner that still has it is refused from now on.
 */
static void end_journal(struct engine_temporal *e, const char *id, bool cancelled, const char *why,
                        engine_done_fn *done, void *arg)
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
    end_journal(o->engine, o->id, cancelled, why, NULL, NULL);
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
        drop(o);
        return;
    }
    if (err && err->code != ERR_NOT_FOUND) {
        set_fault(e, err);
        make_due(o);
        try_again(e);
        return;
    }
    if (answer) {
        h = ((const Tsvc__GetWorkflowExecutionHistoryResponse *)answer)->history;
        last = h && h->n_events ? h->events[h->n_events - 1] : NULL;
    }
    if (is_closing(last)) {
        close_like(o, last);
    } else { /* it is open, or it is not there at all */
        make_due(o);
        start_due(e);
    }
}

static void ask_how(struct offer *o)
{
    Tsvc__GetWorkflowExecutionHistoryRequest r = TSVC__GET_WORKFLOW_EXECUTION_HISTORY_REQUEST__INIT;
    Tcom__WorkflowExecution x = TCOM__WORKFLOW_EXECUTION__INIT;
    char id[256];

    if (o->call)
        return;
    workflow_id(o->id, id, sizeof id);
    x.workflow_id = id;
    r.execution = &x;
    r.history_event_filter_type =
        TENUM__HISTORY_EVENT_FILTER_TYPE__HISTORY_EVENT_FILTER_TYPE_CLOSE_EVENT;
    o->call =
        temporal_call(o->engine->temporal, TEMPORAL_GET_HISTORY, &r.base, START_TRY_MS, on_how, o);
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
            ask_how(o);
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

static void on_look(void *arg)
{
    struct engine_temporal *e = arg;

    engine_temporal_ask_pollers(e);
    if (!e->offers.len)
        return;
    look_for_closed(e);
    loop_timer_in(e->look, LOOK_MS);
}

/* ---- starting -------------------------------------------------------------------------------- */

static void request_cancel(struct engine_temporal *e, const char *execution_id, const char *reason)
{
    Tsvc__RequestCancelWorkflowExecutionRequest r =
        TSVC__REQUEST_CANCEL_WORKFLOW_EXECUTION_REQUEST__INIT;
    Tcom__WorkflowExecution x = TCOM__WORKFLOW_EXECUTION__INIT;
    char id[256];

    workflow_id(execution_id, id, sizeof id);
    x.workflow_id = id;
    r.workflow_execution = &x;
    r.request_id = (char *)(uintptr_t)execution_id; /* only packed: asked twice is asked once */
    r.reason = (char *)(uintptr_t)reason;
    temporal_call(e->temporal, TEMPORAL_REQUEST_CANCEL, &r.base, CANCEL_TRY_MS, NULL, NULL);
}

static void on_started(const ProtobufCMessage *answer, const struct err *err, void *arg)
{
    struct offer *o = arg;
    struct engine_temporal *e = o->engine;
    const Tsvc__StartWorkflowExecutionResponse *m;

    o->call = NULL;
    o->starting = false;
    e->starting--;
    if (err &&
        err->code != ERR_EXISTS) { /* also of one that is needed no more: is it well again? */
        set_fault(e, err);
        try_again(e);
    }
    if (o->closed && !err) {
        request_cancel(e, o->id, o->closed);
        drop(o);
    } else if (o->closed) {
        drop(o); /* what was not started needs no end; what was finds the journal ended */
    } else if (!err) {
        m = (const Tsvc__StartWorkflowExecutionResponse *)answer;
        free(o->run_id);
        o->run_id = mem_str(m->run_id);
        o->told = false;
        e->again_ms = 0;
        set_trouble(e, "");
        log_debug("workflow started", "run", o->id, "workflow_run", o->run_id);
        if (m->eager_workflow_task && m->eager_workflow_task->task_token.len)
            temporal_worker_take(e->worker, m->eager_workflow_task);
    } else if (err->code == ERR_EXISTS) { /* there was one, and it has ended */
        ask_how(o);
    } else {
        make_due(o);
        tell_waiting(o);
    }
    start_due(e);
}

/* What Temporal's own tools show beside the id. */
struct memo_entry {
    Tcom__Memo__FieldsEntry entry;
    struct temporal_payload value;
};

static void memo_set(struct memo_entry *m, const char *key, const char *value)
{
    json_t *text = json_string(value);

    tcom__memo__fields_entry__init(&m->entry);
    temporal_payload_init(&m->value, text ? text : json_null());
    m->entry.key = (char *)(uintptr_t)key; /* only packed */
    m->entry.value = &m->value.payload;
    json_decref(text);
}

/* The name of the agent whose execution it is; "" when that cannot be told. */
static void agent_name(struct engine_temporal *e, const char *execution_id, char *ret, size_t size)
{
    sqlite3 *db = store_read_db(e->store);
    char id[RESOURCE_ID];
    struct resource *agent;

    *ret = '\0';
    if (records_agent_of(db, resource_kind(RESOURCE_EXECUTION), execution_id, id, NULL) ||
        records_get(db, resource_kind(RESOURCE_AGENT), id, &agent, NULL))
        return;
    (void)str_format(ret, size, "%s", agent->metadata ? agent->metadata->name : "");
    protobuf_c_message_free_unpacked(&agent->base, NULL);
}

/* A session whose folder is on other machines has the queue that only their runners poll, too. */
static void queue_of_domain(struct engine_temporal *e, const char *session, char *ret, size_t size)
{
    char domain[SESSION_PLACE_DOMAIN];

    if (session_place_find(store_read_db(e->store), session, domain) && *domain)
        (void)str_format(ret, size, "%s@%s", e->runner_queue, domain);
    else
        (void)str_format(ret, size, "%s", e->runner_queue);
}

static void start(struct offer *o)
{
    struct engine_temporal *e = o->engine;
    Tsvc__StartWorkflowExecutionRequest r = TSVC__START_WORKFLOW_EXECUTION_REQUEST__INIT;
    Tcom__WorkflowType type = TCOM__WORKFLOW_TYPE__INIT;
    Tqueue__TaskQueue queue = TQUEUE__TASK_QUEUE__INIT;
    Google__Protobuf__Duration task = GOOGLE__PROTOBUF__DURATION__INIT;
    Tcom__Memo memo = TCOM__MEMO__INIT;
    struct memo_entry entry[2];
    Tcom__Memo__FieldsEntry *entries[] = {&entry[0].entry, &entry[1].entry};
    struct temporal_payload input;
    char id[256], type_name[] = TEMPORAL_WORKER_WORKFLOW, queue_name[] = TEMPORAL_WORKER_QUEUE;
    char runner_queue[256], agent[256];
    json_t *in;

    if (o->own_folder)
        engine_temporal_session_queue(e->runner_queue, o->session, runner_queue,
                                      sizeof runner_queue);
    else
        queue_of_domain(e, o->session, runner_queue, sizeof runner_queue);
    in = json_pack("{s:s,s:s,s:s}", "executionId", o->id, "sessionId", o->session, "queue",
                   runner_queue);
    temporal_payload_init(&input, in);
    json_decref(in);
    agent_name(e, o->id, agent, sizeof agent);
    memo_set(&entry[0], "agent", agent);
    memo_set(&entry[1], "session", o->session);
    memo.fields = entries;
    memo.n_fields = 2;
    workflow_id(o->id, id, sizeof id);
    type.name = type_name;
    queue.name = queue_name;
    queue.kind = TENUM__TASK_QUEUE_KIND__TASK_QUEUE_KIND_NORMAL;
    task.seconds = TASK_SECONDS;
    r.workflow_id = id;
    r.workflow_type = &type;
    r.task_queue = &queue;
    r.input = &input.payloads;
    r.workflow_task_timeout = &task;
    r.request_id = o->id; /* the same start, however often it is said */
    r.workflow_id_reuse_policy =
        TENUM__WORKFLOW_ID_REUSE_POLICY__WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE;
    r.workflow_id_conflict_policy =
        TENUM__WORKFLOW_ID_CONFLICT_POLICY__WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING;
    r.memo = &memo;
    r.request_eager_execution = true;
    not_due(o);
    o->starting = true;
    e->starting++;
    o->call =
        temporal_call(e->temporal, TEMPORAL_START_WORKFLOW, &r.base, START_TRY_MS, on_started, o);
    temporal_payload_done(&input);
    temporal_payload_done(&entry[0].value);
    temporal_payload_done(&entry[1].value);
}

static void start_due(struct engine_temporal *e)
{
    while (e->ready && !e->again_armed && e->due && e->starting < STARTS_MAX)
        start(e->due);
}

/* ---- what the queue says --------------------------------------------------------------------- */

static void on_offer(const char *id, const char *session, bool own_folder, void *arg)
{
    struct engine_temporal *e = arg;
    struct offer *o = map_get(&e->offers, id);

    if (!o) {
        o = mem_new(sizeof *o);
        o->engine = e;
        o->id = mem_str(id);
        o->session = mem_str(session);
        o->own_folder = own_folder;
        (void)map_put(&e->offers, id, o);
        if (e->offers.len == 1)
            loop_timer_in(e->look, LOOK_MS);
    }
    make_due(o);
    if (*e->trouble)
        tell_waiting(o);
    start_due(e);
}

static void on_cancel(const char *id, const char *reason, void *arg)
{
    struct engine_temporal *e = arg;
    const struct offer *o = map_get(&e->offers, id);

    if (o && o->run_id)
        request_cancel(e, id, reason);
}

static void on_closed(const char *id, const char *why, void *arg)
{
    struct engine_temporal *e = arg;
    struct offer *o = map_get(&e->offers, id);

    if (!o)
        return;
    if (why && (o->run_id || !o->call)) /* an earlier server may have started it */
        request_cancel(e, id, why);
    if (o->call && !o->run_id && !o->closed)
        o->closed = mem_str(why ? why : "it has ended"); /* the start's answer goes on */
    else if (!o->closed)
        drop(o);
}

/* ---- what the worker asks -------------------------------------------------------------------- */

static void worker_close(const char *id, bool cancelled, const char *why, engine_done_fn *done,
                         void *done_arg, void *arg)
{
    end_journal(arg, id, cancelled, why, done, done_arg);
}

static void worker_cancel(const char *id, const char *by, const char *reason, engine_done_fn *done,
                          void *done_arg, void *arg)
{
    struct engine *e = queue_engine(((struct engine_temporal *)arg)->queue);

    e->ops->cancel(e, id, by, reason, done, done_arg);
}

static void worker_input(const char *id, const struct inbox_input *in, engine_done_fn *done,
                         void *done_arg, void *arg)
{
    struct engine *e = queue_engine(((struct engine_temporal *)arg)->queue);

    e->ops->input(e, id, in, done, done_arg);
}

static json_t *worker_status(const char *id, void *arg)
{
    struct engine_temporal *e = arg;
    const ProtobufCEnumValue *phase;
    struct journal_head head;

    if (journal_head(e->journal, id, &head, NULL))
        return NULL;
    phase = protobuf_c_enum_descriptor_get_value(&aexec__execution_phase__descriptor, head.phase);
    return json_pack("{s:s,s:s,s:s,s:b,s:I,s:I,s:s}", "executionId", id, "sessionId",
                     head.session_id, "phase", phase ? phase->name : "", "ended",
                     head.state == JOURNAL_ENDED, "events", (json_int_t)head.seq, "epoch",
                     (json_int_t)head.epoch, "runner", head.runner);
}

/* ---- greeting: is it there, and our namespace in it? ------------------------------------------
 */

static void greet_failed(struct engine_temporal *e, const struct err *err)
{
    set_fault(e, err);
    try_again(e);
}

/* It was away: it may have forgotten what it was given (a development server without a database),
 * or somebody has ended it unseen. */
static void offer_all_again(struct engine_temporal *e)
{
    const char *id;
    void *value;

    for (size_t i = 0; map_next(&e->offers, &i, &id, &value);)
        make_due(value);
}

static void be_ready(struct engine_temporal *e)
{
    e->ready = true;
    e->again_ms = 0;
    set_trouble(e, "");
    temporal_worker_start(e->worker);
    loop_timer_in(e->look, SETTLE_MS);
    offer_all_again(e);
    start_due(e);
    tell_change(e);
}

static void on_registered(const ProtobufCMessage *answer, const struct err *err, void *arg)
{
    struct engine_temporal *e = arg;

    (void)answer;
    e->greeting = NULL;
    if (err && err->code != ERR_EXISTS) {
        greet_failed(e, err);
        return;
    }
    log_info("namespace made", "namespace", temporal_namespace(e->temporal));
    try_again(e); /* it takes some seconds until every part of the server knows it */
}

static void make_namespace(struct engine_temporal *e)
{
    Tsvc__RegisterNamespaceRequest r = TSVC__REGISTER_NAMESPACE_REQUEST__INIT;
    Google__Protobuf__Duration keep = GOOGLE__PROTOBUF__DURATION__INIT;

    keep.seconds = RETENTION_S;
    r.workflow_execution_retention_period = &keep;
    e->greeting = temporal_call(e->temporal, TEMPORAL_REGISTER_NAMESPACE, &r.base, START_TRY_MS,
                                on_registered, e);
}

static void on_namespace(const ProtobufCMessage *answer, const struct err *err, void *arg)
{
    struct engine_temporal *e = arg;
    struct err told;

    (void)answer;
    e->greeting = NULL;
    if (!err) {
        be_ready(e);
    } else if (err->code == ERR_NOT_FOUND && e->make_namespace) {
        make_namespace(e);
    } else if (err->code == ERR_NOT_FOUND) {
        err_set(&told, ERR_NOT_FOUND,
                "there is no namespace '%.80s' at %.200s; create it (temporal operator namespace "
                "create -n %.80s) or set temporal.namespace",
                temporal_namespace(e->temporal), temporal_address(e->temporal),
                temporal_namespace(e->temporal));
        greet_failed(e, &told);
    } else {
        greet_failed(e, err);
    }
}

static void on_system_info(const ProtobufCMessage *answer, const struct err *err, void *arg)
{
    struct engine_temporal *e = arg;
    Tsvc__DescribeNamespaceRequest r = TSVC__DESCRIBE_NAMESPACE_REQUEST__INIT;

    e->greeting = NULL;
    if (err && err->code != ERR_UNSUPPORTED) {
        greet_failed(e, err);
        return;
    }
    if (answer)
        (void)str_format(e->version, sizeof e->version, "%s",
                         ((const Tsvc__GetSystemInfoResponse *)answer)->server_version);
    log_info("temporal answers", "address", temporal_address(e->temporal), "version", e->version);
    e->greeting = temporal_call(e->temporal, TEMPORAL_DESCRIBE_NAMESPACE, &r.base, START_TRY_MS,
                                on_namespace, e);
}

static void greet(struct engine_temporal *e)
{
    Tsvc__GetSystemInfoRequest r = TSVC__GET_SYSTEM_INFO_REQUEST__INIT;

    e->greeting = temporal_call(e->temporal, TEMPORAL_GET_SYSTEM_INFO, &r.base, START_TRY_MS,
                                on_system_info, e);
}

void engine_temporal_greet(struct engine_temporal *e)
{
    e->ready = false;
    e->again_ms = 0;
    e->again_armed = false;
    loop_timer_at(e->again, INT64_MAX);
    if (e->greeting)
        temporal_call_cancel(e->greeting);
    greet(e);
}

void engine_temporal_rest(struct engine_temporal *e)
{
    e->ready = false;
    loop_timer_at(e->again, INT64_MAX);
    loop_timer_at(e->look, INT64_MAX);
    e->again_armed = true; /* nothing is asked again */
    temporal_worker_rest(e->worker);
}

/* An idle one notices by its polls alone that Temporal went: so it is asked until it is back. */
static void worker_trouble(void *arg)
{
    struct engine_temporal *e = arg;

    if (e->ready && !e->greeting)
        engine_temporal_greet(e);
    tell_change(e);
}

/* ---- life ------------------------------------------------------------------------------------ */

void engine_temporal_session_queue(const char *runner_queue, const char *session_id, char *ret,
                                   size_t size)
{
    (void)str_format(ret, size, "%s/%s", runner_queue, session_id);
}

struct engine_temporal *engine_temporal_new(struct loop *loop, struct store *store,
                                            struct journal *journal, struct queue *queue,
                                            struct temporal *t,
                                            const struct engine_temporal_options *o)
{
    static const char runners[] = ENGINE_TEMPORAL_RUNNER_QUEUE;
    struct engine_temporal *e = mem_new(sizeof *e);

    e->loop = loop;
    e->store = store;
    e->journal = journal;
    e->queue = queue;
    e->temporal = t;
    e->runner_queue = mem_str(o->runner_queue ? o->runner_queue : runners);
    e->make_namespace = o->make_namespace;
    e->workflow_pollers = e->runner_pollers = -1;
    e->due_tail = &e->due;
    e->looked_ms = clock_wall_ms();
    e->again = loop_timer_new(loop, on_again, e);
    e->look = loop_timer_new(loop, on_look, e);
    e->worker =
        temporal_worker_new(loop, t,
                            &(struct temporal_worker_options){.runner_queue = e->runner_queue,
                                                              .heartbeat_ms = o->heartbeat_ms},
                            &(struct temporal_worker_events){.close = worker_close,
                                                             .cancel = worker_cancel,
                                                             .input = worker_input,
                                                             .status = worker_status,
                                                             .trouble = worker_trouble,
                                                             .arg = e});
    queue_set_dispatch(queue,
                       &(struct queue_dispatch){
                           .offer = on_offer, .cancel = on_cancel, .closed = on_closed, .arg = e});
    greet(e);
    return e;
}

void engine_temporal_free(struct engine_temporal *e)
{
    const char *id;
    void *value;

    if (!e)
        return;
    queue_set_dispatch(e->queue, &(struct queue_dispatch){0});
    temporal_worker_free(e->worker);
    for (size_t i = 0; map_next(&e->offers, &i, &id, &value);)
        offer_free(value);
    map_done(&e->offers);
    loop_timer_free(e->again);
    loop_timer_free(e->look);
    free(e->runner_queue);
    free(e);
}

void engine_temporal_report(const struct engine_temporal *e, struct engine_temporal_report *ret)
{
    const char *id;
    void *value;

    *ret = (struct engine_temporal_report){
        .reached = e->ready && !*e->trouble,
        .trouble = *e->trouble ? e->trouble : temporal_worker_trouble(e->worker),
        .server_version = e->version,
        .workflow_pollers = e->workflow_pollers,
        .runner_pollers = e->runner_pollers,
        .offered = e->offers.len};
    for (size_t i = 0; map_next(&e->offers, &i, &id, &value);)
        ret->started += ((const struct offer *)value)->run_id != NULL;
}

void engine_temporal_on_change(struct engine_temporal *e, loop_fn *fn, void *arg)
{
    e->on_change = fn;
    e->change_arg = arg;
}

const char *engine_temporal_run_id(const struct engine_temporal *e, const char *execution_id)
{
    const struct offer *o = map_get(&e->offers, execution_id);

    return o ? o->run_id : NULL;
}
