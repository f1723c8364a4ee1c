/* A container's lines: the engine's times, and which lines are new. */
#include "wire/containerline.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <string.h>

#include "base/str.h"

#define BEGIN 1800000000000000001

static bool is_new(struct containerline_window *w, int64_t ns, const char *text)
{
    char line[128];

    containerline_format(ns, line);
    assert_true(
        str_format(line + CONTAINERLINE_STAMP, sizeof line - CONTAINERLINE_STAMP, "%s", text));
    return containerline_window_is_new(w, line, strlen(line), INT64_MAX);
}

static void times_of_engines_are_read_to_the_nanosecond(void **state)
{
    static const struct {
        const char *text;
        size_t len;
        int64_t ns;
    } good[] = {
        {"2026-01-31T12:00:00.123456789Z x", 31, 1769860800123456789},
        {"2026-01-31T12:00:00.5Z ", 23, 1769860800500000000},
        {"2026-01-31T12:00:00Z ", 21, 1769860800000000000},
        {"2026-01-31T13:30:00+01:30 x", 26, 1769860800000000000},
        {"1970-01-01T00:00:00.000000000Z ", 31, 0},
    };
    static const char *const bad[] = {"",
                                      " ",
                                      "2026-01-31T12:00:00.123456789Z",
                                      "2026-13-31T12:00:00Z ",
                                      "2026-01-31 12:00:00Z ",
                                      "2026-01-31T12:00:00.12",
                                      "at=2026-01-31T12:00:00Z ",
                                      "9999-01-31T12:00:00Z ",
                                      "2026-01-31T12:00:00 x",
                                      "1969-01-31T12:00:00Z "};
    int64_t ns;
    char stamp[CONTAINERLINE_TEXT];

    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_int_equal(containerline_read(good[i].text, strlen(good[i].text), &ns), good[i].len);
        assert_true(ns == good[i].ns);
        containerline_format(ns, stamp);
        assert_true(containerline_stamp(stamp, CONTAINERLINE_STAMP, &ns) && ns == good[i].ns);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(containerline_read(bad[i], strlen(bad[i]), &ns), 0);
}

static void a_line_is_in_the_set_as_often_as_it_was_added(void **state)
{
    static const char line[] = "2026-01-31T12:00:00.000000000Z same";
    struct containerline_set s = {0};

    (void)state;
    assert_false(containerline_set_take(&s, line, sizeof line - 1));
    containerline_set_add(&s, line, sizeof line - 1);
    containerline_set_add(&s, line, sizeof line - 1);
    containerline_set_add(&s, "no time", 7);
    assert_int_equal(s.count, 2);
    for (int round = 0; round < 2; round++) {
        assert_true(containerline_set_take(&s, line, sizeof line - 1));
        assert_true(containerline_set_take(&s, line, sizeof line - 1));
        assert_false(containerline_set_take(&s, line, sizeof line - 1));
        containerline_set_reset(&s);
    }
    containerline_set_done(&s);
}

static void a_stream_that_begins_again_brings_nothing_new(void **state)
{
    struct containerline_window w = {0};
    int again;

    (void)state;
    for (int i = 0; i < 50000; i++) { /* far more than it remembers */
        assert_true(is_new(&w, BEGIN + i, "line"));
        for (again = i % 1000 == 999 ? i - 999 : i; again <= i; again++)
            assert_false(is_new(&w, BEGIN + again, "line"));
    }
    assert_false(is_new(&w, BEGIN + 7, "line"));
    assert_true(w.room <= 2 * CONTAINERLINE_WINDOW);
    containerline_window_done(&w);
}

static void two_writers_times_may_be_mixed_a_little(void **state)
{
    struct containerline_window w = {0};

    (void)state;
    assert_true(is_new(&w, BEGIN + 10, "out"));
    assert_true(is_new(&w, BEGIN + 8, "err"));
    assert_true(is_new(&w, BEGIN + 10, "err"));
    assert_true(is_new(&w, BEGIN + 9, "out"));
    assert_false(is_new(&w, BEGIN + 8, "err"));
    containerline_window_done(&w);
}

static void equal_lines_of_an_engine_that_tells_seconds_are_counted(void **state)
{
    static const char line[] = "2026-01-31T12:00:00.000000000Z same";
    struct containerline_window w = {0};

    (void)state;
    containerline_window_add(&w, line, sizeof line - 1);
    containerline_window_add(&w, line, sizeof line - 1);
    containerline_window_seal(&w);
    assert_false(containerline_window_is_new(&w, line, sizeof line - 1, INT64_MAX));
    assert_false(containerline_window_is_new(&w, line, sizeof line - 1, INT64_MAX));
    assert_true(containerline_window_is_new(&w, line, sizeof line - 1, INT64_MAX));
    assert_true(containerline_window_is_new(&w, line, sizeof line - 1, INT64_MAX));
    containerline_window_done(&w);
}

static void what_is_older_than_the_log_s_end_was_given_unless_the_clock_was_set_back(void **state)
{
    static const char known[] = "2026-01-31T12:00:00.100000000Z known";
    static const char old[] = "2026-01-31T11:00:00.100000000Z old";
    struct containerline_window w = {0};
    const int64_t noon = 1769860800000000000, hour = 3600000000000;

    (void)state;
    containerline_window_add(&w, known, sizeof known - 1);
    containerline_window_seal(&w);
    assert_false(containerline_window_is_new(&w, old, sizeof old - 1, noon + hour));
    assert_true(containerline_window_is_new(&w, old, sizeof old - 1, noon - hour + 200000000));
    containerline_window_done(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(times_of_engines_are_read_to_the_nanosecond),
        cmocka_unit_test(a_line_is_in_the_set_as_often_as_it_was_added),
        cmocka_unit_test(a_stream_that_begins_again_brings_nothing_new),
        cmocka_unit_test(two_writers_times_may_be_mixed_a_little),
        cmocka_unit_test(equal_lines_of_an_engine_that_tells_seconds_are_counted),
        cmocka_unit_test(what_is_older_than_the_log_s_end_was_given_unless_the_clock_was_set_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
