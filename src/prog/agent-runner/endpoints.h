/* endpoints.h — whom the worker talks to, from the environment and the keys (key-files.h): its
 * server, on this machine or another, and Temporal where that hands out work.
 *
 *   STIGMER_BACKEND_ENDPOINT   unix:PATH · tls://HOST:PORT · tcp://HOST:PORT (loopback) · HOST:PORT
 *   STIGMER_TLS_SERVER_NAME    that the server's certificate must be for, when not HOST
 *   STIGMER_WORKSPACE_DOMAIN   which machines share WORKSPACE_ROOT with this one
 * (svc/session-place.h); the machine's name where none is said TEMPORAL_SERVICE_ADDRESS,
 * TEMPORAL_NAMESPACE, TEMPORAL_TLS, TEMPORAL_TLS_SERVER_NAME
 *
 * Ownership: texts are the environment's, or borrowed from the keys. Threads: one. */
#ifndef PROG_AGENT_RUNNER_ENDPOINTS_H
#define PROG_AGENT_RUNNER_ENDPOINTS_H

#include <jansson.h>
#include <limits.h>

#include "clients/server.h"
#include "clients/temporal.h"

#define ENDPOINTS_DOMAIN 64

struct endpoints {
    char address[300];
    char host[HOST_NAME_MAX + 1];          /* this machine's name */
    char domain[ENDPOINTS_DOMAIN];         /* "": the server's own machine */
    char runner_id[32 + ENDPOINTS_DOMAIN]; /* "run-<ulid>", "run-<ulid>@<domain>" */
    char identity[HOST_NAME_MAX +
                  32]; /* for Temporal: pid@machine, where a container is a machine */
    struct tls_context *server_tls, *temporal_tls; /* owned; NULL: cleartext */
};

/* Fills what it is told of in *server: address, token, TLS, names. */
MUST_CHECK enum err_code endpoints_server(struct endpoints *e, const json_t *keys,
                                          struct server_options *server, struct err *err);

/* ret->address NULL: the server hands out work itself. */
MUST_CHECK enum err_code endpoints_temporal(struct endpoints *e, const json_t *keys,
                                            struct temporal_options *ret, struct err *err);
void endpoints_done(struct endpoints *e); /* after the clients */

#endif
