/* Log frames of a container engine, whole and split at every byte. */
#include "wire/dockerlog.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <string.h>

#include "base/buf.h"

struct seen {
    struct buf text[3];
};

static void note(int stream, bool begins, const char *text, size_t len, void *arg)
{
    struct seen *seen = arg;

    (void)begins;
    buf_put(&seen->text[stream], text, len);
}

static void text_comes_out_whole_wherever_the_bytes_are_split(void **state)
{
    static const char stream[] = "\1\0\0\0\0\0\0\5hello"
                                 "\2\0\0\0\0\0\0\0"
                                 "\2\0\0\0\0\0\0\3bad"
                                 "\1\0\0\0\0\0\0\1!";
    const size_t len = sizeof stream - 1;

    (void)state;
    for (size_t cut = 0; cut <= len; cut++) {
        struct dockerlog d;
        struct seen seen = {0};

        dockerlog_init(&d, note, &seen);
        assert_int_equal(dockerlog_feed(&d, stream, cut, NULL), ERR_OK);
        assert_int_equal(dockerlog_feed(&d, stream + cut, len - cut, NULL), ERR_OK);
        assert_string_equal(buf_text(&seen.text[1]), "hello!");
        assert_string_equal(buf_text(&seen.text[2]), "bad");
        buf_done(&seen.text[1]);
        buf_done(&seen.text[2]);
    }
}

static void long_frames_need_no_memory(void **state)
{
    static const char head[] = {1, 0, 0, 0, (char)0xff, (char)0xff, (char)0xff, (char)0xff};
    struct dockerlog d;
    struct seen seen = {0};

    (void)state;
    dockerlog_init(&d, note, &seen);
    assert_int_equal(dockerlog_feed(&d, head, sizeof head, NULL), ERR_OK);
    assert_int_equal(dockerlog_feed(&d, "abc", 3, NULL), ERR_OK);
    assert_string_equal(buf_text(&seen.text[1]), "abc");
    assert_int_equal(d.left, 0xffffffffu - 3);
    buf_done(&seen.text[1]);
}

static void bytes_that_are_no_frame_are_refused(void **state)
{
    static const char *const wrong[] = {"\3\0\0\0\0\0\0\1x", "\1\1\0\0\0\0\0\1x", "HTTP/1.1"};

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        struct dockerlog d;
        struct err err;

        dockerlog_init(&d, note, NULL);
        assert_int_equal(dockerlog_feed(&d, wrong[i], 8, &err), ERR_INVALID);
        assert_non_null(strstr(err.msg, "no log frame"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_comes_out_whole_wherever_the_bytes_are_split),
        cmocka_unit_test(long_frames_need_no_memory),
        cmocka_unit_test(bytes_that_are_no_frame_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
