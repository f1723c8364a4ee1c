#include "platform/sandbox.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/own.h"
#include "base/str.h"
#include "platform/jail.h"
#include "platform/landlock.h"
#include "platform/seccomp-filter.h"

enum {
    ABI_NET = 4,
    ABI_SCOPE = 6,
    FILE_SIZE_MAX_GIB = 4,
    OPEN_FILES_MAX = 4096,
    PROCESSES_MAX = 512, /* above what the user runs already, where nobody says another number */
    KEPT_BACK = 8,       /* one in so many is for the runner itself */
    FEW = 16             /* one in so many: so many more than at the start are nobody's flood */
};

static const char *const layer_names[SANDBOX_LAYERS] = {
    [SANDBOX_LANDLOCK] = "landlock",
    [SANDBOX_SECCOMP] = "seccomp",
    [SANDBOX_LANDLOCK_NET] = "landlock-net",
    [SANDBOX_LANDLOCK_SCOPE] = "landlock-scope",
    [SANDBOX_NO_NEW_PRIVS] = "no_new_privs",
    [SANDBOX_RLIMITS] = "rlimits",
    [SANDBOX_UIDS] = "uids",
    [SANDBOX_NAMESPACES] = "namespaces",
};

const char *sandbox_layer_name(enum sandbox_layer layer)
{
    return layer_names[layer];
}

static void miss(struct sandbox_report *r, enum sandbox_layer layer, const char *why)
{
    (void)str_format(r->missing[layer], sizeof r->missing[layer], "%s", why);
}

static bool is_active(const struct sandbox_report *r, enum sandbox_layer layer)
{
    return r->missing[layer][0] == '\0';
}

static void probe_landlock(struct sandbox_report *r)
{
    char why[128];

    r->landlock_abi = landlock_abi();
    if (r->landlock_abi == 0) {
        const char *text = errno == EOPNOTSUPP ? "switched off at boot (add landlock to lsm=)"
                           : errno == ENOSYS   ? "this kernel is built without it"
                                               : "the kernel or a container's filter refuses it";

        miss(r, SANDBOX_LANDLOCK, text);
    }
    (void)str_format(why, sizeof why, "the kernel has Landlock ABI %d", r->landlock_abi);
    if (r->landlock_abi < ABI_NET)
        miss(r, SANDBOX_LANDLOCK_NET, why);
    if (r->landlock_abi < ABI_SCOPE)
        miss(r, SANDBOX_LANDLOCK_SCOPE, why);
}

/* The filter is tried for real, in a child: asking is not proof. */
static void probe_seccomp(struct sandbox_report *r)
{
    pid_t pid = fork();
    int status = -1;

    if (pid == 0) {
        const struct seccomp_filter f = {.kind = SECCOMP_FILTER_TOOL};

        _exit(seccomp_filter_available() && seccomp_filter_enter(&f, NULL) == ERR_OK &&
                      syscall(SYS_unshare, 0) < 0 && errno == EPERM
                  ? 0
                  : 1);
    }
    if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0)
        miss(r, SANDBOX_SECCOMP, "the kernel does not take a filter");
}

static const char *const egress_names[] = {"deny", "allow", "proxy"};

static void probe_egress(const char *egress, struct sandbox_report *r)
{
    bool proxy = !str_is_empty(egress) && !str_eq(egress, "allow") && !str_eq(egress, "deny");

    r->egress = str_eq(egress, "allow") ? SANDBOX_EGRESS_ALLOW
                : proxy && is_active(r, SANDBOX_LANDLOCK_NET) && is_active(r, SANDBOX_LANDLOCK)
                    ? SANDBOX_EGRESS_PROXY
                    : SANDBOX_EGRESS_DENY;
    if (proxy && r->egress == SANDBOX_EGRESS_DENY)
        (void)str_format(
            r->egress_note, sizeof r->egress_note,
            "'%.60s' needs Landlock's TCP rules (Linux 6.7): tools have no network, as "
            "with 'deny'",
            egress);
}

void sandbox_probe(const char *egress, struct sandbox_report *ret)
{
    struct err err = {0};

    *ret = (struct sandbox_report){0};
    probe_landlock(ret);
    probe_seccomp(ret);
    probe_egress(egress, ret);
    if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) < 0)
        miss(ret, SANDBOX_NO_NEW_PRIVS, "this kernel does not know it");
    if (geteuid() != 0)
        miss(ret, SANDBOX_UIDS, "the launcher is not root: all parts run as the same user");
    if (jail_probe(&err))
        miss(ret, SANDBOX_NAMESPACES, err.msg);
}

char *sandbox_report_json(const struct sandbox_report *r)
{
    json_t *o = json_object(), *layers = json_array(), *missing = json_array();
    char *text;

    for (unsigned i = 0; i < SANDBOX_LAYERS; i++)
        if (is_active(r, i))
            json_array_append_new(layers, json_string(layer_names[i]));
        else
            json_array_append_new(
                missing, json_pack("{s:s, s:s}", "layer", layer_names[i], "why", r->missing[i]));
    json_object_set_new(o, "layers", layers);
    json_object_set_new(o, "missing", missing);
    json_object_set_new(o, "landlockAbi", json_integer(r->landlock_abi));
    json_object_set_new(o, "egress", json_string(egress_names[r->egress]));
    if (r->egress_note[0])
        json_object_set_new(o, "egressNote", json_string(r->egress_note));
    text = mem_check(json_dumps(o, JSON_COMPACT));
    json_decref(o);
    return text;
}

enum err_code sandbox_report_parse(const char *json, struct sandbox_report *ret, struct err *err)
{
    json_t *o = json_loads(json ? json : "", 0, NULL), *entry;
    struct sandbox_report r = {0};
    size_t at;

    if (!json_is_array(json_object_get(o, "layers"))) {
        json_decref(o);
        return err_set(err, ERR_INVALID, "STIGMER_SANDBOX_REPORT is missing or broken");
    }
    json_array_foreach(json_object_get(o, "missing"), at, entry)
    {
        const char *name = json_string_value(json_object_get(entry, "layer"));
        const char *why = json_string_value(json_object_get(entry, "why"));

        for (unsigned i = 0; i < SANDBOX_LAYERS; i++)
            if (str_eq(layer_names[i], name))
                miss(&r, i, str_is_empty(why) ? "unknown" : why);
    }
    r.landlock_abi = (int)json_integer_value(json_object_get(o, "landlockAbi"));
    r.egress = SANDBOX_EGRESS_DENY;
    for (unsigned i = 0; i < sizeof egress_names / sizeof egress_names[0]; i++)
        if (str_eq(json_string_value(json_object_get(o, "egress")), egress_names[i]))
            r.egress = (enum sandbox_egress)i;
    json_decref(o);
    *ret = r;
    return ERR_OK;
}

static enum err_code require_one(const struct sandbox_report *r, const char *name, size_t len,
                                 struct err *err)
{
    for (unsigned i = 0; i < SANDBOX_LAYERS; i++) {
        if (strlen(layer_names[i]) != len || strncmp(layer_names[i], name, len) != 0)
            continue;
        if (is_active(r, i))
            return ERR_OK;
        return err_hint(err,
                        err_set(err, ERR_SANDBOX, "the sandbox layer '%s' is missing: %s",
                                layer_names[i], r->missing[i]),
                        "run it on a machine that has the layer, or leave it out of "
                        "sandbox.require (STIGMER_SANDBOX_REQUIRE); 'none' runs without any");
    }
    return err_hint(err,
                    err_set(err, ERR_INVALID, "sandbox.require names no layer: '%.*s'",
                            (int)(len > 60 ? 60 : len), name),
                    "layers: landlock, seccomp, landlock-net, landlock-scope, no_new_privs, "
                    "rlimits, uids, namespaces; or none alone");
}

enum err_code sandbox_require(const struct sandbox_report *r, const char *required, struct err *err)
{
    const char *p = str_is_empty(required) ? "landlock,seccomp" : required;

    if (str_eq(p, "none"))
        return ERR_OK;
    while (*p) {
        size_t len = strcspn(p, ", ");
        enum err_code code = len ? require_one(r, p, len, err) : ERR_OK;

        if (code)
            return code;
        p += len;
        p += strspn(p, ", ");
    }
    return ERR_OK;
}

bool sandbox_nest(void)
{
    const struct landlock_policy p = {.isolated = true};

    return landlock_abi() >= ABI_SCOPE && landlock_enter(&p, NULL) == ERR_OK;
}

void sandbox_drop_caps(void)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[2] = {0};

    for (int cap = 0; prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) == 0; cap++)
        ;
    (void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    (void)syscall(SYS_capset, &head, none);
}

unsigned long sandbox_count_threads(uid_t uid)
{
    DIR *proc = opendir("/proc");
    const struct dirent *e;
    unsigned long n = 0;

    while (proc && (e = readdir(proc))) {
        char path[300];
        struct stat st;

        if (e->d_name[0] < '0' || e->d_name[0] > '9' ||
            !str_format(path, sizeof path, "/proc/%s/task", e->d_name))
            continue;
        if (stat(path, &st) == 0 && st.st_uid == uid)
            n += st.st_nlink > 2 ? st.st_nlink - 2 : 1;
    }
    if (proc)
        (void)closedir(proc);
    return n;
}

static enum err_code limit(int what, rlim_t value, const char *name, struct err *err)
{
    struct rlimit now, r = {value, value};

    if (getrlimit((__rlimit_resource_t)what, &now) == 0 && now.rlim_max < value)
        r = (struct rlimit){now.rlim_max, now.rlim_max};
    if (setrlimit((__rlimit_resource_t)what, &r) < 0)
        return err_sys(err, errno, "cannot limit %s", name);
    return ERR_OK;
}

static enum err_code enter_limits(const struct sandbox_tools *t, struct err *err)
{
    rlim_t processes = t->processes > 0 ? (rlim_t)t->processes : PROCESSES_MAX;
    enum err_code code = limit(RLIMIT_CORE, 0, "core files", err);

    if (!code)
        code = limit(RLIMIT_FSIZE, (rlim_t)FILE_SIZE_MAX_GIB << 30, "the size of files", err);
    if (!code)
        code = limit(RLIMIT_NOFILE, OPEN_FILES_MAX, "open files", err);
    if (!code)
        code =
            limit(RLIMIT_NPROC, t->running + processes - processes / KEPT_BACK, "processes", err);
    if (!code && t->memory > 0)
        code = limit(RLIMIT_DATA, (rlim_t)t->memory, "memory", err);
    if (!code)
        code = limit(RLIMIT_MEMLOCK, (rlim_t)8 << 20, "locked memory", err);
    return code ? code : limit(RLIMIT_MSGQUEUE, 0, "message queues", err);
}

/* Whether another process of this user would be one too many with that limit: the kernel is asked,
 * as only it sees all of them. */
static bool is_too_many(rlim_t soft, rlim_t hard)
{
    const struct rlimit r = {soft, hard};
    pid_t pid;

    if (setrlimit(RLIMIT_NPROC, &r) < 0)
        return false;
    pid = vfork();
    if (pid == 0)
        _exit(0);
    if (pid > 0)
        (void)waitpid(pid, NULL, 0);
    return pid < 0;
}

void sandbox_share_processes(unsigned long running)
{
    struct rlimit r;
    rlim_t low = running, high, hard;

    if (getrlimit(RLIMIT_NPROC, &r) < 0 || r.rlim_max == RLIM_INFINITY || r.rlim_max <= running)
        return;
    hard = high = r.rlim_max;
    if (is_too_many(running + (hard - running) / FEW, hard)) /* low: how many there are now */
        for (low += (hard - running) / FEW; high - low > 1;) {
            rlim_t middle = low + (high - low) / 2;

            if (is_too_many(middle, hard))
                low = middle;
            else
                high = middle;
        }
    r.rlim_cur = r.rlim_max = low + (hard - low + 1) / 2;
    (void)setrlimit(RLIMIT_NPROC, &r);
}

void sandbox_offer_to_oom(void)
{
    OWN_FD int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

    (void)!write(fd, "1000", 4);
}

/* What programs need to run, and nothing that tells about this user or machine. */
static const char *const run_paths[] = {"/usr",   "/bin",   "/sbin",   "/lib",
                                        "/lib32", "/lib64", "/libx32", NULL};
static const char *const read_paths[] = {"/etc/passwd",
                                         "/etc/group",
                                         "/etc/nsswitch.conf",
                                         "/etc/hosts",
                                         "/etc/resolv.conf",
                                         "/etc/ld.so.cache",
                                         "/etc/ld.so.conf",
                                         "/etc/ld.so.conf.d",
                                         "/etc/localtime",
                                         "/etc/timezone",
                                         "/etc/ssl/certs",
                                         "/etc/ssl/openssl.cnf",
                                         "/etc/ca-certificates",
                                         "/etc/alternatives",
                                         "/etc/mime.types",
                                         "/etc/services",
                                         "/etc/protocols",
                                         "/etc/terminfo",
                                         "/etc/profile",
                                         "/etc/bash.bashrc",
                                         "/etc/inputrc",
                                         "/etc/gitconfig",
                                         "/etc/os-release",
                                         "/etc/debian_version",
                                         "/etc/locale.alias",
                                         "/etc/python3",
                                         "/etc/perl",
                                         "/etc/gai.conf",
                                         "/etc/host.conf",
                                         "/etc/magic",
                                         "/etc/wgetrc",
                                         "/etc/java-17-openjdk",
                                         "/etc/emacs",
                                         "/proc/cpuinfo",
                                         "/proc/meminfo",
                                         "/proc/loadavg",
                                         "/proc/stat",
                                         "/proc/uptime",
                                         "/proc/version",
                                         "/proc/filesystems",
                                         NULL};
static const char *const open_paths[] = {"/dev/null",   "/dev/zero",    "/dev/full",
                                         "/dev/random", "/dev/urandom", NULL};

enum { RULES_MAX = 72 };

static void add_paths(struct landlock_rule *rules, size_t *n, const char *const *paths,
                      enum landlock_access access)
{
    for (; *paths && *n < RULES_MAX; paths++)
        rules[(*n)++] = (struct landlock_rule){.path = *paths, .access = access, .optional = true};
}

static enum err_code enter_files(const struct sandbox_tools *t, struct err *err)
{
    static const char *const jail_write[] = {"/tmp", "/dev/shm", NULL};
    static const char *const jail_read[] = {"/proc", NULL};
    struct landlock_rule rules[RULES_MAX];
    size_t n = 0;
    struct landlock_policy p = {.rules = rules, .files = true, .isolated = true};

    rules[n++] = (struct landlock_rule){.path = t->workspace, .access = LANDLOCK_WRITE};
    rules[n++] = (struct landlock_rule){.path = t->tmp, .access = LANDLOCK_WRITE};
    add_paths(rules, &n, run_paths, LANDLOCK_EXEC);
    add_paths(rules, &n, read_paths, LANDLOCK_READ);
    add_paths(rules, &n, open_paths, LANDLOCK_OPEN);
    if (t->in_jail) {
        add_paths(rules, &n, jail_write, LANDLOCK_WRITE);
        add_paths(rules, &n, jail_read, LANDLOCK_READ);
    }
    p.count = n;
    p.no_tcp = t->egress != SANDBOX_EGRESS_ALLOW;
    p.port = t->egress == SANDBOX_EGRESS_PROXY ? t->proxy_port : 0;
    return landlock_enter(&p, err);
}

static enum seccomp_filter_tcp tcp_of(const struct sandbox_tools *t)
{
    if (t->egress == SANDBOX_EGRESS_ALLOW)
        return SECCOMP_FILTER_TCP;
    return t->egress == SANDBOX_EGRESS_PROXY && t->proxy_port ? SECCOMP_FILTER_TCP_CLIENT
                                                              : SECCOMP_FILTER_NO_TCP;
}

enum err_code sandbox_enter_tools(const struct sandbox_report *r, const struct sandbox_tools *t,
                                  struct err *err)
{
    const struct seccomp_filter f = {
        .kind = SECCOMP_FILTER_TOOL, .tcp = tcp_of(t), .no_metadata = t->shares_uid && !t->in_jail};
    enum err_code code;

    code = enter_limits(t, err);
    if (code)
        return err_wrap(err, ERR_SANDBOX, "limits");
    sandbox_drop_caps();
    if (is_active(r, SANDBOX_NO_NEW_PRIVS) && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return err_sys(err, errno, "no_new_privs");
    if (is_active(r, SANDBOX_LANDLOCK)) {
        code = enter_files(t, err);
        if (code)
            return code;
    }
    return is_active(r, SANDBOX_SECCOMP) ? seccomp_filter_enter(&f, err) : ERR_OK;
}

enum err_code sandbox_enter_worker(const struct sandbox_report *r, struct err *err)
{
    static const char *const read[] = {"/usr", "/lib", "/lib64",
                                       /* the folder: resolv.conf and hosts are replaced whole */
                                       "/etc", "/run/systemd/resolve", "/run/NetworkManager",
                                       "/proc/self", "/proc/meminfo", "/sys/devices/system/cpu",
                                       "/sys/fs/cgroup", NULL};
    /* A company's own CA; a NULL ends the list early when the first is not set. */
    const char *bundle = getenv("CURL_CA_BUNDLE"), *own = getenv("SSL_CERT_FILE");
    const char *const ca_files[] = {bundle ? bundle : own, own, NULL};
    const struct seccomp_filter f = {.kind = SECCOMP_FILTER_WORKER};
    struct landlock_rule rules[RULES_MAX];
    size_t n = 0;
    struct landlock_policy p = {.rules = rules, .files = true, .isolated = true};

    sandbox_drop_caps();
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 || limit(RLIMIT_CORE, 0, "core files", err))
        return err_set(err, ERR_SANDBOX, "cannot protect the worker's memory");
    if (is_active(r, SANDBOX_NO_NEW_PRIVS) && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return err_sys(err, errno, "no_new_privs");
    add_paths(rules, &n, read, LANDLOCK_READ);
    add_paths(rules, &n, ca_files, LANDLOCK_READ);
    add_paths(rules, &n, open_paths, LANDLOCK_OPEN);
    p.count = n;
    if (is_active(r, SANDBOX_LANDLOCK)) {
        enum err_code code = landlock_enter(&p, err);

        if (code)
            return code;
    }
    return is_active(r, SANDBOX_SECCOMP) ? seccomp_filter_enter(&f, err) : ERR_OK;
}
