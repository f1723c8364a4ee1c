#include "platform/logsink.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/own.h"
#include "base/str.h"

struct logsink {
    char path[PATH_MAX];
    int64_t max_size, size;
    int max_files;
    int fd;          /* owned */
    int64_t dropped; /* bytes since the last write that worked */
};

static enum err_code open_file(struct logsink *s, struct err *err)
{
    struct stat st;
    OWN_FD int fd = open(s->path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);

    if (fd < 0 || fstat(fd, &st) < 0)
        return err_sys(err, errno, "open the log '%s'", s->path);
    own_fd(&s->fd);
    s->fd = take_fd(&fd);
    s->size = st.st_size;
    return ERR_OK;
}

static void name_of(const char *path, int i, char ret[PATH_MAX + 16])
{
    if (i == 0)
        (void)str_format(ret, PATH_MAX + 16, "%s", path);
    else
        (void)str_format(ret, PATH_MAX + 16, "%s.%d", path, i);
}

static void shift(const char *path, int max_files)
{
    char from[PATH_MAX + 16], to[PATH_MAX + 16];

    for (int i = max_files - 2; i >= 0; i--) {
        name_of(path, i, from);
        name_of(path, i + 1, to);
        (void)rename(from, to);
    }
    if (max_files == 1)
        (void)unlink(path);
}

/* When a step fails the file grows on: a log too big is better than none. */
static void rotate(struct logsink *s)
{
    shift(s->path, s->max_files);
    (void)open_file(s, NULL);
}

static void append(struct logsink *s, const char *data, size_t len)
{
    while (len) {
        ssize_t n = write(s->fd, data, len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            s->dropped += (int64_t)len;
            return;
        }
        s->size += n;
        data += n;
        len -= (size_t)n;
    }
}

static void tell_dropped(struct logsink *s)
{
    char text[96];
    int64_t was = s->dropped;

    if (!was)
        return;
    (void)str_format(text, sizeof text, "\n(%lld bytes of this log could not be written)\n",
                     (long long)was);
    s->dropped = 0;
    append(s, text, strlen(text));
    if (s->dropped)
        s->dropped = was;
}

enum err_code logsink_open(const char *path, int64_t max_size, int max_files, struct logsink **ret,
                           struct err *err)
{
    struct logsink *s = mem_new(sizeof *s);
    enum err_code code;

    s->max_size = max_size;
    s->max_files = max_files;
    s->fd = -1;
    code = str_format(s->path, sizeof s->path, "%s", path)
               ? open_file(s, err)
               : err_set(err, ERR_INVALID, "the path of the log is too long");
    if (code)
        logsink_close(s);
    else
        *ret = s;
    return code;
}

void logsink_write(struct logsink *s, const void *data, size_t len)
{
    const char *p = data;

    tell_dropped(s);
    while (len && !s->dropped) {
        const char *lf = s->size + (int64_t)len > s->max_size ? memchr(p, '\n', len) : NULL;
        size_t n = lf ? (size_t)(lf - p) + 1 : len;

        append(s, p, n);
        p += n;
        len -= n;
        if (lf && s->size > s->max_size)
            rotate(s);
    }
    s->dropped += (int64_t)len;
}

void logsink_limit(struct logsink *s, int64_t max_size, int max_files)
{
    s->max_size = max_size;
    s->max_files = max_files;
}

void logsink_close(struct logsink *s)
{
    if (!s)
        return;
    own_fd(&s->fd);
    free(s);
}
