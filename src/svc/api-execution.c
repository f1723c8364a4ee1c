#include <string.h>

#include "ai/stigmer/agentic/agent/v1/agent.pb-c.h"
#include "ai/stigmer/agentic/agentexecution/v1/agentexecution.pb-c.h"
#include "ai/stigmer/agentic/session/v1/session.pb-c.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/own.h"
#include "base/str.h"
#include "svc/api-services.h"
#include "svc/own-folder.h"
#include "svc/records.h"
#include "svc/workflow-ends.h"

#define KIND resource_kind(RESOURCE_EXECUTION)

/* A session for a run that names only its agent. Its name carries the id, so that many at once
 * never collide. */
static enum err_code make_session(sqlite3 *db, struct api_op *op, Aexec__AgentExecutionSpec *spec,
                                  struct err *err)
{
    struct resource *agent;
    Sess__Session *m;
    char name[RESOURCE_ID + 16];
    const Agent__AgentStatus *status;
    char instance[RESOURCE_ID] = "";
    enum err_code code =
        records_get(db, resource_kind(RESOURCE_AGENT), spec->agent_id, &agent, err);

    if (code)
        return code;
    status = (const Agent__AgentStatus *)agent->status;
    if (status && *status->default_instance_id)
        (void)str_format(instance, sizeof instance, "%s", status->default_instance_id);
    else
        code = api_instance_default(db, op, agent, instance, err);
    m = mem_new(sizeof *m);
    sess__session__init(m);
    m->metadata = mem_new(sizeof *m->metadata);
    meta__api_resource_metadata__init(m->metadata);
    m->spec = mem_new(sizeof *m->spec);
    sess__session_spec__init(m->spec);
    (void)str_format(name, sizeof name, "session-%s", op->in->metadata->id);
    resource_set_text(&m->metadata->name, name);
    resource_set_text(&m->metadata->org, agent->metadata->org);
    m->metadata->owner_scope = META__API_RESOURCE_OWNER_SCOPE__organization;
    resource_set_text(&m->spec->agent_instance_id, instance);
    resource_set_text(&m->spec->subject, "Made for one run");
    resource_set_text(&m->spec->workspace_dir, spec->workspace_dir);
    if (!code && *spec->workspace_dir)
        code = own_folder_check(spec->workspace_dir, op->api->home, err);
    if (!code)
        code = api_op_insert_own(db, op, resource_kind(RESOURCE_SESSION), resource_of(&m->base),
                                 instance, spec->agent_id, err);
    if (!code)
        resource_set_text(&spec->session_id, m->metadata->id);
    sess__session__free_unpacked(m, NULL);
    protobuf_c_message_free_unpacked(&agent->base, NULL);
    return code;
}

/* A session's folder is its session's: a run may repeat it, not choose another. */
static enum err_code take_folder(sqlite3 *db, Aexec__AgentExecutionSpec *spec, struct err *err)
{
    struct resource *session;
    const char *folder;
    enum err_code code =
        records_get(db, resource_kind(RESOURCE_SESSION), spec->session_id, &session, err);

    if (code)
        return code;
    folder = ((const Sess__SessionSpec *)session->spec)->workspace_dir;
    if (*spec->workspace_dir && !str_eq(spec->workspace_dir, folder))
        code =
            err_set(err, ERR_INVALID,
                    "validation errors:\n - spec.workspace_dir: the session has another one (%s)",
                    *folder ? folder : "its own below data/workspace");
    else
        resource_set_text(&spec->workspace_dir, folder);
    protobuf_c_message_free_unpacked(&session->base, NULL);
    return code;
}

static enum err_code check_same(const Aexec__AgentExecutionSpec *old,
                                Aexec__AgentExecutionSpec *now, struct err *err)
{
    if (!*now->session_id)
        resource_set_text(&now->session_id, old->session_id);
    if (!*now->agent_id)
        resource_set_text(&now->agent_id, old->agent_id);
    if (!str_eq(now->session_id, old->session_id))
        return err_set(err, ERR_INVALID,
                       "validation errors:\n - spec.session_id: cannot be changed");
    if (!str_eq(now->agent_id, old->agent_id))
        return err_set(err, ERR_INVALID, "validation errors:\n - spec.agent_id: cannot be changed");
    return ERR_OK;
}

static enum err_code prepare(sqlite3 *db, struct api_op *op, const struct resource *old,
                             struct err *err)
{
    Aexec__AgentExecutionSpec *spec = (Aexec__AgentExecutionSpec *)op->in->spec;
    enum err_code code;

    if (old)
        return check_same((const Aexec__AgentExecutionSpec *)old->spec, spec, err);
    if (!*spec->session_id)
        code = make_session(db, op, spec, err);
    else
        code =
            records_agent_of(db, resource_kind(RESOURCE_SESSION), spec->session_id, op->agent, err);
    if (!code)
        code = take_folder(db, spec, err);
    if (code)
        return code;
    if (!*op->agent)
        (void)str_format(op->agent, sizeof op->agent, "%s", spec->agent_id);
    (void)str_format(op->parent, sizeof op->parent, "%s", spec->session_id);
    return ERR_OK;
}

/* The run's row and its first event, in the transaction that makes the resource. */
static enum err_code inserted(sqlite3 *db, struct api_op *op, struct err *err)
{
    const Aexec__AgentExecutionSpec *s = (const Aexec__AgentExecutionSpec *)op->in->spec;
    const struct journal_create c = {.id = op->in->metadata->id,
                                     .session_id = s->session_id,
                                     .message = s->message,
                                     .folder = s->workspace_dir,
                                     .model =
                                         s->execution_config ? s->execution_config->model_name : "",
                                     .at_ms = op->now_ms};

    return journal_tx_create(db, &c, err);
}

/* A run that is under way is not pulled from under its runner: cancel it first. */
static enum err_code deleted(sqlite3 *db, struct api_op *op, struct err *err)
{
    struct journal_head head;
    enum err_code code = journal_tx_head(db, op->id, &head, err);

    if (code)
        return code;
    if (head.state == JOURNAL_CLAIMED)
        return err_hint(err, err_set(err, ERR_STATE, "execution '%s' is running", op->id),
                        "stigmer cancel %s", op->id);
    if (op->api->engine->outside && (code = workflow_ends_tx_put(db, op->id, err)))
        return code;
    return journal_tx_delete(db, op->id, err);
}

static void committed(struct api_op *op)
{
    struct engine *e = op->api->engine;

    if (op->verb == API_DELETE) {
        e->ops->forget(e, op->id);
        journal_deleted(op->api->journal, op->id);
    } else if (op->created) {
        e->ops->submit(e, op->in->metadata->id);
    }
}

static const struct api_op_hooks hooks = {
    .prepare = prepare, .inserted = inserted, .deleted = deleted, .committed = committed};

static void create(struct rpc_call *call, const ProtobufCMessage *m, void *arg)
{
    api_op_write(arg, call, API_CREATE, KIND, &hooks, m);
}

static void update(struct rpc_call *call, const ProtobufCMessage *m, void *arg)
{
    api_op_write(arg, call, API_UPDATE, KIND, &hooks, m);
}

static void delete (struct rpc_call *call, const ProtobufCMessage *m, void *arg)
{
    api_op_delete(arg, call, KIND, &hooks, ((const Meta__ApiResourceId *)m)->value);
}

static void get(struct rpc_call *call, const ProtobufCMessage *m, void *arg)
{
    api_op_get(arg, call, KIND, ((const Aexec__AgentExecutionId *)m)->value);
}

static void subscribe(struct rpc_call *call, const ProtobufCMessage *m, void *arg)
{
    api_subscribe_start(arg, call, ((const Aexec__AgentExecutionId *)m)->value);
}

/* ---- updateStatus: what an old agent-runner calls
 * --------------------------------------------------- */

struct updating {
    struct api *api;       /* borrowed */
    struct rpc_call *call; /* borrowed; NULL once closed */
    char *id;              /* owned */
    bool ends;             /* its phase is a last one */
};

static void updating_closed(void *arg)
{
    ((struct updating *)arg)->call = NULL;
}

static void status_written(const struct err *err, uint64_t last_seq, void *arg)
{
    struct updating *u = arg;

    (void)last_seq;
    if (!err && u->ends)
        u->api->engine->ops->ended(u->api->engine, u->id);
    if (u->call) {
        rpc_call_on_closed(u->call, NULL, NULL);
        if (err)
            rpc_call_fail(u->call, err);
        else
            api_op_get(u->api, u->call, KIND, u->id);
    }
    free(u->id);
    free(u);
}

static void update_status(struct rpc_call *call, const ProtobufCMessage *m, void *arg)
{
    struct api *a = arg;
    const Aexec__AgentExecutionUpdateStatusInput *req =
        (const Aexec__AgentExecutionUpdateStatusInput *)m;
    OWN_FREE uint8_t *bytes = NULL;
    Exec__Event e = EXEC__EVENT__INIT;
    Exec__LegacyStatus l = EXEC__LEGACY_STATUS__INIT;
    struct updating *u;
    struct err err;

    err.code = ERR_OK;
    if (!*req->execution_id)
        err_set(&err, ERR_INVALID, "validation errors:\n - execution_id: is required");
    else if (!req->status)
        err_set(&err, ERR_INVALID, "validation errors:\n - status: is required");
    else if ((int)req->status->phase < 0 || (int)req->status->phase > 5)
        err_set(&err, ERR_INVALID, "validation errors:\n - status.phase: must be a defined value");
    if (err.code) {
        rpc_call_fail(call, &err);
        return;
    }
    l.status.len = aexec__agent_execution_status__get_packed_size(req->status);
    l.status.data = bytes = mem_array(l.status.len, 1);
    aexec__agent_execution_status__pack(req->status, bytes);
    e.kind_case = EXEC__EVENT__KIND_LEGACY_STATUS;
    e.legacy_status = &l;
    e.at_ms = clock_wall_ms();
    u = mem_new(sizeof *u);
    u->api = a;
    u->call = call;
    u->id = mem_str(req->execution_id);
    u->ends = req->status->phase >= AEXEC__EXECUTION_PHASE__EXECUTION_COMPLETED;
    rpc_call_on_closed(call, updating_closed, u);
    journal_append(a->journal, u->id, JOURNAL_SERVER, (Exec__Event *[]){&e}, 1, status_written, u);
}

/* ---- lists
 * -------------------------------------------------------------------------------------------- */

struct listing {
    struct api *api;
    Aexec__AgentExecutionList *list;
};

static void add_entry(struct resource *m, void *arg)
{
    struct listing *l = arg;
    struct resource *copy = resource_of(resource_copy(&m->base));

    if (api_op_complete(l->api, KIND, copy, NULL)) { /* deleted between the two reads */
        protobuf_c_message_free_unpacked(&copy->base, NULL);
        return;
    }
    l->list->entries = mem_grow(l->list->entries, l->list->n_entries + 1, sizeof *l->list->entries);
    l->list->entries[l->list->n_entries++] = (Aexec__AgentExecution *)copy;
}

static void reply_list(struct api *a, struct rpc_call *call, struct records_query *q, int32_t size,
                       const char *token)
{
    struct listing l = {.api = a};
    struct api_op_page page;
    int64_t total;
    struct err err;

    if (api_op_page(size, token, &page, &err)) {
        rpc_call_fail(call, &err);
        return;
    }
    l.list = mem_new(sizeof *l.list);
    aexec__agent_execution_list__init(l.list);
    q->offset = page.offset;
    q->limit = page.limit;
    if (records_list(store_read_db(a->store), q, add_entry, &l, &total, &err)) {
        rpc_call_fail(call, &err);
    } else {
        l.list->total_pages = (int32_t)((total + page.limit - 1) / page.limit);
        rpc_call_reply(call, &l.list->base);
    }
    aexec__agent_execution_list__free_unpacked(l.list, NULL);
}

static void list(struct rpc_call *call, const ProtobufCMessage *m, void *arg)
{
    const Aexec__ListAgentExecutionsRequest *req = (const Aexec__ListAgentExecutionsRequest *)m;
    struct records_query q = {
        .kind = KIND, .phase = (int)req->phase, .tags = req->tags, .tag_count = req->n_tags};

    reply_list(arg, call, &q, req->page_size, req->page_token);
}

static void list_by_session(struct rpc_call *call, const ProtobufCMessage *m, void *arg)
{
    const Aexec__ListAgentExecutionsBySessionRequest *req =
        (const Aexec__ListAgentExecutionsBySessionRequest *)m;
    struct records_query q = {.kind = KIND, .parent = req->session_id};
    struct err err;

    if (*req->session_id) {
        reply_list(arg, call, &q, req->page_size, req->page_token);
        return;
    }
    err_set(&err, ERR_INVALID, "validation errors:\n - session_id: is required");
    rpc_call_fail(call, &err);
}

#define EXECUTION &aexec__agent_execution__descriptor
#define EXECUTION_ID &aexec__agent_execution_id__descriptor

void api_execution_add(struct rpc_server *s, struct api *a)
{
    static const struct rpc_method command[] = {
        {.name = "create", .request = EXECUTION, .response = EXECUTION, .fn = create},
        {.name = "update", .request = EXECUTION, .response = EXECUTION, .fn = update},
        {.name = "updateStatus",
         .request = &aexec__agent_execution_update_status_input__descriptor,
         .response = EXECUTION,
         .fn = update_status},
        {.name = "delete",
         .request = &meta__api_resource_id__descriptor,
         .response = EXECUTION,
         .fn = delete},
        {0}};
    static const struct rpc_method query[] = {
        {.name = "get", .request = EXECUTION_ID, .response = EXECUTION, .fn = get},
        {.name = "list",
         .request = &aexec__list_agent_executions_request__descriptor,
         .response = &aexec__agent_execution_list__descriptor,
         .fn = list},
        {.name = "listBySession",
         .request = &aexec__list_agent_executions_by_session_request__descriptor,
         .response = &aexec__agent_execution_list__descriptor,
         .fn = list_by_session},
        {.name = "subscribe",
         .request = EXECUTION_ID,
         .response = EXECUTION,
         .streams = true,
         .fn = subscribe},
        {0}};
    static const struct rpc_service services[] = {
        {"ai.stigmer.agentic.agentexecution.v1.AgentExecutionCommandController", command},
        {"ai.stigmer.agentic.agentexecution.v1.AgentExecutionQueryController", query}};

    rpc_server_add(s, &services[0], a);
    rpc_server_add(s, &services[1], a);
}
