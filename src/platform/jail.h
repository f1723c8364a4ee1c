/* jail.h — a root folder, processes, IPC and a network of its own for a tool host, by Linux
 * namespaces; with a user namespace when the caller is not root. What is not in the new root (/usr
 * and /etc read-only, the workspace at its own path, fresh /tmp, /dev and /proc) cannot be named.
 *
 *   caller ──fork──▶ init of the new process namespace: returns from jail_enter
 *      └ waits and ends as it ended; each dies with the other, and with it everything inside */
#ifndef PLATFORM_JAIL_H
#define PLATFORM_JAIL_H

#include <stdbool.h>

#include "base/err.h"

/* ERR_SANDBOX: this host does not allow it, and why. Tries in a child. */
MUST_CHECK enum err_code jail_probe(struct err *err);

/* workspace_fd: its open folder; source: its path; workspace: the path it is to have inside.
 * Returns in the child only; the working folder is the workspace. has_proc: whether /proc could be
 * mounted. */
MUST_CHECK enum err_code jail_enter(int workspace_fd, const char *source, const char *workspace,
                                    bool no_network, bool *ret_has_proc, struct err *err);

#endif
