#include "prog/stigmer/questions.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <termios.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/own.h"
#include "base/str.h"
#include "prog/stigmer/approval.h"
#include "prog/stigmer/event-json.h"
#include "stigmer/execution/v1/service.pb-c.h"

#define SETTLE_MS 200 /* for the decision behind a question, in a replay */
#define ARGS_MAX 2000
#define TOOL_MAX 200
#define ANSWER_MAX 4096
#define CALL_MS 30000

struct question {
    struct question *next;
    uint64_t seq;
    char *call_id, *tool, *args; /* owned */
    bool done;                   /* answered here, told, or left to others: not asked again */
};

struct questions {
    const struct cli *cli;
    struct conn *conn;
    struct questions_options o;
    struct question *list, **tail; /* owned, oldest first */
    struct question *asked;        /* its prompt stands there; NULL */
    struct question *sent;         /* its answer is under way, or it is withdrawn meanwhile: NULL */
    struct loop_timer *settle;
    int terminal;       /* owned; -1: none. Opened anew: what reads it without waiting must not
                           make the shell's own descriptor so */
    struct loop_io *io; /* of it; NULL: not read from */
    struct rpc_request *call;
    bool aside;  /* its prompt was passed by other lines */
    bool closed; /* Ctrl-D: nothing more is asked here */
};

static void on_settled(void *arg);
static void prompt(struct questions *q, struct question *x);

static bool can_ask(const struct questions *q)
{
    return q->terminal >= 0 && !q->closed && q->cli->format == CLI_TEXT && !q->cli->no_input &&
           q->cli->err_is_tty && isatty(STDIN_FILENO) && tcgetpgrp(STDIN_FILENO) == getpgrp();
}

struct questions *questions_new(const struct cli *cli, struct conn *conn,
                                const struct questions_options *o)
{
    struct questions *q = mem_new(sizeof *q);

    q->cli = cli;
    q->conn = conn;
    q->o = *o;
    q->tail = &q->list;
    q->terminal = o->may_ask ? open("/dev/tty", O_RDONLY | O_CLOEXEC | O_NOCTTY) : -1;
    q->settle = loop_timer_new(conn->loop, on_settled, q);
    return q;
}

static void question_free(struct question *x)
{
    free(x->call_id);
    free(x->tool);
    free(x->args);
    free(x);
}

void questions_free(struct questions *q)
{
    for (struct question *x = q->list, *next; x; x = next) {
        next = x->next;
        question_free(x);
    }
    loop_io_free(q->io);
    if (q->terminal >= 0)
        (void)close(q->terminal);
    loop_timer_free(q->settle);
    if (q->call)
        rpc_request_cancel(q->call);
    free(q);
}

/* ---- answers -------------------------------------------------------------------------------- */

static void on_decided(const struct err *err, void *arg)
{
    struct questions *q = arg;
    struct question *x = TAKE(q->sent);

    q->call = NULL;
    if (err) {
        q->o.before(q->o.arg);
        cli_warn(q->cli, "not decided: %s", err->msg);
        if (x)
            x->done = err->code == ERR_STATE || err->code == ERR_NOT_FOUND; /* else again */
    }
    loop_timer_in(q->settle, SETTLE_MS); /* the next one, after what follows from this */
}

static void send_answer(struct questions *q, struct question *x, bool approve, const char *reason)
{
    Exec__DecideRequest r = EXEC__DECIDE_REQUEST__INIT;

    q->sent = x;
    x->done = true;
    r.execution_id = (char *)(uintptr_t)q->o.execution_id; /* only packed */
    r.seq = x->seq;
    r.approve = approve;
    r.reason = (char *)(uintptr_t)reason;
    q->call = rpc_client_call(
        q->conn->client, &(struct rpc_call_spec){.path = APPROVAL_DECIDE_PATH,
                                                 .request = &r.base,
                                                 .response = &exec__decide_response__descriptor,
                                                 .timeout_ms = CALL_MS,
                                                 .on_end = on_decided,
                                                 .arg = q});
}

static void tell_how(const struct questions *q, const struct question *x)
{
    char name[APPROVAL_NAME];

    approval_name(q->o.execution_id, x->seq, name);
    cli_note(q->cli, "%s waits for approval: stigmer approve %s, or stigmer deny %s -m WHY",
             x->tool, name, name);
}

/* y, yes; n, no; or why not. Nothing decides nothing. */
static void take_answer(struct questions *q, char *line, size_t size)
{
    struct question *x = q->asked;
    size_t len;

    if (strlen(line) != size || str_utf8_check(line, size) != size) {
        prompt(q, x); /* what cannot be read is no yes */
        return;
    }
    line += strspn(line, " \t");
    len = strcspn(line, "\r\n");
    while (len && strchr(" \t", line[len - 1]))
        len--;
    line[len] = '\0';
    if (!*line) {
        prompt(q, x);
        return;
    }
    q->asked = NULL;
    if (!strcasecmp(line, "y") || !strcasecmp(line, "yes"))
        send_answer(q, x, true, "");
    else
        send_answer(q, x, false, !strcasecmp(line, "n") || !strcasecmp(line, "no") ? "" : line);
}

/* A terminal gives whole lines. */
static void on_typed(int events, void *arg)
{
    struct questions *q = arg;
    char line[ANSWER_MAX];
    ssize_t n = read(q->terminal, line, sizeof line - 1);

    (void)events;
    if (n < 0 && (errno == EINTR || errno == EAGAIN))
        return;
    if (n > 0 && q->asked) {
        line[n] = '\0';
        take_answer(q, line, (size_t)n);
        if (!q->asked)
            loop_io_free(TAKE(q->io));
        return;
    }
    loop_io_free(TAKE(q->io));
    q->closed = true;
    questions_step_aside(q);
    q->asked = NULL;
    loop_timer_in(q->settle, 0); /* it is told how to answer */
}

static void prompt(struct questions *q, struct question *x)
{
    OWN_BUF struct buf b = {0};

    q->asked = NULL; /* it is no line to end */
    q->o.before(q->o.arg);
    if (!q->io)
        (void)tcflush(q->terminal, TCIFLUSH); /* what was typed was no answer to this */
    buf_puts(&b, "stigmer: the agent asks to run ");
    approval_show_args(&b, x->tool, TOOL_MAX);
    buf_puts(&b, ": ");
    approval_show_args(&b, x->args, ARGS_MAX);
    buf_puts(&b, "\nallow it? [y]es, [n]o, or why not: ");
    fputs(buf_text(&b), stderr);
    q->asked = x;
    q->aside = false;
    if (q->io)
        return;
    q->io = loop_io_new(q->conn->loop, q->terminal, on_typed, q);
    loop_io_want(q->io, LOOP_READ);
}

void questions_step_aside(struct questions *q)
{
    if (!q->asked || q->aside)
        return;
    q->aside = true;
    fputc('\n', stderr);
    loop_timer_in(q->settle, SETTLE_MS);
}

/* ---- what to do about them ------------------------------------------------------------------ */

static void leave(struct questions *q, const struct question *x)
{
    char name[APPROVAL_NAME];
    struct err err;

    approval_name(q->o.execution_id, x->seq, name);
    err_set(&err, ERR_APPROVAL, "run %s waits: %s needs a person's approval", q->o.execution_id,
            x->tool);
    err_hint(&err, ERR_APPROVAL, "stigmer approve %s, or stigmer deny %s; then stigmer attach %s",
             name, name, q->o.execution_id);
    q->o.before(q->o.arg);
    q->o.on_leave(cli_fail(q->cli, &err), q->o.arg);
}

static struct question *next_open(const struct questions *q)
{
    struct question *x = q->list;

    while (x && x->done)
        x = x->next;
    return x;
}

static void on_settled(void *arg)
{
    struct questions *q = arg;
    struct question *x;

    if (q->asked && q->aside)
        prompt(q, q->asked);
    while (!q->asked && !q->call && (x = next_open(q))) {
        if (can_ask(q)) {
            prompt(q, x);
            return;
        }
        x->done = true;
        if (q->o.leaves && !q->closed) {
            leave(q, x);
            return;
        }
        if (q->cli->format == CLI_TEXT) {
            q->o.before(q->o.arg);
            tell_how(q, x);
        }
    }
}

/* ---- events --------------------------------------------------------------------------------- */

static void add(struct questions *q, const Exec__Event *e)
{
    struct question *x = mem_new(sizeof *x);

    x->seq = e->seq;
    x->call_id = mem_str(e->approval_requested->call_id);
    x->tool = mem_str(e->approval_requested->name);
    x->args = mem_str(e->approval_requested->args_json);
    *q->tail = x;
    q->tail = &x->next;
}

static void withdraw(struct questions *q, const char *call_id)
{
    struct question **at = &q->list, *x;

    while (*at && (call_id && !str_eq((*at)->call_id, call_id)))
        at = &(*at)->next;
    if (!(x = *at))
        return;
    if (q->asked == x) {
        questions_step_aside(q);
        q->asked = NULL;
        loop_io_free(TAKE(q->io));
    }
    if (q->sent == x)
        q->sent = NULL;
    *at = x->next;
    if (!*at)
        q->tail = at;
    question_free(x);
}

void questions_see(struct questions *q, const Exec__Event *e)
{
    if (e->kind_case == EXEC__EVENT__KIND_APPROVAL_REQUESTED)
        add(q, e);
    else if (e->kind_case == EXEC__EVENT__KIND_APPROVAL_DECIDED)
        withdraw(q, e->approval_decided->call_id);
    else if (e->kind_case == EXEC__EVENT__KIND_TOOL_FINISHED)
        withdraw(q, e->tool_finished->call_id);
    else if (event_json_is_terminal(e))
        while (q->list)
            withdraw(q, NULL);
    if (next_open(q))
        loop_timer_in(q->settle, SETTLE_MS);
}
