#include "prog/stigmer-server/status-watch.h"

#include <stdlib.h>

#include "base/mem.h"
#include "base/str.h"
#include "stigmer/execution/v1/service.pb-c.h"

#define LOOK_MS 100

struct watcher {
    struct status_watch *all; /* borrowed */
    struct watcher *next;
    struct rpc_call *call; /* borrowed */
    unsigned sent;         /* the version that it has */
};

struct status_watch {
    struct loop *loop;              /* borrowed */
    const struct status_view *view; /* borrowed */
    struct loop_hook *hook;         /* owned; NULL while nobody watches */
    struct loop_timer *look;        /* owned */
    struct watcher *first;          /* owned */
    char *seen;                     /* owned; what counts of the newest version */
    unsigned version;
    bool armed, own_turn; /* own_turn: this turn is the look itself */
};

/* What counts as the same. */
static char *essence(json_t *status)
{
    json_t *copy = json_deep_copy(status), *c;
    size_t i;
    char *text;

    json_array_foreach(json_object_get(copy, "components"), i, c)(void)
        json_object_del(c, "rssBytes");
    text = mem_check(json_dumps(copy, JSON_COMPACT));
    json_decref(copy);
    return text;
}

static void send(struct watcher *r, char *text)
{
    Exec__StatusResponse answer = EXEC__STATUS_RESPONSE__INIT;

    if (r->sent == r->all->version || rpc_call_is_full(r->call))
        return;
    answer.json = text;
    r->sent = r->all->version;
    rpc_call_send(r->call, &answer.base);
}

static void look(void *arg)
{
    struct status_watch *w = arg;
    json_t *status = status_json(w->view);
    char *now = essence(status), *text = mem_check(json_dumps(status, JSON_COMPACT));

    w->armed = false;
    w->own_turn = true;
    if (!str_eq(now, w->seen)) {
        w->version++;
        free(w->seen);
        w->seen = mem_str(now);
    }
    for (struct watcher *r = w->first; r; r = r->next)
        send(r, text);
    free(now);
    free(text);
    json_decref(status);
}

static void after_turn(void *arg)
{
    struct status_watch *w = arg;

    if (!w->own_turn && !w->armed) {
        w->armed = true;
        loop_timer_in(w->look, LOOK_MS);
    }
    w->own_turn = false;
}

static void on_closed(void *arg)
{
    struct watcher *r = arg;
    struct status_watch *w = r->all;

    for (struct watcher **p = &w->first; *p; p = &(*p)->next)
        if (*p == r) {
            *p = r->next;
            break;
        }
    free(r);
    if (w->first)
        return;
    loop_hook_free(w->hook);
    w->hook = NULL;
    w->armed = w->own_turn = false;
    loop_timer_at(w->look, INT64_MAX);
}

void status_watch_add(struct status_watch *w, struct rpc_call *call)
{
    struct watcher *r = mem_new(sizeof *r);

    *r = (struct watcher){.all = w, .next = w->first, .call = call, .sent = w->version - 1};
    w->first = r;
    if (!w->hook)
        w->hook = loop_hook_new(w->loop, after_turn, w);
    rpc_call_on_closed(call, on_closed, r);
    rpc_call_on_drained(call, look, w);
    look(w);
}

struct status_watch *status_watch_new(struct loop *loop, const struct status_view *view)
{
    struct status_watch *w = mem_new(sizeof *w);

    *w = (struct status_watch){.loop = loop, .view = view};
    w->look = loop_timer_new(loop, look, w);
    return w;
}

void status_watch_free(struct status_watch *w)
{
    if (!w)
        return;
    while (w->first) {
        struct watcher *r = w->first;

        rpc_call_on_closed(r->call, NULL, NULL);
        rpc_call_finish(r->call);
        on_closed(r);
    }
    loop_timer_free(w->look);
    free(w->seen);
    free(w);
}
