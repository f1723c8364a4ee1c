/* queue-bench.h — the embedded engine with leases of some milliseconds, and two runners as it sees
 * them. Nothing is timed: each test waits for what must come. Included by one test program each. */
#ifndef TESTS_UNIT_SVC_QUEUE_BENCH_H
#define TESTS_UNIT_SVC_QUEUE_BENCH_H

#include "svc/queue.h"

#include "world.h"

enum { RUNS = 8, LEASE_MS = 60, REATTACH_MS = 25, LOST_MAX = 3 };

/* A runner as the engine sees it: what it was given and told. */
struct runner {
    struct bench *bench;
    const char *id;
    struct queue_runner *handle;
    char got[RUNS][16];
    unsigned got_count, lost, cancels, drains, inputs, decisions;
    char said[64];
};

struct bench {
    struct world w;
    struct queue *e;
    struct runner a, b;
    const unsigned *until; /* the loop is left when this … */
    unsigned at_least;     /* … is this */
    bool drained;
};

static inline void look(struct bench *b)
{
    if (b->until && *b->until >= b->at_least)
        loop_quit(b->w.loop);
}

static inline void on_assign(const char *id, void *arg)
{
    struct runner *r = arg;

    assert_true(r->got_count < RUNS);
    (void)str_format(r->got[r->got_count++], sizeof r->got[0], "%s", id);
    look(r->bench);
}

static inline void on_cancel(const char *id, const char *reason, void *arg)
{
    struct runner *r = arg;

    (void)id;
    (void)reason;
    r->cancels++;
    look(r->bench);
}

static inline void on_input(const char *id, const struct inbox_input *in, void *arg)
{
    struct runner *r = arg;

    (void)id;
    (void)str_format(r->said, sizeof r->said, "%s: %s", in->by, in->text);
    r->inputs++;
    look(r->bench);
}

static inline void on_decision(const struct approvals_row *d, void *arg)
{
    struct runner *r = arg;

    assert_true(d->decided);
    (void)str_format(r->said, sizeof r->said, "%s %s by %s: %s", d->call_id,
                     d->approved ? "approved" : "denied", d->by, d->reason);
    r->decisions++;
    look(r->bench);
}

static inline void on_drain(int64_t grace_ms, void *arg)
{
    (void)grace_ms;
    ((struct runner *)arg)->drains++;
}

static inline void on_lost(const char *id, void *arg)
{
    (void)id;
    ((struct runner *)arg)->lost++;
}

static inline void on_told_cancel(const char *id, void *arg)
{
    (void)id;
    ((struct runner *)arg)->cancels++;
}

static inline void wait_until(struct bench *b, const unsigned *what, unsigned at_least)
{
    b->until = what;
    b->at_least = at_least;
    if (*what < at_least)
        loop_run(b->w.loop);
    b->until = NULL;
    assert_true(*what >= at_least);
}

/* Everything that is due now has been done: a job of the store goes last. */
static inline enum err_code no_job(sqlite3 *db, void *arg, struct err *err)
{
    (void)db;
    (void)arg;
    (void)err;
    return ERR_OK;
}

static inline void settle(struct bench *b)
{
    for (int i = 0; i < 4; i++)
        assert_int_equal(do_job(&b->w, no_job, ""), ERR_OK);
}

static inline void attach(struct bench *b, struct runner *r, const char *id, unsigned slots)
{
    static const struct queue_runner_ops ops = {on_assign, on_cancel, on_input, on_decision,
                                                on_drain};

    r->bench = b;
    r->id = id;
    r->handle = queue_attach(b->e, id, slots, NULL, NULL, 0, &ops, r, on_lost);
}

static inline void detach(struct runner *r)
{
    queue_detach(r->handle);
    r->handle = NULL;
}

static inline int open_bench(void **state)
{
    static const struct queue_config config = {.lease_ms = LEASE_MS,
                                               .heartbeat_ms = LEASE_MS / 3,
                                               .reattach_ms = REATTACH_MS,
                                               .lost_max = LOST_MAX};
    struct bench *b = mem_new(sizeof *b);

    (void)str_format(b->w.dir, sizeof b->w.dir, "/tmp/jt-XXXXXX");
    assert_non_null(mkdtemp(b->w.dir));
    world_open(&b->w);
    assert_int_equal(queue_new(b->w.loop, b->w.store, b->w.journal, &config, &b->e, NULL), ERR_OK);
    *state = b;
    return 0;
}

static inline int close_bench(void **state)
{
    struct bench *b = *state;

    if (b->a.handle)
        detach(&b->a);
    if (b->b.handle)
        detach(&b->b);
    settle(b); /* what a store still has in hand when it goes is nobody's to free */
    queue_free(b->e);
    world_remove(&b->w);
    free(b);
    return 0;
}

/* ---- runs ---------------------------------------------------------------------------------- */

struct made {
    const char *id, *session;
};

static inline enum err_code make_job(sqlite3 *db, void *arg, struct err *err)
{
    const struct made *m = arg;
    const struct journal_create c = {
        .id = m->id, .session_id = m->session, .message = "do it", .model = "", .at_ms = 1000};

    return journal_tx_create(db, &c, err);
}

static inline void submit(struct bench *b, const char *id, const char *session)
{
    const struct made m = {id, session};
    struct engine *e = queue_engine(b->e);

    assert_int_equal(do_job(&b->w, make_job, (const char *)&m), ERR_OK);
    e->ops->submit(e, id);
}

struct claim {
    const char *id, *runner;
    uint64_t epoch;
};

static inline enum err_code claim_of(sqlite3 *db, void *arg, struct err *err)
{
    struct claim *c = arg;
    Exec__Event *e;
    enum err_code code = journal_tx_claim(db, c->id, c->runner, 2000, &e, err);

    if (!code) {
        c->epoch = e->epoch;
        exec__event__free_unpacked(e, NULL);
    }
    return code;
}

static inline uint64_t claim(struct bench *b, const struct runner *r, const char *id)
{
    struct claim c = {.id = id, .runner = r->id};

    assert_int_equal(queue_may_claim(b->e, r->id, id, NULL), ERR_OK);
    assert_int_equal(do_job(&b->w, claim_of, (const char *)&c), ERR_OK);
    queue_claimed(b->e, id, c.epoch);
    return c.epoch;
}

static inline void let_a_run_r1(struct bench *b)
{
    attach(b, &b->a, "A", 1);
    submit(b, "r1", "s1");
    wait_until(b, &b->a.got_count, 1);
    assert_int_equal(claim(b, &b->a, "r1"), 1);
}

static inline enum journal_state state_of(struct bench *b, const char *id)
{
    struct journal_head head;

    assert_int_equal(journal_head(b->w.journal, id, &head, NULL), ERR_OK);
    return head.state;
}

struct last {
    Exec__Event__KindCase kind;
    bool requeued;
};

static inline bool note_last(const Exec__Event *e, void *arg)
{
    struct last *l = arg;

    l->kind = e->kind_case;
    l->requeued |= e->kind_case == EXEC__EVENT__KIND_NOTICE;
    return true;
}

static inline struct last last_of(struct bench *b, const char *id)
{
    struct last l = {0};

    assert_int_equal(journal_read(b->w.journal, id, 1, SIZE_MAX, note_last, &l, NULL), ERR_OK);
    return l;
}

static inline void beat(void *arg)
{
    struct runner *r = arg;
    const struct queue_held held = {"r1", 1};

    queue_heartbeat(r->bench->e, r->id, &held, 1, on_lost, on_told_cancel, r);
}

static inline void quit(void *arg)
{
    loop_quit(arg);
}

static inline enum err_code cancel(struct bench *b, const char *id)
{
    struct engine *e = queue_engine(b->e);
    struct waiting x = {.loop = b->w.loop};

    e->ops->cancel(e, id, "person", "enough", on_job, &x);
    loop_run(b->w.loop);
    return x.code;
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, open_bench, close_bench)

#endif
