#include "svc/supervise.h"

#include <stdbool.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"

struct supervise {
    const char *name;               /* borrowed */
    struct unit unit;               /* decides; we only carry out */
    struct loop *loop;              /* borrowed */
    struct runner_backend *backend; /* owned */
    struct loop_timer *timer;       /* owned */
    struct supervise_events events;
    struct err last; /* why it last ended */
    struct clock_mark since;
    bool hung;              /* killed for that */
    bool started, attached; /* both make it ready: a runner that was found again attaches early */
    bool dead;              /* freed inside a callback; memory stays until the turn ends */
};

static double jitter(void)
{
    return (double)random() / (double)RAND_MAX;
}

/* Decide, do, tell, follow up: in this order, because on_change may stop or free us. */
static void feed(struct supervise *s, enum unit_event ev)
{
    enum unit_state before = s->unit.state;
    enum unit_action act = unit_step(&s->unit, ev, loop_now_ms(s->loop), jitter());

    loop_timer_at(s->timer, s->unit.deadline_ms);
    if (act == UNIT_SPAWN)
        s->backend->ops->start(s->backend);
    else if (act == UNIT_TERM)
        s->backend->ops->stop(s->backend);
    else if (act == UNIT_KILL)
        s->backend->ops->kill(s->backend);
    if (s->unit.state == before)
        return;
    s->since = clock_mark_now();
    log_info("component state", "component", s->name, "state", unit_state_name(s->unit.state));
    if (s->events.on_change)
        s->events.on_change(s->unit.state, s->events.arg);
}

static void on_timer(void *arg)
{
    feed(arg, UNIT_TIMER);
}

static void check_ready(struct supervise *s)
{
    if (s->started && s->attached)
        feed(s, UNIT_READY);
}

static void on_started(void *arg)
{
    struct supervise *s = arg;

    if (s->dead)
        return;
    s->started = true;
    check_ready(s);
}

static void on_exited(const struct err *why, void *arg)
{
    struct supervise *s = arg;

    if (s->dead)
        return;
    if (s->unit.state != UNIT_STOPPING) {
        s->last = *why;
        if (s->hung)
            err_set(&s->last, ERR_OK, "it did not answer any more and was killed");
        log_warn("component ended", "component", s->name, "why", s->last.msg);
    }
    s->hung = false;
    s->started = s->attached = false;
    feed(s, UNIT_EXIT);
}

/* The same reason again and again is one line of the log. */
static void on_blocked(const struct err *why, void *arg)
{
    struct supervise *s = arg;

    if (s->dead)
        return;
    if (s->unit.state != UNIT_STOPPING && (!s->unit.look_ms || !str_eq(s->last.msg, why->msg)))
        log_warn("component cannot run", "component", s->name, "why", why->msg);
    if (s->unit.state != UNIT_STOPPING)
        s->last = *why;
    s->started = s->attached = false;
    feed(s, UNIT_BLOCKED);
}

static void on_progress(const char *what, void *arg)
{
    struct supervise *s = arg;

    if (!s->dead && s->events.on_progress)
        s->events.on_progress(what, s->events.arg);
}

static void on_trouble(void *arg)
{
    struct supervise *s = arg;

    if (!s->dead && s->events.on_change)
        s->events.on_change(s->unit.state, s->events.arg);
}

struct supervise *supervise_new(struct loop *loop, const char *name,
                                struct runner_backend *take_backend,
                                const struct supervise_events *events)
{
    /* The design's figures: ten restarts in ten minutes; the first comes at once. */
    static const struct unit_policy policy = {.backoff_min_ms = 200,
                                              .backoff_max_ms = 30000,
                                              .grace_ms = 10000,
                                              .window_ms = 600000,
                                              .restarts = 10,
                                              .look_min_ms = 500,
                                              .look_max_ms = 10000};
    struct supervise *s = mem_new(sizeof *s);

    unit_init(&s->unit, &policy);
    s->name = name;
    s->loop = loop;
    s->backend = take_backend;
    s->events = *events;
    s->since = clock_mark_now();
    s->timer = loop_timer_new(loop, on_timer, s);
    s->backend->events = (struct runner_backend_events){on_progress, on_started, on_exited,
                                                        on_blocked,  on_trouble, s};
    return s;
}

void supervise_start(struct supervise *s)
{
    feed(s, UNIT_START);
}

void supervise_stop(struct supervise *s, int64_t grace_ms)
{
    s->unit.policy.grace_ms = grace_ms;
    feed(s, UNIT_STOP);
}

void supervise_ready(struct supervise *s)
{
    s->attached = true;
    check_ready(s);
}

void supervise_hung(struct supervise *s)
{
    if (s->unit.state != UNIT_UP || s->hung || !str_is_empty(s->backend->ops->trouble(s->backend)))
        return;
    s->hung = true;
    s->backend->ops->kill(s->backend);
}

void supervise_report(const struct supervise *s, struct supervise_report *ret)
{
    *ret = (struct supervise_report){.state = s->unit.state,
                                     .since_wall_ms = clock_mark_wall_ms(&s->since),
                                     .restarts = s->unit.total,
                                     .last_exit = s->last.msg,
                                     .last_code = s->last.code,
                                     .last_hint = s->last.hint,
                                     .blocked = s->unit.state == UNIT_FAILED && s->unit.look_ms,
                                     .trouble = s->backend->ops->trouble(s->backend)};
}

struct runner_backend *supervise_backend(struct supervise *s)
{
    return s->backend;
}

void supervise_free(struct supervise *s)
{
    if (!s)
        return;
    s->dead = true;
    loop_timer_free(s->timer); /* after these two nothing calls us, */
    s->backend->ops->free(s->backend);
    loop_later(s->loop, free, s); /* but feed() may still be on the stack */
}
