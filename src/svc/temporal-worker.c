#include "svc/temporal-worker-impl.h"

#include <inttypes.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/own.h"
#include "base/str.h"
#include "clients/temporal-payload.h"
#include "clients/temporal-poll.h"

#define POLLS 4
#define EVENTS_MAX 60000 /* Temporal ends a workflow at 51,200; ours have few (core/workflow.h) */
#define HEARTBEAT_MS 30000
#define ACTIVITY_SECONDS (int64_t)(365 * 86400) /* a run's own limits are shorter */
#define ANSWER_MS 60000
#define PHASE_CANCELLED "EXECUTION_CANCELLED"

/* ---- a task's life --------------------------------------------------------------------------- */

static void *copy_of(const ProtobufCMessage *m)
{
    size_t len = protobuf_c_message_get_packed_size(m);
    OWN_FREE uint8_t *bytes = mem_array(len + 1, 1);

    protobuf_c_message_pack(m, bytes);
    return mem_check(protobuf_c_message_unpack(m->descriptor, NULL, len, bytes));
}

void temporal_worker_drop(struct task *t)
{
    if (t->link)
        *t->link = t->next;
    if (t->next)
        t->next->link = t->link;
    for (size_t i = 0; i < t->pages; i++)
        tsvc__get_workflow_execution_history_response__free_unpacked(t->page[i], NULL);
    tsvc__poll_workflow_task_queue_response__free_unpacked(t->poll, NULL);
    json_decref(t->ours);
    free(t->events);
    free(t);
}

static void add_events(struct task *t, const Thist__History *h)
{
    if (!h)
        return;
    if (t->count + h->n_events > EVENTS_MAX) {
        t->cut = true;
        return;
    }
    t->events = mem_grow(t->events, t->count + h->n_events, sizeof *t->events);
    for (size_t i = 0; i < h->n_events; i++)
        t->events[t->count++] = h->events[i];
}

/* ---- answers --------------------------------------------------------------------------------- */

static void on_answered(const ProtobufCMessage *answer, const struct err *err, void *arg)
{
    (void)answer;
    (void)arg;
    if (err) /* the server gives the task out again when it is needed */
        log_debug("workflow task could not be answered", "why", err->msg);
}

void temporal_worker_fail(struct task *t, const struct err *why)
{
    struct temporal_worker *w = t->worker;
    Tsvc__RespondWorkflowTaskFailedRequest r = TSVC__RESPOND_WORKFLOW_TASK_FAILED_REQUEST__INIT;
    Tfail__Failure f = TFAIL__FAILURE__INIT;

    log_warn("workflow task failed", "run", t->id, "why", why->msg);
    f.message = (char *)(uintptr_t)why->msg; /* only packed */
    r.task_token = t->poll->task_token;
    r.cause =
        why->code == ERR_STATE || why->code == ERR_CORRUPT
            ? TENUM__WORKFLOW_TASK_FAILED_CAUSE__WORKFLOW_TASK_FAILED_CAUSE_NON_DETERMINISTIC_ERROR
            : TENUM__WORKFLOW_TASK_FAILED_CAUSE__WORKFLOW_TASK_FAILED_CAUSE_WORKFLOW_WORKER_UNHANDLED_FAILURE;
    r.failure = &f;
    temporal_call(w->temporal, TEMPORAL_FAIL_WORKFLOW_TASK, &r.base, ANSWER_MS, on_answered, NULL);
    temporal_worker_drop(t);
}

/* What a query of the workflow asks, as a result; the payload is the caller's to end. */
static bool ask(const struct task *t, const Tquery__WorkflowQuery *q, struct temporal_payload *ret,
                char why[200])
{
    struct temporal_worker *w = t->worker;
    json_t *status;

    if (!str_eq(q->query_type, "status")) {
        (void)str_format(why, 200, "unknown query '%.60s'; there is 'status'", q->query_type);
        return false;
    }
    status = w->ev.status(t->id, w->ev.arg);
    if (!status) {
        (void)str_format(why, 200, "there is no execution '%.100s'", t->id);
        return false;
    }
    temporal_payload_init(ret, status);
    json_decref(status);
    return true;
}

/* t->why: set when its input could not be read. */
static void answer_query(struct task *t)
{
    Tsvc__RespondQueryTaskCompletedRequest r = TSVC__RESPOND_QUERY_TASK_COMPLETED_REQUEST__INIT;
    struct temporal_payload value = {0};
    char why[200] = "";

    (void)str_format(why, sizeof why, "%s", t->why);
    r.task_token = t->poll->task_token;
    if (!*t->why && ask(t, t->poll->query, &value, why)) {
        r.completed_type = TENUM__QUERY_RESULT_TYPE__QUERY_RESULT_TYPE_ANSWERED;
        r.query_result = &value.payloads;
    } else {
        r.completed_type = TENUM__QUERY_RESULT_TYPE__QUERY_RESULT_TYPE_FAILED;
        r.error_message = why;
    }
    temporal_call(t->worker->temporal, TEMPORAL_ANSWER_QUERY, &r.base, ANSWER_MS, on_answered,
                  NULL);
    temporal_payload_done(&value);
    temporal_worker_drop(t);
}

/* Queries that came along with a task are answered with it. */
struct side_query {
    Tsvc__RespondWorkflowTaskCompletedRequest__QueryResultsEntry entry;
    Tquery__WorkflowQueryResult result;
    struct temporal_payload value;
    char why[200];
};

static void answer_side(const struct task *t, size_t i, struct side_query *q)
{
    tsvc__respond_workflow_task_completed_request__query_results_entry__init(&q->entry);
    tquery__workflow_query_result__init(&q->result);
    q->entry.key = t->poll->queries[i]->key;
    q->entry.value = &q->result;
    if (t->poll->queries[i]->value && ask(t, t->poll->queries[i]->value, &q->value, q->why)) {
        q->result.result_type = TENUM__QUERY_RESULT_TYPE__QUERY_RESULT_TYPE_ANSWERED;
        q->result.answer = &q->value.payloads;
    } else {
        q->result.result_type = TENUM__QUERY_RESULT_TYPE__QUERY_RESULT_TYPE_FAILED;
        q->result.error_message = q->why;
    }
}

/* command: NULL: nothing is to be done. */
static void complete_task(struct task *t, Tcmd__Command *command)
{
    Tsvc__RespondWorkflowTaskCompletedRequest r =
        TSVC__RESPOND_WORKFLOW_TASK_COMPLETED_REQUEST__INIT;
    size_t n = t->poll->n_queries;
    OWN_FREE struct side_query *side = mem_array(n, sizeof *side);
    OWN_FREE Tsvc__RespondWorkflowTaskCompletedRequest__QueryResultsEntry **entries =
        mem_array(n, sizeof *entries);

    for (size_t i = 0; i < n; i++) {
        answer_side(t, i, &side[i]);
        entries[i] = &side[i].entry;
    }
    r.task_token = t->poll->task_token;
    r.commands = &command;
    r.n_commands = command != NULL;
    r.query_results = entries;
    r.n_query_results = n;
    temporal_call(t->worker->temporal, TEMPORAL_COMPLETE_WORKFLOW_TASK, &r.base, ANSWER_MS,
                  on_answered, NULL);
    for (size_t i = 0; i < n; i++)
        temporal_payload_done(&side[i].value);
    temporal_worker_drop(t);
}

/* ---- commands -------------------------------------------------------------------------------- */

/* The first is named by the execution alone: so operators find it, and so it was before there were
 * others. */
static void name_activity(const struct task *t, char *ret, size_t size)
{
    if (t->decision.hand_backs)
        (void)str_format(ret, size, "%s/%u", t->id, t->decision.hand_backs + 1);
    else
        (void)str_format(ret, size, "%s", t->id);
}

static bool may_hand_back(const struct task *t)
{
    return t->ours && t->decision.hand_backs < WORKFLOW_HAND_BACKS_MAX;
}

static void schedule(struct task *t)
{
    struct temporal_worker *w = t->worker;
    Tcmd__Command c = TCMD__COMMAND__INIT;
    Tcmd__ScheduleActivityTaskCommandAttributes a =
        TCMD__SCHEDULE_ACTIVITY_TASK_COMMAND_ATTRIBUTES__INIT;
    Tcom__ActivityType type = TCOM__ACTIVITY_TYPE__INIT;
    Tqueue__TaskQueue queue = TQUEUE__TASK_QUEUE__INIT;
    Tcom__RetryPolicy retry = TCOM__RETRY_POLICY__INIT;
    Google__Protobuf__Duration whole = GOOGLE__PROTOBUF__DURATION__INIT, beat = whole,
                               first = whole;
    struct temporal_payload input = {0};
    char name[] = TEMPORAL_WORKER_ACTIVITY, id[TEMPORAL_WORKER_ID + 16];

    type.name = name;
    name_activity(t, id, sizeof id);
    if (may_hand_back(t)) {
        (void)json_object_set_new(t->ours, "handBack", json_true());
        temporal_payload_init(&input, t->ours);
    }
    queue.name = *t->queue ? t->queue : w->runner_queue;
    queue.kind = TENUM__TASK_QUEUE_KIND__TASK_QUEUE_KIND_NORMAL;
    whole.seconds = ACTIVITY_SECONDS;
    beat.seconds = w->heartbeat_ms / 1000;
    beat.nanos = (int32_t)(w->heartbeat_ms % 1000 * 1000000);
    first.seconds = 1;
    retry.initial_interval = &first;
    retry.backoff_coefficient =
        1; /* only lost runners are retried by it, and the queue counts them */
    retry.maximum_interval = &first;
    a.activity_id = id;
    a.activity_type = &type;
    a.task_queue = &queue;
    a.input = input.text ? &input.payloads
                         : (Tcom__Payloads *)(uintptr_t)t->decision.input; /* only packed */
    a.start_to_close_timeout = &whole;
    a.heartbeat_timeout = &beat;
    a.retry_policy = &retry;
    c.command_type = TENUM__COMMAND_TYPE__COMMAND_TYPE_SCHEDULE_ACTIVITY_TASK;
    c.attributes_case = TCMD__COMMAND__ATTRIBUTES_SCHEDULE_ACTIVITY_TASK_COMMAND_ATTRIBUTES;
    c.schedule_activity_task_command_attributes = &a;
    complete_task(t, &c);
    temporal_payload_done(&input);
}

static void cancel_activity(struct task *t)
{
    Tcmd__Command c = TCMD__COMMAND__INIT;
    Tcmd__RequestCancelActivityTaskCommandAttributes a =
        TCMD__REQUEST_CANCEL_ACTIVITY_TASK_COMMAND_ATTRIBUTES__INIT;

    a.scheduled_event_id = t->decision.scheduled_id;
    c.command_type = TENUM__COMMAND_TYPE__COMMAND_TYPE_REQUEST_CANCEL_ACTIVITY_TASK;
    c.attributes_case = TCMD__COMMAND__ATTRIBUTES_REQUEST_CANCEL_ACTIVITY_TASK_COMMAND_ATTRIBUTES;
    c.request_cancel_activity_task_command_attributes = &a;
    complete_task(t, &c);
}

static void complete_workflow(struct task *t, const json_t *result)
{
    Tcmd__Command c = TCMD__COMMAND__INIT;
    Tcmd__CompleteWorkflowExecutionCommandAttributes a =
        TCMD__COMPLETE_WORKFLOW_EXECUTION_COMMAND_ATTRIBUTES__INIT;
    struct temporal_payload value;

    temporal_payload_init(&value, result);
    a.result = &value.payloads;
    c.command_type = TENUM__COMMAND_TYPE__COMMAND_TYPE_COMPLETE_WORKFLOW_EXECUTION;
    c.attributes_case = TCMD__COMMAND__ATTRIBUTES_COMPLETE_WORKFLOW_EXECUTION_COMMAND_ATTRIBUTES;
    c.complete_workflow_execution_command_attributes = &a;
    complete_task(t, &c);
    temporal_payload_done(&value);
}

static void cancel_workflow(struct task *t)
{
    Tcmd__Command c = TCMD__COMMAND__INIT;
    Tcmd__CancelWorkflowExecutionCommandAttributes a =
        TCMD__CANCEL_WORKFLOW_EXECUTION_COMMAND_ATTRIBUTES__INIT;

    c.command_type = TENUM__COMMAND_TYPE__COMMAND_TYPE_CANCEL_WORKFLOW_EXECUTION;
    c.attributes_case = TCMD__COMMAND__ATTRIBUTES_CANCEL_WORKFLOW_EXECUTION_COMMAND_ATTRIBUTES;
    c.cancel_workflow_execution_command_attributes = &a;
    complete_task(t, &c);
}

static void fail_workflow(struct task *t)
{
    Tcmd__Command c = TCMD__COMMAND__INIT;
    Tcmd__FailWorkflowExecutionCommandAttributes a =
        TCMD__FAIL_WORKFLOW_EXECUTION_COMMAND_ATTRIBUTES__INIT;
    Tfail__Failure f = TFAIL__FAILURE__INIT;
    Tfail__ApplicationFailureInfo info = TFAIL__APPLICATION_FAILURE_INFO__INIT;
    char source[] = "stigmer", type[] = "ExecutionFailed";

    f.message = t->why;
    f.source = source;
    f.cause = (Tfail__Failure *)(uintptr_t)t->decision.failure; /* only packed */
    info.type = type;
    info.non_retryable = true;
    f.failure_info_case = TFAIL__FAILURE__FAILURE_INFO_APPLICATION_FAILURE_INFO;
    f.application_failure_info = &info;
    a.failure = &f;
    c.command_type = TENUM__COMMAND_TYPE__COMMAND_TYPE_FAIL_WORKFLOW_EXECUTION;
    c.attributes_case = TCMD__COMMAND__ATTRIBUTES_FAIL_WORKFLOW_EXECUTION_COMMAND_ATTRIBUTES;
    c.fail_workflow_execution_command_attributes = &a;
    complete_task(t, &c);
}

/* ---- carrying out ---------------------------------------------------------------------------- */

static void conclude(struct task *t);

static bool has_ended(const struct task *t)
{
    json_t *status = t->worker->ev.status(t->id, t->worker->ev.arg);
    bool ended = json_is_true(json_object_get(status, "ended"));

    json_decref(status);
    return ended;
}

/* The journal has what the workflow is about to say; or it had ended already, or was deleted. */
static void on_journaled(const struct err *err, void *arg)
{
    struct task *t = arg;
    bool deleted;

    if (!t->worker) {
        temporal_worker_drop(t);
        return;
    }
    if (err && err->code != ERR_STATE && err->code != ERR_NOT_FOUND) {
        temporal_worker_fail(t, err);
        return;
    }
    /* A runner may find before the cancel does that it was deleted, and fail the activity. */
    deleted = err && err->code == ERR_NOT_FOUND && t->decision.cancel_requested;
    if (t->decision.step == WORKFLOW_FAIL && err && err->code == ERR_STATE && has_ended(t))
        conclude(t); /* its activity failed; its run has not, or said so itself */
    else if (t->decision.step == WORKFLOW_FAIL && !deleted)
        fail_workflow(t);
    else if (t->decision.step != WORKFLOW_CANCEL_ACTIVITY)
        cancel_workflow(t);
    else
        cancel_activity(t);
}

static void say_cancel(struct task *t)
{
    (void)str_format(t->why, sizeof t->why, "%s", t->decision.cancel_reason);
    str_cut_bad(t->why);
    if (str_is_empty(t->why))
        (void)str_format(t->why, sizeof t->why, "cancelled in Temporal");
}

/* The activity has completed. What became of the execution is the journal's to say: also when it
 * had ended before, and the runner that asked was told no more than that. */
static void conclude(struct task *t)
{
    struct temporal_worker *w = t->worker;
    json_t *status = w->ev.status(t->id, w->ev.arg), *result;
    const char *phase = json_string_value(json_object_get(status, "phase"));

    if (!json_is_true(json_object_get(status, "ended"))) {
        t->decision.step = WORKFLOW_FAIL;
        (void)str_format(t->why, sizeof t->why,
                         "its activity completed, and the run has not ended");
        w->ev.close(t->id, false, t->why, on_journaled, t, w->ev.arg);
    } else if (t->decision.cancel_requested && str_eq(phase, PHASE_CANCELLED)) {
        cancel_workflow(t);
    } else {
        result = json_pack("{s:s,s:s}", "executionId", t->id, "phase", phase);
        complete_workflow(t, result);
        json_decref(result);
    }
    json_decref(status);
}

/* A journal that ended while it was handed back needs no runner that says so. */
static bool has_ended_meanwhile(const struct task *t)
{
    return t->decision.hand_backs && has_ended(t);
}

void temporal_worker_go_on(struct task *t)
{
    struct temporal_worker *w = t->worker;
    const struct workflow_decision *d = &t->decision;

    switch (d->step) {
    case WORKFLOW_SCHEDULE:
        if (has_ended_meanwhile(t))
            conclude(t);
        else
            schedule(t);
        return;
    case WORKFLOW_COMPLETE:
        conclude(t);
        return;
    case WORKFLOW_FAIL:
        temporal_payload_failure(d->failure, t->why, sizeof t->why);
        w->ev.close(t->id, false, t->why, on_journaled, t, w->ev.arg);
        return;
    case WORKFLOW_CANCEL:
        say_cancel(t);
        w->ev.close(t->id, true, t->why, on_journaled, t, w->ev.arg);
        return;
    case WORKFLOW_CANCEL_ACTIVITY:
        say_cancel(t);
        w->ev.cancel(t->id, str_is_empty(d->cancel_by) ? "temporal" : d->cancel_by, t->why,
                     on_journaled, t, w->ev.arg);
        return;
    case WORKFLOW_WAIT:
    case WORKFLOW_OVER:
    default:
        complete_task(t, NULL);
    }
}

/* {"executionId": …, "queue": …}; the id alone; or an AgentExecution, as the original sends. */
static enum err_code read_input(struct task *t, struct err *err)
{
    json_t *in;
    const char *id, *queue;
    enum err_code code = temporal_payload_read(t->decision.input, &in, err);

    if (code)
        return err_wrap(err, code, "the workflow's input");
    id = json_is_string(in) ? json_string_value(in)
                            : json_string_value(json_object_get(in, "executionId"));
    if (!id)
        id = json_string_value(json_object_get(json_object_get(in, "metadata"), "id"));
    queue = json_string_value(json_object_get(in, "queue"));
    if (str_is_empty(id) || !str_format(t->id, sizeof t->id, "%s", id) ||
        !str_format(t->queue, sizeof t->queue, "%s", queue ? queue : ""))
        code = err_set(err, ERR_INVALID,
                       "the workflow's input names no execution: it must be "
                       "{\"executionId\": \"aex-…\"}");
    else if (json_is_string(json_object_get(in, "executionId")) &&
             t->decision.input->n_payloads == 1)
        t->ours = json_incref(in);
    json_decref(in);
    return code;
}

/* Another server may poll the same queue by mistake: then its work must come to it unharmed, so the
 * task is given back. What was deleted here has been asked to be cancelled, and is let go. */
static bool is_ours(const struct task *t, struct err *err)
{
    json_t *status = t->worker->ev.status(t->id, t->worker->ev.arg);
    bool ours = status || t->decision.cancel_requested || t->decision.step == WORKFLOW_OVER;

    json_decref(status);
    if (!ours)
        err_set(err, ERR_NOT_FOUND,
                "this server has no execution '%.100s': if another one uses this namespace, give "
                "each a namespace of its own; else terminate this workflow",
                t->id);
    return ours;
}

/* ---- tasks ------------------------------------------------------------------------------------
 */

static enum err_code read_task(struct task *t, struct err *err)
{
    if (t->cut)
        return err_set(err, ERR_LIMIT,
                       "its history has more than %d events or %d pages: terminate the workflow",
                       EVENTS_MAX, TEMPORAL_WORKER_PAGES);
    return workflow_decide(t->events, t->count, &t->decision, err);
}

static void run_task(struct task *t)
{
    struct err err;

    if (read_task(t, &err)) {
        temporal_worker_fail(t, &err);
        return;
    }
    if (read_input(t, &err))
        (void)str_format(t->why, sizeof t->why, "%s", err.msg);
    if (t->poll->query) {
        answer_query(t);
    } else if (*t->why) { /* no retry would help: the workflow ends with words */
        fail_workflow(t);
    } else if (!is_ours(t, &err)) {
        temporal_worker_fail(t, &err);
    } else {
        if (t->decision.unknown)
            log_info("events of unknown kinds in a history", "run", t->id, "events",
                     log_int(t->decision.unknown));
        log_debug("workflow task", "run", t->id, "step", log_int(t->decision.step), "events",
                  log_int(t->count));
        t->at = t->decision.heard;
        temporal_signals_hear(t);
    }
}

/* ---- histories of more than one page ------------------------------------------------------------
 */

static void ask_page(struct task *t, ProtobufCBinaryData token);

static void on_page(const ProtobufCMessage *answer, const struct err *err, void *arg)
{
    struct task *t = arg;
    Tsvc__GetWorkflowExecutionHistoryResponse *m;

    t->call = NULL;
    if (err) {
        temporal_worker_fail(t, err);
        return;
    }
    m = t->page[t->pages++] = copy_of(answer);
    add_events(t, m->history);
    t->cut |= m->next_page_token.len && t->pages == TEMPORAL_WORKER_PAGES;
    if (m->next_page_token.len && !t->cut)
        ask_page(t, m->next_page_token);
    else
        run_task(t);
}

static void ask_page(struct task *t, ProtobufCBinaryData token)
{
    Tsvc__GetWorkflowExecutionHistoryRequest r = TSVC__GET_WORKFLOW_EXECUTION_HISTORY_REQUEST__INIT;

    r.execution = t->poll->workflow_execution;
    r.next_page_token = token;
    t->call =
        temporal_call(t->worker->temporal, TEMPORAL_GET_HISTORY, &r.base, ANSWER_MS, on_page, t);
}

void temporal_worker_take(struct temporal_worker *w, const Tsvc__PollWorkflowTaskQueueResponse *m)
{
    struct task *t = mem_new(sizeof *t);

    t->worker = w;
    t->poll = copy_of(&m->base);
    t->link = &w->tasks;
    t->next = w->tasks;
    if (t->next)
        t->next->link = &t->next;
    w->tasks = t;
    add_events(t, t->poll->history);
    if (t->poll->next_page_token.len)
        ask_page(t, t->poll->next_page_token);
    else
        run_task(t);
}

static void on_task(const ProtobufCMessage *task, void *arg)
{
    temporal_worker_take(arg, (const Tsvc__PollWorkflowTaskQueueResponse *)task);
}

/* ---- life ------------------------------------------------------------------------------------ */

static void on_trouble(void *arg)
{
    const struct temporal_worker *w = arg;

    if (w->ev.trouble && *temporal_poll_trouble(w->poll))
        w->ev.trouble(w->ev.arg);
}

struct temporal_worker *temporal_worker_new(struct loop *loop, struct temporal *t,
                                            const struct temporal_worker_options *o,
                                            const struct temporal_worker_events *ev)
{
    struct temporal_worker *w = mem_new(sizeof *w);

    w->loop = loop;
    w->temporal = t;
    w->runner_queue = mem_str(o->runner_queue);
    w->heartbeat_ms = o->heartbeat_ms ? o->heartbeat_ms : HEARTBEAT_MS;
    w->ev = *ev;
    w->poll =
        temporal_poll_new(loop, t, TEMPORAL_POLL_WORKFLOW_TASK, TEMPORAL_WORKER_QUEUE, on_task, w);
    temporal_poll_on_trouble(w->poll, on_trouble, w);
    return w;
}

void temporal_worker_start(struct temporal_worker *w)
{
    if (!w->poll)
        return;
    temporal_poll_answers(w->poll);
    temporal_poll_want(w->poll, POLLS);
}

void temporal_worker_rest(struct temporal_worker *w)
{
    temporal_poll_free(TAKE(w->poll));
}

void temporal_worker_free(struct temporal_worker *w)
{
    if (!w)
        return;
    temporal_poll_free(w->poll);
    for (struct task *t = w->tasks, *next; t; t = next) {
        next = t->next;
        t->worker = NULL;
        if (t->call) {
            temporal_call_cancel(TAKE(t->call));
            temporal_worker_drop(t);
        } else { /* the journal's answer frees it */
            t->link = NULL;
            t->next = NULL;
        }
    }
    free(w->runner_queue);
    free(w);
}

const char *temporal_worker_trouble(const struct temporal_worker *w)
{
    return w->poll ? temporal_poll_trouble(w->poll) : "";
}
