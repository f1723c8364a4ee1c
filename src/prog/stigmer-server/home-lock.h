/* home-lock.h — whether a server holds this home, asked by the parts of stigmer-server that look
 * at one or clean up: the store's lock, which the kernel drops with its holder, and the pid file,
 * which also names a keeper that is about to start its server again. */
#ifndef PROG_STIGMER_SERVER_HOME_LOCK_H
#define PROG_STIGMER_SERVER_HOME_LOCK_H

#include <stdbool.h>

#include "core/paths.h"

/* True when no server holds it; then *ret_fd keeps others out until it is closed (-1: there is no
 * lock file, as no server ever was here). */
bool home_lock_take(const struct paths *paths, int *ret_fd);

/* Does a process of the pid file live? */
bool home_lock_pids_live(const struct paths *paths);

#endif
