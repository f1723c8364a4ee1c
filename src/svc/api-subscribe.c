#include <stdlib.h>

#include "base/mem.h"
#include "base/str.h"
#include "svc/api-services.h"

/* One open subscription. It holds no state of the run: when something changed it reads the newest
 * whole and sends that, once the client has room. So a slow client skips what lies between. */
struct sub {
    struct api *api;             /* borrowed */
    struct sub *next, **prev;    /* in api->subs */
    struct rpc_call *call;       /* borrowed */
    struct journal_watch *watch; /* owned */
    struct loop_timer *kick;     /* owned */
    char *id;                    /* owned */
};

static void sub_free(struct sub *s)
{
    *s->prev = s->next;
    if (s->next)
        s->next->prev = s->prev;
    journal_unwatch(s->watch);
    loop_timer_free(s->kick);
    free(s->id);
    free(s);
}

static void on_call_closed(void *arg)
{
    sub_free(arg);
}

static void finish(struct sub *s, const struct err *err)
{
    rpc_call_on_closed(s->call, NULL, NULL);
    if (err)
        rpc_call_fail(s->call, err);
    else
        rpc_call_finish(s->call);
    sub_free(s);
}

static void send_newest(void *arg)
{
    struct sub *s = arg;
    struct resource *m;
    struct err err;
    bool ended;

    if (rpc_call_is_full(s->call))
        return; /* on_drained comes back here */
    if (api_op_load(s->api, resource_kind(RESOURCE_EXECUTION), s->id, &m, &err)) {
        finish(s, &err);
        return;
    }
    rpc_call_send(s->call, &m->base);
    ended = ((Aexec__AgentExecutionStatus *)m->status)->phase >=
            AEXEC__EXECUTION_PHASE__EXECUTION_COMPLETED;
    protobuf_c_message_free_unpacked(&m->base, NULL);
    if (ended)
        finish(s, NULL);
}

static void on_event(const Exec__Event *e, void *arg)
{
    (void)e;
    loop_timer_in(((struct sub *)arg)->kick, 0);
}

static void on_deleted(void *arg)
{
    struct sub *s = arg;
    struct err err;

    err_set(&err, ERR_NOT_FOUND, "execution '%.80s' was deleted", s->id);
    finish(s, &err);
}

void api_subscribe_start(struct api *a, struct rpc_call *call, const char *execution_id)
{
    static const struct journal_live live = {.on_event = on_event, .on_deleted = on_deleted};
    struct journal_head head;
    struct sub *s;
    struct err err;

    if (!*execution_id || journal_head(a->journal, execution_id, &head, &err)) {
        if (!*execution_id)
            err_set(&err, ERR_INVALID, "validation errors:\n - value: is required");
        rpc_call_fail(call, &err);
        return;
    }
    s = mem_new(sizeof *s);
    s->api = a;
    s->call = call;
    s->id = mem_str(execution_id);
    s->next = a->subs;
    s->prev = &a->subs;
    if (s->next)
        s->next->prev = &s->next;
    a->subs = s;
    s->kick = loop_timer_new(a->loop, send_newest, s);
    s->watch =
        journal_watch(a->journal, s->id, &live, s); /* before the snapshot: nothing is missed */
    rpc_call_on_closed(call, on_call_closed, s);
    rpc_call_on_drained(call, send_newest, s);
    send_newest(s);
}

void api_subscribe_free_all(struct api *a)
{
    while (a->subs)
        sub_free(a->subs);
}
