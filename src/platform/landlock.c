#include "platform/landlock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/own.h"

/* linux/landlock.h, kernel 6.12; the same on every architecture. */
enum {
    NR_CREATE = 444,
    NR_ADD = 445,
    NR_RESTRICT = 446,
    GET_VERSION = 1,
    RULE_PATH_BENEATH = 1,
    RULE_NET_PORT = 2
};
enum {
    FS_EXECUTE = 1 << 0,
    FS_WRITE_FILE = 1 << 1,
    FS_READ_FILE = 1 << 2,
    FS_READ_DIR = 1 << 3,
    FS_MAKE_CHAR = 1 << 6,
    FS_MAKE_BLOCK = 1 << 11,
    FS_ABI_1 = (1 << 13) - 1,
    FS_REFER = 1 << 13,     /* ABI 2 */
    FS_TRUNCATE = 1 << 14,  /* ABI 3 */
    FS_IOCTL_DEV = 1 << 15, /* ABI 5 */
    NET_TCP = 3,            /* ABI 4: bind and connect */
    NET_CONNECT = 2,
    SCOPE_ALL = 3 /* ABI 6: abstract unix sockets and signals */
};

struct ruleset_attr {
    uint64_t fs;
    uint64_t net;
    uint64_t scoped;
};

struct beneath_attr {
    uint64_t access;
    int32_t fd;
} __attribute__((packed));

struct port_attr {
    uint64_t access;
    uint64_t port;
};

int landlock_abi(void)
{
    long abi = syscall(NR_CREATE, NULL, 0, GET_VERSION);

    return abi > 0 ? (int)abi : 0;
}

static uint64_t known_access(int abi)
{
    uint64_t known = FS_ABI_1;

    if (abi >= 2)
        known |= FS_REFER;
    if (abi >= 3)
        known |= FS_TRUNCATE;
    if (abi >= 5)
        known |= FS_IOCTL_DEV;
    return known;
}

static uint64_t rule_access(enum landlock_access a)
{
    switch (a) {
    case LANDLOCK_READ:
        return FS_READ_FILE | FS_READ_DIR;
    case LANDLOCK_EXEC:
        return FS_READ_FILE | FS_READ_DIR | FS_EXECUTE;
    case LANDLOCK_OPEN:
        return FS_READ_FILE | FS_WRITE_FILE | FS_TRUNCATE;
    case LANDLOCK_WRITE:
        break;
    }
    return (FS_ABI_1 | FS_REFER | FS_TRUNCATE) & ~(uint64_t)(FS_MAKE_CHAR | FS_MAKE_BLOCK);
}

static enum err_code add_rule(int set, uint64_t known, const struct landlock_rule *r,
                              struct err *err)
{
    OWN_FD int opened = r->path ? open(r->path, O_PATH | O_CLOEXEC) : -1;
    struct beneath_attr attr = {.fd = r->path ? opened : r->fd};
    struct stat st;

    if (attr.fd < 0) {
        if (r->optional && (errno == ENOENT || errno == EACCES || errno == ENOTDIR))
            return ERR_OK;
        return err_sys(err, errno, "landlock: cannot open %s", r->path ? r->path : "a folder");
    }
    if (fstat(attr.fd, &st) < 0)
        return err_sys(err, errno, "landlock: cannot look at %s", r->path ? r->path : "a folder");
    attr.access = rule_access(r->access) & known;
    if (!S_ISDIR(st.st_mode))
        attr.access &= FS_EXECUTE | FS_READ_FILE | FS_WRITE_FILE | FS_TRUNCATE;
    if (syscall(NR_ADD, set, RULE_PATH_BENEATH, &attr, 0) < 0)
        return err_sys(err, errno, "landlock: cannot allow %s", r->path ? r->path : "a folder");
    return ERR_OK;
}

enum err_code landlock_enter(const struct landlock_policy *policy, struct err *err)
{
    int abi = landlock_abi();
    struct ruleset_attr attr = {
        .fs = policy->files ? known_access(abi) : 0,
        .net = policy->no_tcp && abi >= 4 ? NET_TCP : 0,
        .scoped = policy->isolated && abi >= 6 ? SCOPE_ALL : 0,
    };
    size_t size = abi >= 6 ? 24 : abi >= 4 ? 16 : 8;
    OWN_FD int set = -1;

    if (!abi)
        return err_set(err, ERR_SANDBOX, "Landlock is not available in this kernel");
    if (!attr.fs && !attr.net && !attr.scoped)
        return ERR_OK;
    set = (int)syscall(NR_CREATE, &attr, size, 0);
    if (set < 0)
        return err_sys(err, errno, "landlock: cannot make a rule set");
    for (size_t i = 0; policy->files && i < policy->count; i++) {
        enum err_code code = add_rule(set, attr.fs, &policy->rules[i], err);
        if (code)
            return code;
    }
    if (attr.net && policy->port) {
        const struct port_attr port = {NET_CONNECT, policy->port};

        if (syscall(NR_ADD, set, RULE_NET_PORT, &port, 0) < 0)
            return err_sys(err, errno, "landlock: cannot allow a port");
    }
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || syscall(NR_RESTRICT, set, 0) < 0)
        return err_sys(err, errno, "landlock: cannot enter the domain");
    return ERR_OK;
}
