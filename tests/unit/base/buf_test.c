#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"

static void an_append_past_the_ceiling_changes_nothing(void **state)
{
    OWN_BUF struct buf b;
    struct err err;

    (void)state;
    buf_init(&b, 8);
    assert_int_equal(buf_add(&b, "12345678", 8, &err), ERR_OK);
    assert_int_equal(buf_add(&b, "9", 1, &err), ERR_LIMIT);
    assert_non_null(strstr(err.msg, "8 bytes"));
    assert_string_equal(buf_text(&b), "12345678");
}

static void text_is_always_terminated(void **state)
{
    OWN_BUF struct buf b;

    (void)state;
    buf_init(&b, 0);
    assert_string_equal(buf_text(&b), "");
    buf_printf(&b, "%d-%s", 7, "seven");
    buf_putc(&b, '!');
    assert_string_equal(buf_text(&b), "7-seven!");
    buf_shift(&b, 2);
    assert_string_equal(buf_text(&b), "seven!");
    buf_clear(&b);
    assert_string_equal(buf_text(&b), "");
}

static void taken_text_belongs_to_the_caller(void **state)
{
    OWN_BUF struct buf b;
    char *text;

    (void)state;
    buf_init(&b, 0);
    buf_puts(&b, "mine");
    text = buf_take_text(&b);
    assert_string_equal(text, "mine");
    assert_int_equal(b.len, 0);
    buf_puts(&b, "next");
    assert_string_equal(text, "mine");
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_append_past_the_ceiling_changes_nothing),
        cmocka_unit_test(text_is_always_terminated),
        cmocka_unit_test(taken_text_belongs_to_the_caller),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
