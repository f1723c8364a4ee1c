#include "prog/stigmer-server/own-log.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/own.h"
#include "platform/logsink.h"

#define LOOK_MS 10000 /* how often; a log grows past its limit by what is written meanwhile */

struct own_log {
    const char *path; /* borrowed */
    struct loop_timer *timer;
    int64_t max_size;
    int max_files;
};

void own_log_reopen(const char *path)
{
    struct stat st;
    OWN_FD int fd = -1;

    if (fstat(STDERR_FILENO, &st) < 0 || !S_ISREG(st.st_mode))
        return;
    fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd >= 0) {
        (void)dup2(fd, STDOUT_FILENO);
        (void)dup2(fd, STDERR_FILENO);
    }
}

static bool is_ours(const char *path, struct stat *ret_now)
{
    struct stat there;

    return fstat(STDERR_FILENO, ret_now) == 0 && stat(path, &there) == 0 &&
           S_ISREG(ret_now->st_mode) && ret_now->st_ino == there.st_ino &&
           ret_now->st_dev == there.st_dev;
}

static void look(void *arg)
{
    struct own_log *l = arg;
    struct stat now;

    if (is_ours(l->path, &now) && now.st_size > l->max_size) {
        logsink_shift(l->path, l->max_files);
        own_log_reopen(l->path);
    }
    loop_timer_in(l->timer, LOOK_MS);
}

struct own_log *own_log_new(struct loop *loop, const char *path, int64_t max_size, int max_files)
{
    struct own_log *l = mem_new(sizeof *l);

    *l = (struct own_log){.path = path,
                          .timer = loop_timer_new(loop, look, l),
                          .max_size = max_size,
                          .max_files = max_files};
    look(l);
    return l;
}

void own_log_free(struct own_log *l)
{
    if (!l)
        return;
    loop_timer_free(l->timer);
    free(l);
}
