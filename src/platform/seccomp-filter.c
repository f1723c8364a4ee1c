#include "platform/seccomp-filter.h"

#include <errno.h>
#include <netinet/in.h>
#include <sched.h>
#include <seccomp.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

enum {
    LOW_32 = 0xffffffffu,
    DOMAINS = 64, /* above AF_MAX of every kernel so far */
    TYPES = 16,   /* SOCK_TYPE_MASK + 1 */
    TYPE_MASK = 0xf,
    NR_OPEN_TREE_ATTR = 467,
    NR_FCHMODAT2 = 452,
    NR_SETXATTRAT = 463,
    NR_REMOVEXATTRAT = 466,
    NR_FILE_SETATTR = 469,
    READ_IMPLIES_EXEC = 0x0400000,
    PERSONALITY_QUERY = 0x80000000u,
    PERSONALITIES = 32,
    INT_BITS = 32
};

/* Names a library may not know yet are skipped there and cannot be called through it either. */
static const char *const never[] = {
    /* other processes */
    "ptrace", "process_vm_readv", "process_vm_writev", "process_madvise", "kcmp", "pidfd_getfd",
    "perf_event_open", "bpf", "userfaultfd", "lookup_dcookie",
    /* keys, namespaces, mounts */
    "add_key", "request_key", "keyctl", "unshare", "setns", "mount", "umount", "umount2",
    "pivot_root", "chroot", "move_mount", "open_tree", "fsopen", "fsconfig", "fsmount", "fspick",
    "mount_setattr", "open_by_handle_at", "name_to_handle_at", "quotactl", "quotactl_fd",
    "fanotify_init",
    /* the machine */
    "kexec_load", "kexec_file_load", "init_module", "finit_module", "delete_module",
    "create_module", "query_module", "get_kernel_syms", "reboot", "swapon", "swapoff", "acct",
    "settimeofday", "clock_settime", "clock_settime64", "adjtimex", "clock_adjtime",
    "clock_adjtime64", "stime", "iopl", "ioperm", "syslog", "vhangup", "sethostname",
    "setdomainname", "nfsservctl", "uselib", "ustat", "sysfs", "_sysctl", "vm86", "vm86old",
    "modify_ldt", "move_pages", "mbind", "migrate_pages", "set_mempolicy", NULL};

static const char *const no_fallback[] = {"clone3", "io_uring_setup", "io_uring_enter",
                                          "io_uring_register", NULL};

static const char *const metadata[] = {
    "chmod",     "fchmodat", "chown",     "lchown",      "fchownat",     "utime", "utimes",
    "futimesat", "setxattr", "lsetxattr", "removexattr", "lremovexattr", NULL};

static const char *const serving[] = {"bind", "listen", NULL};

static const char *const every_use[] = {"socket", "connect", "bind", NULL};

static const char *const new_program[] = {"execve", "execveat", "fork", "vfork", NULL};

static int deny_all(scmp_filter_ctx ctx, const char *const *names, int sys)
{
    int rc = 0;

    for (; *names && !rc; names++) {
        int nr = seccomp_syscall_resolve_name(*names);

        if (nr != __NR_SCMP_ERROR && nr >= 0)
            rc = seccomp_rule_add(ctx, SCMP_ACT_ERRNO((uint32_t)sys), nr, 0);
    }
    return rc;
}

static int deny_bits(scmp_filter_ctx ctx, int nr, unsigned arg, uint64_t mask, uint64_t value)
{
    return seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EPERM), nr, 1,
                            SCMP_CMP(arg, SCMP_CMP_MASKED_EQ, mask, value));
}

/* Changes of metadata by path; what a descriptor opened under Landlock allows stays (fchmod,
 * futimens, which is utimensat without a path). */
static int deny_metadata(scmp_filter_ctx ctx)
{
    static const int numbers[] = {NR_FCHMODAT2, NR_SETXATTRAT, NR_REMOVEXATTRAT, NR_FILE_SETATTR};
    int rc = deny_all(ctx, metadata, EPERM);

    for (size_t i = 0; i < sizeof numbers / sizeof *numbers && !rc; i++)
        rc = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EPERM), numbers[i], 0);
    if (!rc)
        rc = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(utimensat), 1,
                              SCMP_A1(SCMP_CMP_NE, 0));
    return rc;
}

/* The domain and type arguments of socket and socketpair: everything but the sets given. */
static int allow_only(scmp_filter_ctx ctx, int nr, uint64_t domains, unsigned types)
{
    int rc = 0;

    for (unsigned d = 0; d < DOMAINS && !rc; d++)
        if (!(domains >> d & 1))
            rc = deny_bits(ctx, nr, 0, LOW_32, d);
    for (unsigned t = 0; t < TYPES && !rc; t++)
        if (!(types >> t & 1))
            rc = deny_bits(ctx, nr, 1, TYPE_MASK, t);
    return rc;
}

#define BIT(n) ((uint64_t)1 << (n))

/* Landlock knows connect() and bind() of plain TCP (Linux 6.7 to 6.18). MPTCP, SCTP and SMC reach
 * the same peers through stream sockets it does not look at, and so does data in the first packet.
 */
static int plain_tcp_only(scmp_filter_ctx ctx)
{
    static const uint64_t allowed = IPPROTO_TCP; /* 0 is the same */
    int rc = 0;

    for (unsigned bit = 0; bit < INT_BITS && !rc; bit++)
        if (!(allowed >> bit & 1))
            rc = deny_bits(ctx, SCMP_SYS(socket), 2, BIT(bit), BIT(bit));
    for (uint64_t protocol = 1; protocol < allowed && !rc; protocol++)
        rc = deny_bits(ctx, SCMP_SYS(socket), 2, LOW_32, protocol);
    return rc;
}

static int deny_fast_open(scmp_filter_ctx ctx)
{
    static const struct {
        int nr;
        unsigned flags_arg;
    } calls[] = {{SCMP_SYS(sendto), 3}, {SCMP_SYS(sendmsg), 2}, {SCMP_SYS(sendmmsg), 3}};
    int rc = 0;

    for (size_t i = 0; i < sizeof calls / sizeof *calls && !rc; i++)
        rc = seccomp_rule_add(
            ctx, SCMP_ACT_ERRNO(EOPNOTSUPP), calls[i].nr, 1,
            SCMP_CMP(calls[i].flags_arg, SCMP_CMP_MASKED_EQ, MSG_FASTOPEN, MSG_FASTOPEN));
    return rc;
}

/* A datagram pair could still send to any named unix socket, so pairs are streams. */
static int add_sockets(scmp_filter_ctx ctx, const struct seccomp_filter *f)
{
    int rc;

    if (f->kind == SECCOMP_FILTER_WORKER)
        return allow_only(ctx, SCMP_SYS(socket), BIT(AF_UNIX) | BIT(AF_INET) | BIT(AF_INET6),
                          1u << SOCK_STREAM | 1u << SOCK_DGRAM);
    rc = allow_only(ctx, SCMP_SYS(socketpair), BIT(AF_UNIX),
                    1u << SOCK_STREAM | 1u << SOCK_SEQPACKET);
    if (rc)
        return rc;
    if (f->tcp == SECCOMP_FILTER_NO_TCP)
        return deny_all(ctx, every_use, EPERM);
    rc = allow_only(ctx, SCMP_SYS(socket), BIT(AF_INET) | BIT(AF_INET6), 1u << SOCK_STREAM);
    if (!rc)
        rc = plain_tcp_only(ctx);
    if (rc || f->tcp == SECCOMP_FILTER_TCP)
        return rc;
    rc = deny_fast_open(ctx);
    return rc ? rc : deny_all(ctx, serving, EPERM);
}

static int add_masks(scmp_filter_ctx ctx, const struct seccomp_filter *f)
{
    static const uint64_t spaces[] = {CLONE_NEWNS,  CLONE_NEWUTS, CLONE_NEWIPC,   CLONE_NEWUSER,
                                      CLONE_NEWPID, CLONE_NEWNET, CLONE_NEWCGROUP};
    /* typing into a terminal, and into the console */
    static const uint64_t ioctls[] = {TIOCSTI, 0x541c /* TIOCLINUX */, TIOCSETD};
    int rc = 0;

    for (size_t i = 0; i < sizeof spaces / sizeof *spaces && !rc; i++)
        rc = deny_bits(ctx, SCMP_SYS(clone), 0, spaces[i], spaces[i]);
    for (size_t i = 0; i < sizeof ioctls / sizeof *ioctls && !rc; i++)
        rc = deny_bits(ctx, SCMP_SYS(ioctl), 1, LOW_32, ioctls[i]);
    for (uint64_t p = 1; p < PERSONALITIES && !rc; p++)
        rc = deny_bits(ctx, SCMP_SYS(personality), 0, PERSONALITY_QUERY | 0xff, p);
    if (!rc)
        rc = deny_bits(ctx, SCMP_SYS(personality), 0, PERSONALITY_QUERY | READ_IMPLIES_EXEC,
                       READ_IMPLIES_EXEC);
    if (!rc && f->kind == SECCOMP_FILTER_WORKER)
        rc = deny_bits(ctx, SCMP_SYS(clone), 0, CLONE_THREAD, 0);
    return rc;
}

static int add_all(scmp_filter_ctx ctx, const struct seccomp_filter *f)
{
    int rc = deny_all(ctx, never, EPERM);

    if (!rc)
        rc = deny_all(ctx, no_fallback, ENOSYS);
    if (!rc)
        rc = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EPERM), NR_OPEN_TREE_ATTR, 0);
    if (!rc && f->no_metadata)
        rc = deny_metadata(ctx);
    if (!rc && f->kind == SECCOMP_FILTER_WORKER)
        rc = deny_all(ctx, new_program, EPERM);
    if (!rc)
        rc = add_masks(ctx, f);
    return rc ? rc : add_sockets(ctx, f);
}

bool seccomp_filter_available(void)
{
    return seccomp_api_get() >= 1;
}

enum err_code seccomp_filter_enter(const struct seccomp_filter *f, struct err *err)
{
    scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ALLOW);
    int rc = -ENOMEM;

    if (ctx) {
        rc = seccomp_attr_set(ctx, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
        if (!rc) /* a search tree: the list is long and every call pays for it */
            (void)seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2);
        if (!rc) /* threads that are there already, too */
            rc = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_TSYNC, 1);
        if (!rc)
            rc = add_all(ctx, f);
        if (!rc)
            rc = seccomp_load(ctx); /* sets no_new_privs */
        seccomp_release(ctx);
    }
    if (rc)
        return err_set(err, ERR_SANDBOX, "seccomp: cannot load the filter (%d)", -rc);
    return ERR_OK;
}
