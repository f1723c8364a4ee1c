/* serve.h — the server itself: opens the store, listens, has a runner, and ends when asked.
 * The wiring of everything in svc; see serve.c for the order. */
#ifndef PROG_STIGMER_SERVER_SERVE_H
#define PROG_STIGMER_SERVER_SERVE_H

#include "core/paths.h"
#include "prog/stigmer-server/settings.h"

/* Runs until it is stopped; returns the exit code. The first of the keeper's servers is the start
 * that a person waits for: args->ready_fd is told how it goes. */
int serve_run(const struct settings_args *args, const struct paths *paths);

#endif
