/* workflow-api.h — stigmer.execution.v1.WorkflowService: which workflow of Temporal an execution
 * is, for `inspect` and `get`. The workflow's id is made of the execution's; its run id is
 * Temporal's to tell, also of workflows that have ended, for as long as it keeps them. Threads: the
 * loop's. */
#ifndef PROG_STIGMER_SERVER_WORKFLOW_API_H
#define PROG_STIGMER_SERVER_WORKFLOW_API_H

#include "clients/temporal.h"
#include "platform/rpc-server.h"
#include "prog/stigmer-server/temporal-stack.h"
#include "svc/engine-temporal.h"
#include "svc/journal.h"

struct workflow_api { /* all borrowed */
    struct journal *journal;
    const struct engine_temporal *engine; /* NULL, as what follows: the engine is another one */
    struct temporal *temporal;
    const struct temporal_stack *stack;
};

void workflow_api_add(struct rpc_server *s, struct workflow_api *a);

#endif
