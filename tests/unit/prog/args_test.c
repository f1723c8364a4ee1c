#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "prog/stigmer/args.h"

static const char *const formats[] = {"text", "json", NULL};
static const struct arg_spec table[] = {{"follow", 'f', NULL, "", NULL, NULL, false},
                                        {"tail", 0, "N", "", NULL, NULL, false},
                                        {"output", 'o', "FORMAT", "", NULL, formats, false},
                                        {"env", 'e', "K=V", "", NULL, NULL, true},
                                        {NULL, 0, NULL, NULL, NULL, NULL, false}};
static const struct arg_spec *const tables[] = {table, NULL};

static enum err_code parse(struct args *a, const char *const argv[], bool to_word, struct err *err)
{
    size_t pos = 0;

    *a = (struct args){0};
    return args_parse(a, tables, (char *const *)(uintptr_t)argv, &pos, to_word, err);
}

static void every_form_of_an_option_is_read(void **state)
{
    static const char *const argv[] = {"-f",    "--tail=5", "-ojson", "x",  "-e", "a=1",
                                       "--env", "b=2",      "--",     "-f", "-",  NULL};
    struct args a;

    (void)state;
    assert_int_equal(parse(&a, argv, false, NULL), ERR_OK);
    assert_true(args_bool(&a, "follow", false));
    assert_string_equal(args_str(&a, "tail", ""), "5");
    assert_string_equal(args_str(&a, "output", ""), "json");
    assert_int_equal(args_count(&a, "env"), 2);
    assert_string_equal(args_nth(&a, "env", 1), "b=2");
    assert_null(args_nth(&a, "env", 2));
    assert_int_equal(a.word_count, 3);
    assert_string_equal(a.words[1], "-f");
    args_done(&a);
}

static void a_switch_takes_true_and_false_only(void **state)
{
    struct args a;
    struct err e = {0};

    (void)state;
    assert_int_equal(parse(&a, (const char *const[]){"--follow=false", NULL}, false, NULL), ERR_OK);
    assert_false(args_bool(&a, "follow", true));
    args_done(&a);
    assert_int_equal(parse(&a, (const char *const[]){"--follow=maybe", NULL}, false, &e),
                     ERR_INVALID);
    assert_non_null(strstr(e.msg, "true or false"));
    args_done(&a);
}

static void an_unknown_option_names_the_nearest(void **state)
{
    struct args a;
    struct err e = {0};

    (void)state;
    assert_int_equal(parse(&a, (const char *const[]){"--folow", NULL}, false, &e), ERR_INVALID);
    assert_non_null(strstr(e.msg, "did you mean '--follow'"));
    args_done(&a);
    assert_int_equal(parse(&a, (const char *const[]){"-z", NULL}, false, &e), ERR_INVALID);
    args_done(&a);
}

static void a_missing_or_wrong_or_second_value_is_refused(void **state)
{
    struct args a;
    struct err e = {0};

    (void)state;
    assert_int_equal(parse(&a, (const char *const[]){"--tail", NULL}, false, &e), ERR_INVALID);
    assert_non_null(strstr(e.msg, "--tail N"));
    args_done(&a);
    assert_int_equal(parse(&a, (const char *const[]){"-o", "xml", NULL}, false, &e), ERR_INVALID);
    assert_non_null(strstr(e.msg, "text, json"));
    args_done(&a);
    assert_int_equal(parse(&a, (const char *const[]){"--tail=1", "--tail=2", NULL}, false, &e),
                     ERR_INVALID);
    assert_non_null(strstr(e.msg, "given twice"));
    args_done(&a);
}

static void reading_can_stop_in_front_of_the_first_word(void **state)
{
    static const char *const argv[] = {"-f", "server", "--tail", "2", NULL};
    struct args a = {0};
    size_t pos = 0;

    (void)state;
    assert_int_equal(args_parse(&a, tables, (char *const *)(uintptr_t)argv, &pos, true, NULL),
                     ERR_OK);
    assert_int_equal(pos, 1);
    assert_int_equal(a.word_count, 0);
    args_done(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_form_of_an_option_is_read),
        cmocka_unit_test(a_switch_takes_true_and_false_only),
        cmocka_unit_test(an_unknown_option_names_the_nearest),
        cmocka_unit_test(a_missing_or_wrong_or_second_value_is_refused),
        cmocka_unit_test(reading_can_stop_in_front_of_the_first_word),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
