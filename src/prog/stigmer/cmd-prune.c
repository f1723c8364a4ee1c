/* prune: what crashes and old sessions left, shown, asked about, removed. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/own.h"
#include "base/str.h"
#include "prog/stigmer/cli.h"
#include "prog/stigmer/cmds.h"
#include "prog/stigmer/confirm.h"
#include "prog/stigmer/daemon.h"
#include "prog/stigmer/out.h"
#include "prog/stigmer/prune.h"
#include "prog/stigmer/stop.h"

static const char *text_of(const json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));

    return s ? s : "";
}

static void print_table(const struct cli *cli, const json_t *items, int64_t now)
{
    static const char *const heads[] = {"KIND", "WHAT", "SIZE", "AGE", "WHY", NULL};
    OWN_BUF struct buf b = {0};
    struct out_table t = {0};
    const json_t *bytes;
    json_t *item;
    size_t i;

    out_table_row(&t, heads);
    json_array_foreach(items, i, item)
    {
        char size[32] = "-", age[24] = "-";
        int64_t since;

        bytes = json_object_get(item, "bytes");
        if (json_is_integer(bytes))
            out_size(json_integer_value(bytes), size);
        if (clock_parse(text_of(item, "since"), &since, NULL) == ERR_OK)
            out_age(since, now, age);
        out_table_row(&t, (const char *const[]){text_of(item, "kind"), text_of(item, "what"), size,
                                                age, text_of(item, "why"), NULL});
    }
    out_table_done(&t, &b, cli->out_is_tty);
    (void)out_flush(STDOUT_FILENO, &b);
}

/* Once: those of the preview and those of the removal are the same. */
static void tell_warnings(const struct cli *cli, const json_t *doc)
{
    json_t *w;
    size_t i;

    json_array_foreach(json_object_get(doc, "warnings"), i, w)
        cli_warn(cli, "%s", json_string_value(w));
}

static int tell_removed(const struct cli *cli, const json_t *doc)
{
    size_t gone = 0, i;
    char size[32];
    json_t *item;
    bool all = true;

    json_array_foreach(json_object_get(doc, "items"), i, item)
    {
        gone += json_is_true(json_object_get(item, "removed"));
        if (!json_object_get(item, "error"))
            continue;
        all = false;
        cli_warn(cli, "%s %s stays: %s", text_of(item, "kind"), text_of(item, "what"),
                 text_of(item, "error"));
    }
    out_size(json_integer_value(json_object_get(doc, "bytes")), size);
    cli_note(cli, "%zu removed, %s freed", gone, size);
    return all ? EXIT_OK : EXIT_FAILED;
}

static int finish(const struct cli *cli, const json_t *doc)
{
    if (cli->format != CLI_TEXT)
        out_document(cli, doc);
    tell_warnings(cli, doc);
    return EXIT_OK;
}

static enum err_code agree(const struct cli *cli, const json_t *plan, struct err *err)
{
    size_t count = json_array_size(json_object_get(plan, "items"));
    char question[96], size[32];

    out_size(json_integer_value(json_object_get(plan, "bytes")), size);
    (void)str_format(question, sizeof question, "Remove %zu thing%s, %s?", count,
                     count == 1 ? "" : "s", size);
    return confirm(cli, "prune", question, err);
}

static int prune_locked(struct cli *cli, int64_t before_ms)
{
    bool dry = args_bool(&cli->args, "dry-run", false);
    json_t *plan = NULL, *done = NULL;
    struct err err = {0};
    enum err_code code = prune_ask(cli, before_ms, NULL, &plan, &err);
    int exit_code;

    if (code)
        return cli_fail(cli, &err);
    if (cli->format == CLI_TEXT && json_array_size(json_object_get(plan, "items")))
        print_table(cli, json_object_get(plan, "items"), clock_wall_ms());
    if (!json_array_size(json_object_get(plan, "items"))) {
        exit_code = finish(cli, plan);
        cli_note(cli, "nothing is stale%s",
                 before_ms ? "" : "; workspaces are looked at with --older-than");
    } else if (dry) {
        exit_code = finish(cli, plan);
    } else if ((code = agree(cli, plan, &err)) ||
               (code = prune_ask(cli, before_ms, plan, &done, &err))) {
        exit_code = cli_fail(cli, &err);
    } else {
        (void)finish(cli, done);
        exit_code = tell_removed(cli, done);
    }
    json_decref(plan);
    json_decref(done);
    return exit_code;
}

int cmd_prune_run(struct cli *cli)
{
    OWN_FD int lock = -1;
    struct err err = {0};
    int64_t age_ms, before_ms = 0;
    enum err_code code = args_duration(&cli->args, "older-than", 0, &age_ms, &err);

    if (!code && args_has(&cli->args, "older-than"))
        before_ms = clock_wall_ms() - age_ms;
    if (!code && before_ms < 0)
        code = err_set(&err, ERR_INVALID, "--older-than: nothing can be that old");
    /* No start or stop meanwhile: what it makes or removes would look stale. */
    if (!code && access(cli->paths.data, F_OK) == 0)
        code = daemon_lock(&cli->paths, STOP_LOCK_MS, &lock, &err);
    return code ? cli_fail(cli, &err) : prune_locked(cli, before_ms);
}
