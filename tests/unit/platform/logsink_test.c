/* Log files stay within their limit, lines stay whole. */
#include "platform/logsink.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <signal.h>

#include "base/str.h"

static char folder[] = "/tmp/logsink-XXXXXX";

static int make_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    return rmdir(folder);
}

static void path_of(const char *name, char ret[64])
{
    assert_true(str_format(ret, 64, "%s/%s", folder, name));
}

/* The file's text, which goes away with it; "-" when there is none. */
static const char *take(const char *name)
{
    static char text[4096];
    char path[64];
    FILE *f;
    size_t n;

    path_of(name, path);
    f = fopen(path, "re");
    if (!f)
        return "-";
    n = fread(text, 1, sizeof text - 1, f);
    text[n] = '\0';
    fclose(f);
    unlink(path);
    return text;
}

static struct logsink *open_sink(int64_t size, int files)
{
    struct logsink *s;
    struct err err;
    char path[64];

    path_of("log", path);
    assert_int_equal(logsink_open(path, size, files, &s, &err), ERR_OK);
    return s;
}

static void a_file_past_its_limit_is_rotated_at_a_lines_end(void **state)
{
    struct logsink *s = open_sink(10, 3);

    (void)state;
    for (const char *p = "aaaaaaaa\nbbbbbbbb\ncccccccc\ndddddddd\neeeeeeee\nffff"; *p; p++)
        logsink_write(s, p, 1);
    logsink_close(s);
    assert_string_equal(take("log"), "eeeeeeee\nffff");
    assert_string_equal(take("log.1"), "cccccccc\ndddddddd\n");
    assert_string_equal(take("log.2"), "aaaaaaaa\nbbbbbbbb\n");
    assert_string_equal(take("log.3"), "-");
}

static void the_oldest_goes(void **state)
{
    struct logsink *s = open_sink(4, 2);

    (void)state;
    logsink_write(s, "11111\n22222\n33333\n4", 19);
    logsink_close(s);
    assert_string_equal(take("log"), "4");
    assert_string_equal(take("log.1"), "33333\n");
    assert_string_equal(take("log.2"), "-");
}

static void a_gap_that_a_killed_rotation_left_is_closed(void **state)
{
    struct logsink *s = open_sink(4, 5);
    char from[64], to[64];

    (void)state;
    logsink_write(s, "11111\n22222\n", 12);
    path_of("log.1", from);
    path_of("log.3", to);
    assert_int_equal(rename(from, to), 0);
    logsink_write(s, "33333\n44444\n", 12);
    logsink_close(s);
    assert_string_equal(take("log.1"), "44444\n");
    assert_string_equal(take("log.2"), "33333\n");
    assert_string_equal(take("log.3"), "11111\n");
    (void)take("log");
    assert_string_equal(take("log.4"), "22222\n");
}

static void one_file_alone_starts_anew(void **state)
{
    struct logsink *s = open_sink(4, 1);

    (void)state;
    logsink_write(s, "11111\n2", 7);
    logsink_close(s);
    assert_string_equal(take("log"), "2");
    assert_string_equal(take("log.1"), "-");
}

static void a_line_longer_than_the_limit_lies_in_one_file(void **state)
{
    struct logsink *s = open_sink(4, 2);

    (void)state;
    logsink_write(s, "a long ", 7);
    logsink_write(s, "line\nb", 6);
    logsink_close(s);
    assert_string_equal(take("log.1"), "a long line\n");
    assert_string_equal(take("log"), "b");
}

static void an_earlier_files_size_counts(void **state)
{
    struct logsink *s = open_sink(10, 2);

    (void)state;
    logsink_write(s, "12345678\n", 9);
    logsink_close(s);
    s = open_sink(10, 2);
    logsink_write(s, "abc\nd", 5);
    logsink_close(s);
    assert_string_equal(take("log.1"), "12345678\nabc\n");
    assert_string_equal(take("log"), "d");
}

static void set_limit(rlim_t bytes, struct rlimit *ret_was)
{
    struct rlimit tight;

    (void)signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, ret_was), 0);
    tight = (struct rlimit){bytes, ret_was->rlim_max};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &tight), 0);
}

/* A file size limit stands in for a full disk: both make write(2) fail. */
static void what_a_full_disk_swallowed_is_told_when_there_is_room_again(void **state)
{
    struct logsink *s = open_sink(1000, 2);
    struct rlimit was;
    const char *text;
    char trouble[LOGSINK_TROUBLE];

    (void)state;
    set_limit(4, &was);
    logsink_write(s, "abcdefgh\n", 9);
    logsink_write(s, "lost\n", 5);
    assert_true(logsink_trouble(s, trouble));
    assert_non_null(strstr(trouble, "/log' cannot be written: File too large; "));
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &was), 0);
    logsink_write(s, "again\n", 6);
    assert_false(logsink_trouble(s, trouble));
    assert_string_equal(trouble, "");
    logsink_close(s);
    text = take("log");
    assert_true(str_starts(text, "abcd…\nat="));
    assert_non_null(strstr(text, " lines=2 bytes=10 why=\"File too large\"\nagain\n"));
}

static void a_line_whose_beginning_is_lost_is_lost_whole(void **state)
{
    struct logsink *s = open_sink(1000, 2);
    struct rlimit was;
    const char *text;

    (void)state;
    set_limit(4, &was);
    logsink_write(s, "one\nlost, its beg", 17);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &was), 0);
    logsink_write(s, "inning and ", 11);
    logsink_write(s, "end\ntwo\n", 8);
    logsink_close(s);
    text = take("log");
    assert_true(str_starts(text, "one\nat="));
    assert_non_null(strstr(text, " lines=1 bytes=28 why="));
    assert_true(str_ends(text, "\ntwo\n"));
}

static void a_file_that_was_removed_is_made_anew_and_so_is_its_folder(void **state)
{
    struct logsink *s;
    char path[64], below[64];
    struct err err;

    (void)state;
    path_of("sub", below);
    path_of("sub/log", path);
    assert_int_equal(mkdir(below, 0700), 0);
    assert_int_equal(logsink_open(path, 100, 2, &s, &err), ERR_OK);
    logsink_write(s, "one\n", 4);
    assert_int_equal(unlink(path), 0);
    logsink_write(s, "two\n", 4);
    assert_string_equal(take("sub/log"), "two\n");
    assert_int_equal(rmdir(below), 0);
    logsink_write(s, "three\n", 6);
    logsink_close(s);
    assert_string_equal(take("sub/log"), "three\n");
    assert_int_equal(rmdir(below), 0);
}

static void two_writers_of_one_path_rotate_it_as_one(void **state)
{
    struct logsink *a = open_sink(10, 3), *b = open_sink(10, 3);

    (void)state;
    for (int i = 0; i < 3; i++) {
        logsink_write(a, "aaaaaa\n", 7);
        logsink_write(b, "bbbbbb\n", 7);
    }
    logsink_write(b, "b\n", 2);
    logsink_write(a, "a\n", 2);
    logsink_close(a);
    logsink_close(b);
    assert_string_equal(take("log"), "b\na\n");
    assert_string_equal(take("log.1"), "aaaaaa\nbbbbbb\n");
    assert_string_equal(take("log.2"), "aaaaaa\nbbbbbb\n");
}

static void a_path_that_cannot_be_opened_is_told(void **state)
{
    struct logsink *s = NULL;
    struct err err;

    (void)state;
    assert_int_not_equal(logsink_open("/nonexistent/log", 10, 2, &s, &err), ERR_OK);
    assert_non_null(strstr(err.msg, "/nonexistent/log"));
    assert_null(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_past_its_limit_is_rotated_at_a_lines_end),
        cmocka_unit_test(the_oldest_goes),
        cmocka_unit_test(a_gap_that_a_killed_rotation_left_is_closed),
        cmocka_unit_test(one_file_alone_starts_anew),
        cmocka_unit_test(a_line_longer_than_the_limit_lies_in_one_file),
        cmocka_unit_test(an_earlier_files_size_counts),
        cmocka_unit_test(what_a_full_disk_swallowed_is_told_when_there_is_room_again),
        cmocka_unit_test(a_line_whose_beginning_is_lost_is_lost_whole),
        cmocka_unit_test(a_file_that_was_removed_is_made_anew_and_so_is_its_folder),
        cmocka_unit_test(two_writers_of_one_path_rotate_it_as_one),
        cmocka_unit_test(a_path_that_cannot_be_opened_is_told),
    };

    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
