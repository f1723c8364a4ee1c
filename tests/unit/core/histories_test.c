/* Histories that real servers have written (tests/histories.py): at every workflow task of each,
 * the decision is the command that was given then. A release that decides otherwise would break
 * workflows that are open while it is installed. */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/str.h"
#include "core/workflow.h"
#include "wire/pbcheck.h"

#define KIND(name) TENUM__EVENT_TYPE__EVENT_TYPE_##name
#define DEPTH 64

static Thist__History *load(const char *name)
{
    static uint8_t bytes[1 << 20];
    char path[512];
    size_t len;
    FILE *f;
    struct err err;
    Thist__History *h;

    (void)str_format(path, sizeof path, "%s/%s", HISTORIES, name);
    f = fopen(path, "rb");
    assert_non_null(f);
    len = fread(bytes, 1, sizeof bytes, f);
    (void)fclose(f);
    assert_true(len > 0 && len < sizeof bytes);
    if (pbcheck(&thist__history__descriptor, bytes, len, DEPTH, &err))
        fail_msg("%s: %s", name, err.msg);
    h = thist__history__unpack(NULL, len, bytes);
    assert_non_null(h);
    return h;
}

/* What the command of a completed task was, by the event it led to; next: the events behind it. */
static bool is_given(const struct workflow_decision *d, const Thist__HistoryEvent *next)
{
    switch (next ? (int)next->event_type : 0) {
    case KIND(ACTIVITY_TASK_SCHEDULED):
        return d->step == WORKFLOW_SCHEDULE;
    case KIND(ACTIVITY_TASK_CANCEL_REQUESTED):
        return d->step == WORKFLOW_CANCEL_ACTIVITY;
    case KIND(WORKFLOW_EXECUTION_COMPLETED):
        return d->step == WORKFLOW_COMPLETE;
    case KIND(WORKFLOW_EXECUTION_CANCELED): /* or the run ended cancelled, as was asked for */
        return d->step == WORKFLOW_CANCEL || (d->step == WORKFLOW_COMPLETE && d->cancel_requested);
    case KIND(WORKFLOW_EXECUTION_FAILED): /* or it had not ended though its activity had */
        return d->step == WORKFLOW_FAIL || d->step == WORKFLOW_COMPLETE;
    default:
        return d->step == WORKFLOW_WAIT;
    }
}

/* The number of tasks that were looked at. */
static unsigned replay(const char *name)
{
    Thist__History *h = load(name);
    unsigned tasks = 0;

    for (size_t i = 1; i < h->n_events; i++) {
        struct workflow_decision d;
        struct err err;

        if ((int)h->events[i]->event_type != KIND(WORKFLOW_TASK_COMPLETED))
            continue;
        tasks++;
        if (workflow_decide(h->events, i, &d, &err))
            fail_msg("%s, before event %zu: %s", name, i + 1, err.msg);
        if (!is_given(&d, i + 1 < h->n_events ? h->events[i + 1] : NULL))
            fail_msg("%s, before event %zu: step %d was not what was decided then", name, i + 1,
                     (int)d.step);
        assert_non_null(d.input);
    }
    thist__history__free_unpacked(h, NULL);
    return tasks;
}

static void every_saved_history_is_decided_as_it_was(void **state)
{
    DIR *dir = opendir(HISTORIES);
    unsigned files = 0;

    (void)state;
    assert_non_null(dir);
    for (const struct dirent *e; (e = readdir(dir));)
        if (strstr(e->d_name, ".bin")) {
            assert_true(replay(e->d_name) > 0);
            files++;
        }
    (void)closedir(dir);
    assert_true(files >= 10);
}

static struct workflow_decision whole(const char *name)
{
    Thist__History *h = load(name);
    struct workflow_decision d;
    struct err err;

    assert_int_equal(workflow_decide(h->events, h->n_events, &d, &err), ERR_OK);
    thist__history__free_unpacked(h, NULL);
    d.input = d.result = NULL; /* of the history */
    return d;
}

static void a_closed_history_needs_nothing_more(void **state)
{
    static const char *const closed[] = {
        "completed",     "cancelled", "cancelled-untaken", "failed",     "retried",    "signalled",
        "unknown-event", "reset",     "task-timed-out",    "terminated", "handed-back"};
    char name[64];

    (void)state;
    for (size_t i = 0; i < sizeof closed / sizeof *closed; i++) {
        (void)str_format(name, sizeof name, "0.1.0-%s.bin", closed[i]);
        assert_int_equal(whole(name).step, WORKFLOW_OVER);
    }
    assert_int_equal(whole("0.1.0-open.bin").step, WORKFLOW_WAIT);
    assert_true(whole("0.1.0-unknown-event.bin").unknown > 0);
    assert_int_equal(whole("0.1.0-completed.bin").unknown, 0);
    assert_int_equal(whole("0.1.0-completed.bin").hand_backs, 0);
    assert_int_equal(whole("0.1.0-handed-back.bin").hand_backs, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_saved_history_is_decided_as_it_was),
        cmocka_unit_test(a_closed_history_needs_nothing_more),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
