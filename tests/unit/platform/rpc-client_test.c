/* Client and server of gRPC on one loop, with TLS between them: streams, both directions at once,
 * and what a person is told when one end does not accept the other. */
#include "platform/rpc-client.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/str.h"
#include "platform/rpc-server.h"
#include "platform/sock.h"
#include "stigmer/test/v1/echo.pb-c.h"

#define CHUNK 50000
#define CHUNKS 200
#define LIMIT_MS 20000

static char dir[64];

static const char script[] =
    "set -e; cd \"$0\"\n"
    "for n in server client; do openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 "
    "-nodes"
    " -days 2 -subj /CN=$n -addext subjectAltName=DNS:good.example -keyout $n.key -out $n.pem"
    " 2>/dev/null; done; chmod 600 *.key\n";

struct world {
    struct loop *loop;
    struct rpc_server *server;
    struct tls_context *server_tls, *client_tls;
    struct loop_timer *limit;
    char address[128];
    struct rpc_call *call; /* a stream that is being answered */
    char seen[200];        /* what calls of echo showed */
    unsigned sent, got;
    size_t echoed;
    int open; /* calls of the client */
    struct err err;
};

static int make_certificates(void **state)
{
    pid_t pid;
    int status;

    (void)state;
    (void)str_format(dir, sizeof dir, "/tmp/rpc-test-XXXXXX");
    if (!mkdtemp(dir))
        return -1;
    pid = fork();
    if (pid == 0) {
        execl("/bin/sh", "sh", "-c", script, dir, (char *)NULL);
        _exit(127);
    }
    return pid > 0 && waitpid(pid, &status, 0) == pid && status == 0 ? 0 : -1;
}

static int remove_certificates(void **state)
{
    pid_t pid = fork();

    (void)state;
    if (pid == 0) {
        execlp("rm", "rm", "-r", dir, (char *)NULL);
        _exit(127);
    }
    return waitpid(pid, NULL, 0) == pid ? 0 : -1;
}

/* ---- the server --------------------------------------------------------------------------- */

static void echo(struct rpc_call *call, const ProtobufCMessage *msg, void *arg)
{
    Testpb__EchoResponse res = TESTPB__ECHO_RESPONSE__INIT;

    struct world *w = arg;
    const char *key = rpc_call_metadata(call, "authorization");
    const char *namespace = rpc_call_metadata(call, "temporal-namespace");
    size_t at = strlen(w->seen);

    if (key && namespace)
        (void)str_format(w->seen + at, sizeof w->seen - at, "%s %s ", key, namespace);
    res.payload = ((const Testpb__EchoRequest *)msg)->payload;
    rpc_call_reply(call, &res.base);
}

static void stream_on(void *arg)
{
    Testpb__EchoResponse res = TESTPB__ECHO_RESPONSE__INIT;
    struct world *w = arg;

    res.payload = (ProtobufCBinaryData){.len = CHUNK, .data = mem_new(CHUNK)};
    while (w->sent < CHUNKS && !rpc_call_is_full(w->call)) {
        memset(res.payload.data, (int)(w->sent & 0xff), CHUNK);
        res.index = w->sent++;
        rpc_call_send(w->call, &res.base);
    }
    free(res.payload.data);
    if (w->sent == CHUNKS)
        rpc_call_finish(w->call);
}

static void stream(struct rpc_call *call, const ProtobufCMessage *msg, void *arg)
{
    struct world *w = arg;

    (void)msg;
    w->call = call;
    rpc_call_on_drained(call, stream_on, w);
    stream_on(w);
}

/* ---- the client --------------------------------------------------------------------------- */

static void on_limit(void *arg)
{
    (void)arg;
    fail_msg("the calls do not end");
}

static struct tls_context *context(const char *ca, const char *show)
{
    char file[3][96];
    struct tls_client_options o = {.ca_file = file[0], .ca_hint = "HINT"};
    struct tls_context *c = NULL;
    struct err err;

    (void)str_format(file[0], sizeof file[0], "%s/%s.pem", dir, ca);
    if (show) {
        (void)str_format(file[1], sizeof file[1], "%s/%s.pem", dir, show);
        (void)str_format(file[2], sizeof file[2], "%s/%s.key", dir, show);
        o.cert_file = file[1];
        o.key_file = file[2];
    }
    if (tls_context_client(&o, &c, &err))
        fail_msg("%s", err.msg);
    return c;
}

static void open_world(struct world *w, const char *client_ca)
{
    static const struct rpc_method methods[] = {{.name = "echo",
                                                 .request = &testpb__echo_request__descriptor,
                                                 .response = &testpb__echo_response__descriptor,
                                                 .fn = echo},
                                                {.name = "stream",
                                                 .request = &testpb__echo_request__descriptor,
                                                 .response = &testpb__echo_response__descriptor,
                                                 .streams = true,
                                                 .fn = stream},
                                                {0}};
    static const struct rpc_service service = {.name = "test.Echo", .methods = methods};
    char cert[96], key[96], ca[96];
    struct err err;
    int fd = -1;

    *w = (struct world){.loop = loop_new()};
    (void)str_format(cert, sizeof cert, "%s/server.pem", dir);
    (void)str_format(key, sizeof key, "%s/server.key", dir);
    (void)str_format(ca, sizeof ca, "%s/%s.pem", dir, client_ca ? client_ca : "");
    if (tls_context_server(&(struct tls_server_options){.cert_file = cert,
                                                        .key_file = key,
                                                        .client_ca_file = client_ca ? ca : NULL},
                           &w->server_tls, &err) ||
        sock_listen("127.0.0.1:0", 0, &fd, &err) ||
        sock_name(fd, w->address, sizeof w->address, &err))
        fail_msg("%s", err.msg);
    w->server = rpc_server_new(w->loop, NULL);
    rpc_server_add(w->server, &service, w);
    rpc_server_listen_tls(w->server, fd, RPC_GATE_API, w->server_tls);
    w->limit = loop_timer_new(w->loop, on_limit, w);
    loop_timer_in(w->limit, LIMIT_MS);
}

static void close_world(struct world *w, struct rpc_client *c)
{
    rpc_client_free(c);
    rpc_server_free(w->server);
    loop_timer_free(w->limit);
    loop_free(w->loop);
    tls_context_free(w->server_tls);
    tls_context_free(w->client_tls);
}

static struct rpc_client *client_of(struct world *w, const char *name, bool fail_fast)
{
    struct rpc_client *c = NULL;
    struct err err;

    if (rpc_client_new(w->loop,
                       &(struct rpc_client_options){.address = w->address,
                                                    .tls = w->client_tls,
                                                    .server_name = name,
                                                    .fail_fast = fail_fast},
                       &c, &err))
        fail_msg("%s", err.msg);
    return c;
}

static void on_message(const ProtobufCMessage *msg, void *arg)
{
    const Testpb__EchoResponse *res = (const Testpb__EchoResponse *)msg;
    struct world *w = arg;

    if (res->payload.len != CHUNK) {
        w->echoed += res->payload.len;
        return;
    }
    assert_int_equal(res->index, w->got);
    assert_int_equal(res->payload.data[CHUNK - 1], w->got & 0xff);
    w->got++;
}

static void on_end(const struct err *err, void *arg)
{
    struct world *w = arg;

    if (err)
        w->err = *err;
    if (--w->open == 0)
        loop_quit(w->loop);
}

static void begin(struct world *w, struct rpc_client *c, const char *path, size_t payload)
{
    Testpb__EchoRequest req = TESTPB__ECHO_REQUEST__INIT;

    req.payload = (ProtobufCBinaryData){.len = payload, .data = mem_new(payload)};
    w->open++;
    rpc_client_call(c, &(struct rpc_call_spec){.path = path,
                                               .request = &req.base,
                                               .response = &testpb__echo_response__descriptor,
                                               .on_message = on_message,
                                               .on_end = on_end,
                                               .arg = w});
    free(req.payload.data);
}

static void large_messages_and_streams_pass_both_ways_at_once(void **state)
{
    static const size_t big = 3 << 20;
    struct world w;
    struct rpc_client *c;

    (void)state;
    open_world(&w, NULL);
    w.client_tls = context("server", NULL);
    c = client_of(&w, "good.example", true);
    begin(&w, c, "/test.Echo/stream", 0);
    for (int i = 0; i < 4; i++)
        begin(&w, c, "/test.Echo/echo", big);
    loop_run(w.loop);
    if (w.err.code)
        fail_msg("%s", w.err.msg);
    assert_int_equal(w.got, CHUNKS);
    assert_int_equal(w.echoed, 4 * big);
    assert_true(rpc_client_is_up(c));
    close_world(&w, c);
}

static void a_certificate_is_shown_and_one_that_is_wanted_is_missed_in_words(void **state)
{
    static const struct {
        const char *show, *words;
    } rows[] = {{"client", ""},
                {NULL, "wants a client certificate"},
                {"server", "refused our certificate"}};

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct world w;
        struct rpc_client *c;

        open_world(&w, "client");
        w.client_tls = context("server", rows[i].show);
        c = client_of(&w, "good.example", true);
        begin(&w, c, "/test.Echo/echo", 10);
        loop_run(w.loop);
        assert_int_equal(w.err.code, i ? ERR_UNAUTHENTICATED : ERR_OK);
        if (i && !strstr(w.err.msg, rows[i].words))
            fail_msg("%s", w.err.msg);
        close_world(&w, c);
    }
}

static void a_wrong_name_and_authority_fail_a_call_and_keep_their_hint(void **state)
{
    static const struct {
        const char *ca, *name, *words, *hint;
    } rows[] = {{"server", NULL, "127.0.0.1 shows is for good.example", "name of its certificate"},
                {"client", "good.example", "good.example is self-signed", "HINT"}};

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct world w;
        struct rpc_client *c;

        open_world(&w, NULL);
        w.client_tls = context(rows[i].ca, NULL);
        c = client_of(&w, rows[i].name, true);
        begin(&w, c, "/test.Echo/echo", 10);
        loop_run(w.loop);
        assert_int_equal(w.err.code, ERR_UNAUTHENTICATED);
        if (!strstr(w.err.msg, rows[i].words) || !strstr(w.err.hint, rows[i].hint))
            fail_msg("%s / %s", w.err.msg, w.err.hint);
        close_world(&w, c);
    }
}

static void a_patient_client_waits_and_says_why_at_its_deadline(void **state)
{
    Testpb__EchoRequest req = TESTPB__ECHO_REQUEST__INIT;
    struct world w;
    struct rpc_client *c;

    (void)state;
    open_world(&w, NULL);
    w.client_tls = context("client", NULL);
    c = client_of(&w, "good.example", false);
    w.open = 1;
    rpc_client_call(c, &(struct rpc_call_spec){.path = "/test.Echo/echo",
                                               .request = &req.base,
                                               .response = &testpb__echo_response__descriptor,
                                               .timeout_ms = 300,
                                               .on_end = on_end,
                                               .arg = &w});
    loop_run(w.loop);
    assert_int_equal(w.err.code, ERR_TIMEOUT);
    assert_non_null(strstr(w.err.msg, "self-signed"));
    close_world(&w, c);
}

/* ---- reach and headers -------------------------------------------------------------------- */

static void on_reach(const struct err *why, void *arg)
{
    struct world *w = arg;

    w->got++;
    if (why)
        w->err = *why;
    if (why)
        loop_quit(w->loop);
}

static void what_cannot_be_reached_is_told_once_in_words(void **state)
{
    static const struct {
        const char *address, *words;
    } rows[] = {{"127.0.0.1:1", "refused"}, {"no-such-host.invalid:7", "cannot be resolved"}};

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct world w = {.loop = loop_new()};
        struct rpc_client *c = NULL;

        w.limit = loop_timer_new(w.loop, on_limit, &w);
        loop_timer_in(w.limit, LIMIT_MS);
        assert_int_equal(rpc_client_new(w.loop,
                                        &(struct rpc_client_options){.address = rows[i].address,
                                                                     .on_reach = on_reach,
                                                                     .arg = &w},
                                        &c, NULL),
                         ERR_OK);
        begin(&w, c, "/test.Echo/echo", 1);
        loop_run(w.loop);
        assert_int_equal(w.got, 1);
        assert_int_equal(w.err.code, ERR_UNAVAILABLE);
        if (!strstr(w.err.msg, rows[i].words))
            fail_msg("%s", w.err.msg);
        rpc_client_free(c);
        loop_timer_free(w.limit);
        loop_free(w.loop);
    }
}

static void headers_and_a_token_go_with_every_call(void **state)
{
    static const struct rpc_header headers[] = {{"temporal-namespace", "here.123"}};
    struct world w;
    struct rpc_client *c = NULL;

    (void)state;
    open_world(&w, NULL);
    w.client_tls = context("server", NULL);
    assert_int_equal(rpc_client_new(w.loop,
                                    &(struct rpc_client_options){.address = w.address,
                                                                 .tls = w.client_tls,
                                                                 .server_name = "good.example",
                                                                 .token = "a-key",
                                                                 .headers = headers,
                                                                 .header_count = 1,
                                                                 .fail_fast = true},
                                    &c, NULL),
                     ERR_OK);
    begin(&w, c, "/test.Echo/echo", 10);
    begin(&w, c, "/test.Echo/echo", 10);
    loop_run(w.loop);
    assert_int_equal(w.err.code, ERR_OK);
    assert_string_equal(w.seen, "Bearer a-key here.123 Bearer a-key here.123 ");
    close_world(&w, c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(large_messages_and_streams_pass_both_ways_at_once),
        cmocka_unit_test(a_certificate_is_shown_and_one_that_is_wanted_is_missed_in_words),
        cmocka_unit_test(a_wrong_name_and_authority_fail_a_call_and_keep_their_hint),
        cmocka_unit_test(a_patient_client_waits_and_says_why_at_its_deadline),
        cmocka_unit_test(what_cannot_be_reached_is_told_once_in_words),
        cmocka_unit_test(headers_and_a_token_go_with_every_call),
    };

    return cmocka_run_group_tests(tests, make_certificates, remove_certificates);
}
