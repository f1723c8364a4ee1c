#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/policy.h"

static void a_star_stands_for_anything(void **state)
{
    (void)state;
    assert_true(policy_fits("execute", "execute"));
    assert_false(policy_fits("execute", "executes"));
    assert_false(policy_fits("execute", "exec"));
    assert_true(policy_fits("*", "ls"));
    assert_true(policy_fits("write_*", "write_file"));
    assert_true(policy_fits("*_file", "read_file"));
    assert_false(policy_fits("*_file", "read_files"));
    assert_true(policy_fits("*a*b", "xaxxaab"));
    assert_true(policy_fits("e**e", "execute"));
    assert_false(policy_fits("", "ls"));
    assert_true(policy_fits("ls*", "ls"));
}

static void a_hostile_pattern_costs_no_time(void **state)
{
    char pattern[POLICY_PATTERN_MAX + 1], tool[201];

    (void)state;
    for (size_t i = 0; i < POLICY_PATTERN_MAX; i++)
        pattern[i] = i % 2 ? 'a' : '*';
    pattern[POLICY_PATTERN_MAX] = '\0';
    memset(tool, 'a', sizeof tool - 1);
    tool[sizeof tool - 2] = 'b';
    tool[sizeof tool - 1] = '\0';
    assert_false(policy_fits(pattern, tool));
}

static void a_pattern_that_fits_no_tool_is_refused_with_their_names(void **state)
{
    static const char *const good[] = {"execute", "write_*", "*", "github__*", "*__create_issue"};
    static const char *const bad[] = {"",          "exceute", "Execute",    "exe cute",
                                      "execute\n", "write*x", "write_todos"};
    struct err err;

    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        assert_int_equal(policy_check(good[i], &err), ERR_OK);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(policy_check(bad[i], &err), ERR_INVALID);
    assert_int_equal(policy_check("exceute", &err), ERR_INVALID);
    assert_non_null(strstr(err.msg, "execute, "));
}

static void one_pattern_is_enough(void **state)
{
    static const char *const patterns[] = {"ls", "write_*"};

    (void)state;
    assert_true(policy_asks(patterns, 2, "write_file"));
    assert_false(policy_asks(patterns, 2, "read_file"));
    assert_false(policy_asks(patterns, 0, "ls"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_star_stands_for_anything),
        cmocka_unit_test(a_hostile_pattern_costs_no_time),
        cmocka_unit_test(a_pattern_that_fits_no_tool_is_refused_with_their_names),
        cmocka_unit_test(one_pattern_is_enough),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
