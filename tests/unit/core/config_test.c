#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/str.h"
#include <string.h>

#include "core/config.h"

struct env_row {
    const char *name, *value;
};

static const char *from_rows(const char *name, void *arg)
{
    for (const struct env_row *r = arg; r->name; r++)
        if (strcmp(r->name, name) == 0)
            return r->value;
    return NULL;
}

static int line_seven(const char *path, void *arg)
{
    (void)path;
    (void)arg;
    return 7;
}

static enum err_code load_text(struct config *c, const char *text, struct err *err)
{
    json_t *doc = json_loads(text, 0, NULL);
    enum err_code code;

    assert_non_null(doc);
    code = config_load(c, doc, line_seven, NULL, err);
    json_decref(doc);
    return code;
}

static void every_default_is_a_value_of_its_key(void **state)
{
    (void)state;
    for (int k = 0; k < CONFIG_KEYS; k++) {
        const struct config_row *r = config_row((enum config_key)k);
        enum config_key found;

        assert_true(config_find(r->name, &found));
        assert_int_equal(found, k);
        assert_non_null(r->help);
        if (*r->fallback)
            assert_int_equal(config_check((enum config_key)k, r->fallback, NULL), ERR_OK);
    }
}

static void a_flag_beats_the_environment_beats_the_file(void **state)
{
    struct env_row env[] = {
        {"STIGMER_RUNNER_SLOTS", "4"}, {"STIGMER_RUNNER_PIDS", "99"}, {NULL, NULL}};
    struct config c;

    (void)state;
    config_init(&c);
    assert_int_equal(config_get_int(&c, CONFIG_RUNNER_SLOTS), 16);
    assert_int_equal(config_set_pair(&c, CONFIG_FROM_FLAG, "runner.slots=8", NULL), ERR_OK);
    assert_int_equal(config_load_env(&c, from_rows, env, NULL), ERR_OK);
    assert_int_equal(
        load_text(&c, "{\"runner\":{\"slots\":2,\"pids\":50,\"memory\":\"64MiB\"}}", NULL), ERR_OK);
    assert_int_equal(config_get_int(&c, CONFIG_RUNNER_SLOTS), 8);
    assert_int_equal(config_get_int(&c, CONFIG_RUNNER_PIDS), 99);
    assert_int_equal(config_get_size(&c, CONFIG_RUNNER_MEMORY), 64 << 20);
    assert_int_equal(config_origin(&c, CONFIG_RUNNER_PIDS), CONFIG_FROM_ENV);
    assert_string_equal(config_origin_name(config_origin(&c, CONFIG_RUNNER_MEMORY)), "file");
    config_done(&c);
}

static void a_change_of_provider_keeps_no_model_of_the_other(void **state)
{
    struct env_row env[] = {{"STIGMER_LLM_PROVIDER", "openai"}, {NULL, NULL}};
    struct config c;

    (void)state;
    config_init(&c);
    assert_int_equal(load_text(&c,
                               "{\"llm\":{\"provider\":\"anthropic\",\"model\":\"claude-x\","
                               "\"base_url\":\"http://127.0.0.1:1\",\"context_tokens\":5}}",
                               NULL),
                     ERR_OK);
    assert_string_equal(config_get_str(&c, CONFIG_LLM_MODEL), "claude-x");
    assert_int_equal(config_load_env(&c, from_rows, env, NULL), ERR_OK);
    assert_string_equal(config_get_str(&c, CONFIG_LLM_PROVIDER), "openai");
    assert_string_not_equal(config_get_str(&c, CONFIG_LLM_MODEL), "claude-x");
    assert_string_equal(config_get_str(&c, CONFIG_LLM_BASE_URL), "https://api.openai.com/v1");
    assert_int_equal(config_get_int(&c, CONFIG_LLM_CONTEXT_TOKENS), 0);
    assert_int_equal(config_set_pair(&c, CONFIG_FROM_FLAG, "llm.model=mine", NULL), ERR_OK);
    assert_string_equal(config_get_str(&c, CONFIG_LLM_MODEL), "mine");
    config_done(&c);
}

static void all_faults_of_a_file_are_told_with_line_and_nearest_key(void **state)
{
    struct config c;
    struct err e = {0};

    (void)state;
    config_init(&c);
    assert_int_equal(load_text(&c,
                               "{\"llm\":{\"modle\":\"x\",\"provider\":\"bing\"},"
                               "\"runner\":{\"slots\":0,\"image\":\"ok\"},\"server\":3}",
                               &e),
                     ERR_INVALID);
    assert_non_null(strstr(e.msg, "line 7: unknown key 'llm.modle', did you mean 'llm.model'?"));
    assert_non_null(strstr(e.msg, "'bing' is not one of anthropic, openai, ollama, replay"));
    assert_non_null(strstr(e.msg, "runner.slots: '0' is not a whole number from 1"));
    assert_non_null(strstr(e.msg, "server: keys are expected below it"));
    assert_string_equal(config_get_str(&c, CONFIG_RUNNER_IMAGE), "stigmer-agent-runner:local");
    config_done(&c);
}

static void a_temporal_that_somebody_names_is_not_ours_to_start(void **state)
{
    struct config c;
    struct err e;

    (void)state;
    config_init(&c);
    assert_true(config_temporal_is_managed(&c));
    assert_int_equal(config_set_pair(&c, CONFIG_FROM_ENV, "temporal.address=10.0.0.1:7233", &e),
                     ERR_OK);
    assert_false(config_temporal_is_managed(&c));
    assert_int_equal(config_set_pair(&c, CONFIG_FROM_FLAG, "temporal.managed=true", &e), ERR_OK);
    assert_true(config_temporal_is_managed(&c));
    assert_int_equal(config_set_pair(&c, CONFIG_FROM_FLAG, "temporal.managed=false", &e), ERR_OK);
    assert_false(config_temporal_is_managed(&c));
    config_done(&c);
}

static void tls_to_temporal_is_implied_by_what_needs_it(void **state)
{
    static const struct {
        const char *text;
        bool tls;
    } rows[] = {{"{\"temporal\":{\"address\":\"10.0.0.1:7233\"}}", false},
                {"{\"temporal\":{\"tls\":{\"ca\":\"/x\"}}}", true},
                {"{\"temporal\":{\"api_key_file\":\"/x\"}}", true},
                {"{\"temporal\":{\"tls\":{\"server_name\":\"t.example\"}}}", true},
                {"{\"temporal\":{\"tls\":{\"enabled\":true}}}", true},
                {"{\"temporal\":{\"tls\":{\"enabled\":false,\"ca\":\"/x\"}}}", false}};

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct config c;
        struct err e = {0};

        config_init(&c);
        if (load_text(&c, rows[i].text, &e))
            fail_msg("%s", e.msg);
        assert_int_equal(config_temporal_has_tls(&c), rows[i].tls);
        config_done(&c);
    }
}

static void what_comes_later_is_named_as_such(void **state)
{
    struct config c;
    struct err e = {0};

    (void)state;
    config_init(&c);
    assert_int_equal(load_text(&c, "{\"llm\":{\"fallback\":\"x\"}}", &e), ERR_INVALID);
    assert_non_null(strstr(e.msg, "not available in this version"));
    config_done(&c);
}

static void listening_beyond_loopback_needs_a_token_and_tls(void **state)
{
    static const struct {
        const char *address;
        bool loopback;
    } rows[] = {{"127.0.0.1:7234", true},       {"127.1.2.3:0", true},
                {"[::1]:7234", true},           {"localhost:7234", true},
                {"[::ffff:127.0.0.1]:1", true}, {"0.0.0.0:7234", false},
                {"[::]:7234", false},           {"192.168.1.2:7234", false},
                {"127.evil.example:80", false}, {"localhost.example:80", false},
                {"[::ffff:10.0.0.1]:1", false}, {"host:7234", false},
                {"[2001:db8::1]:1", false},     {"128.0.0.1:1", false}};
    struct config c;
    struct err e = {0};

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char pair[64];

        config_init(&c);
        (void)str_format(pair, sizeof pair, "server.listen=%s", rows[i].address);
        assert_int_equal(config_set_pair(&c, CONFIG_FROM_FLAG, pair, &e), ERR_OK);
        if (config_is_loopback(rows[i].address) != rows[i].loopback)
            fail_msg("%s", rows[i].address);
        assert_int_equal(config_check_listen(&c, &e), rows[i].loopback ? ERR_OK : ERR_INVALID);
        config_done(&c);
    }
    assert_false(config_is_loopback(""));
    assert_false(config_is_loopback("[:1"));
    config_init(&c);
    assert_int_equal(config_set_pair(&c, CONFIG_FROM_FLAG, "server.listen=0.0.0.0:1", &e), ERR_OK);
    assert_int_equal(config_set_pair(&c, CONFIG_FROM_ENV, "server.token_file=/t", &e), ERR_OK);
    assert_int_equal(config_check_listen(&c, &e), ERR_INVALID);
    assert_non_null(strstr(e.msg, "set server.tls.cert, server.tls.key"));
    assert_non_null(strstr(e.hint, "config set server.tls.cert"));
    assert_int_equal(config_set_pair(&c, CONFIG_FROM_FILE, "server.tls.cert=/c", &e), ERR_OK);
    assert_int_equal(config_set_pair(&c, CONFIG_FROM_FILE, "server.tls.key=/k", &e), ERR_OK);
    assert_int_equal(config_check_listen(&c, &e), ERR_OK);
    config_done(&c);
}

static void egress_is_public_unless_said_otherwise(void **state)
{
    struct buf w = {0};
    struct config c;

    (void)state;
    config_init(&c);
    assert_string_equal(config_egress(&c), "public");
    assert_int_equal(
        load_text(&c, "{\"sandbox\":{\"egress\":[\"*.debian.org\",\"a.b:443\"]}}", NULL), ERR_OK);
    assert_string_equal(config_egress(&c), "*.debian.org,a.b:443");
    assert_int_equal(config_set_pair(&c, CONFIG_FROM_FLAG, "sandbox.egress=allow", NULL), ERR_OK);
    assert_string_equal(config_egress(&c), "allow");
    config_warnings(&c, &w);
    assert_int_equal(w.len, 0);
    assert_int_equal(config_set_pair(&c, CONFIG_FROM_FLAG, "sandbox.require=none", NULL), ERR_OK);
    config_warnings(&c, &w);
    assert_non_null(strstr(buf_text(&w), "sandbox.require is none"));
    buf_done(&w);
    config_done(&c);
}

static void a_list_of_layers_is_checked_word_by_word(void **state)
{
    struct config c;

    (void)state;
    config_init(&c);
    assert_true(config_has(&c, CONFIG_SANDBOX_REQUIRE, "seccomp"));
    assert_false(config_has(&c, CONFIG_SANDBOX_REQUIRE, "sec"));
    assert_int_equal(config_check(CONFIG_SANDBOX_REQUIRE, "none", NULL), ERR_OK);
    assert_int_equal(config_check(CONFIG_SANDBOX_REQUIRE, "landlock,none", NULL), ERR_INVALID);
    assert_int_equal(config_check(CONFIG_SANDBOX_REQUIRE, "landlock,,seccomp", NULL), ERR_INVALID);
    assert_int_equal(config_check(CONFIG_SANDBOX_REQUIRE, "", NULL), ERR_INVALID);
    config_done(&c);
}

static void values_of_the_wrong_form_are_refused(void **state)
{
    static const struct {
        enum config_key key;
        const char *text;
        bool good;
    } rows[] = {
        {CONFIG_SERVER_LISTEN, "127.0.0.1:0", true},
        {CONFIG_SERVER_LISTEN, "[::1]:7234", true},
        {CONFIG_SERVER_LISTEN, "::1:7234", false},
        {CONFIG_SERVER_LISTEN, "127.0.0.1", false},
        {CONFIG_SERVER_LISTEN, "127.0.0.1:70000", false},
        {CONFIG_LLM_BASE_URL, "http://", false},
        {CONFIG_LLM_BASE_URL, "ftp://x", false},
        {CONFIG_LLM_BASE_URL, "/tmp/cassette.jsonl", true},
        {CONFIG_RUNNER_CPUS, "1.5", true},
        {CONFIG_RUNNER_CPUS, "-1", false},
        {CONFIG_RUNNER_CPUS, "nan", false},
        {CONFIG_BUDGET_MAX_DURATION, "10m", true},
        {CONFIG_BUDGET_MAX_DURATION, "1ms", false},
        {CONFIG_LLM_API_KEY_FILE, "key.txt", false},
        {CONFIG_LLM_MODEL, "a\nb", false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        assert_int_equal(config_check(rows[i].key, rows[i].text, NULL) == ERR_OK, rows[i].good);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_default_is_a_value_of_its_key),
        cmocka_unit_test(a_flag_beats_the_environment_beats_the_file),
        cmocka_unit_test(a_change_of_provider_keeps_no_model_of_the_other),
        cmocka_unit_test(all_faults_of_a_file_are_told_with_line_and_nearest_key),
        cmocka_unit_test(a_temporal_that_somebody_names_is_not_ours_to_start),
        cmocka_unit_test(tls_to_temporal_is_implied_by_what_needs_it),
        cmocka_unit_test(what_comes_later_is_named_as_such),
        cmocka_unit_test(listening_beyond_loopback_needs_a_token_and_tls),
        cmocka_unit_test(egress_is_public_unless_said_otherwise),
        cmocka_unit_test(a_list_of_layers_is_checked_word_by_word),
        cmocka_unit_test(values_of_the_wrong_form_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
