#include "svc/own-folder.h"

#include <errno.h>
#include <limits.h>
#include <pwd.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/str.h"

/* Is path dir itself, or below it? */
static bool is_within(const char *path, const char *dir)
{
    size_t n = strlen(dir);

    if (str_eq(dir, "/"))
        return true;
    return strncmp(path, dir, n) == 0 && (path[n] == '\0' || path[n] == '/');
}

static bool is_system(const char *path)
{
    static const char *const itself[] = {"/",    "/home",  "/root", "/var",     "/srv", "/opt",
                                         "/mnt", "/media", "/tmp",  "/var/tmp", NULL};
    static const char *const whole[] = {"/proc",  "/sys",   "/dev",     "/boot",    "/run",
                                        "/etc",   "/usr",   "/bin",     "/sbin",    "/lib",
                                        "/lib64", "/lib32", "/var/lib", "/var/run", NULL};

    for (size_t i = 0; itself[i]; i++)
        if (str_eq(path, itself[i]))
            return true;
    for (size_t i = 0; whole[i]; i++)
        if (is_within(path, whole[i]))
            return true;
    return false;
}

/* The home folder that the system knows, and the one that the environment names. */
static bool is_persons_home(const char *path)
{
    struct passwd space, *found = NULL;
    char text[4096], real[PATH_MAX];
    const char *env = getenv("HOME");

    if (getpwuid_r(geteuid(), &space, text, sizeof text, &found) == 0 && found &&
        realpath(found->pw_dir, real) && is_within(real, path))
        return true;
    return !str_is_empty(env) && realpath(env, real) && is_within(real, path);
}

static enum err_code refuse(const char *path, const char *why, struct err *err)
{
    return err_hint(err, err_set(err, ERR_DENIED, "'%.300s' cannot be a workspace: %s", path, why),
                    "give the folder of one project");
}

static enum err_code check_owner(const char *path, const struct stat *st, struct err *err)
{
    if (geteuid() == 0 || st->st_uid == geteuid())
        return ERR_OK;
    return refuse(path, "it belongs to another user than the server's", err);
}

enum err_code own_folder_check(const char *path, const char *home, struct err *err)
{
    char real[PATH_MAX], real_home[PATH_MAX];
    struct stat st;

    if (path[0] != '/' || strlen(path) >= OWN_FOLDER_MAX)
        return err_set(err, ERR_INVALID,
                       "a workspace is an absolute path of at most %d bytes, not '%.100s'",
                       OWN_FOLDER_MAX - 1, path);
    if (!realpath(path, real) || stat(real, &st) < 0)
        return err_set(err, errno == ENOENT ? ERR_NOT_FOUND : ERR_INVALID,
                       "the workspace '%.300s' cannot be used: %s", path, strerror(errno));
    if (!S_ISDIR(st.st_mode))
        return err_set(err, ERR_INVALID, "the workspace '%.300s' is not a folder", path);
    if (!str_eq(real, path))
        return err_set(err, ERR_INVALID, "the workspace '%.300s' is a link; give '%.300s'", path,
                       real);
    if (is_system(path))
        return refuse(path, "it is the system's", err);
    if (is_persons_home(path))
        return refuse(path, "it is a home folder, or above one", err);
    if (!realpath(home, real_home))
        (void)str_format(real_home, sizeof real_home, "%s", home);
    if (is_within(real_home, path) || is_within(path, real_home))
        return refuse(path, "it is Stigmer's own home, or above or below it", err);
    return check_owner(path, &st, err);
}

enum err_code own_folder_link(const char *root, const char *name, const char *path, struct err *err)
{
    char link[PATH_MAX], now[PATH_MAX];
    ssize_t n;

    if (!str_format(link, sizeof link, "%s/%s", root, name))
        return err_set(err, ERR_INVALID, "the path of the workspace is too long");
    if (symlink(path, link) == 0)
        return ERR_OK;
    n = errno == EEXIST ? readlink(link, now, sizeof now - 1) : -1;
    if (n < 0)
        return err_sys(err, errno, "link the workspace '%.300s'", link);
    now[n] = '\0';
    return str_eq(now, path)
               ? ERR_OK
               : err_set(err, ERR_CONFLICT, "'%.300s' leads to '%.300s' already", link, now);
}
