#include "svc/runner-api.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/own.h"
#include "base/str.h"
#include "core/rules.h"
#include "svc/runner-claim.h"

#define HELD_MAX 10000
#define EVENTS_MAX 1000 /* in one append */
#define TEXT_MAX 100    /* of a host's name or a version */

struct attached {
    struct runner_api *api; /* borrowed */
    struct attached *next;  /* in api->attached */
    struct rpc_call *call;  /* borrowed; NULL once closed */
    struct queue_runner *runner;
    char *id, *host, *version, *session; /* owned */
    unsigned slots;
    int64_t rss_bytes, since_ms;
    bool remote;
    Runner__Welcome *welcome; /* owned; only while attaching: collects what is lost */
};

struct runner_api {
    struct loop *loop;                      /* borrowed */
    struct store *store;                    /* borrowed */
    struct journal *journal;                /* borrowed */
    struct queue *engine;                   /* borrowed */
    const struct runner_api_config *config; /* borrowed */
    struct attached *attached;              /* owned */
    Runner__AttachRequest *last;            /* owned; NULL before the first */
    struct runner_api_seen seen;
    loop_fn *on_change;
    void *on_change_arg;
};

/* ---- who calls
 * ------------------------------------------------------------------------------------ */

static bool is_authorized(const struct runner_api *a, struct rpc_call *call)
{
    static const char prefix[] = "Bearer ";
    const char *given = rpc_call_metadata(call, "authorization");
    struct err err;

    if (rpc_call_gate(call) & RPC_GATE_REMOTE)
        return true; /* the rpc server has asked for its token */

    if (str_starts(given, prefix) && str_eq_secret(given + strlen(prefix), a->config->token))
        return true;
    err_set(&err, ERR_UNAUTHENTICATED, "this needs the runner token");
    rpc_call_fail(call, &err);
    return false;
}

static bool is_text_ok(struct rpc_call *call, const char *what, const char *text)
{
    struct err err;

    if (!str_is_empty(text) && strlen(text) < JOURNAL_TEXT)
        return true;
    err_set(&err, ERR_INVALID, "%s must have 1 to %d characters", what, JOURNAL_TEXT - 1);
    rpc_call_fail(call, &err);
    return false;
}

static struct queue_held *held_of(Runner__Held **held, size_t count)
{
    struct queue_held *h = mem_array(count, sizeof *h);

    for (size_t i = 0; i < count; i++)
        h[i] = (struct queue_held){held[i]->execution_id, held[i]->epoch, held[i]->waits};
    return h;
}

static void list_text(char ***list, size_t *count, const char *text)
{
    *list = mem_grow(*list, *count + 1, sizeof **list);
    (*list)[(*count)++] = mem_str(text);
}

/* What a person reads: shortened, and without bytes that are no text. */
static char *text_of(const char *text)
{
    size_t n = strlen(text);

    return mem_strn(text, str_utf8_check(text, n < TEXT_MAX ? n : TEXT_MAX));
}

/* ---- attach
 * --------------------------------------------------------------------------------------- */

static void send_command(struct attached *t, Runner__AttachResponse *r)
{
    if (t->call)
        rpc_call_send(t->call, &r->base);
}

static void tell_assign(const char *id, void *arg)
{
    Runner__AttachResponse r = RUNNER__ATTACH_RESPONSE__INIT;
    Runner__Assign m = RUNNER__ASSIGN__INIT;

    m.execution_id = (char *)(uintptr_t)id; /* only packed */
    r.command_case = RUNNER__ATTACH_RESPONSE__COMMAND_ASSIGN;
    r.assign = &m;
    send_command(arg, &r);
}

static void tell_cancel(const char *id, const char *reason, void *arg)
{
    Runner__AttachResponse r = RUNNER__ATTACH_RESPONSE__INIT;
    Runner__Cancel m = RUNNER__CANCEL__INIT;

    m.execution_id = (char *)(uintptr_t)id;
    m.reason = (char *)(uintptr_t)reason;
    r.command_case = RUNNER__ATTACH_RESPONSE__COMMAND_CANCEL;
    r.cancel = &m;
    send_command(arg, &r);
}

static void tell_input(const char *id, const struct inbox_input *in, void *arg)
{
    Runner__AttachResponse r = RUNNER__ATTACH_RESPONSE__INIT;
    Runner__Input m = RUNNER__INPUT__INIT;

    m.execution_id = (char *)(uintptr_t)id;
    m.id = (char *)(uintptr_t)in->id;
    m.by = (char *)(uintptr_t)in->by;
    m.text = (char *)(uintptr_t)in->text;
    r.command_case = RUNNER__ATTACH_RESPONSE__COMMAND_INPUT;
    r.input = &m;
    send_command(arg, &r);
}

static void tell_decision(const struct approvals_row *row, void *arg)
{
    Runner__AttachResponse r = RUNNER__ATTACH_RESPONSE__INIT;
    Runner__Decision m = RUNNER__DECISION__INIT;

    m.execution_id = (char *)(uintptr_t)row->execution_id;
    m.call_id = (char *)(uintptr_t)row->call_id;
    m.approved = row->approved;
    m.by = (char *)(uintptr_t)row->by;
    m.reason = (char *)(uintptr_t)row->reason;
    r.command_case = RUNNER__ATTACH_RESPONSE__COMMAND_DECISION;
    r.decision = &m;
    send_command(arg, &r);
}

static void tell_drain(int64_t grace_ms, void *arg)
{
    Runner__AttachResponse r = RUNNER__ATTACH_RESPONSE__INIT;
    Runner__Drain m = RUNNER__DRAIN__INIT;

    m.grace_ms = grace_ms;
    r.command_case = RUNNER__ATTACH_RESPONSE__COMMAND_DRAIN;
    r.drain = &m;
    send_command(arg, &r);
}

static void note_lost(const char *id, void *arg)
{
    struct attached *t = arg;

    list_text(&t->welcome->lost, &t->welcome->n_lost, id);
}

static void changed(struct runner_api *a)
{
    if (a->on_change)
        a->on_change(a->on_change_arg);
}

static void attached_free(struct attached *t)
{
    free(t->id);
    free(t->host);
    free(t->version);
    free(t->session);
    free(t);
}

static void on_stream_closed(void *arg)
{
    struct attached *t = arg;
    struct runner_api *a = t->api;

    t->call = NULL;
    for (struct attached **p = &a->attached; *p; p = &(*p)->next)
        if (*p == t) {
            *p = t->next;
            break;
        }
    queue_detach(t->runner);
    attached_free(t);
    changed(a);
}

static void remember(struct runner_api *a, const Runner__AttachRequest *req)
{
    size_t len = runner__attach_request__get_packed_size(req);
    OWN_FREE uint8_t *bytes = mem_array(len, 1);

    if (!str_is_empty(req->session)) /* status tells of the one for all sessions */
        return;
    runner__attach_request__pack(req, bytes);
    if (a->last)
        runner__attach_request__free_unpacked(a->last, NULL);
    a->last = mem_check(runner__attach_request__unpack(NULL, len, bytes));
    (void)str_format(a->seen.runner_id, sizeof a->seen.runner_id, "%s", req->runner_id);
    (void)str_format(a->seen.version, sizeof a->seen.version, "%s", req->version);
    a->seen.slots = req->slots;
    a->seen.rss_bytes = req->rss_bytes;
    a->seen.attach = a->last;
}

/* The engine may hand out work at once, but the welcome goes first: so work waits for this turn's
 * end. */
struct greeting {
    Runner__AttachResponse response;
    Runner__Welcome welcome;
};

static void welcome(struct attached *t, const Runner__AttachRequest *req)
{
    static const struct queue_runner_ops ops = {tell_assign, tell_cancel, tell_input, tell_decision,
                                                tell_drain};
    const struct queue_config *c = queue_config(t->api->engine);
    OWN_FREE struct queue_held *held = held_of(req->held, req->n_held);
    struct rpc_call *call = t->call;
    const struct queue_reach reach = {req->session, req->host_paths};
    struct greeting g = {RUNNER__ATTACH_RESPONSE__INIT, RUNNER__WELCOME__INIT};

    t->welcome = &g.welcome;
    t->call = NULL; /* until it is welcomed, nothing is sent; what is assigned is sent after */
    g.welcome.lease_ms = c->lease_ms;
    g.welcome.heartbeat_ms = c->heartbeat_ms;
    g.welcome.server_version = mem_str(STIGMER_VERSION);
    g.response.command_case = RUNNER__ATTACH_RESPONSE__COMMAND_WELCOME;
    g.response.welcome = &g.welcome;
    t->runner = queue_attach(t->api->engine, req->runner_id, 0, &reach, held, req->n_held, &ops, t,
                             note_lost);
    t->call = call;
    t->welcome = NULL;
    rpc_call_send(call, &g.response.base);
    for (size_t i = 0; i < g.welcome.n_lost; i++)
        free(g.welcome.lost[i]);
    free(g.welcome.lost);
    free(g.welcome.server_version);
    queue_open(t->runner, req->slots);
}

static void attach(struct rpc_call *call, const ProtobufCMessage *msg, void *arg)
{
    struct runner_api *a = arg;
    const Runner__AttachRequest *req = (const Runner__AttachRequest *)msg;
    struct attached *t;
    struct err err;

    if (!is_authorized(a, call) || !is_text_ok(call, "runner_id", req->runner_id))
        return;
    if (req->slots < 1 || req->slots > HELD_MAX || req->n_held > HELD_MAX) {
        err_set(&err, ERR_INVALID, "slots must be 1 to %d", HELD_MAX);
        rpc_call_fail(call, &err);
        return;
    }
    t = mem_new(sizeof *t);
    t->api = a;
    t->call = call;
    t->next = a->attached;
    a->attached = t;
    t->remote = rpc_call_gate(call) & RPC_GATE_REMOTE;
    t->id = mem_str(req->runner_id);
    t->host = text_of(req->host);
    t->version = text_of(req->version);
    t->session = text_of(req->session);
    t->slots = req->slots;
    t->rss_bytes = req->rss_bytes;
    t->since_ms = clock_wall_ms();
    rpc_call_on_closed(call, on_stream_closed, t);
    if (!t->remote || !runner_api_local(a))
        remember(a, req);
    if (!str_eq(t->version, STIGMER_VERSION))
        log_warn("a runner is of another version", "runner", t->id, "host", t->host, "version",
                 t->version, "server", STIGMER_VERSION);
    welcome(t, req);
    changed(a);
}

/* ---- claim
 * ---------------------------------------------------------------------------------------- */

struct claiming {
    struct runner_api *api; /* borrowed */
    struct rpc_call *call;  /* borrowed; NULL once closed */
    char *id, *runner;      /* owned */
    Exec__Event *claimed;   /* owned; NULL until written */
    bool asks;              /* the runner holds back what needs approval */
};

static void claiming_free(struct claiming *c)
{
    if (c->claimed)
        exec__event__free_unpacked(c->claimed, NULL);
    free(c->id);
    free(c->runner);
    free(c);
}

static void claim_closed(void *arg)
{
    struct claiming *c = arg;

    c->call = NULL; /* the job is under way: its end frees c */
}

static enum err_code claim_job(sqlite3 *db, void *arg, struct err *err)
{
    struct claiming *c = arg;

    return journal_tx_claim(db, c->id, c->runner, clock_wall_ms(), &c->claimed, err);
}

static void on_unfit_closed(const struct err *err, uint64_t last_seq, void *arg)
{
    struct claiming *c = arg;

    (void)last_seq;
    if (err)
        log_error("execution could not be failed", "run", c->id, "why", err->msg);
    queue_progress(c->api->engine, c->id, true, true);
    claiming_free(c);
}

/* A run whose parts are gone ends here, with words. */
static void fail_unfit(struct claiming *c, const struct err *why)
{
    Exec__Event e = EXEC__EVENT__INIT;
    Exec__Failed f = EXEC__FAILED__INIT;
    char class[] = "resource", message[1100];

    (void)str_format(message, sizeof message, "the run cannot be started: %s", why->msg);
    f.class_ = class;
    f.message = message;
    e.kind_case = EXEC__EVENT__KIND_FAILED;
    e.failed = &f;
    e.at_ms = clock_wall_ms();
    log_warn("execution cannot be started", "run", c->id, "why", why->msg);
    journal_append(c->api->journal, c->id, JOURNAL_SERVER, (Exec__Event *[]){&e}, 1,
                   on_unfit_closed, c);
}

/* The run fails, in the journal too. */
static void refuse_claim(struct claiming *c, const struct err *why)
{
    if (c->call) {
        rpc_call_on_closed(c->call, NULL, NULL);
        rpc_call_fail(c->call, why);
    }
    fail_unfit(c, why);
}

static void answer_claim(struct claiming *c)
{
    struct runner_api *a = c->api;
    Runner__ClaimResponse *r;
    struct err err;

    if (runner_claim_make(store_read_db(a->store), a->journal, a->config, c->id, &r, &err)) {
        refuse_claim(c, &err);
        return;
    }
    if (r->n_require_approval && !c->asks) {
        err_set(
            &err, ERR_DENIED,
            "some of its tools wait for a person's approval, and runner %.80s is of a version that "
            "does not ask for it: bring it to version " STIGMER_VERSION,
            c->runner);
        runner__claim_response__free_unpacked(r, NULL);
        refuse_claim(c, &err);
        return;
    }
    queue_claimed(a->engine, c->id, r->epoch);
    if (c->call) {
        rpc_call_on_closed(c->call, NULL, NULL);
        rpc_call_reply(c->call, &r->base);
    }
    runner__claim_response__free_unpacked(r, NULL);
    claiming_free(c);
}

static void claim_written(const struct err *err, void *arg)
{
    struct claiming *c = arg;

    if (!err) {
        journal_committed(c->api->journal, c->id, &c->claimed, 1);
        answer_claim(c);
        return;
    }
    if (err->code == ERR_STATE || err->code == ERR_NOT_FOUND)
        queue_progress(c->api->engine, c->id, false, true);
    else
        queue_unclaimed(c->api->engine, c->id);
    if (c->call) {
        rpc_call_on_closed(c->call, NULL, NULL);
        rpc_call_fail(c->call, err);
    }
    claiming_free(c);
}

static void claim(struct rpc_call *call, const ProtobufCMessage *msg, void *arg)
{
    struct runner_api *a = arg;
    const Runner__ClaimRequest *req = (const Runner__ClaimRequest *)msg;
    struct claiming *c;
    struct err err;

    if (!is_authorized(a, call) || !is_text_ok(call, "runner_id", req->runner_id))
        return;
    if (queue_may_claim(a->engine, req->runner_id, req->execution_id, &err)) {
        rpc_call_fail(call, &err);
        return;
    }
    c = mem_new(sizeof *c);
    c->api = a;
    c->call = call;
    c->id = mem_str(req->execution_id);
    c->runner = mem_str(req->runner_id);
    c->asks = req->approvals;
    rpc_call_on_closed(call, claim_closed, c);
    store_submit(a->store, claim_job, claim_written, c);
}

/* ---- append
 * ---------------------------------------------------------------------------------------- */

struct appending {
    struct runner_api *api; /* borrowed */
    struct rpc_call *call;  /* borrowed; NULL once closed */
    char *id;               /* owned */
    bool step;              /* a turn or a tool was finished */
    bool waits;             /* for a person, from then on */
    bool ends;
};

static void append_closed(void *arg)
{
    ((struct appending *)arg)->call = NULL;
}

static void append_written(const struct err *err, uint64_t last_seq, void *arg)
{
    struct appending *p = arg;
    Runner__AppendResponse r = RUNNER__APPEND_RESPONSE__INIT;

    if (!err)
        queue_progress(p->api->engine, p->id, p->step, p->ends);
    if (!err)
        queue_waits(p->api->engine, p->id, p->waits);
    if (p->call) {
        rpc_call_on_closed(p->call, NULL, NULL);
        r.last_seq = last_seq;
        if (err)
            rpc_call_fail(p->call, err);
        else
            rpc_call_reply(p->call, &r.base);
    }
    free(p->id);
    free(p);
}

/* What only the server writes is refused from a runner. */
static enum err_code check_events(const Runner__AppendRequest *req, struct err *err)
{
    if (!req->n_events || req->n_events > EVENTS_MAX)
        return err_set(err, ERR_INVALID, "an append has 1 to %d events", EVENTS_MAX);
    for (size_t i = 0; i < req->n_events; i++) {
        const Exec__Event *e = req->events[i];
        if (e->kind_case == EXEC__EVENT__KIND_SUBMITTED ||
            e->kind_case == EXEC__EVENT__KIND_CLAIMED ||
            e->kind_case == EXEC__EVENT__KIND_LEGACY_STATUS)
            return err_set(err, ERR_INVALID, "a runner does not write %s events",
                           rules_kind_name(e));
        if (e->seq != req->events[0]->seq + i)
            return err_set(err, ERR_INVALID, "the events of an append have contiguous seqs");
    }
    return ERR_OK;
}

static void append(struct rpc_call *call, const ProtobufCMessage *msg, void *arg)
{
    struct runner_api *a = arg;
    const Runner__AppendRequest *req = (const Runner__AppendRequest *)msg;
    struct appending *p;
    struct err err;

    if (!is_authorized(a, call))
        return;
    if (check_events(req, &err)) {
        rpc_call_fail(call, &err);
        return;
    }
    p = mem_new(sizeof *p);
    p->api = a;
    p->call = call;
    p->id = mem_str(req->execution_id);
    p->waits = req->waits;
    for (size_t i = 0; i < req->n_events; i++) {
        const Exec__Event *e = req->events[i];
        p->ends = p->ends || rules_is_terminal(e);
        p->step = p->step || e->kind_case == EXEC__EVENT__KIND_TURN_FINISHED ||
                  e->kind_case == EXEC__EVENT__KIND_TOOL_FINISHED;
    }
    rpc_call_on_closed(call, append_closed, p);
    journal_append(a->journal, req->execution_id, req->epoch, req->events, req->n_events,
                   append_written, p);
}

/* ---- publish and heartbeat
 * --------------------------------------------------------------------------- */

static void publish(struct rpc_call *call, const ProtobufCMessage *msg, void *arg)
{
    struct runner_api *a = arg;
    const Runner__PublishRequest *req = (const Runner__PublishRequest *)msg;
    Runner__PublishResponse r = RUNNER__PUBLISH_RESPONSE__INIT;

    if (!is_authorized(a, call))
        return;
    if (queue_is_current(a->engine, req->execution_id, req->epoch))
        journal_publish(a->journal, req->execution_id, req->turn, req->attempt, req->text,
                        req->recording.data, req->recording.len);
    rpc_call_reply(call, &r.base);
}

static void add_lost(const char *id, void *arg)
{
    Runner__HeartbeatResponse *r = arg;

    list_text(&r->lost, &r->n_lost, id);
}

static void add_cancel(const char *id, void *arg)
{
    Runner__HeartbeatResponse *r = arg;

    list_text(&r->cancel, &r->n_cancel, id);
}

static void heartbeat(struct rpc_call *call, const ProtobufCMessage *msg, void *arg)
{
    struct runner_api *a = arg;
    const Runner__HeartbeatRequest *req = (const Runner__HeartbeatRequest *)msg;
    Runner__HeartbeatResponse *r;
    OWN_FREE struct queue_held *held = NULL;

    if (!is_authorized(a, call))
        return;
    r = mem_new(sizeof *r);
    runner__heartbeat_response__init(r);
    held = held_of(req->held, req->n_held);
    for (struct attached *t = a->attached; t; t = t->next)
        if (str_eq(t->id, req->runner_id))
            t->rss_bytes = req->rss_bytes;
    if (str_eq(req->runner_id, a->seen.runner_id))
        a->seen.rss_bytes = req->rss_bytes;
    queue_heartbeat(a->engine, req->runner_id, held, req->n_held, add_lost, add_cancel, r);
    rpc_call_reply(call, &r->base);
    runner__heartbeat_response__free_unpacked(r, NULL);
}

/* ---- release
 * --------------------------------------------------------------------------------------------- */

static void release_closed(void *arg)
{
    *(struct rpc_call **)arg = NULL;
}

/* arg: a slot that holds the call; NULL in it once closed. */
static void released(const struct err *err, void *arg)
{
    struct rpc_call **call = arg;
    Runner__ReleaseResponse r = RUNNER__RELEASE_RESPONSE__INIT;

    if (*call) {
        rpc_call_on_closed(*call, NULL, NULL);
        if (err)
            rpc_call_fail(*call, err);
        else
            rpc_call_reply(*call, &r.base);
    }
    free(call);
}

static void release(struct rpc_call *call, const ProtobufCMessage *msg, void *arg)
{
    struct runner_api *a = arg;
    const Runner__ReleaseRequest *req = (const Runner__ReleaseRequest *)msg;
    struct queue_held held = {"", 0};
    struct rpc_call **slot;

    if (!is_authorized(a, call))
        return;
    if (req->held)
        held = (struct queue_held){req->held->execution_id, req->held->epoch};
    slot = mem_new(sizeof *slot);
    *slot = call;
    rpc_call_on_closed(call, release_closed, slot);
    queue_release(a->engine, req->runner_id, &held, req->draining, released, slot);
}

/* ---- life
 * -------------------------------------------------------------------------------------------- */

struct runner_api *runner_api_new(struct loop *loop, struct store *store, struct journal *journal,
                                  struct queue *engine, const struct runner_api_config *config)
{
    struct runner_api *a = mem_new(sizeof *a);

    a->loop = loop;
    a->store = store;
    a->journal = journal;
    a->engine = engine;
    a->config = config;
    return a;
}

void runner_api_free(struct runner_api *a)
{
    if (!a)
        return;
    while (a->attached) {
        struct attached *t = a->attached;
        a->attached = t->next;
        attached_free(t);
    }
    if (a->last)
        runner__attach_request__free_unpacked(a->last, NULL);
    free(a);
}

void runner_api_on_change(struct runner_api *a, loop_fn *fn, void *arg)
{
    a->on_change = fn;
    a->on_change_arg = arg;
}

const struct runner_api_seen *runner_api_seen(const struct runner_api *a)
{
    return &a->seen;
}

void runner_api_list(const struct runner_api *a, runner_api_fn *fn, void *arg)
{
    for (const struct attached *t = a->attached; t; t = t->next) {
        struct runner_api_runner r = {.id = t->id,
                                      .host = t->host,
                                      .version = t->version,
                                      .session = t->session,
                                      .slots = t->slots,
                                      .rss_bytes = t->rss_bytes,
                                      .since_ms = t->since_ms,
                                      .remote = t->remote};

        r.runs = queue_used(t->runner, &r.silent);
        fn(&r, arg);
    }
}

unsigned runner_api_local(const struct runner_api *a)
{
    unsigned n = 0;

    for (const struct attached *t = a->attached; t; t = t->next)
        n += t->runner && !t->remote && str_is_empty(t->session);
    return n;
}

static const char service_name[] = "stigmer.runner.v1.RunnerService";

void runner_api_set_remote_token(struct runner_api *a, struct rpc_server *s, const char *token)
{
    struct err err;

    rpc_server_set_own_token(s, service_name, token,
                             "STIGMER_RUNNER_TOKEN_FILE with what `stigmer server runner-token` "
                             "prints on the server's machine");
    for (struct attached *t = a->attached, *next; t; t = next) {
        struct rpc_call *call = t->call;

        next = t->next;
        if (!t->remote || !call)
            continue;
        err_set(&err, ERR_UNAUTHENTICATED, "the runner token was changed");
        rpc_call_on_closed(call, NULL, NULL);
        on_stream_closed(t);
        rpc_call_fail(call, &err);
    }
}

void runner_api_add(struct rpc_server *s, struct runner_api *a)
{
    static const struct rpc_method methods[] = {
        {.name = "attach",
         .request = &runner__attach_request__descriptor,
         .response = &runner__attach_response__descriptor,
         .streams = true,
         .fn = attach},
        {.name = "claim",
         .request = &runner__claim_request__descriptor,
         .response = &runner__claim_response__descriptor,
         .fn = claim},
        {.name = "append",
         .request = &runner__append_request__descriptor,
         .response = &runner__append_response__descriptor,
         .fn = append},
        {.name = "publish",
         .request = &runner__publish_request__descriptor,
         .response = &runner__publish_response__descriptor,
         .fn = publish},
        {.name = "heartbeat",
         .request = &runner__heartbeat_request__descriptor,
         .response = &runner__heartbeat_response__descriptor,
         .fn = heartbeat},
        {.name = "release",
         .request = &runner__release_request__descriptor,
         .response = &runner__release_response__descriptor,
         .fn = release},
        {0},
    };
    static const struct rpc_service service = {service_name, methods};

    rpc_server_add(s, &service, a);
    rpc_server_restrict(s, service.name, RPC_GATE_RUNNER | RPC_GATE_REMOTE);
    runner_api_set_remote_token(a, s, NULL);
}
