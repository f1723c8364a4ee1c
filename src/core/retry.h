/* retry.h — when to try a failed model call again: exponential back-off with full jitter
 * (the wait is random between 0 and the doubling bound), or what the endpoint itself asked for.
 * Pure: time and chance are arguments. */
#ifndef CORE_RETRY_H
#define CORE_RETRY_H

#include <stdbool.h>
#include <stdint.h>

struct retry_policy {
    unsigned max_attempts;      /* calls in all, the first included */
    int64_t base_ms, cap_ms;    /* the bound of the wait: base, 2 base, 4 base, … cap */
    int64_t retry_after_max_ms; /* an endpoint that asks for more is given up on */
    int64_t total_ms;           /* from the first call's start to the last one's start */
};

/* 6 attempts, 500 ms to 30 s, Retry-After up to 2 min, 10 min in all. */
struct retry_policy retry_policy_default(void);

enum retry_verdict {
    RETRY_WAIT,
    RETRY_NO_USE,     /* the fault is of the kind that stays */
    RETRY_EXHAUSTED,  /* max_attempts were made */
    RETRY_TOO_LONG,   /* the endpoint asked for a longer wait than we accept */
    RETRY_OUT_OF_TIME /* the wait would end after total_ms */
};

struct retry_case {
    bool retryable;         /* what the fault is like (model_fault_is_retryable) */
    unsigned attempt;       /* how many calls were made, ≥ 1 */
    int64_t retry_after_ms; /* what the endpoint asked for; -1: nothing */
    int64_t started_ms;     /* when the first call began */
    int64_t now_ms;
    double chance; /* random, in [0, 1) */
};

/* *ret_wait_ms is set for RETRY_WAIT, and for RETRY_TOO_LONG (what was asked for). */
enum retry_verdict retry_decide(const struct retry_policy *p, const struct retry_case *c,
                                int64_t *ret_wait_ms);

/* Why no further attempt is made, to be put behind the error: "every attempt failed". */
const char *retry_verdict_text(enum retry_verdict v);

#endif
