#include "svc/workflow-ends.h"

#include "platform/store.h"

static enum err_code change(sqlite3 *db, const char *sql, const char *id, const char *what,
                            struct err *err)
{
    sqlite3_stmt *st;
    enum err_code code = store_prepare(db, sql, &st, err);

    if (code)
        return code;
    sqlite3_bind_text(st, 1, id, -1, SQLITE_STATIC);
    return store_step_done(db, st, what, err);
}

enum err_code workflow_ends_tx_put(sqlite3 *db, const char *execution_id, struct err *err)
{
    return change(db, "INSERT OR IGNORE INTO workflow_end(execution_id) VALUES(?1)", execution_id,
                  "noting a workflow that is to end", err);
}

enum err_code workflow_ends_tx_drop(sqlite3 *db, const char *execution_id, struct err *err)
{
    return change(db, "DELETE FROM workflow_end WHERE execution_id = ?1", execution_id,
                  "noting that a workflow was asked to end", err);
}

enum err_code workflow_ends_read(sqlite3 *db, size_t limit, workflow_ends_fn *fn, void *arg,
                                 struct err *err)
{
    sqlite3_stmt *st;
    int rc;
    enum err_code code = store_prepare(
        db, "SELECT execution_id FROM workflow_end ORDER BY execution_id LIMIT ?1", &st, err);

    if (code)
        return code;
    sqlite3_bind_int64(st, 1, (sqlite3_int64)limit);
    while ((rc = sqlite3_step(st)) == SQLITE_ROW)
        fn((const char *)sqlite3_column_text(st, 0), arg);
    sqlite3_reset(st);
    return rc == SQLITE_DONE ? ERR_OK : store_error(db, "reading what was deleted", err);
}
