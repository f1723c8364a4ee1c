#include "prog/stigmer-server/home-watch.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/own.h"

enum { FOLDERS = 4, FILES = 3, SETTLE_MS = 200 };

struct home_watch {
    struct loop *loop; /* borrowed */
    int fd;            /* owned */
    struct loop_io *io;
    struct loop_timer *later; /* owned */
    struct home_watch_events events;
    const char *folders[FOLDERS]; /* borrowed, with what they are below */
    dev_t dev[FOLDERS];
    ino_t ino[FOLDERS];
    const char *files[FILES]; /* borrowed */
    bool dead;                /* freed inside a callback; memory stays until the turn ends */
};

static bool is_same(const struct home_watch *w, size_t i)
{
    struct stat st;

    return stat(w->folders[i], &st) == 0 && st.st_dev == w->dev[i] && st.st_ino == w->ino[i];
}

/* What it says is looked up a little later: whoever removes a whole home is not to find a socket in
 * it again. */
static void on_change(int events, void *arg)
{
    struct home_watch *w = arg;
    char text[4096];

    (void)events;
    while (read(w->fd, text, sizeof text) > 0)
        ;
    loop_timer_in(w->later, SETTLE_MS);
}

static void look(void *arg)
{
    struct home_watch *w = arg;
    struct stat st;

    for (size_t i = 0; i < FOLDERS; i++)
        if (!is_same(w, i)) {
            loop_io_want(w->io, 0);
            w->events.on_folder(w->folders[i], w->events.arg);
            return;
        }
    for (size_t i = 0; i < FILES && !w->dead; i++)
        if (lstat(w->files[i], &st) < 0 && errno == ENOENT)
            w->events.on_file(w->files[i], w->events.arg);
}

static bool watch_all(struct home_watch *w)
{
    for (size_t i = 0; i < FOLDERS; i++) {
        struct stat st;

        if (stat(w->folders[i], &st) < 0 ||
            inotify_add_watch(w->fd, w->folders[i],
                              IN_DELETE | IN_MOVED_FROM | IN_DELETE_SELF | IN_MOVE_SELF |
                                  IN_ONLYDIR) < 0)
            return false;
        w->dev[i] = st.st_dev;
        w->ino[i] = st.st_ino;
    }
    return true;
}

struct home_watch *home_watch_new(struct loop *loop, const struct paths *paths,
                                  const struct home_watch_events *events)
{
    struct home_watch *w = mem_new(sizeof *w);

    *w = (struct home_watch){
        .loop = loop,
        .fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK),
        .events = *events,
        .folders = {paths->home, paths->data, paths->run, paths->runner_dir},
        .files = {paths->api_sock, paths->runner_sock, paths->pid_file},
    };
    if (w->fd < 0 || !watch_all(w)) {
        log_warn("the home cannot be watched: a socket that is removed will not be put back", "why",
                 strerror(errno), "hint", "raise fs.inotify.max_user_watches and _instances");
        own_fd(&w->fd);
        free(w);
        return NULL;
    }
    w->io = loop_io_new(loop, w->fd, on_change, w);
    w->later = loop_timer_new(loop, look, w);
    loop_io_want(w->io, LOOP_READ);
    return w;
}

void home_watch_free(struct home_watch *w)
{
    if (!w)
        return;
    w->dead = true;
    loop_io_free(w->io);
    loop_timer_free(w->later);
    own_fd(&w->fd);
    loop_later(w->loop, free, w);
}
