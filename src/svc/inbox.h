/* inbox.h — what people say to executions that have not ended, from the moment it is acknowledged
 * until the run's journal has it (input_received). Runners write their journals alone, so the
 * server keeps it here and tells them, again and again if need be; the id makes that harmless.
 *
 *   put ──▶ unread ──input_received{id} is appended──▶ read (the row stays: the same id again is
 *                                                            nothing new; its text goes)
 *
 * Errors: ERR_LIMIT when UNREAD_MAX of one execution wait. Threads: inbox_tx_* in a store job, the
 * others where db may be read. */
#ifndef SVC_INBOX_H
#define SVC_INBOX_H

#include <sqlite3.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define INBOX_TEXT_MAX ((size_t)64 << 10)
#define INBOX_ID_MAX 200

/* Texts are borrowed. */
struct inbox_input {
    const char *id;   /* the sender's */
    const char *by;   /* who */
    const char *text; /* UTF-8 */
};

/* ERR_INVALID with words when it has no id or text, or too much of it. */
MUST_CHECK enum err_code inbox_check(const struct inbox_input *in, struct err *err);

MUST_CHECK enum err_code inbox_tx_put(sqlite3 *db, const char *execution_id,
                                      const struct inbox_input *in, struct err *err);
MUST_CHECK enum err_code inbox_tx_read(sqlite3 *db, const char *execution_id, const char *id,
                                       uint64_t seq, struct err *err);
MUST_CHECK enum err_code inbox_tx_delete(sqlite3 *db, const char *execution_id, struct err *err);

/* The unread ones in the order they came; how many there are. fn may be NULL. */
typedef void inbox_fn(const struct inbox_input *in, void *arg);
MUST_CHECK enum err_code inbox_unread(sqlite3 *db, const char *execution_id, inbox_fn *fn,
                                      void *arg, size_t *ret_count, struct err *err);

/* Has the journal the one of this id? Also of an execution that has ended since. */
bool inbox_is_read(sqlite3 *db, const char *execution_id, const char *id);

/* Has anything ever been said to it? */
bool inbox_any(sqlite3 *db, const char *execution_id);

#endif
