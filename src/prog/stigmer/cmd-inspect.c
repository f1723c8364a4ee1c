/* inspect and cancel: executions by id or name. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/str.h"
#include "prog/stigmer/cli.h"
#include "prog/stigmer/cmds.h"
#include "prog/stigmer/conn.h"
#include "prog/stigmer/event-json.h"
#include "prog/stigmer/kinds.h"
#include "prog/stigmer/out.h"
#include "prog/stigmer/workflow.h"
#include "stigmer/execution/v1/service.pb-c.h"
#include "wire/pbjson.h"

#define CANCEL_PATH "/stigmer.execution.v1.ExecutionService/cancel"

static void put_row(struct buf *b, const char *head, const char *text)
{
    if (!str_is_empty(text))
        buf_printf(b, "%-12s%s\n", head, text);
}

static void put_call(struct buf *b, const Aexec__ToolCall *c)
{
    OWN_BUF struct buf args = {0};
    json_t *o = NULL;
    const char *mark = c->status == AEXEC__TOOL_CALL_STATUS__TOOL_CALL_COMPLETED ? "✓"
                       : c->status == AEXEC__TOOL_CALL_STATUS__TOOL_CALL_FAILED  ? "✗"
                                                                                 : "…";

    if (c->args && !pbjson_to(&c->args->base, NULL, &o, NULL)) {
        char *text = json_dumps(o, JSON_COMPACT);
        event_json_args(&args, text);
        free(text);
    }
    json_decref(o);
    buf_printf(b, "  → %s: %s  %s\n", c->name, buf_text(&args), mark);
}

static void put_workflow(struct buf *b, const json_t *w)
{
    put_row(b, "workflow", json_string_value(json_object_get(w, "id")));
    put_row(b, "run id", json_string_value(json_object_get(w, "runId")));
    put_row(b, "namespace", json_string_value(json_object_get(w, "namespace")));
    put_row(b, "ui", json_string_value(json_object_get(w, "url")));
    put_row(b, "no run id", json_string_value(json_object_get(w, "why")));
}

static void put_text(const struct cli *cli, struct buf *b, const Aexec__AgentExecution *x,
                     const json_t *workflow)
{
    const Aexec__AgentExecutionStatus *s = x->status;
    OWN_BUF struct buf all = {0};

    put_row(&all, "id", kinds_id((const struct kinds_any *)x));
    put_row(&all, "phase", kinds_phase_name(s ? (int)s->phase : 0));
    put_row(&all, "agent", x->spec ? x->spec->agent_id : "");
    put_row(&all, "session", x->spec ? x->spec->session_id : "");
    put_row(&all, "started", s ? s->started_at : "");
    put_row(&all, "completed", s ? s->completed_at : "");
    put_row(&all, "error", s ? s->error : "");
    put_workflow(&all, workflow);
    for (size_t i = 0; s && i < s->n_messages; i++) {
        static const char *const names[] = {"?", "person", "agent", "tool", "system"};
        const Aexec__AgentMessage *m = s->messages[i];
        unsigned type = (unsigned)m->type < 5 ? (unsigned)m->type : 0;
        if (m->type == AEXEC__MESSAGE_TYPE__MESSAGE_TOOL)
            continue; /* what tools gave is long; the calls below say how they went */
        if (*m->content)
            buf_printf(&all, "\n[%s]\n%s\n", names[type], m->content);
        for (size_t k = 0; k < m->n_tool_calls; k++)
            put_call(&all, m->tool_calls[k]);
    }
    out_text(b, buf_text(&all), all.len, cli->out_is_tty);
}

static enum err_code print_one(const struct cli *cli, struct conn *conn, const struct kinds_any *r,
                               struct err *err)
{
    OWN_BUF struct buf b = {0};
    json_t *o = NULL, *workflow = workflow_of(conn, kinds_id(r));
    enum err_code code;

    if (cli->format == CLI_TEXT) {
        put_text(cli, &b, (const Aexec__AgentExecution *)r, workflow);
        (void)out_flush(STDOUT_FILENO, &b);
        json_decref(workflow);
        return ERR_OK;
    }
    code = pbjson_to(&r->base, NULL, &o, err);
    if (!code && workflow)
        json_object_set(o, "workflow", workflow);
    if (!code)
        out_document(cli, o);
    json_decref(workflow);
    json_decref(o);
    return code;
}

int cmd_inspect_run(struct cli *cli)
{
    struct conn conn;
    struct err err = {0};
    enum err_code code = conn_open(cli, &conn, &err);

    if (code)
        return cli_fail(cli, &err);
    for (size_t i = 0; !code && i < cli->args.word_count; i++) {
        struct kinds_any *r = NULL;
        code = kinds_find(&conn, kinds_by_word("run"), cli->args.words[i], &r, &err);
        if (!code)
            code = print_one(cli, &conn, r, &err);
        kinds_free(r);
    }
    conn_close(&conn);
    return code ? cli_fail(cli, &err) : EXIT_OK;
}

int cmd_inspect_cancel(struct cli *cli)
{
    Exec__CancelRequest request = EXEC__CANCEL_REQUEST__INIT;
    struct conn conn;
    struct err err = {0};
    enum err_code code = conn_open(cli, &conn, &err);

    if (code)
        return cli_fail(cli, &err);
    request.reason = (char *)(uintptr_t)args_str(&cli->args, "reason", "cancelled by the person");
    for (size_t i = 0; !code && i < cli->args.word_count; i++) {
        ProtobufCMessage *answer = NULL;
        struct kinds_any *r = NULL;
        code = kinds_find(&conn, kinds_by_word("run"), cli->args.words[i], &r, &err);
        if (!code) {
            request.execution_id = (char *)(uintptr_t)kinds_id(r);
            code = conn_call(&conn, CANCEL_PATH, &request.base, &exec__cancel_response__descriptor,
                             0, &answer, &err);
        }
        if (!code) {
            cli_note(cli, "%s %s", kinds_id(r),
                     ((Exec__CancelResponse *)answer)->already_terminal ? "had ended already"
                                                                        : "is being cancelled");
            protobuf_c_message_free_unpacked(answer, NULL);
        }
        kinds_free(r);
    }
    conn_close(&conn);
    return code ? cli_fail(cli, &err) : EXIT_OK;
}
