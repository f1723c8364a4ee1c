/* prune.h — `stigmer-server --prune BEFORE FD`: what crashes and old sessions left in this home,
 * told or removed. One JSON object of schema stigmer.cli/prune/v1 on stdout.
 *
 *   kind       when it is stale                                                how it goes
 *   container  of this home, and no server of it runs (or none knows it)       by force
 *   socket, id, keys   no server of this home runs                             unlinked
 *   temp       a file that was to be renamed, or a workspace half removed      unlinked
 *   link       its session is gone; the folder it leads to is the person's     the link alone
 *   workspace  older than asked for, and its session is gone or has no run     as a tree
 *   backup     of the store: older than asked for, and not the newest          unlinked
 *
 * Workspaces and backups are only looked at when an age is given. What a live server may be using
 * is never touched: while one runs, nothing of run/ is stale, a container must be unknown to it for
 * a minute, and a workspace whose session still exists must have been quiet for ten. */
#ifndef PROG_STIGMER_SERVER_PRUNE_H
#define PROG_STIGMER_SERVER_PRUNE_H

#include "core/paths.h"

/* before: milliseconds of the wall clock; "0": no age is given. fd: where an earlier answer stands,
 * whose items are to go if they still are stale; "-1": only tell. */
int prune_main(const struct paths *paths, const char *before, const char *fd);

#endif
