/* keeper.h — the parent of the server: a small static program without threads, that allocates
 * nothing once it runs.
 *
 *   keeper ──fork, exec──▶ stigmer-server --serve ──crash──▶ again (core/unit: at once, then with
 *      ▲                        │                             back-off; the eleventh is the last)
 *      └── standard output ─────┘  what it writes goes to the log, which the keeper rotates:
 *                                  nothing is lost between two servers
 *
 * It writes the pid file (two lines, "keeper PID START" and "server PID START", START being field
 * 22 of /proc/PID/stat), passes TERM and INT on, and exits with the server's code when that ends by
 * itself: 0 after a stop, the start's error when it never became ready. A server whose keeper dies
 * is told by the kernel and ends too.
 *
 * Between the two lies a socket (KEEPER_FD of the server), a text a datagram:
 *   keeper → server, first    "restarts N\nexit WHY\nlog LINE\n…": of those before it
 *   server → keeper           "up": it answers; "log SIZE FILES": the limits of its log */
#ifndef PROG_STIGMER_KEEPER_KEEPER_H
#define PROG_STIGMER_KEEPER_KEEPER_H

#include <stdbool.h>

struct keeper_options {
    const char *server; /* the program */
    const char *log, *pid_file;
    int once_fd;       /* closed after the first fork: a start's reader sees its end; or -1 */
    bool copies;       /* the log goes to standard error as well */
    char *const *argv; /* of the server, after "--serve --keeper-fd N"; NULL-ended */
};

/* Returns the exit code of the whole. */
int keeper_run(const struct keeper_options *o);

#endif
