/* doctor-impl.h — between doctor.c, which runs the checks, and the files that have them. A check
 * says its id, ok, warn or fail, what it found and, unless all is well, what mends it. */
#ifndef PROG_STIGMER_SERVER_DOCTOR_IMPL_H
#define PROG_STIGMER_SERVER_DOCTOR_IMPL_H

#include <jansson.h>
#include <stdbool.h>

#include "core/config.h"
#include "core/paths.h"
#include "platform/sandbox.h"
#include "prog/stigmer-server/settings.h"

struct doctor {
    const struct settings_args *args;
    const struct paths *paths;
    struct config config;
    struct sandbox_report sandbox;
    json_t *checks;
    bool failed;
    bool online; /* a call that costs something may be made */
};

enum doctor_status { DOCTOR_OK, DOCTOR_WARN, DOCTOR_FAIL };

/* hint: what to do; not shown when all is well. The format is the detail's. */
void doctor_say(struct doctor *d, const char *id, enum doctor_status status, const char *hint,
                const char *detail, ...) ERR_PRINTF(5, 6);

/* A server of this home runs and takes connections. */
bool doctor_server_answers(const struct doctor *d);

typedef void doctor_check_fn(struct doctor *d);

doctor_check_fn doctor_home, doctor_home_access, doctor_home_network, doctor_disk, doctor_inodes,
    doctor_store, doctor_stale, doctor_clock, doctor_files, doctor_memory,
    doctor_keys;                          /* -host.c */
doctor_check_fn doctor_token, doctor_tls; /* -listen.c */
doctor_check_fn doctor_landlock, doctor_landlock_net, doctor_seccomp, doctor_namespaces,
    doctor_sandbox; /* -sandbox.c */
doctor_check_fn doctor_docker, doctor_podman, doctor_runner_kind, doctor_archive,
    doctor_program;                                                /* -engine.c */
doctor_check_fn doctor_model_key, doctor_model, doctor_model_call; /* -model.c */

doctor_check_fn doctor_temporal; /* -temporal.c */

#endif
