/* journal.h — the execution journal in the store (format and invariants:
 * docs/design/0002-journal.md).
 *
 * Three faces:
 *   journal_tx_*    inside a store job, on the writer thread: the only code that writes events
 *   journal_*       on the loop's thread: reads of what is committed, and asynchronous appends
 *   journal_watch   the live hub: told of events after their commit, in order, exactly once each
 *
 * To follow an execution without a gap: watch first, then read, then skip what the watch repeats
 * (by seq). Errors: ERR_NOT_FOUND, ERR_CONFLICT (late epoch, wrong seq), ERR_STATE (has ended),
 * ERR_INVALID (out of order).
 * Threads: the loop's, but for journal_tx_*. */
#ifndef SVC_JOURNAL_H
#define SVC_JOURNAL_H

#include <sqlite3.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ai/stigmer/agentic/agentexecution/v1/agentexecution.pb-c.h"
#include "base/err.h"
#include "core/fold.h"
#include "platform/loop.h"
#include "platform/store.h"
#include "stigmer/execution/v1/event.pb-c.h"

struct journal;
struct journal_watch;

struct journal *journal_new(struct loop *loop, struct store *store);
void journal_free(struct journal *j);

enum journal_state { JOURNAL_QUEUED, JOURNAL_CLAIMED, JOURNAL_ENDED };

#define JOURNAL_TEXT 128
#define JOURNAL_FOLDER 1024
struct journal_head {
    uint64_t seq;   /* of the last event */
    uint64_t epoch; /* of the last claim; 0: never claimed */
    enum journal_state state;
    int phase;     /* Aexec__ExecutionPhase */
    unsigned lost; /* leases lost in a row without progress */
    bool cancel_asked;
    int64_t created_ms, ended_ms;
    char session_id[JOURNAL_TEXT];
    char runner[JOURNAL_TEXT];
    char folder[JOURNAL_FOLDER]; /* the session's own; "": none */
};

/* ---- inside a store job ---- */

/* A new execution: its row and its submitted event. */
struct journal_create {
    const char *id, *session_id, *message, *model;
    const char *folder; /* the session's own; NULL or "": none */
    int64_t at_ms;
};
MUST_CHECK enum err_code journal_tx_create(sqlite3 *db, const struct journal_create *c,
                                           struct err *err);

MUST_CHECK enum err_code journal_tx_head(sqlite3 *db, const char *id, struct journal_head *ret,
                                         struct err *err);

/* Appends events with contiguous seqs. What stands already with the same bytes is skipped: the
 * same append twice is one append. epoch must be the current one; the server's own events carry
 * epoch 0 and JOURNAL_SERVER, and take the next seq whatever theirs says.
 * ret_first: index of the first event that is new; count when all stood already. */
#define JOURNAL_SERVER UINT64_MAX
MUST_CHECK enum err_code journal_tx_append(sqlite3 *db, const char *id, uint64_t epoch,
                                           Exec__Event *const *events, size_t count,
                                           size_t *ret_first, struct err *err);

/* Raises the epoch and writes claimed. The event is the caller's (exec__event__free_unpacked). */
MUST_CHECK enum err_code journal_tx_claim(sqlite3 *db, const char *id, const char *runner,
                                          int64_t at_ms, Exec__Event **ret, struct err *err);

/* Back to the queue; lost: how many leases were lost in a row by now. */
MUST_CHECK enum err_code journal_tx_requeue(sqlite3 *db, const char *id, unsigned lost,
                                            struct err *err);

/* Remembers that somebody wants it cancelled, so that no crash forgets. */
MUST_CHECK enum err_code journal_tx_ask_cancel(sqlite3 *db, const char *id, const char *by,
                                               const char *reason, struct err *err);

MUST_CHECK enum err_code journal_tx_delete(sqlite3 *db, const char *id, struct err *err);

/* ---- on the loop's thread ---- */

MUST_CHECK enum err_code journal_head(struct journal *j, const char *id, struct journal_head *ret,
                                      struct err *err);

/* Events from from_seq on, at most limit; fn returns false to stop. The event is borrowed. */
typedef bool journal_event_fn(const Exec__Event *e, void *arg);
MUST_CHECK enum err_code journal_read(struct journal *j, const char *id, uint64_t from_seq,
                                      size_t limit, journal_event_fn *fn, void *arg,
                                      struct err *err);

/* The status as the fold of all events; the caller's. */
MUST_CHECK enum err_code journal_status(struct journal *j, const char *id,
                                        Aexec__AgentExecutionStatus **ret, struct err *err);

/* Appends in a job of its own; done on the loop's thread after the commit. Copies the events. */
typedef void journal_done_fn(const struct err *err, uint64_t last_seq, void *arg);
void journal_append(struct journal *j, const char *id, uint64_t epoch, Exec__Event *const *events,
                    size_t count, journal_done_fn *done, void *arg);

/* Its runner is lost, or stops: it is queued again, and its log says why. lost: see above. */
void journal_requeue(struct journal *j, const char *id, unsigned lost, const char *notice,
                     journal_done_fn *done, void *arg);

/* Whoever appended through journal_tx_* tells the hub after the commit. */
void journal_committed(struct journal *j, const char *id, Exec__Event *const *events, size_t count);

/* ---- live ---- */

struct journal_live {
    void (*on_event)(const Exec__Event *e, void *arg);
    void (*on_delta)(uint32_t turn, uint32_t attempt, const char *text,
                     void *arg);                                   /* may be NULL */
    void (*on_recording)(const void *line, size_t len, void *arg); /* may be NULL */
    void (*on_deleted)(void *arg);                                 /* may be NULL */
};
/* Unwatching is fine inside any of these callbacks. */
struct journal_watch *journal_watch(struct journal *j, const char *id,
                                    const struct journal_live *live, void *arg);
void journal_unwatch(struct journal_watch *w);

void journal_publish(struct journal *j, const char *id, uint32_t turn, uint32_t attempt,
                     const char *text, const void *recording, size_t recording_len);
void journal_deleted(struct journal *j, const char *id);

/* At start: the executions that have not ended, in their order. Texts are borrowed for the call. */
struct journal_open {
    const char *id, *session_id, *folder, *runner;
    const char *cancel_by, *cancel_reason; /* NULL: nobody wants that */
    uint64_t epoch;
    unsigned lost;
    bool is_claimed;
};
typedef void journal_open_fn(const struct journal_open *x, void *arg);
MUST_CHECK enum err_code journal_read_open(struct journal *j, journal_open_fn *fn, void *arg,
                                           struct err *err);

/* At start: no new id of this process may come before one that is there. */
MUST_CHECK enum err_code journal_keep_order(struct journal *j, struct err *err);

#endif
