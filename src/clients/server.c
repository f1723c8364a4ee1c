#include "clients/server.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/own.h"
#include "base/str.h"
#include "platform/rpc-client.h"

#define PATH "/stigmer.runner.v1.RunnerService/"
#define CALL_MS 30000
#define RELEASE_MS 2000 /* the lease ends by itself then */
#define RETRY_FIRST_MS 50
#define RETRY_MAX_MS 2000
#define HEARTBEAT_MS 5000 /* until the server says its own */
#define IDLE_MS 300000    /* a runner without runs: no lease to keep, only its memory to tell */
#define LINGER_MS 3       /* a model that answers at once: a turn's start and end in one append */
#define TEXT_WAIT_MS 30   /* fast enough for the eye, slow enough for a thousand runs */
#define TEXT_MAX ((size_t)64 << 10)
#define BATCH_BYTES ((size_t)2 << 20) /* half of what the server accepts in one message */
#define BATCH_EVENTS 256
#define RECORD_MAX ((size_t)3800 << 10)

struct server {
    struct loop *loop;
    struct rpc_client *rpc;
    struct server_events ev;
    char *runner_id, *version, *session, *host;
    bool host_paths;
    unsigned slots;
    struct server_layer *layers; /* owned, texts too */
    size_t layer_count;
    struct rpc_request *attach;
    struct rpc_request *beat;
    struct loop_timer *attach_timer, *beat_timer, *text_timer;
    int64_t beat_ms, retry_ms;
    struct server_run *runs;
    size_t run_count;
    int statm; /* owned; opened early: a confined process cannot */
    bool wanted, attached, flush_due, text_due, dead;
};

struct server_run {
    struct server *server;
    struct server_run *next, **link;
    struct server_run_events ev;
    char *id;
    uint64_t epoch, acked;
    const Exec__Event **queue; /* borrowed events, oldest first */
    size_t count, cap, sent;   /* sent: of those, how many are in the call in flight */
    struct rpc_request *append, *publish;
    struct loop_timer *retry;
    struct loop_timer *linger; /* for what may follow a turn's start */
    int64_t retry_ms;
    struct buf text;
    uint32_t turn, attempt;
    char **records; /* owned, oldest first */
    size_t record_count;
    bool record_in_flight, dirty, lost;
    bool waits; /* for a person */
};

struct server_claim {
    struct server *server;
    struct rpc_request *call;
    server_claim_fn *fn;
    void *arg;
    bool answered;
};

static void flush_later(struct server_run *r);
static void publish_next(struct server_run *r);
static bool text_waits(const struct server_run *r);
static bool starts_turn_of_text(const struct server_run *r, const Exec__Event *e);

static int64_t own_rss(const struct server *s)
{
    char text[128] = "";
    long pages = 0;

    if (s->statm < 0 || pread(s->statm, text, sizeof text - 1, 0) <= 0 ||
        sscanf(text, "%*s %ld", &pages) != 1) {
        struct rusage u; /* the peak is all that is known in a confined process */

        return getrusage(RUSAGE_SELF, &u) == 0 ? (int64_t)u.ru_maxrss * 1024 : 0;
    }
    return (int64_t)pages * sysconf(_SC_PAGESIZE);
}

/* ---- runs told by id ------------------------------------------------------------------------ */

static struct server_run *find_run(struct server *s, const char *id)
{
    for (struct server_run *r = s->runs; r; r = r->next)
        if (strcmp(r->id, id) == 0)
            return r;
    return NULL;
}

static void lose(struct server_run *r, const char *why)
{
    if (r->lost)
        return;
    r->lost = true;
    if (r->append)
        rpc_request_cancel(TAKE(r->append));
    r->sent = 0;
    r->ev.on_lost(why, r->ev.arg);
}

static void lose_all(struct server *s, char **ids, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct server_run *r = find_run(s, ids[i]);

        if (r)
            lose(r, "the server gave it to another runner, or it is over");
    }
}

/* What is held, as the attach and heartbeat messages want it; one block to free. */
static Runner__Held **held_list(struct server *s, size_t *ret_count)
{
    Runner__Held **list =
        mem_new(s->run_count * (sizeof(Runner__Held *) + sizeof(Runner__Held)) + 1);
    Runner__Held *items = (Runner__Held *)(void *)(list + s->run_count);
    size_t n = 0;

    for (struct server_run *r = s->runs; r; r = r->next) {
        if (r->lost)
            continue;
        runner__held__init(&items[n]);
        items[n].execution_id = r->id;
        items[n].epoch = r->epoch;
        items[n].waits = r->waits;
        list[n] = &items[n];
        n++;
    }
    *ret_count = n;
    return list;
}

/* ---- heartbeats ----------------------------------------------------------------------------- */

static void on_beat(const ProtobufCMessage *msg, void *arg)
{
    struct server *s = arg;
    const Runner__HeartbeatResponse *m = (const Runner__HeartbeatResponse *)msg;

    lose_all(s, m->lost, m->n_lost);
    for (size_t i = 0; i < m->n_cancel; i++)
        s->ev.on_cancel(m->cancel[i], "", s->ev.arg);
}

static void on_beat_end(const struct err *err, void *arg)
{
    struct server *s = arg;

    (void)err; /* the next one is on its way */
    s->beat = NULL;
}

static void beat_next(struct server *s)
{
    loop_timer_in(s->beat_timer, s->run_count ? s->beat_ms : IDLE_MS);
}

static void beat(void *arg)
{
    struct server *s = arg;
    Runner__HeartbeatRequest m = RUNNER__HEARTBEAT_REQUEST__INIT;

    beat_next(s);
    if (s->beat || !s->attached)
        return;
    OWN_FREE Runner__Held **held = held_list(s, &m.n_held);
    m.runner_id = s->runner_id;
    m.held = held;
    m.rss_bytes = own_rss(s);
    s->beat = rpc_client_call(
        s->rpc, &(struct rpc_call_spec){.path = PATH "heartbeat",
                                        .request = &m.base,
                                        .response = &runner__heartbeat_response__descriptor,
                                        .timeout_ms = CALL_MS,
                                        .on_message = on_beat,
                                        .on_end = on_beat_end,
                                        .arg = s});
}

/* ---- the attach stream ---------------------------------------------------------------------- */

static void on_welcome(struct server *s, const Runner__Welcome *w)
{
    s->attached = true;
    s->retry_ms = RETRY_FIRST_MS;
    s->beat_ms = w->heartbeat_ms > 0 ? w->heartbeat_ms : HEARTBEAT_MS;
    beat_next(s);
    lose_all(s, w->lost, w->n_lost);
    s->ev.on_attached(w->server_version, s->ev.arg);
    /* Appends that were waiting out a back-off need not wait any longer. */
    for (struct server_run *r = s->runs; r; r = r->next)
        if (r->count && !r->append)
            flush_later(r);
}

static void on_command(const ProtobufCMessage *msg, void *arg)
{
    struct server *s = arg;
    const Runner__AttachResponse *m = (const Runner__AttachResponse *)msg;

    switch (m->command_case) {
    case RUNNER__ATTACH_RESPONSE__COMMAND_WELCOME:
        on_welcome(s, m->welcome);
        break;
    case RUNNER__ATTACH_RESPONSE__COMMAND_ASSIGN:
        s->ev.on_assign(m->assign->execution_id, s->ev.arg);
        break;
    case RUNNER__ATTACH_RESPONSE__COMMAND_CANCEL:
        s->ev.on_cancel(m->cancel->execution_id, m->cancel->reason, s->ev.arg);
        break;
    case RUNNER__ATTACH_RESPONSE__COMMAND_INPUT:
        s->ev.on_input(m->input, s->ev.arg);
        break;
    case RUNNER__ATTACH_RESPONSE__COMMAND_DECISION:
        s->ev.on_decision(m->decision, s->ev.arg);
        break;
    case RUNNER__ATTACH_RESPONSE__COMMAND_DRAIN:
        s->ev.on_drain(m->drain->grace_ms, s->ev.arg);
        break;
    case RUNNER__ATTACH_RESPONSE__COMMAND__NOT_SET:
    case _RUNNER__ATTACH_RESPONSE__COMMAND__CASE_IS_INT_SIZE:
    default:
        break; /* a command of a newer server */
    }
}

static void on_attach_end(const struct err *err, void *arg)
{
    struct server *s = arg;
    struct err why;

    if (!err)
        (void)err_set(&why, ERR_UNAVAILABLE, "the server ended the stream");
    s->attach = NULL;
    s->attached = false;
    if (!s->wanted)
        return;
    loop_timer_in(s->attach_timer, s->retry_ms);
    s->retry_ms = s->retry_ms * 2 > RETRY_MAX_MS ? RETRY_MAX_MS : s->retry_ms * 2;
    s->ev.on_detached(err ? err : &why, s->ev.arg);
}

static void attach_now(void *arg)
{
    struct server *s = arg;
    Runner__AttachRequest m = RUNNER__ATTACH_REQUEST__INIT;
    OWN_FREE char **active = mem_array(s->layer_count, sizeof *active);
    OWN_FREE Runner__MissingLayer *missing = mem_array(s->layer_count, sizeof *missing);
    OWN_FREE Runner__MissingLayer **missing_list = mem_array(s->layer_count, sizeof(void *));
    OWN_FREE Runner__Held **held = held_list(s, &m.n_held);

    for (size_t i = 0; i < s->layer_count; i++) {
        const struct server_layer *l = &s->layers[i];

        if (!l->why) {
            active[m.n_layers++] = (char *)(uintptr_t)l->layer;
            continue;
        }
        runner__missing_layer__init(&missing[m.n_missing]);
        missing[m.n_missing].layer = (char *)(uintptr_t)l->layer;
        missing[m.n_missing].why = (char *)(uintptr_t)l->why;
        missing_list[m.n_missing] = &missing[m.n_missing];
        m.n_missing++;
    }
    m.runner_id = s->runner_id;
    m.version = s->version;
    m.slots = s->slots;
    m.session = s->session;
    m.host = s->host;
    m.host_paths = s->host_paths;
    m.held = held;
    m.layers = active;
    m.missing = missing_list;
    m.rss_bytes = own_rss(s);
    s->attach = rpc_client_call(
        s->rpc, &(struct rpc_call_spec){.path = PATH "attach",
                                        .request = &m.base,
                                        .response = &runner__attach_response__descriptor,
                                        .on_message = on_command,
                                        .on_end = on_attach_end,
                                        .arg = s});
}

void server_attach(struct server *s)
{
    s->wanted = true;
    if (!s->attach)
        attach_now(s);
}

void server_detach(struct server *s)
{
    s->wanted = s->attached = false;
    loop_timer_at(s->attach_timer, INT64_MAX);
    if (s->attach)
        rpc_request_cancel(TAKE(s->attach));
}

/* ---- life ----------------------------------------------------------------------------------- */

static void text_tick(void *arg)
{
    struct server *s = arg;

    s->text_due = false;
    for (struct server_run *r = s->runs; r; r = r->next)
        if (!r->publish)
            publish_next(r);
}

static void on_reach(const struct err *why, void *arg)
{
    const struct server *s = arg;

    if (why && s->ev.on_unreachable)
        s->ev.on_unreachable(why, s->ev.arg);
}

enum err_code server_new(struct loop *loop, const struct server_options *o,
                         const struct server_events *ev, struct server **ret, struct err *err)
{
    struct server *s = mem_new(sizeof *s);
    struct rpc_client_options ro = {.address = o->address,
                                    .token = o->token,
                                    .tls = o->tls,
                                    .server_name = o->server_name,
                                    .ping_after_ms = IDLE_MS,
                                    .on_reach = on_reach,
                                    .arg = s};
    enum err_code code = rpc_client_new(loop, &ro, &s->rpc, err);

    if (code) {
        free(s);
        return code;
    }
    s->loop = loop;
    s->statm = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    s->ev = *ev;
    s->runner_id = mem_str(o->runner_id);
    s->version = mem_str(o->version);
    s->session = mem_str(o->session ? o->session : "");
    s->host = mem_str(o->host);
    s->host_paths = o->host_paths;
    s->slots = o->slots;
    s->layer_count = o->layer_count;
    s->layers = mem_array(o->layer_count, sizeof *s->layers);
    for (size_t i = 0; i < o->layer_count; i++) {
        s->layers[i].layer = mem_str(o->layers[i].layer);
        s->layers[i].why = o->layers[i].why ? mem_str(o->layers[i].why) : NULL;
    }
    s->beat_ms = HEARTBEAT_MS;
    s->retry_ms = RETRY_FIRST_MS;
    s->attach_timer = loop_timer_new(loop, attach_now, s);
    s->beat_timer = loop_timer_new(loop, beat, s);
    s->text_timer = loop_timer_new(loop, text_tick, s);
    *ret = s;
    return ERR_OK;
}

void server_free(struct server *s)
{
    if (!s)
        return;
    loop_timer_free(s->attach_timer);
    loop_timer_free(s->beat_timer);
    loop_timer_free(s->text_timer);
    rpc_client_free(s->rpc);
    if (s->statm >= 0)
        (void)close(s->statm);
    for (size_t i = 0; i < s->layer_count; i++) {
        free((char *)(uintptr_t)s->layers[i].layer);
        free((char *)(uintptr_t)s->layers[i].why);
    }
    free(s->layers);
    free(s->runner_id);
    free(s->version);
    free(s->session);
    free(s->host);
    if (s->flush_due)
        s->dead = true; /* flush_all frees it */
    else
        free(s);
}

/* ---- claims --------------------------------------------------------------------------------- */

static void on_claimed(const ProtobufCMessage *msg, void *arg)
{
    struct server_claim *c = arg;

    if (c->answered)
        return;
    c->answered = true;
    c->fn((const Runner__ClaimResponse *)msg, NULL, c->arg);
}

static void on_claim_end(const struct err *err, void *arg)
{
    struct server_claim *c = arg;
    struct err none;

    if (!c->answered) {
        if (!err)
            (void)err_set(&none, ERR_INTERNAL, "the server answered a claim with nothing");
        c->fn(NULL, err ? err : &none, c->arg);
    }
    free(c);
}

struct server_claim *server_claim(struct server *s, const char *execution_id, server_claim_fn *fn,
                                  void *arg)
{
    struct server_claim *c = mem_new(sizeof *c);
    Runner__ClaimRequest m = RUNNER__CLAIM_REQUEST__INIT;

    c->server = s;
    c->fn = fn;
    c->arg = arg;
    m.runner_id = s->runner_id;
    m.execution_id = (char *)(uintptr_t)execution_id;
    m.approvals = true;
    c->call = rpc_client_call(
        s->rpc, &(struct rpc_call_spec){.path = PATH "claim",
                                        .request = &m.base,
                                        .response = &runner__claim_response__descriptor,
                                        .timeout_ms = CALL_MS,
                                        .on_message = on_claimed,
                                        .on_end = on_claim_end,
                                        .arg = c});
    return c;
}

void server_claim_cancel(struct server_claim *c)
{
    if (!c)
        return;
    rpc_request_cancel(c->call);
    free(c);
}

/* ---- releases ------------------------------------------------------------------------------- */

struct server_release {
    server_release_fn *fn;
    void *arg;
    struct rpc_request *call;
};

static void on_release_end(const struct err *err, void *arg)
{
    struct server_release *c = arg;

    c->fn(err, c->arg);
    free(c);
}

struct server_release *server_release(struct server *s, const char *execution_id, uint64_t epoch,
                                      bool draining, server_release_fn *fn, void *arg)
{
    struct server_release *c = mem_new(sizeof *c);
    Runner__ReleaseRequest m = RUNNER__RELEASE_REQUEST__INIT;
    Runner__Held held = RUNNER__HELD__INIT;

    c->fn = fn;
    c->arg = arg;
    held.execution_id = (char *)(uintptr_t)execution_id;
    held.epoch = epoch;
    m.runner_id = s->runner_id;
    m.held = &held;
    m.draining = draining;
    c->call = rpc_client_call(
        s->rpc, &(struct rpc_call_spec){.path = PATH "release",
                                        .request = &m.base,
                                        .response = &runner__release_response__descriptor,
                                        .timeout_ms = RELEASE_MS,
                                        .on_end = on_release_end,
                                        .arg = c});
    return c;
}

void server_release_cancel(struct server_release *c)
{
    rpc_request_cancel(c->call);
    free(c);
}

/* ---- appends -------------------------------------------------------------------------------- */

static bool is_temporary(enum err_code code)
{
    return code == ERR_UNAVAILABLE || code == ERR_NOT_RUNNING || code == ERR_TIMEOUT ||
           code == ERR_CANCELLED || code == ERR_IO || code == ERR_INTERNAL;
}

static void on_appended(const ProtobufCMessage *msg, void *arg)
{
    struct server_run *r = arg;
    uint64_t last = ((const Runner__AppendResponse *)msg)->last_seq;
    size_t done = 0;

    while (done < r->sent && r->queue[done]->seq <= last)
        done++;
    r->count -= done;
    memmove(r->queue, r->queue + done, r->count * sizeof *r->queue);
    r->sent -= done;
    r->retry_ms = RETRY_FIRST_MS;
    if (done)
        r->acked = last;
}

static void on_append_end(const struct err *err, void *arg)
{
    struct server_run *r = arg;
    bool whole = r->sent == 0;

    r->append = NULL;
    r->sent = 0;
    if (r->lost)
        return;
    if (!err && whole) {
        if (r->count)
            flush_later(r);
        else
            publish_next(r); /* text that waited for its turn's start */
        r->ev.on_acked(r->acked, r->ev.arg);
    } else if (!err || is_temporary(err->code)) {
        loop_timer_in(r->retry, r->retry_ms);
        r->retry_ms = r->retry_ms * 2 > RETRY_MAX_MS ? RETRY_MAX_MS : r->retry_ms * 2;
    } else {
        lose(r, err->msg);
    }
}

static void send_append(struct server_run *r)
{
    Runner__AppendRequest m = RUNNER__APPEND_REQUEST__INIT;
    size_t bytes = 0;

    while (r->sent < r->count && r->sent < BATCH_EVENTS) {
        size_t one = exec__event__get_packed_size(r->queue[r->sent]);

        if (r->sent && bytes + one > BATCH_BYTES)
            break;
        bytes += one;
        r->sent++;
    }
    m.execution_id = r->id;
    m.epoch = r->epoch;
    m.n_events = r->sent;
    m.events = (Exec__Event **)(uintptr_t)r->queue;
    m.waits = r->waits && r->sent == r->count;
    r->append = rpc_client_call(
        r->server->rpc, &(struct rpc_call_spec){.path = PATH "append",
                                                .request = &m.base,
                                                .response = &runner__append_response__descriptor,
                                                .timeout_ms = CALL_MS,
                                                .on_message = on_appended,
                                                .on_end = on_append_end,
                                                .arg = r});
}

/* Live text of a turn that goes from its start to its end in one append: nobody has seen it start,
 * and its end has all of it. */
static void drop_told_text(struct server_run *r)
{
    bool starts = false;

    for (size_t i = 0; i < r->count; i++) {
        starts |= starts_turn_of_text(r, r->queue[i]);
        if (starts && r->queue[i]->kind_case == EXEC__EVENT__KIND_TURN_FINISHED)
            buf_done(&r->text);
    }
}

static void flush_all(void *arg)
{
    struct server *s = arg;

    if (s->dead) {
        free(s);
        return;
    }
    s->flush_due = false;
    for (struct server_run *r = s->runs; r; r = r->next) {
        if (!r->dirty)
            continue;
        r->dirty = false;
        if (r->lost || r->append || r->count == 0)
            continue;
        drop_told_text(r);
        publish_next(r); /* live text goes before the event that ends its turn */
        if (r->record_count == 0 && (r->text.len == 0 || text_waits(r)))
            send_append(r);
    }
}

static void flush_later(struct server_run *r)
{
    struct server *s = r->server;

    r->dirty = true;
    if (s->flush_due)
        return;
    s->flush_due = true;
    loop_later(s->loop, flush_all, s);
}

static void on_retry(void *arg)
{
    struct server_run *r = arg;

    publish_next(r);
    flush_later(r);
}

void server_run_append(struct server_run *r, const Exec__Event *e)
{
    if (r->lost)
        return;
    if (r->count == r->cap) {
        r->cap = r->cap ? r->cap * 2 : 4;
        r->queue = mem_grow(r->queue, r->cap, sizeof *r->queue);
    }
    r->queue[r->count++] = e;
    if (r->count == 1 && e->kind_case == EXEC__EVENT__KIND_TURN_STARTED)
        loop_timer_in(r->linger, LINGER_MS);
    else
        flush_later(r);
}

static void on_linger(void *arg)
{
    flush_later(arg);
}

void server_run_waits(struct server_run *r, bool waits)
{
    r->waits = waits;
}

bool server_run_is_idle(const struct server_run *r)
{
    return r->lost || (r->count == 0 && r->record_count == 0);
}

/* ---- live text and recordings --------------------------------------------------------------- */

static void on_published(const ProtobufCMessage *msg, void *arg)
{
    (void)msg;
    (void)arg;
}

static void on_publish_end(const struct err *err, void *arg)
{
    struct server_run *r = arg;

    r->publish = NULL;
    if (r->record_in_flight) {
        r->record_in_flight = false;
        if (err && is_temporary(err->code) && !r->lost) {
            loop_timer_in(r->retry, r->retry_ms); /* a recording is sent until it is there */
            return;
        }
        free(r->records[0]);
        r->record_count--;
        memmove(r->records, r->records + 1, r->record_count * sizeof *r->records);
    }
    if (r->record_count)
        publish_next(r);
    else if (r->count)
        flush_later(r);
}

static bool starts_turn_of_text(const struct server_run *r, const Exec__Event *e)
{
    return e->kind_case == EXEC__EVENT__KIND_TURN_STARTED && e->turn_started->turn == r->turn &&
           e->turn_started->attempt == r->attempt;
}

/* Who follows the run must see a turn start before its text: else the text is shown twice. */
static bool text_waits(const struct server_run *r)
{
    for (size_t i = 0; i < r->count; i++)
        if (starts_turn_of_text(r, r->queue[i]))
            return true;
    return false;
}

static void publish_next(struct server_run *r)
{
    Runner__PublishRequest m = RUNNER__PUBLISH_REQUEST__INIT;
    bool text = r->text.len && !text_waits(r);

    if (r->publish || r->lost || (!text && r->record_count == 0))
        return;
    m.execution_id = r->id;
    m.epoch = r->epoch;
    m.turn = r->turn;
    m.attempt = r->attempt;
    if (text)
        m.text = (char *)(uintptr_t)buf_text(&r->text);
    if (r->record_count) {
        m.recording.data = (uint8_t *)r->records[0];
        m.recording.len = strlen(r->records[0]);
        r->record_in_flight = true;
    }
    r->publish = rpc_client_call(
        r->server->rpc, &(struct rpc_call_spec){.path = PATH "publish",
                                                .request = &m.base,
                                                .response = &runner__publish_response__descriptor,
                                                .timeout_ms = CALL_MS,
                                                .on_message = on_published,
                                                .on_end = on_publish_end,
                                                .arg = r});
    if (text)
        buf_done(&r->text); /* not cleared: a waiting run should hold no memory for it */
}

void server_run_text(struct server_run *r, uint32_t turn, uint32_t attempt, const char *text,
                     size_t len)
{
    struct server *s = r->server;

    if (r->lost)
        return;
    if (r->turn != turn || r->attempt != attempt) {
        if (r->text.len && !r->publish)
            publish_next(r);
        buf_done(&r->text);
    }
    r->turn = turn;
    r->attempt = attempt;
    if (r->text.len + len > TEXT_MAX)
        return;
    buf_put(&r->text, text, len);
    if (s->text_due)
        return;
    s->text_due = true;
    loop_timer_in(s->text_timer, TEXT_WAIT_MS);
}

void server_run_record(struct server_run *r, const char *line)
{
    if (r->lost || strlen(line) > RECORD_MAX)
        return;
    r->records = mem_grow(r->records, r->record_count + 1, sizeof *r->records);
    r->records[r->record_count++] = mem_str(line);
    publish_next(r);
}

/* ---- runs ----------------------------------------------------------------------------------- */

struct server_run *server_run_open(struct server *s, const char *execution_id, uint64_t epoch,
                                   const struct server_run_events *ev)
{
    struct server_run *r = mem_new(sizeof *r);

    r->server = s;
    r->ev = *ev;
    r->id = mem_str(execution_id);
    r->epoch = epoch;
    r->retry_ms = RETRY_FIRST_MS;
    r->retry = loop_timer_new(s->loop, on_retry, r);
    r->linger = loop_timer_new(s->loop, on_linger, r);
    r->next = s->runs;
    r->link = &s->runs;
    if (r->next)
        r->next->link = &r->next;
    s->runs = r;
    if (!s->run_count++ && s->attached)
        beat_next(s); /* from now on there is a lease to keep */
    return r;
}

void server_run_close(struct server_run *r)
{
    if (!r)
        return;
    if (r->append)
        rpc_request_cancel(r->append);
    if (r->publish)
        rpc_request_cancel(r->publish);
    *r->link = r->next;
    if (r->next)
        r->next->link = r->link;
    if (!--r->server->run_count && r->server->attached)
        loop_timer_in(r->server->beat_timer, 0); /* the last one: what is left of the memory */
    loop_timer_free(r->retry);
    loop_timer_free(r->linger);
    for (size_t i = 0; i < r->record_count; i++)
        free(r->records[i]);
    free(r->records);
    buf_done(&r->text);
    free(r->queue);
    free(r->id);
    free(r);
}
