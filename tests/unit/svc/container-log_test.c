/* A container's output made into lines, and where it goes on after a crash. */
#include "svc/container-log.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"

#define AT "2026-01-31T12:00:00.00000000"

static void note(const char *lines, size_t len, void *arg)
{
    buf_put(arg, lines, len);
}

static void frame(struct container_log *l, int stream, const char *text)
{
    container_log_take(l, stream, true, text, strlen(text));
}

static void put_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, strlen(text), f), strlen(text));
    assert_int_equal(fclose(f), 0);
}

static void two_streams_do_not_mix_and_empty_lines_count(void **state)
{
    struct buf got = {0};
    struct container_log *l = container_log_new(note, &got);

    (void)state;
    frame(l, 1, AT "1Z out, ");
    frame(l, 2, AT "2Z err\n");
    frame(l, 1, AT "1Z whole\n");
    frame(l, 1, AT "3Z \n");
    frame(l, 2, AT "4Z cut");
    container_log_flush(l);
    assert_string_equal(buf_text(&got), AT "2Z err\n" AT "1Z out, whole\n" AT "3Z \n");
    container_log_end(l);
    assert_non_null(strstr(buf_text(&got), AT "4Z cut\n"));
    container_log_free(l);
    buf_done(&got);
}

static void frames_may_come_split_at_every_byte(void **state)
{
    static const char text[] = AT "1Z one\n";

    (void)state;
    for (size_t cut = 0; cut < sizeof text; cut++) {
        struct buf got = {0};
        struct container_log *l = container_log_new(note, &got);

        container_log_take(l, 1, true, text, cut);
        container_log_take(l, 1, false, text + cut, sizeof text - 1 - cut);
        container_log_flush(l);
        if (cut)
            assert_string_equal(buf_text(&got), text);
        container_log_free(l);
        buf_done(&got);
    }
}

static void a_stream_that_begins_again_doubles_no_line(void **state)
{
    struct buf got = {0};
    struct container_log *l = container_log_new(note, &got);

    (void)state;
    for (int i = 0; i < 3; i++) {
        frame(l, 1, AT "1Z again\n");
        frame(l, 1, AT "2Z again\n");
    }
    frame(l, 1, AT "3Z new\n");
    container_log_flush(l);
    assert_string_equal(buf_text(&got), AT "1Z again\n" AT "2Z again\n" AT "3Z new\n");
    container_log_free(l);
    buf_done(&got);
}

static void a_long_line_is_given_in_pieces_and_known_again(void **state)
{
    char *text = malloc(3 * CONTAINER_LOG_LINE_MAX);
    struct buf got = {0};
    struct container_log *l = container_log_new(note, &got);
    size_t whole;

    (void)state;
    assert_non_null(text);
    memset(text, 'z', 3 * CONTAINER_LOG_LINE_MAX);
    memcpy(text, AT "1Z ", strlen(AT "1Z "));
    text[2 * CONTAINER_LOG_LINE_MAX + 40] = '\n';
    container_log_take(l, 1, true, text, 2 * CONTAINER_LOG_LINE_MAX + 41);
    container_log_flush(l);
    whole = got.len;
    assert_int_equal(whole, 2 * CONTAINER_LOG_LINE_MAX + 41 + 2 * strlen(AT "1Z \n"));
    assert_non_null(memmem(got.data, got.len, "\n" AT "3Z zzz", strlen("\n" AT "3Z zzz")));
    container_log_take(l, 1, true, text, 2 * CONTAINER_LOG_LINE_MAX + 41);
    container_log_flush(l);
    assert_int_equal(got.len, whole);
    container_log_free(l);
    buf_done(&got);
    free(text);
}

/* The engine is asked from the earliest time that is known, and sends what is known again. */
static void check_resume(const char *path, const char *older, const char *log, const char *rest)
{
    char previous[64];
    struct buf got = {0};
    struct container_log *l = container_log_new(note, &got);

    (void)snprintf(previous, sizeof previous, "%s.1", path);
    (void)unlink(path);
    (void)unlink(previous);
    if (older)
        put_file(previous, older);
    if (log)
        put_file(path, log);
    assert_true(container_log_resume(l, path, true) == (older || log ? 1769860800 : 0));
    for (const char *p = AT "1Z a\n\0" AT "2Z b\n\0" AT "3Z b\n\0" AT "4Z c\n\0"; *p;
         p += strlen(p) + 1)
        frame(l, 1, p);
    container_log_flush(l);
    assert_string_equal(buf_text(&got), rest);
    container_log_free(l);
    buf_done(&got);
    (void)unlink(path);
    (void)unlink(previous);
}

static void what_the_log_ends_with_is_passed_over(void **state)
{
    char path[] = "/tmp/container-log-XXXXXX";
    int fd = mkstemp(path);

    (void)state;
    assert_true(fd >= 0);
    close(fd);
    check_resume(path, NULL, NULL, AT "1Z a\n" AT "2Z b\n" AT "3Z b\n" AT "4Z c\n");
    check_resume(path, NULL, AT "1Z a\n" AT "2Z b\n", AT "3Z b\n" AT "4Z c\n");
    check_resume(path, NULL, AT "1Z a\n" AT "2Z b", AT "2Z b\n" AT "3Z b\n" AT "4Z c\n");
    check_resume(path, AT "1Z a\n" AT "2Z b\n", NULL, AT "3Z b\n" AT "4Z c\n"); /* just rotated */
    check_resume(path, AT "1Z a\n" AT "2Z b\n", "", AT "3Z b\n" AT "4Z c\n");
    check_resume(path, AT "1Z a\n", AT "2Z b\n" AT "3Z b\n", AT "4Z c\n");
    check_resume(path, NULL, AT "3Z b\n", AT "4Z c\n"); /* what is older was given */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_streams_do_not_mix_and_empty_lines_count),
        cmocka_unit_test(frames_may_come_split_at_every_byte),
        cmocka_unit_test(a_stream_that_begins_again_doubles_no_line),
        cmocka_unit_test(a_long_line_is_given_in_pieces_and_known_again),
        cmocka_unit_test(what_the_log_ends_with_is_passed_over),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
