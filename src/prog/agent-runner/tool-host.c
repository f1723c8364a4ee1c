#include "prog/agent-runner/tool-host.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/log.h"
#include "base/own.h"
#include "base/str.h"
#include "platform/jail.h"
#include "platform/sandbox.h"
#include "prog/agent-runner/launcher.h"
#include "svc/tools-serve.h"
#include "wire/toolproto.h"

struct host {
    const char *folder;
    bool in_container;
    bool in_jail;
    bool is_own;   /* the workspace is a person's own folder: its owner's, whoever that is */
    unsigned port; /* of the proxy; 0: none */
    unsigned long running; /* threads of the user, seen before the jail */
    struct sandbox_report report;
    uid_t uid;
    gid_t gid;
    int root_fd;
    int vmstat_fd;
    char root[PATH_MAX];
    char tmp[PATH_MAX];
};

/* Whether root here is somebody else outside: the person, where Podman runs without root. */
static bool is_rootless(void)
{
    OWN_FD int fd = open("/proc/self/uid_map", O_RDONLY | O_CLOEXEC);
    char text[128];
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    unsigned inside, outside;

    text[n > 0 ? n : 0] = '\0';
    return sscanf(text, "%u %u", &inside, &outside) == 2 && inside == 0 && outside != 0;
}

/* Who this session's files belong to: the owner of the workspaces' folder, never root; but the
 * owner of a person's own folder even then, and who is root only here, without any of root's
 * capabilities. */
static void choose_user(struct host *h, const struct stat *workspaces)
{
    h->uid = geteuid();
    h->gid = getegid();
    if (h->uid != 0)
        return;
    if (h->is_own || (h->in_container && is_rootless())) {
        h->uid = workspaces->st_uid;
        h->gid = workspaces->st_gid;
        return;
    }
    h->uid = workspaces->st_uid ? workspaces->st_uid : LAUNCHER_SANDBOX_UID;
    h->gid = workspaces->st_uid ? workspaces->st_gid : LAUNCHER_SANDBOX_UID;
}

static enum err_code refuse_owner(const struct host *h, uid_t owner, struct err *err)
{
    return err_hint(err,
                    err_set(err, ERR_DENIED, "the workspace %.200s belongs to user %u, not to %u",
                            h->root, owner, h->uid),
                    "give data/workspace to the user who runs the server");
}

static enum err_code make_workspace(struct host *h, const char *workspaces, struct err *err)
{
    OWN_FD int above = open(workspaces, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (above < 0)
        return err_sys(err, errno, "cannot open the workspaces' folder %.200s", workspaces);
    if (mkdirat(above, h->folder, 0700) == 0 || errno == EEXIST)
        h->root_fd = openat(above, h->folder, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return h->root_fd < 0 ? err_sys(err, errno, "cannot open the workspace %.200s", h->root)
                          : ERR_OK;
}

/* The owner of a folder may do what root in a container may not: root there has no capability to
 * pass over permissions. Where the owner is root itself, root makes it for user 10002. */
static enum err_code open_workspace(struct host *h, const char *workspaces, bool as_owner,
                                    struct err *err)
{
    struct stat st;
    enum err_code code;

    if (as_owner && (setegid(h->gid) < 0 || seteuid(h->uid) < 0))
        return err_sys(err, errno, "cannot act as user %u", h->uid);
    code = make_workspace(h, workspaces, err);
    if (as_owner && (seteuid(0) < 0 || setegid(0) < 0))
        return err_sys(err, errno, "cannot go on as root");
    if (code)
        return code;
    if (fstat(h->root_fd, &st) < 0)
        return err_sys(err, errno, "cannot look at the workspace %.200s", h->root);
    if (st.st_uid != h->uid && (fchown(h->root_fd, h->uid, h->gid) < 0))
        return refuse_owner(h, st.st_uid, err);
    return ERR_OK;
}

/* A session's own container has nothing else mounted. Elsewhere the server has made a link in the
 * workspaces' folder, which tools cannot write to; only a link of its own (or root's) counts. */
static enum err_code find_own(struct host *h, const char *workspaces, struct stat *ret,
                              struct err *err)
{
    char path[PATH_MAX];
    ssize_t n;

    if (!str_format(path, sizeof path, "%s/%s", workspaces, h->folder))
        return err_set(err, ERR_INVALID, "the path of the workspace is too long");
    if (lstat(path, ret) < 0)
        return ERR_OK; /* there is none yet: one is made */
    if (h->in_container) {
        h->is_own = str_eq(getenv("STIGMER_RUNNER_SESSION"), h->folder) && S_ISDIR(ret->st_mode);
        return ERR_OK;
    }
    if (!S_ISLNK(ret->st_mode) || (ret->st_uid != 0 && ret->st_uid != geteuid()))
        return ERR_OK;
    n = readlink(path, h->root, sizeof h->root - 1);
    h->root[n > 0 ? n : 0] = '\0';
    if (lstat(h->root, ret) < 0 || !S_ISDIR(ret->st_mode))
        return err_hint(
            err, err_set(err, ERR_NOT_FOUND, "the session's folder '%.300s' is not there", h->root),
            "put it back, or begin another session");
    h->is_own = true;
    return ERR_OK;
}

/* Where nothing keeps a root without capabilities from root's other processes, it does not run. */
static enum err_code check_root(const struct host *h, struct err *err)
{
    if (h->uid != 0 || h->in_container || !h->report.missing[SANDBOX_NAMESPACES][0] ||
        !h->report.missing[SANDBOX_LANDLOCK_SCOPE][0])
        return ERR_OK;
    return err_hint(err,
                    err_set(err, ERR_DENIED,
                            "the folder '%.300s' is root's, and this machine cannot keep its tools "
                            "from root's other processes",
                            h->root),
                    "give the folder to another user, or use a container (--runner docker)");
}

static enum err_code open_own(struct host *h, struct err *err)
{
    bool as_owner = geteuid() == 0 && h->uid != 0;

    if (as_owner && (setegid(h->gid) < 0 || seteuid(h->uid) < 0))
        return err_sys(err, errno, "cannot act as user %u", h->uid);
    h->root_fd = open(h->root, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (h->root_fd < 0)
        err_sys(err, errno, "cannot open the workspace %.200s", h->root);
    if (as_owner && (seteuid(0) < 0 || setegid(0) < 0))
        return err_sys(err, errno, "cannot go on as root");
    return h->root_fd < 0 ? err->code : check_root(h, err);
}

static enum err_code find_workspace(struct host *h, struct err *err)
{
    const char *root = getenv("WORKSPACE_ROOT");
    struct stat st, own;
    char real[PATH_MAX];
    enum err_code code;

    if (str_is_empty(root) || !realpath(root, real) || stat(real, &st) < 0)
        return err_sys(err, errno, "cannot find the workspaces' folder %.200s", root ? root : "");
    if ((code = find_own(h, real, &own, err)))
        return code;
    choose_user(h, h->is_own ? &own : &st);
    if ((!h->is_own || h->in_container) &&
        !str_format(h->root, sizeof h->root, "%s/%s", real, h->folder))
        return err_set(err, ERR_INVALID, "the path of the workspace is too long");
    return h->is_own
               ? open_own(h, err)
               : open_workspace(h, real, geteuid() == 0 && st.st_uid != 0 && h->in_container, err);
}

/* Another uid took away the launcher's hold on this process (launcher.c): with it, a host that
 * hangs or is stopped would outlive its runner, and go on beside the next one. */
static enum err_code follow_parent(pid_t parent, struct err *err)
{
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0 || getppid() != parent)
        return err_sys(err, errno, "cannot follow the launcher");
    return ERR_OK;
}

static enum err_code drop_root(const struct host *h, struct err *err)
{
    pid_t parent = getppid();

    if (geteuid() != 0)
        return ERR_OK;
    if (h->uid == 0) { /* a person's own folder that is root's: the name stays, its power goes */
        sandbox_drop_caps();
        return setgroups(0, NULL) < 0 && errno != EPERM
                   ? err_sys(err, errno, "cannot leave root's groups")
                   : ERR_OK;
    }
    if (setgroups(0, NULL) < 0 || setresgid(h->gid, h->gid, h->gid) < 0 ||
        setresuid(h->uid, h->uid, h->uid) < 0 || setuid(0) == 0)
        return err_sys(err, errno, "cannot become user %u", h->uid);
    return follow_parent(parent, err);
}

/* A folder of our own; one that somebody else has put there is refused. */
static enum err_code make_own_folder(const char *path, struct err *err)
{
    struct stat st;

    if ((mkdir(path, 0700) < 0 && errno != EEXIST) || lstat(path, &st) < 0)
        return err_sys(err, errno, "cannot make %.200s", path);
    if (!S_ISDIR(st.st_mode) || st.st_uid != geteuid())
        return err_set(err, ERR_DENIED, "%.200s is not a folder of this user", path);
    return ERR_OK;
}

static enum err_code make_tmp(struct host *h, struct err *err)
{
    char own[PATH_MAX];
    enum err_code code;

    if (h->in_jail) {
        (void)str_format(h->tmp, sizeof h->tmp, "/tmp");
        return ERR_OK;
    }
    if (h->in_container) {
        (void)str_format(h->tmp, sizeof h->tmp, "/tmp/%s", h->folder);
        return make_own_folder(h->tmp, err);
    }
    if (!str_format(own, sizeof own, "%s/" TOOLS_OWN_FOLDER, h->root) ||
        !str_format(h->tmp, sizeof h->tmp, "%s/tmp", own))
        return err_set(err, ERR_INVALID, "the path of the workspace is too long");
    code = make_own_folder(own, err);
    return code ? code : make_own_folder(h->tmp, err);
}

/* Whole outputs are not the person's work: version control is told to leave them alone. */
static void mark_own_folder(const struct host *h)
{
    OWN_FD int fd = -1;

    (void)mkdirat(h->root_fd, TOOLS_OWN_FOLDER, 0700);
    fd = openat(h->root_fd, TOOLS_OWN_FOLDER "/.gitignore",
                O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd >= 0)
        (void)!write(fd, "*\n", 2);
}

/* Of the environment; 0: not set, or no number. */
static int64_t number_of(const char *name)
{
    const char *text = getenv(name);
    int64_t n = 0;

    if (!str_is_empty(text) && str_to_int(text, 1, INT64_MAX, &n, NULL))
        log_warn("not a number: a default counts", "name", name, "value", text);
    return n;
}

/* Root's processes are not counted by any rlimit, so a person's own folder that is root's has the
 * numbers of its process namespace as its limit (Linux 6.14; the kernel keeps 300 back). */
static void limit_jail(const struct host *h, bool has_proc)
{
    enum { RESERVED = 300, DEFAULT = 512 };
    OWN_FD int fd = has_proc ? open("/proc/sys/kernel/pid_max", O_WRONLY | O_CLOEXEC) : -1;
    int64_t processes = number_of("STIGMER_TOOL_PROCESSES");
    char text[24];

    if (h->uid != 0)
        return;
    (void)str_format(text, sizeof text, "%lld",
                     (long long)(RESERVED + (processes ? processes : DEFAULT)));
    if (fd < 0 || write(fd, text, strlen(text)) < 0)
        log_warn("the number of a tool's processes has no limit here: the folder is root's, and "
                 "this kernel counts no processes of a namespace",
                 "workspace", h->folder);
}

static enum err_code enter_jail(struct host *h, struct err *err)
{
    bool has_proc;
    enum err_code code;

    if (h->in_container || h->report.missing[SANDBOX_NAMESPACES][0])
        return ERR_OK;
    code = jail_enter(h->root_fd, h->root, h->root, h->report.egress == SANDBOX_EGRESS_DENY,
                      &has_proc, err);
    if (code)
        return code;
    h->in_jail = true;
    limit_jail(h, has_proc);
    /* The old descriptor lies in the tree outside: ".." from it would lead there. */
    own_fd(&h->root_fd);
    h->root_fd = open(h->root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return h->root_fd < 0 ? err_sys(err, errno, "cannot open %.200s again", h->root) : ERR_OK;
}

static enum err_code confine(struct host *h, struct err *err)
{
    enum err_code code = find_workspace(h, err);

    h->running = code ? 0 : sandbox_count_threads(h->uid);
    if (!code)
        code = enter_jail(h, err);
    if (!code)
        code = drop_root(h, err);
    if (!code && chdir(h->root) < 0)
        code = err_hint(err, err_sys(err, errno, "user %u cannot reach %.200s", h->uid, h->root),
                        "let others pass through the folders above it (chmod o+x)");
    if (!code)
        code = make_tmp(h, err);
    if (code)
        return code;
    mark_own_folder(h);
    (void)umask(022);
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 || prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0)
        return err_sys(err, errno, "cannot protect this process");
    const struct sandbox_tools t = {
        .workspace = h->root,
        .tmp = h->tmp,
        .egress = h->report.egress,
        .proxy_port = h->port,
        .running = h->running,
        .processes = number_of("STIGMER_TOOL_PROCESSES"),
        .memory = number_of("STIGMER_TOOL_MEMORY"),
        .in_jail = h->in_jail,
        .shares_uid = !h->in_container && (h->report.missing[SANDBOX_UIDS][0] || h->is_own),
    };
    return sandbox_enter_tools(&h->report, &t, err);
}

/* What the worker tells the model in place of a result: the host could not be made safe. */
static void tell_failure(const struct err *err)
{
    struct buf out = {0};

    toolproto_put(&out, TOOLPROTO_READY, 0, err->msg, strlen(err->msg));
    (void)!write(LAUNCHER_FD, out.data, out.len);
    buf_done(&out);
}

int tool_host_main(int argc, char **argv)
{
    struct host h = {.root_fd = -1, .vmstat_fd = open("/proc/vmstat", O_RDONLY | O_CLOEXEC)};
    struct err err = {0};
    int64_t port;
    enum err_code code;

    log_set_unit("tool-host");
    if (argc != 5 || !toolproto_folder_is_valid(argv[2]) ||
        str_to_int(argv[4], 0, 65535, &port, NULL))
        return EXIT_USAGE;
    h.port = (unsigned)port;
    h.folder = argv[2];
    h.in_container = str_eq(argv[3], "container");
    sandbox_offer_to_oom();
    code = sandbox_report_parse(getenv("STIGMER_SANDBOX_REPORT"), &h.report, &err);
    if (!code)
        code = confine(&h, &err);
    if (code) {
        log_error("cannot confine a tool host", "workspace", h.folder, "error", err.msg, "hint",
                  err.hint);
        tell_failure(&err);
        return EXIT_SANDBOX;
    }
    const struct tools tools = {.root_fd = h.root_fd,
                                .root = h.root,
                                .tmp = h.tmp,
                                .running = h.running,
                                .vmstat_fd = h.vmstat_fd};
    code = tools_serve(&tools, LAUNCHER_FD, h.report.egress == SANDBOX_EGRESS_ALLOW, &err);
    if (code)
        log_error("a tool host ends", "workspace", h.folder, "error", err.msg);
    return code ? EXIT_FAILED : EXIT_OK;
}
