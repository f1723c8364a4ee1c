/* Workflows of executions that were deleted: asked to end, however long Temporal is away and
 * whoever dies meanwhile (workflow-ends.h). See engine-temporal.h. */
#include "base/log.h"
#include "base/mem.h"
#include "svc/engine-temporal-impl.h"
#include "svc/workflow-ends.h"

#define ENDS_MAX 32 /* in flight */

/* One that is asked to end, until that is noted. engine NULL: the engine is gone. */
struct deleted {
    struct engine_temporal *engine; /* borrowed */
    char *id;                       /* owned */
    struct temporal_call *call;     /* NULL: it is answered, and being noted */
};

static void deleted_free(struct deleted *d)
{
    free(d->id);
    free(d);
}

static enum err_code drop_job(sqlite3 *db, void *arg, struct err *err)
{
    return workflow_ends_tx_drop(db, ((struct deleted *)arg)->id, err);
}

static void on_dropped(const struct err *err, void *arg)
{
    struct deleted *d = arg;
    struct engine_temporal *e = d->engine;

    if (e)
        (void)map_remove(&e->deleted, d->id);
    if (err) /* asked again when there is an occasion: that does no harm */
        log_warn("what was deleted is not noted", "run", d->id, "why", err->msg);
    else if (e)
        engine_temporal_end_deleted(e);
    deleted_free(d);
}

/* Not found: it was never started, or has ended. */
static void on_asked(const ProtobufCMessage *answer, const struct err *err, void *arg)
{
    struct deleted *d = arg;
    struct engine_temporal *e = d->engine;

    (void)answer;
    d->call = NULL;
    if (err && err->code != ERR_NOT_FOUND && err->code != ERR_EXISTS) {
        (void)map_remove(&e->deleted, d->id);
        deleted_free(d);
        engine_temporal_set_fault(e, err);
        engine_temporal_try_again(e);
        return;
    }
    log_debug("a deleted run's workflow is asked to end", "run", d->id, "why", err ? err->msg : "");
    store_submit(e->store, drop_job, on_dropped, d);
}

/* A start that is under way may come after what is asked here: its answer is waited for. */
static void ask(const char *id, void *arg)
{
    struct engine_temporal *e = arg;
    struct deleted *d;

    if (map_get(&e->deleted, id) || map_get(&e->offers, id))
        return;
    d = mem_new(sizeof *d);
    d->engine = e;
    d->id = mem_str(id);
    (void)map_put(&e->deleted, id, d);
    d->call = engine_temporal_request_cancel(e, id, "it was deleted", ENGINE_TEMPORAL_TRY_MS,
                                             on_asked, d);
}

void engine_temporal_end_deleted(struct engine_temporal *e)
{
    struct err err;

    if (e->ready && !e->again_armed &&
        workflow_ends_read(store_read_db(e->store), ENDS_MAX, ask, e, &err))
        log_error("what was deleted cannot be read", "why", err.msg);
}

void engine_temporal_deleted_free(struct engine_temporal *e)
{
    const char *id;
    void *value;

    for (size_t i = 0; map_next(&e->deleted, &i, &id, &value);) {
        struct deleted *d = value;

        d->engine = NULL;
        if (d->call) {
            temporal_call_cancel(d->call);
            deleted_free(d);
        } /* else the store's answer frees it */
    }
    map_done(&e->deleted);
}
