/* agent.h — the agent loop as a reducer: (journal, event, now) → actions. No I/O, no clock.
 *
 *          start                turn finished, no calls
 *   fold ────────▶ call model ──────────────────────────▶ completed
 *                   ▲      │ turn finished, calls
 *                   │      ▼
 *                   └── run tools        cancel, limits, failures: from anywhere to a terminal
 * event
 *
 * Resuming is no special case: fold the journal of the claim, step AGENT_START, carry out what
 * agent_next gives. All that the loop decides is a function of the journal, but for what is in
 * flight right now.
 *
 * Rules kept here (docs/design/0002-journal.md): every call id of a turn gets exactly one
 * tool_finished before the next turn_started; a tool runs only after its tool_started is on disk,
 * and a tool_started only follows a turn_finished; an effect that was started and not finished
 * before a resume becomes "unknown", a pure tool runs again. What a person says on the way is read
 * with the next call of the model, after the results of the turn it came in; while some of it is
 * unread the run does not complete. A call that policy holds back waits for a person's decision,
 * for as long as it takes: that time is not the run's. One that is denied ends as an error that the
 * model reads.
 *
 * Times are wall-clock milliseconds. Ownership: what an action points to is borrowed until the
 * next agent_step. Threads: none of its own. */
#ifndef CORE_AGENT_H
#define CORE_AGENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "stigmer/execution/v1/event.pb-c.h"

struct agent;

/* One earlier task of the session; copied. */
struct agent_exchange {
    const char *message;
    const char *answer;
};

struct agent_config {
    const char *provider; /* for turn_started */
    const char *model;
    uint64_t epoch;
    uint32_t max_turns;        /* 0: none */
    int64_t max_tokens;        /* 0: none */
    int64_t max_duration_ms;   /* 0: none; of work, without the time between two claims */
    int64_t context_tokens;    /* 0: not known */
    int64_t max_output_tokens; /* 0: not known; kept free of the context */
    size_t overhead_bytes;     /* system prompt and tool schemas, for the estimate */
    const struct agent_exchange *history; /* oldest first */
    size_t history_count;
    const char *const *require_approval; /* patterns of tool names, see policy.h; copied */
    size_t require_count;
};

struct agent *agent_new(const struct agent_config *c);
void agent_free(struct agent *a);

/* One event that is on disk, in order from seq 1; before AGENT_START. ERR_CORRUPT: the journal
 * breaks its own rules. */
MUST_CHECK enum err_code agent_fold(struct agent *a, const Exec__Event *e, struct err *err);

enum agent_input_kind {
    AGENT_START,         /* the journal is folded: go on */
    AGENT_TURN,          /* the model answered */
    AGENT_MODEL_AGAIN,   /* make the call of this turn once more */
    AGENT_MODEL_CONTEXT, /* refused: the conversation is too long */
    AGENT_MODEL_FAILED,  /* for good */
    AGENT_TOOL,          /* a tool ended */
    AGENT_CANCEL,        /* somebody wants it to stop */
    AGENT_ACKED,         /* events up to seq are on disk */
    AGENT_INPUT,         /* a person says something; also before AGENT_START */
    AGENT_DECISION,      /* a person approves a call, or does not; also before AGENT_START */
    AGENT_NOTICE,        /* tell the person */
    AGENT_PARK,          /* begin nothing new; what runs may end */
    AGENT_TICK           /* time has passed */
};

struct agent_request {
    const char *call_id, *name, *args_json;
};

struct agent_input {
    enum agent_input_kind kind;
    const char *text; /* TURN; TOOL, INPUT: what the model reads; NOTICE; MODEL_*: message; CANCEL,
                         DECISION: reason */
    const char *stop; /* TURN */
    const char *provider_state;        /* TURN; JSON or NULL */
    const struct agent_request *calls; /* TURN */
    size_t call_count;
    Exec__Usage usage;                   /* TURN; base not needed */
    const char *call_id;                 /* TOOL, DECISION */
    Exec__ToolFinished__Outcome outcome; /* TOOL */
    const char *class;                   /* MODEL_FAILED: Failed.class; NULL: "model" */
    const char *by;                      /* CANCEL, INPUT, DECISION */
    bool approved;                       /* DECISION */
    const char *id;                      /* INPUT; the same one again is nothing new */
    uint64_t seq;                        /* ACKED */
};

void agent_step(struct agent *a, const struct agent_input *in, int64_t now_ms);

enum agent_action_kind {
    AGENT_APPEND,     /* event, to the journal; in order */
    AGENT_CALL_MODEL, /* with agent_conversation_make */
    AGENT_STOP_MODEL, /* forget the call in flight */
    AGENT_RUN_TOOL,   /* call */
    AGENT_STOP_TOOL,  /* call: kill it, its end is journaled already */
    AGENT_FINISH      /* the terminal event is on disk: nothing is left to do */
};

struct agent_action {
    enum agent_action_kind kind;
    const Exec__Event *event;
    struct agent_request call;
};

bool agent_next(struct agent *a, struct agent_action *ret); /* false: nothing to do now */

/* ---- what the carrier of actions asks ---------------------------------------------------- */

uint32_t agent_turn(const struct agent *a);           /* of the call in flight, from 1 */
uint32_t agent_attempt(const struct agent *a);        /* of the call in flight, from 1 */
uint32_t agent_finished_turns(const struct agent *a); /* index of the next exchange */
uint64_t agent_last_seq(const struct agent *a);
bool agent_waits_for_person(const struct agent *a); /* and nothing of it runs meanwhile */
bool agent_is_over(const struct agent *a); /* a terminal event is journaled, maybe not on disk */
Exec__Event__KindCase agent_end(const struct agent *a); /* that event's kind; 0: none yet */
int64_t agent_deadline_ms(const struct agent *a);       /* step AGENT_TICK then; INT64_MAX: none,
                                                           or it waits for a person */

/* ---- the conversation for the next call --------------------------------------------------- */

enum agent_role { AGENT_USER, AGENT_ASSISTANT, AGENT_RESULT };

struct agent_message {
    enum agent_role role;
    const char *text; /* borrowed from the agent or the conversation */
    const struct agent_request *calls;
    size_t call_count;
    const char *call_id, *tool_name; /* RESULT */
    bool is_error;
    const char *provider_state;
};

struct agent_conversation {
    struct agent_message *messages; /* owned */
    size_t count, cap;
    char **texts; /* owned: what had to be made for this call */
    size_t text_count;
    size_t clipped; /* results shortened to fit */
};

/* Built from the journal; the oldest tool results are shortened when it would not fit. */
void agent_conversation_make(const struct agent *a, struct agent_conversation *ret);
void agent_conversation_done(struct agent_conversation *c);

#endif
