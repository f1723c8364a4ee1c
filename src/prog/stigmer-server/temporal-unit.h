/* temporal-unit.h — a development server of Temporal as a backend (svc/runner-backend.h): one
 * process, on this machine only, with its database and its log below the home.
 *
 * Every start looks anew whether the program is there and the port is free; what is missing is
 * on_blocked: ERR_SANDBOX for the program, ERR_CONFLICT for the port, with who has it.
 * The process dies with this server, in whatever way this one ends (stigmer-keeper --tied).
 * It gets no variable of ours but PATH, and so no key.
 * Ready is what answers: see temporal-stack.h. Ownership: borrows settings and paths.
 * Threads: the loop's. */
#ifndef PROG_STIGMER_SERVER_TEMPORAL_UNIT_H
#define PROG_STIGMER_SERVER_TEMPORAL_UNIT_H

#include "core/config.h"
#include "core/paths.h"
#include "platform/loop.h"
#include "svc/runner-backend.h"

/* Where Temporal's program lies: temporal.binary, or what PATH says of it. */
MUST_CHECK enum err_code temporal_unit_program(const struct config *c, char ret[PATHS_MAX],
                                               struct err *err);

/* The address that such a server is to listen on: of loopback, with a port. */
struct temporal_unit_place {
    char host[64]; /* "127.0.0.1", "::1" */
    char port[8];
    char ui_port[8]; /* what temporal.ui asks for, or 8233 */
};
MUST_CHECK enum err_code temporal_unit_place(const struct config *c,
                                             struct temporal_unit_place *ret, struct err *err);

struct runner_backend *temporal_unit_new(struct loop *loop, const struct config *config,
                                         const struct paths *paths);

/* "http://127.0.0.1:8233", or "" without a UI; then the notice says why. Borrowed. */
const char *temporal_unit_ui(const struct runner_backend *b);
const char *temporal_unit_notice(const struct runner_backend *b);

#endif
