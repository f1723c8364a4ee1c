#include "svc/engine-temporal.h"

#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "svc/engine-temporal-impl.h"

#define AGAIN_MIN_MS 500
#define AGAIN_MAX_MS 10000
#define AGAIN_OWN_MS 500 /* of a server of our own: it is on its way up */
#define SETTLE_MS 2000   /* until runners that come up with us poll */
#define RETENTION_S (72 * 3600)

static void greet(struct engine_temporal *e);
static void tell_all_waiting(struct engine_temporal *e);

/* ---- trouble --------------------------------------------------------------------------------- */

static void tell_change(const struct engine_temporal *e)
{
    if (e->on_change)
        e->on_change(e->change_arg);
}

void engine_temporal_set_trouble(struct engine_temporal *e, const char *why)
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
void engine_temporal_set_fault(struct engine_temporal *e, const struct err *err)
{
    char words[sizeof e->trouble];

    (void)str_format(words, sizeof words, err->hint[0] ? "%.400s (%.180s)" : "%.590s", err->msg,
                     err->hint);
    str_cut_bad(words);
    engine_temporal_set_trouble(e, words);
}

void engine_temporal_try_again(struct engine_temporal *e)
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
    if (!e->ready || !e->due) {
        greet(e);
        return;
    }
    engine_temporal_start_due(e);
    engine_temporal_end_deleted(e);
}

void engine_temporal_tell_waiting(struct offer *o)
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
            engine_temporal_tell_waiting(o);
    }
}

/* ---- what the worker asks -------------------------------------------------------------------- */

static void worker_close(const char *id, bool cancelled, const char *why, engine_done_fn *done,
                         void *done_arg, void *arg)
{
    engine_temporal_end_journal(arg, id, cancelled, why, done, done_arg);
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

static void worker_decide(const char *id, const struct approvals_choice *c, engine_decided_fn *done,
                          void *done_arg, void *arg)
{
    struct engine *e = queue_engine(((struct engine_temporal *)arg)->queue);

    e->ops->decide(e, id, c, done, done_arg);
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
    engine_temporal_set_fault(e, err);
    engine_temporal_try_again(e);
}

static void be_ready(struct engine_temporal *e)
{
    e->ready = true;
    e->again_ms = 0;
    engine_temporal_set_trouble(e, "");
    temporal_worker_start(e->worker);
    loop_timer_in(e->look, SETTLE_MS);
    engine_temporal_offer_all_again(e);
    engine_temporal_start_due(e);
    engine_temporal_end_deleted(e);
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
    engine_temporal_try_again(
        e); /* it takes some seconds until every part of the server knows it */
}

static void make_namespace(struct engine_temporal *e)
{
    Tsvc__RegisterNamespaceRequest r = TSVC__REGISTER_NAMESPACE_REQUEST__INIT;
    Google__Protobuf__Duration keep = GOOGLE__PROTOBUF__DURATION__INIT;

    keep.seconds = RETENTION_S;
    r.workflow_execution_retention_period = &keep;
    e->greeting = temporal_call(e->temporal, TEMPORAL_REGISTER_NAMESPACE, &r.base,
                                ENGINE_TEMPORAL_TRY_MS, on_registered, e);
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
    e->greeting = temporal_call(e->temporal, TEMPORAL_DESCRIBE_NAMESPACE, &r.base,
                                ENGINE_TEMPORAL_TRY_MS, on_namespace, e);
}

static void greet(struct engine_temporal *e)
{
    Tsvc__GetSystemInfoRequest r = TSVC__GET_SYSTEM_INFO_REQUEST__INIT;

    e->greeting = temporal_call(e->temporal, TEMPORAL_GET_SYSTEM_INFO, &r.base,
                                ENGINE_TEMPORAL_TRY_MS, on_system_info, e);
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
    e->look = loop_timer_new(loop, engine_temporal_on_look, e);
    e->worker =
        temporal_worker_new(loop, t,
                            &(struct temporal_worker_options){.runner_queue = e->runner_queue,
                                                              .heartbeat_ms = o->heartbeat_ms},
                            &(struct temporal_worker_events){.close = worker_close,
                                                             .cancel = worker_cancel,
                                                             .input = worker_input,
                                                             .decide = worker_decide,
                                                             .status = worker_status,
                                                             .trouble = worker_trouble,
                                                             .arg = e});
    engine_temporal_dispatch(e);
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
    engine_temporal_lost_free(e);
    engine_temporal_deleted_free(e);
    for (size_t i = 0; map_next(&e->offers, &i, &id, &value);)
        engine_temporal_offer_free(value);
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
