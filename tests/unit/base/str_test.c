#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/str.h"

static void a_duration_is_a_sum_of_terms(void **state)
{
    int64_t ms = -1;

    (void)state;
    assert_int_equal(str_to_duration_ms("1h30m", &ms, NULL), ERR_OK);
    assert_int_equal(ms, 90 * 60000);
    assert_int_equal(str_to_duration_ms("250ms", &ms, NULL), ERR_OK);
    assert_int_equal(ms, 250);
    assert_int_equal(str_to_duration_ms("10", &ms, NULL), ERR_INVALID);
    assert_int_equal(str_to_duration_ms("", &ms, NULL), ERR_INVALID);
    assert_int_equal(str_to_duration_ms("9999999999999d", &ms, NULL), ERR_INVALID);
    assert_int_equal(ms, 250);
}

static void a_slip_finds_the_nearest_word(void **state)
{
    static const char *const names[] = {"start", "stop", "status", "logs", NULL};

    (void)state;
    assert_string_equal(str_nearest("statsu", names), "status");
    assert_string_equal(str_nearest("stpo", names), "stop");
    assert_null(str_nearest("banana", names));
}

static void utf8_is_checked_to_the_byte(void **state)
{
    (void)state;
    assert_int_equal(str_utf8_check("a\xc3\xa4\xf0\x9f\x98\x80", 7), 7);
    assert_int_equal(str_utf8_check("ab\xc0\xaf", 4), 2);        /* overlong */
    assert_int_equal(str_utf8_check("\xed\xa0\x80", 3), 0);      /* surrogate */
    assert_int_equal(str_utf8_check("x\xf4\x90\x80\x80", 5), 1); /* past U+10FFFF */
    assert_int_equal(str_utf8_check("nul\0!", 5), 3);
}

static void hex_is_two_lower_case_digits_a_byte(void **state)
{
    char text[9];

    (void)state;
    str_hex("\x00\x0f\xa0\xff", 4, text);
    assert_string_equal(text, "000fa0ff");
    str_hex("", 0, text);
    assert_string_equal(text, "");
}

static void a_text_that_was_cut_ends_with_a_whole_letter(void **state)
{
    char whole[] = "a\xd0\xb6", cut[] = "a\xd0\xb6\xd0", bad[] = "\xff", none[] = "";

    (void)state;
    str_cut_bad(whole);
    assert_string_equal(whole, "a\xd0\xb6");
    str_cut_bad(cut);
    assert_string_equal(cut, "a\xd0\xb6");
    str_cut_bad(bad);
    assert_string_equal(bad, "");
    str_cut_bad(none);
    assert_string_equal(none, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_text_that_was_cut_ends_with_a_whole_letter),
        cmocka_unit_test(hex_is_two_lower_case_digits_a_byte),
        cmocka_unit_test(a_duration_is_a_sum_of_terms),
        cmocka_unit_test(a_slip_finds_the_nearest_word),
        cmocka_unit_test(utf8_is_checked_to_the_byte),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
