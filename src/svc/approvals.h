/* approvals.h — tool calls that wait for a person, and what has been decided of them. Journals are
 * written by their runners alone, so a decision is kept here first and told to the runner until the
 * run's journal has it, as with the inbox.
 *
 *   approval_requested is appended ─▶ WAITS ─decide─▶ APPROVED | DENIED ─approval_decided is
 *   appended─▶ TOLD (kept, so that the same decision again is a success) ─the run ends─▶ gone
 *
 * Threads: approvals_tx_* in a store job, the others where db may be read. */
#ifndef SVC_APPROVALS_H
#define SVC_APPROVALS_H

#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "stigmer/execution/v1/event.pb-c.h"

#define APPROVALS_REASON_MAX 4096
#define APPROVALS_TOOL 201  /* a tool's name, with its NUL */
#define APPROVALS_ARGS 4096 /* bytes of a call's arguments that lists show */

struct approvals_choice {
    uint64_t seq;        /* of the approval_requested; 0: the one call that waits */
    const char *call_id; /* instead of seq; NULL: seq counts */
    bool approve;
    const char *by;
    const char *reason; /* "": none */
};

/* What was decided on; answers have it. */
struct approvals_decided {
    uint64_t seq;
    char tool[APPROVALS_TOOL];
};

/* ERR_INVALID with words: a reason that is too long, or no UTF-8. */
MUST_CHECK enum err_code approvals_check(const struct approvals_choice *c, struct err *err);

/* After e, of an execution's journal, was appended. ended: that was its end. ERR_INVALID: it tells
 * of a decision that nobody has made. */
MUST_CHECK enum err_code approvals_tx_follow(sqlite3 *db, const char *execution_id,
                                             const Exec__Event *e, uint64_t seq, bool ended,
                                             struct err *err);

/* ERR_NOT_FOUND: there is no such call. ERR_STATE: it is decided otherwise, or c names none and not
 * just one waits. */
MUST_CHECK enum err_code approvals_tx_decide(sqlite3 *db, const char *execution_id,
                                             const struct approvals_choice *c,
                                             struct approvals_decided *ret, struct err *err);
MUST_CHECK enum err_code approvals_tx_delete(sqlite3 *db, const char *execution_id,
                                             struct err *err);

bool approvals_wait(sqlite3 *db, const char *execution_id); /* does one of its calls? */

/* Texts are borrowed for the call. */
struct approvals_row {
    const char *execution_id;
    uint64_t seq;
    const char *call_id, *tool;
    const char *args; /* the first APPROVALS_ARGS bytes */
    uint64_t args_bytes;
    int64_t asked_ms;
    bool decided, approved;
    const char *by, *reason; /* of the decision */
};

/* Those that no journal has a decision of, oldest first; of one execution, or of all (NULL). False
 * from fn ends it. */
typedef bool approvals_fn(const struct approvals_row *r, void *arg);
MUST_CHECK enum err_code approvals_open(sqlite3 *db, const char *execution_id, approvals_fn *fn,
                                        void *arg, struct err *err);

#endif
