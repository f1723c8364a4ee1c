/* execution-api.h — stigmer.execution.v1.ExecutionService: the event stream that our CLI follows,
 * and cancel. Ownership: borrows journal and engine. Threads: the loop's. */
#ifndef SVC_EXECUTION_API_H
#define SVC_EXECUTION_API_H

#include "platform/loop.h"
#include "platform/rpc-server.h"
#include "svc/engine.h"
#include "svc/journal.h"

struct execution_api;

struct execution_api *execution_api_new(struct loop *loop, struct store *store,
                                        struct journal *journal, struct engine *engine);
void execution_api_free(struct execution_api *a); /* after the rpc server */
void execution_api_add(struct rpc_server *s, struct execution_api *a);

#endif
