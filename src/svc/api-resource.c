#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/str.h"
#include "stigmer/resource/v1/resource.pb-c.h"
#include "svc/api-services.h"
#include "svc/records.h"

static const struct resource_kind *kind_of(struct rpc_call *call, const char *word)
{
    const struct resource_kind *k = resource_kind_by_word(word);
    struct err err;

    if (k)
        return k;
    err_set(&err, ERR_INVALID,
            "'%.60s' is none of the kinds agent, agent_instance, session, agent_execution", word);
    rpc_call_fail(call, &err);
    return NULL;
}

static ProtobufCBinaryData packed(const struct resource *m)
{
    ProtobufCBinaryData b;

    b.len = protobuf_c_message_get_packed_size(&m->base);
    b.data = mem_array(b.len, 1);
    protobuf_c_message_pack(&m->base, b.data);
    return b;
}

struct listing {
    struct api *api;
    const struct resource_kind *kind;
    Res__ListResponse *r;
};

static void add_item(struct resource *m, void *arg)
{
    struct listing *l = arg;
    struct resource *copy = resource_of(resource_copy(&m->base));

    if (api_op_complete(l->api, l->kind, copy, NULL) == ERR_OK) {
        l->r->items = mem_grow(l->r->items, l->r->n_items + 1, sizeof *l->r->items);
        l->r->items[l->r->n_items++] = packed(copy);
    }
    protobuf_c_message_free_unpacked(&copy->base, NULL);
}

static void list(struct rpc_call *call, const ProtobufCMessage *msg, void *arg)
{
    struct api *a = arg;
    const Res__ListRequest *req = (const Res__ListRequest *)msg;
    struct records_query q = {.kind = kind_of(call, req->kind),
                              .org = req->org,
                              .parent = req->parent,
                              .newest_first = true};
    struct listing l = {.api = a, .kind = q.kind};
    struct api_op_page page;
    char token[24];
    int64_t total;
    struct err err;

    if (!q.kind)
        return;
    if (api_op_page(req->page_size, req->page_token, &page, &err)) {
        rpc_call_fail(call, &err);
        return;
    }
    l.r = mem_new(sizeof *l.r);
    res__list_response__init(l.r);
    q.offset = page.offset;
    q.limit = page.limit;
    if (records_list(store_read_db(a->store), &q, add_item, &l, &total, &err)) {
        rpc_call_fail(call, &err);
    } else {
        l.r->total = (int32_t)total;
        snprintf(token, sizeof token, "%lld", (long long)(page.offset / page.limit + 2));
        if (page.offset + page.limit < total)
            resource_set_text(&l.r->next_page_token, token);
        rpc_call_reply(call, &l.r->base);
    }
    res__list_response__free_unpacked(l.r, NULL);
}

static void find(struct rpc_call *call, const ProtobufCMessage *msg, void *arg)
{
    struct api *a = arg;
    const Res__FindRequest *req = (const Res__FindRequest *)msg;
    const struct resource_kind *k = kind_of(call, req->kind);
    Res__FindResponse r = RES__FIND_RESPONSE__INIT;
    char id[RESOURCE_ID];
    struct resource *m;
    struct err err;

    if (!k)
        return;
    if (records_find(store_read_db(a->store), k, req->ref, id, &err) ||
        api_op_load(a, k, id, &m, &err)) {
        rpc_call_fail(call, &err);
        return;
    }
    r.id = id;
    r.item = packed(m);
    rpc_call_reply(call, &r.base);
    free(r.item.data);
    protobuf_c_message_free_unpacked(&m->base, NULL);
}

void api_resource_add(struct rpc_server *s, struct api *a)
{
    static const struct rpc_method methods[] = {{.name = "list",
                                                 .request = &res__list_request__descriptor,
                                                 .response = &res__list_response__descriptor,
                                                 .fn = list},
                                                {.name = "find",
                                                 .request = &res__find_request__descriptor,
                                                 .response = &res__find_response__descriptor,
                                                 .fn = find},
                                                {0}};
    static const struct rpc_service service = {"stigmer.resource.v1.ResourceService", methods};

    rpc_server_add(s, &service, a);
}
