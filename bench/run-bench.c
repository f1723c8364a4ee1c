/* run-bench.c — one execution through the API, create → seen completed: prints µs and its id.
 *   run-bench ADDRESS AGENT_ID
 * What the client needs to start and to connect is not in it. Driven by bench/temporal.py. */
#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#include "ai/stigmer/agentic/agent/v1/agent.pb-c.h"
#include "ai/stigmer/agentic/agentexecution/v1/agentexecution.pb-c.h"
#include "base/str.h"
#include "platform/loop.h"
#include "platform/rpc-client.h"

#define SERVICE "/ai.stigmer.agentic.agentexecution.v1.AgentExecution"

struct watch {
    struct loop *loop;
    struct err err; /* code ERR_OK: none */
    int phase;
};

static int64_t now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static void on_message(const ProtobufCMessage *m, void *arg)
{
    const Aexec__AgentExecution *x = (const Aexec__AgentExecution *)m;
    struct watch *w = arg;

    w->phase = x->status ? (int)x->status->phase : 0;
}

static void on_end(const struct err *err, void *arg)
{
    struct watch *w = arg;

    if (err)
        w->err = *err;
    loop_quit(w->loop);
}

/* The first call, too, so that there is a connection. */
static enum err_code check_agent(struct loop *loop, struct rpc_client *c, char *agent,
                                 struct err *err)
{
    Agent__AgentId id = AGENT__AGENT_ID__INIT;
    ProtobufCMessage *m;
    enum err_code code;

    id.value = agent;
    code = rpc_client_unary(
        loop, c,
        &(struct rpc_call_spec){.path = "/ai.stigmer.agentic.agent.v1.AgentQueryController/get",
                                .request = &id.base,
                                .response = &agent__agent__descriptor},
        &m, err);
    if (!code)
        protobuf_c_message_free_unpacked(m, NULL);
    return code;
}

static enum err_code create(struct loop *loop, struct rpc_client *c, char *agent,
                            Aexec__AgentExecution **ret, struct err *err)
{
    Aexec__AgentExecution x = AEXEC__AGENT_EXECUTION__INIT;
    Aexec__AgentExecutionSpec spec = AEXEC__AGENT_EXECUTION_SPEC__INIT;
    Meta__ApiResourceMetadata meta = META__API_RESOURCE_METADATA__INIT;
    char version[] = "agentic.stigmer.ai/v1", kind[] = "AgentExecution", org[] = "local";
    char name[64], message[] = "bench";
    ProtobufCMessage *m;
    enum err_code code;

    (void)str_format(name, sizeof name, "bench %" PRId64, now_us());
    meta.name = name;
    meta.org = org;
    spec.agent_id = agent;
    spec.message = message;
    x.api_version = version;
    x.kind = kind;
    x.metadata = &meta;
    x.spec = &spec;
    code =
        rpc_client_unary(loop, c,
                         &(struct rpc_call_spec){.path = SERVICE "CommandController/create",
                                                 .request = &x.base,
                                                 .response = &aexec__agent_execution__descriptor},
                         &m, err);
    if (!code)
        *ret = (Aexec__AgentExecution *)m;
    return code;
}

static enum err_code await_end(struct loop *loop, struct rpc_client *c, char *execution,
                               struct err *err)
{
    Aexec__AgentExecutionId id = AEXEC__AGENT_EXECUTION_ID__INIT;
    struct watch w = {.loop = loop};

    id.value = execution;
    (void)rpc_client_call(c,
                          &(struct rpc_call_spec){.path = SERVICE "QueryController/subscribe",
                                                  .request = &id.base,
                                                  .response = &aexec__agent_execution__descriptor,
                                                  .on_message = on_message,
                                                  .on_end = on_end,
                                                  .arg = &w});
    loop_run(loop);
    if (w.err.code) {
        *err = w.err;
        return w.err.code;
    }
    if (w.phase != AEXEC__EXECUTION_PHASE__EXECUTION_COMPLETED)
        return err_set(err, ERR_STATE, "execution %s ended in phase %d", execution, w.phase);
    return ERR_OK;
}

int main(int argc, char **argv)
{
    struct rpc_client *c = NULL;
    Aexec__AgentExecution *x = NULL;
    struct err err = {0};
    int64_t from = 0;

    if (argc != 3) {
        fprintf(stderr, "usage: run-bench ADDRESS AGENT_ID\n");
        return 2;
    }
    struct loop *loop = loop_new();
    struct rpc_client_options o = {.address = argv[1], .fail_fast = true};
    enum err_code code = rpc_client_new(loop, &o, &c, &err);
    if (!code)
        code = check_agent(loop, c, argv[2], &err);
    if (!code) {
        from = now_us();
        code = create(loop, c, argv[2], &x, &err);
    }
    if (!code)
        code = await_end(loop, c, x->metadata->id, &err);
    if (code)
        fprintf(stderr, "run-bench: %s\n", err.msg);
    else
        printf("%" PRId64 " %s\n", now_us() - from, x->metadata->id);
    if (x)
        aexec__agent_execution__free_unpacked(x, NULL);
    rpc_client_free(c);
    loop_free(loop);
    return code ? 1 : 0;
}
