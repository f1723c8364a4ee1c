/* runner-unit.h — which runner this server has, and with what environment: the choice of the
 * backend from the settings.
 *
 *   docker    a container; when no engine answers the start has failed (ERR_SANDBOX, exit 10)
 *   process   a sandboxed process of this machine
 *   auto      a container when an engine answers, else a process and a visible notice
 *
 * Ownership: borrows settings and paths. Threads: the loop's. */
#ifndef PROG_STIGMER_SERVER_RUNNER_UNIT_H
#define PROG_STIGMER_SERVER_RUNNER_UNIT_H

#include "core/config.h"
#include "core/paths.h"
#include "platform/loop.h"
#include "svc/runner-backend.h"

struct runner_unit;

/* The folder our own program lies in: agent-runner lies beside it. */
MUST_CHECK enum err_code runner_unit_libexec(char ret[PATHS_MAX], struct err *err);

/* The archive of our image, as it was installed with this program; it need not be there. */
MUST_CHECK enum err_code runner_unit_archive(char ret[PATHS_MAX], struct err *err);

struct runner_unit *runner_unit_new(struct loop *loop, const struct config *config,
                                    const struct paths *paths, const char *keys_folder,
                                    const char *token);
void runner_unit_free(struct runner_unit *u); /* after the backend */

/* Exactly once, later; not after runner_unit_free. backend (owned by the receiver) or err is NULL;
 * notice is "" or what a person should be told. */
typedef void runner_unit_fn(struct runner_backend *take_backend, const char *notice,
                            const struct err *err, void *arg);
void runner_unit_choose(struct runner_unit *u, runner_unit_fn *fn, void *arg);

#endif
