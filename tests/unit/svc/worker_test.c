/* The worker against a runner service in the same loop: what it claims, appends, publishes and
 * holds, and what it does when the other side is away or says no. Models answer from a cassette;
 * the launcher has no sandbox to give, so every tool call is answered with an error. */
#include "svc/worker.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/own.h"
#include "base/str.h"
#include "core/rules.h"
#include "platform/rpc-server.h"
#include "wire/toolproto.h"

#define MAX 64

struct fake {
    struct loop *loop;
    struct rpc_server *rpc;
    struct http *http;
    struct toolhosts *hosts;
    int launcher[2];
    struct loop_io *launcher_io;
    bool launcher_dies, launcher_gone; /* it ends when it is asked for the first host; it has */
    const char *host_says;             /* hosts are opened, say this and end before they read */
    struct worker *worker;
    struct loop_timer *limit;
    char dir[64], address[128];
    json_t *keys;
    char *cassette;
    bool record;

    struct rpc_call *attached;
    unsigned attaches, claims, appends, recordings;
    size_t held_at_attach;
    Exec__Event *journal[MAX]; /* owned */
    size_t count;
    struct buf text;

    unsigned refuse_appends; /* that many are answered with UNAVAILABLE after they were kept */
    Exec__Event__KindCase conflict_at, cancel_at, hang_up_at, drain_at, launcher_leaves_at;
    size_t known_at_text; /* events that were there when the last live text came */
    bool leave_at_text;
    bool joined; /* a turn's start came in one append with its end */
    bool drained, timed_out;
};

static Exec__Event *copy(const Exec__Event *e)
{
    size_t len = exec__event__get_packed_size(e);
    uint8_t *bytes = mem_new(len);

    exec__event__pack(e, bytes);
    Exec__Event *out = exec__event__unpack(NULL, len, bytes);
    free(bytes);
    return out;
}

static void on_stream_closed(void *arg)
{
    struct fake *f = arg;

    f->attached = NULL;
    if (f->drained)
        loop_quit(f->loop);
}

static void command(struct fake *f, Runner__AttachResponse__CommandCase kind)
{
    Runner__AttachResponse r = RUNNER__ATTACH_RESPONSE__INIT;
    Runner__Welcome w = RUNNER__WELCOME__INIT;
    Runner__Assign a = RUNNER__ASSIGN__INIT;
    Runner__Cancel c = RUNNER__CANCEL__INIT;
    Runner__Drain d = RUNNER__DRAIN__INIT;

    a.execution_id = c.execution_id = (char *)(uintptr_t) "aex-1";
    c.reason = (char *)(uintptr_t) "enough";
    w.heartbeat_ms = 20;
    d.grace_ms = 2000;
    r.command_case = kind;
    if (kind == RUNNER__ATTACH_RESPONSE__COMMAND_WELCOME)
        r.welcome = &w;
    else if (kind == RUNNER__ATTACH_RESPONSE__COMMAND_ASSIGN)
        r.assign = &a;
    else if (kind == RUNNER__ATTACH_RESPONSE__COMMAND_CANCEL)
        r.cancel = &c;
    else
        r.drain = &d;
    rpc_call_send(f->attached, &r.base);
}

static void attach(struct rpc_call *call, const ProtobufCMessage *msg, void *arg)
{
    const Runner__AttachRequest *m = (const Runner__AttachRequest *)msg;
    struct fake *f = arg;

    assert_string_equal(rpc_call_metadata(call, "authorization"), "Bearer secret-token");
    f->attached = call;
    f->held_at_attach = m->n_held;
    rpc_call_on_closed(call, on_stream_closed, f);
    command(f, RUNNER__ATTACH_RESPONSE__COMMAND_WELCOME);
    if (f->attaches++ == 0)
        command(f, RUNNER__ATTACH_RESPONSE__COMMAND_ASSIGN);
}

static void keep(struct fake *f, Exec__Event *e)
{
    assert_true(f->count < MAX);
    f->journal[f->count++] = copy(e);
}

static void keep_claim(struct fake *f)
{
    Exec__Event first = EXEC__EVENT__INIT, second = EXEC__EVENT__INIT;
    Exec__Submitted s = EXEC__SUBMITTED__INIT;
    Exec__Claimed c = EXEC__CLAIMED__INIT;

    s.message = (char *)(uintptr_t) "do it";
    first.seq = 1;
    first.kind_case = EXEC__EVENT__KIND_SUBMITTED;
    first.submitted = &s;
    second.seq = 2;
    second.kind_case = EXEC__EVENT__KIND_CLAIMED;
    second.claimed = &c;
    keep(f, &first);
    keep(f, &second);
}

static void claim(struct rpc_call *call, const ProtobufCMessage *msg, void *arg)
{
    struct fake *f = arg;
    Runner__ClaimResponse r = RUNNER__CLAIM_RESPONSE__INIT;
    Runner__Model model = RUNNER__MODEL__INIT;

    (void)msg;
    f->claims++;
    keep_claim(f);
    model.provider = (char *)(uintptr_t) "replay";
    r.epoch = 1;
    r.execution_id = (char *)(uintptr_t) "aex-1";
    r.session_id = (char *)(uintptr_t) "ses-1";
    r.model = &model;
    r.journal = f->journal;
    r.n_journal = f->count;
    r.record = f->record;
    r.cassette.data = (uint8_t *)f->cassette;
    r.cassette.len = strlen(f->cassette);
    rpc_call_reply(call, &r.base);
}

static void end_launcher(struct fake *f)
{
    loop_io_free(TAKE(f->launcher_io));
    (void)close(f->launcher[1]);
    f->launcher[1] = -1;
}

static void finish(struct fake *f)
{
    loop_quit(f->loop);
}

static void hang_up(void *arg)
{
    struct fake *f = arg;
    struct err err;

    f->refuse_appends = 3; /* so the run is still held when the stream comes back */
    err_set(&err, ERR_UNAVAILABLE, "the server is going");
    if (f->attached) {
        rpc_call_on_closed(f->attached, NULL, NULL);
        rpc_call_fail(TAKE(f->attached), &err);
    }
}

static bool has(const Runner__AppendRequest *m, Exec__Event__KindCase kind)
{
    for (size_t i = 0; kind && i < m->n_events; i++)
        if (m->events[i]->kind_case == kind)
            return true;
    return false;
}

static void append(struct rpc_call *call, const ProtobufCMessage *msg, void *arg)
{
    const Runner__AppendRequest *m = (const Runner__AppendRequest *)msg;
    struct fake *f = arg;
    Runner__AppendResponse r = RUNNER__APPEND_RESPONSE__INIT;
    struct err err;

    f->appends++;
    f->joined |= has(m, EXEC__EVENT__KIND_TURN_STARTED) && has(m, EXEC__EVENT__KIND_TURN_FINISHED);
    assert_int_equal(m->epoch, 1);
    if (has(m, f->conflict_at)) {
        err_set(&err, ERR_CONFLICT, "another runner has it");
        rpc_call_fail(call, &err);
        loop_timer_in(f->limit, 200); /* nothing more may come */
        return;
    }
    for (size_t i = 0; i < m->n_events; i++) {
        const Exec__Event *e = m->events[i];

        assert_true(e->seq >= 1 && e->seq <= f->count + 1);
        if (e->seq == f->count + 1)
            keep(f, m->events[i]);
        else
            assert_int_equal(e->kind_case, f->journal[e->seq - 1]->kind_case);
    }
    if (f->refuse_appends) {
        f->refuse_appends--;
        err_set(&err, ERR_UNAVAILABLE, "busy");
        rpc_call_fail(call, &err);
        return;
    }
    if (has(m, f->cancel_at))
        command(f, RUNNER__ATTACH_RESPONSE__COMMAND_CANCEL);
    if (has(m, f->launcher_leaves_at))
        end_launcher(f);
    if (has(m, f->drain_at))
        command(f, RUNNER__ATTACH_RESPONSE__COMMAND_DRAIN);
    if (has(m, f->hang_up_at)) {
        f->hang_up_at = EXEC__EVENT__KIND__NOT_SET;
        loop_later(f->loop, hang_up, f);
    }
    r.last_seq = f->count;
    rpc_call_reply(call, &r.base);
    if (rules_is_terminal(f->journal[f->count - 1]))
        finish(f);
}

static void publish(struct rpc_call *call, const ProtobufCMessage *msg, void *arg)
{
    const Runner__PublishRequest *m = (const Runner__PublishRequest *)msg;
    Runner__PublishResponse r = RUNNER__PUBLISH_RESPONSE__INIT;
    struct fake *f = arg;

    buf_puts(&f->text, m->text);
    if (*m->text)
        f->known_at_text = f->count;
    if (*m->text && f->leave_at_text)
        finish(f);
    f->recordings += m->recording.len > 0;
    rpc_call_reply(call, &r.base);
}

static void heartbeat(struct rpc_call *call, const ProtobufCMessage *msg, void *arg)
{
    Runner__HeartbeatResponse r = RUNNER__HEARTBEAT_RESPONSE__INIT;

    (void)msg;
    (void)arg;
    rpc_call_reply(call, &r.base);
}

static void on_drained(void *arg)
{
    struct fake *f = arg;

    f->drained = true; /* and the end of its stream is on the way */
    if (!f->attached)
        finish(f);
}

static void on_limit(void *arg)
{
    struct fake *f = arg;

    f->timed_out = true;
    finish(f);
}

/* One exchange with an OpenAI-compatible endpoint: text, and a call of `ls` when asked for. */
static void add_exchange(struct buf *b, const char *text, const char *call_id)
{
    json_t *delta = json_pack("{s:s,s:s}", "role", "assistant", "content", text), *line;
    char *data, *out;

    if (call_id)
        json_object_set_new(delta, "tool_calls",
                            json_pack("[{s:i,s:s,s:s,s:{s:s,s:s}}]", "index", 0, "id", call_id,
                                      "type", "function", "function", "name", "ls", "arguments",
                                      "{}"));
    json_t *chunk = json_pack("{s:s,s:[{s:i,s:o,s:s}]}", "model", "m", "choices", "index", 0,
                              "delta", delta, "finish_reason", call_id ? "tool_calls" : "stop");
    data = json_dumps(chunk, JSON_COMPACT);
    struct buf sse = {0};
    buf_printf(&sse, "data: %s\n\ndata: [DONE]\n\n", data);
    line = json_pack("{s:s,s:{},s:i,s:{s:s},s:[s]}", "provider", "openai", "request", "status", 200,
                     "headers", "content-type", "text/event-stream", "chunks", buf_text(&sse));
    out = json_dumps(line, JSON_COMPACT);
    buf_printf(b, "%s\n", out);
    free(out);
    free(data);
    buf_done(&sse);
    json_decref(chunk);
    json_decref(line);
}

static void open_server(struct fake *f)
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
        {0}};
    static const struct rpc_service service = {"stigmer.runner.v1.RunnerService", methods};
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    (void)str_format(f->dir, sizeof f->dir, "/tmp/worker-test-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    (void)str_format(at.sun_path, sizeof at.sun_path, "%s/s", f->dir);
    (void)str_format(f->address, sizeof f->address, "unix:%s", at.sun_path);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(fd, 8), 0);
    f->rpc = rpc_server_new(f->loop, NULL);
    rpc_server_add(f->rpc, &service, f);
    rpc_server_listen(f->rpc, fd, RPC_GATE_API);
}

static void give_host(struct fake *f, uint64_t serial)
{
    union {
        struct cmsghdr head;
        char space[CMSG_SPACE(sizeof(int))];
    } control = {0};
    char answer[64];
    struct iovec iov = {answer, 0};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control.space,
                         .msg_controllen = sizeof control.space};
    OWN_BUF struct buf frame = {0};
    int pair[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    toolproto_put(&frame, TOOLPROTO_READY, 0, f->host_says, strlen(f->host_says));
    assert_int_equal(write(pair[1], frame.data, frame.len), (ssize_t)frame.len);
    (void)close(pair[1]);
    (void)str_format(answer, sizeof answer, "opened %" PRIu64, serial);
    iov.iov_len = strlen(answer);
    control.head.cmsg_level = SOL_SOCKET;
    control.head.cmsg_type = SCM_RIGHTS;
    control.head.cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(&control.head), &pair[0], sizeof(int));
    assert_true(sendmsg(f->launcher[1], &msg, MSG_NOSIGNAL) > 0);
    (void)close(pair[0]);
}

static void on_asked(int events, void *arg)
{
    struct fake *f = arg;
    char text[TOOLPROTO_DATAGRAM_MAX + 1] = "", answer[128];
    uint64_t serial;

    (void)events;
    if (recv(f->launcher[1], text, sizeof text - 1, MSG_DONTWAIT) <= 0)
        return;
    if (f->launcher_dies) {
        end_launcher(f);
        return;
    }
    assert_int_equal(sscanf(text, "open %" SCNu64, &serial), 1);
    if (f->host_says) {
        give_host(f, serial);
        return;
    }
    (void)str_format(answer, sizeof answer, "failed %" PRIu64 " no sandbox here", serial);
    assert_true(send(f->launcher[1], answer, strlen(answer), MSG_NOSIGNAL) > 0);
}

static void on_launcher_gone(void *arg)
{
    struct fake *f = arg;

    f->launcher_gone = true;
    loop_timer_in(f->limit, 200); /* nothing more may come */
}

static void open_fake(struct fake *f, const char *const texts[], const char *const calls[])
{
    struct buf tape = {0};
    struct err err;

    *f = (struct fake){.loop = loop_new()};
    log_set_level(LOG_ERROR);
    buf_puts(&tape, "{\"schema\":\"stigmer.cassette/v1\"}\n");
    for (size_t i = 0; texts[i]; i++)
        add_exchange(&tape, texts[i], calls[i]);
    f->cassette = buf_take_text(&tape);
    open_server(f);
    f->http = http_new(f->loop);
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, f->launcher), 0);
    f->launcher_io = loop_io_new(f->loop, f->launcher[1], on_asked, f);
    loop_io_want(f->launcher_io, LOOP_READ);
    f->hosts = toolhosts_new(f->loop, f->launcher[0], on_launcher_gone, f);
    f->keys = json_pack("{s:s}", "runner.token", "secret-token");
    f->limit = loop_timer_new(f->loop, on_limit, f);
    loop_timer_in(f->limit, 5000);
    struct worker_options o = {.loop = f->loop,
                               .http = f->http,
                               .toolhosts = f->hosts,
                               .keys = f->keys,
                               .workspace_root = "/workspace",
                               .server = {.address = f->address,
                                          .token = "secret-token",
                                          .runner_id = "run-1",
                                          .version = "1",
                                          .slots = 4},
                               .on_drained = on_drained,
                               .arg = f};
    assert_int_equal(worker_new(&o, &f->worker, &err), ERR_OK);
}

static void play(struct fake *f)
{
    worker_start(f->worker);
    loop_run(f->loop);
}

static void close_fake(struct fake *f)
{
    char path[128];
    struct rules rules;
    struct err err;

    rules_init(&rules);
    for (size_t i = 0; i < f->count; i++)
        if (rules_apply(&rules, f->journal[i], &err))
            fail_msg("%s", err.msg);
    rules_done(&rules);
    worker_free(f->worker);
    toolhosts_free(f->hosts);
    loop_io_free(f->launcher_io);
    (void)close(f->launcher[0]);
    if (f->launcher[1] >= 0)
        (void)close(f->launcher[1]);
    http_free(f->http);
    rpc_server_free(f->rpc);
    loop_timer_free(f->limit);
    loop_free(f->loop);
    for (size_t i = 0; i < f->count; i++)
        exec__event__free_unpacked(f->journal[i], NULL);
    json_decref(f->keys);
    buf_done(&f->text);
    free(f->cassette);
    (void)str_format(path, sizeof path, "%s/s", f->dir);
    (void)unlink(path);
    (void)rmdir(f->dir);
}

static const char *const texts[] = {"I look.", "It is done.", NULL};
static const char *const calls[] = {"c1", NULL};

static const Exec__Event *last(const struct fake *f)
{
    return f->journal[f->count - 1];
}

static void an_assigned_run_is_claimed_and_brought_to_its_end(void **state)
{
    struct fake f;

    (void)state;
    open_fake(&f, texts, calls);
    play(&f);
    assert_false(f.timed_out);
    assert_int_equal(f.claims, 1);
    assert_int_equal(last(&f)->kind_case, EXEC__EVENT__KIND_COMPLETED);
    assert_string_equal(last(&f)->completed->answer, "It is done.");
    /* The model answers at once: a turn's start goes with its end, and then its text is not told
     * beforehand; the second turn's start goes with the tool's end, which waits for nothing. */
    assert_true(f.joined);
    assert_string_equal(buf_text(&f.text), "It is done.");
    /* turn_finished and completed share the last append */
    assert_int_equal(f.journal[f.count - 2]->kind_case, EXEC__EVENT__KIND_TURN_FINISHED);
    close_fake(&f);
}

static void appends_are_sent_again_as_they_were(void **state)
{
    struct fake f;

    (void)state;
    open_fake(&f, texts, calls);
    f.refuse_appends = 3;
    play(&f);
    assert_false(f.timed_out);
    assert_int_equal(last(&f)->kind_case, EXEC__EVENT__KIND_COMPLETED);
    close_fake(&f);
}

static void a_run_that_is_somebody_elses_is_dropped(void **state)
{
    struct fake f;

    (void)state;
    open_fake(&f, texts, calls);
    f.conflict_at = EXEC__EVENT__KIND_TOOL_FINISHED;
    play(&f);
    assert_true(f.timed_out);
    assert_int_equal(last(&f)->kind_case, EXEC__EVENT__KIND_TOOL_STARTED);
    assert_int_equal(f.appends, 2);
    close_fake(&f);
}

static void a_cancel_ends_the_run(void **state)
{
    struct fake f;

    (void)state;
    open_fake(&f, texts, calls);
    f.cancel_at = EXEC__EVENT__KIND_TURN_STARTED;
    play(&f);
    assert_false(f.timed_out);
    assert_int_equal(last(&f)->kind_case, EXEC__EVENT__KIND_CANCELLED);
    assert_string_equal(last(&f)->cancelled->reason, "enough");
    close_fake(&f);
}

static void a_lost_stream_is_opened_again_with_what_is_held(void **state)
{
    struct fake f;

    (void)state;
    open_fake(&f, texts, calls);
    f.hang_up_at = EXEC__EVENT__KIND_TURN_STARTED;
    play(&f);
    assert_false(f.timed_out);
    assert_int_equal(last(&f)->kind_case, EXEC__EVENT__KIND_COMPLETED);
    assert_int_equal(f.claims, 1);
    assert_int_equal(f.attaches, 2);
    assert_int_equal(f.held_at_attach, 1);
    close_fake(&f);
}

static void a_drained_worker_parks_its_runs_without_an_end(void **state)
{
    struct fake f;

    (void)state;
    open_fake(&f, texts, calls);
    f.drain_at = EXEC__EVENT__KIND_TURN_STARTED;
    play(&f);
    assert_true(f.drained);
    assert_false(rules_is_terminal(last(&f)));
    assert_null(f.attached);
    close_fake(&f);
}

/* An error would be journaled, and the next runner would not do what this one could not. */
static void a_worker_whose_launcher_dies_leaves_its_calls_to_the_next(void **state)
{
    struct fake f;

    (void)state;
    open_fake(&f, texts, calls);
    f.launcher_dies = true;
    play(&f);
    assert_true(f.launcher_gone);
    assert_int_equal(last(&f)->kind_case, EXEC__EVENT__KIND_TOOL_STARTED);
    close_fake(&f);
}

/* It was gone before the call, and only the call finds out. */
static void a_call_that_finds_no_launcher_is_left_to_the_next(void **state)
{
    struct fake f;

    (void)state;
    open_fake(&f, texts, calls);
    f.launcher_leaves_at = EXEC__EVENT__KIND_TOOL_STARTED;
    play(&f);
    assert_true(f.launcher_gone);
    assert_int_equal(last(&f)->kind_case, EXEC__EVENT__KIND_TOOL_STARTED);
    close_fake(&f);
}

static void why_a_host_could_not_start_is_told_though_it_reads_nothing(void **state)
{
    const Exec__ToolFinished *told = NULL;
    struct fake f;

    (void)state;
    open_fake(&f, texts, calls);
    f.host_says = "cannot make its folder: Read-only file system";
    play(&f);
    assert_false(f.timed_out);
    for (size_t i = 0; i < f.count; i++)
        if (f.journal[i]->kind_case == EXEC__EVENT__KIND_TOOL_FINISHED)
            told = f.journal[i]->tool_finished;
    assert_non_null(told);
    assert_int_equal(told->outcome, EXEC__TOOL_FINISHED__OUTCOME__OUTCOME_ERROR);
    assert_non_null(strstr(told->text, "Read-only file system"));
    close_fake(&f);
}

static void on_nothing(uint64_t seq, void *arg)
{
    (void)seq;
    (void)arg;
}

static void on_never(const char *why, void *arg)
{
    (void)arg;
    fail_msg("lost: %s", why);
}

/* A client of the runner service alone, with a run whose turn starts; the run. */
static struct server_run *begin_turn(struct fake *f, struct server **ret, const Exec__Event *start)
{
    static const struct server_run_events none = {.on_acked = on_nothing, .on_lost = on_never};
    const struct server_options o = {.address = f->address,
                                     .token = "secret-token",
                                     .runner_id = "run-2",
                                     .version = "1",
                                     .slots = 1};
    struct server_run *r;

    keep_claim(f);
    assert_int_equal(server_new(f->loop, &o, &(struct server_events){0}, ret, NULL), ERR_OK);
    r = server_run_open(*ret, "aex-1", 1, &none);
    server_run_append(r, start);
    return r;
}

/* Whoever follows it clears what it shows when a turn starts. */
static void live_text_does_not_overtake_the_start_of_its_turn(void **state)
{
    Exec__Event start = EXEC__EVENT__INIT;
    Exec__TurnStarted turn = EXEC__TURN_STARTED__INIT;
    struct server_run *r;
    struct server *s;
    struct fake f;

    (void)state;
    open_fake(&f, texts, calls);
    turn.turn = turn.attempt = 1;
    start.seq = 3;
    start.kind_case = EXEC__EVENT__KIND_TURN_STARTED;
    start.turn_started = &turn;
    f.leave_at_text = true;
    r = begin_turn(&f, &s, &start);
    server_run_text(r, 1, 1, "Hel", 3); /* the start lingers still */
    server_run_text(r, 1, 1, "lo", 2);
    loop_run(f.loop);
    assert_false(f.timed_out);
    assert_string_equal(buf_text(&f.text), "Hello");
    assert_int_equal(f.known_at_text, 3);
    server_run_close(r);
    server_free(s);
    close_fake(&f);
}

static void recordings_arrive_before_the_end(void **state)
{
    struct fake f;

    (void)state;
    open_fake(&f, texts, calls);
    f.record = true;
    play(&f);
    assert_false(f.timed_out);
    assert_int_equal(f.recordings, 2);
    close_fake(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_assigned_run_is_claimed_and_brought_to_its_end),
        cmocka_unit_test(appends_are_sent_again_as_they_were),
        cmocka_unit_test(a_run_that_is_somebody_elses_is_dropped),
        cmocka_unit_test(a_cancel_ends_the_run),
        cmocka_unit_test(a_lost_stream_is_opened_again_with_what_is_held),
        cmocka_unit_test(a_drained_worker_parks_its_runs_without_an_end),
        cmocka_unit_test(a_worker_whose_launcher_dies_leaves_its_calls_to_the_next),
        cmocka_unit_test(a_call_that_finds_no_launcher_is_left_to_the_next),
        cmocka_unit_test(why_a_host_could_not_start_is_told_though_it_reads_nothing),
        cmocka_unit_test(live_text_does_not_overtake_the_start_of_its_turn),
        cmocka_unit_test(recordings_arrive_before_the_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
