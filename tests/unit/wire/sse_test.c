/* Server-sent events. Every test runs its stream whole and split at every byte. */
#include "wire/sse.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

static bool note(const char *name, const char *data, size_t len, void *arg)
{
    struct buf *out = arg;

    buf_printf(out, "[%s|", name);
    buf_put(out, data, len);
    buf_puts(out, "]");
    return memcmp(data, "stop", len < 4 ? len : 4) != 0;
}

static void run(const char *stream, size_t len, size_t first, size_t step, struct buf *out)
{
    struct sse s;

    sse_init(&s, 4096, note, out);
    assert_int_equal(sse_feed(&s, stream, first, NULL), ERR_OK);
    for (size_t at = first; at < len; at += step) {
        size_t n = len - at < step ? len - at : step;

        assert_int_equal(sse_feed(&s, stream + at, n, NULL), ERR_OK);
    }
    sse_finish(&s);
    sse_done(&s);
}

static void expect(const char *stream, const char *want)
{
    size_t len = strlen(stream);

    for (size_t first = 0; first <= len; first++) {
        struct buf out;

        buf_init(&out, 0);
        run(stream, len, first, first ? len : 1, &out);
        assert_string_equal(buf_text(&out), want);
        buf_done(&out);
    }
}

static void events_are_told_with_their_name_and_data(void **state)
{
    (void)state;
    expect("event: a\ndata: 1\n\ndata: 2\n\n", "[a|1][message|2]");
}

static void every_line_ending_of_the_format_works(void **state)
{
    (void)state;
    expect("data: 1\r\n\r\ndata: 2\r\rdata: 3\n\n", "[message|1][message|2][message|3]");
}

static void several_data_lines_are_one_event(void **state)
{
    (void)state;
    expect("data: a\ndata:b\ndata:  c\ndata\n\n", "[message|a\nb\n c\n]");
}

static void comments_ids_and_retry_times_are_skipped(void **state)
{
    (void)state;
    expect(": hello\nid: 7\nretry: 10\nother: x\ndata: 1\n\n:\n\n", "[message|1]");
}

static void an_event_without_data_is_not_told(void **state)
{
    (void)state;
    expect("event: ping\n\ndata: 1\n\n", "[message|1]");
}

static void a_leading_byte_order_mark_is_skipped_and_only_there(void **state)
{
    (void)state;
    expect("\xef\xbb\xbf"
           "data: \xef\xbb\xbf\n\n",
           "[message|\xef\xbb\xbf]");
    expect("\xef\xbb"
           "data: 1\n\ndata: 2\n\n",
           "[message|2]");
}

static void the_last_event_may_lack_its_blank_line_but_not_half_a_line(void **state)
{
    (void)state;
    expect("data: 1\n\ndata: 2\n", "[message|1][message|2]");
    expect("data: 1\n\ndata: 2", "[message|1]");
}

static void a_reader_can_stop_the_stream(void **state)
{
    (void)state;
    expect("data: stop\n\ndata: 2\n\n", "[message|stop]");
}

static void an_event_over_the_limit_is_refused(void **state)
{
    struct sse s;
    struct err err;
    struct buf out;
    enum err_code rc = ERR_OK;

    (void)state;
    buf_init(&out, 0);
    sse_init(&s, 64, note, &out);
    for (int i = 0; i < 20 && rc == ERR_OK; i++)
        rc = sse_feed(&s, "data: 0123456789\n", 17, &err);
    assert_int_equal(rc, ERR_LIMIT);
    sse_done(&s);
    sse_init(&s, 64, note, &out);
    for (int i = 0; i < 20; i++)
        rc = sse_feed(&s, "01234567", 8, &err);
    assert_int_equal(rc, ERR_LIMIT);
    sse_done(&s);
    buf_done(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(events_are_told_with_their_name_and_data),
        cmocka_unit_test(every_line_ending_of_the_format_works),
        cmocka_unit_test(several_data_lines_are_one_event),
        cmocka_unit_test(comments_ids_and_retry_times_are_skipped),
        cmocka_unit_test(an_event_without_data_is_not_told),
        cmocka_unit_test(a_leading_byte_order_mark_is_skipped_and_only_there),
        cmocka_unit_test(the_last_event_may_lack_its_blank_line_but_not_half_a_line),
        cmocka_unit_test(a_reader_can_stop_the_stream),
        cmocka_unit_test(an_event_over_the_limit_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
