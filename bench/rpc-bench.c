/* rpc-bench.c — unary calls with N in flight over one connection: prints the rate, p50 and p99.
 *   rpc-bench ADDRESS [CALLS] [IN_FLIGHT [AGENT_ID]]
 * Without an id it calls the test's echo, with one the API's get. Serves nothing: see bench/rpc.sh
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "ai/stigmer/agentic/agent/v1/agent.pb-c.h"
#include "base/mem.h"
#include "base/str.h"
#include "platform/loop.h"
#include "platform/rpc-client.h"
#include "stigmer/test/v1/echo.pb-c.h"

struct bench {
    struct loop *loop;
    struct rpc_client *client;
    int64_t calls, started, ended, failed;
    int64_t *took_ns;
    char *agent_id; /* NULL: echo */
};

struct call {
    struct bench *bench;
    int64_t from_ns;
};

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void start(struct call *c);

static void on_end(const struct err *err, void *arg)
{
    struct call *c = arg;
    struct bench *b = c->bench;
    if (err && !b->failed++)
        fprintf(stderr, "%s\n", err->msg);
    b->took_ns[b->ended++] = now_ns() - c->from_ns;
    if (b->started < b->calls)
        start(c);
    else if (b->ended == b->calls)
        loop_quit(b->loop);
}

static void start(struct call *c)
{
    struct bench *b = c->bench;
    Testpb__EchoRequest echo = TESTPB__ECHO_REQUEST__INIT;
    Agent__AgentId get = AGENT__AGENT_ID__INIT;
    char text[] = "a request of a usual size: an id and a few words about it";
    struct rpc_call_spec spec = {.path = "/stigmer.test.v1.EchoService/echo",
                                 .request = &echo.base,
                                 .response = &testpb__echo_response__descriptor,
                                 .on_end = on_end,
                                 .arg = c};

    echo.text = text;
    if (b->agent_id) {
        get.value = b->agent_id;
        spec.path = "/ai.stigmer.agentic.agent.v1.AgentQueryController/get";
        spec.request = &get.base;
        spec.response = &agent__agent__descriptor;
    }
    b->started++;
    c->from_ns = now_ns();
    (void)rpc_client_call(b->client, &spec);
}

static int by_size(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
    struct bench b = {.calls = 100000};
    int64_t in_flight = 32;
    struct err err = {0};
    if (argc < 2 || (argc > 2 && str_to_int(argv[2], 1, 10000000, &b.calls, &err)) ||
        (argc > 3 && str_to_int(argv[3], 1, 256, &in_flight, &err))) {
        fprintf(stderr, "usage: rpc-bench ADDRESS [CALLS] [IN_FLIGHT [AGENT_ID]]\n");
        return 2;
    }
    b.agent_id = argc > 4 ? argv[4] : NULL;
    b.loop = loop_new();
    b.took_ns = mem_array((size_t)b.calls, sizeof *b.took_ns);
    struct rpc_client_options o = {.address = argv[1], .fail_fast = true};
    if (rpc_client_new(b.loop, &o, &b.client, &err)) {
        fprintf(stderr, "%s\n", err.msg);
        return 1;
    }
    struct call *calls = mem_array((size_t)in_flight, sizeof *calls);
    int64_t from = now_ns();
    for (int64_t i = 0; i < in_flight && i < b.calls; i++) {
        calls[i].bench = &b;
        start(&calls[i]);
    }
    loop_run(b.loop);
    double seconds = (double)(now_ns() - from) / 1e9;
    qsort(b.took_ns, (size_t)b.calls, sizeof *b.took_ns, by_size);
    printf("rate %.0f p50_us %.0f p99_us %.0f failed %" PRId64 "\n", (double)b.calls / seconds,
           (double)b.took_ns[b.calls / 2] / 1e3, (double)b.took_ns[b.calls * 99 / 100] / 1e3,
           b.failed);
    rpc_client_free(b.client);
    loop_free(b.loop);
    free(calls);
    free(b.took_ns);
    return b.failed ? 1 : 0;
}
