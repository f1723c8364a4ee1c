/* apply: files become resources. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/str.h"
#include "prog/stigmer/cli.h"
#include "prog/stigmer/cmds.h"
#include "prog/stigmer/conn.h"
#include "prog/stigmer/manifest.h"
#include "prog/stigmer/out.h"
#include "wire/pbjson.h"

struct done {
    const char *status;       /* created, updated, unchanged */
    struct kinds_any *stored; /* owned; NULL in a dry run of something new */
};

/* Does stored hold everything that wanted says? Only what a person writes is compared; what the
 * server adds (id, slug, status, times) is its own. */
static bool is_same_spec(const struct kinds_any *wanted, const struct kinds_any *stored)
{
    json_t *a = NULL, *b = NULL;
    bool same = false;

    if (!wanted->spec || !stored->spec)
        return !wanted->spec == !stored->spec;
    if (!pbjson_to(wanted->spec, NULL, &a, NULL) && !pbjson_to(stored->spec, NULL, &b, NULL))
        same = json_equal(a, b);
    json_decref(a);
    json_decref(b);
    return same;
}

static bool is_same_metadata(const struct kinds_any *wanted, const struct kinds_any *stored)
{
    static const char *const keys[] = {"name", "slug",   "org",         "ownerScope",
                                       "tags", "labels", "annotations", NULL};
    json_t *a = NULL, *b = NULL;
    bool same = wanted->metadata && stored->metadata &&
                !pbjson_to(&wanted->metadata->base, NULL, &a, NULL) &&
                !pbjson_to(&stored->metadata->base, NULL, &b, NULL);

    for (size_t i = 0; same && keys[i]; i++) {
        json_t *v = json_object_get(a, keys[i]), *w = json_object_get(b, keys[i]);
        if (!v && (str_eq(keys[i], "slug") || str_eq(keys[i], "name")))
            continue; /* not said: the server chose */
        same = v && w ? json_equal(v, w) : v == w;
    }
    json_decref(a);
    json_decref(b);
    return same;
}

static enum err_code apply_one(struct conn *conn, const struct manifest_item *item, bool dry,
                               struct done *ret, struct err *err)
{
    const struct kinds_any *r = item->resource;
    const char *ref = *kinds_slug(r) ? kinds_slug(r) : kinds_name(r);
    struct kinds_any *stored = NULL, *answer = NULL;
    enum err_code code = kinds_find(conn, item->kind, ref, &stored, err);

    if (code && code != ERR_NOT_FOUND)
        return code;
    if (!code && is_same_spec(r, stored) && is_same_metadata(r, stored)) {
        *ret = (struct done){"unchanged", stored};
        return ERR_OK;
    }
    ret->status = code == ERR_NOT_FOUND ? "created" : "updated";
    if (dry) {
        ret->stored = stored;
        return ERR_OK;
    }
    kinds_free(stored);
    code = kinds_command(conn, item->kind, "apply", &r->base, &answer, err);
    if (code)
        return err_wrap(err, code, "%s '%.100s'", item->kind->word, ref);
    ret->stored = answer;
    return ERR_OK;
}

static json_t *done_json(const struct manifest_item *item, const struct done *d)
{
    json_t *o = json_object();

    json_object_set_new(o, "type", json_string(item->kind->type));
    json_object_set_new(o, "name", json_string(kinds_name(item->resource)));
    json_object_set_new(o, "status", json_string(d->status));
    json_object_set_new(o, "id", d->stored ? json_string(kinds_id(d->stored)) : json_null());
    return o;
}

static void print_text(const struct cli *cli, const struct manifest *m, const struct done *done,
                       size_t count)
{
    static const char *const heads[] = {"TYPE", "NAME", "STATUS", "ID", NULL};
    OWN_BUF struct buf b = {0};
    struct out_table t = {0};

    out_table_row(&t, heads);
    for (size_t i = 0; i < count; i++)
        out_table_row(&t,
                      (const char *const[]){m->items[i].kind->type,
                                            kinds_name(m->items[i].resource), done[i].status,
                                            done[i].stored ? kinds_id(done[i].stored) : "-", NULL});
    out_table_done(&t, &b, cli->out_is_tty);
    (void)out_flush(STDOUT_FILENO, &b);
}

static void print_done(const struct cli *cli, const struct manifest *m, const struct done *done,
                       size_t count, bool dry)
{
    OWN_BUF struct buf b = {0};
    json_t *doc, *items;

    if (cli->format == CLI_TEXT) {
        print_text(cli, m, done, count);
        return;
    }
    if (cli->format == CLI_NAME) {
        for (size_t i = 0; i < count; i++)
            buf_printf(&b, "%s/%s\n", m->items[i].kind->word,
                       done[i].stored ? kinds_slug(done[i].stored)
                                      : kinds_name(m->items[i].resource));
        (void)out_flush(STDOUT_FILENO, &b);
        return;
    }
    doc = json_object();
    items = json_array();
    for (size_t i = 0; i < count; i++) {
        json_t *o = done_json(&m->items[i], &done[i]);
        if (cli->format == CLI_JSONL)
            out_document(cli, o);
        json_array_append_new(items, o);
    }
    json_object_set_new(doc, "schema", json_string("stigmer.cli/apply/v1"));
    json_object_set_new(doc, "dryRun", json_boolean(dry));
    json_object_set_new(doc, "items", items);
    if (cli->format != CLI_JSONL)
        out_document(cli, doc);
    json_decref(doc);
}

static enum err_code read_all(const struct cli *cli, struct manifest *m, struct err *err)
{
    const char *path;
    enum err_code code = ERR_OK;

    for (size_t i = 0; !code && (path = args_nth(&cli->args, "file", i)); i++)
        code = manifest_add(m, path, err);
    return code ? code : manifest_check(m, err);
}

static enum err_code apply_all(const struct cli *cli, struct manifest *m, struct done *done,
                               size_t *ret_count, struct err *err)
{
    bool dry = args_bool(&cli->args, "dry-run", false);
    struct conn conn;
    enum err_code code = conn_open(cli, &conn, err);

    if (code)
        return code;
    for (*ret_count = 0; !code && *ret_count < m->count; *ret_count += !code)
        code = apply_one(&conn, &m->items[*ret_count], dry, &done[*ret_count], err);
    conn_close(&conn);
    return code;
}

int cmd_apply_run(struct cli *cli)
{
    struct manifest m;
    struct done *done = NULL;
    struct err err = {0};
    size_t count = 0;
    enum err_code code;

    if (!args_has(&cli->args, "file"))
        return cli_usage(cli, "apply needs -f FILE|DIR|-");
    manifest_init(&m);
    code = read_all(cli, &m, &err);
    if (!code) {
        done = calloc(m.count, sizeof *done);
        code = done ? apply_all(cli, &m, done, &count, &err)
                    : err_set(&err, ERR_LIMIT, "too many resources");
    }
    if (count || !code) /* what was applied before the one that failed is told too */
        print_done(cli, &m, done, count, args_bool(&cli->args, "dry-run", false));
    for (size_t i = 0; i < count; i++)
        kinds_free(done[i].stored);
    free(done);
    manifest_done(&m);
    if (code) {
        err_wrap(&err, code, "apply failed");
        return cli_fail(cli, &err);
    }
    return EXIT_OK;
}
