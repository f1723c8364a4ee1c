#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "wire/toolproto.h"

static void a_frame_comes_out_as_it_went_in_at_every_split(void **state)
{
    struct buf b = {0};
    struct toolproto_frame f;
    size_t used;

    (void)state;
    toolproto_put(&b, TOOLPROTO_CALL, 0x1122334455667788u, "hello", 5);
    toolproto_put(&b, TOOLPROTO_CANCEL, 7, "", 0);
    for (size_t n = 0; n < 18; n++) {
        assert_int_equal(toolproto_next(b.data, n, 100, &f, &used, NULL), ERR_OK);
        assert_int_equal(used, 0);
    }
    assert_int_equal(toolproto_next(b.data, b.len, 100, &f, &used, NULL), ERR_OK);
    assert_int_equal(used, 18);
    assert_int_equal(f.kind, TOOLPROTO_CALL);
    assert_true(f.id == 0x1122334455667788u);
    assert_int_equal(f.len, 5);
    assert_memory_equal(f.body, "hello", 5);
    buf_shift(&b, used);
    assert_int_equal(toolproto_next(b.data, b.len, 100, &f, &used, NULL), ERR_OK);
    assert_int_equal(f.kind, TOOLPROTO_CANCEL);
    assert_int_equal(f.len, 0);
    buf_done(&b);
}

static void a_frame_over_the_limit_is_refused_by_its_head_alone(void **state)
{
    struct buf b = {0};
    struct toolproto_frame f;
    size_t used;

    (void)state;
    toolproto_put(&b, TOOLPROTO_RESULT, 1, "hello", 5);
    assert_int_equal(toolproto_next(b.data, 4, 4, &f, &used, NULL), ERR_CORRUPT);
    assert_int_equal(toolproto_next("\xff\xff\xff\xff", 4, 1 << 20, &f, &used, NULL), ERR_CORRUPT);
    assert_int_equal(toolproto_next("\0\0\0\0", 4, 100, &f, &used, NULL), ERR_CORRUPT);
    assert_int_equal(toolproto_next("\x08\0\0\0", 4, 100, &f, &used, NULL), ERR_CORRUPT);
    buf_done(&b);
}

static void a_frame_of_unknown_kind_is_refused(void **state)
{
    struct toolproto_frame f;
    size_t used;

    (void)state;
    assert_int_equal(toolproto_next("\x09\0\0\0\0", 5, 100, &f, &used, NULL), ERR_CORRUPT);
    assert_int_equal(toolproto_next("\x09\0\0\0\x06", 5, 100, &f, &used, NULL), ERR_CORRUPT);
}

static void a_call_keeps_name_arguments_and_environment(void **state)
{
    const char *const env[][2] = {{"A", "1"}, {"B_2", "x=y \"z\""}};
    char *body = toolproto_call_make("execute", "{\"command\":\"ls\"}", env, 2);
    struct toolproto_call c;

    (void)state;
    assert_int_equal(toolproto_call_parse(body, strlen(body), &c, NULL), ERR_OK);
    assert_string_equal(c.name, "execute");
    assert_string_equal(c.args_json, "{\"command\":\"ls\"}");
    assert_string_equal(c.env[0], "A=1");
    assert_string_equal(c.env[1], "B_2=x=y \"z\"");
    assert_null(c.env[2]);
    toolproto_call_done(&c);
    free(body);
}

static void broken_calls_are_refused(void **state)
{
    static const char *const bad[] = {
        "",
        "{}",
        "[]",
        "{\"name\":1,\"args\":{},\"env\":{}}",
        "{\"name\":\"a\",\"env\":{}}",
        "{\"name\":\"a\",\"args\":[],\"env\":{}}",
        "{\"name\":\"a\",\"args\":{}}",
        "{\"name\":\"a\",\"args\":{},\"env\":{\"A=B\":\"x\"}}",
        "{\"name\":\"a\",\"args\":{},\"env\":{\"1A\":\"x\"}}",
        "{\"name\":\"a\",\"args\":{},\"env\":{\"\":\"x\"}}",
        "{\"name\":\"a\",\"args\":{},\"env\":{\"A\":1}}",
    };
    struct toolproto_call c;

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(toolproto_call_parse(bad[i], strlen(bad[i]), &c, NULL), ERR_CORRUPT);
}

static void a_folder_is_one_plain_name(void **state)
{
    char long_name[TOOLPROTO_FOLDER_MAX + 2];

    (void)state;
    assert_true(toolproto_folder_is_valid("ses-01arz3ndektsv4rrffq69g5fav"));
    assert_true(toolproto_folder_is_valid("a.b_c-D"));
    assert_false(toolproto_folder_is_valid(""));
    assert_false(toolproto_folder_is_valid("."));
    assert_false(toolproto_folder_is_valid(".."));
    assert_false(toolproto_folder_is_valid("-a"));
    assert_false(toolproto_folder_is_valid("a/b"));
    assert_false(toolproto_folder_is_valid("a b"));
    memset(long_name, 'a', sizeof long_name);
    long_name[TOOLPROTO_FOLDER_MAX + 1] = '\0';
    assert_false(toolproto_folder_is_valid(long_name));
}

static void the_launcher_takes_only_well_formed_requests(void **state)
{
    static const char *const bad[] = {"",
                                      "open",
                                      "open ",
                                      "open 1",
                                      "open 1 ",
                                      "open x a",
                                      "open -1 a",
                                      "open 1 ../a",
                                      "open 1 a ",
                                      "open 1 a b",
                                      "close 1 a",
                                      "open 1  a",
                                      " open 1 a",
                                      "open 1 .a",
                                      "open 1 a\n",
                                      "open 1 a",
                                      "open +1 a 0",
                                      "open x a 0",
                                      "open 1 ../a 0",
                                      "open 1 a b 0",
                                      "open 1 a 65536",
                                      "open 1 a -1",
                                      "open 1 a 0 ",
                                      "open 1 a\n 0",
                                      "open 99999999999999999999 a 0"};
    char folder[TOOLPROTO_FOLDER_MAX + 1];
    uint64_t serial;
    unsigned port;

    (void)state;
    assert_int_equal(toolproto_open_parse("open 12 ses-1 4711", 18, &serial, folder, &port, NULL),
                     ERR_OK);
    assert_true(serial == 12);
    assert_string_equal(folder, "ses-1");
    assert_int_equal(port, 4711);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(toolproto_open_parse(bad[i], strlen(bad[i]), &serial, folder, &port, NULL),
                         ERR_CORRUPT);
    assert_int_equal(toolproto_open_parse("open 1 a\0b 0", 12, &serial, folder, &port, NULL),
                     ERR_CORRUPT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_frame_comes_out_as_it_went_in_at_every_split),
        cmocka_unit_test(a_frame_over_the_limit_is_refused_by_its_head_alone),
        cmocka_unit_test(a_frame_of_unknown_kind_is_refused),
        cmocka_unit_test(a_call_keeps_name_arguments_and_environment),
        cmocka_unit_test(broken_calls_are_refused),
        cmocka_unit_test(a_folder_is_one_plain_name),
        cmocka_unit_test(the_launcher_takes_only_well_formed_requests),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
