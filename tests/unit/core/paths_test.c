#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "core/paths.h"

static void a_flag_beats_the_environment_beats_home(void **state)
{
    struct paths p;

    (void)state;
    assert_int_equal(paths_make("/a", "/b", "/c", &p, NULL), ERR_OK);
    assert_string_equal(p.home, "/a");
    assert_int_equal(paths_make(NULL, "/b/", "/c", &p, NULL), ERR_OK);
    assert_string_equal(p.home, "/b");
    assert_int_equal(paths_make(NULL, "", "/c", &p, NULL), ERR_OK);
    assert_string_equal(p.home, "/c/.stigmer");
    assert_string_equal(p.container_id, "/c/.stigmer/data/agent-runner-container.id");
}

static void a_home_that_no_socket_fits_below_is_refused(void **state)
{
    struct paths p;
    struct err err;
    char home[200];

    (void)state;
    memset(home, 'x', sizeof home - 1);
    home[0] = '/';
    home[sizeof home - 1] = '\0';
    assert_int_equal(paths_make(home, NULL, NULL, &p, &err), ERR_INVALID);
    assert_non_null(strstr(err.hint, "--home"));
    assert_int_equal(paths_make("relative", NULL, NULL, &p, &err), ERR_INVALID);
    assert_int_equal(paths_make(NULL, NULL, NULL, &p, &err), ERR_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_flag_beats_the_environment_beats_home),
        cmocka_unit_test(a_home_that_no_socket_fits_below_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
