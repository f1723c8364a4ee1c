/* The retry rule. */
#include "core/retry.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static enum retry_verdict decide(struct retry_case c, int64_t *wait)
{
    struct retry_policy p = retry_policy_default();

    *wait = -1;
    return retry_decide(&p, &c, wait);
}

static void a_fault_that_stays_is_not_tried_again(void **state)
{
    int64_t wait;

    (void)state;
    assert_int_equal(decide((struct retry_case){.attempt = 1, .retry_after_ms = 1}, &wait),
                     RETRY_NO_USE);
    assert_int_equal(wait, -1);
}

static void the_wait_doubles_up_to_its_cap(void **state)
{
    static const int64_t want[] = {499, 999, 1999, 3999, 7999};
    struct retry_policy p = retry_policy_default();
    int64_t wait;

    (void)state;
    for (unsigned i = 0; i < 5; i++) {
        struct retry_case c = {
            .retryable = true, .attempt = i + 1, .retry_after_ms = -1, .chance = 0.9999};

        assert_int_equal(decide(c, &wait), RETRY_WAIT);
        assert_in_range(wait, want[i] - 1, want[i]);
    }
    p.max_attempts = 1000;
    assert_int_equal(
        retry_decide(&p,
                     &(struct retry_case){
                         .retryable = true, .attempt = 900, .retry_after_ms = -1, .chance = 0.5},
                     &wait),
        RETRY_WAIT);
    assert_int_equal(wait, 15000);
}

static void chance_spreads_the_wait_from_zero(void **state)
{
    int64_t wait;

    (void)state;
    assert_int_equal(
        decide((struct retry_case){.retryable = true, .attempt = 3, .retry_after_ms = -1}, &wait),
        RETRY_WAIT);
    assert_int_equal(wait, 0);
}

static void six_attempts_are_made_and_no_more(void **state)
{
    struct retry_case c = {.retryable = true, .attempt = 5, .retry_after_ms = -1};
    int64_t wait;

    (void)state;
    assert_int_equal(decide(c, &wait), RETRY_WAIT);
    c.attempt = 6;
    assert_int_equal(decide(c, &wait), RETRY_EXHAUSTED);
}

static void what_the_endpoint_asks_for_is_never_undercut(void **state)
{
    struct retry_case c = {.retryable = true, .attempt = 1, .retry_after_ms = 7000};
    int64_t wait;

    (void)state;
    assert_int_equal(decide(c, &wait), RETRY_WAIT);
    assert_int_equal(wait, 7000);
    c.chance = 0.99;
    assert_int_equal(decide(c, &wait), RETRY_WAIT);
    assert_in_range(wait, 7000, 7100);
    c.retry_after_ms = 120000;
    assert_int_equal(decide(c, &wait), RETRY_WAIT);
}

static void an_endpoint_that_asks_for_more_than_two_minutes_is_given_up_on(void **state)
{
    struct retry_case c = {.retryable = true, .attempt = 1, .retry_after_ms = 120001};
    int64_t wait;

    (void)state;
    assert_int_equal(decide(c, &wait), RETRY_TOO_LONG);
    assert_int_equal(wait, 120001);
}

static void no_wait_goes_beyond_the_total_time(void **state)
{
    struct retry_case c = {.retryable = true,
                           .attempt = 2,
                           .retry_after_ms = 60000,
                           .started_ms = 1000,
                           .now_ms = 1000 + 600000 - 60000};
    int64_t wait;

    (void)state;
    assert_int_equal(decide(c, &wait), RETRY_WAIT);
    c.now_ms++;
    assert_int_equal(decide(c, &wait), RETRY_OUT_OF_TIME);
}

static void every_verdict_has_words(void **state)
{
    (void)state;
    for (int v = RETRY_WAIT; v <= RETRY_OUT_OF_TIME; v++)
        assert_true(retry_verdict_text((enum retry_verdict)v)[0] != '\0');
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_fault_that_stays_is_not_tried_again),
        cmocka_unit_test(the_wait_doubles_up_to_its_cap),
        cmocka_unit_test(chance_spreads_the_wait_from_zero),
        cmocka_unit_test(six_attempts_are_made_and_no_more),
        cmocka_unit_test(what_the_endpoint_asks_for_is_never_undercut),
        cmocka_unit_test(an_endpoint_that_asks_for_more_than_two_minutes_is_given_up_on),
        cmocka_unit_test(no_wait_goes_beyond_the_total_time),
        cmocka_unit_test(every_verdict_has_words),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
