/* The keys folder and the mark of its keys. */
#include "svc/keys.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct folder {
    char above[32], dir[48], token[KEYS_TOKEN];
};

static void open_folder(struct folder *f)
{
    struct err err;

    strncpy(f->above, "/tmp/keys-XXXXXX", sizeof f->above);
    assert_non_null(mkdtemp(f->above));
    (void)snprintf(f->dir, sizeof f->dir, "%s/k", f->above);
    assert_int_equal(keys_open(f->dir, f->token, &err), ERR_OK);
}

static void close_folder(struct folder *f)
{
    keys_remove(f->dir);
    assert_int_equal(rmdir(f->above), 0); /* so the folder is gone */
}

static void mark(const struct folder *f, char ret[KEYS_MARK])
{
    struct err err;

    assert_int_equal(keys_mark(f->dir, f->token, ret, &err), ERR_OK);
    assert_int_equal(strlen(ret), KEYS_MARK - 1);
}

static void the_mark_changes_when_a_key_does_and_only_then(void **state)
{
    char none[KEYS_MARK], one[KEYS_MARK], two[KEYS_MARK];
    struct folder f;

    (void)state;
    open_folder(&f);
    mark(&f, none);
    assert_int_equal(keys_put(f.dir, "llm.openai", "key 1", NULL), ERR_OK);
    mark(&f, one);
    assert_string_not_equal(none, one);
    assert_int_equal(keys_put(f.dir, "llm.openai", " key 1\n", NULL), ERR_OK); /* the same key */
    mark(&f, two);
    assert_string_equal(one, two);
    assert_int_equal(keys_put(f.dir, "llm.openai", "key 2", NULL), ERR_OK);
    mark(&f, two);
    assert_string_not_equal(one, two);
    assert_int_equal(keys_put(f.dir, "llm.openai", NULL, NULL), ERR_OK);
    mark(&f, two);
    assert_string_equal(none, two);
    close_folder(&f);
}

static void the_same_key_under_another_name_is_another_mark(void **state)
{
    char one[KEYS_MARK], two[KEYS_MARK];
    struct folder f;

    (void)state;
    open_folder(&f);
    assert_int_equal(keys_put(f.dir, "llm.openai", "k", NULL), ERR_OK);
    mark(&f, one);
    assert_int_equal(keys_put(f.dir, "llm.openai", NULL, NULL), ERR_OK);
    assert_int_equal(keys_put(f.dir, "llm.anthropic", "k", NULL), ERR_OK);
    mark(&f, two);
    assert_string_not_equal(one, two);
    close_folder(&f);
}

static void the_token_outlives_the_server_and_not_the_folder(void **state)
{
    char again[KEYS_TOKEN];
    struct folder f;

    (void)state;
    open_folder(&f);
    assert_int_equal(keys_open(f.dir, again, NULL), ERR_OK);
    assert_string_equal(f.token, again);
    keys_remove(f.dir);
    assert_int_equal(keys_open(f.dir, again, NULL), ERR_OK);
    assert_string_not_equal(f.token, again);
    close_folder(&f);
}

static void a_folder_that_others_may_read_is_refused(void **state)
{
    char token[KEYS_TOKEN];
    struct folder f;
    struct err err;

    (void)state;
    open_folder(&f);
    assert_int_equal(chmod(f.dir, 0755), 0);
    assert_int_equal(keys_open(f.dir, token, &err), ERR_DENIED);
    assert_non_null(strstr(err.msg, f.dir));
    close_folder(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_mark_changes_when_a_key_does_and_only_then),
        cmocka_unit_test(the_same_key_under_another_name_is_another_mark),
        cmocka_unit_test(the_token_outlives_the_server_and_not_the_folder),
        cmocka_unit_test(a_folder_that_others_may_read_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
