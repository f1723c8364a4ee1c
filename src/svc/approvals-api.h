/* approvals-api.h — what the CLI asks about calls that wait for a person: the two methods of
 * ExecutionService that are about them. Errors: as service.proto says. Threads: the loop's. */
#ifndef SVC_APPROVALS_API_H
#define SVC_APPROVALS_API_H

#include "platform/rpc-server.h"
#include "platform/store.h"
#include "svc/engine.h"
#include "svc/journal.h"

void approvals_api_list(struct store *store, struct journal *journal, struct rpc_call *call,
                        const ProtobufCMessage *request);
/* by: who calls. */
void approvals_api_decide(struct engine *engine, struct rpc_call *call,
                          const ProtobufCMessage *request, const char *by);

#endif
