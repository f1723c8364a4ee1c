#include <inttypes.h>
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

#include "base/own.h"
#include "core/fold.h"
#include "power-vfs.h"
#include "world.h"

static void create_and_claim(struct world *w)
{
    assert_int_equal(do_job(w, create_job, "x"), ERR_OK);
    assert_int_equal(do_job(w, claim_job, "runner-1"), ERR_OK);
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

struct burst {
    struct world *w;
    uint64_t acked, wanted;
};

static void on_burst(const struct err *err, uint64_t seq, void *arg)
{
    struct burst *b = arg;

    assert_null(err);
    if (b->acked == b->wanted)
        return; /* told after the cut */
    b->acked = seq;
    if (seq == b->wanted) {
        power_vfs_cut(); /* with later appends in flight on the writer's thread */
        loop_quit(b->w->loop);
    }
}

static void append_burst(struct world *w, struct burst *b, uint64_t count, size_t size)
{
    OWN_FREE char *text = mem_new(size + 1);

    memset(text, 'x', size);
    for (uint64_t seq = 3; seq < 3 + count; seq++) {
        Exec__Notice n;
        Exec__Event e = notice(seq, &n, text);

        (void)str_format(text, size, "step %" PRIu64 " ", seq);
        text[strlen(text)] = 'x'; /* each is a blob of its own when it is large enough for one */
        journal_append(w->journal, "x", 1, (Exec__Event *[]){&e}, 1, on_burst, b);
    }
    loop_run(w->loop);
}

/* Cuts the power when event `wanted` is told to be on the disk, with the rest in flight. */
static void cut_at(unsigned seed, uint64_t wanted, uint64_t count, size_t size)
{
    struct world w = {.dir = "/tmp/jt-XXXXXX"};
    struct burst b = {.w = &w, .wanted = wanted};

    assert_non_null(mkdtemp(w.dir));
    power_vfs_start(w.dir, seed);
    world_open(&w);
    create_and_claim(&w);
    append_burst(&w, &b, count, size);
    world_close(&w);
    power_vfs_stop(); /* what was on the disk at the cut is in w.dir */
    world_open(&w);
    assert_true(contiguous_head(&w) >= b.acked); /* it reads every event, and so every blob */
    assert_int_equal(ask_int(&w, "SELECT count(*) FROM pragma_integrity_check "
                                 "WHERE integrity_check = 'ok'"),
                     1);
    world_remove(&w);
}

/* The power goes while the writer works: of what was not synced, any part may be there. */
static void an_acknowledged_event_survives_power_loss(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 24; round++)
        cut_at(round, 3 + round, 40, 46);
}

static void an_acknowledged_blob_survives_power_loss(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 8; round++)
        cut_at(round, 3 + 2 * round, 20, 40 << 10);
}

/* The log grows over the size at which its pages are copied into the store's file. */
static void an_acknowledged_event_survives_power_loss_in_a_checkpoint(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 4; round++)
        cut_at(round, 7 + round / 2, 8, 3 << 20);
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
    assert_int_equal(epoch_of(w), 2);
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
    assert_int_equal(journal_status(w->journal, "x", &a, NULL), ERR_OK);
    assert_int_equal(journal_status(w->journal, "x", &b, NULL), ERR_OK);
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
        cmocka_unit_test(an_acknowledged_event_survives_power_loss),
        cmocka_unit_test(an_acknowledged_blob_survives_power_loss),
        cmocka_unit_test(an_acknowledged_event_survives_power_loss_in_a_checkpoint),
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
