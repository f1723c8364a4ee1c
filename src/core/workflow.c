#include "core/workflow.h"

#include <inttypes.h>
#include <jansson.h>

#define HANDED_BACK_MAX 1024 /* bytes; a runner's own words are shorter */

enum activity { ACTIVITY_NONE, ACTIVITY_OPEN, ACTIVITY_DONE, ACTIVITY_FAILED, ACTIVITY_CANCELED };

struct replay {
    struct workflow_decision d;
    enum activity activity;
    bool started, cancel_sent, closed;
};

static enum err_code foreign(const Thist__HistoryEvent *e, struct err *err)
{
    return err_set(err, ERR_STATE,
                   "event %" PRId64 " (kind %d) is of a command that this workflow never gives: "
                   "the history is of another program",
                   e->event_id, (int)e->event_type);
}

static enum err_code on_scheduled(struct replay *r, const Thist__HistoryEvent *e, struct err *err)
{
    if (r->activity != ACTIVITY_NONE)
        return err_set(err, ERR_STATE, "event %" PRId64 " schedules a second activity",
                       e->event_id);
    r->activity = ACTIVITY_OPEN;
    r->d.scheduled_id = e->event_id;
    return ERR_OK;
}

static enum err_code close_activity(struct replay *r, const Thist__HistoryEvent *e,
                                    enum activity how, struct err *err)
{
    if (r->activity != ACTIVITY_OPEN)
        return err_set(err, ERR_STATE, "event %" PRId64 " ends an activity that is not open",
                       e->event_id);
    r->activity = how;
    return ERR_OK;
}

static bool is_handed_back(const Tcom__Payloads *result)
{
    const Tcom__Payload *p = result && result->n_payloads == 1 ? result->payloads[0] : NULL;
    json_t *value;
    bool is;

    if (!p || p->data.len > HANDED_BACK_MAX)
        return false;
    value = json_loadb((const char *)p->data.data, p->data.len, JSON_DECODE_ANY, NULL);
    is = json_is_true(json_object_get(value, "handedBack"));
    json_decref(value);
    return is;
}

static enum err_code on_completed(struct replay *r, const Thist__HistoryEvent *e, struct err *err)
{
    const Tcom__Payloads *result = NULL;
    enum err_code code = close_activity(r, e, ACTIVITY_DONE, err);

    if (code)
        return code;
    if (e->attributes_case ==
        THIST__HISTORY_EVENT__ATTRIBUTES_ACTIVITY_TASK_COMPLETED_EVENT_ATTRIBUTES)
        result = e->activity_task_completed_event_attributes->result;
    if (r->d.hand_backs < WORKFLOW_HAND_BACKS_MAX && is_handed_back(result)) {
        r->d.hand_backs++;
        r->d.scheduled_id = 0;
        r->activity = ACTIVITY_NONE;
        r->cancel_sent = false;
    } else {
        r->d.result = result;
    }
    return ERR_OK;
}

static enum err_code on_activity_event(struct replay *r, const Thist__HistoryEvent *e,
                                       struct err *err)
{
    switch ((int)e->event_type) {
    case TENUM__EVENT_TYPE__EVENT_TYPE_ACTIVITY_TASK_SCHEDULED:
        return on_scheduled(r, e, err);
    case TENUM__EVENT_TYPE__EVENT_TYPE_ACTIVITY_TASK_COMPLETED:
        return on_completed(r, e, err);
    case TENUM__EVENT_TYPE__EVENT_TYPE_ACTIVITY_TASK_FAILED:
        if (e->attributes_case ==
            THIST__HISTORY_EVENT__ATTRIBUTES_ACTIVITY_TASK_FAILED_EVENT_ATTRIBUTES)
            r->d.failure = e->activity_task_failed_event_attributes->failure;
        return close_activity(r, e, ACTIVITY_FAILED, err);
    case TENUM__EVENT_TYPE__EVENT_TYPE_ACTIVITY_TASK_TIMED_OUT:
        if (e->attributes_case ==
            THIST__HISTORY_EVENT__ATTRIBUTES_ACTIVITY_TASK_TIMED_OUT_EVENT_ATTRIBUTES)
            r->d.failure = e->activity_task_timed_out_event_attributes->failure;
        return close_activity(r, e, ACTIVITY_FAILED, err);
    case TENUM__EVENT_TYPE__EVENT_TYPE_ACTIVITY_TASK_CANCELED:
        return close_activity(r, e, ACTIVITY_CANCELED, err);
    case TENUM__EVENT_TYPE__EVENT_TYPE_ACTIVITY_TASK_CANCEL_REQUESTED:
        r->cancel_sent = true;
        return ERR_OK;
    default: /* started: who runs it is the journal's business */
        return ERR_OK;
    }
}

static void on_cancel_requested(struct replay *r, const Thist__HistoryEvent *e)
{
    r->d.cancel_requested = true;
    if (e->attributes_case !=
        THIST__HISTORY_EVENT__ATTRIBUTES_WORKFLOW_EXECUTION_CANCEL_REQUESTED_EVENT_ATTRIBUTES)
        return;
    r->d.cancel_reason = e->workflow_execution_cancel_requested_event_attributes->cause;
    r->d.cancel_by = e->workflow_execution_cancel_requested_event_attributes->identity;
}

static enum err_code on_event(struct replay *r, const Thist__HistoryEvent *e, struct err *err)
{
    switch ((int)e->event_type) {
    case TENUM__EVENT_TYPE__EVENT_TYPE_WORKFLOW_EXECUTION_STARTED:
        r->started = true;
        if (e->attributes_case ==
            THIST__HISTORY_EVENT__ATTRIBUTES_WORKFLOW_EXECUTION_STARTED_EVENT_ATTRIBUTES)
            r->d.input = e->workflow_execution_started_event_attributes->input;
        return ERR_OK;
    case TENUM__EVENT_TYPE__EVENT_TYPE_ACTIVITY_TASK_SCHEDULED:
    case TENUM__EVENT_TYPE__EVENT_TYPE_ACTIVITY_TASK_STARTED:
    case TENUM__EVENT_TYPE__EVENT_TYPE_ACTIVITY_TASK_COMPLETED:
    case TENUM__EVENT_TYPE__EVENT_TYPE_ACTIVITY_TASK_FAILED:
    case TENUM__EVENT_TYPE__EVENT_TYPE_ACTIVITY_TASK_TIMED_OUT:
    case TENUM__EVENT_TYPE__EVENT_TYPE_ACTIVITY_TASK_CANCEL_REQUESTED:
    case TENUM__EVENT_TYPE__EVENT_TYPE_ACTIVITY_TASK_CANCELED:
        return on_activity_event(r, e, err);
    case TENUM__EVENT_TYPE__EVENT_TYPE_WORKFLOW_EXECUTION_CANCEL_REQUESTED:
        on_cancel_requested(r, e);
        return ERR_OK;
    case TENUM__EVENT_TYPE__EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED:
    case TENUM__EVENT_TYPE__EVENT_TYPE_WORKFLOW_EXECUTION_FAILED:
    case TENUM__EVENT_TYPE__EVENT_TYPE_WORKFLOW_EXECUTION_TIMED_OUT:
    case TENUM__EVENT_TYPE__EVENT_TYPE_WORKFLOW_EXECUTION_CANCELED:
    case TENUM__EVENT_TYPE__EVENT_TYPE_WORKFLOW_EXECUTION_TERMINATED:
        r->closed = true;
        return ERR_OK;
    case TENUM__EVENT_TYPE__EVENT_TYPE_WORKFLOW_TASK_COMPLETED:
    case TENUM__EVENT_TYPE__EVENT_TYPE_WORKFLOW_TASK_SCHEDULED:
    case TENUM__EVENT_TYPE__EVENT_TYPE_WORKFLOW_TASK_STARTED:
    case TENUM__EVENT_TYPE__EVENT_TYPE_WORKFLOW_TASK_TIMED_OUT:
    case TENUM__EVENT_TYPE__EVENT_TYPE_WORKFLOW_TASK_FAILED:
    case TENUM__EVENT_TYPE__EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED:
        return ERR_OK;
    case TENUM__EVENT_TYPE__EVENT_TYPE_TIMER_STARTED:
    case TENUM__EVENT_TYPE__EVENT_TYPE_MARKER_RECORDED:
    case TENUM__EVENT_TYPE__EVENT_TYPE_WORKFLOW_EXECUTION_CONTINUED_AS_NEW:
    case TENUM__EVENT_TYPE__EVENT_TYPE_START_CHILD_WORKFLOW_EXECUTION_INITIATED:
    case TENUM__EVENT_TYPE__EVENT_TYPE_REQUEST_CANCEL_EXTERNAL_WORKFLOW_EXECUTION_INITIATED:
    case TENUM__EVENT_TYPE__EVENT_TYPE_SIGNAL_EXTERNAL_WORKFLOW_EXECUTION_INITIATED:
    case TENUM__EVENT_TYPE__EVENT_TYPE_UPSERT_WORKFLOW_SEARCH_ATTRIBUTES:
    case TENUM__EVENT_TYPE__EVENT_TYPE_WORKFLOW_PROPERTIES_MODIFIED:
    case TENUM__EVENT_TYPE__EVENT_TYPE_NEXUS_OPERATION_SCHEDULED:
        return foreign(e, err);
    default:
        r->d.unknown++;
        return ERR_OK;
    }
}

static enum workflow_step step_of(const struct replay *r)
{
    if (r->closed)
        return WORKFLOW_OVER;
    switch (r->activity) {
    case ACTIVITY_DONE:
        return WORKFLOW_COMPLETE;
    case ACTIVITY_FAILED:
        return WORKFLOW_FAIL;
    case ACTIVITY_CANCELED:
        return WORKFLOW_CANCEL;
    case ACTIVITY_OPEN:
        return r->d.cancel_requested && !r->cancel_sent ? WORKFLOW_CANCEL_ACTIVITY : WORKFLOW_WAIT;
    case ACTIVITY_NONE:
    default:
        return r->d.cancel_requested ? WORKFLOW_CANCEL : WORKFLOW_SCHEDULE;
    }
}

enum err_code workflow_decide(Thist__HistoryEvent *const *events, size_t count,
                              struct workflow_decision *ret, struct err *err)
{
    struct replay r = {.d = {.cancel_reason = "", .cancel_by = ""}};

    for (size_t i = 0; i < count; i++) {
        enum err_code code = on_event(&r, events[i], err);

        if (code)
            return code;
        if (!r.started)
            return err_set(err, ERR_CORRUPT, "the history does not begin with the start");
        if ((int)events[i]->event_type == TENUM__EVENT_TYPE__EVENT_TYPE_WORKFLOW_TASK_COMPLETED)
            r.d.heard = i + 1;
    }
    if (!r.started)
        return err_set(err, ERR_CORRUPT, "the history is empty");
    r.d.step = step_of(&r);
    *ret = r.d;
    return ERR_OK;
}
