#include "platform/tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/own.h"
#include "base/str.h"

#define LIFTED ".stigmer-gone-" /* where removal puts what lies deep, beside what it removes */

/* On kernels before 5.6, and where a filter knows no openat2. */
static int open_old(int dir, const char *name, int flags)
{
    struct stat above, st;
    int fd = openat(dir, name, flags | O_NOFOLLOW);

    if (fd < 0 || (fstat(dir, &above) == 0 && fstat(fd, &st) == 0 && above.st_dev == st.st_dev))
        return fd;
    (void)close(fd);
    errno = EXDEV;
    return -1;
}

/* A folder, itself and no link, on the same mount. flags beyond O_DIRECTORY: O_RDONLY or O_PATH. */
static int open_folder(int dir, const char *name, int flags)
{
    struct open_how how = {.flags = (uint64_t)(unsigned)(flags | O_DIRECTORY | O_CLOEXEC),
                           .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV};
    long fd;

    do
        fd = syscall(SYS_openat2, dir, name, &how, sizeof how);
    while (fd < 0 && (errno == EINTR || errno == EAGAIN));
    if (fd < 0 && (errno == ENOSYS || errno == EPERM))
        return open_old(dir, name, flags | O_DIRECTORY | O_CLOEXEC);
    return (int)fd;
}

static bool is_dots(const char *name)
{
    return str_eq(name, ".") || str_eq(name, "..");
}

/* ---- measuring ----------------------------------------------------------------------------- */

struct measure {
    struct tree_size size;
    int64_t entries;
};

static void measure_at(struct measure *m, int dir, const char *name, int level)
{
    struct stat st;
    const struct dirent *e;
    DIR *d;
    int fd;

    if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return;
    m->size.bytes += (int64_t)st.st_blocks * 512;
    if (!S_ISDIR(st.st_mode))
        return;
    if (level == TREE_LEVELS || m->entries >= TREE_ENTRIES) {
        m->size.is_part = true;
        return;
    }
    fd = open_folder(dir, name, O_RDONLY);
    d = fd < 0 ? NULL : fdopendir(fd);
    if (!d) {
        m->size.has_mount |= errno == EXDEV;
        m->size.is_part = true;
        if (fd >= 0)
            (void)close(fd);
        return;
    }
    while ((e = readdir(d)) && m->entries < TREE_ENTRIES)
        if (!is_dots(e->d_name)) {
            m->entries++;
            measure_at(m, fd, e->d_name, level + 1);
        }
    (void)closedir(d);
}

void tree_measure(int dir, const char *name, struct tree_size *ret)
{
    struct measure m = {0};

    measure_at(&m, dir, name, 0);
    *ret = m.size;
}

/* ---- removing ------------------------------------------------------------------------------ */

/* A folder that its owner may not change: through a descriptor, so that it is this one and no
 * other. */
static bool make_writable(int dir, const char *name)
{
    OWN_FD int fd = open_folder(dir, name, O_PATH);
    char path[48];

    (void)str_format(path, sizeof path, "/proc/self/fd/%d", fd);
    return fd >= 0 && chmod(path, 0700) == 0;
}

static int open_to_empty(int dir, const char *name)
{
    int fd = open_folder(dir, name, O_RDONLY);

    if (fd >= 0 && faccessat(fd, ".", W_OK | X_OK, AT_EACCESS) == 0)
        return fd;
    if (fd < 0 && errno != EACCES)
        return -1;
    if (fd >= 0)
        (void)close(fd);
    return make_writable(dir, name) ? open_folder(dir, name, O_RDONLY) : -1;
}

enum outcome { GONE, FULL, STUCK }; /* FULL: a folder with something in it; STUCK: see errno */

static enum outcome remove_one(int dir, const char *name)
{
    int why;

    if (unlinkat(dir, name, 0) == 0 || errno == ENOENT)
        return GONE;
    if (errno != EISDIR && errno != EPERM)
        return STUCK;
    why = errno;
    if (unlinkat(dir, name, AT_REMOVEDIR) == 0 || errno == ENOENT)
        return GONE;
    if (errno == ENOTEMPTY || errno == EEXIST)
        return FULL;
    if (errno == ENOTDIR)
        errno = why;
    return STUCK;
}

/* Puts sub/name directly below top, under a name that is free there. */
static bool lift(int top, int sub, const char *name, unsigned *number)
{
    char to[sizeof LIFTED + 16];

    for (unsigned tries = 0; tries < 1000; tries++) {
        (void)str_format(to, sizeof to, LIFTED "%u", (*number)++);
        if (renameat(sub, name, top, to) == 0)
            return true;
        if (errno == EACCES && make_writable(sub, name) && renameat(sub, name, top, to) == 0)
            return true;
        if (errno != ENOTEMPTY && errno != EEXIST && errno != ENOTDIR && errno != EISDIR)
            return false;
    }
    return false;
}

/* Entries of sub go; folders of it that are not empty move up to top. */
static bool empty_into(int top, int sub, unsigned *number)
{
    OWN_FD int copy = openat(sub, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = copy < 0 ? NULL : fdopendir(copy);
    const struct dirent *e;
    bool done = d != NULL;

    if (d)
        copy = -1; /* closedir closes it */
    while (done && (e = readdir(d))) {
        enum outcome o = is_dots(e->d_name) ? GONE : remove_one(sub, e->d_name);

        done = o == GONE || (o == FULL && lift(top, sub, e->d_name, number));
    }
    if (d) {
        int why = errno;

        (void)closedir(d);
        errno = why;
    }
    return done;
}

/* One pass over top. */
static bool pass(int top, unsigned *number, bool *ret_empty)
{
    OWN_FD int copy = openat(top, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = copy < 0 ? NULL : fdopendir(copy);
    const struct dirent *e;
    bool done = d != NULL;
    int why;

    *ret_empty = done;
    if (d)
        copy = -1;
    while (done && (e = readdir(d))) {
        enum outcome o = is_dots(e->d_name) ? GONE : remove_one(top, e->d_name);

        *ret_empty &= o == GONE;
        done = o != STUCK;
        if (o == FULL) {
            OWN_FD int sub = open_to_empty(top, e->d_name);

            done = sub >= 0 && empty_into(top, sub, number);
        }
    }
    why = errno;
    if (d)
        (void)closedir(d);
    errno = why;
    return done;
}

static enum err_code failed(const char *name, int why, struct err *err)
{
    if (why == EXDEV || why == EBUSY)
        return err_hint(
            err,
            err_set(err, ERR_DENIED, "'%.300s' is not removed: something is mounted in it", name),
            "unmount it first: findmnt shows where");
    return err_sys(err, why, "remove '%.300s'", name);
}

enum err_code tree_remove(int dir, const char *name, struct err *err)
{
    struct tree_size size;
    unsigned number = 0;
    bool empty = false;
    struct stat st;

    if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return failed(name, errno, err);
    if (!S_ISDIR(st.st_mode))
        return unlinkat(dir, name, 0) == 0 ? ERR_OK : failed(name, errno, err);
    tree_measure(dir, name, &size); /* before anything is touched */
    if (size.has_mount)
        return failed(name, EXDEV, err);
    OWN_FD int top = open_to_empty(dir, name);
    if (top < 0)
        return failed(name, errno, err);
    while (!empty)
        if (!pass(top, &number, &empty))
            return failed(name, errno, err);
    return unlinkat(dir, name, AT_REMOVEDIR) == 0 ? ERR_OK : failed(name, errno, err);
}
