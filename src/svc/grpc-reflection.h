/* grpc-reflection.h — grpc.reflection.v1 and v1alpha, which have the same bytes: tools such as
 * grpcurl ask the server for its .proto files. Files are served as the raw bytes that are linked
 * in (proto_set), each with the files it imports. Only services of the API gate are listed.
 * Ownership: free it after the rpc server. Threads: the loop's thread only.
 * Source: github.com/grpc/grpc/blob/master/doc/server-reflection.md. */
#ifndef SVC_GRPC_REFLECTION_H
#define SVC_GRPC_REFLECTION_H

#include "platform/rpc-server.h"

struct grpc_reflection;

struct grpc_reflection *grpc_reflection_new(struct rpc_server *server); /* adds both services */
void grpc_reflection_free(struct grpc_reflection *r);

#endif
