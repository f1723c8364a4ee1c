/* folders.h — the folders of a home, made at the start with the modes they need.
 *
 * Root's tools run as another user (10002), who must be able to walk to the workspaces. Where a
 * folder above the home is closed to others (a home below /root, say) and the host allows no
 * namespaces (in a container, say), the workspaces lie in FOLDERS_DETOUR and data/workspace is a
 * link to them. */
#ifndef PROG_STIGMER_SERVER_FOLDERS_H
#define PROG_STIGMER_SERVER_FOLDERS_H

#include <stddef.h>

#include "base/err.h"
#include "core/paths.h"

#define FOLDERS_DETOUR "/var/lib/stigmer" /* /<hash of the home> */

/* The home, data, logs and run: what must be there before anything is written. */
MUST_CHECK enum err_code folders_base(const struct paths *p, struct err *err);

/* notice: what a person should be told; "" for nothing. */
MUST_CHECK enum err_code folders_make(const struct paths *p, char *ret_notice, size_t size,
                                      struct err *err);

#endif
