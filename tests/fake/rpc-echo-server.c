/* rpc-echo-server.c — what the tests of the gRPC layer talk to.
 *   rpc-echo-server ADDRESS… [--ping MS] [--first MS] [--request MS] [--answer MS] [--idle MS]
 *                   [--message BYTES] [--connections N] [--token T] [--cert F --key F [--client-ca
 * F]] Prints "listening ADDRESS" for each and ends at SIGTERM, or drained after `drain`. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "platform/loop.h"
#include "platform/rpc-server.h"
#include "platform/sock.h"
#include "stigmer/test/v1/echo.pb-c.h"
#include "svc/grpc-health.h"
#include "svc/grpc-reflection.h"

struct app {
    struct loop *loop;
    struct rpc_server *server;
    uint64_t closed;
};

struct stream {
    struct app *app;
    struct rpc_call *call;
    struct loop_timer *timer;
    uint32_t index, count, interval_ms, size;
};

static void on_closed(void *arg)
{
    struct app *app = arg;
    app->closed++;
}

static void answer(struct rpc_call *call, const struct app *app, const char *text, uint32_t index,
                   uint32_t size, ProtobufCBinaryData payload)
{
    Testpb__EchoResponse res = TESTPB__ECHO_RESPONSE__INIT;
    const char *meta = rpc_call_metadata(call, "x-echo");
    uint8_t *made = NULL;
    res.text = (char *)(uintptr_t)text;
    res.index = index;
    res.metadata = (char *)(uintptr_t)(meta ? meta : "");
    res.closed = app->closed;
    res.payload = payload;
    if (size) {
        made = mem_new(size);
        res.payload = (ProtobufCBinaryData){.len = size, .data = made};
    }
    rpc_call_send(call, &res.base);
    free(made);
}

static void echo(struct rpc_call *call, const ProtobufCMessage *msg, void *arg)
{
    const Testpb__EchoRequest *req = (const Testpb__EchoRequest *)msg;
    answer(call, arg, req->text, 0, req->size, req->payload);
    rpc_call_finish(call);
}

static void stream_free(struct stream *s)
{
    loop_timer_free(s->timer);
    free(s);
}

static void stream_closed(void *arg)
{
    struct stream *s = arg;
    s->app->closed++;
    stream_free(s);
}

static void stream_step(void *arg)
{
    struct stream *s = arg;
    while (s->index < s->count) {
        if (rpc_call_is_full(s->call)) {
            rpc_call_on_drained(s->call, stream_step, s);
            return;
        }
        answer(s->call, s->app, "", s->index++, s->size, (ProtobufCBinaryData){0});
        if (s->interval_ms) {
            loop_timer_in(s->timer, s->interval_ms);
            return;
        }
    }
    rpc_call_finish(s->call);
    stream_free(s);
}

static void stream(struct rpc_call *call, const ProtobufCMessage *msg, void *arg)
{
    const Testpb__EchoRequest *req = (const Testpb__EchoRequest *)msg;
    struct stream *s = mem_new(sizeof *s);
    *s = (struct stream){.app = arg,
                         .call = call,
                         .count = req->count,
                         .interval_ms = req->interval_ms,
                         .size = req->size};
    s->timer = loop_timer_new(s->app->loop, stream_step, s);
    rpc_call_on_closed(call, stream_closed, s);
    stream_step(s);
}

static void slow(struct rpc_call *call, const ProtobufCMessage *msg, void *arg)
{
    (void)msg;
    rpc_call_on_closed(call, on_closed, arg);
}

static void fail(struct rpc_call *call, const ProtobufCMessage *msg, void *arg)
{
    const Testpb__EchoRequest *req = (const Testpb__EchoRequest *)msg;
    struct err err;
    (void)arg;
    err_set(&err, err_code_from_grpc((int)req->code), "%s", req->text);
    if (str_eq(req->hint, "sandbox"))
        err_set(&err, ERR_SANDBOX, "%s", req->text);
    if (req->hint[0])
        err_hint(&err, err.code, "%s", req->hint);
    rpc_call_fail(call, &err);
}

static void chat(struct rpc_call *call, const ProtobufCMessage *msg, void *arg)
{
    const Testpb__EchoRequest *req = (const Testpb__EchoRequest *)msg;
    answer(call, arg, req->text, 0, 0, req->payload);
}

static void quit(void *arg)
{
    struct app *app = arg;
    loop_quit(app->loop);
}

static void drain(struct rpc_call *call, const ProtobufCMessage *msg, void *arg)
{
    struct app *app = arg;
    echo(call, msg, arg);
    rpc_server_drain(app->server, 5000, quit, app);
}

#define METHOD(name_, streams_, client_)                                                           \
    {                                                                                              \
#name_, &testpb__echo_request__descriptor, &testpb__echo_response__descriptor, streams_,   \
            name_, client_, NULL                                                                   \
    }
static const struct rpc_method methods[] = {
    METHOD(echo, false, false),
    METHOD(stream, true, false),
    METHOD(slow, false, false),
    METHOD(fail, false, false),
    METHOD(chat, true, true),
    METHOD(drain, false, false),
    {0},
};
static const struct rpc_service service = {"stigmer.test.v1.EchoService", methods};

static int64_t number(const char *text)
{
    int64_t n = 0;
    if (!text || str_to_int(text, 1, INT32_MAX, &n, NULL)) {
        fputs("a number is missing\n", stderr);
        exit(2);
    }
    return n;
}

struct options {
    struct rpc_limits limits;
    struct tls_server_options tls;
    const char *token;
};

static void read_options(char **argv, struct options *o)
{
    const struct {
        const char *name;
        int64_t *ms;
        const char **text;
    } rows[] = {{"--ping", &o->limits.ping_after_ms, NULL},
                {"--first", &o->limits.first_request_ms, NULL},
                {"--request", &o->limits.request_ms, NULL},
                {"--answer", &o->limits.answer_ms, NULL},
                {"--idle", &o->limits.idle_ms, NULL},
                {"--token", NULL, &o->token},
                {"--cert", NULL, &o->tls.cert_file},
                {"--key", NULL, &o->tls.key_file},
                {"--client-ca", NULL, &o->tls.client_ca_file}};
    for (; *argv; argv++) {
        if (strcmp(*argv, "--message") == 0)
            o->limits.message_bytes = (size_t)number(argv[1]);
        else if (strcmp(*argv, "--connections") == 0)
            o->limits.connections = (unsigned)number(argv[1]);
        for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
            if (strcmp(*argv, rows[i].name) != 0)
                continue;
            if (rows[i].ms)
                *rows[i].ms = number(argv[1]);
            else
                *rows[i].text = argv[1];
        }
    }
}

int main(int argc, char **argv)
{
    struct options o = {0};
    struct app app = {.loop = loop_new()};
    struct tls_context *tls = NULL;
    struct err err;
    read_options(argv + 1, &o);
    if (o.tls.cert_file && tls_context_server(&o.tls, &tls, &err)) {
        fprintf(stderr, "%s\n", err.msg);
        return 2;
    }
    struct loop_signal *term = loop_signal_new(app.loop, SIGTERM, quit, &app);
    enum err_code code = ERR_OK;
    app.server = rpc_server_new(app.loop, &o.limits);
    rpc_server_set_token(app.server, o.token);
    rpc_server_add(app.server, &service, &app);
    struct grpc_health *health = grpc_health_new(app.server);
    struct grpc_reflection *reflection = grpc_reflection_new(app.server);
    for (int i = 1; i < argc; i++) {
        char name[256];
        int fd;
        if (argv[i][0] == '-') {
            i++;
            continue;
        }
        code = sock_listen(argv[i], 0600, &fd, &err);
        if (!code)
            code = sock_name(fd, name, sizeof name, &err);
        if (code) {
            fprintf(stderr, "%s\n", err.msg);
            break;
        }
        if (tls && argv[i][0] != 'u')
            rpc_server_listen_tls(app.server, fd, RPC_GATE_API, tls);
        else
            rpc_server_listen(app.server, fd, RPC_GATE_API);
        printf("listening %s\n", name);
    }
    fflush(stdout);
    if (code == ERR_OK)
        loop_run(app.loop);
    loop_signal_free(term);
    rpc_server_free(app.server);
    grpc_health_free(health);
    grpc_reflection_free(reflection);
    tls_context_free(tls);
    loop_free(app.loop);
    return err_code_exit(code);
}
