/* The outbox: what the queue offers becomes workflows: see engine-temporal.h. */
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/own.h"
#include "base/str.h"
#include "clients/temporal-payload.h"
#include "svc/engine-temporal-impl.h"
#include "svc/records.h"
#include "svc/session-place.h"

#define STARTS_MAX 32 /* in flight */
#define CANCEL_TRY_MS 600000
#define TASK_SECONDS 10 /* Temporal gives a workflow task out again after that */

/* ---- offers ---------------------------------------------------------------------------------- */

void engine_temporal_make_due(struct offer *o)
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

void engine_temporal_offer_free(struct offer *o)
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

void engine_temporal_drop(struct offer *o)
{
    (void)map_remove(&o->engine->offers, o->id);
    engine_temporal_offer_free(o);
}

void engine_temporal_drop_closed(struct offer *o)
{
    struct engine_temporal *e = o->engine;

    engine_temporal_drop(o);
    engine_temporal_end_deleted(e);
}

void engine_temporal_workflow_id(const char *execution_id, char *ret, size_t size)
{
    (void)str_format(ret, size, TEMPORAL_WORKER_WORKFLOW "/%s", execution_id);
}

/* ---- starting -------------------------------------------------------------------------------- */

struct temporal_call *engine_temporal_request_cancel(struct engine_temporal *e,
                                                     const char *execution_id, const char *reason,
                                                     int64_t try_ms, temporal_done_fn *done,
                                                     void *arg)
{
    Tsvc__RequestCancelWorkflowExecutionRequest r =
        TSVC__REQUEST_CANCEL_WORKFLOW_EXECUTION_REQUEST__INIT;
    Tcom__WorkflowExecution x = TCOM__WORKFLOW_EXECUTION__INIT;
    char id[256];

    engine_temporal_workflow_id(execution_id, id, sizeof id);
    x.workflow_id = id;
    r.workflow_execution = &x;
    r.request_id = (char *)(uintptr_t)execution_id; /* only packed: asked twice is asked once */
    r.reason = (char *)(uintptr_t)reason;
    return temporal_call(e->temporal, TEMPORAL_REQUEST_CANCEL, &r.base, try_ms, done, arg);
}

static void request_cancel(struct engine_temporal *e, const char *execution_id, const char *reason)
{
    (void)engine_temporal_request_cancel(e, execution_id, reason, CANCEL_TRY_MS, NULL, NULL);
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
        engine_temporal_set_fault(e, err);
        engine_temporal_try_again(e);
    }
    if (o->closed && !err) {
        request_cancel(e, o->id, o->closed);
        engine_temporal_drop_closed(o);
    } else if (o->closed) { /* what was not started needs no end; what was finds the journal ended,
                             * or was deleted */
        engine_temporal_drop_closed(o);
    } else if (!err) {
        m = (const Tsvc__StartWorkflowExecutionResponse *)answer;
        free(o->run_id);
        o->run_id = mem_str(m->run_id);
        o->told = false;
        e->again_ms = 0;
        engine_temporal_set_trouble(e, "");
        log_debug("workflow started", "run", o->id, "workflow_run", o->run_id);
        if (m->eager_workflow_task && m->eager_workflow_task->task_token.len)
            temporal_worker_take(e->worker, m->eager_workflow_task);
    } else if (err->code == ERR_EXISTS) { /* there was one, and it has ended */
        engine_temporal_ask_how(o);
    } else {
        engine_temporal_make_due(o);
        engine_temporal_tell_waiting(o);
    }
    engine_temporal_start_due(e);
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
    engine_temporal_workflow_id(o->id, id, sizeof id);
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
    o->call = temporal_call(e->temporal, TEMPORAL_START_WORKFLOW, &r.base, ENGINE_TEMPORAL_TRY_MS,
                            on_started, o);
    temporal_payload_done(&input);
    temporal_payload_done(&entry[0].value);
    temporal_payload_done(&entry[1].value);
}

void engine_temporal_start_due(struct engine_temporal *e)
{
    while (e->ready && !e->again_armed && e->due && e->starting < STARTS_MAX)
        start(e->due);
}

/* It was away: it may have forgotten what it was given (a development server without a database),
 * or somebody has ended it unseen. */
void engine_temporal_offer_all_again(struct engine_temporal *e)
{
    const char *id;
    void *value;

    for (size_t i = 0; map_next(&e->offers, &i, &id, &value);)
        engine_temporal_make_due(value);
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
            loop_timer_in(e->look, ENGINE_TEMPORAL_LOOK_MS);
    }
    engine_temporal_make_due(o);
    if (*e->trouble)
        engine_temporal_tell_waiting(o);
    engine_temporal_start_due(e);
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
        engine_temporal_drop(o);
}

static void on_deleted(const char *id, void *arg)
{
    (void)id; /* it is in the store, with those that wait since earlier */
    engine_temporal_end_deleted(arg);
}

static void on_lost(const char *id, void *arg)
{
    engine_temporal_lost(arg, id);
}

void engine_temporal_dispatch(struct engine_temporal *e)
{
    queue_set_dispatch(e->queue, &(struct queue_dispatch){.offer = on_offer,
                                                          .lost = on_lost,
                                                          .cancel = on_cancel,
                                                          .closed = on_closed,
                                                          .deleted = on_deleted,
                                                          .arg = e});
}
