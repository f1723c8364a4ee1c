#include "prog/stigmer-server/folders.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/str.h"
#include "platform/sandbox.h"

#define SANDBOX_UID 10002 /* tool hosts of a server that runs as root */

static enum err_code make_folder(const char *path, mode_t mode, struct err *err)
{
    struct stat st;

    if (mkdir(path, mode) < 0 && errno != EEXIST)
        return err_sys(err, errno, "make the folder '%s'", path);
    if (stat(path, &st) < 0 || !S_ISDIR(st.st_mode))
        return err_set(err, ERR_INVALID, "'%s' is not a folder", path);
    if (access(path, W_OK | X_OK) < 0)
        return err_hint(err, err_sys(err, errno, "use the folder '%s'", path),
                        "choose another home with --home or STIGMER_HOME");
    return ERR_OK;
}

/* The first folder above the home that others may not pass through; false: there is none. */
static bool find_closed(const char *home, char ret[PATHS_MAX])
{
    struct stat st;

    (void)str_format(ret, PATHS_MAX, "%s", home);
    for (char *slash; (slash = strrchr(ret, '/')) != ret && slash;) {
        *slash = '\0';
        if (stat(ret, &st) == 0 && !(st.st_mode & S_IXOTH))
            return true;
    }
    return false;
}

/* Workspaces that are there already stay where they are. */
static enum err_code take_detour(const struct paths *p, const char *closed, char *ret_notice,
                                 size_t size, struct err *err)
{
    char target[PATHS_MAX];
    struct stat st;
    enum err_code code;

    (void)str_format(target, sizeof target, FOLDERS_DETOUR "/%016llx",
                     (unsigned long long)str_hash(p->home));
    if (lstat(p->workspace, &st) == 0 && (S_ISLNK(st.st_mode) || rmdir(p->workspace) < 0))
        return ERR_OK;
    if ((code = make_folder(FOLDERS_DETOUR, 0711, err)) || (code = make_folder(target, 0700, err)))
        return code;
    if (symlink(target, p->workspace) < 0)
        return err_sys(err, errno, "link '%s' to '%s'", p->workspace, target);
    (void)str_format(ret_notice, size,
                     "workspaces are kept in %s: the user that tools run as cannot pass through %s",
                     target, closed);
    return ERR_OK;
}

/* Root's tools run as the sandbox's uid: what they write is its own, and it may pass through the
 * folders above. What lies beside the workspaces (run, logs, the store) stays root's alone. */
static enum err_code open_to_sandbox(const struct paths *p, struct err *err)
{
    if (chown(p->workspace, SANDBOX_UID, SANDBOX_UID) < 0 || chmod(p->home, 0711) < 0 ||
        chmod(p->data, 0711) < 0)
        return err_sys(err, errno, "open the folder '%s' to the sandbox", p->workspace);
    return ERR_OK;
}

/* With them a tool host gets a tree of its own, where its workspace is what is above it. */
static bool has_namespaces(void)
{
    struct sandbox_report r;

    sandbox_probe("deny", &r);
    return !r.missing[SANDBOX_NAMESPACES][0];
}

enum err_code folders_base(const struct paths *p, struct err *err)
{
    enum err_code code;

    if ((code = make_folder(p->home, 0700, err)) || (code = make_folder(p->data, 0700, err)) ||
        (code = make_folder(p->logs, 0700, err)))
        return code;
    return make_folder(p->run, 0700, err);
}

enum err_code folders_make(const struct paths *p, char *ret_notice, size_t size, struct err *err)
{
    char closed[PATHS_MAX];
    enum err_code code;

    *ret_notice = '\0';
    if ((code = folders_base(p, err)) || (code = make_folder(p->runner_dir, 0755, err)))
        return code;
    if (getuid() == 0 && find_closed(p->home, closed) && !has_namespaces() &&
        (code = take_detour(p, closed, ret_notice, size, err)))
        return code;
    if ((code = make_folder(p->workspace, 0700, err)))
        return code;
    if (chmod(p->runner_dir, 0755) < 0)
        return err_sys(err, errno, "open the folder '%s' to the container", p->runner_dir);
    return getuid() == 0 ? open_to_sandbox(p, err) : ERR_OK;
}
