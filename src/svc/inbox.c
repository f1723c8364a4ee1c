#include "svc/inbox.h"

#include <string.h>

#include "base/str.h"
#include "platform/store.h"

#define UNREAD_MAX 100

enum err_code inbox_check(const struct inbox_input *in, struct err *err)
{
    if (str_is_empty(in->id) || strlen(in->id) > INBOX_ID_MAX)
        return err_set(err, ERR_INVALID, "what is said needs an id of 1 to %d bytes", INBOX_ID_MAX);
    if (in->text[strspn(in->text, " \t\r\n")] == '\0') /* some providers refuse such a turn */
        return err_set(err, ERR_INVALID, "the message is empty");
    if (strlen(in->text) > INBOX_TEXT_MAX)
        return err_set(err, ERR_INVALID, "the message has %zu bytes; the limit is %zu",
                       strlen(in->text), INBOX_TEXT_MAX);
    if (str_utf8_check(in->text, strlen(in->text)) != strlen(in->text))
        return err_set(err, ERR_INVALID, "the message is not UTF-8 text");
    return ERR_OK;
}

enum err_code inbox_tx_put(sqlite3 *db, const char *execution_id, const struct inbox_input *in,
                           struct err *err)
{
    sqlite3_stmt *st;
    size_t count;
    enum err_code code = store_prepare(db,
                                       "INSERT OR IGNORE INTO inbox(execution_id, id, sender, text)"
                                       " VALUES(?1, ?2, ?3, ?4)",
                                       &st, err);

    if (code)
        return code;
    sqlite3_bind_text(st, 1, execution_id, -1, SQLITE_STATIC);
    sqlite3_bind_text(st, 2, in->id, -1, SQLITE_STATIC);
    sqlite3_bind_text(st, 3, in->by, -1, SQLITE_STATIC);
    sqlite3_bind_text(st, 4, in->text, -1, SQLITE_STATIC);
    if ((code = store_step_done(db, st, "writing what was said", err)) ||
        sqlite3_changes(db) == 0 ||
        (code = inbox_unread(db, execution_id, NULL, NULL, &count, err)))
        return code;
    return count <= UNREAD_MAX
               ? ERR_OK
               : err_set(err, ERR_LIMIT,
                         "execution '%.80s' has %d messages that it has not read yet", execution_id,
                         UNREAD_MAX);
}

enum err_code inbox_tx_read(sqlite3 *db, const char *execution_id, const char *id, uint64_t seq,
                            struct err *err)
{
    sqlite3_stmt *st;
    enum err_code code = store_prepare(
        db, "UPDATE inbox SET seq = ?3, text = '' WHERE execution_id = ?1 AND id = ?2", &st, err);

    if (code)
        return code;
    sqlite3_bind_text(st, 1, execution_id, -1, SQLITE_STATIC);
    sqlite3_bind_text(st, 2, id, -1, SQLITE_STATIC);
    sqlite3_bind_int64(st, 3, (int64_t)seq);
    return store_step_done(db, st, "noting what was read", err);
}

enum err_code inbox_tx_delete(sqlite3 *db, const char *execution_id, struct err *err)
{
    sqlite3_stmt *st;
    enum err_code code = store_prepare(db, "DELETE FROM inbox WHERE execution_id = ?1", &st, err);

    if (code)
        return code;
    sqlite3_bind_text(st, 1, execution_id, -1, SQLITE_STATIC);
    return store_step_done(db, st, "deleting what was said", err);
}

enum err_code inbox_unread(sqlite3 *db, const char *execution_id, inbox_fn *fn, void *arg,
                           size_t *ret_count, struct err *err)
{
    sqlite3_stmt *st;
    int rc;
    enum err_code code = store_prepare(
        db, "SELECT id, sender, text FROM inbox WHERE execution_id = ?1 AND seq = 0 ORDER BY rowid",
        &st, err);

    *ret_count = 0;
    if (code)
        return code;
    sqlite3_bind_text(st, 1, execution_id, -1, SQLITE_STATIC);
    while ((rc = sqlite3_step(st)) == SQLITE_ROW) {
        const struct inbox_input in = {.id = (const char *)sqlite3_column_text(st, 0),
                                       .by = (const char *)sqlite3_column_text(st, 1),
                                       .text = (const char *)sqlite3_column_text(st, 2)};

        ++*ret_count;
        if (fn)
            fn(&in, arg);
    }
    sqlite3_reset(st);
    return rc == SQLITE_DONE ? ERR_OK : store_error(db, "reading what was said", err);
}

bool inbox_is_read(sqlite3 *db, const char *execution_id, const char *id)
{
    sqlite3_stmt *st;
    bool is;

    if (store_prepare(db, "SELECT 1 FROM inbox WHERE execution_id = ?1 AND id = ?2 AND seq > 0",
                      &st, NULL))
        return false;
    sqlite3_bind_text(st, 1, execution_id, -1, SQLITE_STATIC);
    sqlite3_bind_text(st, 2, id, -1, SQLITE_STATIC);
    is = sqlite3_step(st) == SQLITE_ROW;
    sqlite3_reset(st);
    return is;
}

bool inbox_any(sqlite3 *db, const char *execution_id)
{
    sqlite3_stmt *st;
    bool any;

    if (store_prepare(db, "SELECT 1 FROM inbox WHERE execution_id = ?1 LIMIT 1", &st, NULL))
        return false;
    sqlite3_bind_text(st, 1, execution_id, -1, SQLITE_STATIC);
    any = sqlite3_step(st) == SQLITE_ROW;
    sqlite3_reset(st);
    return any;
}
