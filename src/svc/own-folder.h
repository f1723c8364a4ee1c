/* own-folder.h — a person's own folder as the workspace of a session: which folders may be one.
 *
 * Refused, because an agent could do harm there that has nothing to do with its task: /, the
 * system's own folders, the person's home itself and what is above it, and this installation's home
 * with all that is above or below it (keys, journal, other workspaces). The folder must belong to
 * the user who runs the server, whose files the agent's will be; root may give it any user's.
 * Errors: ERR_DENIED (refused), ERR_NOT_FOUND, ERR_INVALID. Threads: any; looks at the file system.
 */
#ifndef SVC_OWN_FOLDER_H
#define SVC_OWN_FOLDER_H

#include "base/err.h"

#define OWN_FOLDER_MAX 1024 /* bytes of a path */

/* home: of this installation. path must be absolute and without links (realpath). */
MUST_CHECK enum err_code own_folder_check(const char *path, const char *home, struct err *err);

/* Lets tool hosts of this machine find it: root/NAME becomes a link to it. */
MUST_CHECK enum err_code own_folder_link(const char *root, const char *name, const char *path,
                                         struct err *err);

#endif
