#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>

#include "base/map.h"

static void what_is_put_is_found_until_removed(void **state)
{
    struct map m = {0};
    static int values[1000];
    char key[16];

    (void)state;
    for (int i = 0; i < 1000; i++) {
        snprintf(key, sizeof key, "k%d", i);
        assert_null(map_put(&m, key, &values[i]));
    }
    for (int i = 0; i < 1000; i += 2) {
        snprintf(key, sizeof key, "k%d", i);
        assert_ptr_equal(map_remove(&m, key), &values[i]);
    }
    for (int i = 0; i < 1000; i++) {
        snprintf(key, sizeof key, "k%d", i);
        assert_ptr_equal(map_get(&m, key), i % 2 ? &values[i] : NULL);
    }
    assert_int_equal(m.len, 500);
    map_done(&m);
}

static void putting_again_returns_the_old_value(void **state)
{
    struct map m = {0};
    int a, b;

    (void)state;
    assert_null(map_put(&m, "x", &a));
    assert_ptr_equal(map_put(&m, "x", &b), &a);
    assert_ptr_equal(map_get(&m, "x"), &b);
    assert_int_equal(m.len, 1);
    map_done(&m);
}

static void a_churning_map_does_not_grow_without_end(void **state)
{
    struct map m = {0};
    char key[24];
    int v;

    (void)state;
    for (int i = 0; i < 100000; i++) {
        snprintf(key, sizeof key, "exec-%d", i);
        map_put(&m, key, &v);
        map_remove(&m, key);
    }
    assert_int_equal(m.len, 0);
    assert_true(m.cap <= 64);
    map_done(&m);
}

static void iteration_visits_each_once_and_may_remove(void **state)
{
    struct map m = {0};
    static int hits[50];
    char name[8];
    const char *key;
    void *value;

    (void)state;
    for (int i = 0; i < 50; i++) {
        snprintf(name, sizeof name, "%d", i);
        map_put(&m, name, &hits[i]);
    }
    for (size_t i = 0; map_next(&m, &i, &key, &value);) {
        ++*(int *)value;
        map_remove(&m, key);
    }
    for (int i = 0; i < 50; i++)
        assert_int_equal(hits[i], 1);
    assert_int_equal(m.len, 0);
    map_done(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_put_is_found_until_removed),
        cmocka_unit_test(putting_again_returns_the_old_value),
        cmocka_unit_test(a_churning_map_does_not_grow_without_end),
        cmocka_unit_test(iteration_visits_each_once_and_may_remove),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
