/* grpc-health.h — grpc.health.v1.Health: Check and Watch, for the server as a whole ("") and for
 * each service that answers on the caller's gate; all of them share one state.
 * Ownership: free it after the rpc server. Threads: the loop's thread only.
 * Source: github.com/grpc/grpc/blob/master/doc/health-checking.md. */
#ifndef SVC_GRPC_HEALTH_H
#define SVC_GRPC_HEALTH_H

#include <stdbool.h>

#include "platform/rpc-server.h"

struct grpc_health;

struct grpc_health *grpc_health_new(struct rpc_server *server); /* adds the service; serving */
void grpc_health_free(struct grpc_health *h);
void grpc_health_set(struct grpc_health *h, bool serving);

#endif
