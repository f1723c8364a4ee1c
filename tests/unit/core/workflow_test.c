/* The workflow of one execution, replayed from literal histories. */
#include "core/workflow.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define EVENTS 32
#define KIND(name) TENUM__EVENT_TYPE__EVENT_TYPE_##name

struct history {
    Thist__HistoryEvent event[EVENTS];
    Thist__HistoryEvent *list[EVENTS];
    size_t count;
};

static Thist__HistoryEvent *add(struct history *h, int kind)
{
    Thist__HistoryEvent *e = &h->event[h->count];

    thist__history_event__init(e);
    e->event_id = (int64_t)h->count + 1;
    e->event_type = (Tenum__EventType)kind;
    h->list[h->count++] = e;
    return e;
}

/* Started, first task done. */
static void begin(struct history *h)
{
    h->count = 0;
    add(h, KIND(WORKFLOW_EXECUTION_STARTED));
    add(h, KIND(WORKFLOW_TASK_SCHEDULED));
    add(h, KIND(WORKFLOW_TASK_STARTED));
}

static int64_t schedule(struct history *h)
{
    add(h, KIND(WORKFLOW_TASK_COMPLETED));
    return add(h, KIND(ACTIVITY_TASK_SCHEDULED))->event_id;
}

static struct workflow_decision decide(const struct history *h)
{
    struct workflow_decision first, again;
    struct err err;

    assert_int_equal(workflow_decide(h->list, h->count, &first, &err), ERR_OK);
    assert_int_equal(workflow_decide(h->list, h->count, &again, &err), ERR_OK);
    assert_int_equal(first.step, again.step);
    return first;
}

static void a_new_workflow_schedules_its_activity(void **state)
{
    struct history h;

    (void)state;
    begin(&h);
    assert_int_equal(decide(&h).step, WORKFLOW_SCHEDULE);
}

static void an_open_activity_is_waited_for_however_often_it_is_tried(void **state)
{
    struct history h;

    (void)state;
    begin(&h);
    int64_t id = schedule(&h);
    assert_int_equal(decide(&h).step, WORKFLOW_WAIT);
    add(&h, KIND(ACTIVITY_TASK_STARTED));
    add(&h, KIND(WORKFLOW_TASK_TIMED_OUT));
    add(&h, KIND(WORKFLOW_TASK_FAILED));
    assert_int_equal(decide(&h).step, WORKFLOW_WAIT);
    assert_int_equal(decide(&h).scheduled_id, id);
}

static void the_activity_s_result_is_the_workflow_s(void **state)
{
    struct history h;
    Thist__ActivityTaskCompletedEventAttributes done =
        THIST__ACTIVITY_TASK_COMPLETED_EVENT_ATTRIBUTES__INIT;
    Tcom__Payloads result = TCOM__PAYLOADS__INIT;

    (void)state;
    begin(&h);
    schedule(&h);
    add(&h, KIND(ACTIVITY_TASK_STARTED));
    Thist__HistoryEvent *e = add(&h, KIND(ACTIVITY_TASK_COMPLETED));
    e->attributes_case = THIST__HISTORY_EVENT__ATTRIBUTES_ACTIVITY_TASK_COMPLETED_EVENT_ATTRIBUTES;
    e->activity_task_completed_event_attributes = &done;
    done.result = &result;
    assert_int_equal(decide(&h).step, WORKFLOW_COMPLETE);
    assert_ptr_equal(decide(&h).result, &result);
}

static void a_failed_or_timed_out_activity_fails_the_workflow(void **state)
{
    static const int kinds[] = {KIND(ACTIVITY_TASK_FAILED), KIND(ACTIVITY_TASK_TIMED_OUT)};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct history h;

        begin(&h);
        schedule(&h);
        add(&h, kinds[i]);
        assert_int_equal(decide(&h).step, WORKFLOW_FAIL);
    }
}

static void a_cancel_goes_to_the_activity_once_and_then_ends_the_workflow(void **state)
{
    struct history h;
    Thist__WorkflowExecutionCancelRequestedEventAttributes ask =
        THIST__WORKFLOW_EXECUTION_CANCEL_REQUESTED_EVENT_ATTRIBUTES__INIT;

    (void)state;
    begin(&h);
    int64_t id = schedule(&h);
    Thist__HistoryEvent *e = add(&h, KIND(WORKFLOW_EXECUTION_CANCEL_REQUESTED));
    e->attributes_case =
        THIST__HISTORY_EVENT__ATTRIBUTES_WORKFLOW_EXECUTION_CANCEL_REQUESTED_EVENT_ATTRIBUTES;
    e->workflow_execution_cancel_requested_event_attributes = &ask;
    ask.cause = (char *)(uintptr_t) "too long";
    assert_int_equal(decide(&h).step, WORKFLOW_CANCEL_ACTIVITY);
    assert_int_equal(decide(&h).scheduled_id, id);
    assert_string_equal(decide(&h).cancel_reason, "too long");
    add(&h, KIND(ACTIVITY_TASK_CANCEL_REQUESTED));
    assert_int_equal(decide(&h).step, WORKFLOW_WAIT);
    add(&h, KIND(ACTIVITY_TASK_CANCELED));
    assert_int_equal(decide(&h).step, WORKFLOW_CANCEL);
    add(&h, KIND(WORKFLOW_EXECUTION_CANCELED));
    assert_int_equal(decide(&h).step, WORKFLOW_OVER);
}

static void a_cancel_before_the_activity_ends_the_workflow_at_once(void **state)
{
    struct history h;

    (void)state;
    begin(&h);
    add(&h, KIND(WORKFLOW_EXECUTION_CANCEL_REQUESTED));
    assert_int_equal(decide(&h).step, WORKFLOW_CANCEL);
}

static void an_activity_that_completes_in_spite_of_a_cancel_completes_the_workflow(void **state)
{
    struct history h;

    (void)state;
    begin(&h);
    schedule(&h);
    add(&h, KIND(WORKFLOW_EXECUTION_CANCEL_REQUESTED));
    add(&h, KIND(ACTIVITY_TASK_CANCEL_REQUESTED));
    add(&h, KIND(ACTIVITY_TASK_COMPLETED));
    assert_int_equal(decide(&h).step, WORKFLOW_COMPLETE);
}

static void kinds_of_events_that_are_not_known_change_nothing(void **state)
{
    struct history h;

    (void)state;
    begin(&h);
    schedule(&h);
    add(&h, 60)->worker_may_ignore = true;
    add(&h, 4711);
    add(&h, KIND(WORKFLOW_EXECUTION_SIGNALED));
    assert_int_equal(decide(&h).step, WORKFLOW_WAIT);
    assert_int_equal(decide(&h).unknown, 2);
}

static void the_history_of_another_program_is_refused(void **state)
{
    static const int kinds[] = {KIND(TIMER_STARTED), KIND(MARKER_RECORDED),
                                KIND(START_CHILD_WORKFLOW_EXECUTION_INITIATED)};
    struct workflow_decision d;
    struct err err;

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        struct history h;

        begin(&h);
        add(&h, kinds[i]);
        assert_int_equal(workflow_decide(h.list, h.count, &d, &err), ERR_STATE);
        begin(&h);
        schedule(&h);
        schedule(&h);
        assert_int_equal(workflow_decide(h.list, h.count, &d, &err), ERR_STATE);
        begin(&h);
        add(&h, KIND(ACTIVITY_TASK_COMPLETED));
        assert_int_equal(workflow_decide(h.list, h.count, &d, &err), ERR_STATE);
    }
}

static void no_start_is_no_history(void **state)
{
    struct history h = {0};
    struct workflow_decision d;
    struct err err;

    (void)state;
    assert_int_equal(workflow_decide(h.list, 0, &d, &err), ERR_CORRUPT);
    add(&h, KIND(WORKFLOW_TASK_SCHEDULED));
    assert_int_equal(workflow_decide(h.list, h.count, &d, &err), ERR_CORRUPT);
}

static void signals_change_no_command_and_are_heard_by_the_task_that_is_completed(void **state)
{
    struct history h;
    size_t before;

    (void)state;
    begin(&h);
    schedule(&h);
    before = decide(&h).heard;
    assert_int_equal(h.list[before - 1]->event_type, KIND(WORKFLOW_TASK_COMPLETED));
    add(&h, KIND(WORKFLOW_EXECUTION_SIGNALED));
    add(&h, KIND(WORKFLOW_EXECUTION_SIGNALED));
    assert_int_equal(decide(&h).step, WORKFLOW_WAIT);
    add(&h, KIND(WORKFLOW_TASK_STARTED));
    add(&h, KIND(WORKFLOW_TASK_TIMED_OUT));
    assert_int_equal(decide(&h).heard, before); /* nobody has heard them yet */
    add(&h, KIND(WORKFLOW_TASK_COMPLETED));
    assert_int_equal(decide(&h).heard, h.count);
    assert_int_equal(decide(&h).step, WORKFLOW_WAIT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(signals_change_no_command_and_are_heard_by_the_task_that_is_completed),
        cmocka_unit_test(a_new_workflow_schedules_its_activity),
        cmocka_unit_test(an_open_activity_is_waited_for_however_often_it_is_tried),
        cmocka_unit_test(the_activity_s_result_is_the_workflow_s),
        cmocka_unit_test(a_failed_or_timed_out_activity_fails_the_workflow),
        cmocka_unit_test(a_cancel_goes_to_the_activity_once_and_then_ends_the_workflow),
        cmocka_unit_test(a_cancel_before_the_activity_ends_the_workflow_at_once),
        cmocka_unit_test(an_activity_that_completes_in_spite_of_a_cancel_completes_the_workflow),
        cmocka_unit_test(kinds_of_events_that_are_not_known_change_nothing),
        cmocka_unit_test(the_history_of_another_program_is_refused),
        cmocka_unit_test(no_start_is_no_history),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
