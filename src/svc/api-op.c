#include "svc/api-op.h"

#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/str.h"
#include "core/validate.h"
#include "svc/records.h"
#include "svc/secret-fields.h"

#define PAGE_DEFAULT 50
#define PAGE_MAX 500

static void free_message(struct resource *m)
{
    if (m)
        protobuf_c_message_free_unpacked(&m->base, NULL);
}

static void op_free(struct api_op *op)
{
    free_message(op->in);
    free(op);
}

static void call_closed(void *arg)
{
    ((struct api_op *)arg)->call = NULL; /* the job is under way: its end frees op */
}

/* Who is written into the audit: the name of the peer's uid; "local" where the kernel does not
 * tell. */
static void set_actor(struct api_op *op)
{
    struct api *a = op->api;
    uid_t uid;
    const struct passwd *pw;

    if (!rpc_call_peer_uid(op->call, &uid)) {
        (void)str_format(op->actor, sizeof op->actor, "local");
        return;
    }
    if (!*a->actor || a->actor_uid != uid) {
        pw = getpwuid(uid);
        a->actor_uid = uid;
        if (pw)
            (void)str_format(a->actor, sizeof a->actor, "%s", pw->pw_name);
        else
            (void)str_format(a->actor, sizeof a->actor, "uid-%u", (unsigned)uid);
    }
    (void)str_format(op->actor, sizeof op->actor, "%s", a->actor);
}

/* ---- inside the job
 * ------------------------------------------------------------------------------- */

static enum err_code op_create(sqlite3 *db, struct api_op *op, struct err *err)
{
    Meta__ApiResourceMetadata *d = op->in->metadata;
    char id[RESOURCE_ID], slug[RESOURCE_SLUG];
    enum err_code code;

    if (op->in->status) {
        protobuf_c_message_free_unpacked(op->in->status, NULL);
        op->in->status = NULL; /* a client does not write it */
    }
    resource_make_id(op->kind, op->now_ms, id);
    if (!*d->id)
        resource_set_text(&d->id, id);
    resource_make_slug(d->name, slug);
    if (!*d->slug)
        resource_set_text(&d->slug, slug);
    resource_audit(op->in, op->kind, NULL, op->actor, op->now_ms);
    if ((code = secret_fields_seal(op->in->spec, NULL, op->api->home, err)) ||
        (op->hooks->prepare && (code = op->hooks->prepare(db, op, NULL, err))))
        return code;
    if ((code = records_insert(db, op->kind, op->in, op->parent, op->agent, op->now_ms, err)))
        return code;
    op->created = true;
    if (!op->hooks->inserted)
        return ERR_OK;
    if ((code = op->hooks->inserted(db, op, err)))
        return code;
    return records_update(db, op->kind, op->in, op->now_ms, err);
}

/* Id, slug and org stay, and so does the status; the rest is the client's. */
static enum err_code op_replace(sqlite3 *db, struct api_op *op, struct resource *old,
                                struct err *err)
{
    struct resource *in = op->in;
    enum err_code code;

    resource_set_text(&in->metadata->id, old->metadata->id);
    resource_set_text(&in->metadata->slug, old->metadata->slug);
    resource_set_text(&in->metadata->org, old->metadata->org);
    if (!*in->metadata->name)
        resource_set_text(&in->metadata->name, old->metadata->name);
    if (in->status)
        protobuf_c_message_free_unpacked(in->status, NULL);
    in->status = old->status ? resource_copy(old->status) : NULL;
    resource_audit(in, op->kind, old, op->actor, op->now_ms);
    if ((code = secret_fields_seal(in->spec, old->spec, op->api->home, err)) ||
        (op->hooks->prepare && (code = op->hooks->prepare(db, op, old, err))))
        return code;
    return records_update(db, op->kind, in, op->now_ms, err);
}

static enum err_code op_update(sqlite3 *db, struct api_op *op, struct err *err)
{
    const Meta__ApiResourceMetadata *d = op->in->metadata;
    char id[RESOURCE_ID], slug[RESOURCE_SLUG];
    struct resource *old;
    enum err_code code;

    resource_make_slug(d->name, slug);
    if (*d->id)
        (void)str_format(id, sizeof id, "%s", d->id);
    else if ((code = records_by_slug(db, op->kind, d->org, *d->slug ? d->slug : slug, id, err)))
        return code;
    if ((code = records_get(db, op->kind, id, &old, err)))
        return code;
    code = op_replace(db, op, old, err);
    free_message(old);
    return code;
}

static enum err_code op_apply(sqlite3 *db, struct api_op *op, struct err *err)
{
    const Meta__ApiResourceMetadata *d = op->in->metadata;
    char id[RESOURCE_ID], slug[RESOURCE_SLUG];
    struct resource *old;
    enum err_code code;

    resource_make_slug(d->name, slug);
    code = *d->id ? records_get(db, op->kind, d->id, &old, err) : ERR_NOT_FOUND;
    if (code == ERR_NOT_FOUND &&
        (code = records_by_slug(db, op->kind, d->org, *d->slug ? d->slug : slug, id, err)) ==
            ERR_OK)
        code = records_get(db, op->kind, id, &old, err);
    if (code == ERR_NOT_FOUND)
        return op_create(db, op, err);
    if (code)
        return code;
    code = op_replace(db, op, old, err);
    free_message(old);
    return code;
}

static enum err_code op_remove(sqlite3 *db, struct api_op *op, struct err *err)
{
    enum err_code code;

    if ((code = records_get(db, op->kind, op->id, &op->in, err)) ||
        (code = records_delete(db, op->kind, op->id, err)))
        return code;
    return op->hooks->deleted ? op->hooks->deleted(db, op, err) : ERR_OK;
}

static enum err_code op_job(sqlite3 *db, void *arg, struct err *err)
{
    struct api_op *op = arg;

    switch (op->verb) {
    case API_CREATE:
        return op_create(db, op, err);
    case API_UPDATE:
        return op_update(db, op, err);
    case API_APPLY:
        return op_apply(db, op, err);
    case API_DELETE:
    default:
        return op_remove(db, op, err);
    }
}

enum err_code api_op_insert_own(sqlite3 *db, struct api_op *op, const struct resource_kind *kind,
                                struct resource *m, const char *parent, const char *agent,
                                struct err *err)
{
    char id[RESOURCE_ID], slug[RESOURCE_SLUG], name[RESOURCE_SLUG + RESOURCE_ID],
        taken[RESOURCE_ID];

    resource_make_id(kind, op->now_ms, id);
    resource_set_text(&m->api_version, RESOURCE_API_VERSION);
    resource_set_text(&m->kind, kind->name);
    resource_set_text(&m->metadata->id, id);
    resource_make_slug(m->metadata->name, slug);
    if (!*slug || records_by_slug(db, kind, m->metadata->org, slug, taken, NULL) == ERR_OK) {
        (void)str_format(name, sizeof name, "%s-%s", m->metadata->name, id);
        resource_set_text(&m->metadata->name, name);
        resource_make_slug(name, slug);
    }
    resource_set_text(&m->metadata->slug, slug);
    resource_audit(m, kind, NULL, op->actor, op->now_ms);
    return records_insert(db, kind, m, parent, agent, op->now_ms, err);
}

/* ---- after the commit
 * -------------------------------------------------------------------------------- */

static void op_done(const struct err *err, void *arg)
{
    struct api_op *op = arg;
    struct err own;

    if (!err && op->verb != API_DELETE && api_op_complete(op->api, op->kind, op->in, &own))
        err = &own;
    if (op->call) {
        rpc_call_on_closed(op->call, NULL, NULL);
        if (err)
            rpc_call_fail(op->call, err);
        else
            rpc_call_reply(op->call, &op->in->base);
    }
    if (!err && op->hooks->committed)
        op->hooks->committed(op);
    op_free(op);
}

static struct api_op *op_new(struct api *a, struct rpc_call *call, enum api_op_verb verb,
                             const struct resource_kind *kind, const struct api_op_hooks *hooks)
{
    struct api_op *op = mem_new(sizeof *op);

    op->api = a;
    op->call = call;
    op->verb = verb;
    op->kind = kind;
    op->hooks = hooks;
    op->now_ms = clock_wall_ms();
    set_actor(op);
    return op;
}

static void op_start(struct api_op *op)
{
    rpc_call_on_closed(op->call, call_closed, op);
    store_submit(op->api->store, op_job, op_done, op);
}

void api_op_write(struct api *a, struct rpc_call *call, enum api_op_verb verb,
                  const struct resource_kind *kind, const struct api_op_hooks *hooks,
                  const ProtobufCMessage *in)
{
    struct resource *copy = resource_of(resource_copy(in));
    struct api_op *op;
    struct err err;

    if (validate_resource(copy, kind, &err)) {
        rpc_call_fail(call, &err);
        free_message(copy);
        return;
    }
    op = op_new(a, call, verb, kind, hooks);
    op->in = copy;
    op_start(op);
}

static bool has_id(struct rpc_call *call, const char *id)
{
    struct err err;

    if (!str_is_empty(id) && strlen(id) < RESOURCE_ID)
        return true;
    if (str_is_empty(id))
        err_set(&err, ERR_INVALID, "validation errors:\n - value: is required");
    else
        err_set(&err, ERR_NOT_FOUND, "there is no such id: it is longer than ids are");
    rpc_call_fail(call, &err);
    return false;
}

void api_op_delete(struct api *a, struct rpc_call *call, const struct resource_kind *kind,
                   const struct api_op_hooks *hooks, const char *id)
{
    struct api_op *op;

    if (!has_id(call, id))
        return;
    op = op_new(a, call, API_DELETE, kind, hooks);
    (void)str_format(op->id, sizeof op->id, "%s", id);
    op_start(op);
}

/* ---- reads
 * ---------------------------------------------------------------------------------------------- */

/* The execution's status is the fold of its journal; only the audit is the row's. */
static enum err_code fold_status(struct api *a, struct resource *m, struct err *err)
{
    Aexec__AgentExecutionStatus *row = (Aexec__AgentExecutionStatus *)m->status;
    Aexec__AgentExecutionStatus *s;
    enum err_code code = journal_status(a->journal, m->metadata->id, &s, err);

    if (code)
        return code;
    if (row) {
        s->audit = row->audit;
        row->audit = NULL;
        protobuf_c_message_free_unpacked(&row->base, NULL);
    }
    m->status = &s->base;
    return ERR_OK;
}

enum err_code api_op_complete(struct api *a, const struct resource_kind *kind, struct resource *m,
                              struct err *err)
{
    const ProtobufCFieldDescriptor *f;

    if (!m->spec) {
        f = protobuf_c_message_descriptor_get_field_by_name(kind->message, "spec");
        m->spec = mem_new(((const ProtobufCMessageDescriptor *)f->descriptor)->sizeof_message);
        protobuf_c_message_init(f->descriptor, m->spec);
    }
    if (!m->status) {
        m->status = mem_new(kind->status->sizeof_message);
        protobuf_c_message_init(kind->status, m->status);
    }
    secret_fields_mask(m->spec);
    return kind->number == RESOURCE_EXECUTION ? fold_status(a, m, err) : ERR_OK;
}

enum err_code api_op_load(struct api *a, const struct resource_kind *kind, const char *id,
                          struct resource **ret, struct err *err)
{
    struct resource *m;
    enum err_code code = records_get(store_read_db(a->store), kind, id, &m, err);

    if (code)
        return code;
    if ((code = api_op_complete(a, kind, m, err))) {
        free_message(m);
        return code;
    }
    *ret = m;
    return ERR_OK;
}

void api_op_get(struct api *a, struct rpc_call *call, const struct resource_kind *kind,
                const char *id)
{
    struct resource *m;
    struct err err;

    if (!has_id(call, id))
        return;
    if (api_op_load(a, kind, id, &m, &err)) {
        rpc_call_fail(call, &err);
        return;
    }
    rpc_call_reply(call, &m->base);
    free_message(m);
}

void api_op_reference(struct api *a, struct rpc_call *call, const struct resource_kind *kind,
                      const Meta__ApiResourceReference *ref)
{
    char id[RESOURCE_ID];
    struct err err;

    if (validate_reference(ref, kind, &err) ||
        records_by_slug(store_read_db(a->store), kind, ref->org, ref->slug, id, &err)) {
        rpc_call_fail(call, &err);
        return;
    }
    api_op_get(a, call, kind, id);
}

enum err_code api_op_page(int32_t size, const char *token, struct api_op_page *ret, struct err *err)
{
    int64_t page = 1;

    if (size < 0)
        return err_set(err, ERR_INVALID, "validation errors:\n - page_size: must not be negative");
    if (!str_is_empty(token) && str_to_int(token, 1, 1000000, &page, NULL))
        return err_set(err, ERR_INVALID,
                       "validation errors:\n - page_token: must be the number of a page");
    ret->limit = size == 0 ? PAGE_DEFAULT : size > PAGE_MAX ? PAGE_MAX : size;
    ret->offset = (page - 1) * ret->limit;
    return ERR_OK;
}
