/* approvals ls, approve and deny: tool calls that wait for a person. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/own.h"
#include "base/str.h"
#include "prog/stigmer/approval.h"
#include "prog/stigmer/cli.h"
#include "prog/stigmer/cmds.h"
#include "prog/stigmer/event-json.h"
#include "prog/stigmer/kinds.h"
#include "prog/stigmer/message.h"
#include "prog/stigmer/out.h"
#include "stigmer/execution/v1/service.pb-c.h"

#define REASON_MAX 4096 /* as the server has it */

/* ---- the list ------------------------------------------------------------------------------- */

static json_t *row_json(const Exec__Approval *a)
{
    char name[APPROVAL_NAME], at[CLOCK_TEXT];

    approval_name(a->execution_id, a->seq, name);
    clock_format(a->requested_ms, at);
    return json_pack("{s:s,s:s,s:I,s:s,s:s,s:s,s:I,s:s,s:s}", "id", name, "executionId",
                     a->execution_id, "seq", (json_int_t)a->seq, "callId", a->call_id, "tool",
                     a->tool, "arguments", a->args_json, "argumentsBytes",
                     (json_int_t)a->args_bytes, "requestedAt", at, "decision", a->decision);
}

static void add_text_row(struct out_table *t, const Exec__Approval *a)
{
    char name[APPROVAL_NAME], age[24];
    OWN_BUF struct buf args = {0};

    approval_name(a->execution_id, a->seq, name);
    out_age(a->requested_ms, clock_wall_ms(), age);
    event_json_args(&args, a->args_json);
    out_table_row(t, (const char *const[]){name, a->tool, buf_text(&args), age,
                                           *a->decision ? a->decision : "-", NULL});
}

static void print_table(const struct cli *cli, const Exec__ApprovalsResponse *r, struct buf *b)
{
    struct out_table t = {0};

    out_table_row(&t, (const char *const[]){"ID", "TOOL", "ARGUMENTS", "WAITS", "DECISION", NULL});
    for (size_t i = 0; i < r->n_approvals; i++)
        add_text_row(&t, r->approvals[i]);
    out_table_done(&t, b, cli->out_is_tty);
}

static void print_names(const Exec__ApprovalsResponse *r, struct buf *b)
{
    char name[APPROVAL_NAME];

    for (size_t i = 0; i < r->n_approvals; i++) {
        approval_name(r->approvals[i]->execution_id, r->approvals[i]->seq, name);
        buf_printf(b, "%s\n", name);
    }
}

static void print_json(const struct cli *cli, const Exec__ApprovalsResponse *r)
{
    json_t *doc = json_object(), *items = json_array();

    for (size_t i = 0; i < r->n_approvals; i++) {
        json_t *item = row_json(r->approvals[i]);

        if (cli->format == CLI_JSONL)
            out_document(cli, item);
        json_array_append_new(items, item);
    }
    json_object_set_new(doc, "schema", json_string("stigmer.cli/approvals/v1"));
    json_object_set_new(doc, "items", items);
    if (cli->format != CLI_JSONL)
        out_document(cli, doc);
    json_decref(doc);
}

static void print_list(const struct cli *cli, const Exec__ApprovalsResponse *r)
{
    OWN_BUF struct buf b = {0};

    if (cli->quiet || cli->format == CLI_NAME)
        print_names(r, &b);
    else if (cli->format == CLI_TEXT)
        print_table(cli, r, &b);
    else
        print_json(cli, r);
    (void)out_flush(STDOUT_FILENO, &b);
    if (r->left_off)
        cli_warn(cli, "%u more are not listed", r->left_off);
}

int cmd_approvals_ls(struct cli *cli)
{
    Exec__ApprovalsRequest request = EXEC__APPROVALS_REQUEST__INIT;
    struct kinds_any *run = NULL;
    ProtobufCMessage *answer = NULL;
    struct conn conn;
    struct err err = {0};
    enum err_code code = conn_open(cli, &conn, &err);

    if (code)
        return cli_fail(cli, &err);
    if (cli_word(cli, 0))
        code = kinds_find(&conn, kinds_by_word("run"), cli_word(cli, 0), &run, &err);
    if (!code) {
        if (run)
            request.execution_id = (char *)(uintptr_t)kinds_id(run);
        code = conn_call(&conn, APPROVAL_LIST_PATH, &request.base,
                         &exec__approvals_response__descriptor, 0, &answer, &err);
    }
    if (!code) {
        print_list(cli, (Exec__ApprovalsResponse *)answer);
        protobuf_c_message_free_unpacked(answer, NULL);
    }
    kinds_free(run);
    conn_close(&conn);
    return code ? cli_fail(cli, &err) : EXIT_OK;
}

/* ---- decisions ------------------------------------------------------------------------------ */

static void tell(const struct cli *cli, const char *execution_id, const Exec__DecideResponse *r,
                 bool approve)
{
    char name[APPROVAL_NAME];
    json_t *o;

    approval_name(execution_id, r->seq, name);
    if (cli->format == CLI_TEXT) {
        cli_note(cli, "%s: %s (%s)", approve ? "approved" : "denied", r->tool, name);
        return;
    }
    o = json_pack("{s:s,s:s,s:s,s:s}", "schema",
                  approve ? "stigmer.cli/approve/v1" : "stigmer.cli/deny/v1", "id", name,
                  "executionId", execution_id, "tool", r->tool);
    out_document(cli, o);
    json_decref(o);
}

/* Before anything is done, and with no server either. */
static enum err_code check_words(const struct cli *cli, struct err *err)
{
    char run[APPROVAL_NAME];
    uint64_t seq;
    const char *word;
    enum err_code code = ERR_OK;

    for (size_t i = 0; !code && (word = cli_word(cli, i)); i++)
        code = approval_parse(word, run, &seq, err);
    return code;
}

static enum err_code decide(struct conn *conn, const char *word, bool approve, const char *reason,
                            struct err *err)
{
    Exec__DecideRequest request = EXEC__DECIDE_REQUEST__INIT;
    struct kinds_any *run = NULL;
    ProtobufCMessage *answer = NULL;
    char ref[APPROVAL_NAME];
    enum err_code code = approval_parse(word, ref, &request.seq, err);

    if (code || (code = kinds_find(conn, kinds_by_word("run"), ref, &run, err)))
        return code;
    request.execution_id = (char *)(uintptr_t)kinds_id(run);
    request.approve = approve;
    request.reason = (char *)(uintptr_t)reason;
    code = conn_call(conn, APPROVAL_DECIDE_PATH, &request.base, &exec__decide_response__descriptor,
                     0, &answer, err);
    if (!code) {
        tell(conn->cli, kinds_id(run), (Exec__DecideResponse *)answer, approve);
        protobuf_c_message_free_unpacked(answer, NULL);
    }
    kinds_free(run);
    return code;
}

/* Each is tried; the first that fails gives the exit code. */
static int decide_all(struct cli *cli, bool approve, const char *reason)
{
    struct conn conn;
    struct err err = {0};
    const char *word;
    int exit_code = EXIT_OK;

    if (check_words(cli, &err) || conn_open(cli, &conn, &err))
        return cli_fail(cli, &err);
    for (size_t i = 0; (word = cli_word(cli, i)); i++)
        if (decide(&conn, word, approve, reason, &err)) {
            int failed = cli_fail(cli, &err);

            exit_code = exit_code ? exit_code : failed;
        }
    conn_close(&conn);
    return exit_code;
}

int cmd_approvals_approve(struct cli *cli)
{
    return decide_all(cli, true, "");
}

int cmd_approvals_deny(struct cli *cli)
{
    OWN_BUF struct buf reason = {0};
    struct err err = {0};

    if (args_has(&cli->args, "message") && message_read(cli, "deny", REASON_MAX, &reason, &err))
        return cli_fail(cli, &err);
    return decide_all(cli, false, buf_text(&reason));
}
