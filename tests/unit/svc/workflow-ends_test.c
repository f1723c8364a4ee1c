/* What was deleted here, and is to end elsewhere: kept until that is known there; who is told. */
#include "svc/workflow-ends.h"

#include "svc/queue.h"
#include "world.h"

#define TOLD 64

static enum err_code put(sqlite3 *db, void *arg, struct err *err)
{
    return workflow_ends_tx_put(db, arg, err);
}

static enum err_code drop(sqlite3 *db, void *arg, struct err *err)
{
    return workflow_ends_tx_drop(db, arg, err);
}

static enum err_code put_and_fail(sqlite3 *db, void *arg, struct err *err)
{
    enum err_code code = workflow_ends_tx_put(db, arg, err);

    return code ? code : err_set(err, ERR_STATE, "the deletion does not come about");
}

static void note(char *told, const char *prefix, const char *id)
{
    (void)str_format(told + strlen(told), TOLD - strlen(told), "%s%s ", prefix, id);
}

static void add(const char *id, void *arg)
{
    note(arg, "", id);
}

static const char *due(struct world *w, size_t limit, char ret[TOLD])
{
    *ret = '\0';
    assert_int_equal(workflow_ends_read(store_read_db(w->store), limit, add, ret, NULL), ERR_OK);
    return ret;
}

static void what_is_noted_stays_over_a_restart_until_it_is_dropped(void **state)
{
    struct world *w = *state;
    char text[TOLD];

    assert_string_equal(due(w, 9, text), "");
    assert_int_equal(do_job(w, put, "b"), ERR_OK);
    assert_int_equal(do_job(w, put, "a"), ERR_OK);
    assert_int_equal(do_job(w, put, "b"), ERR_OK);
    assert_int_equal(do_job(w, put_and_fail, "c"), ERR_STATE);
    world_close(w);
    world_open(w);
    assert_string_equal(due(w, 9, text), "a b ");
    assert_string_equal(due(w, 1, text), "a ");
    assert_int_equal(do_job(w, drop, "a"), ERR_OK);
    assert_int_equal(do_job(w, drop, "a"), ERR_OK);
    assert_string_equal(due(w, 9, text), "b ");
}

static void on_offer(const char *id, const char *session, bool own_folder, void *arg)
{
    (void)id;
    (void)session;
    (void)own_folder;
    (void)arg;
}

static void on_closed(const char *id, const char *why, void *arg)
{
    assert_null(why); /* on_deleted says it */
    add(id, arg);
}

static void on_deleted(const char *id, void *arg)
{
    note(arg, "deleted:", id);
}

static void a_deletion_is_told_whether_the_run_was_open_or_had_ended(void **state)
{
    struct world *w = *state;
    char told[TOLD] = "";
    struct queue *q;
    struct engine *e;

    assert_int_equal(queue_new(w->loop, w->store, w->journal, &(struct queue_config){0}, &q, NULL),
                     ERR_OK);
    e = queue_engine(q);
    e->ops->forget(e, "before"); /* nobody is there who wants to know */
    assert_false(e->outside);
    queue_set_dispatch(
        q, &(struct queue_dispatch){
               .offer = on_offer, .closed = on_closed, .deleted = on_deleted, .arg = told});
    assert_true(e->outside);
    assert_int_equal(do_job(w, create_job, "x"), ERR_OK);
    e->ops->submit(e, "x");
    e->ops->forget(e, "x");
    e->ops->forget(e, "y");
    assert_string_equal(told, "x deleted:x deleted:y ");
    queue_set_dispatch(q, &(struct queue_dispatch){0}); /* as at the end */
    assert_true(e->outside);                            /* deletions that are under way are noted */
    queue_free(q);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_is_noted_stays_over_a_restart_until_it_is_dropped,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_deletion_is_told_whether_the_run_was_open_or_had_ended,
                                        set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
