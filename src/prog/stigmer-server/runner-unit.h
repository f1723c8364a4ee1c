/* runner-unit.h — which runner this server has, and with what environment: the choice of the
 * backend from the settings. */
#ifndef PROG_STIGMER_SERVER_RUNNER_UNIT_H
#define PROG_STIGMER_SERVER_RUNNER_UNIT_H

#include "core/config.h"
#include "core/paths.h"
#include "platform/loop.h"
#include "svc/runner-backend.h"

struct runner_unit;

/* The folder our own program lies in: agent-runner lies beside it. */
MUST_CHECK enum err_code runner_unit_libexec(char ret[PATHS_MAX], struct err *err);

struct runner_unit *runner_unit_new(const struct config *config, const struct paths *paths,
                                    const char *keys_folder);
void runner_unit_free(struct runner_unit *u); /* after the backend */

/* kind: "process". A container engine asked for by name is ERR_SANDBOX (exit 10): this version has
 * the process runner only. */
MUST_CHECK enum err_code runner_unit_backend(struct runner_unit *u, struct loop *loop,
                                             const char *kind, struct runner_backend **ret,
                                             struct err *err);

#endif
