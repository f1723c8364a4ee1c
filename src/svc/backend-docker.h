/* backend-docker.h — the runner in a container.
 *
 *   ping ─▶ image ─┬──────────────▶ look at the name ─┬─ ours, as wanted, runs ──▶ adopt ─┐
 *                  └─ load ─▶ image ─┘                ├─ ours, else ─▶ remove ─┐          │
 *                                                     ├─ a stranger's: ERR_CONFLICT       │
 *                                                     └─ none ─▶ create ◀──────┘          │
 *                                          id file ─▶ start ─▶ logs + wait ◀──────────────┘
 *                                                                   └─▶ inspect ─▶ remove ─▶
 * on_exited
 *
 * A server that crashed finds its container again and goes on with it: nothing that runs there is
 * disturbed. Whatever goes wrong after create removes what was created.
 * The image is the local one; if ours is missing, or is of another build than the archive this
 * installation has, the archive is loaded. Nothing is built or pulled.
 * Threads: the loop's. */
#ifndef SVC_BACKEND_DOCKER_H
#define SVC_BACKEND_DOCKER_H

#include "clients/docker.h"
#include "platform/loop.h"
#include "svc/container-spec.h"
#include "svc/runner-backend.h"

struct backend_docker_config { /* text is borrowed */
    struct container_spec spec;
    const char *runtime;  /* "docker" or "podman" */
    const char *name;     /* of the container */
    const char *archive;  /* of our image; its id is in <archive>.id */
    const char *id_file;  /* written before the start, removed at the end */
    const char *log_file; /* what the container writes is appended */
};

struct runner_backend *backend_docker_new(struct loop *loop, struct docker *docker,
                                          const struct backend_docker_config *config);

/* The image that the archive beside this program holds. */
#define BACKEND_DOCKER_IMAGE "stigmer-agent-runner:local"

#endif
