#include "clients/temporal.h"

#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/own.h"
#include "base/str.h"
#include "platform/rpc-client.h"

#define SERVICE "/temporal.api.workflowservice.v1.WorkflowService/"
#define ATTEMPT_MS 10000
#define POLL_MS 70000 /* the server answers a poll without work after about 60 s */
#define WAIT_MIN_MS 50
#define WAIT_MAX_MS 10000

struct method {
    const char *path;
    const ProtobufCMessageDescriptor *answer;
    int64_t attempt_ms;
};

/* clang-format off */
static const struct method methods[] = {
    [TEMPORAL_GET_SYSTEM_INFO] = {SERVICE "GetSystemInfo", &tsvc__get_system_info_response__descriptor, ATTEMPT_MS},
    [TEMPORAL_REGISTER_NAMESPACE] = {SERVICE "RegisterNamespace", &tsvc__register_namespace_response__descriptor, ATTEMPT_MS},
    [TEMPORAL_DESCRIBE_NAMESPACE] = {SERVICE "DescribeNamespace", &tsvc__describe_namespace_response__descriptor, ATTEMPT_MS},
    [TEMPORAL_START_WORKFLOW] = {SERVICE "StartWorkflowExecution", &tsvc__start_workflow_execution_response__descriptor, ATTEMPT_MS},
    [TEMPORAL_GET_HISTORY] = {SERVICE "GetWorkflowExecutionHistory", &tsvc__get_workflow_execution_history_response__descriptor, ATTEMPT_MS},
    [TEMPORAL_POLL_WORKFLOW_TASK] = {SERVICE "PollWorkflowTaskQueue", &tsvc__poll_workflow_task_queue_response__descriptor, POLL_MS},
    [TEMPORAL_COMPLETE_WORKFLOW_TASK] = {SERVICE "RespondWorkflowTaskCompleted", &tsvc__respond_workflow_task_completed_response__descriptor, ATTEMPT_MS},
    [TEMPORAL_FAIL_WORKFLOW_TASK] = {SERVICE "RespondWorkflowTaskFailed", &tsvc__respond_workflow_task_failed_response__descriptor, ATTEMPT_MS},
    [TEMPORAL_ANSWER_QUERY] = {SERVICE "RespondQueryTaskCompleted", &tsvc__respond_query_task_completed_response__descriptor, ATTEMPT_MS},
    [TEMPORAL_POLL_ACTIVITY_TASK] = {SERVICE "PollActivityTaskQueue", &tsvc__poll_activity_task_queue_response__descriptor, POLL_MS},
    [TEMPORAL_HEARTBEAT] = {SERVICE "RecordActivityTaskHeartbeat", &tsvc__record_activity_task_heartbeat_response__descriptor, ATTEMPT_MS},
    [TEMPORAL_COMPLETE_ACTIVITY] = {SERVICE "RespondActivityTaskCompleted", &tsvc__respond_activity_task_completed_response__descriptor, ATTEMPT_MS},
    [TEMPORAL_FAIL_ACTIVITY] = {SERVICE "RespondActivityTaskFailed", &tsvc__respond_activity_task_failed_response__descriptor, ATTEMPT_MS},
    [TEMPORAL_FAIL_ACTIVITY_BY_ID] = {SERVICE "RespondActivityTaskFailedById", &tsvc__respond_activity_task_failed_by_id_response__descriptor, ATTEMPT_MS},
    [TEMPORAL_CANCEL_ACTIVITY] = {SERVICE "RespondActivityTaskCanceled", &tsvc__respond_activity_task_canceled_response__descriptor, ATTEMPT_MS},
    [TEMPORAL_REQUEST_CANCEL] = {SERVICE "RequestCancelWorkflowExecution", &tsvc__request_cancel_workflow_execution_response__descriptor, ATTEMPT_MS},
    [TEMPORAL_SIGNAL] = {SERVICE "SignalWorkflowExecution", &tsvc__signal_workflow_execution_response__descriptor, ATTEMPT_MS},
    [TEMPORAL_TERMINATE] = {SERVICE "TerminateWorkflowExecution", &tsvc__terminate_workflow_execution_response__descriptor, ATTEMPT_MS},
    [TEMPORAL_LIST_WORKFLOWS] = {SERVICE "ListWorkflowExecutions", &tsvc__list_workflow_executions_response__descriptor, ATTEMPT_MS},
    [TEMPORAL_QUERY] = {SERVICE "QueryWorkflow", &tsvc__query_workflow_response__descriptor, ATTEMPT_MS},
    [TEMPORAL_DESCRIBE_WORKFLOW] = {SERVICE "DescribeWorkflowExecution", &tsvc__describe_workflow_execution_response__descriptor, ATTEMPT_MS},
    [TEMPORAL_DESCRIBE_TASK_QUEUE] = {SERVICE "DescribeTaskQueue", &tsvc__describe_task_queue_response__descriptor, ATTEMPT_MS},
    [TEMPORAL_SHUTDOWN_WORKER] = {SERVICE "ShutdownWorker", &tsvc__shutdown_worker_response__descriptor, ATTEMPT_MS},
};
/* clang-format on */
_Static_assert(sizeof methods / sizeof methods[0] == TEMPORAL_METHODS, "every method has a row");

struct temporal {
    struct loop *loop; /* borrowed */
    struct rpc_client *rpc;
    char *namespace, *identity, *address;
    bool shows_key;
    struct temporal_call *calls; /* owned */
    struct temporal_stats stats;
};

struct temporal_call {
    struct temporal *temporal;
    struct temporal_call *next, **link;
    const struct method *method;
    ProtobufCMessage *request; /* owned: a copy, for the attempts that follow */
    struct rpc_request *rpc;
    struct loop_timer *again;
    int64_t started_ms, until_ms, wait_ms;
    bool answered;
    temporal_done_fn *done;
    void *arg;
};

/* ---- a request's own fields ------------------------------------------------------------------ */

/* The text field of this name, when the message has one. */
static char **text_field(ProtobufCMessage *m, const char *name)
{
    const ProtobufCFieldDescriptor *f =
        protobuf_c_message_descriptor_get_field_by_name(m->descriptor, name);

    if (!f || f->type != PROTOBUF_C_TYPE_STRING || f->label == PROTOBUF_C_LABEL_REPEATED)
        return NULL;
    return (char **)((char *)m + f->offset);
}

static char *fill(ProtobufCMessage *m, const char *name, char *value)
{
    char **field = text_field(m, name);
    char *was = field ? *field : NULL;

    if (field && str_is_empty(was))
        *field = value;
    return was;
}

static void put_back(ProtobufCMessage *m, const char *name, char *was)
{
    char **field = text_field(m, name);

    if (field)
        *field = was;
}

/* A copy with our namespace and identity in it. */
static ProtobufCMessage *copy_of(const struct temporal *t, ProtobufCMessage *m)
{
    char *namespace = fill(m, "namespace", t->namespace);
    char *identity = fill(m, "identity", t->identity);
    size_t len = protobuf_c_message_get_packed_size(m);
    OWN_FREE uint8_t *bytes = mem_array(len + 1, 1);

    protobuf_c_message_pack(m, bytes);
    put_back(m, "namespace", namespace);
    put_back(m, "identity", identity);
    return mem_check(protobuf_c_message_unpack(m->descriptor, NULL, len, bytes));
}

/* ---- a call ---------------------------------------------------------------------------------- */

static void attempt(struct temporal_call *c);

static void call_free(struct temporal_call *c)
{
    *c->link = c->next;
    if (c->next)
        c->next->link = c->link;
    loop_timer_free(c->again);
    protobuf_c_message_free_unpacked(c->request, NULL);
    free(c);
}

static bool passes(enum err_code code)
{
    return code == ERR_UNAVAILABLE || code == ERR_TIMEOUT || code == ERR_LIMIT ||
           code == ERR_INTERNAL || code == ERR_CONFLICT || code == ERR_CANCELLED;
}

static void call_end(struct temporal_call *c, const struct err *err)
{
    struct temporal_stats *s = &c->temporal->stats;
    temporal_done_fn *done = c->done;
    void *arg = c->arg;

    s->calls++;
    s->failures += err != NULL;
    call_free(c);
    if (err && done)
        done(NULL, err, arg);
}

static void on_message(const ProtobufCMessage *m, void *arg)
{
    struct temporal_call *c = arg;
    struct temporal *t = c->temporal;
    temporal_done_fn *done = TAKE(c->done);

    if (c->answered)
        return;
    c->answered = true;
    if (c->method->attempt_ms == ATTEMPT_MS) {
        t->stats.latency_ms_total += loop_now_ms(t->loop) - c->started_ms;
        t->stats.latency_count++;
    }
    if (done)
        done(m, NULL, c->arg);
}

/* It is our certificate or theirs as long as there is no connection, else who we say we are. */
static void refused(const struct temporal *t, struct err *err)
{
    char why[400];

    if (!rpc_client_is_up(t->rpc)) {
        err_wrap(err, err->code, "Temporal");
        return;
    }
    (void)str_format(why, sizeof why, "%s", err->msg);
    err_set(err, err->code, "Temporal at %s %s: %s", t->address,
            !t->shows_key                      ? "wants to know who calls"
            : err->code == ERR_UNAUTHENTICATED ? "does not accept the API key"
                                               : "denies this to the API key",
            why);
    err_hint(err, err->code, "%s",
             t->shows_key ? "a key of this namespace in temporal.api_key_file, then stigmer server "
                            "restart"
                          : "temporal.api_key_file, or temporal.tls.cert and temporal.tls.key");
}

static void on_end(const struct err *why, void *arg)
{
    struct temporal_call *c = arg;
    struct temporal *t = c->temporal;
    struct err err;
    double chance = (double)arc4random() / 4294967296.0;
    int64_t now = loop_now_ms(t->loop), wait;

    c->rpc = NULL;
    if (c->answered) { /* what comes after the answer changes nothing */
        call_end(c, NULL);
        return;
    }
    if (why)
        err = *why;
    else
        err_set(&err, ERR_INTERNAL, "the answer to %s is empty", c->method->path);
    wait = c->wait_ms / 2 + (int64_t)(chance * (double)c->wait_ms / 2);
    if (err.code == ERR_UNAUTHENTICATED || err.code == ERR_DENIED)
        refused(t, &err);
    if (passes(err.code) && c->until_ms != TEMPORAL_FOREVER && now + wait >= c->until_ms) {
        err_wrap(&err, err.code, "Temporal at %s", t->address);
        call_end(c, &err);
    } else if (passes(err.code)) {
        c->wait_ms = c->wait_ms * 2 < WAIT_MAX_MS ? c->wait_ms * 2 : WAIT_MAX_MS;
        log_debug("temporal call is tried again", "method", c->method->path, "why", err.msg);
        loop_timer_in(c->again, wait);
    } else {
        call_end(c, &err);
    }
}

static void on_again(void *arg)
{
    attempt(arg);
}

static void attempt(struct temporal_call *c)
{
    struct temporal *t = c->temporal;
    int64_t left = c->until_ms - loop_now_ms(t->loop), timeout_ms = c->method->attempt_ms;

    if (c->until_ms > c->started_ms &&
        left < timeout_ms) /* an attempt is no longer than the call */
        timeout_ms = left > 1 ? left : 1;
    t->stats.attempts++;
    c->rpc = rpc_client_call(t->rpc, &(struct rpc_call_spec){.path = c->method->path,
                                                             .request = c->request,
                                                             .response = c->method->answer,
                                                             .timeout_ms = timeout_ms,
                                                             .on_message = on_message,
                                                             .on_end = on_end,
                                                             .arg = c});
}

struct temporal_call *temporal_call(struct temporal *t, enum temporal_method method,
                                    ProtobufCMessage *request, int64_t try_ms,
                                    temporal_done_fn *done, void *arg)
{
    struct temporal_call *c = mem_new(sizeof *c);

    c->temporal = t;
    c->method = &methods[method];
    c->request = copy_of(t, request);
    c->again = loop_timer_new(t->loop, on_again, c);
    c->started_ms = loop_now_ms(t->loop);
    c->until_ms = try_ms == TEMPORAL_FOREVER ? TEMPORAL_FOREVER : c->started_ms + try_ms;
    c->wait_ms = WAIT_MIN_MS;
    c->done = done;
    c->arg = arg;
    c->link = &t->calls;
    c->next = t->calls;
    if (c->next)
        c->next->link = &c->next;
    t->calls = c;
    attempt(c);
    return c;
}

void temporal_call_cancel(struct temporal_call *c)
{
    if (c->rpc)
        rpc_request_cancel(TAKE(c->rpc));
    call_free(c);
}

/* ---- life ------------------------------------------------------------------------------------ */

enum err_code temporal_new(struct loop *loop, const struct temporal_options *o,
                           struct temporal **ret, struct err *err)
{
    struct temporal *t = mem_new(sizeof *t);
    const struct rpc_header namespace = {"temporal-namespace", o->namespace};
    enum err_code code = rpc_client_new(loop,
                                        &(struct rpc_client_options){.address = o->address,
                                                                     .tls = o->tls,
                                                                     .server_name = o->server_name,
                                                                     .token = o->api_key,
                                                                     .headers = &namespace,
                                                                     .header_count = 1,
                                                                     .fail_refused = true},
                                        &t->rpc, err);

    if (code) {
        free(t);
        return code;
    }
    t->loop = loop;
    t->shows_key = !str_is_empty(o->api_key);
    t->address = mem_str(o->address);
    t->namespace = mem_str(o->namespace);
    t->identity = mem_str(o->identity);
    *ret = t;
    return ERR_OK;
}

void temporal_free(struct temporal *t)
{
    if (!t)
        return;
    while (t->calls)
        temporal_call_cancel(t->calls);
    rpc_client_free(t->rpc);
    free(t->address);
    free(t->namespace);
    free(t->identity);
    free(t);
}

const char *temporal_address(const struct temporal *t)
{
    return t->address;
}

const char *temporal_namespace(const struct temporal *t)
{
    return t->namespace;
}

const char *temporal_identity(const struct temporal *t)
{
    return t->identity;
}

const struct temporal_stats *temporal_stats(const struct temporal *t)
{
    return &t->stats;
}
