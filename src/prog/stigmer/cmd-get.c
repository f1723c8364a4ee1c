/* get, describe and delete: resources of any kind. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/str.h"
#include "prog/stigmer/cli.h"
#include "prog/stigmer/cmds.h"
#include "prog/stigmer/confirm.h"
#include "prog/stigmer/conn.h"
#include "prog/stigmer/kinds.h"
#include "prog/stigmer/out.h"
#include "prog/stigmer/workflow.h"
#include "wire/pbjson.h"

#define LIST_MAX 500 /* shown without --all */

/* All words after the first, or the list. */
static enum err_code fetch(struct cli *cli, struct conn *conn, const struct kind *k,
                           struct kinds_list *ret, struct err *err)
{
    size_t n = cli->args.word_count;

    if (n == 1)
        return kinds_list(conn, k, NULL, args_bool(&cli->args, "all", false) ? 0 : LIST_MAX, ret,
                          err);
    ret->items = mem_array(n - 1, sizeof(struct kinds_any *));
    for (size_t i = 1; i < n; i++) {
        enum err_code code = kinds_find(conn, k, cli->args.words[i], &ret->items[i - 1], err);
        if (code)
            return code;
        ret->total = (int64_t)++ret->count;
    }
    return ERR_OK;
}

static void print_table(const struct cli *cli, const struct kind *k, const struct kinds_list *l)
{
    static const char *const heads[] = {"NAME", "SLUG", "ID", "AGE", NULL};
    static const char *const run_heads[] = {"NAME", "PHASE", "ID", "AGE", NULL};
    bool runs = k->message == &aexec__agent_execution__descriptor;
    OWN_BUF struct buf b = {0};
    struct out_table t = {0};

    out_table_row(&t, runs ? run_heads : heads);
    for (size_t i = 0; i < l->count; i++) {
        const struct kinds_any *r = l->items[i];
        const Aexec__AgentExecution *x = runs ? (const Aexec__AgentExecution *)r : NULL;
        char age[24];
        out_age(kinds_created_ms(r), clock_wall_ms(), age);
        out_table_row(
            &t, (const char *const[]){kinds_name(r),
                                      x ? kinds_phase_name(x->status ? (int)x->status->phase : 0)
                                        : kinds_slug(r),
                                      kinds_id(r), kinds_created_ms(r) ? age : "-", NULL});
    }
    out_table_done(&t, &b, cli->out_is_tty);
    (void)out_flush(STDOUT_FILENO, &b);
    if (l->total > (int64_t)l->count)
        cli_note(cli, "%lld more; --all shows them", (long long)(l->total - (int64_t)l->count));
}

/* Executions that were asked for by name say which workflow they are. */
static void add_workflow(struct conn *conn, const struct kinds_any *r, json_t *o)
{
    json_t *workflow = r->base.descriptor == &aexec__agent_execution__descriptor
                           ? workflow_of(conn, kinds_id(r))
                           : NULL;

    if (workflow)
        json_object_set_new(o, "workflow", workflow);
}

static enum err_code print_messages(const struct cli *cli, struct conn *conn,
                                    const struct kinds_list *l, bool list, struct err *err)
{
    json_t *items = json_array(), *doc;
    enum err_code code = ERR_OK;

    for (size_t i = 0; !code && i < l->count; i++) {
        json_t *o = NULL;
        code = pbjson_to(&l->items[i]->base, NULL, &o, err);
        if (!code && !list)
            add_workflow(conn, l->items[i], o);
        if (!code)
            json_array_append_new(items, o);
    }
    if (!code && cli->format == CLI_JSONL) {
        json_t *o;
        size_t i;
        json_array_foreach(items, i, o) out_document(cli, o);
    } else if (!code && !list && l->count == 1) {
        out_document(cli, json_array_get(items, 0));
    } else if (!code) {
        doc = json_object();
        json_object_set_new(doc, "schema", json_string("stigmer.cli/get/v1"));
        json_object_set(doc, "items", items);
        json_object_set_new(doc, "total", json_integer(l->total));
        out_document(cli, doc);
        json_decref(doc);
    }
    json_decref(items);
    return code;
}

static int show(struct cli *cli, bool whole)
{
    const struct kind *k;
    struct kinds_list list = {0};
    struct conn conn;
    struct err err = {0};
    enum err_code code = kinds_lookup(cli_word(cli, 0), &k, &err);

    if (!code)
        code = conn_open(cli, &conn, &err);
    if (code)
        return cli_fail(cli, &err);
    code = fetch(cli, &conn, k, &list, &err);
    if (!code && whole && cli->format == CLI_TEXT)
        cli->format = CLI_YAML;
    if (!code && cli->format == CLI_TEXT) {
        print_table(cli, k, &list);
    } else if (!code && cli->format == CLI_NAME) {
        for (size_t i = 0; i < list.count; i++)
            printf("%s/%s\n", k->word,
                   *kinds_slug(list.items[i]) ? kinds_slug(list.items[i])
                                              : kinds_id(list.items[i]));
        fflush(stdout);
    } else if (!code) {
        code = print_messages(cli, &conn, &list, cli->args.word_count == 1, &err);
    }
    kinds_list_done(&list);
    conn_close(&conn);
    return code ? cli_fail(cli, &err) : EXIT_OK;
}

int cmd_get_run(struct cli *cli)
{
    return show(cli, false);
}

int cmd_get_describe(struct cli *cli)
{
    return show(cli, true);
}

int cmd_get_delete(struct cli *cli)
{
    bool all = args_bool(&cli->args, "all", false);
    const struct kind *k;
    struct kinds_list list = {0};
    struct conn conn;
    struct err err = {0};
    char question[80];
    enum err_code code = kinds_lookup(cli_word(cli, 0), &k, &err);

    if (!code && all != (cli->args.word_count == 1))
        return cli_usage(cli, all ? "delete takes names or --all, not both"
                                  : "delete needs a name, an id or --all");
    if (!code)
        code = conn_open(cli, &conn, &err);
    if (code)
        return cli_fail(cli, &err);
    code = fetch(cli, &conn, k, &list, &err); /* all are found before the first one goes */
    (void)str_format(question, sizeof question, "Delete %zu %s?", list.count, k->words);
    if (!code && all && list.count)
        code = confirm(cli, "delete --all", question, &err);
    for (size_t i = 0; !code && i < list.count; i++) {
        code = kinds_delete(&conn, k, kinds_id(list.items[i]), &err);
        if (!code && !cli->quiet)
            printf("%s/%s deleted\n", k->word,
                   *kinds_slug(list.items[i]) ? kinds_slug(list.items[i])
                                              : kinds_id(list.items[i]));
    }
    fflush(stdout);
    kinds_list_done(&list);
    conn_close(&conn);
    return code ? cli_fail(cli, &err) : EXIT_OK;
}
