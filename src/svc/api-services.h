/* api-services.h — the services that api.c adds, one file each. Internal to api*.c. */
#ifndef SVC_API_SERVICES_H
#define SVC_API_SERVICES_H

#include "platform/rpc-server.h"
#include "svc/api-op.h"

void api_agent_add(struct rpc_server *s, struct api *a);
void api_instance_add(struct rpc_server *s, struct api *a);
void api_session_add(struct rpc_server *s, struct api *a);
void api_execution_add(struct rpc_server *s, struct api *a);
void api_resource_add(struct rpc_server *s, struct api *a);

/* Inside a job: the default instance of an agent, made when it is not there. */
MUST_CHECK enum err_code api_instance_default(sqlite3 *db, struct api_op *op,
                                              const struct resource *agent, char ret[RESOURCE_ID],
                                              struct err *err);

/* subscribe: each message a whole AgentExecution; a slow client gets the latest, and always the
 * terminal one; then the stream ends. */
void api_subscribe_start(struct api *a, struct rpc_call *call, const char *execution_id);
void api_subscribe_free_all(struct api *a);

#endif
