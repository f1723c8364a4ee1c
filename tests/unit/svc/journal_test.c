#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/str.h"
#include "core/fold.h"
#include "platform/loop.h"
#include "platform/store.h"
#include "svc/journal.h"
#include "svc/schema.h"

/* A store of its own for each test; jobs are run to their end before a line goes on. */
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

static void nothing(void *arg)
{
    (void)arg;
}

static void world_open(struct world *w)
{
    struct err err;

    w->loop = loop_new();
    w->alive = loop_timer_new(w->loop, nothing, NULL);
    loop_timer_in(w->alive, 60000);
    if (store_open(w->loop, w->dir, schema(), &w->store, &err))
        fail_msg("store: %s", err.msg);
    w->journal = journal_new(w->loop, w->store);
}

static void world_close(struct world *w)
{
    store_free(w->store);
    journal_free(w->journal);
    loop_timer_free(w->alive);
    loop_free(w->loop);
}

static int set_up(void **state)
{
    struct world *w = mem_new(sizeof *w);

    snprintf(w->dir, sizeof w->dir, "/tmp/jt-XXXXXX");
    assert_non_null(mkdtemp(w->dir));
    world_open(w);
    *state = w;
    return 0;
}

static int tear_down(void **state)
{
    static const char *const names[] = {"stigmer.db", "stigmer.db-wal", "stigmer.db-shm", "lock"};
    struct world *w = *state;
    char path[128];

    world_close(w);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        snprintf(path, sizeof path, "%s/%s", w->dir, names[i]);
        (void)unlink(path);
    }
    assert_int_equal(rmdir(w->dir), 0);
    free(w);
    return 0;
}

static void on_job(const struct err *err, void *arg)
{
    struct waiting *x = arg;

    x->code = err ? err->code : ERR_OK;
    if (err)
        x->err = *err;
    loop_quit(x->loop);
}

static void on_append(const struct err *err, uint64_t seq, void *arg)
{
    ((struct waiting *)arg)->seq = seq;
    on_job(err, arg);
}

static enum err_code create_job(sqlite3 *db, void *arg, struct err *err)
{
    const struct journal_create c = {
        .id = arg, .session_id = "ses-1", .message = "do it", .model = "", .at_ms = 1000};

    return journal_tx_create(db, &c, err);
}

static uint64_t last_epoch;

static enum err_code claim_job(sqlite3 *db, void *arg, struct err *err)
{
    Exec__Event *e;
    enum err_code code = journal_tx_claim(db, "x", arg, 2000, &e, err);

    if (!code) {
        last_epoch = e->epoch;
        exec__event__free_unpacked(e, NULL);
    }
    return code;
}

struct job {
    store_job_fn *fn;
    void *arg;
    struct waiting wait;
};

static enum err_code run_job(sqlite3 *db, void *arg, struct err *err)
{
    struct job *j = arg;

    return j->fn(db, j->arg, err);
}

static void job_done(const struct err *err, void *arg)
{
    on_job(err, &((struct job *)arg)->wait);
}

static enum err_code do_job(struct world *w, store_job_fn *fn, const char *arg)
{
    struct job j = {.fn = fn, .arg = (void *)(uintptr_t)arg, .wait = {.loop = w->loop}};

    store_submit(w->store, run_job, job_done, &j);
    loop_run(w->loop);
    return j.wait.code;
}

static enum err_code append(struct world *w, uint64_t epoch, Exec__Event *const *events, size_t n)
{
    struct waiting x = {.loop = w->loop};

    journal_append(w->journal, "x", epoch, events, n, on_append, &x);
    loop_run(w->loop);
    return x.code;
}

static void create_and_claim(struct world *w)
{
    assert_int_equal(do_job(w, create_job, "x"), ERR_OK);
    assert_int_equal(do_job(w, claim_job, "runner-1"), ERR_OK);
}

static Exec__Event notice(uint64_t seq, Exec__Notice *n, const char *text)
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

static enum err_code append_notice(struct world *w, uint64_t epoch, uint64_t seq, const char *text)
{
    Exec__Notice n;
    Exec__Event e = notice(seq, &n, text);

    return append(w, epoch, (Exec__Event *[]){&e}, 1);
}

static bool count_one(const Exec__Event *e, void *arg)
{
    uint64_t *next = arg;

    assert_int_equal(e->seq, *next);
    ++*next;
    return true;
}

static uint64_t contiguous_head(struct world *w)
{
    uint64_t next = 1;

    assert_int_equal(journal_read(w->journal, "x", 1, SIZE_MAX, count_one, &next, NULL), ERR_OK);
    return next - 1;
}

/* ---- invariants of docs/design/0002-journal.md
 * ------------------------------------------------------ */

/* The writer dies by SIGKILL right after it was told; whoever opens next finds what was told. */
static void an_acknowledged_event_survives_the_death_of_the_server(void **state)
{
    struct world *w = *state;
    int ends[2];

    create_and_claim(w);
    world_close(w);
    assert_int_equal(pipe(ends), 0);
    for (uint64_t round = 0; round < 5; round++) {
        uint64_t acked = 0;
        pid_t pid = fork();
        if (pid == 0) {
            world_open(w);
            for (uint64_t seq = 3 + round * 4; seq < 7 + round * 4; seq++) {
                if (append_notice(w, 1, seq, "step") ||
                    write(ends[1], &seq, sizeof seq) != sizeof seq)
                    _exit(1);
            }
            kill(getpid(), SIGKILL);
        }
        assert_int_equal(waitpid(pid, NULL, 0), pid);
        for (int i = 0; i < 4; i++)
            assert_int_equal(read(ends[0], &acked, sizeof acked), sizeof acked);
        world_open(w);
        assert_int_equal(contiguous_head(w), acked);
        if (round < 4)
            world_close(w);
    }
    close(ends[0]);
    close(ends[1]);
}

static void seq_is_contiguous_and_the_same_append_twice_is_one(void **state)
{
    struct world *w = *state;

    create_and_claim(w);
    assert_int_equal(append_notice(w, 1, 3, "a"), ERR_OK);
    assert_int_equal(append_notice(w, 1, 3, "a"), ERR_OK);
    assert_int_equal(append_notice(w, 1, 3, "b"), ERR_CONFLICT);
    assert_int_equal(append_notice(w, 1, 5, "gap"), ERR_CONFLICT);
    assert_int_equal(append_notice(w, 1, 4, "c"), ERR_OK);
    assert_int_equal(contiguous_head(w), 4);
}

static void a_late_runner_is_refused(void **state)
{
    struct world *w = *state;

    create_and_claim(w);
    assert_int_equal(do_job(w, claim_job, "runner-2"), ERR_OK);
    assert_int_equal(last_epoch, 2);
    assert_int_equal(append_notice(w, 1, 4, "late"), ERR_CONFLICT);
    assert_int_equal(append_notice(w, 2, 4, "current"), ERR_OK);
}

static void nothing_follows_a_terminal_event(void **state)
{
    struct world *w = *state;
    Exec__Event e = EXEC__EVENT__INIT;
    Exec__Completed c = EXEC__COMPLETED__INIT;
    struct journal_head head;

    create_and_claim(w);
    e.seq = 3;
    e.at_ms = 4000;
    e.kind_case = EXEC__EVENT__KIND_COMPLETED;
    e.completed = &c;
    assert_int_equal(append(w, 1, (Exec__Event *[]){&e}, 1), ERR_OK);
    assert_int_equal(append(w, 1, (Exec__Event *[]){&e}, 1), ERR_OK); /* the same again */
    assert_int_equal(append_notice(w, 1, 4, "more"), ERR_STATE);
    assert_int_equal(append_notice(w, JOURNAL_SERVER, 0, "more"), ERR_STATE);
    assert_int_equal(do_job(w, claim_job, "runner-2"), ERR_STATE);
    assert_int_equal(journal_head(w->journal, "x", &head, NULL), ERR_OK);
    assert_int_equal(head.state, JOURNAL_ENDED);
    assert_int_equal(head.phase, AEXEC__EXECUTION_PHASE__EXECUTION_COMPLETED);
}

static void each_call_is_finished_once_before_the_next_turn(void **state)
{
    struct world *w = *state;
    Exec__ToolRequest r = EXEC__TOOL_REQUEST__INIT;
    Exec__TurnStarted ts = EXEC__TURN_STARTED__INIT;
    Exec__TurnFinished tf = EXEC__TURN_FINISHED__INIT;
    Exec__ToolFinished done = EXEC__TOOL_FINISHED__INIT;
    Exec__Event e[4] = {EXEC__EVENT__INIT, EXEC__EVENT__INIT, EXEC__EVENT__INIT, EXEC__EVENT__INIT};
    char id[] = "c1", name[] = "ls", args[] = "{}";

    create_and_claim(w);
    r.call_id = id;
    r.name = name;
    r.args_json = args;
    tf.n_tool_calls = 1;
    tf.tool_calls = (Exec__ToolRequest *[]){&r};
    done.call_id = id;
    e[0].kind_case = e[3].kind_case = EXEC__EVENT__KIND_TURN_STARTED;
    e[0].turn_started = e[3].turn_started = &ts;
    e[1].kind_case = EXEC__EVENT__KIND_TURN_FINISHED;
    e[1].turn_finished = &tf;
    e[2].kind_case = EXEC__EVENT__KIND_TOOL_FINISHED;
    e[2].tool_finished = &done;
    e[0].seq = 3;
    e[1].seq = 4;
    assert_int_equal(append(w, 1, (Exec__Event *[]){&e[0], &e[1]}, 2), ERR_OK);
    e[3].seq = 5;
    assert_int_equal(append(w, 1, (Exec__Event *[]){&e[3]}, 1), ERR_INVALID);
    e[2].seq = 5;
    assert_int_equal(append(w, 1, (Exec__Event *[]){&e[2]}, 1), ERR_OK);
    e[2].seq = 6;
    assert_int_equal(append(w, 1, (Exec__Event *[]){&e[2]}, 1), ERR_INVALID);
    e[3].seq = 6;
    assert_int_equal(append(w, 1, (Exec__Event *[]){&e[3]}, 1), ERR_OK);
}

static void the_status_is_the_fold_and_folding_twice_gives_the_same_bytes(void **state)
{
    struct world *w = *state;
    Aexec__AgentExecutionStatus *a, *b;
    uint8_t *x, *y;
    size_t len;

    create_and_claim(w);
    assert_int_equal(append_notice(w, 1, 3, "n"), ERR_OK);
    assert_int_equal(journal_status(w->journal, "x", &a, NULL, NULL), ERR_OK);
    assert_int_equal(journal_status(w->journal, "x", &b, NULL, NULL), ERR_OK);
    len = aexec__agent_execution_status__get_packed_size(a);
    assert_int_equal(len, aexec__agent_execution_status__get_packed_size(b));
    x = mem_array(len, 1);
    y = mem_array(len, 1);
    aexec__agent_execution_status__pack(a, x);
    aexec__agent_execution_status__pack(b, y);
    assert_memory_equal(x, y, len);
    assert_int_equal(a->phase, AEXEC__EXECUTION_PHASE__EXECUTION_IN_PROGRESS);
    assert_int_equal(a->n_messages, 2);
    free(x);
    free(y);
    aexec__agent_execution_status__free_unpacked(a, NULL);
    aexec__agent_execution_status__free_unpacked(b, NULL);
}

static int64_t ask_int(struct world *w, const char *sql)
{
    sqlite3_stmt *st;
    int64_t v;

    assert_int_equal(store_prepare(store_read_db(w->store), sql, &st, NULL), ERR_OK);
    assert_int_equal(sqlite3_step(st), SQLITE_ROW);
    v = sqlite3_column_int64(st, 0);
    sqlite3_reset(st);
    return v;
}

static enum err_code delete_job(sqlite3 *db, void *arg, struct err *err)
{
    return journal_tx_delete(db, arg, err);
}

static void a_payload_over_32_kb_is_stored_once_by_its_hash(void **state)
{
    struct world *w = *state;
    char *big = mem_new(100001);

    create_and_claim(w);
    memset(big, 'x', 100000);
    assert_int_equal(append_notice(w, 1, 3, big), ERR_OK);
    assert_int_equal(append_notice(w, 1, 4, big), ERR_OK);
    assert_int_equal(append_notice(w, 1, 4, big), ERR_OK);
    assert_int_equal(ask_int(w, "SELECT count(*) FROM blob"), 1);
    assert_int_equal(ask_int(w, "SELECT count(*) FROM event WHERE hash IS NOT NULL"), 2);
    assert_int_equal(contiguous_head(w), 4);
    assert_int_equal(do_job(w, delete_job, "x"), ERR_OK);
    assert_int_equal(ask_int(w, "SELECT count(*) FROM blob"), 0);
    free(big);
}

static void a_second_server_on_the_same_home_is_refused(void **state)
{
    struct world *w = *state;
    struct store *other;
    struct err err;

    assert_int_equal(store_open(w->loop, w->dir, schema(), &other, &err), ERR_CONFLICT);
    assert_non_null(strstr(err.msg, w->dir));
}

static enum err_code newer_job(sqlite3 *db, void *arg, struct err *err)
{
    (void)arg;
    return sqlite3_exec(db, "PRAGMA user_version = 99", NULL, NULL, NULL)
               ? store_error(db, "test", err)
               : ERR_OK;
}

static void a_store_of_a_newer_version_is_refused_with_words(void **state)
{
    struct world *w = *state;
    struct store *none;
    struct err err;

    assert_int_equal(do_job(w, newer_job, ""), ERR_OK);
    store_free(w->store);
    w->store = NULL;
    assert_int_equal(store_open(w->loop, w->dir, schema(), &none, &err), ERR_CORRUPT);
    assert_non_null(strstr(err.msg, "version 99"));
    assert_true(err.hint[0] != '\0');
}

static enum err_code failing_job(sqlite3 *db, void *arg, struct err *err)
{
    enum err_code code = create_job(db, arg, err);

    return code ? code : err_set(err, ERR_INVALID, "on purpose");
}

static void a_job_that_fails_is_undone_alone(void **state)
{
    struct world *w = *state;
    struct job bad = {.fn = failing_job, .arg = (char[]){"y"}, .wait = {.loop = w->loop}};
    struct job good = {.fn = create_job, .arg = (char[]){"z"}, .wait = {.loop = w->loop}};

    store_submit(w->store, run_job, NULL, &bad);
    store_submit(w->store, run_job, job_done, &good);
    loop_run(w->loop);
    assert_int_equal(good.wait.code, ERR_OK);
    assert_int_equal(ask_int(w, "SELECT count(*) FROM execution"), 1);
    assert_int_equal(ask_int(w, "SELECT count(*) FROM event WHERE execution_id = 'z'"), 1);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_acknowledged_event_survives_the_death_of_the_server),
        TEST(seq_is_contiguous_and_the_same_append_twice_is_one),
        TEST(a_late_runner_is_refused),
        TEST(nothing_follows_a_terminal_event),
        TEST(each_call_is_finished_once_before_the_next_turn),
        TEST(the_status_is_the_fold_and_folding_twice_gives_the_same_bytes),
        TEST(a_payload_over_32_kb_is_stored_once_by_its_hash),
        TEST(a_second_server_on_the_same_home_is_refused),
        TEST(a_store_of_a_newer_version_is_refused_with_words),
        TEST(a_job_that_fails_is_undone_alone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
