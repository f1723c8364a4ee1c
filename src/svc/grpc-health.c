#include "svc/grpc-health.h"

#include "base/mem.h"
#include "base/str.h"
#include "grpc/health/v1/health.pb-c.h"

struct watch {
    struct grpc_health *health;
    struct rpc_call *call;
    bool known; /* false: of a service that we do not have, which stays so */
    struct watch *prev, *next;
};

struct grpc_health {
    struct rpc_server *server;
    bool serving;
    struct watch *watches;
};

static bool is_known(const struct grpc_health *h, const struct rpc_call *call, const char *service)
{
    const char *name;
    if (str_is_empty(service))
        return true;
    for (size_t i = 0; (name = rpc_server_service(h->server, rpc_call_gate(call), i)); i++)
        if (str_eq(name, service))
            return true;
    return false;
}

static void fill(const struct grpc_health *h, bool known, Health__HealthCheckResponse *ret)
{
    health__health_check_response__init(ret);
    ret->status = !known       ? HEALTH__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVICE_UNKNOWN
                  : h->serving ? HEALTH__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING
                               : HEALTH__HEALTH_CHECK_RESPONSE__SERVING_STATUS__NOT_SERVING;
}

static void check(struct rpc_call *call, const ProtobufCMessage *msg, void *arg)
{
    const struct grpc_health *h = arg;
    const Health__HealthCheckRequest *req = (const Health__HealthCheckRequest *)msg;
    Health__HealthCheckResponse res;
    struct err err;
    if (!is_known(h, call, req->service)) {
        err_set(&err, ERR_NOT_FOUND, "unknown service %.200s", req->service);
        rpc_call_fail(call, &err);
        return;
    }
    fill(h, true, &res);
    rpc_call_reply(call, &res.base);
}

static void on_watch_closed(void *arg)
{
    struct watch *w = arg;
    if (w->prev)
        w->prev->next = w->next;
    else
        w->health->watches = w->next;
    if (w->next)
        w->next->prev = w->prev;
    free(w);
}

static void watch(struct rpc_call *call, const ProtobufCMessage *msg, void *arg)
{
    struct grpc_health *h = arg;
    const Health__HealthCheckRequest *req = (const Health__HealthCheckRequest *)msg;
    Health__HealthCheckResponse res;
    struct watch *w = mem_new(sizeof *w);
    *w = (struct watch){.health = h, .call = call, .next = h->watches};
    w->known = is_known(h, call, req->service);
    if (w->next)
        w->next->prev = w;
    h->watches = w;
    rpc_call_on_closed(call, on_watch_closed, w);
    fill(h, w->known, &res);
    rpc_call_send(call, &res.base);
}

void grpc_health_set(struct grpc_health *h, bool serving)
{
    Health__HealthCheckResponse res;
    if (h->serving == serving)
        return;
    h->serving = serving;
    fill(h, true, &res);
    for (struct watch *w = h->watches; w; w = w->next)
        if (w->known)
            rpc_call_send(w->call, &res.base);
}

struct grpc_health *grpc_health_new(struct rpc_server *server)
{
    static const struct rpc_method methods[] = {
        {"Check", &health__health_check_request__descriptor,
         &health__health_check_response__descriptor, false, check, false, NULL},
        {"Watch", &health__health_check_request__descriptor,
         &health__health_check_response__descriptor, true, watch, false, NULL},
        {0},
    };
    static const struct rpc_service service = {"grpc.health.v1.Health", methods, true};
    struct grpc_health *h = mem_new(sizeof *h);
    h->server = server;
    h->serving = true;
    rpc_server_add(server, &service, h);
    return h;
}

void grpc_health_free(struct grpc_health *h)
{
    free(h);
}
