#include "svc/journal-tx.h"

#include <inttypes.h>
#include <openssl/sha.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/own.h"
#include "base/str.h"
#include "core/rules.h"
#include "svc/approvals.h"
#include "svc/inbox.h"
#include "svc/journal.h"

#define BLOB_OVER (32 << 10)         /* payloads above go to the blob table (invariant 8) */
#define EVENT_MAX ((size_t)16 << 20) /* one event */
#define HASH_SIZE SHA256_DIGEST_LENGTH

/* One event as its row: the payload without seq, epoch and time, so that equal payloads are one
 * blob. */
struct row {
    uint64_t seq, epoch;
    int64_t at_ms;
    uint8_t *data; /* owned */
    size_t len;
    uint8_t hash[HASH_SIZE];
    bool is_blob;
};

static enum err_code row_of(const Exec__Event *e, uint64_t seq, uint64_t epoch, struct row *ret,
                            struct err *err)
{
    Exec__Event bare = *e;

    bare.seq = bare.epoch = 0;
    bare.at_ms = 0;
    *ret = (struct row){.seq = seq, .epoch = epoch, .at_ms = e->at_ms};
    ret->len = exec__event__get_packed_size(&bare);
    if (ret->len > EVENT_MAX)
        return err_set(err, ERR_LIMIT, "event %" PRIu64 " has %zu bytes; the limit is %zu", seq,
                       ret->len, EVENT_MAX);
    ret->data = mem_array(ret->len, 1);
    exec__event__pack(&bare, ret->data);
    ret->is_blob = ret->len > BLOB_OVER;
    if (ret->is_blob)
        SHA256(ret->data, ret->len, ret->hash);
    return ERR_OK;
}

static enum err_code put_blob(sqlite3 *db, const struct row *r, struct err *err)
{
    sqlite3_stmt *st;
    enum err_code code = store_prepare(db, "INSERT OR IGNORE INTO blob VALUES(?1, ?2)", &st, err);

    if (code)
        return code;
    sqlite3_bind_blob(st, 1, r->hash, HASH_SIZE, SQLITE_STATIC);
    sqlite3_bind_blob64(st, 2, r->data, r->len, SQLITE_STATIC);
    return store_step_done(db, st, "writing a payload", err);
}

static enum err_code put_row(sqlite3 *db, const char *id, const struct row *r, struct err *err)
{
    sqlite3_stmt *st;
    enum err_code code;

    if (r->is_blob && (code = put_blob(db, r, err)))
        return code;
    if ((code = store_prepare(db, "INSERT INTO event VALUES(?1, ?2, ?3, ?4, ?5, ?6)", &st, err)))
        return code;
    sqlite3_bind_text(st, 1, id, -1, SQLITE_STATIC);
    sqlite3_bind_int64(st, 2, (sqlite3_int64)r->seq);
    sqlite3_bind_int64(st, 3, (sqlite3_int64)r->epoch);
    sqlite3_bind_int64(st, 4, r->at_ms);
    if (r->is_blob)
        sqlite3_bind_blob(st, 6, r->hash, HASH_SIZE, SQLITE_STATIC);
    else
        sqlite3_bind_blob64(st, 5, r->data, r->len, SQLITE_STATIC);
    return store_step_done(db, st, "writing an event", err);
}

enum err_code journal_tx_row(sqlite3_stmt *st, Exec__Event **ret, struct err *err)
{
    const uint8_t *data = sqlite3_column_blob(st, 3);
    int len = sqlite3_column_bytes(st, 3);
    Exec__Event *e = data ? exec__event__unpack(NULL, (size_t)len, data) : NULL;

    if (!e)
        return err_hint(err,
                        err_set(err, ERR_CORRUPT, "event %lld of the journal cannot be read",
                                (long long)sqlite3_column_int64(st, 0)),
                        "restore the newest stigmer.db.bak-*, or delete this execution");
    e->seq = (uint64_t)sqlite3_column_int64(st, 0);
    e->epoch = (uint64_t)sqlite3_column_int64(st, 1);
    e->at_ms = sqlite3_column_int64(st, 2);
    *ret = e;
    return ERR_OK;
}

/* ---- the execution's row ----------------------------------------------------------------------
 */

static void copy_text(char *dst, size_t size, sqlite3_stmt *st, int column)
{
    const char *text = (const char *)sqlite3_column_text(st, column);

    (void)str_format(dst, size, "%s", text ? text : "");
}

struct full_head {
    struct journal_head head;
    uint64_t turn_seq;
};

static enum err_code load_head(sqlite3 *db, const char *id, struct full_head *ret, struct err *err)
{
    static const char sql[] =
        "SELECT session_id, phase, state, head, turn_seq, epoch, runner, lost,"
        " cancel_by IS NOT NULL, created_ms, ended_ms, folder FROM execution WHERE id = ?1";
    sqlite3_stmt *st;
    enum err_code code = store_prepare(db, sql, &st, err);
    int rc;

    if (code)
        return code;
    sqlite3_bind_text(st, 1, id, -1, SQLITE_STATIC);
    rc = sqlite3_step(st);
    if (rc == SQLITE_ROW) {
        *ret = (struct full_head){.turn_seq = (uint64_t)sqlite3_column_int64(st, 4)};
        copy_text(ret->head.session_id, JOURNAL_TEXT, st, 0);
        copy_text(ret->head.folder, JOURNAL_FOLDER, st, 11);
        ret->head.phase = sqlite3_column_int(st, 1);
        ret->head.state = (enum journal_state)sqlite3_column_int(st, 2);
        ret->head.seq = (uint64_t)sqlite3_column_int64(st, 3);
        ret->head.epoch = (uint64_t)sqlite3_column_int64(st, 5);
        copy_text(ret->head.runner, JOURNAL_TEXT, st, 6);
        ret->head.lost = (unsigned)sqlite3_column_int(st, 7);
        ret->head.cancel_asked = sqlite3_column_int(st, 8);
        ret->head.created_ms = sqlite3_column_int64(st, 9);
        ret->head.ended_ms = sqlite3_column_int64(st, 10);
    } else if (rc == SQLITE_DONE) {
        code = err_set(err, ERR_NOT_FOUND, "there is no execution '%.80s'", id);
    } else {
        code = store_error(db, "reading an execution", err);
    }
    sqlite3_reset(st);
    return code;
}

enum err_code journal_tx_head(sqlite3 *db, const char *id, struct journal_head *ret,
                              struct err *err)
{
    struct full_head h;
    enum err_code code = load_head(db, id, &h, err);

    if (!code)
        *ret = h.head;
    return code;
}

static enum err_code save_head(sqlite3 *db, const char *id, const struct full_head *h,
                               struct err *err)
{
    static const char sql[] =
        "UPDATE execution SET phase = ?2, state = ?3, head = ?4, turn_seq = ?5, epoch = ?6,"
        " runner = ?7, lost = ?8, ended_ms = ?9 WHERE id = ?1";
    sqlite3_stmt *st;
    enum err_code code = store_prepare(db, sql, &st, err);

    if (code)
        return code;
    sqlite3_bind_text(st, 1, id, -1, SQLITE_STATIC);
    sqlite3_bind_int(st, 2, h->head.phase);
    sqlite3_bind_int(st, 3, (int)h->head.state);
    sqlite3_bind_int64(st, 4, (sqlite3_int64)h->head.seq);
    sqlite3_bind_int64(st, 5, (sqlite3_int64)h->turn_seq);
    sqlite3_bind_int64(st, 6, (sqlite3_int64)h->head.epoch);
    sqlite3_bind_text(st, 7, h->head.runner, -1, SQLITE_STATIC);
    sqlite3_bind_int(st, 8, (int)h->head.lost);
    sqlite3_bind_int64(st, 9, h->head.ended_ms);
    return store_step_done(db, st, "writing an execution", err);
}

/* After an append that did not end the run: without the columns that an index has. */
static enum err_code save_progress(sqlite3 *db, const char *id, const struct full_head *h,
                                   struct err *err)
{
    static const char sql[] =
        "UPDATE execution SET phase = ?2, head = ?3, turn_seq = ?4, lost = ?5 WHERE id = ?1";
    sqlite3_stmt *st;
    enum err_code code = store_prepare(db, sql, &st, err);

    if (code)
        return code;
    sqlite3_bind_text(st, 1, id, -1, SQLITE_STATIC);
    sqlite3_bind_int(st, 2, h->head.phase);
    sqlite3_bind_int64(st, 3, (sqlite3_int64)h->head.seq);
    sqlite3_bind_int64(st, 4, (sqlite3_int64)h->turn_seq);
    sqlite3_bind_int(st, 5, (int)h->head.lost);
    return store_step_done(db, st, "writing an execution", err);
}

/* ---- appending --------------------------------------------------------------------------------
 */

/* Takes the rules up from the last finished turn: what came before is known to be right. */
static enum err_code load_rules(sqlite3 *db, const char *id, const struct full_head *h,
                                struct rules *r, struct err *err)
{
    sqlite3_stmt *st;
    enum err_code code = store_prepare(db,
                                       "SELECT " JOURNAL_TX_COLUMNS " FROM " JOURNAL_TX_FROM
                                       " WHERE e.execution_id = ?1 AND e.seq >= ?2 ORDER BY e.seq",
                                       &st, err);
    int rc = SQLITE_DONE;

    if (code)
        return code;
    if (h->turn_seq)
        rules_begin_at(r, h->turn_seq);
    sqlite3_bind_text(st, 1, id, -1, SQLITE_STATIC);
    sqlite3_bind_int64(st, 2, (sqlite3_int64)h->turn_seq);
    while (!code && (rc = sqlite3_step(st)) == SQLITE_ROW) {
        Exec__Event *e;
        if ((code = journal_tx_row(st, &e, err)))
            break;
        if ((code = rules_apply(r, e, err)))
            code = err_wrap(err, ERR_CORRUPT, "the journal of '%.80s'", id);
        exec__event__free_unpacked(e, NULL);
    }
    if (!code && rc != SQLITE_DONE)
        code = store_error(db, "reading the journal", err);
    sqlite3_reset(st);
    return code;
}

/* Is what stands at r->seq the same bytes? */
static enum err_code check_same(sqlite3 *db, const char *id, const struct row *r, struct err *err)
{
    sqlite3_stmt *st;
    enum err_code code =
        store_prepare(db,
                      "SELECT epoch = ?3 AND at_ms = ?4 AND coalesce(data = ?5, hash = ?6, 0)"
                      " FROM event WHERE execution_id = ?1 AND seq = ?2",
                      &st, err);
    bool same;

    if (code)
        return code;
    sqlite3_bind_text(st, 1, id, -1, SQLITE_STATIC);
    sqlite3_bind_int64(st, 2, (sqlite3_int64)r->seq);
    sqlite3_bind_int64(st, 3, (sqlite3_int64)r->epoch);
    sqlite3_bind_int64(st, 4, r->at_ms);
    if (r->is_blob)
        sqlite3_bind_blob(st, 6, r->hash, HASH_SIZE, SQLITE_STATIC);
    else
        sqlite3_bind_blob64(st, 5, r->data, r->len, SQLITE_STATIC);
    same = sqlite3_step(st) == SQLITE_ROW && sqlite3_column_int(st, 0);
    sqlite3_reset(st);
    return same ? ERR_OK
                : err_set(err, ERR_CONFLICT, "event %" PRIu64 " stands already with other content",
                          r->seq);
}

static int phase_after(const Exec__Event *e, int phase)
{
    Aexec__AgentExecutionStatus *s;

    switch ((int)e->kind_case) {
    case EXEC__EVENT__KIND_CLAIMED:
        return AEXEC__EXECUTION_PHASE__EXECUTION_IN_PROGRESS;
    case EXEC__EVENT__KIND_COMPLETED:
        return AEXEC__EXECUTION_PHASE__EXECUTION_COMPLETED;
    case EXEC__EVENT__KIND_FAILED:
        return AEXEC__EXECUTION_PHASE__EXECUTION_FAILED;
    case EXEC__EVENT__KIND_CANCELLED:
        return AEXEC__EXECUTION_PHASE__EXECUTION_CANCELLED;
    case EXEC__EVENT__KIND_LEGACY_STATUS:
        s = aexec__agent_execution_status__unpack(NULL, e->legacy_status->status.len,
                                                  e->legacy_status->status.data);
        if (s && s->phase)
            phase = (int)s->phase;
        if (s)
            aexec__agent_execution_status__free_unpacked(s, NULL);
        return phase;
    default:
        return phase;
    }
}

static bool is_end_phase(int phase)
{
    return phase >= AEXEC__EXECUTION_PHASE__EXECUTION_COMPLETED;
}

static void advance(struct full_head *h, const Exec__Event *e, uint64_t seq)
{
    h->head.seq = seq;
    h->head.phase = phase_after(e, h->head.phase);
    if (e->kind_case == EXEC__EVENT__KIND_TURN_FINISHED)
        h->turn_seq = seq;
    if (e->kind_case == EXEC__EVENT__KIND_TURN_FINISHED ||
        e->kind_case == EXEC__EVENT__KIND_TOOL_FINISHED)
        h->head.lost = 0; /* a step was completed: this is no poison pill */
    if (is_end_phase(h->head.phase)) {
        h->head.state = JOURNAL_ENDED;
        h->head.ended_ms = e->at_ms;
    }
}

static enum err_code append_one(sqlite3 *db, const char *id, struct full_head *h, struct rules *r,
                                const Exec__Event *e, const struct row *row, struct err *err)
{
    Exec__Event placed = *e; /* shallow: seq as it will stand */
    enum err_code code;

    placed.seq = row->seq;
    if ((code = rules_apply(r, &placed, err)) || (code = put_row(db, id, row, err)))
        return code;
    advance(h, e, row->seq);
    if (e->kind_case == EXEC__EVENT__KIND_INPUT_RECEIVED)
        return inbox_tx_read(db, id, e->input_received->id, row->seq, err);
    return approvals_tx_follow(db, id, e, row->seq, h->head.state == JOURNAL_ENDED, err);
}

static enum err_code check_writer(const char *id, const struct full_head *h, uint64_t epoch,
                                  struct err *err)
{
    if (epoch == JOURNAL_SERVER || (epoch == h->head.epoch && h->head.state == JOURNAL_CLAIMED))
        return ERR_OK;
    if (epoch == h->head.epoch && h->head.state == JOURNAL_ENDED)
        return ERR_OK; /* the same append again is checked for sameness below */
    return err_set(err, ERR_CONFLICT,
                   "execution '%.80s' is at epoch %" PRIu64 "; the claim of epoch %" PRIu64
                   " is lost",
                   id, h->head.epoch, epoch);
}

enum err_code journal_tx_append(sqlite3 *db, const char *id, uint64_t epoch,
                                Exec__Event *const *events, size_t count, size_t *ret_first,
                                struct err *err)
{
    bool server = epoch == JOURNAL_SERVER;
    struct full_head h;
    struct rules rules;
    size_t first = count;
    enum err_code code;

    if ((code = load_head(db, id, &h, err)) || (code = check_writer(id, &h, epoch, err)))
        return code;
    rules_init(&rules);
    code = load_rules(db, id, &h, &rules, err);
    rules.terminal = rules.terminal || h.head.state == JOURNAL_ENDED;
    for (size_t i = 0; !code && i < count; i++) {
        uint64_t seq = server ? h.head.seq + 1 : events[i]->seq;
        struct row row = {0};
        code = row_of(events[i], seq, server ? 0 : epoch, &row, err);
        if (!code && seq <= h.head.seq && !server) {
            code = check_same(db, id, &row, err);
        } else if (!code) {
            first = i < first ? i : first;
            code = append_one(db, id, &h, &rules, events[i], &row, err);
            events[i]->seq = seq;
            events[i]->epoch = row.epoch;
        }
        free(row.data);
    }
    rules_done(&rules);
    if (!code && first < count)
        code = h.head.state == JOURNAL_ENDED ? save_head(db, id, &h, err)
                                             : save_progress(db, id, &h, err);
    if (code)
        return code;
    *ret_first = first;
    return ERR_OK;
}

/* ---- the other changes ------------------------------------------------------------------------
 */

enum err_code journal_tx_create(sqlite3 *db, const struct journal_create *c, struct err *err)
{
    static const char sql[] =
        "INSERT INTO execution VALUES(?1, ?2, ?3, 0, 1, 0, 0, '', 0, NULL, NULL, ?4, 0, ?5)";
    Exec__Event e = EXEC__EVENT__INIT;
    Exec__Submitted s = EXEC__SUBMITTED__INIT;
    struct row row;
    sqlite3_stmt *st;
    enum err_code code = store_prepare(db, sql, &st, err);

    if (code)
        return code;
    sqlite3_bind_text(st, 1, c->id, -1, SQLITE_STATIC);
    sqlite3_bind_text(st, 2, c->session_id, -1, SQLITE_STATIC);
    sqlite3_bind_int(st, 3, AEXEC__EXECUTION_PHASE__EXECUTION_PENDING);
    sqlite3_bind_int64(st, 4, c->at_ms);
    sqlite3_bind_text(st, 5, c->folder ? c->folder : "", -1, SQLITE_STATIC);
    if ((code = store_step_done(db, st, "writing an execution", err)))
        return code;
    s.message = (char *)(uintptr_t)c->message; /* only packed */
    s.model = (char *)(uintptr_t)(c->model ? c->model : "");
    e.kind_case = EXEC__EVENT__KIND_SUBMITTED;
    e.submitted = &s;
    e.at_ms = c->at_ms;
    if ((code = row_of(&e, 1, 0, &row, err)))
        return code;
    code = put_row(db, c->id, &row, err);
    free(row.data);
    return code;
}

enum err_code journal_tx_claim(sqlite3 *db, const char *id, const char *runner, int64_t at_ms,
                               Exec__Event **ret, struct err *err)
{
    struct full_head h;
    struct row row;
    Exec__Event *e;
    enum err_code code = load_head(db, id, &h, err);

    if (code)
        return code;
    if (h.head.state == JOURNAL_ENDED)
        return err_set(err, ERR_STATE, "execution '%.80s' has ended", id);
    e = mem_new(sizeof *e);
    exec__event__init(e);
    e->kind_case = EXEC__EVENT__KIND_CLAIMED;
    e->claimed = mem_new(sizeof *e->claimed);
    exec__claimed__init(e->claimed);
    e->claimed->runner_id = mem_str(runner);
    e->seq = ++h.head.seq;
    e->epoch = ++h.head.epoch;
    e->at_ms = at_ms;
    h.head.state = JOURNAL_CLAIMED;
    h.head.phase = AEXEC__EXECUTION_PHASE__EXECUTION_IN_PROGRESS;
    (void)str_format(h.head.runner, sizeof h.head.runner, "%s", runner);
    code = row_of(e, e->seq, e->epoch, &row, err);
    if (!code)
        code = put_row(db, id, &row, err);
    free(row.data);
    if (!code)
        code = save_head(db, id, &h, err);
    if (code) {
        exec__event__free_unpacked(e, NULL);
        return code;
    }
    *ret = e;
    return ERR_OK;
}

enum err_code journal_tx_requeue(sqlite3 *db, const char *id, unsigned lost, struct err *err)
{
    struct full_head h;
    enum err_code code = load_head(db, id, &h, err);

    if (code || h.head.state != JOURNAL_CLAIMED)
        return code;
    h.head.state = JOURNAL_QUEUED;
    h.head.lost = lost;
    return save_head(db, id, &h, err);
}

enum err_code journal_tx_ask_cancel(sqlite3 *db, const char *id, const char *by, const char *reason,
                                    struct err *err)
{
    sqlite3_stmt *st;
    enum err_code code = store_prepare(
        db, "UPDATE execution SET cancel_by = ?2, cancel_reason = ?3 WHERE id = ?1 AND state < 2",
        &st, err);

    if (code)
        return code;
    sqlite3_bind_text(st, 1, id, -1, SQLITE_STATIC);
    sqlite3_bind_text(st, 2, by, -1, SQLITE_STATIC);
    sqlite3_bind_text(st, 3, reason, -1, SQLITE_STATIC);
    return store_step_done(db, st, "writing a cancel request", err);
}

enum err_code journal_tx_delete(sqlite3 *db, const char *id, struct err *err)
{
    static const char *const steps[] = {
        "DELETE FROM event WHERE execution_id = ?1",
        "DELETE FROM execution WHERE id = ?1",
        ("DELETE FROM blob WHERE ?1 <> '' AND hash NOT IN"
         " (SELECT hash FROM event WHERE hash IS NOT NULL)"),
    };
    enum err_code code;

    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        sqlite3_stmt *st;

        if ((code = store_prepare(db, steps[i], &st, err)))
            return code;
        sqlite3_bind_text(st, 1, id, -1, SQLITE_STATIC);
        if ((code = store_step_done(db, st, "deleting an execution", err)))
            return code;
    }
    if ((code = inbox_tx_delete(db, id, err)))
        return code;
    return approvals_tx_delete(db, id, err);
}
