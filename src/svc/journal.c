#include "svc/journal.h"

#include <string.h>

#include "base/clock.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/own.h"
#include "base/ulid.h"
#include "svc/journal-tx.h"

struct journal_watch {
    struct hub_topic *topic;    /* borrowed */
    struct journal_watch *next; /* in topic->watches */
    struct journal_live live;   /* cleared when unwatched during a walk */
    void *arg;
    bool gone;
};

/* The watchers of one execution; exists while there is one. */
struct hub_topic {
    struct journal *journal; /* borrowed */
    char *id;                /* owned */
    struct journal_watch *watches;
    int walking;
};

struct journal {
    struct loop *loop;   /* borrowed */
    struct store *store; /* borrowed */
    struct map topics;   /* execution id → struct hub_topic, owned */
};

struct journal *journal_new(struct loop *loop, struct store *store)
{
    struct journal *j = mem_new(sizeof *j);

    j->loop = loop;
    j->store = store;
    return j;
}

static void free_topic(struct hub_topic *t)
{
    while (t->watches) {
        struct journal_watch *w = t->watches;
        t->watches = w->next;
        free(w);
    }
    free(t->id);
    free(t);
}

void journal_free(struct journal *j)
{
    const char *key;
    void *topic;

    if (!j)
        return;
    for (size_t i = 0; map_next(&j->topics, &i, &key, &topic);)
        free_topic(topic);
    map_done(&j->topics);
    free(j);
}

/* ---- reads ------------------------------------------------------------------------------------
 */

enum err_code journal_head(struct journal *j, const char *id, struct journal_head *ret,
                           struct err *err)
{
    return journal_tx_head(store_read_db(j->store), id, ret, err);
}

enum err_code journal_read(struct journal *j, const char *id, uint64_t from_seq, size_t limit,
                           journal_event_fn *fn, void *arg, struct err *err)
{
    sqlite3 *db = store_read_db(j->store);
    bool more = true;
    sqlite3_stmt *st;
    int rc = SQLITE_DONE;
    enum err_code code =
        store_prepare(db,
                      "SELECT " JOURNAL_TX_COLUMNS " FROM " JOURNAL_TX_FROM
                      " WHERE e.execution_id = ?1 AND e.seq >= ?2 ORDER BY e.seq LIMIT ?3",
                      &st, err);

    if (code)
        return code;
    sqlite3_bind_text(st, 1, id, -1, SQLITE_STATIC);
    sqlite3_bind_int64(st, 2, (sqlite3_int64)from_seq);
    sqlite3_bind_int64(st, 3, limit > INT32_MAX ? -1 : (sqlite3_int64)limit);
    while (!code && more && (rc = sqlite3_step(st)) == SQLITE_ROW) {
        Exec__Event *e;
        if ((code = journal_tx_row(st, &e, err)))
            break;
        more = fn(e, arg);
        exec__event__free_unpacked(e, NULL);
    }
    if (!code && more && rc != SQLITE_DONE && rc != SQLITE_ROW)
        code = store_error(db, "reading the journal", err);
    sqlite3_reset(st);
    return code;
}

static bool fold_one(const Exec__Event *e, void *arg)
{
    fold_apply(arg, e);
    return true;
}

enum err_code journal_status(struct journal *j, const char *id, Aexec__AgentExecutionStatus **ret,
                             struct err *err)
{
    struct fold *f = fold_new();
    enum err_code code = journal_read(j, id, 1, SIZE_MAX, fold_one, f, err);

    if (!code)
        *ret = fold_take(f);
    fold_free(f);
    return code;
}

/* ---- the hub ----------------------------------------------------------------------------------
 */

/* Watchers that went during a walk are taken out after it; a topic without any goes too. */
static void sweep(struct hub_topic *t)
{
    if (t->walking)
        return;
    for (struct journal_watch **p = &t->watches; *p;) {
        struct journal_watch *w = *p;
        if (!w->gone) {
            p = &w->next;
            continue;
        }
        *p = w->next;
        free(w);
    }
    if (!t->watches) {
        map_remove(&t->journal->topics, t->id);
        free_topic(t);
    }
}

struct journal_watch *journal_watch(struct journal *j, const char *id,
                                    const struct journal_live *live, void *arg)
{
    struct hub_topic *t = map_get(&j->topics, id);
    struct journal_watch *w = mem_new(sizeof *w);
    struct journal_watch **p;

    if (!t) {
        t = mem_new(sizeof *t);
        t->journal = j;
        t->id = mem_str(id);
        map_put(&j->topics, id, t);
    }
    w->topic = t;
    w->live = *live;
    w->arg = arg;
    for (p = &t->watches; *p; p = &(*p)->next)
        ;
    *p = w;
    return w;
}

void journal_unwatch(struct journal_watch *w)
{
    if (!w)
        return;
    w->gone = true;
    sweep(w->topic);
}

void journal_committed(struct journal *j, const char *id, Exec__Event *const *events, size_t count)
{
    struct hub_topic *t = map_get(&j->topics, id);

    if (!t)
        return;
    t->walking++;
    for (size_t i = 0; i < count; i++)
        for (struct journal_watch *w = t->watches; w; w = w->next)
            if (!w->gone && w->live.on_event)
                w->live.on_event(events[i], w->arg);
    t->walking--;
    sweep(t);
}

void journal_publish(struct journal *j, const char *id, uint32_t turn, uint32_t attempt,
                     const char *text, const void *recording, size_t recording_len)
{
    struct hub_topic *t = map_get(&j->topics, id);

    if (!t)
        return;
    t->walking++;
    for (struct journal_watch *w = t->watches; w; w = w->next) {
        if (!w->gone && w->live.on_delta && text && *text)
            w->live.on_delta(turn, attempt, text, w->arg);
        if (!w->gone && w->live.on_recording && recording_len)
            w->live.on_recording(recording, recording_len, w->arg);
    }
    t->walking--;
    sweep(t);
}

void journal_deleted(struct journal *j, const char *id)
{
    struct hub_topic *t = map_get(&j->topics, id);

    if (!t)
        return;
    t->walking++;
    for (struct journal_watch *w = t->watches; w; w = w->next)
        if (!w->gone && w->live.on_deleted)
            w->live.on_deleted(w->arg);
    t->walking--;
    sweep(t);
}

/* ---- appending --------------------------------------------------------------------------------
 */

struct append {
    struct journal *journal; /* borrowed */
    char *id;                /* owned */
    uint64_t epoch;
    Exec__Event **events; /* owned */
    size_t count;
    size_t first; /* of the new ones */
    journal_done_fn *done;
    void *arg;
};

static void append_free(struct append *a)
{
    for (size_t i = 0; i < a->count; i++)
        exec__event__free_unpacked(a->events[i], NULL);
    free(a->events);
    free(a->id);
    free(a);
}

static enum err_code append_job(sqlite3 *db, void *arg, struct err *err)
{
    struct append *a = arg;

    return journal_tx_append(db, a->id, a->epoch, a->events, a->count, &a->first, err);
}

static void append_done(const struct err *err, void *arg)
{
    struct append *a = arg;

    if (!err)
        journal_committed(a->journal, a->id, a->events + a->first, a->count - a->first);
    if (a->done)
        a->done(err, err || !a->count ? 0 : a->events[a->count - 1]->seq, a->arg);
    append_free(a);
}

static Exec__Event *copy_event(const Exec__Event *e)
{
    size_t len = exec__event__get_packed_size(e);
    OWN_FREE uint8_t *bytes = mem_array(len, 1);

    exec__event__pack(e, bytes);
    return mem_check(exec__event__unpack(NULL, len, bytes));
}

void journal_append(struct journal *j, const char *id, uint64_t epoch, Exec__Event *const *events,
                    size_t count, journal_done_fn *done, void *arg)
{
    struct append *a = mem_new(sizeof *a);

    a->journal = j;
    a->id = mem_str(id);
    a->epoch = epoch;
    a->events = mem_array(count, sizeof *a->events);
    a->count = count;
    for (size_t i = 0; i < count; i++)
        a->events[i] = copy_event(events[i]);
    a->done = done;
    a->arg = arg;
    store_submit(j->store, append_job, append_done, a);
}

/* ---- queued again ---- */

struct requeue {
    struct journal *journal; /* borrowed */
    char *id;                /* owned */
    Exec__Event *notice;     /* owned */
    size_t first;
    unsigned lost;
    journal_done_fn *done;
    void *arg;
};

static enum err_code requeue_job(sqlite3 *db, void *arg, struct err *err)
{
    struct requeue *q = arg;
    enum err_code code = journal_tx_requeue(db, q->id, q->lost, err);

    if (!code)
        code = journal_tx_append(db, q->id, JOURNAL_SERVER, &q->notice, 1, &q->first, err);
    return code;
}

static void requeue_done(const struct err *err, void *arg)
{
    struct requeue *q = arg;

    if (!err)
        journal_committed(q->journal, q->id, &q->notice, 1);
    q->done(err, err ? 0 : q->notice->seq, q->arg);
    exec__event__free_unpacked(q->notice, NULL);
    free(q->id);
    free(q);
}

void journal_requeue(struct journal *j, const char *id, unsigned lost, const char *notice,
                     journal_done_fn *done, void *arg)
{
    struct requeue *q = mem_new(sizeof *q);

    *q = (struct requeue){.journal = j, .id = mem_str(id), .lost = lost, .done = done, .arg = arg};
    q->notice = mem_new(sizeof *q->notice);
    exec__event__init(q->notice);
    q->notice->kind_case = EXEC__EVENT__KIND_NOTICE;
    q->notice->at_ms = clock_wall_ms();
    q->notice->notice = mem_new(sizeof *q->notice->notice);
    exec__notice__init(q->notice->notice);
    q->notice->notice->text = mem_str(notice);
    store_submit(j->store, requeue_job, requeue_done, q);
}

static const char *text_at(sqlite3_stmt *st, int column)
{
    return (const char *)sqlite3_column_text(st, column);
}

enum err_code journal_read_open(struct journal *j, journal_open_fn *fn, void *arg, struct err *err)
{
    sqlite3 *db = store_read_db(j->store);
    sqlite3_stmt *st;
    int rc;
    enum err_code code = store_prepare(
        db,
        "SELECT id, session_id, state, epoch, runner, lost, cancel_by, cancel_reason, folder"
        " FROM execution WHERE state < 2 ORDER BY id",
        &st, err);

    if (code)
        return code;
    while ((rc = sqlite3_step(st)) == SQLITE_ROW) {
        const struct journal_open x = {.id = text_at(st, 0),
                                       .session_id = text_at(st, 1),
                                       .is_claimed = sqlite3_column_int(st, 2) == JOURNAL_CLAIMED,
                                       .epoch = (uint64_t)sqlite3_column_int64(st, 3),
                                       .runner = text_at(st, 4),
                                       .lost = (unsigned)sqlite3_column_int(st, 5),
                                       .cancel_by = text_at(st, 6),
                                       .cancel_reason = text_at(st, 7),
                                       .folder = text_at(st, 8)};

        fn(&x, arg);
    }
    if (rc != SQLITE_DONE)
        code = store_error(db, "reading the queue", err);
    sqlite3_reset(st);
    return code;
}

/* The queue and the histories are ordered by id: no new one may come before an old one. */
enum err_code journal_keep_order(struct journal *j, struct err *err)
{
    sqlite3 *db = store_read_db(j->store);
    sqlite3_stmt *st;
    enum err_code code = store_prepare(db, "SELECT max(id) FROM execution", &st, err);

    if (code)
        return code;
    if (sqlite3_step(st) == SQLITE_ROW) {
        const char *id = (const char *)sqlite3_column_text(st, 0),
                   *dash = id ? strchr(id, '-') : NULL;

        if (dash)
            ulid_go_on_after(dash + 1);
    }
    sqlite3_reset(st);
    return ERR_OK;
}
