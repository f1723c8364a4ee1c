/* Secrets at rest: what comes back, and what is refused. */
#include "platform/vault.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/str.h"

static char home[64];

static int make_home(void **state)
{
    (void)state;
    (void)unsetenv("CREDENTIALS_DIRECTORY");
    (void)str_format(home, sizeof home, "/tmp/vault-XXXXXX");
    return mkdtemp(home) ? 0 : -1;
}

static int remove_home(void **state)
{
    char command[128];

    (void)state;
    (void)str_format(command, sizeof command, "rm -rf %s", home);
    return system(command);
}

static void path_of(const char *name, char ret[160])
{
    (void)str_format(ret, 160, "%s/%s", home, name);
}

static void put(const char *name, const char *value)
{
    struct err err;

    if (vault_put(home, name, value, &err))
        fail_msg("%s", err.msg);
}

static void a_value_comes_back_and_its_file_does_not_hold_it(void **state)
{
    char path[160], file[256], *value;
    struct stat st;
    int fd;
    ssize_t n;

    (void)state;
    put("llm.openai", "sk-a-secret-of-some-length");
    assert_int_equal(vault_get(home, "llm.openai", &value, NULL), ERR_OK);
    assert_string_equal(value, "sk-a-secret-of-some-length");
    free(value);
    path_of("data/secrets/llm.openai", path);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    fd = open(path, O_RDONLY);
    n = read(fd, file, sizeof file);
    close(fd);
    assert_true(n > 0);
    assert_null(memmem(file, (size_t)n, "sk-a", 4));
    path_of("secret.key", path);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    put("llm.openai", "another");
    assert_int_equal(vault_get(home, "llm.openai", &value, NULL), ERR_OK);
    assert_string_equal(value, "another");
    free(value);
}

static void flip(const char *name, off_t at)
{
    char path[160];
    uint8_t byte;
    int fd;

    path_of(name, path);
    fd = open(path, O_RDWR);
    assert_int_equal(pread(fd, &byte, 1, at), 1);
    byte ^= 1;
    assert_int_equal(pwrite(fd, &byte, 1, at), 1);
    close(fd);
}

static void one_bit_changed_anywhere_is_corrupt_and_names_the_secret(void **state)
{
    static const off_t places[] = {0, 1, 24, 25, 30, 40};
    char *value;
    struct err err;

    (void)state;
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        put("a", "12345");
        flip("data/secrets/a", places[i]);
        assert_int_equal(vault_get(home, "a", &value, &err), ERR_CORRUPT);
        assert_non_null(strstr(err.msg, "'a'"));
        assert_non_null(strstr(err.hint, "secret set a"));
    }
    put("a", "12345");
    flip("secret.key", 3);
    assert_int_equal(vault_get(home, "a", &value, &err), ERR_CORRUPT);
}

static void files_cannot_be_swapped_or_cut(void **state)
{
    char from[160], to[160], *value;

    (void)state;
    put("a", "12345");
    put("b", "67890");
    path_of("data/secrets/a", from);
    path_of("data/secrets/b", to);
    assert_int_equal(rename(from, to), 0);
    assert_int_equal(vault_get(home, "b", &value, NULL), ERR_CORRUPT);
    assert_int_equal(truncate(to, 20), 0);
    assert_int_equal(vault_get(home, "b", &value, NULL), ERR_CORRUPT);
}

static void a_key_that_others_can_read_is_refused(void **state)
{
    char path[160], *value;
    struct err err;

    (void)state;
    put("a", "12345");
    path_of("secret.key", path);
    assert_int_equal(chmod(path, 0644), 0);
    assert_int_equal(vault_get(home, "a", &value, &err), ERR_DENIED);
    assert_non_null(strstr(err.hint, "chmod 600"));
}

static void what_is_no_name_or_no_value_is_refused(void **state)
{
    static const char *const names[] = {"", "..", "../x", "A", "a/b", ".a", "-a", "a b", "é"};
    char *big = malloc(VAULT_VALUE_MAX + 2), *value;

    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        assert_int_equal(vault_put(home, names[i], "x", NULL), ERR_INVALID);
    assert_int_equal(vault_put(home, "a", "", NULL), ERR_INVALID);
    memset(big, 'x', VAULT_VALUE_MAX + 1);
    big[VAULT_VALUE_MAX + 1] = '\0';
    assert_int_equal(vault_put(home, "a", big, NULL), ERR_INVALID);
    big[VAULT_VALUE_MAX] = '\0';
    put("a", big);
    assert_int_equal(vault_get(home, "a", &value, NULL), ERR_OK);
    assert_string_equal(value, big);
    free(value);
    free(big);
}

static void count(const char *name, int64_t size, int64_t set_ms, void *arg)
{
    (void)name;
    assert_int_equal(size, 5);
    assert_true(set_ms > 0);
    ++*(int *)arg;
}

static void what_is_removed_is_gone(void **state)
{
    char *value;
    int n = 0;

    (void)state;
    assert_int_equal(vault_list(home, count, &n, NULL), ERR_OK);
    assert_int_equal(vault_get(home, "a", &value, NULL), ERR_NOT_FOUND);
    assert_int_equal(vault_remove(home, "a", NULL), ERR_NOT_FOUND);
    put("a", "12345");
    put("b", "67890");
    assert_int_equal(vault_list(home, count, &n, NULL), ERR_OK);
    assert_int_equal(n, 2);
    assert_int_equal(vault_remove(home, "a", NULL), ERR_OK);
    assert_int_equal(vault_get(home, "a", &value, NULL), ERR_NOT_FOUND);
}

static void a_service_managers_key_is_used(void **state)
{
    char folder[160], path[180], *value;
    int fd;

    (void)state;
    path_of("credentials", folder);
    assert_int_equal(mkdir(folder, 0700), 0);
    (void)str_format(path, sizeof path, "%s/stigmer.key", folder);
    fd = open(path, O_WRONLY | O_CREAT, 0400);
    assert_int_equal(write(fd, "0123456789abcdef0123456789abcdef", 32), 32);
    close(fd);
    setenv("CREDENTIALS_DIRECTORY", folder, 1);
    put("a", "12345");
    assert_int_equal(vault_get(home, "a", &value, NULL), ERR_OK);
    free(value);
    unsetenv("CREDENTIALS_DIRECTORY");
    assert_int_not_equal(vault_get(home, "a", &value, NULL), ERR_OK);
    path_of("secret.key", path);
    assert_int_not_equal(access(path, F_OK), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_home, remove_home)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_value_comes_back_and_its_file_does_not_hold_it),
        TEST(one_bit_changed_anywhere_is_corrupt_and_names_the_secret),
        TEST(files_cannot_be_swapped_or_cut),
        TEST(a_key_that_others_can_read_is_refused),
        TEST(what_is_no_name_or_no_value_is_refused),
        TEST(what_is_removed_is_gone),
        TEST(a_service_managers_key_is_used),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
