/* session ls, show and rm: sessions with their runs and workspaces. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/own.h"
#include "base/str.h"
#include "prog/stigmer/cli.h"
#include "prog/stigmer/cmds.h"
#include "prog/stigmer/confirm.h"
#include "prog/stigmer/conn.h"
#include "prog/stigmer/kinds.h"
#include "prog/stigmer/live.h"
#include "prog/stigmer/out.h"
#include "prog/stigmer/prune.h"
#include "stigmer/execution/v1/service.pb-c.h"

#define CANCEL_PATH "/stigmer.execution.v1.ExecutionService/cancel"
#define EVENTS_PATH "/stigmer.execution.v1.ExecutionService/events"
#define END_MS 30000 /* how long a cancelled run may take to end */
#define ASK_MS 3000

static const struct kind *sessions(void)
{
    return kinds_by_word("session");
}

static const struct kind *runs(void)
{
    return kinds_by_word("run");
}

static const char *folder_of(const struct kinds_any *session)
{
    const Sess__Session *s = (const Sess__Session *)session;

    return s->spec && s->spec->workspace_dir ? s->spec->workspace_dir : "";
}

static int phase_of(const struct kinds_any *run)
{
    const Aexec__AgentExecution *x = (const Aexec__AgentExecution *)run;

    return x->status ? (int)x->status->phase : 0;
}

static const char *session_of(const struct kinds_any *run)
{
    const Aexec__AgentExecution *x = (const Aexec__AgentExecution *)run;

    return x->spec ? x->spec->session_id : "";
}

static bool is_under_way(const struct kinds_any *run)
{
    const char *name = kinds_phase_name(phase_of(run));

    return str_eq(name, "pending") || str_eq(name, "running");
}

/* ---- telling ------------------------------------------------------------------------------- */

struct counts {
    size_t all, under_way;
    int64_t last_ms; /* when its last run began; its own birth when it has none */
};

static struct counts count_runs(const struct kinds_any *session, const struct kinds_list *list)
{
    struct counts c = {.last_ms = kinds_created_ms(session)};

    for (size_t i = 0; i < list->count; i++) {
        int64_t born = kinds_created_ms(list->items[i]);

        if (!str_eq(session_of(list->items[i]), kinds_id(session)))
            continue;
        c.all++;
        c.under_way += is_under_way(list->items[i]);
        c.last_ms = born > c.last_ms ? born : c.last_ms;
    }
    return c;
}

static json_t *time_json(int64_t ms)
{
    char text[CLOCK_TEXT];

    if (!ms)
        return json_null();
    clock_format(ms, text);
    return json_string(text);
}

static json_t *session_json(const struct kinds_any *s, const struct kinds_list *list)
{
    struct counts c = count_runs(s, list);

    return json_pack("{s:s,s:s,s:s?,s:I,s:I,s:o,s:o}", "id", kinds_id(s), "name", kinds_name(s),
                     "workspace", *folder_of(s) ? folder_of(s) : NULL, "runs", (json_int_t)c.all,
                     "underWay", (json_int_t)c.under_way, "createdAt",
                     time_json(kinds_created_ms(s)), "lastRunAt",
                     c.all ? time_json(c.last_ms) : json_null());
}

static void print_table(const struct cli *cli, const struct kinds_list *list,
                        const struct kinds_list *all_runs)
{
    static const char *const heads[] = {"ID",       "NAME",      "RUNS", "UNDER WAY",
                                        "LAST RUN", "WORKSPACE", NULL};
    OWN_BUF struct buf b = {0};
    struct out_table t = {0};

    out_table_row(&t, heads);
    for (size_t i = 0; i < list->count; i++) {
        const struct kinds_any *s = list->items[i];
        struct counts c = count_runs(s, all_runs);
        char runs_text[24], under_way[24], age[24] = "-";

        (void)snprintf(runs_text, sizeof runs_text, "%zu", c.all);
        (void)snprintf(under_way, sizeof under_way, "%zu", c.under_way);
        if (c.all)
            out_age(c.last_ms, clock_wall_ms(), age);
        out_table_row(&t,
                      (const char *const[]){kinds_id(s), kinds_name(s), runs_text, under_way, age,
                                            *folder_of(s) ? folder_of(s) : "(its own)", NULL});
    }
    out_table_done(&t, &b, cli->out_is_tty);
    (void)out_flush(STDOUT_FILENO, &b);
}

static void print_list(const struct cli *cli, const struct kinds_list *list,
                       const struct kinds_list *all_runs)
{
    json_t *items = json_array(), *item, *doc;
    size_t i;

    for (i = 0; i < list->count; i++)
        json_array_append_new(items, session_json(list->items[i], all_runs));
    if (cli->format == CLI_JSONL) {
        json_array_foreach(items, i, item) out_document(cli, item);
    } else {
        doc = json_pack("{s:s,s:O}", "schema", "stigmer.cli/session-ls/v1", "items", items);
        out_document(cli, doc);
        json_decref(doc);
    }
    json_decref(items);
}

int cmd_session_ls(struct cli *cli)
{
    struct kinds_list list = {0}, all_runs = {0};
    struct conn conn;
    struct err err = {0};
    enum err_code code = conn_open(cli, &conn, &err);

    if (code)
        return cli_fail(cli, &err);
    code = kinds_list(&conn, sessions(), NULL, 0, &list, &err);
    if (!code && !cli->quiet && cli->format != CLI_NAME)
        code = kinds_list(&conn, runs(), NULL, 0, &all_runs, &err);
    if (!code && (cli->quiet || cli->format == CLI_NAME)) {
        for (size_t i = 0; i < list.count; i++)
            printf("%s\n", kinds_id(list.items[i]));
        (void)fflush(stdout);
    } else if (!code && cli->format == CLI_TEXT) {
        print_table(cli, &list, &all_runs);
    } else if (!code) {
        print_list(cli, &list, &all_runs);
    }
    kinds_list_done(&list);
    kinds_list_done(&all_runs);
    conn_close(&conn);
    return code ? cli_fail(cli, &err) : EXIT_OK;
}

static json_t *runs_json(const struct kinds_list *list)
{
    json_t *items = json_array();

    for (size_t i = 0; i < list->count; i++)
        json_array_append_new(items,
                              json_pack("{s:s,s:s,s:o}", "id", kinds_id(list->items[i]), "phase",
                                        kinds_phase_name(phase_of(list->items[i])), "createdAt",
                                        time_json(kinds_created_ms(list->items[i]))));
    return items;
}

static void print_session(const struct cli *cli, const struct kinds_any *s,
                          const struct kinds_list *list)
{
    json_t *doc = session_json(s, list),
           *o = json_pack("{s:s}", "schema", "stigmer.cli/session-show/v1");
    OWN_BUF struct buf b = {0}, safe = {0};
    char age[24];

    json_object_update(o, doc);
    json_object_set_new(o, "executions", runs_json(list));
    if (cli->format != CLI_TEXT) {
        out_document(cli, o);
    } else {
        out_age(kinds_created_ms(s), clock_wall_ms(), age);
        buf_printf(&b, "%-12s%s\n%-12s%s\n%-12s%s\n%-12s%s ago\n", "id", kinds_id(s), "name",
                   kinds_name(s), "workspace",
                   *folder_of(s) ? folder_of(s) : "its own, below data/workspace", "created", age);
        for (size_t i = 0; i < list->count; i++)
            buf_printf(&b, "%-12s%s  %s\n", i ? "" : "runs", kinds_id(list->items[i]),
                       kinds_phase_name(phase_of(list->items[i])));
        out_text(&safe, buf_text(&b), b.len, cli->out_is_tty);
        (void)out_flush(STDOUT_FILENO, &safe);
    }
    json_decref(doc);
    json_decref(o);
}

int cmd_session_show(struct cli *cli)
{
    struct conn conn;
    struct err err = {0};
    enum err_code code = conn_open(cli, &conn, &err);

    if (code)
        return cli_fail(cli, &err);
    for (size_t i = 0; !code && i < cli->args.word_count; i++) {
        struct kinds_any *s = NULL;
        struct kinds_list list = {0};

        code = kinds_find(&conn, sessions(), cli->args.words[i], &s, &err);
        if (!code)
            code = kinds_list(&conn, runs(), kinds_id(s), 0, &list, &err);
        if (!code)
            print_session(cli, s, &list);
        kinds_list_done(&list);
        kinds_free(s);
    }
    conn_close(&conn);
    return code ? cli_fail(cli, &err) : EXIT_OK;
}

/* ---- removing ------------------------------------------------------------------------------ */

static void ignore_event(const ProtobufCMessage *msg, void *arg)
{
    (void)msg;
    (void)arg;
}

struct ending {
    struct loop *loop;
    struct err err;
};

static void on_ended(const struct err *err, void *arg)
{
    struct ending *e = arg;

    if (err)
        e->err = *err;
    loop_quit(e->loop);
}

/* The stream of a run's events ends with the run. */
static enum err_code wait_for_end(struct conn *c, const char *run, struct err *err)
{
    Exec__EventsRequest request = EXEC__EVENTS_REQUEST__INIT;
    struct ending e = {.loop = c->loop};
    struct rpc_call_spec spec = {.path = EVENTS_PATH,
                                 .request = &request.base,
                                 .response = &exec__events_response__descriptor,
                                 .timeout_ms = END_MS,
                                 .on_message = ignore_event,
                                 .on_end = on_ended,
                                 .arg = &e};

    request.execution_id = (char *)(uintptr_t)run;
    (void)rpc_client_call(c->client, &spec);
    loop_run(c->loop);
    if (e.err.code) {
        *err = e.err;
        return err_wrap(err, e.err.code, "run %s was cancelled and does not end", run);
    }
    return ERR_OK;
}

static enum err_code cancel(struct conn *c, const char *run, struct err *err)
{
    Exec__CancelRequest request = EXEC__CANCEL_REQUEST__INIT;
    ProtobufCMessage *answer = NULL;
    enum err_code code;

    request.execution_id = (char *)(uintptr_t)run;
    request.reason = (char *)(uintptr_t) "its session is removed";
    cli_note(c->cli, "cancelling %s …", run);
    code = conn_call(c, CANCEL_PATH, &request.base, &exec__cancel_response__descriptor, 0, &answer,
                     err);
    if (code)
        return code;
    protobuf_c_message_free_unpacked(answer, NULL);
    return wait_for_end(c, run, err);
}

static enum err_code end_runs(struct conn *c, const struct kinds_any *s,
                              const struct kinds_list *list, struct err *err)
{
    bool force = args_bool(&c->cli->args, "force", false);
    enum err_code code = ERR_OK;

    for (size_t i = 0; !code && i < list->count; i++) {
        const char *run = kinds_id(list->items[i]);

        if (!is_under_way(list->items[i]))
            continue;
        if (!force)
            return err_hint(
                err,
                err_set(err, ERR_CONFLICT, "session '%s' is in use by run %s", kinds_id(s), run),
                "stigmer cancel %s, or --force", run);
        code = cancel(c, run, err);
    }
    return code;
}

/* Its folder lies at the server; only one of this home can be reached from here. */
static bool is_our_server(const struct cli *cli)
{
    json_t *status = NULL;
    bool same;

    (void)live_ask(cli, ASK_MS, &status, NULL);
    same = str_eq(json_string_value(json_object_get(status, "home")), cli->paths.home);
    json_decref(status);
    return same;
}

/* The folder of ours, or the link to a person's. One that no run has made yet is not there. */
static enum err_code remove_folder(const struct cli *cli, const char *id, bool *ret_gone,
                                   struct err *err)
{
    json_t *agreed, *done = NULL, *item;
    const char *why = NULL;
    enum err_code code;
    size_t i;

    *ret_gone = false;
    if (!is_our_server(cli)) {
        cli_warn(cli, "the workspace of %s stays: it lies at the server, in data/workspace", id);
        return ERR_OK;
    }
    agreed = json_pack("{s:[{s:s,s:s},{s:s,s:s}]}", "items", "kind", "workspace", "path", id,
                       "kind", "link", "path", id);
    code = prune_ask(cli, clock_wall_ms() + 1000, agreed, &done, err);
    json_decref(agreed);
    if (code)
        return code;
    json_array_foreach(json_object_get(done, "items"), i, item)
    {
        *ret_gone |= json_is_true(json_object_get(item, "removed"));
        if (json_object_get(item, "error"))
            why = json_string_value(json_object_get(item, "error"));
    }
    if (why)
        code = err_set(err, ERR_IO, "session %s is removed, but its workspace is not: %s", id, why);
    json_decref(done);
    return code;
}

/* Runs first: what is left when this breaks off can be removed by the same command. */
static enum err_code remove_one(struct conn *c, const struct kinds_any *s,
                                const struct kinds_list *list, json_t *removed, struct err *err)
{
    bool folder_gone;
    enum err_code code = end_runs(c, s, list, err);

    for (size_t i = 0; !code && i < list->count; i++)
        code = kinds_delete(c, runs(), kinds_id(list->items[i]), err);
    if (!code)
        code = kinds_delete(c, sessions(), kinds_id(s), err);
    if (!code)
        code = remove_folder(c->cli, kinds_id(s), &folder_gone, err);
    if (code)
        return code;
    json_array_append_new(removed, json_pack("{s:s,s:I,s:b}", "id", kinds_id(s), "runs",
                                             (json_int_t)list->count, "workspaceRemoved",
                                             (int)(folder_gone && !*folder_of(s))));
    if (c->cli->format == CLI_TEXT && !c->cli->quiet) {
        printf("session/%s removed\n", kinds_id(s));
        (void)fflush(stdout);
    }
    return ERR_OK;
}

static enum err_code remove_all(struct conn *c, struct kinds_any **list, struct kinds_list *lists,
                                size_t count, json_t *removed, struct err *err)
{
    size_t all = 0, own = 0;
    char question[160];
    enum err_code code = ERR_OK;

    for (size_t i = 0; i < count; i++) {
        all += lists[i].count;
        own += *folder_of(list[i]) != 0;
    }
    (void)str_format(question, sizeof question, "Remove %zu session%s with %zu run%s%s%s?", count,
                     count == 1 ? "" : "s", all, all == 1 ? "" : "s",
                     own < count ? " and what is in the workspace" : "",
                     own ? " (a person's own folder stays)" : "");
    for (size_t i = 0; !code && i < count && !args_bool(&c->cli->args, "force", false); i++)
        code = end_runs(c, list[i], &lists[i], err); /* refuses before it asks */
    if (!code)
        code = confirm(c->cli, "session rm", question, err);
    for (size_t i = 0; !code && i < count; i++)
        code = remove_one(c, list[i], &lists[i], removed, err);
    return code;
}

int cmd_session_rm(struct cli *cli)
{
    size_t count = cli->args.word_count, found = 0;
    struct kinds_any **list = mem_array(count, sizeof(struct kinds_any *));
    struct kinds_list *lists = mem_array(count, sizeof *lists);
    json_t *removed = json_array();
    struct conn conn;
    struct err err = {0};
    enum err_code code = conn_open(cli, &conn, &err);
    bool open = !code;

    for (; !code && found < count; found++) { /* all are found before the first one goes */
        code = kinds_find(&conn, sessions(), cli->args.words[found], &list[found], &err);
        if (!code)
            code = kinds_list(&conn, runs(), kinds_id(list[found]), 0, &lists[found], &err);
    }
    if (!code)
        code = remove_all(&conn, list, lists, count, removed, &err);
    if (!code && cli->format == CLI_JSON) {
        json_t *doc =
            json_pack("{s:s,s:O}", "schema", "stigmer.cli/session-rm/v1", "items", removed);
        out_document(cli, doc);
        json_decref(doc);
    }
    for (size_t i = 0; i < count; i++) {
        kinds_free(list[i]);
        kinds_list_done(&lists[i]);
    }
    free(list);
    free(lists);
    json_decref(removed);
    if (open)
        conn_close(&conn);
    return code ? cli_fail(cli, &err) : EXIT_OK;
}
