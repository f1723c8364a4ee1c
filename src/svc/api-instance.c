#include <string.h>

#include "ai/stigmer/agentic/agentinstance/v1/agentinstance.pb-c.h"
#include "base/mem.h"
#include "base/str.h"
#include "svc/api-services.h"
#include "svc/records.h"

#define KIND resource_kind(RESOURCE_INSTANCE)
#define ENVIRONMENT 53
#define ENVIRONMENT_OLD 52 /* what the original demanded by mistake */

enum err_code api_instance_default(sqlite3 *db, struct api_op *op, const struct resource *agent,
                                   char ret[RESOURCE_ID], struct err *err)
{
    Ainst__AgentInstance *m = mem_new(sizeof *m);
    char name[RESOURCE_SLUG + 16];
    enum err_code code;

    ainst__agent_instance__init(m);
    m->metadata = mem_new(sizeof *m->metadata);
    meta__api_resource_metadata__init(m->metadata);
    m->spec = mem_new(sizeof *m->spec);
    ainst__agent_instance_spec__init(m->spec);
    (void)str_format(name, sizeof name, "%.240s-default", agent->metadata->name);
    resource_set_text(&m->metadata->name, *agent->metadata->name ? name : "default");
    resource_set_text(&m->metadata->org, agent->metadata->org);
    m->metadata->owner_scope = agent->metadata->owner_scope;
    resource_set_text(&m->spec->agent_id, agent->metadata->id);
    code = api_op_insert_own(db, op, KIND, resource_of(&m->base), agent->metadata->id,
                             agent->metadata->id, err);
    if (!code)
        (void)str_format(ret, RESOURCE_ID, "%s", m->metadata->id);
    ainst__agent_instance__free_unpacked(m, NULL);
    return code;
}

static enum err_code prepare(sqlite3 *db, struct api_op *op, const struct resource *old,
                             struct err *err)
{
    Ainst__AgentInstanceSpec *s = (Ainst__AgentInstanceSpec *)op->in->spec;
    struct resource *agent;
    enum err_code code;

    for (size_t i = 0; i < s->n_environment_refs; i++)
        if ((int)s->environment_refs[i]->kind == ENVIRONMENT_OLD)
            s->environment_refs[i]->kind = ENVIRONMENT;
    if (old && !str_eq(((const Ainst__AgentInstanceSpec *)old->spec)->agent_id, s->agent_id))
        return err_set(err, ERR_INVALID, "validation errors:\n - spec.agent_id: cannot be changed");
    if ((code = records_get(db, resource_kind(RESOURCE_AGENT), s->agent_id, &agent, err)))
        return code;
    protobuf_c_message_free_unpacked(&agent->base, NULL);
    (void)str_format(op->parent, sizeof op->parent, "%s", s->agent_id);
    (void)str_format(op->agent, sizeof op->agent, "%s", s->agent_id);
    return ERR_OK;
}

static const struct api_op_hooks hooks = {.prepare = prepare};

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
    api_op_delete(arg, call, KIND, &hooks, ((const Ainst__AgentInstanceId *)m)->value);
}

static void get(struct rpc_call *call, const ProtobufCMessage *m, void *arg)
{
    api_op_get(arg, call, KIND, ((const Ainst__AgentInstanceId *)m)->value);
}

static void get_by_reference(struct rpc_call *call, const ProtobufCMessage *m, void *arg)
{
    api_op_reference(arg, call, KIND, (const Meta__ApiResourceReference *)m);
}

static void add_item(struct resource *m, void *arg)
{
    Ainst__AgentInstanceList *l = arg;

    l->items = mem_grow(l->items, l->n_items + 1, sizeof *l->items);
    l->items[l->n_items++] = (Ainst__AgentInstance *)resource_copy(&m->base);
}

static void get_by_agent(struct rpc_call *call, const ProtobufCMessage *m, void *arg)
{
    struct api *a = arg;
    const Ainst__GetAgentInstancesByAgentRequest *req =
        (const Ainst__GetAgentInstancesByAgentRequest *)m;
    struct records_query q = {.kind = KIND, .parent = req->agent_id};
    Ainst__AgentInstanceList *l;
    struct api_op_page page;
    char token[16] = "";
    int64_t total;
    struct err err;

    if (req->page_info && req->page_info->num > 0)
        (void)str_format(token, sizeof token, "%d", req->page_info->num);
    if (!*req->agent_id)
        err_set(&err, ERR_INVALID, "validation errors:\n - agent_id: is required");
    else if (!api_op_page(req->page_info ? req->page_info->size : 0, token, &page, &err)) {
        l = mem_new(sizeof *l);
        ainst__agent_instance_list__init(l);
        q.offset = page.offset;
        q.limit = page.limit;
        err.code = records_list(store_read_db(a->store), &q, add_item, l, &total, &err);
        l->total_count = (int32_t)total;
        if (!err.code)
            rpc_call_reply(call, &l->base);
        ainst__agent_instance_list__free_unpacked(l, NULL);
        if (!err.code)
            return;
    }
    rpc_call_fail(call, &err);
}

#define INSTANCE &ainst__agent_instance__descriptor
#define INSTANCE_ID &ainst__agent_instance_id__descriptor

void api_instance_add(struct rpc_server *s, struct api *a)
{
    static const struct rpc_method command[] = {
        {.name = "apply", .request = INSTANCE, .response = INSTANCE, .fn = apply},
        {.name = "create", .request = INSTANCE, .response = INSTANCE, .fn = create},
        {.name = "update", .request = INSTANCE, .response = INSTANCE, .fn = update},
        {.name = "delete", .request = INSTANCE_ID, .response = INSTANCE, .fn = delete},
        {0}};
    static const struct rpc_method query[] = {
        {.name = "get", .request = INSTANCE_ID, .response = INSTANCE, .fn = get},
        {.name = "getByAgent",
         .request = &ainst__get_agent_instances_by_agent_request__descriptor,
         .response = &ainst__agent_instance_list__descriptor,
         .fn = get_by_agent},
        {.name = "getByReference",
         .request = &meta__api_resource_reference__descriptor,
         .response = INSTANCE,
         .fn = get_by_reference},
        {0}};
    static const struct rpc_service services[] = {
        {"ai.stigmer.agentic.agentinstance.v1.AgentInstanceCommandController", command},
        {"ai.stigmer.agentic.agentinstance.v1.AgentInstanceQueryController", query}};

    rpc_server_add(s, &services[0], a);
    rpc_server_add(s, &services[1], a);
}
