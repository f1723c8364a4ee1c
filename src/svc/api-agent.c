#include <string.h>

#include "ai/stigmer/agentic/agent/v1/agent.pb-c.h"
#include "svc/api-services.h"
#include "svc/records.h"

#define KIND resource_kind(RESOURCE_AGENT)

static enum err_code inserted(sqlite3 *db, struct api_op *op, struct err *err)
{
    Agent__AgentStatus *s = (Agent__AgentStatus *)op->in->status;
    char id[RESOURCE_ID];
    enum err_code code = api_instance_default(db, op, op->in, id, err);

    if (!code)
        resource_set_text(&s->default_instance_id, id);
    return code;
}

/* The instance we made goes with its agent; what a person made stays and says so when it is run. */
static enum err_code deleted(sqlite3 *db, struct api_op *op, struct err *err)
{
    const Agent__AgentStatus *s = (const Agent__AgentStatus *)op->in->status;

    if (!s || !*s->default_instance_id)
        return ERR_OK;
    return records_delete(db, resource_kind(RESOURCE_INSTANCE), s->default_instance_id, err);
}

static const struct api_op_hooks hooks = {.inserted = inserted, .deleted = deleted};

static void create(struct rpc_call *call, const ProtobufCMessage *m, void *arg)
{
    api_op_write(arg, call, API_CREATE, KIND, &hooks, m);
}

static void update(struct rpc_call *call, const ProtobufCMessage *m, void *arg)
{
    api_op_write(arg, call, API_UPDATE, KIND, &hooks, m);
}

static void apply(struct rpc_call *call, const ProtobufCMessage *m, void *arg)
{
    api_op_write(arg, call, API_APPLY, KIND, &hooks, m);
}

static void delete (struct rpc_call *call, const ProtobufCMessage *m, void *arg)
{
    api_op_delete(arg, call, KIND, &hooks, ((const Agent__AgentId *)m)->value);
}

static void get(struct rpc_call *call, const ProtobufCMessage *m, void *arg)
{
    api_op_get(arg, call, KIND, ((const Agent__AgentId *)m)->value);
}

static void get_by_reference(struct rpc_call *call, const ProtobufCMessage *m, void *arg)
{
    api_op_reference(arg, call, KIND, (const Meta__ApiResourceReference *)m);
}

#define AGENT &agent__agent__descriptor

void api_agent_add(struct rpc_server *s, struct api *a)
{
    static const struct rpc_method command[] = {
        {.name = "apply", .request = AGENT, .response = AGENT, .fn = apply},
        {.name = "create", .request = AGENT, .response = AGENT, .fn = create},
        {.name = "update", .request = AGENT, .response = AGENT, .fn = update},
        {.name = "delete",
         .request = &agent__agent_id__descriptor,
         .response = AGENT,
         .fn = delete},
        {0}};
    static const struct rpc_method query[] = {
        {.name = "get", .request = &agent__agent_id__descriptor, .response = AGENT, .fn = get},
        {.name = "getByReference",
         .request = &meta__api_resource_reference__descriptor,
         .response = AGENT,
         .fn = get_by_reference},
        {0}};
    static const struct rpc_service services[] = {
        {"ai.stigmer.agentic.agent.v1.AgentCommandController", command},
        {"ai.stigmer.agentic.agent.v1.AgentQueryController", query}};

    rpc_server_add(s, &services[0], a);
    rpc_server_add(s, &services[1], a);
}
