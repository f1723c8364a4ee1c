#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "wire/grpc.h"

static size_t put_message(uint8_t *to, const char *text)
{
    grpc_prefix(to, strlen(text));
    memcpy(to + GRPC_PREFIX, text, strlen(text));
    return GRPC_PREFIX + strlen(text);
}

static void any_cut_of_the_bytes_gives_the_same_messages(void **state)
{
    (void)state;
    uint8_t wire[128];
    size_t len = put_message(wire, "first");
    len += put_message(wire + len, "");
    len += put_message(wire + len, "the third one");
    for (size_t step = 1; step <= len; step++) {
        struct grpc_reader r;
        struct err err;
        char all[64] = "";
        grpc_reader_init(&r, 64);
        for (size_t at = 0; at < len; at += step) {
            size_t n = len - at < step ? len - at : step;
            assert_int_equal(grpc_reader_feed(&r, wire + at, n, &err), ERR_OK);
            const uint8_t *msg;
            size_t msg_len;
            bool compressed;
            while (grpc_reader_next(&r, &msg, &msg_len, &compressed)) {
                assert_false(compressed);
                strncat(all, (const char *)msg, msg_len);
                all[strlen(all)] = '|'; /* the array was zeroed and is larger than what is added */
            }
        }
        assert_string_equal(all, "first||the third one|");
        assert_true(grpc_reader_is_empty(&r));
        grpc_reader_done(&r);
    }
}

static void a_message_over_the_limit_is_refused_at_its_prefix(void **state)
{
    (void)state;
    struct grpc_reader r;
    struct err err;
    uint8_t prefix[GRPC_PREFIX];
    grpc_reader_init(&r, 100);
    grpc_prefix(prefix, 101);
    assert_int_equal(grpc_reader_feed(&r, prefix, 4, &err), ERR_OK);
    assert_false(grpc_reader_is_empty(&r));
    assert_int_equal(grpc_reader_feed(&r, prefix + 4, 1, &err), ERR_LIMIT);
    assert_string_equal(err.msg, "message of 101 bytes is larger than the limit of 100 bytes");
    grpc_reader_done(&r);
}

static void the_compression_flag_is_told(void **state)
{
    (void)state;
    struct grpc_reader r;
    struct err err;
    const uint8_t *msg;
    size_t len;
    bool compressed = false;
    grpc_reader_init(&r, 100);
    assert_int_equal(grpc_reader_feed(&r, "\1\0\0\0\1x", 6, &err), ERR_OK);
    assert_true(grpc_reader_next(&r, &msg, &len, &compressed));
    assert_true(compressed);
    assert_false(grpc_reader_next(&r, &msg, &len, &compressed));
    grpc_reader_done(&r);
}

static void timeouts_are_read_in_every_unit_and_rounded_up(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t ms;
    } good[] = {{"1H", 3600000},    {"2M", 120000}, {"3S", 3000},
                {"100m", 100},      {"1u", 1},      {"1500u", 2},
                {"99999999n", 100}, {"0m", 0},      {"99999999H", 99999999LL * 3600000}};
    static const char *const bad[] = {"", "m", "1", "123456789m", "1x", "-1m", "1.5S", " 1m"};
    struct err err;
    int64_t ms;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        assert_int_equal(grpc_timeout_parse(good[i].text, strlen(good[i].text), &ms, &err), ERR_OK);
        assert_int_equal(ms, good[i].ms);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(grpc_timeout_parse(bad[i], strlen(bad[i]), &ms, &err), ERR_INVALID);
}

static void a_written_timeout_is_never_shorter_than_the_asked_one(void **state)
{
    (void)state;
    static const int64_t asked[] = {0, 1, 99999999, 100000000, 123456789012, 5999999940001};
    for (size_t i = 0; i < sizeof asked / sizeof *asked; i++) {
        char text[16];
        int64_t ms;
        grpc_timeout_format(asked[i], text);
        assert_int_equal(grpc_timeout_parse(text, strlen(text), &ms, NULL), ERR_OK);
        assert_true(ms >= asked[i]);
    }
}

static void percent_encoding_survives_the_round_trip(void **state)
{
    (void)state;
    OWN_BUF struct buf enc = {0};
    OWN_BUF struct buf dec = {0};
    const char *text = "100% sch\xc3\xb6n\nline 2\t~";
    grpc_percent_encode(text, &enc);
    assert_string_equal(buf_text(&enc), "100%25 sch%C3%B6n%0Aline 2%09~");
    grpc_percent_decode(buf_text(&enc), enc.len, &dec);
    assert_string_equal(buf_text(&dec), text);
}

static void a_broken_escape_stays_as_it_is(void **state)
{
    (void)state;
    OWN_BUF struct buf dec = {0};
    grpc_percent_decode("a%zz%4", 6, &dec);
    assert_string_equal(buf_text(&dec), "a%zz%4");
}

static void every_status_has_its_name(void **state)
{
    (void)state;
    assert_string_equal(grpc_status_name(GRPC_NOT_FOUND), "NOT_FOUND");
    assert_string_equal(grpc_status_name(GRPC_UNAUTHENTICATED), "UNAUTHENTICATED");
    assert_string_equal(grpc_status_name(-1), "UNKNOWN");
    assert_string_equal(grpc_status_name(99), "UNKNOWN");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_cut_of_the_bytes_gives_the_same_messages),
        cmocka_unit_test(a_message_over_the_limit_is_refused_at_its_prefix),
        cmocka_unit_test(the_compression_flag_is_told),
        cmocka_unit_test(timeouts_are_read_in_every_unit_and_rounded_up),
        cmocka_unit_test(a_written_timeout_is_never_shorter_than_the_asked_one),
        cmocka_unit_test(percent_encoding_survives_the_round_trip),
        cmocka_unit_test(a_broken_escape_stays_as_it_is),
        cmocka_unit_test(every_status_has_its_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
