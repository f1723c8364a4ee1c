#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/own.h"
#include "base/str.h"
#include "svc/tools.h"

static enum err_code refuse_outside(const struct tools *t, const char *path, struct err *err)
{
    return err_set(err, ERR_DENIED,
                   "'%.300s' is outside the workspace; only paths below %.300s are accepted, or "
                   "relative ones",
                   path, t->root);
}

/* What follows prefix when path is prefix or lies below it. */
static const char *below(const char *path, const char *prefix)
{
    size_t n = strlen(prefix);

    if (strncmp(path, prefix, n) != 0 || (path[n] && path[n] != '/'))
        return NULL;
    return path + n;
}

enum err_code tools_path_resolve(const struct tools *t, const char *path, char ret_rel[PATH_MAX],
                                 struct err *err)
{
    const char *p = path;
    char rel[PATH_MAX] = "";
    size_t len = 0;

    if (*path == '/') {
        p = below(path, t->root);
        if (!p)
            p = below(path, "/workspace");
        if (!p)
            return refuse_outside(t, path, err);
    }
    while (*(p += strspn(p, "/"))) {
        size_t n = strcspn(p, "/");

        if (n == 2 && p[0] == '.' && p[1] == '.') {
            if (!len)
                return refuse_outside(t, path, err);
            while (len && rel[--len] != '/')
                ;
            rel[len] = '\0';
        } else if (n != 1 || p[0] != '.') {
            if (n > NAME_MAX || len + n + 2 > sizeof rel)
                return err_set(err, ERR_INVALID, "the path is too long");
            if (len)
                rel[len++] = '/';
            memcpy(rel + len, p, n);
            len += n;
            rel[len] = '\0';
        }
        p += n;
    }
    memcpy(ret_rel, len ? rel : ".", len ? len + 1 : 2);
    return ERR_OK;
}

static enum err_code explain(const struct tools *t, const char *rel, int sys, struct err *err)
{
    switch (sys) {
    case EXDEV:
    case ELOOP:
        return err_set(err, ERR_DENIED,
                       "'%.300s' is a link that leads out of the workspace %.300s (or an absolute "
                       "link): refused",
                       rel, t->root);
    case ENOENT:
        return err_set(err, ERR_NOT_FOUND, "'%.300s' does not exist in the workspace", rel);
    case ENOTDIR:
        return err_set(err, ERR_INVALID, "'%.300s': a part of the path is not a folder", rel);
    case EISDIR:
        return err_set(err, ERR_INVALID, "'%.300s' is a folder", rel);
    default:
        return err_sys(err, sys, "'%.300s'", rel);
    }
}

enum err_code tools_path_open(const struct tools *t, const char *rel, int flags, mode_t mode,
                              int *ret_fd, struct err *err)
{
    struct open_how how = {.flags = (uint64_t)(unsigned)(flags | O_CLOEXEC),
                           .mode = flags & O_CREAT ? mode : 0,
                           .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS};
    long fd;

    do /* EAGAIN: a rename raced with a ".." of a link; the kernel asks to try again */
        fd = syscall(SYS_openat2, t->root_fd, rel, &how, sizeof how);
    while (fd < 0 && (errno == EAGAIN || errno == EINTR));
    if (fd < 0)
        return explain(t, rel, errno, err);
    *ret_fd = (int)fd;
    return ERR_OK;
}

static const char *kind_name(mode_t mode)
{
    return S_ISDIR(mode)    ? "a folder"
           : S_ISFIFO(mode) ? "a pipe"
           : S_ISSOCK(mode) ? "a socket"
                            : "a device";
}

enum err_code tools_path_open_file(const struct tools *t, const char *rel, int *ret_fd,
                                   off_t *ret_size, struct err *err)
{
    OWN_FD int fd = -1, seen = -1;
    struct stat st;
    enum err_code code = tools_path_open(t, rel, O_PATH, 0, &seen, err);

    if (code)
        return code;
    /* Looked at before it is opened: opening a device or a pipe can have effects. */
    if (fstat(seen, &st) < 0)
        return err_sys(err, errno, "'%.300s'", rel);
    if (!S_ISREG(st.st_mode))
        return err_set(err, ERR_INVALID, "'%.300s' is %s, not a file", rel, kind_name(st.st_mode));
    code = tools_path_open(t, rel, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0, &fd, err);
    if (code)
        return code;
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
        return err_set(err, ERR_INVALID, "'%.300s' is not a file any more", rel);
    *ret_size = st.st_size;
    *ret_fd = take_fd(&fd);
    return ERR_OK;
}

static enum err_code make_folder(const struct tools *t, const char *rel, struct err *err)
{
    OWN_FD int up = -1;
    const char *slash = strrchr(rel, '/');
    char parent[PATH_MAX] = ".";
    enum err_code code;

    if (slash)
        (void)str_format(parent, sizeof parent, "%.*s", (int)(slash - rel), rel);
    code = tools_path_open(t, parent, O_PATH | O_DIRECTORY, 0, &up, err);
    if (code)
        return code;
    if (mkdirat(up, slash ? slash + 1 : rel, 0777) < 0 && errno != EEXIST)
        return err_sys(err, errno, "cannot make the folder '%.300s'", rel);
    return ERR_OK;
}

enum err_code tools_path_open_parent(const struct tools *t, const char *rel, int *ret_fd,
                                     const char **ret_name, struct err *err)
{
    const char *slash = strrchr(rel, '/');
    char parent[PATH_MAX] = ".", part[PATH_MAX];
    enum err_code code;

    if (slash)
        (void)str_format(parent, sizeof parent, "%.*s", (int)(slash - rel), rel);
    code = tools_path_open(t, parent, O_PATH | O_DIRECTORY, 0, ret_fd, err);
    if (code == ERR_NOT_FOUND) {
        for (const char *p = strchr(rel, '/'); p; p = strchr(p + 1, '/')) {
            (void)str_format(part, sizeof part, "%.*s", (int)(p - rel), rel);
            code = make_folder(t, part, err);
            if (code)
                return code;
        }
        code = tools_path_open(t, parent, O_PATH | O_DIRECTORY, 0, ret_fd, err);
    }
    if (!code)
        *ret_name = slash ? slash + 1 : rel;
    return code;
}
