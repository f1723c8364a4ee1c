/* unit.h — the life of one supervised thing (process or container), as a pure state machine.
 *
 * No I/O, no clock, no allocation: the caller feeds events with the time they happened at and
 * carries out the action it gets back. So restart policy can be tested with literal times.
 *
 *   DOWN, FAILED --START--> STARTING --READY--> UP
 *   STARTING, UP --EXIT--> BACKOFF --TIMER--> STARTING
 *   STARTING, UP --EXIT--> FAILED            (too many exits in the window; START tries again)
 *   STARTING, UP --BLOCKED--> FAILED --TIMER--> STARTING
 *                                            (a cause outside, such as an engine that is away:
 *                                             looked at less and less often, until it is gone)
 *   STARTING, UP --STOP--> STOPPING --EXIT--> DOWN     STOPPING --TIMER--> kill
 *   BACKOFF, FAILED --STOP--> DOWN           (nothing runs: at once)
 *
 * Errors: none. An event that makes no sense in a state is ignored, never fatal.
 * Threads: a unit belongs to the loop that feeds it. Times are milliseconds of any one clock. */
#ifndef CORE_UNIT_H
#define CORE_UNIT_H

#include <stdint.h>

enum unit_state {
    UNIT_DOWN,
    UNIT_STARTING,
    UNIT_UP,
    UNIT_STOPPING,
    UNIT_BACKOFF,
    UNIT_FAILED,
    UNIT_STATES
};
enum unit_event {
    UNIT_START, /* a person wants it, or a cause of failure is known to be gone */
    UNIT_READY,
    UNIT_STOP,
    UNIT_EXIT,    /* it ended by itself */
    UNIT_BLOCKED, /* it cannot run now, and that is not its own doing */
    UNIT_TIMER,
    UNIT_EVENTS
};
enum unit_action { UNIT_NOTHING, UNIT_SPAWN, UNIT_TERM, UNIT_KILL };

#define UNIT_WINDOW_MAX 32

struct unit_policy {
    int64_t backoff_min_ms, backoff_max_ms;
    int64_t grace_ms;                 /* from TERM to KILL */
    int64_t window_ms;                /* this many exits … */
    unsigned restarts;                /* … in this time is a failure; at most UNIT_WINDOW_MAX */
    int64_t look_min_ms, look_max_ms; /* how often a blocked one is looked at again */
};

/* Embed by value. Fields are for reading; only unit.c writes them. */
struct unit {
    struct unit_policy policy;
    enum unit_state state;
    int64_t since_ms;    /* when state was entered */
    int64_t deadline_ms; /* feed UNIT_TIMER at this time; INT64_MAX when none */
    unsigned exits;      /* in the window, newest last */
    int64_t exit_ms[UNIT_WINDOW_MAX];
    unsigned total;  /* exits that were not asked for, ever */
    int64_t look_ms; /* until the next look while blocked; 0: it was not blocked last */
};

void unit_init(struct unit *u, const struct unit_policy *policy);

/* jitter: 0 to 1, spreads back-offs; the first restart of a window comes at once. */
enum unit_action unit_step(struct unit *u, enum unit_event ev, int64_t now_ms, double jitter);

/* "stopped", "starting", "ready", "stopping", "starting" (backing off), "failed": as status says.
 */
const char *unit_state_name(enum unit_state s);

#endif
