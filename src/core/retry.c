/* The retry rule. */
#include "core/retry.h"

struct retry_policy retry_policy_default(void)
{
    return (struct retry_policy){.max_attempts = 6,
                                 .base_ms = 500,
                                 .cap_ms = 30000,
                                 .retry_after_max_ms = 120000,
                                 .total_ms = 600000};
}

static int64_t bound(const struct retry_policy *p, unsigned attempt)
{
    int64_t ms = p->base_ms;

    for (unsigned i = 1; i < attempt && ms < p->cap_ms; i++)
        ms *= 2;
    return ms < p->cap_ms ? ms : p->cap_ms;
}

enum retry_verdict retry_decide(const struct retry_policy *p, const struct retry_case *c,
                                int64_t *ret_wait_ms)
{
    int64_t wait = (int64_t)((double)bound(p, c->attempt) * c->chance);

    if (!c->retryable)
        return RETRY_NO_USE;
    if (c->attempt >= p->max_attempts)
        return RETRY_EXHAUSTED;
    if (c->retry_after_ms > p->retry_after_max_ms) {
        *ret_wait_ms = c->retry_after_ms;
        return RETRY_TOO_LONG;
    }
    if (c->retry_after_ms >= 0) /* not less than asked; a little more, so that a crowd spreads */
        wait = c->retry_after_ms + wait / 8;
    if (c->now_ms - c->started_ms + wait > p->total_ms)
        return RETRY_OUT_OF_TIME;
    *ret_wait_ms = wait;
    return RETRY_WAIT;
}

const char *retry_verdict_text(enum retry_verdict v)
{
    switch (v) {
    case RETRY_WAIT:
        return "trying again";
    case RETRY_NO_USE:
        return "trying again would not help";
    case RETRY_EXHAUSTED:
        return "every attempt failed";
    case RETRY_TOO_LONG:
        return "the endpoint asks for a longer wait than we accept";
    case RETRY_OUT_OF_TIME:
        return "no time left for another attempt";
    }
    return "";
}
