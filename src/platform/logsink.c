#include "platform/logsink.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/own.h"
#include "base/str.h"

struct logsink {
    char path[PATH_MAX];
    int64_t max_size, size;
    int max_files;
    int fd; /* owned; -1: it could not be opened (again) */
    dev_t dev;
    ino_t inode;
    int64_t lost_lines, lost_bytes; /* since the last write that worked */
    int why;                        /* errno of what lost them */
    bool open_line;                 /* the file does not end in a newline */
    bool skips;                     /* what comes belongs to a line that is lost */
};

/* The folder may have been removed under us: it is made again, but not the one that it is in. */
static int open_path(const char *path, bool again)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NONBLOCK, 0600);
    char folder[PATH_MAX], *slash;

    if (fd >= 0 || !again || errno != ENOENT || !str_format(folder, sizeof folder, "%s", path))
        return fd;
    slash = strrchr(folder, '/');
    if (slash)
        *slash = '\0';
    if (!slash || mkdir(folder, 0700) < 0) {
        errno = ENOENT;
        return -1;
    }
    return open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NONBLOCK, 0600);
}

static enum err_code open_file(struct logsink *s, struct err *err)
{
    struct stat st;
    OWN_FD int fd = open_path(s->path, s->inode != 0);

    if (fd < 0 || fstat(fd, &st) < 0)
        return err_sys(err, errno, "open the log '%s'", s->path);
    if (!S_ISREG(st.st_mode)) {
        errno = EINVAL;
        return err_set(err, ERR_INVALID, "the log '%s' is not a file", s->path);
    }
    own_fd(&s->fd);
    s->fd = take_fd(&fd);
    s->dev = st.st_dev;
    s->inode = st.st_ino;
    s->size = st.st_size;
    s->open_line = false;
    return ERR_OK;
}

/* Is the file still the one that the path means? It may have been removed, and another writer in
 * this process may have rotated it. */
static void look_at_file(struct logsink *s)
{
    struct stat st;

    if (s->fd >= 0 && stat(s->path, &st) == 0 && st.st_ino == s->inode && st.st_dev == s->dev) {
        s->size = st.st_size;
        return;
    }
    if (open_file(s, NULL))
        s->why = errno;
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
    int last = 0;

    if (max_files == 1) {
        (void)unlink(path);
        return;
    }
    /* A gap is closed: one that was killed in here has left it, and readers stop at it. */
    for (name_of(path, last, from); last < max_files - 2 && access(from, F_OK) == 0;)
        name_of(path, ++last, from);
    for (int i = last; i >= 0; i--) {
        name_of(path, i, from);
        name_of(path, i + 1, to);
        (void)rename(from, to);
    }
}

/* When a step fails the file grows on: a log too big is better than none. */
static void rotate(struct logsink *s)
{
    shift(s->path, s->max_files);
    (void)open_file(s, NULL);
}

static int64_t count_lines(const char *p, size_t len)
{
    int64_t lines = 0;

    for (const char *end = p + len; p < end && (p = memchr(p, '\n', (size_t)(end - p))); p++)
        lines++;
    return lines;
}

static void lose(struct logsink *s, const char *data, size_t len)
{
    if (!len)
        return;
    s->lost_bytes += (int64_t)len;
    s->lost_lines += count_lines(data, len);
    s->skips = data[len - 1] != '\n';
}

/* How much of it went into the file. */
static size_t append(struct logsink *s, const char *data, size_t len)
{
    size_t done = 0;

    while (done < len) {
        ssize_t n = s->fd < 0 ? -1 : write(s->fd, data + done, len - done);

        if (n < 0 && s->fd >= 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            if (s->fd >= 0)
                s->why = n < 0 ? errno : ENOSPC;
            break;
        }
        done += (size_t)n;
    }
    s->size += (int64_t)done;
    if (done)
        s->open_line = data[done - 1] != '\n';
    return done;
}

/* False: there is no room for the word yet. */
static bool tell_lost(struct logsink *s)
{
    char text[256], at[CLOCK_TEXT];
    size_t len;

    if (!s->lost_bytes)
        return true;
    clock_format(clock_wall_ms(), at);
    (void)str_format(text, sizeof text,
                     "%sat=%s level=warn unit=log msg=\"lines of this log could not be written\" "
                     "lines=%lld bytes=%lld why=\"%.60s\"\n",
                     s->open_line ? "…\n" : "", at, (long long)s->lost_lines,
                     (long long)s->lost_bytes, strerror(s->why));
    len = strlen(text);
    if (append(s, text, len) < len)
        return false;
    s->lost_lines = s->lost_bytes = 0;
    return true;
}

/* The rest of a line that was lost goes the same way. */
static size_t skip(struct logsink *s, const char *data, size_t len)
{
    const char *lf = s->skips ? memchr(data, '\n', len) : NULL;
    size_t n = !s->skips ? 0 : lf ? (size_t)(lf - data) + 1 : len;

    lose(s, data, n);
    return n;
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
    size_t n = skip(s, p, len);

    p += n;
    len -= n;
    if (!len)
        return;
    look_at_file(s);
    if (!tell_lost(s)) {
        lose(s, p, len);
        return;
    }
    while (len) {
        const char *lf = s->size + (int64_t)len > s->max_size ? memchr(p, '\n', len) : NULL;
        size_t done;

        n = lf ? (size_t)(lf - p) + 1 : len;
        done = append(s, p, n);
        if (done < n) {
            lose(s, p + done, len - done);
            return;
        }
        p += n;
        len -= n;
        if (lf && s->size > s->max_size)
            rotate(s);
    }
}

bool logsink_trouble(const struct logsink *s, char ret[LOGSINK_TROUBLE])
{
    if (!s || !s->lost_bytes) {
        ret[0] = '\0';
        return false;
    }
    (void)str_format(ret, LOGSINK_TROUBLE,
                     "the log '%.350s' cannot be written: %.60s; its lines are lost until it can",
                     s->path, strerror(s->why));
    return true;
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
