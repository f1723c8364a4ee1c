#include "svc/records.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "platform/store.h"

static void bind(sqlite3_stmt *st, int i, const char *text)
{
    sqlite3_bind_text(st, i, text ? text : "", -1, SQLITE_STATIC);
}

static enum err_code not_found(const struct resource_kind *k, const char *ref, struct err *err)
{
    return err_set(err, ERR_NOT_FOUND, "there is no %s '%.100s'", k->word, ref);
}

static enum err_code unpack(sqlite3_stmt *st, int column, const struct resource_kind *k,
                            struct resource **ret, struct err *err)
{
    ProtobufCMessage *m =
        protobuf_c_message_unpack(k->message, NULL, (size_t)sqlite3_column_bytes(st, column),
                                  sqlite3_column_blob(st, column));

    if (!m)
        return err_set(err, ERR_CORRUPT, "a stored %s cannot be read", k->word);
    *ret = resource_of(m);
    return ERR_OK;
}

enum err_code records_get(sqlite3 *db, const struct resource_kind *k, const char *id,
                          struct resource **ret, struct err *err)
{
    sqlite3_stmt *st;
    enum err_code code =
        store_prepare(db, "SELECT data FROM resource WHERE id = ?1 AND kind = ?2", &st, err);
    int rc;

    if (code)
        return code;
    bind(st, 1, id);
    sqlite3_bind_int(st, 2, (int)k->number);
    rc = sqlite3_step(st);
    code = rc == SQLITE_ROW    ? unpack(st, 0, k, ret, err)
           : rc == SQLITE_DONE ? not_found(k, id, err)
                               : store_error(db, "reading a resource", err);
    sqlite3_reset(st);
    return code;
}

/* The first column of at most one row; ERR_NOT_FOUND when there is none. */
static enum err_code one_text(sqlite3 *db, sqlite3_stmt *st, const struct resource_kind *k,
                              const char *ref, char ret[RESOURCE_ID], struct err *err)
{
    int rc = sqlite3_step(st);
    enum err_code code = ERR_OK;

    if (rc == SQLITE_ROW)
        (void)str_format(ret, RESOURCE_ID, "%s", (const char *)sqlite3_column_text(st, 0));
    else
        code = rc == SQLITE_DONE ? not_found(k, ref, err)
                                 : store_error(db, "looking for a resource", err);
    sqlite3_reset(st);
    return code;
}

enum err_code records_by_slug(sqlite3 *db, const struct resource_kind *k, const char *org,
                              const char *slug, char ret[RESOURCE_ID], struct err *err)
{
    sqlite3_stmt *st;
    enum err_code code = store_prepare(db,
                                       "SELECT id FROM resource WHERE kind = ?1 AND slug = ?2"
                                       " AND (?3 = '' OR org = ?3) ORDER BY seq LIMIT 1",
                                       &st, err);

    if (code)
        return code;
    sqlite3_bind_int(st, 1, (int)k->number);
    bind(st, 2, slug);
    bind(st, 3, org);
    return one_text(db, st, k, slug, ret, err);
}

enum err_code records_find(sqlite3 *db, const struct resource_kind *k, const char *ref,
                           char ret[RESOURCE_ID], struct err *err)
{
    char candidates[512] = "";
    sqlite3_stmt *st;
    unsigned n = 0;
    enum err_code code = store_prepare(
        db,
        "SELECT id FROM resource WHERE kind = ?1 AND (id = ?2 OR slug = ?2 OR name = ?2)"
        " ORDER BY id = ?2 DESC, seq LIMIT 6",
        &st, err);

    if (code)
        return code;
    sqlite3_bind_int(st, 1, (int)k->number);
    bind(st, 2, ref);
    while (sqlite3_step(st) == SQLITE_ROW) {
        const char *id = (const char *)sqlite3_column_text(st, 0);
        size_t len = strlen(candidates);
        if (n == 0)
            (void)str_format(ret, RESOURCE_ID, "%s", id);
        (void)str_format(candidates + len, sizeof candidates - len, "%s%s", n ? ", " : "", id);
        n++;
    }
    sqlite3_reset(st);
    if (n == 0)
        return not_found(k, ref, err);
    if (n > 1 && !str_eq(ret, ref))
        return err_hint(err,
                        err_set(err, ERR_CONFLICT, "'%.100s' is more than one %s: %s", ref, k->word,
                                candidates),
                        "use an id");
    return ERR_OK;
}

/* ---- writing
 * ------------------------------------------------------------------------------------- */

static enum err_code run(sqlite3 *db, sqlite3_stmt *st, struct err *err)
{
    int rc = sqlite3_step(st);
    enum err_code code = rc == SQLITE_DONE ? ERR_OK : store_error(db, "writing a resource", err);

    sqlite3_reset(st);
    return code;
}

static uint8_t *packed(const struct resource *m, size_t *ret_len)
{
    uint8_t *bytes;

    *ret_len = protobuf_c_message_get_packed_size(&m->base);
    bytes = mem_array(*ret_len, 1);
    protobuf_c_message_pack(&m->base, bytes);
    return bytes;
}

static enum err_code refuse_taken(sqlite3 *db, const struct resource_kind *k,
                                  const struct resource *m, struct err *err)
{
    char id[RESOURCE_ID];
    sqlite3_stmt *st;
    enum err_code code = store_prepare(db, "SELECT id FROM resource WHERE id = ?1", &st, err);

    if (code)
        return code;
    bind(st, 1, m->metadata->id);
    if (one_text(db, st, k, "", id, NULL) == ERR_OK)
        return err_set(err, ERR_EXISTS, "the id '%s' is taken", id);
    if (k->number == RESOURCE_EXECUTION)
        return ERR_OK; /* their names need not differ */
    if ((code = store_prepare(
             db, "SELECT id FROM resource WHERE kind = ?1 AND org = ?2 AND slug = ?3", &st, err)))
        return code;
    sqlite3_bind_int(st, 1, (int)k->number);
    bind(st, 2, m->metadata->org);
    bind(st, 3, m->metadata->slug);
    if (one_text(db, st, k, "", id, NULL) == ERR_OK)
        return err_set(err, ERR_EXISTS, "the slug '%.100s' is taken by %s '%s'", m->metadata->slug,
                       k->word, id);
    return ERR_OK;
}

enum err_code records_insert(sqlite3 *db, const struct resource_kind *k, const struct resource *m,
                             const char *parent, const char *agent, int64_t at_ms, struct err *err)
{
    static const char sql[] = "INSERT INTO resource(id, kind, org, slug, name, parent, agent, "
                              "created_ms, updated_ms, data)"
                              " VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?8, ?9)";
    sqlite3_stmt *st;
    uint8_t *bytes;
    size_t len;
    enum err_code code;

    if ((code = refuse_taken(db, k, m, err)) || (code = store_prepare(db, sql, &st, err)))
        return code;
    bytes = packed(m, &len);
    bind(st, 1, m->metadata->id);
    sqlite3_bind_int(st, 2, (int)k->number);
    bind(st, 3, m->metadata->org);
    bind(st, 4, m->metadata->slug);
    bind(st, 5, m->metadata->name);
    bind(st, 6, parent);
    bind(st, 7, agent);
    sqlite3_bind_int64(st, 8, at_ms);
    sqlite3_bind_blob64(st, 9, bytes, len, SQLITE_STATIC);
    code = run(db, st, err);
    free(bytes);
    return code;
}

enum err_code records_update(sqlite3 *db, const struct resource_kind *k, const struct resource *m,
                             int64_t at_ms, struct err *err)
{
    sqlite3_stmt *st;
    uint8_t *bytes;
    size_t len;
    enum err_code code = store_prepare(
        db, "UPDATE resource SET name = ?3, updated_ms = ?4, data = ?5 WHERE id = ?1 AND kind = ?2",
        &st, err);

    if (code)
        return code;
    bytes = packed(m, &len);
    bind(st, 1, m->metadata->id);
    sqlite3_bind_int(st, 2, (int)k->number);
    bind(st, 3, m->metadata->name);
    sqlite3_bind_int64(st, 4, at_ms);
    sqlite3_bind_blob64(st, 5, bytes, len, SQLITE_STATIC);
    code = run(db, st, err);
    free(bytes);
    return code;
}

enum err_code records_delete(sqlite3 *db, const struct resource_kind *k, const char *id,
                             struct err *err)
{
    sqlite3_stmt *st;
    enum err_code code =
        store_prepare(db, "DELETE FROM resource WHERE id = ?1 AND kind = ?2", &st, err);

    if (code)
        return code;
    bind(st, 1, id);
    sqlite3_bind_int(st, 2, (int)k->number);
    return run(db, st, err);
}

enum err_code records_agent_of(sqlite3 *db, const struct resource_kind *k, const char *id,
                               char ret[RESOURCE_ID], struct err *err)
{
    sqlite3_stmt *st;
    enum err_code code =
        store_prepare(db, "SELECT agent FROM resource WHERE id = ?1 AND kind = ?2", &st, err);

    if (code)
        return code;
    bind(st, 1, id);
    sqlite3_bind_int(st, 2, (int)k->number);
    return one_text(db, st, k, id, ret, err);
}

/* ---- lists ------------------------------------------------------------------------------- */

/* NULL binds as "any"; the phase of an execution lies in its own row. */
#define LIST_WHERE                                                                                 \
    " FROM resource r WHERE r.kind = ?1 AND (?2 = '' OR r.org = ?2) AND (?3 = '' OR r.parent = "   \
    "?3)"                                                                                          \
    " AND (?4 = '' OR r.agent = ?4) AND (?5 = 0 OR EXISTS"                                         \
    " (SELECT 1 FROM execution x WHERE x.id = r.id AND x.phase = ?5))"

static void bind_query(sqlite3_stmt *st, const struct records_query *q)
{
    sqlite3_bind_int(st, 1, (int)q->kind->number);
    bind(st, 2, q->org);
    bind(st, 3, q->parent);
    bind(st, 4, q->agent);
    sqlite3_bind_int(st, 5, q->phase);
}

static bool has_tag(const struct resource *m, const char *tag)
{
    for (size_t i = 0; m->metadata && i < m->metadata->n_tags; i++)
        if (str_eq(m->metadata->tags[i], tag))
            return true;
    return false;
}

static bool has_tags(const struct resource *m, const struct records_query *q)
{
    for (size_t i = 0; i < q->tag_count; i++)
        if (!has_tag(m, q->tags[i]))
            return false;
    return true;
}

static enum err_code count_rows(sqlite3 *db, const struct records_query *q, int64_t *ret,
                                struct err *err)
{
    sqlite3_stmt *st;
    enum err_code code = store_prepare(db, "SELECT count(*)" LIST_WHERE, &st, err);

    if (code)
        return code;
    bind_query(st, q);
    if (sqlite3_step(st) == SQLITE_ROW)
        *ret = sqlite3_column_int64(st, 0);
    else
        code = store_error(db, "counting resources", err);
    sqlite3_reset(st);
    return code;
}

/* Tags lie inside the messages, so with tags every row is looked at and paged here. */
enum err_code records_list(sqlite3 *db, const struct records_query *q, records_fn *fn, void *arg,
                           int64_t *ret_total, struct err *err)
{
    bool here = q->tag_count > 0;
    int64_t matched = 0;
    sqlite3_stmt *st;
    int rc = SQLITE_DONE;
    enum err_code code = here ? ERR_OK : count_rows(db, q, ret_total, err);

    if (code || (code = store_prepare(db,
                                      q->newest_first ? "SELECT r.data" LIST_WHERE
                                                        " ORDER BY r.seq DESC LIMIT ?6 OFFSET ?7"
                                                      : "SELECT r.data" LIST_WHERE
                                                        " ORDER BY r.seq LIMIT ?6 OFFSET ?7",
                                      &st, err)))
        return code;
    bind_query(st, q);
    sqlite3_bind_int64(st, 6, here ? -1 : q->limit);
    sqlite3_bind_int64(st, 7, here ? 0 : q->offset);
    while (!code && (rc = sqlite3_step(st)) == SQLITE_ROW) {
        struct resource *m = NULL;
        if ((code = unpack(st, 0, q->kind, &m, err)))
            break;
        if (!here || (has_tags(m, q) && matched++ >= q->offset && matched <= q->offset + q->limit))
            fn(m, arg);
        protobuf_c_message_free_unpacked(&m->base, NULL);
    }
    if (!code && rc != SQLITE_DONE)
        code = store_error(db, "listing resources", err);
    sqlite3_reset(st);
    if (here)
        *ret_total = matched;
    return code;
}
