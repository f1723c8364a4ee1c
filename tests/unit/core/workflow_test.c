/* The workflow of one execution, replayed from literal histories. */
#include "core/workflow.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define EVENTS 1024
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

/* An activity that completes with the JSON text as its result. */
static void complete_with(struct history *h, const char *text)
{
    static struct {
        Thist__ActivityTaskCompletedEventAttributes done;
        Tcom__Payloads payloads;
        Tcom__Payload payload, *list[1];
    } all[EVENTS];
    Thist__HistoryEvent *e = add(h, KIND(ACTIVITY_TASK_COMPLETED));
    size_t i = h->count - 1;

    thist__activity_task_completed_event_attributes__init(&all[i].done);
    tcom__payloads__init(&all[i].payloads);
    tcom__payload__init(&all[i].payload);
    all[i].payload.data.data = (uint8_t *)(uintptr_t)text;
    all[i].payload.data.len = strlen(text);
    all[i].list[0] = &all[i].payload;
    all[i].payloads.payloads = all[i].list;
    all[i].payloads.n_payloads = 1;
    all[i].done.result = &all[i].payloads;
    e->attributes_case = THIST__HISTORY_EVENT__ATTRIBUTES_ACTIVITY_TASK_COMPLETED_EVENT_ATTRIBUTES;
    e->activity_task_completed_event_attributes = &all[i].done;
}

static void hand_back(struct history *h)
{
    add(h, KIND(ACTIVITY_TASK_STARTED));
    complete_with(h, "{\"executionId\":\"aex-1\",\"handedBack\":true}");
}

static void what_is_handed_back_is_scheduled_again(void **state)
{
    struct history h;

    (void)state;
    begin(&h);
    schedule(&h);
    hand_back(&h);
    assert_int_equal(decide(&h).step, WORKFLOW_SCHEDULE);
    assert_int_equal(decide(&h).hand_backs, 1);
    assert_int_equal(decide(&h).scheduled_id, 0);
    int64_t id = schedule(&h);
    assert_int_equal(decide(&h).step, WORKFLOW_WAIT);
    assert_int_equal(decide(&h).scheduled_id, id);
    hand_back(&h);
    add(&h, KIND(WORKFLOW_EXECUTION_SIGNALED)); /* between the two */
    assert_int_equal(decide(&h).step, WORKFLOW_SCHEDULE);
    schedule(&h);
    assert_int_equal(decide(&h).hand_backs, 2);
    add(&h, KIND(ACTIVITY_TASK_STARTED));
    complete_with(&h, "{\"executionId\":\"aex-1\",\"phase\":\"EXECUTION_COMPLETED\"}");
    assert_int_equal(decide(&h).step, WORKFLOW_COMPLETE);
    assert_non_null(decide(&h).result);
}

static void other_results_are_no_hand_back(void **state)
{
    static const char *const results[] = {"{\"handedBack\":false}",
                                          "{\"handedBack\":1}",
                                          "[\"handedBack\"]",
                                          "\"handedBack\"",
                                          "null",
                                          "{\"handedBack\":true",
                                          ""};

    (void)state;
    for (size_t i = 0; i < sizeof results / sizeof *results; i++) {
        struct history h;

        begin(&h);
        schedule(&h);
        complete_with(&h, results[i]);
        assert_int_equal(decide(&h).step, WORKFLOW_COMPLETE);
        assert_int_equal(decide(&h).hand_backs, 0);
    }
}

static void a_cancel_when_it_was_handed_back_schedules_nothing_anew(void **state)
{
    (void)state;
    for (int when = 0; when < 3; when++) { /* sent to the activity, not yet sent, behind its end */
        struct history h;

        begin(&h);
        schedule(&h);
        if (when < 2)
            add(&h, KIND(WORKFLOW_EXECUTION_CANCEL_REQUESTED));
        if (when < 1)
            add(&h, KIND(ACTIVITY_TASK_CANCEL_REQUESTED));
        hand_back(&h);
        if (when == 2)
            add(&h, KIND(WORKFLOW_EXECUTION_CANCEL_REQUESTED));
        assert_int_equal(decide(&h).step, WORKFLOW_CANCEL);
        assert_int_equal(decide(&h).scheduled_id, 0);
    }
}

static void a_cancel_after_a_hand_back_goes_to_the_activity_that_is_open(void **state)
{
    struct history h;

    (void)state;
    begin(&h);
    schedule(&h);
    hand_back(&h);
    int64_t id = schedule(&h);
    add(&h, KIND(WORKFLOW_EXECUTION_CANCEL_REQUESTED)); /* while the task was answered */
    assert_int_equal(decide(&h).step, WORKFLOW_CANCEL_ACTIVITY);
    assert_int_equal(decide(&h).scheduled_id, id);
    add(&h, KIND(ACTIVITY_TASK_CANCEL_REQUESTED));
    assert_int_equal(decide(&h).step, WORKFLOW_WAIT);
}

static void a_workflow_that_was_closed_on_a_hand_back_is_over(void **state)
{
    static const int kinds[] = {KIND(WORKFLOW_EXECUTION_COMPLETED),
                                KIND(WORKFLOW_EXECUTION_CANCELED)};

    (void)state;
    for (size_t i = 0; i < 2; i++) { /* the journal had ended: no activity was needed any more */
        struct history h;

        begin(&h);
        schedule(&h);
        hand_back(&h);
        add(&h, KIND(WORKFLOW_TASK_COMPLETED));
        add(&h, kinds[i]);
        assert_int_equal(decide(&h).step, WORKFLOW_OVER);
    }
}

static void two_activities_at_once_are_another_program_s_after_a_hand_back_too(void **state)
{
    struct history h;
    struct workflow_decision d;
    struct err err;

    (void)state;
    begin(&h);
    schedule(&h);
    hand_back(&h);
    schedule(&h);
    schedule(&h);
    assert_int_equal(workflow_decide(h.list, h.count, &d, &err), ERR_STATE);
    begin(&h);
    schedule(&h);
    hand_back(&h);
    hand_back(&h); /* nothing is open */
    assert_int_equal(workflow_decide(h.list, h.count, &d, &err), ERR_STATE);
}

static void hand_backs_are_bounded(void **state)
{
    static struct history h;
    struct workflow_decision d;

    (void)state;
    begin(&h);
    for (unsigned n = 0; n <= WORKFLOW_HAND_BACKS_MAX; n++) {
        assert_int_equal(decide(&h).step, WORKFLOW_SCHEDULE);
        assert_int_equal(decide(&h).hand_backs, n);
        schedule(&h);
        hand_back(&h);
    }
    d = decide(&h); /* nobody was told that this one may be */
    assert_int_equal(d.step, WORKFLOW_COMPLETE);
    assert_int_equal(d.hand_backs, WORKFLOW_HAND_BACKS_MAX);
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
        cmocka_unit_test(what_is_handed_back_is_scheduled_again),
        cmocka_unit_test(other_results_are_no_hand_back),
        cmocka_unit_test(a_cancel_when_it_was_handed_back_schedules_nothing_anew),
        cmocka_unit_test(a_cancel_after_a_hand_back_goes_to_the_activity_that_is_open),
        cmocka_unit_test(a_workflow_that_was_closed_on_a_hand_back_is_over),
        cmocka_unit_test(two_activities_at_once_are_another_program_s_after_a_hand_back_too),
        cmocka_unit_test(hand_backs_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
