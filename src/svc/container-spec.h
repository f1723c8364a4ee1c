/* container-spec.h — what the runner's container is: the body of the engine's create call, made
 * from the settings, and the questions about a container that is there already. No I/O.
 *
 *   root file system read-only; /tmp a tmpfs; the workspaces at /workspace; the runner socket's
 *   folder at /run/stigmer/api and the keys at /run/stigmer/keys, both read-only
 *   every capability dropped but SETUID, SETGID and KILL, which the launcher needs to become the
 *   worker and the tool hosts and to end them; no new privileges; memory, processes, log size
 * limited
 *
 * The engine asks it how it is: healthy means attached to the server. Podman asks through systemd
 * timers, which not every machine has: there it is not asked.
 *
 * An image that is not ours (no label of ours) gets the runner's program mounted into it.
 * No secret is part of it: keys are files, and the mark of the keys is a keyed hash.
 * Ownership: text is borrowed. */
#ifndef SVC_CONTAINER_SPEC_H
#define SVC_CONTAINER_SPEC_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#define CONTAINER_SPEC_DIGEST 65 /* hex of SHA-256 */
#define CONTAINER_SPEC_LABEL_HOME "ai.stigmer.home"
#define CONTAINER_SPEC_LABEL_SESSION "ai.stigmer.session" /* of a session's own container */
#define CONTAINER_SPEC_LABEL_VERSION "ai.stigmer.version"
#define CONTAINER_SPEC_LABEL_BASE "ai.stigmer.base" /* of an image: what it was built from */

/* An image with this label has the runner in it and is started as it is. */
#define CONTAINER_SPEC_LABEL_COMPONENT "ai.stigmer.component"
#define CONTAINER_SPEC_COMPONENT_RUNNER "agent-runner"

struct container_spec {
    const char *image, *network; /* as the settings say */
    const char *home;            /* whose container it is */
    const char *const *env;      /* "NAME=value", NULL-ended */
    const char *workspace, *api_folder, *keys_folder;
    const char *program;          /* agent-runner of this machine */
    const char *keys_mark;        /* changes when a key does */
    int64_t memory, log_max_size; /* bytes */
    double cpus;                  /* 0: all */
    int64_t pids, log_max_files;
    const char *session;           /* NULL: of all sessions; else only its folder is mounted, at
                                      /workspace/<session> */
    bool is_podman;                /* what answered the ping */
    unsigned api;                  /* its minor version */
    int64_t open_files, processes; /* what we may ask for here; Podman wants to be told */
};

/* image: the engine's answer about the image. The caller owns the result. Its label
 * ai.stigmer.digest is the digest of everything else. */
json_t *container_spec_body(const struct container_spec *s, const json_t *image);

enum container_spec_match {
    CONTAINER_SPEC_STRANGER, /* not of this home */
    CONTAINER_SPEC_OTHER,    /* ours, but not as the body says, or not running */
    CONTAINER_SPEC_SAME      /* ours, as the body says, and running */
};
enum container_spec_match container_spec_match(const struct container_spec *s, const json_t *body,
                                               const json_t *container);

/* Whose it is: the home on its label, or NULL when it has none. Borrowed from container. */
const char *container_spec_owner(const json_t *container);

#endif
