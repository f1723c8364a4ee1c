#include "core/prompt.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"

static char *made(const char *instructions)
{
    struct buf b = {0};

    prompt_system(&(struct prompt_input){.agent_name = "helper",
                                         .instructions = instructions,
                                         .workspace = "/workspace/ses-1"},
                  &b);
    return buf_take_text(&b);
}

static void instructions_come_first_and_the_tools_are_named(void **state)
{
    char *text = made("Be brief.");

    (void)state;
    assert_int_equal(strncmp(text, "Be brief.\n\n", 11), 0);
    assert_non_null(strstr(text, "/workspace/ses-1"));
    assert_non_null(strstr(text, "write_todos"));
    assert_non_null(strstr(text, "\"helper\""));
    free(text);
}

static void the_same_input_gives_the_same_prompt(void **state)
{
    char *a = made("x"), *b = made("x");

    (void)state;
    assert_string_equal(a, b);
    free(a);
    free(b);
}

static void endless_instructions_are_cut_at_a_whole_character(void **state)
{
    size_t n = PROMPT_INSTRUCTIONS_MAX + 100;
    char *big = mem_new(n + 1), *text;

    (void)state;
    for (size_t i = 0; i + 1 < n; i += 2)
        memcpy(big + i, "\xc3\xa9", 2);
    memmove(big + 1, big, n - 1);
    big[0] = 'x';
    text = made(big);
    assert_true(strlen(text) < n + 4096);
    assert_non_null(strstr(text, "bytes of the instructions were cut here"));
    assert_int_equal((unsigned char)strstr(text, "\n[")[-1], 0xa9);
    free(text);
    free(big);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(instructions_come_first_and_the_tools_are_named),
        cmocka_unit_test(the_same_input_gives_the_same_prompt),
        cmocka_unit_test(endless_instructions_are_cut_at_a_whole_character),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
