#include "svc/execution-api.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/own.h"
#include "base/str.h"
#include "base/ulid.h"
#include "core/rules.h"
#include "stigmer/execution/v1/service.pb-c.h"
#include "svc/approvals-api.h"

#define SEND_WAIT_MS 2000 /* for a runner to take what was said to its run */
#define READ_STEP 64      /* events a turn, so that one long journal does not hold the loop */

struct execution_api {
    struct loop *loop;        /* borrowed */
    struct store *store;      /* borrowed */
    struct journal *journal;  /* borrowed */
    struct engine *engine;    /* borrowed */
    struct follow *follows;   /* owned */
    struct sending *sendings; /* owned */
};

/* One open events stream. It always reads from the journal, never from memory: a live event only
 * says that there is something to read. So a slow client costs no buffer, only a later read. */
struct follow {
    struct execution_api *api;   /* borrowed */
    struct follow *next, **prev; /* in api->follows */
    struct rpc_call *call;       /* borrowed */
    struct journal_watch *watch; /* owned */
    struct loop_timer *kick;     /* owned; goes on in the next turn */
    char *id;                    /* owned */
    uint64_t next_seq;
    bool deltas;
    bool ended; /* the terminal event was sent */
};

static void follow_free(struct follow *f)
{
    *f->prev = f->next;
    if (f->next)
        f->next->prev = f->prev;
    journal_unwatch(f->watch);
    loop_timer_free(f->kick);
    free(f->id);
    free(f);
}

static void on_call_closed(void *arg)
{
    follow_free(arg);
}

static void follow_finish(struct follow *f, const struct err *err)
{
    rpc_call_on_closed(f->call, NULL, NULL);
    if (err)
        rpc_call_fail(f->call, err);
    else
        rpc_call_finish(f->call);
    follow_free(f);
}

static bool send_event(const Exec__Event *e, void *arg)
{
    struct follow *f = arg;
    Exec__EventsResponse r = EXEC__EVENTS_RESPONSE__INIT;

    r.item_case = EXEC__EVENTS_RESPONSE__ITEM_EVENT;
    r.event = (Exec__Event *)(uintptr_t)e; /* only packed */
    rpc_call_send(f->call, &r.base);
    f->next_seq = e->seq + 1;
    f->ended = rules_is_terminal(e);
    return !f->ended && !rpc_call_is_full(f->call);
}

/* Sends what the journal has beyond next_seq, a piece at a time. */
static void step(void *arg)
{
    struct follow *f = arg;
    struct journal_head head;
    uint64_t before = f->next_seq;
    struct err err;

    if (rpc_call_is_full(f->call))
        return; /* on_drained comes back here */
    if (journal_read(f->api->journal, f->id, f->next_seq, READ_STEP, send_event, f, &err) ||
        journal_head(f->api->journal, f->id, &head, &err)) {
        follow_finish(f, &err);
        return;
    }
    /* a run that an old client ended through updateStatus has no terminal event of its own */
    if (f->ended || (head.state == JOURNAL_ENDED && f->next_seq > head.seq)) {
        follow_finish(f, NULL);
        return;
    }
    if (f->next_seq > before && f->next_seq <= head.seq)
        loop_timer_in(f->kick, 0);
}

static void on_live_event(const Exec__Event *e, void *arg)
{
    struct follow *f = arg;

    if (e->seq >= f->next_seq)
        loop_timer_in(f->kick, 0);
}

static void on_delta(uint32_t turn, uint32_t attempt, const char *text, void *arg)
{
    struct follow *f = arg;
    Exec__EventsResponse r = EXEC__EVENTS_RESPONSE__INIT;
    Exec__Delta d = EXEC__DELTA__INIT;

    if (!f->deltas || rpc_call_is_full(f->call))
        return; /* live text is lossy by contract: the turn's whole text follows as an event */
    d.turn = turn;
    d.attempt = attempt;
    d.text = (char *)(uintptr_t)text;
    r.item_case = EXEC__EVENTS_RESPONSE__ITEM_DELTA;
    r.delta = &d;
    rpc_call_send(f->call, &r.base);
}

static void on_recording(const void *line, size_t len, void *arg)
{
    struct follow *f = arg;
    Exec__EventsResponse r = EXEC__EVENTS_RESPONSE__INIT;
    Exec__Recording rec = EXEC__RECORDING__INIT;

    if (!f->deltas)
        return;
    rec.line.data = (uint8_t *)(uintptr_t)line;
    rec.line.len = len;
    r.item_case = EXEC__EVENTS_RESPONSE__ITEM_RECORDING;
    r.recording = &rec;
    rpc_call_send(f->call, &r.base);
}

static void on_deleted(void *arg)
{
    struct follow *f = arg;
    struct err err;

    err_set(&err, ERR_NOT_FOUND, "execution '%.80s' was deleted", f->id);
    follow_finish(f, &err);
}

static void events(struct rpc_call *call, const ProtobufCMessage *msg, void *arg)
{
    static const struct journal_live live = {on_live_event, on_delta, on_recording, on_deleted};
    struct execution_api *a = arg;
    const Exec__EventsRequest *req = (const Exec__EventsRequest *)msg;
    struct journal_head head;
    struct follow *f;
    struct err err;

    if (journal_head(a->journal, req->execution_id, &head, &err)) {
        rpc_call_fail(call, &err);
        return;
    }
    f = mem_new(sizeof *f);
    f->api = a;
    f->call = call;
    f->id = mem_str(req->execution_id);
    f->next_seq = req->from_seq ? req->from_seq : 1;
    f->deltas = req->deltas;
    f->next = a->follows;
    f->prev = &a->follows;
    if (f->next)
        f->next->prev = &f->next;
    a->follows = f;
    f->kick = loop_timer_new(a->loop, step, f);
    f->watch = journal_watch(a->journal, f->id, &live, f); /* before the first read: no gap */
    rpc_call_on_closed(call, on_call_closed, f);
    rpc_call_on_drained(call, step, f);
    step(f);
}

/* ---- cancel -----------------------------------------------------------------------------------
 */

struct cancelling {
    struct rpc_call *call; /* borrowed; NULL once closed */
};

static void cancel_closed(void *arg)
{
    ((struct cancelling *)arg)->call = NULL;
}

static void cancel_done(const struct err *err, void *arg)
{
    struct cancelling *c = arg;
    Exec__CancelResponse r = EXEC__CANCEL_RESPONSE__INIT;

    if (c->call) {
        rpc_call_on_closed(c->call, NULL, NULL);
        r.already_terminal = err && err->code == ERR_STATE;
        if (err && err->code != ERR_STATE)
            rpc_call_fail(c->call, err);
        else
            rpc_call_reply(c->call, &r.base);
    }
    free(c);
}

#define REASON_MAX 1000

static void name_peer(const struct rpc_call *call, char *ret, size_t size)
{
    uid_t uid;

    if (rpc_call_peer_uid(call, &uid))
        (void)str_format(ret, size, "uid %u", (unsigned)uid);
    else
        (void)str_format(ret, size, "local");
}

static void cancel(struct rpc_call *call, const ProtobufCMessage *msg, void *arg)
{
    struct execution_api *a = arg;
    const Exec__CancelRequest *req = (const Exec__CancelRequest *)msg;
    struct cancelling *c;
    char by[32];
    struct err err;

    if (strlen(req->reason) > REASON_MAX) {
        err_set(&err, ERR_INVALID, "the reason has more than %d bytes", REASON_MAX);
        rpc_call_fail(call, &err);
        return;
    }
    name_peer(call, by, sizeof by);
    c = mem_new(sizeof *c);
    c->call = call;
    rpc_call_on_closed(call, cancel_closed, c);
    a->engine->ops->cancel(a->engine, req->execution_id, by, req->reason, cancel_done, c);
}

/* ---- what people say to a run -------------------------------------------------------------------
 */

/* It has two halves: it is kept (the engine says so), and the journal has it (the watch does). */
struct sending {
    struct execution_api *api;    /* borrowed */
    struct sending *next, **prev; /* in api->sendings */
    struct rpc_call *call;        /* borrowed; NULL once closed */
    struct journal_watch *watch;  /* owned */
    struct loop_timer *late;      /* owned; a runner that does not take it now */
    char *execution_id, *id;      /* owned */
    bool kept, journaled, ended;
};

static void sending_free(struct sending *s)
{
    *s->prev = s->next;
    if (s->next)
        s->next->prev = s->prev;
    if (s->call)
        rpc_call_on_closed(s->call, NULL, NULL);
    journal_unwatch(s->watch);
    loop_timer_free(s->late);
    free(s->execution_id);
    free(s->id);
    free(s);
}

static void answer_send(struct sending *s, const struct err *err)
{
    Exec__SendResponse r = EXEC__SEND_RESPONSE__INIT;
    struct rpc_call *call = TAKE(s->call);

    if (call) {
        rpc_call_on_closed(call, NULL, NULL);
        r.id = s->id;
        r.journaled = s->journaled;
        if (err)
            rpc_call_fail(call, err);
        else
            rpc_call_reply(call, &r.base);
    }
    sending_free(s);
}

static void settle(struct sending *s)
{
    struct err err;

    if (!s->kept)
        return; /* what the journal says meanwhile is looked at then */
    if (s->journaled) {
        answer_send(s, NULL);
    } else if (s->ended) {
        err_set(&err, ERR_STATE, "execution '%.80s' has ended, and has not read it",
                s->execution_id);
        answer_send(s, &err);
    }
}

static void send_closed(void *arg)
{
    struct sending *s = arg;

    s->call = NULL;
    if (s->kept)
        sending_free(s);
}

static void send_late(void *arg)
{
    answer_send(arg, NULL);
}

static void send_event_seen(const Exec__Event *e, void *arg)
{
    struct sending *s = arg;

    s->journaled |=
        e->kind_case == EXEC__EVENT__KIND_INPUT_RECEIVED && str_eq(e->input_received->id, s->id);
    s->ended |= rules_is_terminal(e);
    settle(s);
}

static void send_deleted(void *arg)
{
    struct sending *s = arg;

    s->ended = true;
    settle(s);
}

static void send_kept(const struct err *err, void *arg)
{
    struct sending *s = arg;
    struct journal_head head;

    s->kept = true;
    s->journaled |= !err && inbox_is_read(store_read_db(s->api->store), s->execution_id, s->id);
    if (err || !s->call) {
        answer_send(s, err);
    } else if (s->journaled || s->ended) {
        settle(s);
    } else if (journal_head(s->api->journal, s->execution_id, &head, NULL) ||
               head.state != JOURNAL_CLAIMED) {
        answer_send(s, NULL);
    } else {
        loop_timer_in(s->late, SEND_WAIT_MS);
    }
}

static void say(struct rpc_call *call, const ProtobufCMessage *msg, void *arg)
{
    static const struct journal_live live = {.on_event = send_event_seen,
                                             .on_deleted = send_deleted};
    struct execution_api *a = arg;
    const Exec__SendRequest *req = (const Exec__SendRequest *)msg;
    char made[ULID_LEN + 1], by[32];
    struct inbox_input in = {.id = req->id, .by = by, .text = req->text};
    struct sending *s;
    struct err err;

    name_peer(call, by, sizeof by);
    ulid_make(clock_wall_ms(), made);
    if (str_is_empty(in.id))
        in.id = made;
    if (inbox_check(&in, &err)) {
        rpc_call_fail(call, &err);
        return;
    }
    s = mem_new(sizeof *s);
    s->api = a;
    s->call = call;
    s->execution_id = mem_str(req->execution_id);
    s->id = mem_str(in.id);
    s->prev = &a->sendings;
    s->next = a->sendings;
    if (s->next)
        s->next->prev = &s->next;
    a->sendings = s;
    s->late = loop_timer_new(a->loop, send_late, s);
    s->watch = journal_watch(a->journal, s->execution_id, &live, s); /* before: no gap */
    rpc_call_on_closed(call, send_closed, s);
    a->engine->ops->input(a->engine, req->execution_id, &in, send_kept, s);
}

/* ---- calls that wait for a person ---------------------------------------------------------------
 */

static void approvals(struct rpc_call *call, const ProtobufCMessage *msg, void *arg)
{
    struct execution_api *a = arg;

    approvals_api_list(a->store, a->journal, call, msg);
}

static void decide(struct rpc_call *call, const ProtobufCMessage *msg, void *arg)
{
    struct execution_api *a = arg;
    char by[32];

    name_peer(call, by, sizeof by);
    approvals_api_decide(a->engine, call, msg, by);
}

/* ---- life --------------------------------------------------------------------------------------
 */

struct execution_api *execution_api_new(struct loop *loop, struct store *store,
                                        struct journal *journal, struct engine *engine)
{
    struct execution_api *a = mem_new(sizeof *a);

    a->loop = loop;
    a->store = store;
    a->journal = journal;
    a->engine = engine;
    return a;
}

void execution_api_free(struct execution_api *a)
{
    if (!a)
        return;
    while (a->follows)
        follow_free(a->follows);
    while (a->sendings)
        sending_free(a->sendings);
    free(a);
}

void execution_api_add(struct rpc_server *s, struct execution_api *a)
{
    static const struct rpc_method methods[] = {
        {.name = "events",
         .request = &exec__events_request__descriptor,
         .response = &exec__events_response__descriptor,
         .streams = true,
         .fn = events},
        {.name = "cancel",
         .request = &exec__cancel_request__descriptor,
         .response = &exec__cancel_response__descriptor,
         .fn = cancel},
        {.name = "send",
         .request = &exec__send_request__descriptor,
         .response = &exec__send_response__descriptor,
         .fn = say},
        {.name = "approvals",
         .request = &exec__approvals_request__descriptor,
         .response = &exec__approvals_response__descriptor,
         .fn = approvals},
        {.name = "decide",
         .request = &exec__decide_request__descriptor,
         .response = &exec__decide_response__descriptor,
         .fn = decide},
        {0},
    };
    static const struct rpc_service service = {"stigmer.execution.v1.ExecutionService", methods};

    rpc_server_add(s, &service, a);
}
