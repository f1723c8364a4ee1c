/* rules.h — which event may follow which in a journal (docs/design/0002-journal.md, invariants 2,
 * 4 and 5), as a small state machine fed with the events in order.
 *
 *   submitted ─▶ (claimed | notice | todos | input | cancel_requested | legacy)*
 *   turn_started ─▶ turn_finished{calls} ─▶ per call: tool_started* tool_finished ─▶ turn_started …
 *   of a call that a person must approve: approval_requested ─▶ approval_decided ─▶ tool_started …
 *   anything ─▶ completed | failed | cancelled ─▶ nothing
 *
 * It may begin in the middle of a journal, at a turn_finished (rules_begin_at). Errors: ERR_STATE
 * after the end, ERR_INVALID for an event out of order. Threads: none of its own. */
#ifndef CORE_RULES_H
#define CORE_RULES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "stigmer/execution/v1/event.pb-c.h"

enum rules_approval { RULES_FREE, RULES_ASKED, RULES_APPROVED, RULES_DENIED };

struct rules_call {
    char *id, *name; /* owned */
    enum rules_approval approval;
    bool finished;
};

/* Embed by value. */
struct rules {
    uint64_t head; /* seq of the last event */
    bool terminal;
    bool turn_open;           /* turn_started without turn_finished */
    struct rules_call *calls; /* owned: of the last finished turn */
    size_t call_count;
};

void rules_init(struct rules *r);
void rules_done(struct rules *r);

/* The next event fed is a turn_finished with this seq: what came before it is known to be right. */
void rules_begin_at(struct rules *r, uint64_t seq);

MUST_CHECK enum err_code rules_apply(struct rules *r, const Exec__Event *e, struct err *err);

bool rules_is_terminal(const Exec__Event *e);
const char *rules_kind_name(const Exec__Event *e); /* "tool_finished" */

#endif
