#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/ulid.h"

static void a_time_reads_back_as_it_was_written(void **state)
{
    static const int64_t times[] = {0, 1, 951782400000, 1769860800123, 4102444799999};
    char text[CLOCK_TEXT];
    int64_t back;

    (void)state;
    for (size_t i = 0; i < sizeof times / sizeof times[0]; i++) {
        clock_format(times[i], text);
        assert_int_equal(clock_parse(text, &back, NULL), ERR_OK);
        assert_int_equal(back, times[i]);
    }
    clock_format(1769860800123, text);
    assert_string_equal(text, "2026-01-31T12:00:00.123Z");
}

static void offsets_and_fractions_are_understood(void **state)
{
    int64_t a, b;

    (void)state;
    assert_int_equal(clock_parse("2026-01-31T12:00:00.5+02:00", &a, NULL), ERR_OK);
    assert_int_equal(clock_parse("2026-01-31T10:00:00.500000Z", &b, NULL), ERR_OK);
    assert_int_equal(a, b);
    assert_int_equal(clock_parse("2026-01-31", &a, NULL), ERR_INVALID);
    assert_int_equal(clock_parse("2026-01-31T12:00:00", &a, NULL), ERR_INVALID);
    assert_int_equal(clock_parse("2026-01-31T12:00:00Zjunk", &a, NULL), ERR_INVALID);
}

static void ids_of_one_millisecond_sort_by_birth(void **state)
{
    char last[ULID_LEN + 1], next[ULID_LEN + 1];

    (void)state;
    ulid_make(1769860800123, last);
    for (int i = 0; i < 10000; i++) {
        ulid_make(1769860800123, next);
        assert_true(ulid_is_valid(next));
        assert_true(__builtin_strcmp(last, next) < 0);
        __builtin_memcpy(last, next, sizeof last);
    }
}

static void ids_sort_by_birth_when_the_clock_is_set_back(void **state)
{
    char first[ULID_LEN + 1], second[ULID_LEN + 1], third[ULID_LEN + 1];

    (void)state;
    ulid_make(1769960800123, first);
    ulid_make(1769960800123 - 86400000, second);
    ulid_make(1769960800123 + 86400000, third);
    assert_true(__builtin_strcmp(first, second) < 0);
    assert_true(__builtin_strcmp(second, third) < 0);
}

static void a_moment_is_told_by_the_clock_as_it_is_now(void **state)
{
    struct clock_mark m = clock_mark_now();
    int64_t now = m.wall_ms;

    (void)state;
    assert_int_equal(clock_mark_wall_ms(&m), now); /* to the millisecond, asked again and again */
    m.wall_ms -= 86400000;                         /* a day was added to the clock since */
    assert_true(clock_mark_wall_ms(&m) >= now - 1000 && clock_mark_wall_ms(&m) <= now + 1000);
    m.wall_ms += 2 * 86400000;
    assert_true(clock_mark_wall_ms(&m) >= now - 1000 && clock_mark_wall_ms(&m) <= now + 1000);
}

static void an_id_is_exactly_its_alphabet(void **state)
{
    (void)state;
    assert_true(ulid_is_valid("01arz3ndektsv4rrffq69g5fav"));
    assert_false(ulid_is_valid("01ARZ3NDEKTSV4RRFFQ69G5FAV"));
    assert_false(ulid_is_valid("01arz3ndektsv4rrffq69g5fa"));
    assert_false(ulid_is_valid("01arz3ndektsv4rrffq69g5favx"));
    assert_false(ulid_is_valid("81arz3ndektsv4rrffq69g5fav"));
    assert_false(ulid_is_valid("01arz3ndektsv4rrffq69g5fau"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_time_reads_back_as_it_was_written),
        cmocka_unit_test(offsets_and_fractions_are_understood),
        cmocka_unit_test(ids_of_one_millisecond_sort_by_birth),
        cmocka_unit_test(ids_sort_by_birth_when_the_clock_is_set_back),
        cmocka_unit_test(a_moment_is_told_by_the_clock_as_it_is_now),
        cmocka_unit_test(an_id_is_exactly_its_alphabet),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
