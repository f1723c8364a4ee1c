#include "svc/activities.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/own.h"
#include "base/str.h"
#include "clients/temporal-payload.h"
#include "clients/temporal-poll.h"

#define POLLS 2
#define WAITING_MAX 1024 /* runs that wait for a person, besides the slots: they hold memory */
#define ACTIVITY "stigmer/agent-execution/run"
#define BEATS 3 /* in one time-out */
#define BEAT_MIN_MS 100
#define BEAT_MAX_MS 60000
#define ANSWER_MS 120000 /* longer than a restart of Temporal; then its own time-outs do it */
#define SOON_MS 10
#define ELSEWHERE_MS 250 /* it may have to be offered to each runner once */
#define HELD_MS 2000     /* another runner has it: ask again then */
#define NEVER_MS 0       /* no other attempt would do better */
#define LATER_MAX_S 30
#define PART_MS 1000 /* until it is known whether what is handed back is paused */

struct activities {
    struct loop *loop;         /* borrowed */
    struct temporal *temporal; /* borrowed */
    struct worker *worker;     /* borrowed; NULL before the first open */
    struct temporal_poll *poll;
    struct temporal_poll *own; /* of the domain; NULL: there is none */
    unsigned slots, waiting;   /* waiting: tasks that take no slot */
    struct map tasks;          /* execution id → struct task */
    unsigned answers;          /* on their way */
    bool open, draining, ends;
    loop_fn *on_idle;
    void *arg;
};

/* An execution that Temporal has given to this runner. */
struct task {
    struct activities *all; /* borrowed */
    char *id;               /* owned */
    char *workflow;         /* owned; its id */
    uint8_t *token;         /* owned; NULL: Temporal does not know us for it any more */
    size_t token_len;
    int64_t beat_ms;
    int attempt; /* from 1 */
    struct loop_timer *beat;
    struct temporal_call *call; /* a heartbeat on its way */
    bool cancelled, paused;
    bool hand_back; /* the server takes that */
    bool waits;     /* for a person */
};

/* ---- slots ----------------------------------------------------------------------------------- */

static void check_idle(struct activities *a)
{
    if (a->draining && activities_is_idle(a) && a->on_idle)
        a->on_idle(a->arg);
}

static void want(struct activities *a)
{
    unsigned busy = (unsigned)a->tasks.len - a->waiting;
    unsigned left = a->slots > busy ? a->slots - busy : 0;
    unsigned polls = left < POLLS ? left : POLLS;

    if (!a->open || a->draining || a->waiting >= WAITING_MAX)
        polls = 0;

    temporal_poll_want(a->poll, polls);
    if (a->own) /* with one slot left both may bring a task: then one waits for the other's end */
        temporal_poll_want(a->own, polls ? 1 : 0);
}

static void task_free(struct task *t)
{
    (void)map_remove(&t->all->tasks, t->id);
    t->all->waiting -= t->waits;
    if (t->call)
        temporal_call_cancel(t->call);
    loop_timer_free(t->beat);
    free(t->id);
    free(t->workflow);
    free(t->token);
    free(t);
}

static void task_over(struct task *t)
{
    struct activities *a = t->all;

    task_free(t);
    want(a);
    check_idle(a);
}

void activities_waits(struct activities *a, const char *execution_id, bool waits)
{
    struct task *t = map_get(&a->tasks, execution_id);

    if (!t || t->waits == waits)
        return;
    t->waits = waits;
    a->waiting += waits ? 1u : -1u;
    want(a);
}

/* ---- answers --------------------------------------------------------------------------------- */

static void on_answered(const ProtobufCMessage *answer, const struct err *err, void *arg)
{
    struct activities *a = arg;

    (void)answer;
    if (err && err->code != ERR_NOT_FOUND)
        log_warn("temporal could not be told how a run went; it will ask again", "why", err->msg);
    a->answers--;
    check_idle(a);
}

static void answer(struct activities *a, enum temporal_method method, ProtobufCMessage *m)
{
    a->answers++;
    temporal_call(a->temporal, method, m, ANSWER_MS, on_answered, a);
}

/* take_result: is freed. */
static void complete(struct activities *a, ProtobufCBinaryData token, json_t *take_result)
{
    Tsvc__RespondActivityTaskCompletedRequest r =
        TSVC__RESPOND_ACTIVITY_TASK_COMPLETED_REQUEST__INIT;
    struct temporal_payload value;

    temporal_payload_init(&value, take_result);
    json_decref(take_result);
    r.task_token = token;
    r.result = &value.payloads;
    answer(a, TEMPORAL_COMPLETE_ACTIVITY, &r.base);
    temporal_payload_done(&value);
}

static void tell_ended(struct activities *a, ProtobufCBinaryData token, const char *id,
                       const char *phase)
{
    complete(a, token, json_pack("{s:s,s:s}", "executionId", id, "phase", phase));
}

static void be_cancelled(struct activities *a, ProtobufCBinaryData token)
{
    Tsvc__RespondActivityTaskCanceledRequest r = TSVC__RESPOND_ACTIVITY_TASK_CANCELED_REQUEST__INIT;

    r.task_token = token;
    answer(a, TEMPORAL_CANCEL_ACTIVITY, &r.base);
}

/* again_ms: when to try again, or NEVER_MS. */
static void fail(struct activities *a, ProtobufCBinaryData token, const char *type,
                 const char *message, int64_t again_ms)
{
    Tsvc__RespondActivityTaskFailedRequest r = TSVC__RESPOND_ACTIVITY_TASK_FAILED_REQUEST__INIT;
    Tfail__Failure f = TFAIL__FAILURE__INIT;
    Tfail__ApplicationFailureInfo info = TFAIL__APPLICATION_FAILURE_INFO__INIT;
    Google__Protobuf__Duration delay = GOOGLE__PROTOBUF__DURATION__INIT;
    char source[] = "agent-runner";

    delay.seconds = again_ms / 1000;
    delay.nanos = (int32_t)(again_ms % 1000 * 1000000);
    info.type = (char *)(uintptr_t)type; /* texts are only packed */
    info.non_retryable = again_ms == NEVER_MS;
    info.next_retry_delay = again_ms == NEVER_MS ? NULL : &delay;
    f.message = (char *)(uintptr_t)message;
    f.source = source;
    f.failure_info_case = TFAIL__FAILURE__FAILURE_INFO_APPLICATION_FAILURE_INFO;
    f.application_failure_info = &info;
    r.task_token = token;
    r.failure = &f;
    answer(a, TEMPORAL_FAIL_ACTIVITY, &r.base);
}

/* The next activity of it must not come here. What polls were about to bring has come meanwhile. */
static void hand_back(struct activities *a, ProtobufCBinaryData token, const char *id)
{
    temporal_poll_end(a->poll);
    if (a->own)
        temporal_poll_end(a->own);
    log_debug("handed back", "run", id);
    complete(a, token, json_pack("{s:s,s:b}", "executionId", id, "handedBack", 1));
}

static void fail_parked(struct activities *a, ProtobufCBinaryData token)
{
    fail(a, token, "Parked", "the runner gives it back; another one goes on", SOON_MS);
}

static void on_parting(const ProtobufCMessage *m, const struct err *err, void *arg)
{
    struct task *t = arg;
    const ProtobufCBinaryData token = {t->token_len, t->token};

    t->call = NULL;
    if (err || ((const Tsvc__RecordActivityTaskHeartbeatResponse *)m)->activity_paused)
        fail_parked(t->all, token);
    else
        hand_back(t->all, token, t->id);
    task_over(t);
}

static void send_beat(struct task *t, int64_t try_ms, temporal_done_fn *done)
{
    Tsvc__RecordActivityTaskHeartbeatRequest r = TSVC__RECORD_ACTIVITY_TASK_HEARTBEAT_REQUEST__INIT;

    r.task_token = (ProtobufCBinaryData){t->token_len, t->token};
    t->call = temporal_call(t->all->temporal, TEMPORAL_HEARTBEAT, &r.base, try_ms, done, t);
}

/* The last heartbeat says whether it was paused since the one before. */
static void part(struct task *t)
{
    if (t->call)
        temporal_call_cancel(TAKE(t->call));
    send_beat(t, PART_MS, on_parting);
}

/* From half to one and a half of it: Temporal gives tasks to polls in turn, so two runners that
 * each give the other's work back after the same time may swap it for ever. */
static int64_t about(int64_t ms)
{
    return ms / 2 + (int64_t)arc4random_uniform((uint32_t)ms);
}

/* Later and later: what is asked for may never come. Slowly so: of two servers that share a queue
 * by mistake each gets the other's work half of the time. */
static int64_t later_ms(const struct task *t)
{
    return about(t->attempt < LATER_MAX_S ? (int64_t)t->attempt * 1000
                                          : (int64_t)LATER_MAX_S * 1000);
}

static void tell_refused(struct activities *a, ProtobufCBinaryData token, const struct task *t,
                         const struct err *why)
{
    if (why->code == ERR_STATE) /* it had ended: what is left to do is to say so */
        tell_ended(a, token, t->id, "");
    else if (why->code == ERR_DENIED) /* another machine has the session's folder */
        fail(a, token, "Elsewhere", why->msg, about(ELSEWHERE_MS));
    else if (why->code == ERR_CORRUPT)
        fail(a, token, "Corrupt", why->msg, NEVER_MS);
    else if (why->code == ERR_NOT_FOUND) /* of another server that shares the queue by mistake? */
        fail(a, token, "NotHere", why->msg, later_ms(t));
    else
        fail(a, token, "Refused", why->msg, HELD_MS);
}

void activities_over(struct activities *a, const char *execution_id, enum worker_over how,
                     const char *phase, const struct err *why)
{
    struct task *t = map_get(&a->tasks, execution_id);
    ProtobufCBinaryData token;

    if (!t)
        return;
    token = (ProtobufCBinaryData){t->token_len, t->token};
    if (!t->token)
        log_info("run is over that temporal had given up on", "run", t->id);
    else if (how == WORKER_ENDED && t->cancelled && str_eq(phase, "EXECUTION_CANCELLED"))
        be_cancelled(a, token);
    else if (how == WORKER_ENDED)
        tell_ended(a, token, t->id, phase);
    else if (how == WORKER_PARKED && a->ends && t->hand_back && !t->paused) {
        part(t);
        return;
    } else if (how == WORKER_PARKED)
        fail_parked(a, token);
    else if (how == WORKER_LOST)
        fail(a, token, "Lost", "another runner has claimed it", HELD_MS);
    else
        tell_refused(a, token, t, why);
    task_over(t);
}

/* ---- heartbeats ------------------------------------------------------------------------------ */

static void on_beat_answer(const ProtobufCMessage *m, const struct err *err, void *arg)
{
    struct task *t = arg;
    const Tsvc__RecordActivityTaskHeartbeatResponse *r;

    t->call = NULL;
    if (err && err->code == ERR_NOT_FOUND) {
        log_warn("temporal has given up on this run here; it goes on while its lease holds", "run",
                 t->id, "why", err->msg);
        free(TAKE(t->token));
        return;
    }
    if (t->token)
        loop_timer_in(t->beat, t->beat_ms);
    if (err) {
        log_debug("heartbeat failed", "run", t->id, "why", err->msg);
        return;
    }
    r = (const Tsvc__RecordActivityTaskHeartbeatResponse *)m;
    if (r->cancel_requested && !t->cancelled) {
        t->cancelled = true;
        worker_cancel(t->all->worker, t->id, "temporal", "cancelled in Temporal");
    } else if (r->activity_paused && !t->paused) {
        t->paused = true;
        worker_park(t->all->worker, t->id);
    }
}

static void on_beat(void *arg)
{
    struct task *t = arg;

    if (t->token && !t->call)
        send_beat(t, t->beat_ms, on_beat_answer);
}

/* ---- tasks ----------------------------------------------------------------------------------- */

static int64_t beat_of(const Tsvc__PollActivityTaskQueueResponse *m)
{
    int64_t ms = m->heartbeat_timeout
                     ? m->heartbeat_timeout->seconds * 1000 + m->heartbeat_timeout->nanos / 1000000
                     : 0;

    ms = ms ? ms / BEATS : BEAT_MAX_MS;
    return ms < BEAT_MIN_MS ? BEAT_MIN_MS : ms > BEAT_MAX_MS ? BEAT_MAX_MS : ms;
}

static enum err_code read_input(const Tsvc__PollActivityTaskQueueResponse *m, char **ret,
                                bool *ret_hand_back, struct err *err)
{
    json_t *in;
    const char *id;
    enum err_code code;

    if (!m->activity_type || !str_eq(m->activity_type->name, ACTIVITY))
        return err_set(err, ERR_NOT_FOUND, "this runner knows no activity '%.100s'",
                       m->activity_type ? m->activity_type->name : "");
    if ((code = temporal_payload_read(m->input, &in, err)))
        return code;
    id = json_is_string(in) ? json_string_value(in)
                            : json_string_value(json_object_get(in, "executionId"));
    if (!id)
        id = json_string_value(json_object_get(json_object_get(in, "metadata"), "id"));
    if (str_is_empty(id) || strlen(id) > 120)
        code = err_set(err, ERR_INVALID, "the activity's input names no execution");
    else
        *ret = mem_str(id);
    *ret_hand_back = json_is_true(json_object_get(in, "handBack"));
    json_decref(in);
    return code;
}

/* A heartbeat of an older attempt is answered to nobody: it would say that we had lost the task. */
static void set_token(struct task *t, const Tsvc__PollActivityTaskQueueResponse *m, bool hand_back)
{
    if (t->call)
        temporal_call_cancel(TAKE(t->call));
    t->paused = false;
    t->hand_back = hand_back;
    free(t->token);
    t->token = mem_copy(m->task_token.data, m->task_token.len);
    t->token_len = m->task_token.len;
    t->attempt = m->attempt > 0 ? m->attempt : 1;
    t->beat_ms = beat_of(m);
    loop_timer_in(t->beat, t->beat_ms);
}

static void begin(struct activities *a, char *take_id, bool hand_back,
                  const Tsvc__PollActivityTaskQueueResponse *m)
{
    struct task *t = map_get(&a->tasks, take_id);
    const char *workflow = m->workflow_execution ? m->workflow_execution->workflow_id : "";

    if (t) { /* Temporal had given up on it, and gave it to us again */
        free(take_id);
        if (str_eq(t->workflow, workflow))
            set_token(t, m, hand_back);
        else
            fail(a, m->task_token, "Held", "it runs here already, for another workflow", HELD_MS);
        return;
    }
    t = mem_new(sizeof *t);
    t->all = a;
    t->id = take_id;
    t->workflow = mem_str(workflow);
    t->beat = loop_timer_new(a->loop, on_beat, t);
    (void)map_put(&a->tasks, t->id, t);
    set_token(t, m, hand_back);
    log_info("task taken", "run", t->id, "attempt", log_int(m->attempt));
    if (!worker_take(a->worker, t->id) && !worker_has(a->worker, t->id)) {
        activities_drain(a, false); /* the worker does, since just now */
        activities_over(a, t->id, WORKER_PARKED, "", NULL);
    }
}

static void on_task(const ProtobufCMessage *task, void *arg)
{
    struct activities *a = arg;
    const Tsvc__PollActivityTaskQueueResponse *m =
        (const Tsvc__PollActivityTaskQueueResponse *)task;
    char *id = NULL;
    bool may = false;
    struct err err;

    if (read_input(m, &id, &may, &err)) {
        log_warn("task refused", "why", err.msg);
        fail(a, m->task_token, "BadInput", err.msg, NEVER_MS);
    } else if (a->draining || !a->open) { /* a poll of before */
        if (a->ends && may)
            hand_back(a, m->task_token, id);
        else
            fail(a, m->task_token, "Parked",
                 a->draining ? "the runner is stopping" : "the runner has lost its server",
                 SOON_MS);
        free(id);
    } else {
        begin(a, id, may, m);
        want(a);
    }
}

/* ---- life ------------------------------------------------------------------------------------ */

struct activities *activities_new(struct loop *loop, const struct activities_options *o)
{
    struct activities *a = mem_new(sizeof *a);
    char own[240];

    a->loop = loop;
    a->temporal = o->temporal;
    a->slots = o->slots;
    a->on_idle = o->on_idle;
    a->arg = o->arg;
    a->poll =
        temporal_poll_new(loop, a->temporal, TEMPORAL_POLL_ACTIVITY_TASK, o->queue, on_task, a);
    if (!str_is_empty(o->domain)) {
        (void)str_format(own, sizeof own, "%.150s@%.80s", o->queue, o->domain);
        a->own = temporal_poll_new(loop, a->temporal, TEMPORAL_POLL_ACTIVITY_TASK, own, on_task, a);
    }
    return a;
}

void activities_free(struct activities *a)
{
    const char *id;
    void *value;

    if (!a)
        return;
    temporal_poll_free(a->poll);
    temporal_poll_free(a->own);
    for (size_t i = 0; map_next(&a->tasks, &i, &id, &value);)
        task_free(value);
    map_done(&a->tasks);
    free(a);
}

void activities_open(struct activities *a, struct worker *worker, bool open)
{
    a->worker = worker;
    a->open = open;
    want(a);
}

void activities_drain(struct activities *a, bool ends)
{
    Tsvc__ShutdownWorkerRequest r = TSVC__SHUTDOWN_WORKER_REQUEST__INIT;
    char reason[] = "drained";

    if (a->draining)
        return;
    a->draining = true;
    a->ends = ends;
    want(a);
    r.reason = reason;
    temporal_call(a->temporal, TEMPORAL_SHUTDOWN_WORKER, &r.base, TEMPORAL_ONCE, NULL, NULL);
}

void activities_go_on(struct activities *a)
{
    a->draining = a->ends = a->open = false;
}

bool activities_is_idle(const struct activities *a)
{
    return a->tasks.len == 0 && a->answers == 0;
}
