/* workflow.h — which workflow of Temporal an execution is, for commands that show one. Without
 * Temporal, and with a server that does not know the question, there is nothing to say. */
#ifndef PROG_STIGMER_WORKFLOW_H
#define PROG_STIGMER_WORKFLOW_H

#include <jansson.h>

#include "prog/stigmer/conn.h"

/* {"id": …, "runId": …, "namespace": …, "url": …, "why": …}; what is not known is null.
 * The caller's; NULL: nothing to say. */
json_t *workflow_of(struct conn *c, const char *execution_id);

#endif
