/* keeper.h — the parent of the server: small, without threads, allocating nothing once it runs.
 *
 *   keeper ──fork──▶ server ──crash──▶ forked again (core/unit: at once, then with back-off)
 *
 * It writes the pid file (two lines, "keeper PID START" and "server PID START", START being field
 * 22 of /proc/PID/stat), passes TERM on, and exits with the server's code when that ends by itself:
 * 0 after a stop, the start's error when it never became ready. A server whose keeper dies ends
 * too. */
#ifndef PROG_STIGMER_SERVER_KEEPER_H
#define PROG_STIGMER_SERVER_KEEPER_H

#include "core/paths.h"

/* What a child is told of those before it. */
struct keeper_past {
    unsigned restarts;
    char last_exit[80]; /* why the last one ended; "" for the first */
};

/* Runs child(ready_fd, past, arg) in a forked process, again and again. child writes one byte to
 * ready_fd when it is up. once_fd (or -1) is closed in the keeper after the first fork: a start's
 * reader sees its end. Returns the exit code of the whole. */
typedef int keeper_child_fn(int ready_fd, const struct keeper_past *past, void *arg);
int keeper_run(const struct paths *paths, int once_fd, keeper_child_fn *child, void *arg);

#endif
