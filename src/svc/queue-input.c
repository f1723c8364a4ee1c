/* What people say to executions and decide for them: written first, then told to the runner that
 * has it: see queue.h. One that has not said that it is in the journal is told again with its
 * heartbeats. */
#include <string.h>

#include "base/log.h"
#include "svc/queue-impl.h"

static void tell(const struct inbox_input *in, void *arg)
{
    const struct item *it = arg;

    it->runner->ops.input(it->id, in, it->runner->arg);
}

struct telling {
    const struct item *it;
    size_t decisions;
};

static bool tell_decision(const struct approvals_row *r, void *arg)
{
    struct telling *t = arg;

    if (r->decided) {
        t->decisions++;
        t->it->runner->ops.decision(r, t->it->runner->arg);
    }
    return true;
}

void queue_tell_said(struct item *it)
{
    sqlite3 *db = store_read_db(it->engine->store);
    struct telling t = {it, 0};
    size_t inputs;
    struct err err;

    if (!it->spoken_to || !it->runner || it->state != ITEM_CLAIMED)
        return;
    if (inbox_unread(db, it->id, tell, it, &inputs, &err) ||
        approvals_open(db, it->id, tell_decision, &t, &err))
        log_error("what was said to a run cannot be read", "run", it->id, "why", err.msg);
    else
        it->spoken_to = inputs + t.decisions > 0;
}

/* It has ended. Who said something finds that out with the end; this is for the rest. */
void queue_warn_unread(const struct item *it)
{
    size_t count;

    if (it->spoken_to &&
        !inbox_unread(store_read_db(it->engine->store), it->id, NULL, NULL, &count, NULL) && count)
        log_warn("a run ended before it read what was said to it", "run", it->id, "messages",
                 log_int((int64_t)count));
}

struct saying {
    struct queue *engine;      /* borrowed */
    char *id;                  /* owned */
    char *said_id, *by, *text; /* owned */
    engine_done_fn *done;
    void *arg;
};

static enum err_code say_job(sqlite3 *db, void *arg, struct err *err)
{
    const struct saying *s = arg;
    const struct inbox_input in = {s->said_id, s->by, s->text};
    struct journal_head head;
    enum err_code code = journal_tx_head(db, s->id, &head, err);

    if (code)
        return code;
    if (inbox_is_read(db, s->id, s->said_id))
        return ERR_OK; /* its sender was not answered, and says it again */
    if (head.state == JOURNAL_ENDED)
        return err_set(err, ERR_STATE, "execution '%.80s' has ended already", s->id);
    return inbox_tx_put(db, s->id, &in, err);
}

static void said(const struct err *err, void *arg)
{
    struct saying *s = arg;
    struct item *it = queue_find(s->engine, s->id);

    if (!err && it) {
        it->spoken_to = true;
        queue_tell_said(it);
    }
    s->done(err, s->arg);
    free(s->id);
    free(s->said_id);
    free(s->by);
    free(s->text);
    free(s);
}

void queue_input(struct engine *base, const char *id, const struct inbox_input *in,
                 engine_done_fn *done, void *arg)
{
    struct saying *s = mem_new(sizeof *s);

    s->engine = (struct queue *)base; /* base is the first member */
    s->id = mem_str(id);
    s->said_id = mem_str(in->id);
    s->by = mem_str(in->by);
    s->text = mem_str(in->text);
    s->done = done;
    s->arg = arg;
    store_submit(s->engine->store, say_job, said, s);
}

/* ---- decisions ----------------------------------------------------------------------------------
 */

struct deciding {
    struct queue *engine; /* borrowed */
    char *id;             /* owned */
    struct approvals_choice choice;
    char *call_id, *by, *reason; /* owned; choice borrows them */
    struct approvals_decided decided;
    engine_decided_fn *done;
    void *arg;
};

static enum err_code decide_job(sqlite3 *db, void *arg, struct err *err)
{
    struct deciding *d = arg;
    struct journal_head head;
    enum err_code code = journal_tx_head(db, d->id, &head, err);

    if (code)
        return code;
    if (head.state == JOURNAL_ENDED)
        return err_set(err, ERR_STATE, "execution '%.80s' has ended already", d->id);
    return approvals_tx_decide(db, d->id, &d->choice, &d->decided, err);
}

static void decided(const struct err *err, void *arg)
{
    struct deciding *d = arg;
    struct item *it = queue_find(d->engine, d->id);

    if (!err && it) {
        it->spoken_to = true;
        queue_tell_said(it);
    }
    d->done(err, &d->decided, d->arg);
    free(d->id);
    free(d->call_id);
    free(d->by);
    free(d->reason);
    free(d);
}

void queue_decide(struct engine *base, const char *id, const struct approvals_choice *c,
                  engine_decided_fn *done, void *arg)
{
    struct deciding *d = mem_new(sizeof *d);

    d->engine = (struct queue *)base; /* base is the first member */
    d->id = mem_str(id);
    d->call_id = c->call_id ? mem_str(c->call_id) : NULL;
    d->by = mem_str(c->by);
    d->reason = mem_str(c->reason);
    d->choice = (struct approvals_choice){c->seq, d->call_id, c->approve, d->by, d->reason};
    d->done = done;
    d->arg = arg;
    store_submit(d->engine->store, decide_job, decided, d);
}
