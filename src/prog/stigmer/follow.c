#include "prog/stigmer/follow.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "ai/stigmer/agentic/agentexecution/v1/agentexecution.pb-c.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/str.h"
#include "prog/stigmer/event-json.h"
#include "prog/stigmer/out.h"
#include "prog/stigmer/questions.h"
#include "stigmer/execution/v1/service.pb-c.h"

#define EVENTS_PATH "/stigmer.execution.v1.ExecutionService/events"
#define CANCEL_PATH "/stigmer.execution.v1.ExecutionService/cancel"
#define RETRY_FIRST_MS 50
#define RETRY_MOST_MS 1000
#define AWAY_MS 60000  /* a server that is away this long ends the following */
#define SILENCE_MS 300 /* without `to_the_end`: all there is has come */
/* Told without a terminal, too: it may never come. */
#define A_RUNNER "a runner (see stigmer server status)"
#define CANCEL_WAIT_MS 5000 /* for the terminal event, once the time is over */
#define TELL_AFTER_MS 1000
#define CALLS_MAX 64 /* tool calls under way at once that are shown with their time */

struct call_shown {
    char *call_id; /* owned; NULL: free */
    char *name;    /* owned */
    char *args;    /* owned */
    int64_t at_ms;
};

struct follow {
    const struct cli *cli;
    struct conn *conn;
    const struct follow_how *how;
    struct rpc_request *request;
    struct loop_timer *retry, *deadline, *tell, *silence;
    uint64_t next_seq;
    int64_t away_since_ms; /* 0: not away */
    int64_t retry_ms;
    unsigned interrupts;
    bool timed_out, cancel_sent, done;
    int exit_code;
    struct questions *questions; /* owned */
    struct call_shown calls[CALLS_MAX];
    char waits_for[200];
    struct buf turn_text; /* of the turn in flight, as it was shown live */
    struct buf old_text;  /* what the model said last, of a run that an old runner tells of */
    bool line_open;       /* stdout does not stand at the start of a line */
    int64_t submitted_ms;
    int64_t input_tokens, output_tokens;
    unsigned turns, tool_calls;
};

static void follow_open(void *arg);

static void finish(struct follow *f, int exit_code)
{
    if (f->done)
        return;
    f->done = true;
    f->exit_code = exit_code;
    if (f->request)
        rpc_request_cancel(f->request);
    f->request = NULL;
    loop_quit(f->conn->loop);
}

static void write_out(const char *text, size_t len, bool for_terminal)
{
    OWN_BUF struct buf b = {0};

    out_text(&b, text, len, for_terminal);
    (void)out_flush(STDOUT_FILENO, &b);
}

/* ---- what is waited for ------------------------------------------------------------------ */

static void wait_for(struct follow *f, const char *what)
{
    (void)str_format(f->waits_for, sizeof f->waits_for, "%s", what);
    loop_timer_in(f->tell, TELL_AFTER_MS);
}

static void stop_waiting(struct follow *f)
{
    f->waits_for[0] = '\0';
}

static void on_tell(void *arg)
{
    struct follow *f = arg;

    if (f->waits_for[0] && !f->how->lines && f->cli->format == CLI_TEXT &&
        (f->cli->err_is_tty || f->cli->verbose || str_eq(f->waits_for, A_RUNNER)))
        cli_note(f->cli, "waiting for %s …", f->waits_for);
}

/* ---- text on a terminal ------------------------------------------------------------------ */

static bool shows_live(const struct follow *f)
{
    return f->cli->format == CLI_TEXT && !f->how->lines && f->cli->out_is_tty;
}

static void end_line(struct follow *f)
{
    questions_step_aside(f->questions);
    if (f->line_open)
        write_out("\n", 1, false);
    f->line_open = false;
}

static void show_text(struct follow *f, const char *text, size_t len)
{
    if (!len)
        return;
    write_out(text, len, true);
    f->line_open = text[len - 1] != '\n';
}

static void on_delta(struct follow *f, const Exec__Delta *d)
{
    stop_waiting(f);
    if (f->cli->format == CLI_JSONL) {
        json_t *o = event_json_delta(f->how->execution_id, d->turn, d->attempt, d->text);
        out_document(f->cli, o);
        json_decref(o);
    } else if (shows_live(f)) {
        buf_puts(&f->turn_text, d->text);
        show_text(f, d->text, strlen(d->text));
    }
}

/* ---- tool calls -------------------------------------------------------------------------- */

static void call_started(struct follow *f, const Exec__Event *e)
{
    OWN_BUF struct buf args = {0};

    for (size_t i = 0; i < CALLS_MAX; i++)
        if (!f->calls[i].call_id) {
            event_json_args(&args, e->tool_started->args_json);
            f->calls[i] =
                (struct call_shown){mem_str(e->tool_started->call_id),
                                    mem_str(e->tool_started->name), buf_take_text(&args), e->at_ms};
            break;
        }
    if (f->waits_for[0] == '\0') {
        char what[100];
        (void)str_format(what, sizeof what, "%.80s", e->tool_started->name);
        wait_for(f, what);
    }
}

static void call_done(struct call_shown *c)
{
    free(c->call_id);
    free(c->name);
    free(c->args);
    *c = (struct call_shown){0};
}

static void call_finished(struct follow *f, const Exec__Event *e)
{
    const Exec__ToolFinished *t = e->tool_finished;
    const char *mark = t->outcome == EXEC__TOOL_FINISHED__OUTCOME__OUTCOME_RESULT  ? "✓"
                       : t->outcome == EXEC__TOOL_FINISHED__OUTCOME__OUTCOME_ERROR ? "✗"
                                                                                   : "?";
    OWN_BUF struct buf why = {0};

    f->tool_calls++;
    stop_waiting(f);
    for (size_t i = 0; i < CALLS_MAX; i++) {
        struct call_shown *c = &f->calls[i];
        if (!c->call_id || !str_eq(c->call_id, t->call_id))
            continue;
        if (f->cli->format == CLI_TEXT && !f->how->lines) {
            end_line(f);
            if (t->outcome != EXEC__TOOL_FINISHED__OUTCOME__OUTCOME_RESULT)
                buf_printf(&why, "  %.*s", (int)strcspn(t->text, "\n"), t->text);
            cli_note(f->cli, "→ %s: %s  %s %.1fs%.200s", c->name, c->args, mark,
                     (double)(e->at_ms - c->at_ms) / 1000, buf_text(&why));
        }
        call_done(c);
        return;
    }
}

/* ---- events ------------------------------------------------------------------------------ */

static json_t *terminal_object(const struct follow *f, const Exec__Event *e)
{
    json_t *o = event_json_object(f->how->execution_id, e), *usage = json_object();
    bool completed = e->kind_case == EXEC__EVENT__KIND_COMPLETED;

    (void)json_object_set_new(o, "phase", json_string(event_json_kind(e)));
    if (!completed)
        (void)json_object_set_new(o, "answer", json_string(""));
    (void)json_object_set_new(usage, "inputTokens", json_integer(f->input_tokens));
    (void)json_object_set_new(usage, "outputTokens", json_integer(f->output_tokens));
    (void)json_object_set_new(usage, "costUsd", json_null()); /* prices are not known here */
    (void)json_object_set_new(o, "usage", usage);
    (void)json_object_set_new(o, "turns", json_integer(f->turns));
    (void)json_object_set_new(o, "toolCalls", json_integer(f->tool_calls));
    (void)json_object_set_new(
        o, "durationMs", f->submitted_ms ? json_integer(e->at_ms - f->submitted_ms) : json_null());
    return o;
}

static void show_answer(struct follow *f, const char *answer)
{
    size_t len = strlen(answer);

    if (shows_live(f) && f->turn_text.len && str_eq(buf_text(&f->turn_text), answer)) {
        end_line(f); /* it stands there already */
        return;
    }
    end_line(f);
    if (!len)
        return;
    write_out(answer, len, f->cli->out_is_tty);
    if (answer[len - 1] != '\n')
        write_out("\n", 1, false);
}

static void tell_summary(const struct follow *f, const Exec__Event *e)
{
    if (!f->how->owns || (!f->cli->err_is_tty && !f->cli->verbose))
        return;
    cli_note(f->cli,
             "%s in %.1fs · %u turn%s · %u tool call%s · %" PRId64 " tokens in, %" PRId64 " out",
             event_json_kind(e), (double)(e->at_ms - f->submitted_ms) / 1000, f->turns,
             f->turns == 1 ? "" : "s", f->tool_calls, f->tool_calls == 1 ? "" : "s",
             f->input_tokens, f->output_tokens);
}

static int exit_of(const struct follow *f, const Exec__Event *e)
{
    static const struct {
        const char *name;
        int exit;
    } classes[] = {{"sandbox", EXIT_SANDBOX},
                   {"budget", EXIT_BUDGET},
                   {"policy", EXIT_REFUSED},
                   {"timeout", EXIT_TIMEOUT},
                   {NULL, 0}};

    if (e->kind_case == EXEC__EVENT__KIND_COMPLETED)
        return EXIT_OK;
    if (f->timed_out)
        return EXIT_TIMEOUT;
    if (e->kind_case == EXEC__EVENT__KIND_CANCELLED && f->interrupts)
        return EXIT_INTERRUPTED;
    for (size_t i = 0; e->kind_case == EXEC__EVENT__KIND_FAILED && classes[i].name; i++)
        if (str_eq(classes[i].name, e->failed->class_))
            return classes[i].exit;
    return EXIT_FAILED;
}

static void tell_failure(const struct follow *f, const Exec__Event *e)
{
    struct cli text = *f->cli; /* the terminal object is the one object on stdout */
    struct err err = {0};

    text.format = CLI_TEXT;
    if (f->timed_out)
        err_set(&err, ERR_TIMEOUT, "run %s failed: timed out after %.1f s and cancelled",
                f->how->execution_id, (double)f->how->timeout_ms / 1000);
    else if (e->kind_case == EXEC__EVENT__KIND_FAILED)
        err_set(&err, ERR_INTERNAL, "run %s failed: %s: %.800s", f->how->execution_id,
                e->failed->class_, e->failed->message);
    else
        err_set(&err, ERR_CANCELLED, "run %s was cancelled: %.300s", f->how->execution_id,
                str_is_empty(e->cancelled->reason) ? "no reason given" : e->cancelled->reason);
    (void)cli_fail(&text, &err);
}

static void on_terminal(struct follow *f, const Exec__Event *e)
{
    stop_waiting(f);
    if (f->cli->format == CLI_TEXT) {
        if (e->kind_case == EXEC__EVENT__KIND_COMPLETED && !f->how->lines)
            show_answer(f, e->completed->answer);
        end_line(f);
    } else {
        json_t *o = terminal_object(f, e);
        out_document(f->cli, o);
        json_decref(o);
    }
    if (f->how->lines) {
        finish(f, EXIT_OK); /* `logs` shows how it went; that it went wrong is not its failure */
        return;
    }
    if (e->kind_case != EXEC__EVENT__KIND_COMPLETED)
        tell_failure(f, e);
    tell_summary(f, e);
    finish(f, exit_of(f, e));
}

static void on_turn_started(struct follow *f, const Exec__TurnStarted *t)
{
    char what[160];

    if (t->attempt > 1 && f->turn_text.len) {
        end_line(f);
        cli_note(f->cli, "the answer broke off; asking again (attempt %u)", t->attempt);
    }
    buf_clear(&f->turn_text);
    (void)str_format(what, sizeof what, "%.40s %.80s", t->provider, t->model);
    wait_for(f, what);
}

static void on_turn_finished(struct follow *f, const Exec__TurnFinished *t)
{
    stop_waiting(f);
    f->turns++;
    if (t->usage) {
        f->input_tokens += t->usage->input_tokens;
        f->output_tokens += t->usage->output_tokens;
    }
    if (shows_live(f) && !str_eq(buf_text(&f->turn_text), t->text)) {
        /* Seen in part or not at all: the connection broke, or it was before we came. */
        size_t seen = str_starts(t->text, buf_text(&f->turn_text)) ? f->turn_text.len : 0;
        if (!seen)
            end_line(f);
        show_text(f, t->text + seen, strlen(t->text) - seen);
        buf_clear(&f->turn_text);
        buf_puts(&f->turn_text, t->text);
    } else if (f->cli->format == CLI_TEXT && !f->how->lines && !f->cli->out_is_tty &&
               t->n_tool_calls && *t->text) {
        cli_verbose(f->cli, "%s", t->text);
    }
    if (t->n_tool_calls) {
        end_line(f);
        buf_clear(&f->turn_text);
    }
}

/* A run that an old runner ends by updateStatus has no event of ours that says so. */
static void on_legacy_status(struct follow *f, const Exec__Event *e)
{
    const ProtobufCBinaryData *bytes = &e->legacy_status->status;
    Aexec__AgentExecutionStatus *s =
        aexec__agent_execution_status__unpack(NULL, bytes->len, bytes->data);
    Exec__Event end = EXEC__EVENT__INIT;
    Exec__Completed completed = EXEC__COMPLETED__INIT;
    Exec__Failed failed = EXEC__FAILED__INIT;
    Exec__Cancelled cancelled = EXEC__CANCELLED__INIT;
    char class[] = "runner";

    for (size_t i = 0; s && i < s->n_messages; i++)
        if (s->messages[i]->type == AEXEC__MESSAGE_TYPE__MESSAGE_AI) {
            buf_clear(&f->old_text);
            buf_puts(&f->old_text, s->messages[i]->content);
        }
    end.seq = e->seq;
    end.at_ms = e->at_ms;
    if (s && s->phase == AEXEC__EXECUTION_PHASE__EXECUTION_COMPLETED) {
        completed.answer = (char *)(uintptr_t)buf_text(&f->old_text); /* only read */
        end.kind_case = EXEC__EVENT__KIND_COMPLETED;
        end.completed = &completed;
    } else if (s && s->phase == AEXEC__EXECUTION_PHASE__EXECUTION_FAILED) {
        failed.class_ = class;
        failed.message = s->error;
        end.kind_case = EXEC__EVENT__KIND_FAILED;
        end.failed = &failed;
    } else if (s && s->phase == AEXEC__EXECUTION_PHASE__EXECUTION_CANCELLED) {
        cancelled.reason = s->error;
        end.kind_case = EXEC__EVENT__KIND_CANCELLED;
        end.cancelled = &cancelled;
    }
    if (end.kind_case)
        on_terminal(f, &end);
    if (s)
        aexec__agent_execution_status__free_unpacked(s, NULL);
}

static void on_approval_decided(struct follow *f, const Exec__ApprovalDecided *d)
{
    OWN_BUF struct buf b = {0};

    end_line(f);
    event_json_decision(&b, d);
    cli_note(f->cli, "%s", buf_text(&b));
}

static void on_event(struct follow *f, const Exec__Event *e)
{
    if (e->seq < f->next_seq)
        return; /* seen before the connection broke */
    f->next_seq = e->seq + 1;
    questions_see(f->questions, e);
    if (f->how->lines && f->cli->format == CLI_TEXT) {
        OWN_BUF struct buf b = {0}, safe = {0};
        event_json_line(&b, e);
        out_text(&safe, buf_text(&b), b.len, f->cli->out_is_tty);
        buf_putc(&safe, '\n');
        (void)out_flush(STDOUT_FILENO, &safe);
    }
    if (event_json_is_terminal(e)) {
        on_terminal(f, e);
        return;
    }
    if (f->cli->format == CLI_JSONL) {
        json_t *o = event_json_object(f->how->execution_id, e);
        out_document(f->cli, o);
        json_decref(o);
    }
    if (e->kind_case == EXEC__EVENT__KIND_SUBMITTED) {
        f->submitted_ms = e->at_ms;
        wait_for(f, A_RUNNER);
    } else if (e->kind_case == EXEC__EVENT__KIND_TURN_STARTED) {
        on_turn_started(f, e->turn_started);
    } else if (e->kind_case == EXEC__EVENT__KIND_TURN_FINISHED) {
        on_turn_finished(f, e->turn_finished);
    } else if (e->kind_case == EXEC__EVENT__KIND_TOOL_STARTED) {
        call_started(f, e);
    } else if (e->kind_case == EXEC__EVENT__KIND_TOOL_FINISHED) {
        call_finished(f, e);
    } else if (e->kind_case == EXEC__EVENT__KIND_NOTICE && f->cli->format == CLI_TEXT &&
               !f->how->lines) {
        end_line(f);
        cli_note(f->cli, "%s", e->notice->text);
    } else if (e->kind_case == EXEC__EVENT__KIND_INPUT_RECEIVED && f->cli->format == CLI_TEXT &&
               !f->how->lines) {
        end_line(f);
        cli_note(f->cli, "%s says: %s", e->input_received->by, e->input_received->text);
    } else if (e->kind_case == EXEC__EVENT__KIND_APPROVAL_REQUESTED) {
        stop_waiting(f);
    } else if (e->kind_case == EXEC__EVENT__KIND_APPROVAL_DECIDED && f->cli->format == CLI_TEXT &&
               !f->how->lines) {
        on_approval_decided(f, e->approval_decided);
    } else if (e->kind_case == EXEC__EVENT__KIND_LEGACY_STATUS) {
        on_legacy_status(f, e);
    }
}

static void on_recording(struct follow *f, const Exec__Recording *r)
{
    OWN_BUF struct buf b = {0};

    if (f->how->record_fd < 0)
        return;
    buf_put(&b, r->line.data, r->line.len);
    buf_putc(&b, '\n');
    if (!out_flush(f->how->record_fd, &b))
        cli_warn(f->cli, "the recording could not be written");
}

static void on_message(const ProtobufCMessage *msg, void *arg)
{
    struct follow *f = arg;
    const Exec__EventsResponse *m = (const Exec__EventsResponse *)msg;

    if (f->done)
        return;
    f->away_since_ms = 0;
    f->retry_ms = RETRY_FIRST_MS;
    if (!f->how->to_the_end)
        loop_timer_in(f->silence, SILENCE_MS);
    if (m->item_case == EXEC__EVENTS_RESPONSE__ITEM_EVENT)
        on_event(f, m->event);
    else if (m->item_case == EXEC__EVENTS_RESPONSE__ITEM_DELTA)
        on_delta(f, m->delta);
    else if (m->item_case == EXEC__EVENTS_RESPONSE__ITEM_RECORDING)
        on_recording(f, m->recording);
}

/* ---- the connection ---------------------------------------------------------------------- */

static bool is_passing(enum err_code code)
{
    return code == ERR_UNAVAILABLE || code == ERR_NOT_RUNNING || code == ERR_TIMEOUT ||
           code == ERR_CANCELLED;
}

static void give_up(struct follow *f, const struct err *err)
{
    struct err e = *err;

    end_line(f);
    (void)conn_explain(f->conn, e.code, &e);
    err_wrap(&e, e.code, "lost run %s", f->how->execution_id);
    if (e.code == ERR_NOT_RUNNING)
        err_hint(&e, e.code, "stigmer server start; stigmer attach %s", f->how->execution_id);
    finish(f, cli_fail(f->cli, &e));
}

static void on_end(const struct err *err, void *arg)
{
    struct follow *f = arg;
    int64_t now = loop_now_ms(f->conn->loop);

    f->request = NULL;
    if (f->done)
        return;
    if (err && !is_passing(err->code)) {
        give_up(f, err);
        return;
    }
    if (!f->away_since_ms) {
        f->away_since_ms = now;
        if (err && f->cli->format == CLI_TEXT) {
            end_line(f);
            cli_note(f->cli, "connection to the server lost; waiting for it …");
        }
    } else if (err && now - f->away_since_ms > AWAY_MS) {
        give_up(f, err);
        return;
    }
    loop_timer_in(f->retry, f->retry_ms);
    f->retry_ms = f->retry_ms * 2 < RETRY_MOST_MS ? f->retry_ms * 2 : RETRY_MOST_MS;
}

static void follow_open(void *arg)
{
    struct follow *f = arg;
    Exec__EventsRequest request = EXEC__EVENTS_REQUEST__INIT;
    struct rpc_call_spec spec = {.path = EVENTS_PATH,
                                 .request = &request.base,
                                 .response = &exec__events_response__descriptor,
                                 .on_message = on_message,
                                 .on_end = on_end,
                                 .arg = f};

    request.execution_id = (char *)(uintptr_t)f->how->execution_id;
    request.from_seq = f->next_seq;
    request.deltas = f->cli->format == CLI_JSONL || shows_live(f) || f->how->record_fd >= 0;
    f->request = rpc_client_call(f->conn->client, &spec);
}

/* ---- signals and time -------------------------------------------------------------------- */

static void ignore_message(const ProtobufCMessage *msg, void *arg)
{
    (void)msg;
    (void)arg;
}

static void on_cancel_end(const struct err *err, void *arg)
{
    struct follow *f = arg;

    if (err && !f->done)
        cli_warn(f->cli, "the run could not be cancelled: %s", err->msg);
}

static void send_cancel(struct follow *f, const char *reason)
{
    Exec__CancelRequest request = EXEC__CANCEL_REQUEST__INIT;
    struct rpc_call_spec spec = {.path = CANCEL_PATH,
                                 .request = &request.base,
                                 .response = &exec__cancel_response__descriptor,
                                 .timeout_ms = CANCEL_WAIT_MS,
                                 .on_message = ignore_message,
                                 .on_end = on_cancel_end,
                                 .arg = f};

    if (f->cancel_sent)
        return;
    f->cancel_sent = true;
    request.execution_id = (char *)(uintptr_t)f->how->execution_id;
    request.reason = (char *)(uintptr_t)reason;
    (void)rpc_client_call(f->conn->client, &spec);
}

static void on_interrupt(void *arg)
{
    struct follow *f = arg;

    end_line(f);
    if (!f->how->owns) {
        cli_note(f->cli, "left; the run goes on: stigmer attach %s", f->how->execution_id);
        finish(f, EXIT_INTERRUPTED);
    } else if (++f->interrupts > 1) {
        finish(f, EXIT_INTERRUPTED);
    } else {
        cli_note(f->cli, "cancelling %s (Ctrl-C again leaves at once) …", f->how->execution_id);
        send_cancel(f, "interrupted by the person");
    }
}

static void on_deadline(void *arg)
{
    struct follow *f = arg;
    struct err err = {0};

    if (f->how->owns && !f->timed_out) {
        f->timed_out = true;
        send_cancel(f, "timed out");
        loop_timer_in(f->deadline, CANCEL_WAIT_MS);
        return;
    }
    end_line(f);
    err_set(&err, ERR_TIMEOUT, "run %s failed: not ended after %.1f s", f->how->execution_id,
            (double)f->how->timeout_ms / 1000);
    finish(f, cli_fail(f->cli, &err));
}

static void before_question(void *arg)
{
    end_line(arg);
}

static void leave_question(int exit_code, void *arg)
{
    finish(arg, exit_code);
}

static void on_silence(void *arg)
{
    finish(arg, EXIT_OK);
}

int follow_run(const struct cli *cli, struct conn *conn, const struct follow_how *how)
{
    struct loop *loop = conn->loop;
    struct follow f = {.cli = cli,
                       .conn = conn,
                       .how = how,
                       .next_seq = how->from_seq ? how->from_seq : 1,
                       .retry_ms = RETRY_FIRST_MS};
    struct loop_signal *interrupt = loop_signal_new(loop, SIGINT, on_interrupt, &f);
    struct loop_signal *term = loop_signal_new(loop, SIGTERM, on_interrupt, &f);

    f.retry = loop_timer_new(loop, follow_open, &f);
    f.deadline = loop_timer_new(loop, on_deadline, &f);
    f.tell = loop_timer_new(loop, on_tell, &f);
    f.silence = loop_timer_new(loop, on_silence, &f);
    f.questions = questions_new(cli, conn,
                                &(struct questions_options){.execution_id = how->execution_id,
                                                            .may_ask = !how->lines,
                                                            .leaves = how->owns,
                                                            .before = before_question,
                                                            .on_leave = leave_question,
                                                            .arg = &f});
    if (how->timeout_ms)
        loop_timer_in(f.deadline, how->timeout_ms);
    follow_open(&f);
    loop_run(loop);
    loop_timer_free(f.retry);
    loop_timer_free(f.deadline);
    loop_timer_free(f.tell);
    loop_timer_free(f.silence);
    questions_free(f.questions);
    loop_signal_free(interrupt);
    loop_signal_free(term);
    for (size_t i = 0; i < CALLS_MAX; i++)
        call_done(&f.calls[i]);
    buf_done(&f.turn_text);
    buf_done(&f.old_text);
    return f.exit_code;
}
