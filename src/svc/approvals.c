#include "svc/approvals.h"

#include <inttypes.h>
#include <string.h>

#include "base/str.h"
#include "platform/store.h"

enum state { WAITS, APPROVED, DENIED, TOLD_APPROVED, TOLD_DENIED }; /* approval.state */

enum err_code approvals_check(const struct approvals_choice *c, struct err *err)
{
    size_t len = strlen(c->reason);

    if (len > APPROVALS_REASON_MAX)
        return err_set(err, ERR_INVALID, "the reason has %zu bytes; the limit is %d", len,
                       APPROVALS_REASON_MAX);
    if (str_utf8_check(c->reason, len) != len)
        return err_set(err, ERR_INVALID, "the reason is not UTF-8 text");
    return ERR_OK;
}

/* ---- as the journal goes on --------------------------------------------------------------------
 */

static enum err_code put(sqlite3 *db, const char *execution_id, const Exec__Event *e, uint64_t seq,
                         struct err *err)
{
    const char *args = e->approval_requested->args_json;
    char shown[APPROVALS_ARGS + 1];
    sqlite3_stmt *st;
    enum err_code code =
        store_prepare(db,
                      "INSERT INTO approval(execution_id, seq, call_id, tool, args,"
                      " args_bytes, asked_ms) VALUES(?, ?, ?, ?, ?, ?, ?)",
                      &st, err);

    if (code)
        return code;
    (void)str_format(shown, sizeof shown, "%s", args);
    str_cut_bad(shown);
    sqlite3_bind_text(st, 1, execution_id, -1, SQLITE_STATIC);
    sqlite3_bind_int64(st, 2, (sqlite3_int64)seq);
    sqlite3_bind_text(st, 3, e->approval_requested->call_id, -1, SQLITE_STATIC);
    sqlite3_bind_text(st, 4, e->approval_requested->name, -1, SQLITE_STATIC);
    sqlite3_bind_text(st, 5, shown, -1, SQLITE_STATIC);
    sqlite3_bind_int64(st, 6, (sqlite3_int64)strlen(args));
    sqlite3_bind_int64(st, 7, e->at_ms);
    return store_step_done(db, st, "writing a question of policy", err);
}

/* A runner tells what was decided here, and nothing else. */
static enum err_code told(sqlite3 *db, const char *execution_id, const Exec__ApprovalDecided *d,
                          struct err *err)
{
    sqlite3_stmt *st;
    enum err_code code =
        store_prepare(db,
                      "UPDATE approval SET state = ?3"
                      " WHERE execution_id = ?1 AND call_id = ?2 AND state IN (?3, ?4)",
                      &st, err);

    if (code)
        return code;
    sqlite3_bind_text(st, 1, execution_id, -1, SQLITE_STATIC);
    sqlite3_bind_text(st, 2, d->call_id, -1, SQLITE_STATIC);
    sqlite3_bind_int(st, 3, d->approved ? TOLD_APPROVED : TOLD_DENIED);
    sqlite3_bind_int(st, 4, d->approved ? APPROVED : DENIED);
    if ((code = store_step_done(db, st, "noting a decision", err)))
        return code;
    return sqlite3_changes(db)
               ? ERR_OK
               : err_set(err, ERR_INVALID, "nobody has %s call '%.100s' of execution '%.80s'",
                         d->approved ? "approved" : "denied", d->call_id, execution_id);
}

enum err_code approvals_tx_follow(sqlite3 *db, const char *execution_id, const Exec__Event *e,
                                  uint64_t seq, bool ended, struct err *err)
{
    if (ended)
        return approvals_tx_delete(db, execution_id, err);
    if (e->kind_case == EXEC__EVENT__KIND_APPROVAL_REQUESTED)
        return put(db, execution_id, e, seq, err);
    if (e->kind_case == EXEC__EVENT__KIND_APPROVAL_DECIDED)
        return told(db, execution_id, e->approval_decided, err);
    return ERR_OK;
}

enum err_code approvals_tx_delete(sqlite3 *db, const char *execution_id, struct err *err)
{
    sqlite3_stmt *st;
    enum err_code code =
        store_prepare(db, "DELETE FROM approval WHERE execution_id = ?1", &st, err);

    if (code)
        return code;
    sqlite3_bind_text(st, 1, execution_id, -1, SQLITE_STATIC);
    return store_step_done(db, st, "deleting questions of policy", err);
}

/* ---- decisions ----------------------------------------------------------------------------------
 */

struct found {
    struct approvals_decided what;
    enum state state;
    unsigned count;
};

static enum err_code find(sqlite3 *db, const char *execution_id, const struct approvals_choice *c,
                          struct found *ret, struct err *err)
{
    sqlite3_stmt *st;
    int rc;
    enum err_code code = store_prepare(
        db,
        "SELECT seq, tool, state FROM approval WHERE execution_id = ?1 AND"
        " CASE WHEN ?3 IS NOT NULL THEN call_id = ?3 WHEN ?2 > 0 THEN seq = ?2 ELSE state = 0 END",
        &st, err);

    *ret = (struct found){0};
    if (code)
        return code;
    sqlite3_bind_text(st, 1, execution_id, -1, SQLITE_STATIC);
    sqlite3_bind_int64(st, 2, (sqlite3_int64)c->seq);
    sqlite3_bind_text(st, 3, c->call_id, -1, SQLITE_STATIC);
    while ((rc = sqlite3_step(st)) == SQLITE_ROW) {
        ret->what.seq = (uint64_t)sqlite3_column_int64(st, 0);
        (void)str_format(ret->what.tool, sizeof ret->what.tool, "%s",
                         (const char *)sqlite3_column_text(st, 1));
        str_cut_bad(ret->what.tool);
        ret->state = (enum state)sqlite3_column_int(st, 2);
        ret->count++;
    }
    sqlite3_reset(st);
    return rc == SQLITE_DONE ? ERR_OK : store_error(db, "reading questions of policy", err);
}

static enum err_code not_one(const char *execution_id, const struct approvals_choice *c,
                             unsigned count, struct err *err)
{
    if (count > 1)
        return err_hint(err,
                        err_set(err, ERR_STATE, "%u calls of execution '%.80s' wait: say which",
                                count, execution_id),
                        "stigmer approvals ls");
    if (c->call_id)
        err_set(err, ERR_NOT_FOUND, "execution '%.80s' has asked nothing of call '%.100s'",
                execution_id, c->call_id);
    else if (c->seq)
        err_set(err, ERR_NOT_FOUND, "execution '%.80s' has asked nothing as number %" PRIu64,
                execution_id, c->seq);
    else
        err_set(err, ERR_STATE, "no call of execution '%.80s' waits for approval", execution_id);
    return err_hint(err, err->code, "stigmer approvals ls");
}

enum err_code approvals_tx_decide(sqlite3 *db, const char *execution_id,
                                  const struct approvals_choice *c, struct approvals_decided *ret,
                                  struct err *err)
{
    struct found f;
    bool approved;
    sqlite3_stmt *st;
    enum err_code code = find(db, execution_id, c, &f, err);

    if (code)
        return code;
    if (f.count != 1)
        return not_one(execution_id, c, f.count, err);
    *ret = f.what;
    approved = f.state == APPROVED || f.state == TOLD_APPROVED;
    if (f.state != WAITS)
        return approved == c->approve
                   ? ERR_OK
                   : err_set(err, ERR_STATE, "%s of execution '%.80s' is %s already", f.what.tool,
                             execution_id, approved ? "approved" : "denied");
    if ((code = store_prepare(db,
                              "UPDATE approval SET state = ?3, decider = ?4, reason = ?5"
                              " WHERE execution_id = ?1 AND seq = ?2",
                              &st, err)))
        return code;
    sqlite3_bind_text(st, 1, execution_id, -1, SQLITE_STATIC);
    sqlite3_bind_int64(st, 2, (sqlite3_int64)f.what.seq);
    sqlite3_bind_int(st, 3, c->approve ? APPROVED : DENIED);
    sqlite3_bind_text(st, 4, c->by, -1, SQLITE_STATIC);
    sqlite3_bind_text(st, 5, c->reason, -1, SQLITE_STATIC);
    return store_step_done(db, st, "writing a decision", err);
}

bool approvals_wait(sqlite3 *db, const char *execution_id)
{
    sqlite3_stmt *st;
    bool any;

    if (store_prepare(db, "SELECT 1 FROM approval WHERE execution_id = ?1 AND state = 0 LIMIT 1",
                      &st, NULL))
        return false;
    sqlite3_bind_text(st, 1, execution_id, -1, SQLITE_STATIC);
    any = sqlite3_step(st) == SQLITE_ROW;
    sqlite3_reset(st);
    return any;
}

#define COLUMNS                                                                                    \
    "SELECT execution_id, seq, call_id, tool, args, args_bytes, asked_ms, state, decider, reason"  \
    " FROM approval WHERE state < 3 "

static struct approvals_row row_at(sqlite3_stmt *st)
{
    int state = sqlite3_column_int(st, 7);

    return (struct approvals_row){.execution_id = (const char *)sqlite3_column_text(st, 0),
                                  .seq = (uint64_t)sqlite3_column_int64(st, 1),
                                  .call_id = (const char *)sqlite3_column_text(st, 2),
                                  .tool = (const char *)sqlite3_column_text(st, 3),
                                  .args = (const char *)sqlite3_column_text(st, 4),
                                  .args_bytes = (uint64_t)sqlite3_column_int64(st, 5),
                                  .asked_ms = sqlite3_column_int64(st, 6),
                                  .decided = state != WAITS,
                                  .approved = state == APPROVED,
                                  .by = (const char *)sqlite3_column_text(st, 8),
                                  .reason = (const char *)sqlite3_column_text(st, 9)};
}

enum err_code approvals_open(sqlite3 *db, const char *execution_id, approvals_fn *fn, void *arg,
                             struct err *err)
{
    sqlite3_stmt *st;
    int rc = SQLITE_DONE;
    bool more = true;
    enum err_code code =
        store_prepare(db,
                      execution_id ? COLUMNS "AND execution_id = ?1 ORDER BY seq"
                                   : COLUMNS "ORDER BY asked_ms, execution_id, seq",
                      &st, err);

    if (code)
        return code;
    if (execution_id)
        sqlite3_bind_text(st, 1, execution_id, -1, SQLITE_STATIC);
    while (more && (rc = sqlite3_step(st)) == SQLITE_ROW) {
        const struct approvals_row row = row_at(st);

        more = fn(&row, arg);
    }
    sqlite3_reset(st);
    return rc == SQLITE_DONE || !more ? ERR_OK
                                      : store_error(db, "reading questions of policy", err);
}
