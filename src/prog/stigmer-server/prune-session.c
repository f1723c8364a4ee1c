/* What the store says of sessions. The store is read beside a server that may be writing it: that
 * is what its write-ahead log is for (sqlite.org/wal.html). */
#include <unistd.h>

#include "prog/stigmer-server/prune-impl.h"

#define BUSY_MS 5000

void prune_session_open(struct prune *p)
{
    if (access(p->paths->db, F_OK) < 0)
        return;
    if (sqlite3_open_v2(p->paths->db, &p->db, SQLITE_OPEN_READONLY, NULL) != SQLITE_OK) {
        prune_warn(p, "workspaces are left alone: the store cannot be read: %s",
                   sqlite3_errmsg(p->db));
        (void)sqlite3_close(p->db);
        p->db = NULL;
        return;
    }
    (void)sqlite3_busy_timeout(p->db, BUSY_MS);
}

enum err_code prune_session_ask(const struct prune *p, const char *id, struct prune_session *ret,
                                struct err *err)
{
    static const char sql[] =
        "SELECT EXISTS(SELECT 1 FROM resource WHERE id = ?1),"
        " EXISTS(SELECT 1 FROM execution WHERE session_id = ?1 AND state < 2),"
        " (SELECT max(max(created_ms, ended_ms)) FROM execution WHERE session_id = ?1)";
    sqlite3_stmt *q = NULL;
    enum err_code code = ERR_OK;

    if (!p->db)
        return err_set(err, ERR_STATE, "there is no store to ask");
    if (sqlite3_prepare_v2(p->db, sql, -1, &q, NULL) != SQLITE_OK ||
        sqlite3_bind_text(q, 1, id, -1, SQLITE_STATIC) != SQLITE_OK ||
        sqlite3_step(q) != SQLITE_ROW)
        code = err_set(err, ERR_IO, "the store cannot be read: %s", sqlite3_errmsg(p->db));
    else
        *ret = (struct prune_session){.exists = sqlite3_column_int(q, 0) != 0,
                                      .is_running = sqlite3_column_int(q, 1) != 0,
                                      .last_ms = sqlite3_column_int64(q, 2)};
    (void)sqlite3_finalize(q);
    return code;
}
