/* The store's schema versions: a step forward keeps a copy of what was before it. */
#include "platform/store.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/str.h"

static const char *const steps[] = {
    "CREATE TABLE a (x INTEGER) STRICT; INSERT INTO a VALUES (1)",
    "ALTER TABLE a ADD COLUMN y TEXT; UPDATE a SET y = 'new'",
    "CREATE TABLE b (x INTEGER) STRICT; INSERT INTO nowhere VALUES (1)",
};

struct folder {
    char dir[32];
    struct loop *loop;
};

static int open_folder(void **state)
{
    struct folder *f = calloc(1, sizeof *f);

    strncpy(f->dir, "/tmp/st-XXXXXX", sizeof f->dir - 1);
    assert_non_null(mkdtemp(f->dir));
    f->loop = loop_new();
    *state = f;
    return 0;
}

static void path_of(const struct folder *f, const char *name, char ret[64])
{
    assert_true(str_format(ret, 64, "%s/%s", f->dir, name));
}

static int close_folder(void **state)
{
    static const char *const names[] = {"stigmer.db",       "stigmer.db-wal",   "stigmer.db-shm",
                                        "stigmer.db.bak-1", "stigmer.db.bak-2", "lock"};
    struct folder *f = *state;
    char path[64];

    loop_free(f->loop);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        path_of(f, names[i], path);
        (void)unlink(path);
    }
    assert_int_equal(rmdir(f->dir), 0);
    free(f);
    return 0;
}

static enum err_code open_at(struct folder *f, int version, struct store **ret, struct err *err)
{
    const struct store_schema schema = {steps, version};

    return store_open(f->loop, f->dir, &schema, ret, err);
}

/* The first column of the first row, as text. */
static const char *ask(sqlite3 *db, const char *sql)
{
    static char text[64];
    sqlite3_stmt *st = NULL;

    (void)snprintf(text, sizeof text, "error: %s", sqlite3_errmsg(db));
    if (sqlite3_prepare_v2(db, sql, -1, &st, NULL) == SQLITE_OK && sqlite3_step(st) == SQLITE_ROW)
        (void)snprintf(text, sizeof text, "%s", sqlite3_column_text(st, 0));
    sqlite3_finalize(st);
    return text;
}

static void a_new_version_migrates_and_keeps_a_copy(void **state)
{
    struct folder *f = *state;
    struct store *s;
    sqlite3 *old;
    char path[64];

    assert_int_equal(open_at(f, 1, &s, NULL), ERR_OK);
    store_free(s);
    path_of(f, "stigmer.db.bak-1", path);
    assert_int_not_equal(access(path, F_OK), 0); /* a new file needs none */
    assert_int_equal(open_at(f, 2, &s, NULL), ERR_OK);
    assert_string_equal(ask(store_read_db(s), "SELECT y FROM a"), "new");
    assert_string_equal(ask(store_read_db(s), "PRAGMA user_version"), "2");
    store_free(s);
    assert_int_equal(sqlite3_open(path, &old), SQLITE_OK);
    assert_string_equal(ask(old, "SELECT x FROM a"), "1");
    assert_string_equal(ask(old, "PRAGMA user_version"), "1");
    assert_string_equal(ask(old, "PRAGMA integrity_check"), "ok");
    sqlite3_close(old);
    assert_int_equal(open_at(f, 2, &s, NULL), ERR_OK); /* and again: nothing to do */
    store_free(s);
}

static void a_step_that_fails_leaves_the_old_version_whole(void **state)
{
    struct folder *f = *state;
    struct store *s;
    struct err err;

    assert_int_equal(open_at(f, 2, &s, NULL), ERR_OK);
    store_free(s);
    assert_int_not_equal(open_at(f, 3, &s, &err), ERR_OK);
    assert_non_null(strstr(err.msg, "nowhere"));
    assert_int_equal(open_at(f, 2, &s, NULL), ERR_OK);
    assert_string_equal(ask(store_read_db(s), "SELECT y FROM a"), "new");
    assert_string_equal(ask(store_read_db(s), "SELECT count(*) FROM sqlite_schema"), "1");
    store_free(s);
}

static void what_is_no_database_of_ours_is_refused_and_untouched(void **state)
{
    struct folder *f = *state;
    struct store *s;
    struct err err;
    char path[64], text[16] = "";
    FILE *file;

    path_of(f, "stigmer.db", path);
    file = fopen(path, "we");
    assert_non_null(file);
    fputs("my shopping list", file);
    fclose(file);
    assert_int_equal(open_at(f, 1, &s, &err), ERR_CORRUPT);
    assert_non_null(strstr(err.msg, path));
    file = fopen(path, "re");
    assert_non_null(file);
    assert_int_equal(fread(text, 1, sizeof text, file), sizeof text);
    fclose(file);
    assert_memory_equal(text, "my shopping list", sizeof text);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, open_folder, close_folder)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_new_version_migrates_and_keeps_a_copy),
        TEST(a_step_that_fails_leaves_the_old_version_whole),
        TEST(what_is_no_database_of_ours_is_refused_and_untouched),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
