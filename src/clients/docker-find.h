/* docker-find.h — where a container engine is to be expected. No connection is made: what is found
 * may not answer.
 *
 *   docker   DOCKER_HOST, else the context of DOCKER_CONTEXT, else the current one of docker's
 *            configuration ($DOCKER_CONFIG or ~/.docker: config.json, contexts/meta/<sha256 of the
 *            name>/meta.json, as docker/cli writes them), else /var/run/docker.sock, else the
 *            user's own $XDG_RUNTIME_DIR/docker.sock
 *   podman   CONTAINER_HOST, else /run/podman/podman.sock for root; for others their own
 *            $XDG_RUNTIME_DIR/podman/podman.sock (/run/user/UID/…), else root's when it may be used
 *
 * Only unix sockets: the runner's folders are mounted from this machine, so an engine of another
 * one cannot run it. An address of another kind is ERR_SANDBOX that says who named it.
 * Threads: any; reads the environment and files. */
#ifndef CLIENTS_DOCKER_FIND_H
#define CLIENTS_DOCKER_FIND_H

#include "base/err.h"

#define DOCKER_SOCKET_MAX 108 /* sun_path */

struct docker_place {
    char runtime[8]; /* "docker" or "podman": whose socket it is, not who answers there */
    char socket[DOCKER_SOCKET_MAX];
};

MUST_CHECK enum err_code docker_find(const char *runtime, struct docker_place *ret,
                                     struct err *err);

#endif
