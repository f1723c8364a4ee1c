/* agent-state.h — what the agent loop remembers. Shared by agent.c (decides), agent-fold.c (keeps
 * it) and agent-conversation.c (reads); nobody else includes it. */
#ifndef CORE_AGENT_STATE_H
#define CORE_AGENT_STATE_H

#include "base/map.h"
#include "core/agent.h"

#define AGENT_RESULT_MAX ((size_t)256 << 10) /* bytes of a tool result that are kept */

enum agent_approval { AGENT_FREE, AGENT_ASKED, AGENT_APPROVED, AGENT_DENIED };

/* A call of the current turn. */
struct agent_call {
    const Exec__ToolRequest *req; /* borrowed from the journal */
    unsigned repeats;             /* how many times in a row this very call was made */
    uint64_t started_seq;         /* 0: not yet */
    enum agent_approval approval;
    const Exec__ApprovalDecided *decision; /* borrowed from the journal; NULL: none yet */
    bool effect;                           /* as tool_started says */
    bool inherited;                        /* started before this runner had the run */
    bool running;                          /* handed out, not ended */
    bool finished;
};

struct agent {
    char *provider, *model; /* owned */
    uint64_t epoch;
    uint32_t max_turns;
    int64_t max_tokens, max_duration_ms, context_tokens, max_output_tokens;
    size_t overhead_bytes;
    char **history; /* owned: message, answer, message, … */
    size_t history_count;
    char **require_approval; /* owned */
    size_t require_count;

    Exec__Event **events; /* owned: the journal, event i has seq i + 1 */
    size_t event_count, event_cap;
    uint64_t acked;

    /* the fold */
    const Exec__Submitted *submitted;
    const Exec__TurnFinished *last_turn;
    uint32_t turn, attempt, finished_turns;
    bool turn_open;                                /* turn_started without turn_finished */
    bool unread;                                   /* an input came after the last turn_started */
    const Exec__CancelRequested *cancel_requested; /* NULL: not */
    bool over;
    int64_t tokens;
    int64_t claimed_ms;              /* last claim; 0: none seen */
    int64_t last_ms;                 /* last event of that claim */
    int64_t spent_ms;                /* in the claims before it */
    uint32_t empty_turns, cut_turns; /* in a row */
    size_t tool_results;             /* tools that ran, or may have */
    struct map call_ids;             /* every call id so far */
    struct agent_call *calls;        /* owned: of last_turn */
    size_t call_count;
    const Exec__ToolRequest *previous_call; /* the one made last */
    unsigned previous_repeats;

    /* what is in flight */
    bool started, parked, model_running, finish_told;
    unsigned squeeze;             /* times the provider said the conversation is too long */
    struct agent_action *actions; /* owned queue */
    size_t action_first, action_count, action_cap;
};

/* Is this the text of the turn the loop asks to go on with? */
bool agent_turn_is_empty(const Exec__TurnFinished *t);
bool agent_turn_is_cut(const Exec__TurnFinished *t);

/* The agent's own copy of e, at the end of its journal; not in the state yet. */
Exec__Event *agent_add_event(struct agent *a, const Exec__Event *e);
/* Takes e, which the journal owns already, into the state. */
MUST_CHECK enum err_code agent_fold_own(struct agent *a, const Exec__Event *e, struct err *err);

struct agent_call *agent_find_call(struct agent *a, const char *id); /* of the turn; NULL */
bool agent_has_open_calls(const struct agent *a);

#endif
