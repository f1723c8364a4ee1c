/* backend-process.h — the runner as a child process in a session of its own: the same launcher,
 * worker and tool hosts as in the container, without root. Its output goes to the runner's log. */
#ifndef SVC_BACKEND_PROCESS_H
#define SVC_BACKEND_PROCESS_H

#include "platform/loop.h"
#include "svc/runner-backend.h"

struct backend_process_config {
    const char *program;     /* agent-runner; borrowed, as all here */
    const char *const *envp; /* all of its environment */
    const char *log_file;    /* what it writes is appended to it */
    int64_t log_max_size;    /* bytes; see platform/logsink.h */
    int log_max_files;
};

struct runner_backend *backend_process_new(struct loop *loop,
                                           const struct backend_process_config *config);

#endif
