/* What a client may ask of the tools' proxy, and what the server is given of it. */
#include "core/egress-request.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

static bool reads(const char *head, struct egress_request *r, struct buf *forward)
{
    buf_init(forward, 0);
    return egress_request_read(head, strlen(head), r, forward);
}

static void connect_names_a_host_and_a_port(void **state)
{
    static const struct {
        const char *target, *host;
        unsigned port;
    } rows[] = {{"example.org:443", "example.org", 443},
                {"[::1]:9", "::1", 9},
                {"10.0.0.1:65535", "10.0.0.1", 65535},
                {"example.org", NULL, 0},
                {"example.org:", NULL, 0},
                {":443", NULL, 0},
                {"[::1]", NULL, 0},
                {"[::1:9", NULL, 0},
                {"[::1]9", NULL, 0},
                {"example.org:0", NULL, 0},
                {"example.org:65536", NULL, 0},
                {"example.org:443x", NULL, 0},
                {"example.org:+443", NULL, 0},
                {"a b:443", NULL, 0},
                {"a%00:443", NULL, 0}};

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char head[200];
        struct egress_request r;
        struct buf forward;
        bool ok;

        (void)snprintf(head, sizeof head, "CONNECT %s HTTP/1.1\r\nHost: other\r\n\r\n",
                       rows[i].target);
        ok = reads(head, &r, &forward);
        if (ok != (rows[i].host != NULL) ||
            (ok && (strcmp(r.host, rows[i].host) != 0 || r.port != rows[i].port || !r.is_connect ||
                    forward.len)))
            fail_msg("%s", rows[i].target);
        buf_done(&forward);
    }
}

static void an_absolute_request_goes_on_with_the_host_that_was_asked_for(void **state)
{
    struct egress_request r;
    struct buf forward;

    (void)state;
    assert_true(reads("POST http://example.org:8080/a?b HTTP/1.1\r\nhOst: "
                      "other.example\r\nProxy-Authorization: Basic eDp5\r\n"
                      "Connection: keep-alive\r\nHost: third.example\r\nContent-Length: 3\r\n\r\n",
                      &r, &forward));
    assert_string_equal(r.host, "example.org");
    assert_int_equal(r.port, 8080);
    assert_string_equal(buf_text(&forward),
                        "POST /a?b HTTP/1.1\r\nHost: example.org:8080\r\nContent-Length: 3\r\n"
                        "Connection: close\r\n\r\n");
    buf_done(&forward);
    assert_true(reads("GET HTTP://[::1] HTTP/1.0\r\n\r\n", &r, &forward));
    assert_string_equal(buf_text(&forward),
                        "GET / HTTP/1.0\r\nHost: [::1]\r\nConnection: close\r\n\r\n");
    assert_int_equal(r.port, 80);
    buf_done(&forward);
}

static void what_is_none_of_the_two_is_refused(void **state)
{
    static const char *const heads[] = {"GET / HTTP/1.1\r\n\r\n",
                                        "GET https://example.org/ HTTP/1.1\r\n\r\n",
                                        "GET http://user@example.org/ HTTP/1.1\r\n\r\n",
                                        "GET http:// HTTP/1.1\r\n\r\n",
                                        "GET http:///path HTTP/1.1\r\n\r\n",
                                        "GET http://example.org/ HTTP/2\r\n\r\n",
                                        "GET http://example.org/\r\n\r\n",
                                        "GET\r\nX: http://example.org/ HTTP/1.1\r\n\r\n",
                                        "\r\n\r\n"};
    static const char zero[] = "GET http://example.org/ HTTP/1.1\r\nX: \0\r\n\r\n";
    struct egress_request r;
    struct buf forward;

    (void)state;
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++) {
        if (reads(heads[i], &r, &forward))
            fail_msg("%s", heads[i]);
        buf_done(&forward);
    }
    buf_init(&forward, 0);
    assert_false(egress_request_read(zero, sizeof zero - 1, &r, &forward));
    buf_done(&forward);
}

static void credentials_are_of_the_head(void **state)
{
    size_t len = 0;
    const char *at = egress_request_credentials(
        "CONNECT a:1 HTTP/1.1\r\nX: y\r\nproxy-authorization: \t Basic eDp5\r\n\r\n", &len);

    (void)state;
    assert_int_equal(len, 10);
    assert_memory_equal(at, "Basic eDp5", 10);
    assert_null(egress_request_credentials(
        "GET http://a/ HTTP/1.1\r\n\r\nProxy-Authorization: Basic eDp5\r\n", &len));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(connect_names_a_host_and_a_port),
        cmocka_unit_test(an_absolute_request_goes_on_with_the_host_that_was_asked_for),
        cmocka_unit_test(what_is_none_of_the_two_is_refused),
        cmocka_unit_test(credentials_are_of_the_head),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
