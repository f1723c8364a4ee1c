#include "platform/jail.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/own.h"
#include "base/str.h"

/* Where the new root is put together; hidden from everybody else by the mount namespace. */
#define STAGE "/tmp"

static enum err_code refuse(struct err *err, const char *what)
{
    int sys = errno;

    (void)err_sys(err, sys, "%s", what);
    if (err)
        err->code = ERR_SANDBOX;
    return ERR_SANDBOX;
}

static bool write_text(const char *path, const char *text)
{
    OWN_FD int fd = open(path, O_WRONLY | O_CLOEXEC);

    return fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
}

static enum err_code leave(bool no_network, struct err *err)
{
    uid_t uid = geteuid();
    gid_t gid = getegid();
    int flags = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS;
    char map[64];

    if (no_network)
        flags |= CLONE_NEWNET;
    if (uid != 0)
        flags |= CLONE_NEWUSER;
    if (unshare(flags) < 0)
        return refuse(err, "the host does not allow namespaces");
    if (uid == 0)
        return ERR_OK;
    (void)str_format(map, sizeof map, "%u %u 1\n", uid, uid);
    if (!write_text("/proc/self/setgroups", "deny") || !write_text("/proc/self/uid_map", map))
        return refuse(err, "the host does not allow user namespaces");
    (void)str_format(map, sizeof map, "%u %u 1\n", gid, gid);
    return write_text("/proc/self/gid_map", map)
               ? ERR_OK
               : refuse(err, "the host does not allow user namespaces");
}

static bool make_folders(const char *path)
{
    char part[PATH_MAX];

    for (const char *p = strchr(path + 1, '/'); p; p = strchr(p + 1, '/')) {
        (void)str_format(part, sizeof part, "%.*s", (int)(p - path), path);
        if (mkdir(part, 0755) < 0 && errno != EEXIST)
            return false;
    }
    return mkdir(path, 0755) == 0 || errno == EEXIST;
}

static bool restrict_mount(const char *path, bool read_only)
{
    struct mount_attr attr = {.attr_set = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV |
                                          (read_only ? (uint64_t)MOUNT_ATTR_RDONLY : 0)};

    return mount_setattr(AT_FDCWD, path, AT_RECURSIVE, &attr, sizeof attr) == 0;
}

/* A system folder, read-only; a link (Debian's /bin) stays a link. */
static bool bring(const char *path)
{
    char to[64], target[PATH_MAX];
    struct stat st;
    ssize_t n;

    (void)str_format(to, sizeof to, STAGE "%s", path);
    if (lstat(path, &st) < 0)
        return errno == ENOENT;
    if (S_ISLNK(st.st_mode)) {
        n = readlink(path, target, sizeof target - 1);
        if (n < 0)
            return false;
        target[n] = '\0';
        return symlink(target, to) == 0;
    }
    return mkdir(to, 0755) == 0 && mount(path, to, NULL, MS_BIND | MS_REC, NULL) == 0 &&
           restrict_mount(to, true);
}

static bool bring_device(const char *path)
{
    char to[64];
    OWN_FD int fd = -1;

    (void)str_format(to, sizeof to, STAGE "%s", path);
    fd = open(to, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
    return fd >= 0 && mount(path, to, NULL, MS_BIND, NULL) == 0;
}

static enum err_code build_devices(struct err *err)
{
    static const char *const devices[] = {"/dev/null",   "/dev/zero",    "/dev/full",
                                          "/dev/random", "/dev/urandom", NULL};

    if (mkdir(STAGE "/dev", 0755) < 0 || mkdir(STAGE "/dev/shm", 0755) < 0 ||
        mount("tmpfs", STAGE "/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777,size=64m") < 0)
        return refuse(err, "cannot make /dev");
    for (size_t i = 0; devices[i]; i++)
        if (!bring_device(devices[i]))
            return refuse(err, devices[i]);
    if (symlink("/proc/self/fd", STAGE "/dev/fd") < 0 ||
        symlink("/proc/self/fd/0", STAGE "/dev/stdin") < 0 ||
        symlink("/proc/self/fd/1", STAGE "/dev/stdout") < 0 ||
        symlink("/proc/self/fd/2", STAGE "/dev/stderr") < 0)
        return refuse(err, "cannot link /dev/fd");
    return ERR_OK;
}

/* The workspace as this namespace's own mount, opened before the stage hides /tmp. It must be the
 * very folder that was opened outside: its path may have been changed meanwhile. */
static int open_again(int workspace_fd, const char *source)
{
    int fd = open(source, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    struct stat a, b;

    if (fd >= 0 && fstat(fd, &a) == 0 && fstat(workspace_fd, &b) == 0 && a.st_dev == b.st_dev &&
        a.st_ino == b.st_ino)
        return fd;
    own_fd(&fd);
    return -1;
}

static enum err_code build_root(int workspace_fd, const char *source, const char *workspace,
                                bool *ret_has_proc, struct err *err)
{
    OWN_FD int fd = open_again(workspace_fd, source);
    static const char *const folders[] = {"/usr",   "/bin",    "/sbin", "/lib", "/lib32",
                                          "/lib64", "/libx32", "/etc",  NULL};
    char from[64], to[PATH_MAX];
    enum err_code code;

    if (fd < 0)
        return refuse(err, "cannot open the workspace again");
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount("tmpfs", STAGE, "tmpfs", MS_NOSUID | MS_NODEV, "mode=755,size=1m") < 0)
        return refuse(err, "cannot mount a new root");
    for (size_t i = 0; folders[i]; i++)
        if (!bring(folders[i]))
            return refuse(err, folders[i]);
    code = build_devices(err);
    if (code)
        return code;
    if (mkdir(STAGE "/proc", 0755) < 0 || mkdir(STAGE "/tmp", 0755) < 0 ||
        mount("tmpfs", STAGE "/tmp", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777,size=1g") < 0)
        return refuse(err, "cannot mount /tmp");
    /* Refused inside containers that mask parts of /proc; then there is none. */
    *ret_has_proc =
        mount("proc", STAGE "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) == 0;
    (void)str_format(from, sizeof from, "/proc/self/fd/%d", fd);
    if (!str_format(to, sizeof to, STAGE "%s", workspace) || !make_folders(to) ||
        mount(from, to, NULL, MS_BIND | MS_REC, NULL) < 0 || !restrict_mount(to, false))
        return refuse(err, "cannot mount the workspace");
    return ERR_OK;
}

static enum err_code change_root(const char *workspace, struct err *err)
{
    if (chdir(STAGE) < 0 || syscall(SYS_pivot_root, ".", ".") < 0 || umount2(".", MNT_DETACH) < 0 ||
        chdir("/") < 0 || mount(NULL, "/", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL) < 0)
        return refuse(err, "cannot change the root folder");
    return chdir(workspace) == 0 ? ERR_OK : refuse(err, "cannot enter the workspace");
}

/* The parent of the new init: holds nothing, only passes on how it ended. */
static _Noreturn void wait_for(pid_t child)
{
    int status = 0;

    (void)close_range(0, ~0u, 0);
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
}

enum err_code jail_enter(int workspace_fd, const char *source, const char *workspace,
                         bool no_network, bool *ret_has_proc, struct err *err)
{
    enum err_code code = leave(no_network, err);
    pid_t pid;

    if (code)
        return code;
    pid = fork();
    if (pid < 0)
        return refuse(err, "cannot fork");
    if (pid > 0)
        wait_for(pid);
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0)
        return refuse(err, "cannot follow the parent");
    code = build_root(workspace_fd, source, workspace, ret_has_proc, err);
    return code ? code : change_root(workspace, err);
}

enum err_code jail_probe(struct err *err)
{
    int pipe_fd[2], status = 1;
    char why[160] = "";
    pid_t pid;
    ssize_t n;

    if (pipe2(pipe_fd, O_CLOEXEC) < 0)
        return refuse(err, "cannot make a pipe");
    pid = fork();
    if (pid == 0) {
        struct err e = {0};
        OWN_FD int root = open("/usr", O_PATH | O_DIRECTORY | O_CLOEXEC);
        bool has_proc;
        /* The report must survive jail_enter's parent, which closes everything. */
        enum err_code code = jail_enter(root, "/usr", "/workspace", true, &has_proc, &e);

        if (code)
            (void)!write(pipe_fd[1], e.msg, strnlen(e.msg, sizeof why - 1));
        _exit(code ? 1 : 0);
    }
    (void)close(pipe_fd[1]);
    n = read(pipe_fd[0], why, sizeof why - 1);
    (void)close(pipe_fd[0]);
    if (pid > 0)
        (void)waitpid(pid, &status, 0);
    if (pid > 0 && n <= 0 && status == 0)
        return ERR_OK;
    return err_set(err, ERR_SANDBOX, "%s", why[0] ? why : "the host does not allow namespaces");
}
