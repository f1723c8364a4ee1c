/* runner-unit.h — the runner that the settings ask for, as one backend (svc/runner-backend.h) whose
 * every start chooses where it runs:
 *
 *   docker, podman   a container of that engine; when it does not answer, on_blocked
 *   process          a sandboxed process of this machine
 *   auto             the first of docker, podman, process that can be had; chosen again whenever
 *                    the runner is started again, so also when an engine has gone away
 *
 * A choice of auto that is no container is said: runner_unit_notice.
 * A container that an earlier server of this home left is a choice already made: for some seconds
 * its engine, which may be on its way up, is waited for.
 *
 * A unit is for all sessions, or for one that has a person's own folder as its workspace: that one
 * is a container of its own with just this folder mounted.
 * Ownership: borrows settings and paths. Threads: the loop's. */
#ifndef PROG_STIGMER_SERVER_RUNNER_UNIT_H
#define PROG_STIGMER_SERVER_RUNNER_UNIT_H

#include "core/config.h"
#include "core/paths.h"
#include "platform/loop.h"
#include "svc/runner-backend.h"

/* The folder our own program lies in: agent-runner lies beside it. */
MUST_CHECK enum err_code runner_unit_libexec(char ret[PATHS_MAX], struct err *err);

/* The archive of our image, as it was installed with this program; it need not be there. */
MUST_CHECK enum err_code runner_unit_archive(char ret[PATHS_MAX], struct err *err);

/* The id that the engine gives that image; "" when there is no archive. */
#define RUNNER_UNIT_IMAGE_ID 96
void runner_unit_archive_id(char ret[RUNNER_UNIT_IMAGE_ID]);

struct runner_unit_options { /* text is borrowed */
    const struct config *config;
    const struct paths *paths;
    const char *keys_folder;
    const char *token;
    const char *session; /* NULL: of all sessions that have no folder of their own */
    const char *folder;  /* that session's; absolute */
};

struct runner_backend *runner_unit_new(struct loop *loop, const struct runner_unit_options *o);

/* Blocked now, but another choice is tried soon: the engine of a container that was left is waited
 * for. */
bool runner_unit_waits(const struct runner_backend *b);

/* "" or what a person should be told about the choice; borrowed, until the next start. */
const char *runner_unit_notice(const struct runner_backend *b);

#endif
