#include "core/unit.h"

#include <string.h>

static enum unit_action enter(struct unit *u, enum unit_state s, int64_t now, int64_t deadline,
                              enum unit_action act)
{
    u->state = s;
    u->since_ms = now;
    u->deadline_ms = deadline;
    return act;
}

static enum unit_action ignore(struct unit *u, int64_t now, double jitter)
{
    (void)u;
    (void)now;
    (void)jitter;
    return UNIT_NOTHING;
}

static enum unit_action start(struct unit *u, int64_t now, double jitter)
{
    (void)jitter;
    return enter(u, UNIT_STARTING, now, INT64_MAX, UNIT_SPAWN);
}

/* By a person's or a cause's hand: earlier failures are forgiven. */
static enum unit_action retry(struct unit *u, int64_t now, double jitter)
{
    u->exits = 0;
    u->look_ms = 0;
    return start(u, now, jitter);
}

static enum unit_action ready(struct unit *u, int64_t now, double jitter)
{
    (void)jitter;
    u->look_ms = 0;
    return enter(u, UNIT_UP, now, INT64_MAX, UNIT_NOTHING);
}

static void count_exit(struct unit *u, int64_t now)
{
    unsigned keep = 0;

    for (unsigned i = 0; i < u->exits; i++)
        if (u->exit_ms[i] > now - u->policy.window_ms)
            u->exit_ms[keep++] = u->exit_ms[i];
    if (keep == UNIT_WINDOW_MAX) {
        memmove(u->exit_ms, u->exit_ms + 1, sizeof u->exit_ms - sizeof u->exit_ms[0]);
        keep--;
    }
    u->exit_ms[keep++] = now;
    u->exits = keep;
    u->total++;
}

static enum unit_action crashed(struct unit *u, int64_t now, double jitter)
{
    int64_t wait = u->policy.backoff_min_ms;

    count_exit(u, now);
    u->look_ms = 0;
    if (u->exits > u->policy.restarts)
        return enter(u, UNIT_FAILED, now, INT64_MAX, UNIT_NOTHING);
    for (unsigned i = 2; i < u->exits && wait < u->policy.backoff_max_ms; i++)
        wait *= 2;
    if (wait > u->policy.backoff_max_ms)
        wait = u->policy.backoff_max_ms;
    if (u->exits == 1)
        wait = 0;
    return enter(u, UNIT_BACKOFF, now, now + wait / 2 + (int64_t)((double)wait / 2 * jitter),
                 UNIT_NOTHING);
}

/* Not counted among the exits: it never ran, or was taken away. */
static enum unit_action blocked(struct unit *u, int64_t now, double jitter)
{
    const struct unit_policy *p = &u->policy;

    (void)jitter; /* it is asked for, not started: no herd to spread */
    u->look_ms = u->look_ms ? u->look_ms * 2 : p->look_min_ms;
    if (u->look_ms > p->look_max_ms)
        u->look_ms = p->look_max_ms;
    return enter(u, UNIT_FAILED, now, now + u->look_ms, UNIT_NOTHING);
}

/* A failure of its own making waits for START. */
static enum unit_action look(struct unit *u, int64_t now, double jitter)
{
    return u->look_ms ? start(u, now, jitter) : UNIT_NOTHING;
}

static enum unit_action stop(struct unit *u, int64_t now, double jitter)
{
    (void)jitter;
    return enter(u, UNIT_STOPPING, now, now + u->policy.grace_ms, UNIT_TERM);
}

static enum unit_action overdue(struct unit *u, int64_t now, double jitter)
{
    (void)jitter;
    u->deadline_ms =
        now + u->policy.grace_ms; /* a kill can get lost with its engine: say it again */
    return UNIT_KILL;
}

static enum unit_action down(struct unit *u, int64_t now, double jitter)
{
    (void)jitter;
    u->exits = 0;
    return enter(u, UNIT_DOWN, now, INT64_MAX, UNIT_NOTHING);
}

typedef enum unit_action step_fn(struct unit *u, int64_t now, double jitter);

/* clang-format off */
static step_fn *const steps[UNIT_STATES][UNIT_EVENTS] = {
    /*                   START   READY   STOP    EXIT     BLOCKED  TIMER */
    [UNIT_DOWN]     = { retry,  ignore, ignore, ignore,  ignore,  ignore },
    [UNIT_STARTING] = { ignore, ready,  stop,   crashed, blocked, ignore },
    [UNIT_UP]       = { ignore, ignore, stop,   crashed, blocked, ignore },
    [UNIT_STOPPING] = { ignore, ignore, ignore, down,    down,    overdue },
    [UNIT_BACKOFF]  = { start,  ignore, down,   ignore,  ignore,  start },
    [UNIT_FAILED]   = { retry,  ignore, down,   ignore,  ignore,  look },
};
/* clang-format on */

void unit_init(struct unit *u, const struct unit_policy *policy)
{
    *u = (struct unit){.policy = *policy, .deadline_ms = INT64_MAX};
}

enum unit_action unit_step(struct unit *u, enum unit_event ev, int64_t now_ms, double jitter)
{
    return steps[u->state][ev](u, now_ms, jitter);
}

const char *unit_state_name(enum unit_state s)
{
    static const char *const names[] = {"stopped",  "starting", "ready",
                                        "stopping", "starting", "failed"};
    _Static_assert(sizeof names / sizeof names[0] == UNIT_STATES, "every state has a name");

    return names[s];
}
