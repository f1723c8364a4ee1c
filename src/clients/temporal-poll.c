#include "clients/temporal-poll.h"

#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/own.h"
#include "base/str.h"

#define POLLS_MAX 64
#define WAIT_MIN_MS 100
#define WAIT_MAX_MS 10000

struct place {                  /* of one poll */
    struct temporal_poll *poll; /* borrowed */
    struct temporal_call *call; /* NULL: free */
};

struct temporal_poll {
    struct loop *loop;         /* borrowed */
    struct temporal *temporal; /* borrowed */
    enum temporal_method method;
    char *queue; /* owned */
    temporal_poll_fn *fn;
    void *arg;
    loop_fn *on_trouble;
    void *trouble_arg;
    struct place places[POLLS_MAX];
    unsigned want;
    struct loop_timer *again; /* armed: after a failure nothing is asked before */
    bool waiting;
    int64_t wait_ms;
    char trouble[400];
    bool away; /* the trouble: the server was not there */
    struct temporal_poll_stats stats;
};

static void fill(struct temporal_poll *p);

static void set_trouble(struct temporal_poll *p, const char *why)
{
    bool changed = str_is_empty(p->trouble) != str_is_empty(why);

    (void)str_format(p->trouble, sizeof p->trouble, "%s", why);
    if (changed && *why)
        log_warn("polling fails, trying again", "queue", p->queue, "why", why);
    else if (changed)
        log_info("polling works again", "queue", p->queue);
    if (changed && p->on_trouble)
        p->on_trouble(p->trouble_arg);
}

static void failed(struct temporal_poll *p, const struct err *err)
{
    double chance = (double)arc4random() / 4294967296.0;

    p->stats.failures++;
    if (p->waiting)
        return;
    p->wait_ms = p->wait_ms ? p->wait_ms * 2 : WAIT_MIN_MS;
    if (p->wait_ms > WAIT_MAX_MS)
        p->wait_ms = WAIT_MAX_MS;
    p->waiting = true;
    p->away = err->code == ERR_UNAVAILABLE;
    loop_timer_in(p->again, p->wait_ms / 2 + (int64_t)(chance * (double)p->wait_ms / 2));
    set_trouble(p, err->msg);
}

static bool has_task(const ProtobufCMessage *m)
{
    if (m->descriptor == &tsvc__poll_workflow_task_queue_response__descriptor)
        return ((const Tsvc__PollWorkflowTaskQueueResponse *)m)->task_token.len != 0;
    return ((const Tsvc__PollActivityTaskQueueResponse *)m)->task_token.len != 0;
}

/* A poll without an answer in time is no fault: the server may take as long as that. */
static void on_answer(const ProtobufCMessage *answer, const struct err *err, void *arg)
{
    struct place *place = arg;
    struct temporal_poll *p = place->poll;

    place->call = NULL;
    if (err && err->code != ERR_TIMEOUT) {
        failed(p, err);
        return;
    }
    if (answer) {
        p->stats.polls++;
        p->stats.answered_ms = loop_now_ms(p->loop);
        p->wait_ms = 0;
        set_trouble(p, "");
    }
    if (answer && has_task(answer)) {
        p->stats.tasks++;
        p->fn(answer, p->arg);
    }
    fill(p);
}

void temporal_poll_answers(struct temporal_poll *p)
{
    if (p->away)
        set_trouble(p, "");
}

static void on_again(void *arg)
{
    struct temporal_poll *p = arg;

    p->waiting = false;
    fill(p);
}

static struct temporal_call *ask(struct temporal_poll *p, struct place *place)
{
    Tqueue__TaskQueue queue = TQUEUE__TASK_QUEUE__INIT;
    Tsvc__PollWorkflowTaskQueueRequest w = TSVC__POLL_WORKFLOW_TASK_QUEUE_REQUEST__INIT;
    Tsvc__PollActivityTaskQueueRequest a = TSVC__POLL_ACTIVITY_TASK_QUEUE_REQUEST__INIT;
    bool workflow = p->method == TEMPORAL_POLL_WORKFLOW_TASK;

    queue.name = p->queue;
    queue.kind = TENUM__TASK_QUEUE_KIND__TASK_QUEUE_KIND_NORMAL;
    w.task_queue = a.task_queue = &queue;
    return temporal_call(p->temporal, p->method, workflow ? &w.base : &a.base, TEMPORAL_ONCE,
                         on_answer, place);
}

static void fill(struct temporal_poll *p)
{
    unsigned open = 0;

    for (unsigned i = 0; i < POLLS_MAX; i++)
        open += p->places[i].call != NULL;
    for (unsigned i = 0; i < POLLS_MAX && open < p->want && !p->waiting; i++)
        if (!p->places[i].call) {
            p->places[i].call = ask(p, &p->places[i]);
            open++;
        }
}

struct temporal_poll *temporal_poll_new(struct loop *loop, struct temporal *t,
                                        enum temporal_method method, const char *queue,
                                        temporal_poll_fn *fn, void *arg)
{
    struct temporal_poll *p = mem_new(sizeof *p);

    p->loop = loop;
    p->temporal = t;
    p->method = method;
    p->queue = mem_str(queue);
    p->fn = fn;
    p->arg = arg;
    p->again = loop_timer_new(loop, on_again, p);
    for (unsigned i = 0; i < POLLS_MAX; i++)
        p->places[i].poll = p;
    return p;
}

void temporal_poll_free(struct temporal_poll *p)
{
    if (!p)
        return;
    for (unsigned i = 0; i < POLLS_MAX; i++)
        if (p->places[i].call)
            temporal_call_cancel(p->places[i].call);
    loop_timer_free(p->again);
    free(p->queue);
    free(p);
}

void temporal_poll_want(struct temporal_poll *p, unsigned polls)
{
    p->want = polls < POLLS_MAX ? polls : POLLS_MAX;
    fill(p);
}

void temporal_poll_end(struct temporal_poll *p)
{
    p->want = 0;
    for (unsigned i = 0; i < POLLS_MAX; i++)
        if (p->places[i].call)
            temporal_call_cancel(TAKE(p->places[i].call));
}

const char *temporal_poll_trouble(const struct temporal_poll *p)
{
    return p->trouble;
}

void temporal_poll_on_trouble(struct temporal_poll *p, loop_fn *fn, void *arg)
{
    p->on_trouble = fn;
    p->trouble_arg = arg;
}

const struct temporal_poll_stats *temporal_poll_stats(const struct temporal_poll *p)
{
    return &p->stats;
}
