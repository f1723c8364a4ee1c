#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/unit.h"

static const struct unit_policy policy = {.backoff_min_ms = 100,
                                          .backoff_max_ms = 5000,
                                          .grace_ms = 1000,
                                          .window_ms = 600000,
                                          .restarts = 10,
                                          .look_min_ms = 500,
                                          .look_max_ms = 3000};

static void the_first_crash_is_restarted_at_once(void **state)
{
    struct unit u;

    (void)state;
    unit_init(&u, &policy);
    assert_int_equal(unit_step(&u, UNIT_START, 0, 0), UNIT_SPAWN);
    assert_int_equal(unit_step(&u, UNIT_READY, 10, 0), UNIT_NOTHING);
    assert_int_equal(u.state, UNIT_UP);
    assert_int_equal(unit_step(&u, UNIT_EXIT, 1000, 1), UNIT_NOTHING);
    assert_int_equal(u.state, UNIT_BACKOFF);
    assert_int_equal(u.deadline_ms, 1000);
    assert_int_equal(unit_step(&u, UNIT_TIMER, 1000, 0), UNIT_SPAWN);
}

static void crashes_in_a_row_wait_longer_up_to_the_most(void **state)
{
    struct unit u;
    int64_t now = 0, last = -1;

    (void)state;
    unit_init(&u, &policy);
    unit_step(&u, UNIT_START, now, 0);
    for (int i = 0; i < 10; i++) {
        unit_step(&u, UNIT_EXIT, now, 1);
        assert_int_equal(u.state, UNIT_BACKOFF);
        assert_true(u.deadline_ms - now >= last && u.deadline_ms - now <= 5000);
        last = u.deadline_ms - now;
        now = u.deadline_ms;
        assert_int_equal(unit_step(&u, UNIT_TIMER, now, 0), UNIT_SPAWN);
    }
}

static void the_eleventh_crash_in_ten_minutes_is_a_failure_until_asked_again(void **state)
{
    struct unit u;

    (void)state;
    unit_init(&u, &policy);
    unit_step(&u, UNIT_START, 0, 0);
    for (int i = 0; i < 10; i++) {
        unit_step(&u, UNIT_EXIT, i, 0);
        unit_step(&u, UNIT_TIMER, i, 0);
    }
    unit_step(&u, UNIT_EXIT, 20, 0);
    assert_int_equal(u.state, UNIT_FAILED);
    assert_int_equal(u.deadline_ms, INT64_MAX);
    assert_int_equal(u.total, 11);
    assert_int_equal(unit_step(&u, UNIT_TIMER, 30, 0), UNIT_NOTHING);
    assert_int_equal(unit_step(&u, UNIT_START, 40, 0), UNIT_SPAWN);
    unit_step(&u, UNIT_EXIT, 50, 0);
    assert_int_equal(u.state, UNIT_BACKOFF);
}

static void what_is_blocked_is_looked_at_again_until_its_cause_is_gone(void **state)
{
    static const int64_t waits[] = {500, 1000, 2000, 3000, 3000};
    struct unit u;
    int64_t now = 0;

    (void)state;
    unit_init(&u, &policy);
    unit_step(&u, UNIT_START, now, 0);
    for (size_t i = 0; i < sizeof waits / sizeof *waits; i++) {
        assert_int_equal(unit_step(&u, UNIT_BLOCKED, now, 0), UNIT_NOTHING);
        assert_int_equal(u.state, UNIT_FAILED);
        assert_int_equal(u.deadline_ms - now, waits[i]);
        now = u.deadline_ms;
        assert_int_equal(unit_step(&u, UNIT_TIMER, now, 0), UNIT_SPAWN);
    }
    unit_step(&u, UNIT_READY, now, 0);
    assert_int_equal(u.total, 0); /* nothing of it was a crash */
    unit_step(&u, UNIT_BLOCKED, now, 0);
    assert_int_equal(u.deadline_ms - now, 500);
    unit_step(&u, UNIT_STOP, now, 0);
    assert_int_equal(u.state, UNIT_DOWN);
}

static void what_is_blocked_while_it_stops_has_stopped(void **state)
{
    struct unit u;

    (void)state;
    unit_init(&u, &policy);
    unit_step(&u, UNIT_START, 0, 0);
    assert_int_equal(unit_step(&u, UNIT_STOP, 1, 0), UNIT_TERM);
    unit_step(&u, UNIT_BLOCKED, 2, 0);
    assert_int_equal(u.state, UNIT_DOWN);
}

static void crashes_an_hour_apart_never_add_up(void **state)
{
    struct unit u;

    (void)state;
    unit_init(&u, &policy);
    unit_step(&u, UNIT_START, 0, 0);
    for (int64_t i = 1; i < 100; i++) {
        unit_step(&u, UNIT_EXIT, i * 3600000, 0.5);
        assert_int_equal(u.state, UNIT_BACKOFF);
        assert_int_equal(u.deadline_ms, i * 3600000);
        unit_step(&u, UNIT_TIMER, u.deadline_ms, 0);
    }
}

static void a_stop_is_asked_then_forced(void **state)
{
    struct unit u;

    (void)state;
    unit_init(&u, &policy);
    unit_step(&u, UNIT_START, 0, 0);
    assert_int_equal(unit_step(&u, UNIT_STOP, 10, 0), UNIT_TERM);
    assert_int_equal(u.deadline_ms, 1010);
    assert_int_equal(unit_step(&u, UNIT_TIMER, 1010, 0), UNIT_KILL);
    assert_int_equal(unit_step(&u, UNIT_EXIT, 1011, 0), UNIT_NOTHING);
    assert_int_equal(u.state, UNIT_DOWN);
    assert_int_equal(u.total, 0);
}

static void every_event_in_every_state_is_answered(void **state)
{
    (void)state;
    for (int s = 0; s < UNIT_STATES; s++)
        for (int ev = 0; ev < UNIT_EVENTS; ev++) {
            struct unit u;
            unit_init(&u, &policy);
            u.state = (enum unit_state)s;
            unit_step(&u, (enum unit_event)ev, 1, 0);
            assert_true(u.state < UNIT_STATES);
            assert_non_null(unit_state_name(u.state));
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_crash_is_restarted_at_once),
        cmocka_unit_test(crashes_in_a_row_wait_longer_up_to_the_most),
        cmocka_unit_test(the_eleventh_crash_in_ten_minutes_is_a_failure_until_asked_again),
        cmocka_unit_test(crashes_an_hour_apart_never_add_up),
        cmocka_unit_test(what_is_blocked_is_looked_at_again_until_its_cause_is_gone),
        cmocka_unit_test(what_is_blocked_while_it_stops_has_stopped),
        cmocka_unit_test(a_stop_is_asked_then_forced),
        cmocka_unit_test(every_event_in_every_state_is_answered),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
