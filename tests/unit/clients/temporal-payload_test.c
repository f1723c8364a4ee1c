/* Values that travel through Temporal, and failures as words. */
#include "clients/temporal-payload.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/str.h"

/* One payload with an encoding and bytes. */
struct value {
    Tcom__Payloads payloads;
    Tcom__Payload payload, *list[1];
    Tcom__Payload__MetadataEntry entry[2], *entries[2];
};

static const Tcom__Payloads *value(struct value *v, const char *encoding, const void *data,
                                   size_t len)
{
    static char other[] = "messageType", key[] = "encoding";

    *v = (struct value){.payloads = TCOM__PAYLOADS__INIT, .payload = TCOM__PAYLOAD__INIT};
    for (int i = 0; i < 2; i++) {
        tcom__payload__metadata_entry__init(&v->entry[i]);
        v->entries[i] = &v->entry[i];
    }
    v->entry[0].key = other;
    v->entry[1].key = key;
    v->entry[1].value.data = (uint8_t *)(uintptr_t)encoding;
    v->entry[1].value.len = strlen(encoding);
    v->payload.metadata = v->entries;
    v->payload.n_metadata = 2;
    v->payload.data.data = (uint8_t *)(uintptr_t)data;
    v->payload.data.len = len;
    v->list[0] = &v->payload;
    v->payloads.payloads = v->list;
    v->payloads.n_payloads = 1;
    return &v->payloads;
}

static enum err_code read_text(const char *encoding, const char *text, json_t **ret,
                               struct err *err)
{
    struct value v;

    return temporal_payload_read(value(&v, encoding, text, strlen(text)), ret, err);
}

static void what_is_written_is_read_back(void **state)
{
    json_t *in = json_pack("{s:s,s:[i,n]}", "name", "\xd1\x85\"\n", "list", 1), *out;
    struct temporal_payload p;
    struct err err;

    (void)state;
    temporal_payload_init(&p, in);
    assert_memory_equal(p.encoding.value.data, "json/plain", p.encoding.value.len);
    assert_int_equal(temporal_payload_read(&p.payloads, &out, &err), ERR_OK);
    assert_true(json_equal(in, out));
    temporal_payload_done(&p);
    json_decref(in);
    json_decref(out);
}

static void json_of_both_kinds_is_read(void **state)
{
    static const char *const kinds[] = {"json/plain", "json/protobuf"};
    struct err err;
    json_t *out;

    (void)state;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(read_text(kinds[i], "{\"executionId\":\"aex-1\"}", &out, &err), ERR_OK);
        assert_string_equal(json_string_value(json_object_get(out, "executionId")), "aex-1");
        json_decref(out);
        assert_int_equal(read_text(kinds[i], "\"aex-1\"", &out, &err), ERR_OK);
        assert_true(json_is_string(out));
        json_decref(out);
    }
}

static void nothing_is_null(void **state)
{
    Tcom__Payloads none = TCOM__PAYLOADS__INIT;
    struct err err;
    json_t *out;

    (void)state;
    assert_int_equal(temporal_payload_read(NULL, &out, &err), ERR_OK);
    assert_true(json_is_null(out));
    assert_int_equal(temporal_payload_read(&none, &out, &err), ERR_OK);
    assert_true(json_is_null(out));
    assert_int_equal(read_text("binary/null", "", &out, &err), ERR_OK);
    assert_true(json_is_null(out));
}

static void other_encodings_are_refused_in_words(void **state)
{
    static const char *const kinds[] = {"binary/plain",    "binary/protobuf", "binary/encrypted",
                                        "json/plain+zlib", "json/plai",       ""};
    struct err err;
    json_t *out;

    (void)state;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        assert_int_equal(read_text(kinds[i], "{}", &out, &err), ERR_UNSUPPORTED);
        assert_non_null(strstr(err.msg, "json/plain"));
    }
}

static void what_is_no_json_is_refused(void **state)
{
    static const char *const texts[] = {"",         "{",     "{\"a\":1,\"a\":2}", "nul",
                                        "\"\xff\"", "{} {}", "\"\\u0000\"",       "[1,]"};
    struct value v;
    struct err err;
    json_t *out;

    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        assert_int_equal(read_text("json/plain", texts[i], &out, &err), ERR_INVALID);
    assert_int_equal(temporal_payload_read(value(&v, "json/plain", "\"a\0b\"", 5), &out, &err),
                     ERR_INVALID);
}

static void a_value_that_is_too_large_or_too_deep_is_refused(void **state)
{
    const size_t size = ((size_t)2 << 20) + 1, deep = 100000;
    char *text = mem_array(size, 1);
    struct value v;
    struct err err;
    json_t *out;

    (void)state;
    memset(text, ' ', size);
    assert_int_equal(temporal_payload_read(value(&v, "json/plain", text, size), &out, &err),
                     ERR_LIMIT);
    memset(text, '[', deep);
    assert_int_equal(temporal_payload_read(value(&v, "json/plain", text, deep), &out, &err),
                     ERR_INVALID);
    free(text);
}

/* ---- failures ---- */

static void chain(Tfail__Failure *f, size_t count)
{
    static char words[] = "again";

    for (size_t i = 0; i < count; i++) {
        tfail__failure__init(&f[i]);
        f[i].message = words;
        f[i].cause = i + 1 < count ? &f[i + 1] : NULL;
    }
}

static void a_failure_is_told_with_its_causes(void **state)
{
    char one[] = "activity error", two[] = "", three[] = "the disk is full", ret[200];
    Tfail__Failure f[3];

    (void)state;
    chain(f, 3);
    f[0].message = one;
    f[1].message = two;
    f[2].message = three;
    temporal_payload_failure(f, ret, sizeof ret);
    assert_string_equal(ret, "activity error: the disk is full");
    temporal_payload_failure(NULL, ret, sizeof ret);
    assert_string_equal(ret, "no reason was given");
}

static void causes_beyond_the_limit_are_left_out(void **state)
{
    Tfail__Failure f[1000];
    char ret[1000];
    size_t told = 1;

    (void)state;
    chain(f, 1000);
    temporal_payload_failure(f, ret, sizeof ret);
    for (const char *p = ret; (p = strstr(p, ": ")); p += 2)
        told++;
    assert_int_equal(told, TEMPORAL_PAYLOAD_CAUSES);
}

static void a_failure_is_one_line_of_valid_text_however_it_is_cut(void **state)
{
    char message[2000], ret[1000];
    Tfail__Failure f[3];

    (void)state;
    chain(f, 3);
    (void)str_format(message, sizeof message, "a\r\n\tb\x1b[31m");
    f[0].message = message;
    temporal_payload_failure(f, ret, sizeof ret);
    for (const char *p = ret; *p; p++)
        assert_true(*p >= ' ' && *p != 0x7f);
    for (size_t i = 0; i + 2 < sizeof message; i += 2)
        memcpy(message + i, "\xd0\xb6", 3);
    f[1].message = f[2].message = message;
    for (size_t size = 1; size <= sizeof ret; size++) {
        temporal_payload_failure(f, ret, size);
        assert_int_equal(str_utf8_check(ret, strlen(ret)), strlen(ret));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read_back),
        cmocka_unit_test(json_of_both_kinds_is_read),
        cmocka_unit_test(nothing_is_null),
        cmocka_unit_test(other_encodings_are_refused_in_words),
        cmocka_unit_test(what_is_no_json_is_refused),
        cmocka_unit_test(a_value_that_is_too_large_or_too_deep_is_refused),
        cmocka_unit_test(a_failure_is_told_with_its_causes),
        cmocka_unit_test(causes_beyond_the_limit_are_left_out),
        cmocka_unit_test(a_failure_is_one_line_of_valid_text_however_it_is_cut),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
