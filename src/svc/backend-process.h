/* backend-process.h — a component as a child process in a session of its own, its output in its
 * log: the runner (the same launcher, worker and tool hosts as in the container, without root), and
 * the Temporal server that is started for a stack. */
#ifndef SVC_BACKEND_PROCESS_H
#define SVC_BACKEND_PROCESS_H

#include "platform/loop.h"
#include "svc/runner-backend.h"

struct backend_process_config {
    const char *what;        /* for the log; borrowed, as all here */
    const char *const *argv; /* the program's path first; NULL-ended */
    const char *const *envp; /* all of its environment */
    const char *log_file;    /* what it writes is appended to it */
    int64_t log_max_size;    /* bytes; see platform/logsink.h */
    int log_max_files;
    /* It is a program of somebody else: its lines get our time in front, as our own have, and when
     * it ends with an error, what it wrote last is part of the reason. */
    bool foreign;
};

struct runner_backend *backend_process_new(struct loop *loop,
                                           const struct backend_process_config *config);

#endif
