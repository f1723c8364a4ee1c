#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <jansson.h>
#include <string.h>

#include "core/tooldef.h"

static void check(const char *tool, const char *args, const char *wanted)
{
    struct err err = {0};
    const struct tooldef *t = tooldef_find(tool);
    enum err_code code;

    assert_non_null(t);
    code = tooldef_check(t, args, &err);
    if (!wanted) {
        if (code)
            fail_msg("%s refused: %s", args, err.msg);
        return;
    }
    assert_int_equal(code, ERR_INVALID);
    if (!strstr(err.msg, wanted))
        fail_msg("'%s' does not say '%s'", err.msg, wanted);
    assert_ptr_equal(strstr(err.msg, tool), err.msg);
}

static void every_schema_is_json_and_lists_what_it_requires(void **state)
{
    size_t n;
    const struct tooldef *all = tooldef_all(&n);

    (void)state;
    assert_int_equal(n, 8);
    for (size_t i = 0; i < n; i++) {
        json_t *schema = json_loads(all[i].schema_json, JSON_REJECT_DUPLICATES, NULL);
        json_t *props = json_object_get(schema, "properties"), *name;
        size_t at;

        assert_non_null(schema);
        assert_true(json_is_object(props));
        json_array_foreach(json_object_get(schema, "required"), at, name)
            assert_non_null(json_object_get(props, json_string_value(name)));
        assert_true(strlen(all[i].description) > 40);
        json_decref(schema);
    }
}

static void effects_are_those_of_the_contract(void **state)
{
    (void)state;
    assert_true(tooldef_find("execute")->effect);
    assert_true(tooldef_find("write_file")->effect);
    assert_true(tooldef_find("edit_file")->effect);
    assert_false(tooldef_find("read_file")->effect);
    assert_false(tooldef_find("ls")->effect);
    assert_false(tooldef_find("glob")->effect);
    assert_false(tooldef_find("grep")->effect);
    assert_true(tooldef_find("write_todos")->in_loop);
    assert_null(tooldef_find("task"));
    assert_null(tooldef_find("Execute"));
}

static void good_arguments_pass(void **state)
{
    (void)state;
    check("execute", "{\"command\":\"ls\"}", NULL);
    check("execute", "{\"command\":\"ls\",\"timeout_seconds\":3600,\"working_dir\":\"a\"}", NULL);
    check("ls", "{}", NULL);
    check("ls", "", NULL);
    check("write_file", "{\"file_path\":\"a\",\"content\":\"\"}", NULL);
    check("write_todos", "{\"todos\":[{\"content\":\"x\",\"status\":\"pending\"}]}", NULL);
    check("write_todos", "{\"todos\":[]}", NULL);
}

static void a_misspelt_argument_names_the_nearest(void **state)
{
    (void)state;
    check("execute", "{\"comand\":\"ls\"}", "did you mean 'command'");
    check("read_file", "{\"path\":\"a\"}", "did you mean 'file_path'");
    check("execute", "{\"command\":\"ls\",\"zzz\":1}",
          "accepted: command, timeout_seconds, working_dir");
}

static void a_missing_argument_is_named(void **state)
{
    (void)state;
    check("edit_file", "{\"file_path\":\"a\",\"old_string\":\"b\"}", "'new_string' is missing");
    check("execute", "{}", "'command' is missing");
}

static void a_wrong_type_says_what_is_wanted(void **state)
{
    (void)state;
    check("execute", "{\"command\":[\"ls\"]}", "command must be a string, not a list");
    check("execute", "{\"command\":\"ls\",\"timeout_seconds\":\"5\"}",
          "timeout_seconds must be a whole number, not a string");
    check("execute", "{\"command\":\"ls\",\"timeout_seconds\":1.5}", "not a fraction");
    check("edit_file",
          "{\"file_path\":\"a\",\"old_string\":\"b\",\"new_string\":\"\",\"replace_all\":\"yes\"}",
          "true or false");
    check("ls", "[]", "the arguments must be an object");
    check("ls", "{\"path\":null}", "not null");
}

static void numbers_out_of_range_say_the_range(void **state)
{
    (void)state;
    check("execute", "{\"command\":\"ls\",\"timeout_seconds\":0}", "accepted: 1 to 3600");
    check("execute", "{\"command\":\"ls\",\"timeout_seconds\":3601}", "is 3601");
    check("read_file", "{\"file_path\":\"a\",\"offset\":-1}", "accepted: 0 or more");
}

static void a_wrong_choice_lists_the_choices(void **state)
{
    (void)state;
    check("grep", "{\"pattern\":\"a\",\"output_mode\":\"lines\"}",
          "accepted: files_with_matches, content, count");
    check("write_todos", "{\"todos\":[{\"content\":\"x\",\"status\":\"done\"}]}",
          "todos[0].status is 'done'");
    check("write_todos", "{\"todos\":[{\"content\":\"x\",\"status\":\"pending\",\"id\":1}]}",
          "todos[0]: unknown argument 'id'");
    check("execute", "{\"command\":\"\"}", "command is empty");
}

static void broken_json_is_explained(void **state)
{
    (void)state;
    check("execute", "{\"command\":\"ls\"", "not valid JSON");
    check("execute", "{\"command\":\"a\",\"command\":\"b\"}", "not valid JSON");
    check("execute", "ls -l", "send one JSON object");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_schema_is_json_and_lists_what_it_requires),
        cmocka_unit_test(effects_are_those_of_the_contract),
        cmocka_unit_test(good_arguments_pass),
        cmocka_unit_test(a_misspelt_argument_names_the_nearest),
        cmocka_unit_test(a_missing_argument_is_named),
        cmocka_unit_test(a_wrong_type_says_what_is_wanted),
        cmocka_unit_test(numbers_out_of_range_say_the_range),
        cmocka_unit_test(a_wrong_choice_lists_the_choices),
        cmocka_unit_test(broken_json_is_explained),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
