/* tools-exec.h — things that take a while in a tool host: commands, and searches in a child.
 *
 *   tool host ──fork──▶ keeper ──fork──▶ /bin/sh -c … (own session, own domain)
 *                          └ adopts every orphan of the command, and when the shell has ended, or
 * at the time-out, kills all that is left: daemons that left the group too
 *
 * The keeper's domain is below the host's and the command's below the keeper's, so the kill
 * cannot reach further than the command, and the command cannot reach the keeper.
 * Output is merged in order of arrival and bounded while it is read: head and tail are kept in
 * memory, the whole up to 16 MiB in a file of the workspace. */
#ifndef SVC_TOOLS_EXEC_H
#define SVC_TOOLS_EXEC_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "svc/tools.h"

struct tools_exec;

struct tools_exec_command {
    const char *command;
    const char *working_dir; /* NULL: the workspace */
    char *const *env;        /* whole environment */
    int64_t timeout_s;
};

MUST_CHECK enum err_code tools_exec_start(const struct tools *t,
                                          const struct tools_exec_command *cmd, int64_t now_ms,
                                          struct tools_exec **ret, struct err *err);
/* fn in a child, so that it can be ended. */
MUST_CHECK enum err_code tools_exec_search(const struct tools *t, tools_fn *fn, const json_t *args,
                                           int64_t now_ms, struct tools_exec **ret,
                                           struct err *err);
void tools_exec_free(struct tools_exec *x); /* the child is gone, or tools_exec_kill was called */

int tools_exec_fd(const struct tools_exec *x); /* to poll for reading; -1 after its end */
pid_t tools_exec_pid(const struct tools_exec *x);
int64_t tools_exec_deadline(const struct tools_exec *x);

void tools_exec_on_readable(struct tools_exec *x);
void tools_exec_on_deadline(struct tools_exec *x);
void tools_exec_kill(struct tools_exec *x); /* everything it started, soon; then it ends */

/* The child has been reaped: the text for the model. True: a result, false: an error. */
bool tools_exec_finish(struct tools_exec *x, int wait_status, struct buf *out);

#endif
