/* workflow-ends.h — executions that were deleted here while another system may still have work for
 * them: it is to be told. Written with the deletion, so that no crash and no absence forgets it.
 *
 *   put (in the deletion's transaction) ──▶ due ──the other system knows──▶ drop
 *
 * Threads: workflow_ends_tx_* in a store job, the other where db may be read. */
#ifndef SVC_WORKFLOW_ENDS_H
#define SVC_WORKFLOW_ENDS_H

#include <sqlite3.h>
#include <stddef.h>

#include "base/err.h"

MUST_CHECK enum err_code workflow_ends_tx_put(sqlite3 *db, const char *execution_id,
                                              struct err *err);
MUST_CHECK enum err_code workflow_ends_tx_drop(sqlite3 *db, const char *execution_id,
                                               struct err *err);

/* Those that are due, in the order of their ids, at most limit. The text is borrowed for the call.
 */
typedef void workflow_ends_fn(const char *execution_id, void *arg);
MUST_CHECK enum err_code workflow_ends_read(sqlite3 *db, size_t limit, workflow_ends_fn *fn,
                                            void *arg, struct err *err);

#endif
