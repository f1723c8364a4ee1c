/* home-watch.h — hears when files that others find the server by are taken away: its sockets and
 * its pid file, one by one, or with the folder they lie in. By inotify: nothing wakes up while
 * nothing happens. A home that is moved together with the folder above it is not heard of.
 * Threads: the loop's. */
#ifndef PROG_STIGMER_SERVER_HOME_WATCH_H
#define PROG_STIGMER_SERVER_HOME_WATCH_H

#include "core/paths.h"
#include "platform/loop.h"

struct home_watch;

struct home_watch_events {
    void (*on_file)(const char *path, void *arg); /* a file is not there any more; put it back */
    /* folder is not there any more, or is another one: nobody can find this server. Told once;
     * afterwards nothing more is. Not from inside home_watch_new. */
    void (*on_folder)(const char *folder, void *arg);
    void *arg;
};

/* paths: borrowed; its folders and sockets are there. NULL: this machine gives no watch, which is
 * logged. */
struct home_watch *home_watch_new(struct loop *loop, const struct paths *paths,
                                  const struct home_watch_events *events);
void home_watch_free(struct home_watch *w); /* NULL is fine; also inside its callbacks */

#endif
