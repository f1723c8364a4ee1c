/* ps: executions and how they are. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/map.h"
#include "base/str.h"
#include "prog/stigmer/cli.h"
#include "prog/stigmer/cmds.h"
#include "prog/stigmer/conn.h"
#include "prog/stigmer/kinds.h"
#include "prog/stigmer/out.h"

struct row {
    const Aexec__AgentExecution *x;
    const char *agent; /* name, or its id when the agent is gone */
    const char *phase;
};

/* Zeros for an execution of a server that does not count. */
static const Aexec__ExecutionCounts *counts_of(const struct row *r)
{
    static const Aexec__ExecutionCounts none = AEXEC__EXECUTION_COUNTS__INIT;

    return r->x->status && r->x->status->counts ? r->x->status->counts : &none;
}

static struct row row_of(const struct kinds_any *r, const struct map *agents)
{
    struct row row = {.x = (const Aexec__AgentExecution *)r, .agent = "", .phase = "unknown"};
    const Aexec__AgentExecutionStatus *s = row.x->status;

    if (row.x->spec) {
        const struct kinds_any *a = map_get(agents, row.x->spec->agent_id);
        row.agent = a ? kinds_name(a) : row.x->spec->agent_id;
    }
    if (s)
        row.phase = kinds_phase_name((int)s->phase);
    return row;
}

/* For people: a run that waits for one of them does not look as if it were at work. */
static const char *shown_phase(const struct row *r)
{
    return counts_of(r)->waiting_approvals ? "needs approval" : r->phase;
}

static bool is_wanted(const struct cli *cli, const struct row *r)
{
    const char *phase = args_str(&cli->args, "phase", NULL);

    if (phase)
        return str_eq(phase, r->phase);
    return args_bool(&cli->args, "all", false) || str_eq(r->phase, "pending") ||
           str_eq(r->phase, "running");
}

static void put_time(json_t *o, const char *key, const char *text)
{
    int64_t ms;
    char at[CLOCK_TEXT];

    if (str_is_empty(text)) {
        json_object_set_new(o, key, json_null());
    } else if (clock_parse(text, &ms, NULL) == ERR_OK) {
        clock_format(ms, at);
        json_object_set_new(o, key, json_string(at));
    } else {
        json_object_set_new(o, key, json_string(text));
    }
}

static json_t *row_json(const struct row *r)
{
    const struct kinds_any *any = (const struct kinds_any *)r->x;
    const Aexec__ExecutionCounts *c = counts_of(r);
    json_t *o = json_object();

    json_object_set_new(o, "id", json_string(kinds_id(any)));
    json_object_set_new(o, "agent", json_string(r->agent));
    json_object_set_new(o, "session", json_string(r->x->spec ? r->x->spec->session_id : ""));
    json_object_set_new(o, "phase", json_string(r->phase));
    put_time(o, "startedAt", r->x->status ? r->x->status->started_at : NULL);
    put_time(o, "completedAt", r->x->status ? r->x->status->completed_at : NULL);
    json_object_set_new(o, "turns", json_integer(c->turns));
    json_object_set_new(o, "toolCalls", json_integer(c->tool_calls));
    json_object_set_new(o, "usage",
                        json_pack("{s:I,s:I,s:n}", "inputTokens", (json_int_t)c->input_tokens,
                                  "outputTokens", (json_int_t)c->output_tokens, "costUsd"));
    json_object_set_new(o, "attempt", json_integer(c->attempt));
    json_object_set_new(o, "waitingApprovals", json_integer(c->waiting_approvals));
    return o;
}

static void add_text_row(struct out_table *t, const struct row *r)
{
    const struct kinds_any *any = (const struct kinds_any *)r->x;
    char age[24], turns[24], calls[24];

    out_age(kinds_created_ms(any), clock_wall_ms(), age);
    snprintf(turns, sizeof turns, "%u", counts_of(r)->turns);
    snprintf(calls, sizeof calls, "%u", counts_of(r)->tool_calls);
    out_table_row(t, (const char *const[]){kinds_id(any), r->agent, shown_phase(r), age, turns,
                                           calls, r->x->spec ? r->x->spec->session_id : "", NULL});
}

static void print_rows(const struct cli *cli, const struct kinds_list *list,
                       const struct map *agents)
{
    static const char *const heads[] = {"ID",    "AGENT",      "PHASE",   "AGE",
                                        "TURNS", "TOOL CALLS", "SESSION", NULL};
    bool ids = cli->quiet || cli->format == CLI_NAME, text = cli->format == CLI_TEXT && !ids;
    json_t *items = json_array(), *doc;
    OWN_BUF struct buf b = {0};
    struct out_table t = {0};

    out_table_row(&t, heads);
    for (size_t i = 0; i < list->count; i++) {
        struct row r = row_of(list->items[i], agents);
        if (!is_wanted(cli, &r))
            continue;
        if (ids)
            buf_printf(&b, "%s\n", kinds_id(list->items[i]));
        else if (text)
            add_text_row(&t, &r);
        else
            json_array_append_new(items, row_json(&r));
    }
    if (text) {
        out_table_done(&t, &b, cli->out_is_tty);
    } else {
        OWN_BUF struct buf unused = {0};
        out_table_done(&t, &unused, false);
    }
    (void)out_flush(STDOUT_FILENO, &b);
    if (!text && !ids && cli->format == CLI_JSONL) {
        json_t *item;
        size_t i;
        json_array_foreach(items, i, item) out_document(cli, item);
    } else if (!text && !ids) {
        doc = json_object();
        json_object_set_new(doc, "schema", json_string("stigmer.cli/ps/v1"));
        json_object_set(doc, "items", items);
        out_document(cli, doc);
        json_decref(doc);
    }
    json_decref(items);
}

static enum err_code check_phase(const struct cli *cli, struct err *err)
{
    static const char *const names[] = {"pending", "running", "completed", "failed", "cancelled"};
    const char *phase = args_str(&cli->args, "phase", NULL);

    for (size_t i = 0; phase && i < 5; i++)
        if (str_eq(names[i], phase))
            return ERR_OK;
    if (!phase)
        return ERR_OK;
    return err_set(err, ERR_INVALID,
                   "--phase: '%.80s' is not one of pending, running, completed, failed, cancelled",
                   phase);
}

int cmd_ps_run(struct cli *cli)
{
    struct kinds_list list = {0}, agents = {0};
    struct map by_id = {0};
    struct conn conn;
    struct err err = {0};
    enum err_code code = check_phase(cli, &err);

    if (!code)
        code = conn_open(cli, &conn, &err);
    if (code)
        return cli_fail(cli, &err);
    code = kinds_list(&conn, kinds_by_word("runs"), args_str(&cli->args, "session", NULL), 0, &list,
                      &err);
    if (!code && !cli->quiet)
        code = kinds_list(&conn, kinds_by_word("agents"), NULL, 0, &agents, &err);
    if (!code) {
        for (size_t i = 0; i < agents.count; i++)
            (void)map_put(&by_id, kinds_id(agents.items[i]), agents.items[i]);
        print_rows(cli, &list, &by_id);
    }
    conn_close(&conn);
    map_done(&by_id);
    kinds_list_done(&list);
    kinds_list_done(&agents);
    return code ? cli_fail(cli, &err) : EXIT_OK;
}
