#include "prog/stigmer-server/prune.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/own.h"
#include "base/str.h"
#include "platform/tree.h"
#include "prog/stigmer-server/engine-ask.h"
#include "prog/stigmer-server/home-lock.h"
#include "prog/stigmer-server/prune-impl.h"
#include "svc/keys.h"

#define TRASH_NAME 320

static const char *text_of(const json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));

    return s ? s : "";
}

json_t *prune_add(struct prune *p, const struct prune_item *item)
{
    json_t *o = json_pack("{s:s,s:s,s:s,s:s}", "kind", item->kind, "what", item->what, "path",
                          item->path, "why", item->why);
    char since[CLOCK_TEXT];

    if (!o) /* a name that is no UTF-8 cannot be told, and so is not touched */
        return NULL;
    json_object_set_new(o, "bytes", item->bytes < 0 ? json_null() : json_integer(item->bytes));
    if (item->since_ms) {
        clock_format(item->since_ms, since);
        json_object_set_new(o, "since", json_string(since));
        json_object_set_new(o, "ageMs", json_integer(p->now_ms - item->since_ms));
    }
    json_array_append_new(p->items, o);
    return o;
}

void prune_warn(struct prune *p, const char *fmt, ...)
{
    char text[1200];
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    json_array_append_new(p->warnings, json_string(text));
}

/* ---- removing ------------------------------------------------------------------------------ */

/* Out of the way first; a run that began in between gets it back. */
static enum err_code remove_workspace(struct prune *p, const char *name, struct err *err)
{
    char trash[TRASH_NAME];
    struct prune_session s;
    enum err_code code = prune_session_ask(p, name, &s, err);

    if (code)
        return code;
    if (s.is_running)
        return err_set(err, ERR_STATE, "a run of its session has begun");
    if (!str_format(trash, sizeof trash, PRUNE_TRASH "%s", name))
        return err_set(err, ERR_INVALID, "the name is too long");
    if (renameat(p->workspace, name, p->workspace, trash) < 0)
        return err_sys(err, errno, "remove 'data/workspace/%s'", name);
    if (!prune_session_ask(p, name, &s, NULL) && s.is_running) {
        if (renameat(p->workspace, trash, p->workspace, name) < 0)
            return err_sys(err, errno, "put 'data/workspace/%s' back for the run that has begun",
                           name);
        return err_set(err, ERR_STATE, "a run of its session has begun");
    }
    return tree_remove(p->workspace, trash, err);
}

static enum err_code remove_file(const char *path, struct err *err)
{
    if (unlink(path) == 0 || errno == ENOENT)
        return ERR_OK;
    return err_sys(err, errno, "remove '%.600s'", path);
}

static enum err_code remove_one(struct prune *p, const json_t *item, bool containers_left,
                                struct err *err)
{
    const char *kind = text_of(item, "kind"), *path = text_of(item, "path");
    enum err_code code;
    json_t *c;

    if (str_eq(kind, "container")) {
        c = json_pack("{s:s,s:s,s:s}", "Id", path, "Engine", text_of(item, "engine"), "Socket",
                      text_of(item, "socket"));
        code = engine_ask_remove(c, err);
        json_decref(c);
        return code;
    }
    if (str_eq(kind, "id") && containers_left)
        return err_set(err, ERR_STATE, "it may be needed: a container is still there");
    if (str_eq(kind, "keys")) {
        keys_remove(path);
        return access(path, F_OK) == 0 ? err_set(err, ERR_IO, "'%.300s' is still there", path)
                                       : ERR_OK;
    }
    if (str_eq(kind, "workspace"))
        return remove_workspace(p, path, err);
    if (*path != '/') /* an entry of the workspaces' folder: a link, or what was half removed */
        return tree_remove(p->workspace, path, err);
    return remove_file(path, err);
}

static bool is_same(const json_t *a, const json_t *b)
{
    return str_eq(text_of(a, "kind"), text_of(b, "kind")) &&
           str_eq(text_of(a, "path"), text_of(b, "path"));
}

/* Of what is stale now only what was agreed on, and tells how it went with each. */
static bool apply(struct prune *p, const json_t *agreed)
{
    json_t *kept = json_array(), *item, *a;
    bool containers_left = json_array_size(p->warnings) > 0, all = true;
    size_t i, k;

    json_array_foreach(p->items, i, item)
    {
        bool wanted = false;
        struct err err;

        json_array_foreach(agreed, k, a) wanted |= is_same(item, a);
        if (!wanted)
            continue;
        if (remove_one(p, item, containers_left, &err)) {
            containers_left |= str_eq(text_of(item, "kind"), "container");
            json_object_set_new(item, "error", json_string(err.msg));
            all = false;
        }
        json_object_set_new(item, "removed", json_boolean(!json_object_get(item, "error")));
        json_array_append(kept, item);
    }
    json_decref(p->items);
    p->items = kept;
    return all;
}

/* ---- the command --------------------------------------------------------------------------- */

static void print(struct prune *p, bool is_dry)
{
    json_t *doc, *item;
    json_int_t bytes = 0;
    size_t i;

    json_array_foreach(p->items, i,
                       item) if (is_dry || json_is_true(json_object_get(item, "removed"))) bytes +=
        json_integer_value(json_object_get(item, "bytes"));
    doc = json_pack("{s:s,s:b,s:b,s:O,s:I,s:O}", "schema", "stigmer.cli/prune/v1", "dryRun",
                    (int)is_dry, "serverRuns", (int)p->is_live, "items", p->items, "bytes", bytes,
                    "warnings", p->warnings);
    (void)json_dumpf(doc, stdout, JSON_COMPACT);
    (void)putchar('\n');
    json_decref(doc);
}

static enum err_code read_agreed(int fd, json_t **ret, struct err *err)
{
    json_error_t at;

    *ret = NULL;
    if (fd < 0)
        return ERR_OK;
    (void)lseek(fd, 0, SEEK_SET);
    *ret = json_loadfd(fd, 0, &at);
    if (!*ret)
        return err_set(err, ERR_INVALID, "what shall go cannot be read: %s", at.text);
    return ERR_OK;
}

int prune_main(const struct paths *paths, const char *before, const char *fd)
{
    OWN_FD int lock = -1, workspace = -1;
    struct prune p = {.paths = paths, .now_ms = clock_wall_ms()};
    json_t *agreed = NULL;
    int64_t number;
    struct err err;
    bool all = true;
    enum err_code code;

    if ((code = str_to_int(before, 0, INT64_MAX, &p.before_ms, &err)) ||
        (code = str_to_int(fd, -1, 1024, &number, &err)) ||
        (code = read_agreed((int)number, &agreed, &err))) {
        fprintf(stderr, "stigmer-server: error: %s\n", err.msg);
        return (int)err_code_exit(code);
    }
    p.is_live = !home_lock_take(paths, &lock) || home_lock_pids_live(paths);
    p.workspace = workspace = open(paths->workspace, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    p.items = json_array();
    p.warnings = json_array();
    prune_session_open(&p);
    prune_find_all(&p);
    if (agreed)
        all = apply(&p, json_object_get(agreed, "items"));
    print(&p, !agreed);
    (void)sqlite3_close(p.db);
    json_decref(p.items);
    json_decref(p.warnings);
    json_decref(agreed);
    return all ? EXIT_OK : EXIT_FAILED;
}
