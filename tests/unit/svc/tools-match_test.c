#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "svc/tools-match.h"

static void patterns_match_as_globs_do(void **state)
{
    static const struct {
        const char *pattern, *path;
        bool hit;
    } rows[] = {
        {"*.c", "a.c", true},
        {"*.c", "d/a.c", false},
        {"**/*.c", "a.c", true},
        {"**/*.c", "d/e/a.c", true},
        {"d/**", "d/e/a.c", true},
        {"d/**", "e/a.c", false},
        {"d/**/x", "d/x", true},
        {"d/**/x", "d/a/b/x", true},
        {"d/**/x", "dx", false},
        {"a?c", "abc", true},
        {"a?c", "a/c", false},
        {"[a-c]x", "bx", true},
        {"[!a-c]x", "bx", false},
        {"[!a-c]x", "dx", true},
        {"[]]x", "]x", true},
        {"{a,b}.{c,h}", "b.h", true},
        {"{a,b}.c", "c.c", false},
        {"\\*", "*", true},
        {"\\*", "a", false},
        {"*", "", true},
        {"", "", true},
        {"a*b*c", "axxbyyc", true},
        {"a*b*c", "axxbyy", false},
        {"**", "a/b", true},
        {"[abc", "[abc", true},
        {"*/x", "a/x", true},
        {"*/x", "x", false},
        {"**/d/**/f", "d/f", true},
        {"{a,b", "{a,b", true},
        {"**/", "a/b", false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (tools_match(rows[i].pattern, rows[i].path) != rows[i].hit)
            fail_msg("'%s' against '%s'", rows[i].pattern, rows[i].path);
}

static void a_hostile_pattern_ends(void **state)
{
    char path[257];

    (void)state;
    memset(path, 'a', 256);
    path[256] = '\0';
    assert_false(tools_match("*a*a*a*a*a*a*a*a*a*a*a*a*b", path));
    assert_false(tools_match("**a**a**a**a**a**a**a**a**b", path));
    assert_false(tools_match("{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}c", path));
}

static void ignore_lists_follow_gitignore(void **state)
{
    static const char text[] =
        "# comment\n*.o\n!keep.o\n/top\nbuild/\na/b\n**/gen\ntrail  \n\\#x\r\n";
    struct tools_match_list *l = tools_match_list_parse(text, sizeof text - 1);

    (void)state;
    assert_int_equal(tools_match_list_find(l, "x.o", false), 1);
    assert_int_equal(tools_match_list_find(l, "d/x.o", false), 1);
    assert_int_equal(tools_match_list_find(l, "keep.o", false), 0);
    assert_int_equal(tools_match_list_find(l, "top", false), 1);
    assert_int_equal(tools_match_list_find(l, "d/top", false), -1);
    assert_int_equal(tools_match_list_find(l, "build", false), -1);
    assert_int_equal(tools_match_list_find(l, "d/build", true), 1);
    assert_int_equal(tools_match_list_find(l, "a/b", false), 1);
    assert_int_equal(tools_match_list_find(l, "x/a/b", false), -1);
    assert_int_equal(tools_match_list_find(l, "x/gen", false), 1);
    assert_int_equal(tools_match_list_find(l, "trail", false), 1);
    assert_int_equal(tools_match_list_find(l, "#x", false), 1);
    assert_int_equal(tools_match_list_find(l, "comment", false), -1);
    tools_match_list_free(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(patterns_match_as_globs_do),
        cmocka_unit_test(a_hostile_pattern_ends),
        cmocka_unit_test(ignore_lists_follow_gitignore),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
