/* engine.h — who gives executions to runners. One small interface, so that the rest of the server
 * does not know whether the queue is our own (queue.h) or another system's.
 *
 * Submitting: the execution's row is written by journal_tx_create; after that commit the engine is
 * told. So an execution that was acknowledged is always found again, engine told or not. */
#ifndef SVC_ENGINE_H
#define SVC_ENGINE_H

#include <stdbool.h>

#include "base/err.h"
#include "platform/loop.h"
#include "svc/approvals.h"
#include "svc/inbox.h"

struct engine;

typedef void engine_done_fn(const struct err *err, void *arg); /* err NULL: done */
/* err NULL: d is decided as was asked. */
typedef void engine_decided_fn(const struct err *err, const struct approvals_decided *d, void *arg);

struct engine_ops {
    const char *name; /* "embedded" */
    void (*submit)(struct engine *e, const char *execution_id);
    /* Done when the wish is on disk: it will be cancelled whatever crashes. ERR_STATE: has ended.
     */
    void (*cancel)(struct engine *e, const char *execution_id, const char *by, const char *reason,
                   engine_done_fn *done, void *arg);
    /* Somebody says something to it. Done when that is on disk; a runner that has it is told then,
     * or when it claims it. ERR_STATE: has ended. */
    void (*input)(struct engine *e, const char *execution_id, const struct inbox_input *in,
                  engine_done_fn *done, void *arg);
    /* Somebody decides whether a call may run; as input. Errors: as approvals_tx_decide. */
    void (*decide)(struct engine *e, const char *execution_id, const struct approvals_choice *c,
                   engine_decided_fn *done, void *arg);
    /* Assign nothing more and let runners park what they do; done when all have, or after grace. */
    void (*drain)(struct engine *e, int64_t grace_ms, loop_fn *done, void *arg);
    /* Its log has its end, and neither a runner nor the engine wrote it: its turn is over. */
    void (*ended)(struct engine *e, const char *execution_id);
    /* Deleted: forget it. */
    void (*forget)(struct engine *e, const char *execution_id);
};

/* First member of every engine. */
struct engine {
    const struct engine_ops *ops;
    bool outside; /* another system has been given work: it is told of what is deleted. Set before
                   * the first job that reads it, and for good */
};

#endif
