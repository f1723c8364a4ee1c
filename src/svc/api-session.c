#include <string.h>

#include "ai/stigmer/agentic/session/v1/session.pb-c.h"
#include "base/mem.h"
#include "base/str.h"
#include "svc/api-services.h"
#include "svc/own-folder.h"
#include "svc/records.h"

#define KIND resource_kind(RESOURCE_SESSION)

static enum err_code prepare(sqlite3 *db, struct api_op *op, const struct resource *old,
                             struct err *err)
{
    const Sess__SessionSpec *s = (const Sess__SessionSpec *)op->in->spec;
    enum err_code code;

    if (old &&
        !str_eq(((const Sess__SessionSpec *)old->spec)->agent_instance_id, s->agent_instance_id))
        return err_set(err, ERR_INVALID,
                       "validation errors:\n - spec.agent_instance_id: cannot be changed");
    if (old && !str_eq(((const Sess__SessionSpec *)old->spec)->workspace_dir, s->workspace_dir))
        return err_set(err, ERR_INVALID,
                       "validation errors:\n - spec.workspace_dir: cannot be changed");
    if (!old && *s->workspace_dir &&
        (code = own_folder_check(s->workspace_dir, op->api->home, err)))
        return code;
    if ((code = records_agent_of(db, resource_kind(RESOURCE_INSTANCE), s->agent_instance_id,
                                 op->agent, err)))
        return code;
    (void)str_format(op->parent, sizeof op->parent, "%s", s->agent_instance_id);
    return ERR_OK;
}

static void committed(struct api_op *op)
{
    if (op->verb == API_DELETE && op->api->on_session_deleted)
        op->api->on_session_deleted(op->id, op->api->session_arg);
}

static const struct api_op_hooks hooks = {.prepare = prepare, .committed = committed};

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
    api_op_delete(arg, call, KIND, &hooks, ((const Sess__SessionId *)m)->value);
}

static void get(struct rpc_call *call, const ProtobufCMessage *m, void *arg)
{
    api_op_get(arg, call, KIND, ((const Sess__SessionId *)m)->value);
}

static void add_entry(struct resource *m, void *arg)
{
    Sess__SessionList *l = arg;

    l->entries = mem_grow(l->entries, l->n_entries + 1, sizeof *l->entries);
    l->entries[l->n_entries++] = (Sess__Session *)resource_copy(&m->base);
}

static void reply_list(struct api *a, struct rpc_call *call, struct records_query q, int32_t size,
                       const char *token)
{
    Sess__SessionList *l;
    struct api_op_page page;
    int64_t total;
    struct err err;

    if (api_op_page(size, token, &page, &err)) {
        rpc_call_fail(call, &err);
        return;
    }
    l = mem_new(sizeof *l);
    sess__session_list__init(l);
    q.offset = page.offset;
    q.limit = page.limit;
    if (records_list(store_read_db(a->store), &q, add_entry, l, &total, &err)) {
        rpc_call_fail(call, &err);
    } else {
        l->total_pages = (int32_t)((total + page.limit - 1) / page.limit);
        rpc_call_reply(call, &l->base);
    }
    sess__session_list__free_unpacked(l, NULL);
}

static void list(struct rpc_call *call, const ProtobufCMessage *m, void *arg)
{
    const Sess__ListSessionsRequest *req = (const Sess__ListSessionsRequest *)m;

    reply_list(arg, call,
               (struct records_query){.kind = KIND, .tags = req->tags, .tag_count = req->n_tags},
               req->page_size, req->page_token);
}

static void list_by_agent(struct rpc_call *call, const ProtobufCMessage *m, void *arg)
{
    const Sess__ListSessionsByAgentRequest *req = (const Sess__ListSessionsByAgentRequest *)m;
    struct err err;
    struct records_query q = {.kind = KIND, .agent = req->agent_id};

    if (str_starts(req->agent_id, "ain-")) /* what the original compared it with */
        q = (struct records_query){.kind = KIND, .parent = req->agent_id};
    if (*req->agent_id) {
        reply_list(arg, call, q, req->page_size, req->page_token);
        return;
    }
    err_set(&err, ERR_INVALID, "validation errors:\n - agent_id: is required");
    rpc_call_fail(call, &err);
}

#define SESSION &sess__session__descriptor

void api_session_add(struct rpc_server *s, struct api *a)
{
    static const struct rpc_method command[] = {
        {.name = "apply", .request = SESSION, .response = SESSION, .fn = apply},
        {.name = "create", .request = SESSION, .response = SESSION, .fn = create},
        {.name = "update", .request = SESSION, .response = SESSION, .fn = update},
        {.name = "delete",
         .request = &sess__session_id__descriptor,
         .response = SESSION,
         .fn = delete},
        {0}};
    static const struct rpc_method query[] = {
        {.name = "get", .request = &sess__session_id__descriptor, .response = SESSION, .fn = get},
        {.name = "list",
         .request = &sess__list_sessions_request__descriptor,
         .response = &sess__session_list__descriptor,
         .fn = list},
        {.name = "listByAgent",
         .request = &sess__list_sessions_by_agent_request__descriptor,
         .response = &sess__session_list__descriptor,
         .fn = list_by_agent},
        {0}};
    static const struct rpc_service services[] = {
        {"ai.stigmer.agentic.session.v1.SessionCommandController", command},
        {"ai.stigmer.agentic.session.v1.SessionQueryController", query}};

    rpc_server_add(s, &services[0], a);
    rpc_server_add(s, &services[1], a);
}
