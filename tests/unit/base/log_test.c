#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/log.h"

static size_t logged(const char *value, char *ret, size_t size)
{
    int fds[2];
    ssize_t n;

    assert_int_equal(pipe(fds), 0);
    log_set_fd(fds[1]);
    log_info("hello world", "key", value);
    log_debug("not at this level", "key", value);
    log_set_fd(STDERR_FILENO);
    close(fds[1]);
    n = read(fds[0], ret, size - 1);
    close(fds[0]);
    ret[n > 0 ? n : 0] = '\0';
    return n > 0 ? (size_t)n : 0;
}

static void a_line_stays_one_line_whatever_the_value(void **state)
{
    char line[512];

    (void)state;
    logged("two\nlines \"quoted\" \x1b[31m \xff", line, sizeof line);
    assert_ptr_equal(strchr(line, '\n'), line + strlen(line) - 1);
    assert_non_null(strstr(line, "key=\"two\\nlines \\\"quoted\\\" \\x1b[31m \\xff\""));
    assert_non_null(strstr(line, " level=info "));
    assert_null(strstr(line, "not at this level"));
}

static void a_plain_value_needs_no_quotes(void **state)
{
    char line[512];

    (void)state;
    logged("127.0.0.1:7234", line, sizeof line);
    assert_non_null(strstr(line, "msg=\"hello world\" key=127.0.0.1:7234\n"));
}

static void lines_of_a_request_end_in_its_id(void **state)
{
    char line[512];

    (void)state;
    log_set_request("a-1");
    logged("v", line, sizeof line);
    assert_non_null(strstr(line, " key=v req=a-1\n"));
    log_set_request(NULL);
    logged("v", line, sizeof line);
    assert_non_null(strstr(line, " key=v\n"));
}

static void every_error_code_has_its_three_translations(void **state)
{
    (void)state;
    assert_int_equal(err_code_exit(ERR_NOT_RUNNING), 3);
    assert_int_equal(err_code_exit(ERR_NOT_FOUND), 4);
    assert_int_equal(err_code_exit(ERR_CONFLICT), 9);
    assert_int_equal(err_code_exit(ERR_SANDBOX), 10);
    assert_int_equal(err_code_grpc(ERR_EXISTS), 6);
    assert_int_equal(err_code_from_grpc(5), ERR_NOT_FOUND);
    assert_int_equal(err_code_from_grpc(14), ERR_UNAVAILABLE);
    assert_int_equal(err_code_from_grpc(99), ERR_INTERNAL);
    for (int c = ERR_OK; c < ERR_COUNT; c++)
        assert_non_null(err_code_name((enum err_code)c));
}

static void context_goes_in_front_and_the_hint_stays(void **state)
{
    struct err err;

    (void)state;
    err_hint(&err, err_set(&err, ERR_NOT_FOUND, "no file"), "make one");
    assert_int_equal(err_wrap(&err, ERR_NOT_FOUND, "reading %s", "config"), ERR_NOT_FOUND);
    assert_string_equal(err.msg, "reading config: no file");
    assert_string_equal(err.hint, "make one");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_stays_one_line_whatever_the_value),
        cmocka_unit_test(a_plain_value_needs_no_quotes),
        cmocka_unit_test(lines_of_a_request_end_in_its_id),
        cmocka_unit_test(every_error_code_has_its_three_translations),
        cmocka_unit_test(context_goes_in_front_and_the_hint_stays),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
