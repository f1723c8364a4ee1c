/* keeper-link.h — the server's end of its keeper (prog/stigmer-keeper/keeper.h): becoming it,
 * hearing of the servers before, telling it that this one is up. Threads: any one. */
#ifndef PROG_STIGMER_SERVER_KEEPER_LINK_H
#define PROG_STIGMER_SERVER_KEEPER_LINK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "core/paths.h"

#define KEEPER_LINK_LINES 3

struct keeper_past {
    unsigned restarts;
    char last_exit[128];                     /* why the last one ended; "" for the first */
    char last_lines[KEEPER_LINK_LINES][512]; /* what it wrote last; "" where there is none */
};

/* This program becomes the keeper, which starts it again with --serve and args (NULL-ended).
 * once_fd: -1 or a descriptor that only the first server gets. Returns only to tell of a failure.
 */
enum err_code keeper_link_become(const struct paths *paths, int once_fd, bool copies_log,
                                 char *const *args, struct err *err);

/* fd: the socket to the keeper, or -1 for none (then there is no past and nobody is told). */
void keeper_link_read(int fd, struct keeper_past *ret);

/* What it says later: trouble with the server's log ("" again when that is over). False: nothing
 * new.
 */
#define KEEPER_LINK_TROUBLE 512
bool keeper_link_take(int fd, char ret_trouble[KEEPER_LINK_TROUBLE]);

void keeper_link_up(int fd);
void keeper_link_pids(int fd); /* the pid file is gone: it is to write it again */
void keeper_link_log(int fd, int64_t max_size, int max_files);

#endif
