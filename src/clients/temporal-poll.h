/* temporal-poll.h — keeps long polls of one task queue open and hands over what they bring.
 *
 * A poll that is answered is followed by the next at once; between failures it waits, longer and
 * longer. Polls that are cancelled may have been given a task at that very moment: such a task runs
 * into its time-out at the server, and is given out again.
 * Threads: the loop's. */
#ifndef CLIENTS_TEMPORAL_POLL_H
#define CLIENTS_TEMPORAL_POLL_H

#include "clients/temporal.h"

struct temporal_poll;

/* task: Tsvc__PollWorkflowTaskQueueResponse or Tsvc__PollActivityTaskQueueResponse; borrowed.
 * Another number of polls may be asked for inside; freeing is for later. */
typedef void temporal_poll_fn(const ProtobufCMessage *task, void *arg);

/* method: one of the two polls. Nothing is polled until temporal_poll_want. t, queue: borrowed and
 * copied. */
struct temporal_poll *temporal_poll_new(struct loop *loop, struct temporal *t,
                                        enum temporal_method method, const char *queue,
                                        temporal_poll_fn *fn, void *arg);
void temporal_poll_free(struct temporal_poll *p); /* open polls are cancelled */

/* At most so many at once; what is open beyond that ends by itself. */
void temporal_poll_want(struct temporal_poll *p, unsigned polls);

/* None any more, and what is open is cancelled: for a process that ends. Allowed inside fn. */
void temporal_poll_end(struct temporal_poll *p);

/* Why polls fail now; "" while they are answered. fn: called whenever that changes. */
const char *temporal_poll_trouble(const struct temporal_poll *p);
void temporal_poll_on_trouble(struct temporal_poll *p, loop_fn *fn, void *arg);

/* The server is known to answer again: it was away, and a poll without work is open for a minute
 * before it could tell. */
void temporal_poll_answers(struct temporal_poll *p);

struct temporal_poll_stats {
    uint64_t polls, tasks, failures; /* answered ones; of those, with a task; failed ones */
    int64_t answered_ms;             /* when one was answered last, the loop's clock; 0: never */
};
const struct temporal_poll_stats *temporal_poll_stats(const struct temporal_poll *p);

#endif
