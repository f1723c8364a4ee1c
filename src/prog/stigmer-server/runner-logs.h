/* runner-logs.h — `stigmer-server --runner-logs`: what the runner's containers wrote that is not in
 * the log yet, for `stigmer server logs` while no server listens to them; with --follow also what
 * they write from then on. */
#ifndef PROG_STIGMER_SERVER_RUNNER_LOGS_H
#define PROG_STIGMER_SERVER_RUNNER_LOGS_H

#include <stdbool.h>

#include "core/paths.h"

int runner_logs_main(const struct paths *paths, bool follows);

#endif
