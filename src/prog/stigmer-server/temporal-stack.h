/* temporal-stack.h — the Temporal that this server's engine works with, as a part of the stack:
 * started and kept up here (temporal.managed), or somebody else's; what status, start and stop have
 * to say of it.
 *
 *   managed    started with the stack, ready when it takes work, stopped with the stack; one that
 *              stands still is replaced
 *   external   never started or stopped; a start does not wait for it to come, only for an answer
 *              or its failing
 *
 * Ownership: borrows everything it is given. Threads: the loop's. */
#ifndef PROG_STIGMER_SERVER_TEMPORAL_STACK_H
#define PROG_STIGMER_SERVER_TEMPORAL_STACK_H

#include <jansson.h>
#include <stdbool.h>

#include "core/config.h"
#include "core/paths.h"
#include "platform/loop.h"
#include "svc/engine-temporal.h"

struct temporal_stack;

struct temporal_stack_events {
    loop_fn *on_change;                               /* what can be asked below has changed */
    void (*on_progress)(const char *what, void *arg); /* "Temporal is starting" */
    void *arg;
};

struct temporal_stack *temporal_stack_new(struct loop *loop, struct engine_temporal *engine,
                                          const struct config *config, const struct paths *paths,
                                          const struct temporal_stack_events *events);
void temporal_stack_free(struct temporal_stack *s); /* NULL is fine; ends what still runs */

/* All that follow take NULL: the engine is another one. */

bool temporal_stack_is_settled(const struct temporal_stack *s); /* a start need not wait for it */

/* A first start that cannot have it. Later it is tried again, and status says so. */
bool temporal_stack_has_failed(const struct temporal_stack *s, struct err *ret);

/* Ends what was started here, then calls done: at once when there is nothing. Once. */
void temporal_stack_stop(struct temporal_stack *s, loop_fn *done, void *arg);

enum temporal_stack_state {
    TEMPORAL_STACK_READY,
    TEMPORAL_STACK_STARTING,
    TEMPORAL_STACK_DEGRADED
};
enum temporal_stack_state temporal_stack_state(const struct temporal_stack *s);

/* Has what comes of its own accord too seldom looked at, for who asks for the status next. */
void temporal_stack_look(const struct temporal_stack *s);

/* The component of status; the caller's. */
json_t *temporal_stack_json(const struct temporal_stack *s);
void temporal_stack_put_warnings(const struct temporal_stack *s, json_t *list);

/* "http://127.0.0.1:8233", for links; "": there is none that is known. Borrowed. */
const char *temporal_stack_ui(const struct temporal_stack *s);

#endif
