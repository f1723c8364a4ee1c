/* temporal-bench.c — the bare round trips of one execution: one workflow, one activity, on a real
 * Temporal server, by our client and with nothing behind it: no journal, no runner, no model.
 *   temporal-bench HOST:PORT NAMESPACE [ROUNDS [PAUSE_MS]]
 * One after another, PAUSE_MS apart. Prints, in µs, p50 and p99 of start → the activity is handed
 * out, and of start → the workflow has closed. What Stigmer needs beyond the first is Stigmer's
 * own. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/mem.h"
#include "base/str.h"
#include "clients/temporal-poll.h"
#include "clients/temporal.h"
#include "platform/loop.h"

#define POLLS 2
#define TRY_MS 10000

static char workflow_queue[] = "bench-workflows", activity_queue[] = "bench-activities";
static char type_name[] = "bench";

struct bench {
    struct loop *loop;
    struct temporal *temporal;
    struct loop_timer *next;
    int64_t rounds, pause_ms, done, from_ns, *handed_ns, *closed_ns;
    bool failed;
};

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void on_answer(const ProtobufCMessage *answer, const struct err *err, void *arg)
{
    struct bench *b = arg;

    (void)answer;
    if (!err)
        return;
    fprintf(stderr, "temporal-bench: %s\n", err->msg);
    b->failed = true;
    loop_quit(b->loop);
}

static void on_closed(const ProtobufCMessage *answer, const struct err *err, void *arg)
{
    struct bench *b = arg;

    if (err) {
        on_answer(answer, err, arg);
        return;
    }
    b->closed_ns[b->done++] = now_ns() - b->from_ns;
    if (b->done < b->rounds)
        loop_timer_in(b->next, b->pause_ms);
    else
        loop_quit(b->loop);
}

static void schedule(Tcmd__Command *c, Tcmd__ScheduleActivityTaskCommandAttributes *a)
{
    c->command_type = TENUM__COMMAND_TYPE__COMMAND_TYPE_SCHEDULE_ACTIVITY_TASK;
    c->attributes_case = TCMD__COMMAND__ATTRIBUTES_SCHEDULE_ACTIVITY_TASK_COMMAND_ATTRIBUTES;
    c->schedule_activity_task_command_attributes = a;
}

/* The first task of a workflow is its start's; the second one comes when the activity has ended. */
static void decide(struct bench *b, const Tsvc__PollWorkflowTaskQueueResponse *m)
{
    Tsvc__RespondWorkflowTaskCompletedRequest r =
        TSVC__RESPOND_WORKFLOW_TASK_COMPLETED_REQUEST__INIT;
    Tcmd__Command c = TCMD__COMMAND__INIT, *list[] = {&c};
    Tcmd__ScheduleActivityTaskCommandAttributes a =
        TCMD__SCHEDULE_ACTIVITY_TASK_COMMAND_ATTRIBUTES__INIT;
    Tcmd__CompleteWorkflowExecutionCommandAttributes end =
        TCMD__COMPLETE_WORKFLOW_EXECUTION_COMMAND_ATTRIBUTES__INIT;
    Tcom__ActivityType type = TCOM__ACTIVITY_TYPE__INIT;
    Tqueue__TaskQueue queue = TQUEUE__TASK_QUEUE__INIT;
    Google__Protobuf__Duration whole = GOOGLE__PROTOBUF__DURATION__INIT;
    bool first = m->history && m->history->n_events < 5;
    char id[] = "a";

    type.name = type_name;
    queue.name = activity_queue;
    queue.kind = TENUM__TASK_QUEUE_KIND__TASK_QUEUE_KIND_NORMAL;
    whole.seconds = 60;
    a.activity_id = id;
    a.activity_type = &type;
    a.task_queue = &queue;
    a.start_to_close_timeout = &whole;
    if (first) {
        schedule(&c, &a);
    } else {
        c.command_type = TENUM__COMMAND_TYPE__COMMAND_TYPE_COMPLETE_WORKFLOW_EXECUTION;
        c.attributes_case =
            TCMD__COMMAND__ATTRIBUTES_COMPLETE_WORKFLOW_EXECUTION_COMMAND_ATTRIBUTES;
        c.complete_workflow_execution_command_attributes = &end;
    }
    r.task_token = m->task_token;
    r.commands = list;
    r.n_commands = 1;
    temporal_call(b->temporal, TEMPORAL_COMPLETE_WORKFLOW_TASK, &r.base, TRY_MS,
                  first ? on_answer : on_closed, b);
}

static void on_workflow_task(const ProtobufCMessage *task, void *arg)
{
    decide(arg, (const Tsvc__PollWorkflowTaskQueueResponse *)task);
}

static void on_activity_task(const ProtobufCMessage *task, void *arg)
{
    struct bench *b = arg;
    Tsvc__RespondActivityTaskCompletedRequest r =
        TSVC__RESPOND_ACTIVITY_TASK_COMPLETED_REQUEST__INIT;

    b->handed_ns[b->done] = now_ns() - b->from_ns;
    r.task_token = ((const Tsvc__PollActivityTaskQueueResponse *)task)->task_token;
    temporal_call(b->temporal, TEMPORAL_COMPLETE_ACTIVITY, &r.base, TRY_MS, on_answer, b);
}

static void on_started(const ProtobufCMessage *answer, const struct err *err, void *arg)
{
    const Tsvc__StartWorkflowExecutionResponse *m =
        (const Tsvc__StartWorkflowExecutionResponse *)answer;

    if (err)
        on_answer(answer, err, arg);
    else if (m->eager_workflow_task && m->eager_workflow_task->task_token.len)
        decide(arg, m->eager_workflow_task);
}

static void start(void *arg)
{
    struct bench *b = arg;
    Tsvc__StartWorkflowExecutionRequest r = TSVC__START_WORKFLOW_EXECUTION_REQUEST__INIT;
    Tcom__WorkflowType type = TCOM__WORKFLOW_TYPE__INIT;
    Tqueue__TaskQueue queue = TQUEUE__TASK_QUEUE__INIT;
    char id[64];

    (void)str_format(id, sizeof id, "bench-%" PRId64, now_ns());
    type.name = type_name;
    queue.name = workflow_queue;
    queue.kind = TENUM__TASK_QUEUE_KIND__TASK_QUEUE_KIND_NORMAL;
    r.workflow_id = r.request_id = id;
    r.workflow_type = &type;
    r.task_queue = &queue;
    r.request_eager_execution = true;
    b->from_ns = now_ns();
    temporal_call(b->temporal, TEMPORAL_START_WORKFLOW, &r.base, TRY_MS, on_started, b);
}

static int by_size(const void *a, const void *b)
{
    const int64_t *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

static void print(const char *what, int64_t *ns, int64_t count)
{
    qsort(ns, (size_t)count, sizeof *ns, by_size);
    printf("%s %" PRId64 " %" PRId64 "\n", what, ns[count / 2] / 1000, ns[count * 99 / 100] / 1000);
}

int main(int argc, char **argv)
{
    struct bench b = {.rounds = argc > 3 ? atoll(argv[3]) : 100,
                      .pause_ms = argc > 4 ? atoll(argv[4]) : 0};
    struct err err;
    char identity[] = "temporal-bench";

    if (argc < 3 || b.rounds < 1) {
        fprintf(stderr, "usage: temporal-bench HOST:PORT NAMESPACE [ROUNDS [PAUSE_MS]]\n");
        return 2;
    }
    b.handed_ns = mem_array((size_t)b.rounds, sizeof *b.handed_ns);
    b.closed_ns = mem_array((size_t)b.rounds, sizeof *b.closed_ns);
    b.loop = loop_new();
    if (temporal_new(b.loop,
                     &(struct temporal_options){
                         .address = argv[1], .namespace = argv[2], .identity = identity},
                     &b.temporal, &err)) {
        fprintf(stderr, "temporal-bench: %s\n", err.msg);
        return 1;
    }
    struct temporal_poll *workflows = temporal_poll_new(
        b.loop, b.temporal, TEMPORAL_POLL_WORKFLOW_TASK, workflow_queue, on_workflow_task, &b);
    struct temporal_poll *activities = temporal_poll_new(
        b.loop, b.temporal, TEMPORAL_POLL_ACTIVITY_TASK, activity_queue, on_activity_task, &b);
    temporal_poll_want(workflows, POLLS);
    temporal_poll_want(activities, POLLS);
    b.next = loop_timer_new(b.loop, start, &b);
    loop_timer_in(b.next, 0);
    loop_run(b.loop);
    if (!b.failed) {
        print("handed", b.handed_ns, b.rounds);
        print("closed", b.closed_ns, b.rounds);
    }
    temporal_poll_free(workflows);
    temporal_poll_free(activities);
    loop_timer_free(b.next);
    temporal_free(b.temporal);
    loop_free(b.loop);
    free(b.handed_ns);
    free(b.closed_ns);
    return b.failed;
}
