/* Attempts whose runner is lost: the lease tells so within seconds, Temporal's heartbeats after
 * half a minute. So the attempt is failed for the runner, and another one is asked at once, unless
 * the execution was claimed again meanwhile. See engine-temporal.h. */
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "svc/engine-temporal-impl.h"

#define TRY_MS 30000     /* then Temporal has missed the heartbeats, too */
#define SOON_NS 10000000 /* of delay: the attempt was lost, not refused */

/* An execution whose attempt is looked for. */
struct lost {
    struct engine_temporal *engine; /* borrowed */
    struct lost *next, **link;      /* in engine->lost */
    char *id;                       /* owned */
    uint64_t epoch;                 /* of the claim that is lost */
    struct temporal_call *call;
};

static void lost_free(struct lost *l)
{
    *l->link = l->next;
    if (l->next)
        l->next->link = l->link;
    free(l->id);
    free(l);
}

static void on_failed(const ProtobufCMessage *answer, const struct err *err, void *arg)
{
    (void)answer;
    (void)arg;
    if (err) /* it is over by now, or its time-outs do it */
        log_debug("a lost attempt could not be failed", "why", err->msg);
}

static void fail_attempt(const struct lost *l, const Twork__PendingActivityInfo *activity)
{
    Tsvc__RespondActivityTaskFailedByIdRequest r =
        TSVC__RESPOND_ACTIVITY_TASK_FAILED_BY_ID_REQUEST__INIT;
    Tfail__Failure f = TFAIL__FAILURE__INIT;
    Tfail__ApplicationFailureInfo info = TFAIL__APPLICATION_FAILURE_INFO__INIT;
    Google__Protobuf__Duration delay = GOOGLE__PROTOBUF__DURATION__INIT;
    char id[256], type[] = "RunnerLost", source[] = "stigmer-server", message[200];

    engine_temporal_workflow_id(l->id, id, sizeof id);
    (void)str_format(message, sizeof message, "its runner is lost (%.100s); another one goes on",
                     activity->last_worker_identity);
    str_cut_bad(message);
    delay.nanos = SOON_NS;
    info.type = type;
    info.next_retry_delay = &delay;
    f.message = message;
    f.source = source;
    f.failure_info_case = TFAIL__FAILURE__FAILURE_INFO_APPLICATION_FAILURE_INFO;
    f.application_failure_info = &info;
    r.workflow_id = id;
    r.activity_id = activity->activity_id;
    r.failure = &f;
    log_info("the attempt of a lost runner is failed", "run", l->id, "worker",
             activity->last_worker_identity);
    temporal_call(l->engine->temporal, TEMPORAL_FAIL_ACTIVITY_BY_ID, &r.base, TRY_MS, on_failed,
                  NULL);
}

/* Nobody has claimed it since: the attempt that runs is the lost one. */
static bool still_lost(const struct lost *l)
{
    struct journal_head head;

    return !journal_head(l->engine->journal, l->id, &head, NULL) && head.epoch == l->epoch &&
           head.state != JOURNAL_ENDED;
}

static void on_described(const ProtobufCMessage *answer, const struct err *err, void *arg)
{
    struct lost *l = arg;
    const Tsvc__DescribeWorkflowExecutionResponse *m =
        (const Tsvc__DescribeWorkflowExecutionResponse *)answer;

    for (size_t i = 0; !err && still_lost(l) && i < m->n_pending_activities; i++)
        if (m->pending_activities[i]->state ==
            TENUM__PENDING_ACTIVITY_STATE__PENDING_ACTIVITY_STATE_STARTED)
            fail_attempt(l, m->pending_activities[i]);
    lost_free(l);
}

void engine_temporal_lost(struct engine_temporal *e, const char *execution_id)
{
    Tsvc__DescribeWorkflowExecutionRequest r = TSVC__DESCRIBE_WORKFLOW_EXECUTION_REQUEST__INIT;
    Tcom__WorkflowExecution x = TCOM__WORKFLOW_EXECUTION__INIT;
    struct journal_head head;
    struct lost *l;
    char id[256];

    if (journal_head(e->journal, execution_id, &head, NULL))
        return;
    l = mem_new(sizeof *l);

    engine_temporal_workflow_id(execution_id, id, sizeof id);
    x.workflow_id = id;
    r.execution = &x;
    l->engine = e;
    l->epoch = head.epoch;
    l->id = mem_str(execution_id);
    l->link = &e->lost;
    l->next = e->lost;
    if (l->next)
        l->next->link = &l->next;
    e->lost = l;
    l->call =
        temporal_call(e->temporal, TEMPORAL_DESCRIBE_WORKFLOW, &r.base, TRY_MS, on_described, l);
}

void engine_temporal_lost_free(struct engine_temporal *e)
{
    while (e->lost) {
        temporal_call_cancel(e->lost->call);
        lost_free(e->lost);
    }
}
