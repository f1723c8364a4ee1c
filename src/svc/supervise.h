/* supervise.h — keeps a component (the runner, Temporal) up by the rules of core/unit, through a
 * backend.
 *
 * Started is not ready: whoever hears that the runner has attached, or that Temporal answers, says
 * so with supervise_ready.
 * Errors are reasons: the last one is kept for status. Threads: the loop's. */
#ifndef SVC_SUPERVISE_H
#define SVC_SUPERVISE_H

#include "core/unit.h"
#include "platform/loop.h"
#include "svc/runner-backend.h"

struct supervise;

struct supervise_events {
    void (*on_change)(enum unit_state now, void *arg); /* or what troubles it */
    void (*on_progress)(const char *what, void *arg);  /* may be NULL */
    void *arg;
};

struct supervise_report {
    enum unit_state state;
    int64_t since_wall_ms;
    unsigned restarts;
    const char *last_exit; /* borrowed; "" when it never ended by itself */
    enum err_code last_code;
    const char *last_hint; /* borrowed */
    bool blocked;          /* failed for a cause outside: it is looked at again by itself */
    const char *trouble;   /* borrowed; "" or why it runs and does nothing */
};

/* Takes the backend over; name (borrowed) is for the log. */
struct supervise *supervise_new(struct loop *loop, const char *name,
                                struct runner_backend *take_backend,
                                const struct supervise_events *events);
void supervise_start(struct supervise *s);
void supervise_stop(struct supervise *s, int64_t grace_ms);
void supervise_ready(struct supervise *s);
/* It runs and does not answer: it is killed, and started again. One that is known to stand still (a
 * paused container) is left as it is. */
void supervise_hung(struct supervise *s);
void supervise_report(const struct supervise *s, struct supervise_report *ret);
struct runner_backend *supervise_backend(struct supervise *s);
void supervise_free(struct supervise *s); /* ends what still runs; fine from inside a callback */

#endif
