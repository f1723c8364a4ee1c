/* Lines of newline-delimited JSON, whole and split at every byte. */
#include "wire/ndjson.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

static bool note(const char *line, size_t len, void *arg)
{
    struct buf *out = arg;

    buf_puts(out, "[");
    buf_put(out, line, len);
    buf_puts(out, "]");
    return strcmp(line, "stop") != 0;
}

static void expect(const char *stream, const char *want)
{
    size_t len = strlen(stream);

    for (size_t cut = 0; cut <= len; cut++) {
        struct ndjson n;
        struct buf out;

        buf_init(&out, 0);
        ndjson_init(&n, 100, note, &out);
        assert_int_equal(ndjson_feed(&n, stream, cut, NULL), ERR_OK);
        assert_int_equal(ndjson_feed(&n, stream + cut, len - cut, NULL), ERR_OK);
        ndjson_finish(&n);
        assert_string_equal(buf_text(&out), want);
        ndjson_done(&n);
        buf_done(&out);
    }
}

static void lines_come_out_whole_wherever_the_bytes_are_split(void **state)
{
    (void)state;
    expect("{\"a\":1}\n{\"b\":2}\r\n", "[{\"a\":1}][{\"b\":2}]");
}

static void blank_lines_are_skipped(void **state)
{
    (void)state;
    expect("\n  \na\n\r\n\tb\n", "[a][\tb]");
}

static void the_last_line_may_lack_its_newline(void **state)
{
    (void)state;
    expect("a\nb", "[a][b]");
}

static void a_reader_can_stop(void **state)
{
    (void)state;
    expect("a\nstop\nb\n", "[a][stop]");
}

static void a_line_over_the_limit_is_refused(void **state)
{
    struct ndjson n;
    struct buf out;
    char line[128];

    (void)state;
    memset(line, 'x', sizeof line);
    buf_init(&out, 0);
    ndjson_init(&n, 100, note, &out);
    assert_int_equal(ndjson_feed(&n, line, 90, NULL), ERR_OK);
    assert_int_equal(ndjson_feed(&n, line, 90, NULL), ERR_LIMIT);
    assert_string_equal(buf_text(&out), "");
    ndjson_done(&n);
    buf_done(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_come_out_whole_wherever_the_bytes_are_split),
        cmocka_unit_test(blank_lines_are_skipped),
        cmocka_unit_test(the_last_line_may_lack_its_newline),
        cmocka_unit_test(a_reader_can_stop),
        cmocka_unit_test(a_line_over_the_limit_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
