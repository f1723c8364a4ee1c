/* world.h — a store, a journal and a loop of their own for each test. Jobs are run to their end
 * before a line goes on. Included by one test program each. */
#ifndef TESTS_UNIT_SVC_WORLD_H
#define TESTS_UNIT_SVC_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/str.h"
#include "platform/loop.h"
#include "platform/store.h"
#include "svc/journal.h"
#include "svc/schema.h"

struct world {
    char dir[64];
    struct loop *loop;
    struct store *store;
    struct journal *journal;
    struct loop_timer *alive; /* a loop with nothing to wait for would not wait for the store */
};

struct waiting {
    struct loop *loop;
    enum err_code code;
    struct err err;
    uint64_t seq;
};

static inline void nothing(void *arg)
{
    (void)arg;
}

static inline void world_open(struct world *w)
{
    struct err err;

    w->loop = loop_new();
    w->alive = loop_timer_new(w->loop, nothing, NULL);
    loop_timer_in(w->alive, 60000);
    if (store_open(w->loop, w->dir, schema(), &w->store, &err))
        fail_msg("store: %s", err.msg);
    w->journal = journal_new(w->loop, w->store);
}

static inline void world_close(struct world *w)
{
    store_free(w->store);
    journal_free(w->journal);
    loop_timer_free(w->alive);
    loop_free(w->loop);
}

static inline int set_up(void **state)
{
    struct world *w = mem_new(sizeof *w);

    snprintf(w->dir, sizeof w->dir, "/tmp/jt-XXXXXX");
    assert_non_null(mkdtemp(w->dir));
    world_open(w);
    *state = w;
    return 0;
}

static inline void world_remove(struct world *w)
{
    static const char *const names[] = {"stigmer.db", "stigmer.db-wal", "stigmer.db-shm", "lock"};
    char path[128];

    world_close(w);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        snprintf(path, sizeof path, "%s/%s", w->dir, names[i]);
        (void)unlink(path);
    }
    assert_int_equal(rmdir(w->dir), 0);
}

static inline int tear_down(void **state)
{
    world_remove(*state);
    free(*state);
    return 0;
}

static inline void on_job(const struct err *err, void *arg)
{
    struct waiting *x = arg;

    x->code = err ? err->code : ERR_OK;
    if (err)
        x->err = *err;
    loop_quit(x->loop);
}

static inline void on_append(const struct err *err, uint64_t seq, void *arg)
{
    ((struct waiting *)arg)->seq = seq;
    on_job(err, arg);
}

static inline enum err_code create_job(sqlite3 *db, void *arg, struct err *err)
{
    const struct journal_create c = {
        .id = arg, .session_id = "ses-1", .message = "do it", .model = "", .at_ms = 1000};

    return journal_tx_create(db, &c, err);
}

/* The epoch of the newest claim of "x". */
static inline uint64_t epoch_of(struct world *w)
{
    struct journal_head head;

    assert_int_equal(journal_head(w->journal, "x", &head, NULL), ERR_OK);
    return head.epoch;
}

static inline enum err_code claim_job(sqlite3 *db, void *arg, struct err *err)
{
    Exec__Event *e;
    enum err_code code = journal_tx_claim(db, "x", arg, 2000, &e, err);

    if (!code)
        exec__event__free_unpacked(e, NULL);
    return code;
}

struct job {
    store_job_fn *fn;
    void *arg;
    struct waiting wait;
};

static inline enum err_code run_job(sqlite3 *db, void *arg, struct err *err)
{
    struct job *j = arg;

    return j->fn(db, j->arg, err);
}

static inline void job_done(const struct err *err, void *arg)
{
    on_job(err, &((struct job *)arg)->wait);
}

static inline enum err_code do_job(struct world *w, store_job_fn *fn, const char *arg)
{
    struct job j = {.fn = fn, .arg = (void *)(uintptr_t)arg, .wait = {.loop = w->loop}};

    store_submit(w->store, run_job, job_done, &j);
    loop_run(w->loop);
    return j.wait.code;
}

static inline enum err_code append(struct world *w, uint64_t epoch, Exec__Event *const *events,
                                   size_t n)
{
    struct waiting x = {.loop = w->loop};

    journal_append(w->journal, "x", epoch, events, n, on_append, &x);
    loop_run(w->loop);
    return x.code;
}

static inline Exec__Event notice(uint64_t seq, Exec__Notice *n, const char *text)
{
    Exec__Event e = EXEC__EVENT__INIT;

    exec__notice__init(n);
    n->text = (char *)(uintptr_t)text;
    e.seq = seq;
    e.at_ms = 3000;
    e.kind_case = EXEC__EVENT__KIND_NOTICE;
    e.notice = n;
    return e;
}

static inline enum err_code append_notice(struct world *w, uint64_t epoch, uint64_t seq,
                                          const char *text)
{
    Exec__Notice n;
    Exec__Event e = notice(seq, &n, text);

    return append(w, epoch, (Exec__Event *[]){&e}, 1);
}

static inline bool count_one(const Exec__Event *e, void *arg)
{
    uint64_t *next = arg;

    assert_int_equal(e->seq, *next);
    ++*next;
    return true;
}

static inline uint64_t contiguous_head(struct world *w)
{
    uint64_t next = 1;

    assert_int_equal(journal_read(w->journal, "x", 1, SIZE_MAX, count_one, &next, NULL), ERR_OK);
    return next - 1;
}

static inline int64_t ask_int(struct world *w, const char *sql)
{
    sqlite3_stmt *st;
    int64_t v;

    assert_int_equal(store_prepare(store_read_db(w->store), sql, &st, NULL), ERR_OK);
    assert_int_equal(sqlite3_step(st), SQLITE_ROW);
    v = sqlite3_column_int64(st, 0);
    sqlite3_reset(st);
    return v;
}

#endif
