/* escape.c — one attempt to get out, by name. Exit 0: it worked. Exit 1: it was refused, and the
 * errno on standard output. Nothing here does harm: what a success would allow is not done. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/netlink.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ESCAPED = 0, REFUSED = 1, FORKS = 1500, X32 = 0x40000000 };

typedef int attempt_fn(char **a);

static int told(int ok)
{
    if (!ok)
        printf("refused: %s\n", strerror(errno));
    return ok ? ESCAPED : REFUSED;
}

static int read_path(char **a)
{
    char c;
    int fd = open(a[0], O_RDONLY);

    return told(fd >= 0 && read(fd, &c, 1) == 1);
}

static int list_path(char **a)
{
    DIR *d = opendir(a[0]);

    return told(d != NULL && readdir(d) != NULL);
}

static int write_path(char **a)
{
    return told(open(a[0], O_WRONLY | O_APPEND) >= 0);
}

static int create_path(char **a)
{
    int ok = open(a[0], O_WRONLY | O_CREAT | O_EXCL, 0600) >= 0;

    if (ok)
        (void)unlink(a[0]);
    return told(ok);
}

static int symlink_read(char **a)
{
    (void)unlink(a[1]);
    return symlink(a[0], a[1]) < 0 ? told(0) : read_path(a + 1);
}

static int hardlink(char **a)
{
    (void)unlink(a[1]);
    return link(a[0], a[1]) < 0 ? told(0) : read_path(a + 1);
}

static int change_mode(char **a)
{
    return told(chmod(a[0], 0640) == 0);
}

static int proc_file(char **a)
{
    char path[64];
    char *arg[] = {path};

    (void)snprintf(path, sizeof path, "/proc/%s/%s", a[0], a[1]);
    return read_path(arg);
}

static int proc_mem(char **a)
{
    char path[64];

    (void)snprintf(path, sizeof path, "/proc/%s/mem", a[0]);
    return told(open(path, O_RDWR) >= 0);
}

static int trace(char **a)
{
    return told(ptrace(PTRACE_SEIZE, (pid_t)strtol(a[0], NULL, 10), NULL, NULL) == 0);
}

static int vm_read(char **a)
{
    char c;
    struct iovec here = {&c, 1}, there = {(void *)8, 1};
    ssize_t n = process_vm_readv((pid_t)strtol(a[0], NULL, 10), &here, 1, &there, 1, 0);

    /* Address 8 holds nothing: EFAULT means that looking was allowed. */
    return told(n >= 0 || errno == EFAULT);
}

static int signal_pid(char **a)
{
    return told(kill((pid_t)strtol(a[0], NULL, 10), 0) == 0);
}

static int connect_to(int domain, const void *addr, socklen_t len)
{
    int fd = socket(domain, SOCK_STREAM, 0);

    return told(fd >= 0 && connect(fd, addr, len) == 0);
}

static int connect_unix(char **a)
{
    struct sockaddr_un u = {.sun_family = AF_UNIX};

    (void)snprintf(u.sun_path, sizeof u.sun_path, "%s", a[0]);
    return connect_to(AF_UNIX, &u, sizeof u);
}

static int connect_abstract(char **a)
{
    struct sockaddr_un u = {.sun_family = AF_UNIX};
    size_t n = strlen(a[0]);

    memcpy(u.sun_path + 1, a[0], n);
    return connect_to(AF_UNIX, &u, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + n));
}

static int datagram_pair(char **a)
{
    struct sockaddr_un u = {.sun_family = AF_UNIX};
    int pair[2];

    (void)snprintf(u.sun_path, sizeof u.sun_path, "%s", a[0]);
    return told(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair) == 0 &&
                sendto(pair[0], "x", 1, 0, (struct sockaddr *)&u, sizeof u) == 1);
}

static int connect_tcp(char **a)
{
    struct sockaddr_in in = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)strtol(a[0], NULL, 10)),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

    return connect_to(AF_INET, &in, sizeof in);
}

static int mptcp(char **a)
{
    struct sockaddr_in in = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)strtol(a[0], NULL, 10)),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 262 /* IPPROTO_MPTCP */);

    return told(fd >= 0 && connect(fd, (struct sockaddr *)&in, sizeof in) == 0);
}

/* Data in the first packet: a connection without a call of connect(). a[1]: which call. */
static int fast_open(char **a)
{
    struct sockaddr_in in = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)strtol(a[0], NULL, 10)),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    char byte = 'x';
    struct iovec v = {&byte, 1};
    struct mmsghdr m = {
        .msg_hdr = {.msg_name = &in, .msg_namelen = sizeof in, .msg_iov = &v, .msg_iovlen = 1}};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    long rc;

    if (strcmp(a[1], "sendto") == 0)
        rc = sendto(fd, "x", 1, MSG_FASTOPEN, (struct sockaddr *)&in, sizeof in);
    else if (strcmp(a[1], "sendmsg") == 0)
        rc = sendmsg(fd, &m.msg_hdr, MSG_FASTOPEN);
    else
        rc = sendmmsg(fd, &m, 1, MSG_FASTOPEN);
    return told(rc >= 0);
}

/* Without bind() the kernel chooses a port. */
static int listen_unbound(char **a)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    (void)a;
    return told(fd >= 0 && listen(fd, 1) == 0);
}

/* The kernel reads the low half of the argument only; a filter that reads all of it is passed. */
static int wide_socket(char **a)
{
    (void)a;
    return told(syscall(SYS_socket, 0x100000000L + AF_UNIX, SOCK_STREAM, 0) >= 0);
}

static int open_socket(int domain, int type, int protocol)
{
    return told(socket(domain, type, protocol) >= 0);
}

static int udp(char **a)
{
    (void)a;
    return open_socket(AF_INET, SOCK_DGRAM, 0);
}

static int netlink(char **a)
{
    (void)a;
    return open_socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);
}

/* Raw sockets need a capability; a user namespace gives it to anybody. */
static int raw_socket(char **a)
{
    (void)a;
    if (unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0)
        return told(0);
    return open_socket(AF_INET, SOCK_RAW, IPPROTO_ICMP);
}

static int descriptors(char **a)
{
    (void)a;
    for (int fd = 3; fd < 1024; fd++)
        if (fcntl(fd, F_GETFD) >= 0) {
            printf("descriptor %d is open\n", fd);
            return ESCAPED;
        }
    return told(0);
}

static int am_root(char **a)
{
    (void)a;
    return told(geteuid() == 0);
}

static int run_setuid(char **a)
{
    int status = -1;
    pid_t pid = fork();

    if (pid == 0) {
        (void)execl(a[0], "escape", "am-root", (char *)NULL);
        _exit(REFUSED);
    }
    (void)waitpid(pid, &status, 0);
    return told(status == 0);
}

static int new_user_namespace(char **a)
{
    (void)a;
    return told(unshare(CLONE_NEWUSER) == 0);
}

static int clone_namespace(char **a)
{
    long pid = syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, NULL, NULL, NULL, NULL);

    (void)a;
    if (pid == 0)
        _exit(0);
    return told(pid > 0);
}

static int clone3_namespace(char **a)
{
    unsigned long long args[11] = {CLONE_NEWUSER};
    long pid;

    (void)a;
    args[4] = SIGCHLD;
    pid = syscall(SYS_clone3, args, sizeof args);
    if (pid == 0)
        _exit(0);
    return told(pid > 0);
}

static int mount_something(char **a)
{
    (void)a;
    if (geteuid() != 0 && unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0)
        return told(0);
    return told(mount("tmpfs", "/mnt", "tmpfs", 0, NULL) == 0);
}

static int io_uring(char **a)
{
    char params[120] = {0};

    (void)a;
    return told(syscall(425, 1, params) >= 0);
}

/* On a pipe it cannot work; what is asked is whether the kernel sees it at all. */
static int type_into_terminal(char **a)
{
    int pair[2];
    char c = 'x';

    (void)a;
    if (pipe(pair) < 0)
        return told(0);
    (void)ioctl(pair[0], TIOCSTI, &c);
    return told(errno == ENOTTY);
}

static int add_key(char **a)
{
    (void)a;
    return told(syscall(SYS_add_key, "user", "stigmer-escape", "x", 1, -1 /* thread */) >= 0);
}

static int fork_many(char **a)
{
    int n = 0;

    (void)a;
    (void)setpgid(0, 0);
    for (pid_t pid; n < FORKS && (pid = fork()) >= 0; n++)
        if (pid == 0) {
            (void)pause();
            _exit(0);
        }
    printf("%d processes\n", n);
    (void)signal(SIGTERM, SIG_IGN);
    (void)kill(0, SIGTERM);
    while (wait(NULL) > 0)
        ;
    return told(n == FORKS);
}

static int huge_file(char **a)
{
    int fd;
    int ok;

    (void)signal(SIGXFSZ, SIG_IGN);
    fd = open(a[0], O_WRONLY | O_CREAT, 0600);
    ok = fd >= 0 && pwrite(fd, "x", 1, (off_t)5 << 30) == 1;
    (void)unlink(a[0]);
    return told(ok);
}

static int core_files(char **a)
{
    struct rlimit r;

    (void)a;
    return told(getrlimit(RLIMIT_CORE, &r) == 0 && r.rlim_max > 0);
}

/* Another ABI's numbers must not get round the filter. ENOSYS from the kernel is "reached". */
static int x32_call(char **a)
{
    int status = -1;
    pid_t pid = fork();

    (void)a;
    if (pid == 0) {
        (void)syscall(X32 + SYS_getpid);
        _exit(0);
    }
    (void)waitpid(pid, &status, 0);
    return told(WIFEXITED(status));
}

static int old_abi_personality(char **a)
{
    (void)a;
    return told(personality(READ_IMPLIES_EXEC) >= 0);
}

static int file_handle(char **a)
{
    struct file_handle *h = calloc(1, sizeof *h + 128);
    int mount_id;

    h->handle_bytes = 128;
    return told(name_to_handle_at(AT_FDCWD, a[0], h, &mount_id, 0) == 0);
}

static int secret_in_env(char **a)
{
    return told(getenv(a[0]) != NULL);
}

/* Not an attempt: a host without namespaces, for the program that follows. */
static int without_unshare(char **argv)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_unshare, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof code / sizeof *code, code};

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0)
        (void)execv(argv[0], argv);
    perror("without-unshare");
    return 2;
}

static const struct {
    const char *name;
    int args;
    attempt_fn *fn;
} attempts[] = {
    {"read", 1, read_path},
    {"list", 1, list_path},
    {"write", 1, write_path},
    {"create", 1, create_path},
    {"symlink-read", 2, symlink_read},
    {"hardlink", 2, hardlink},
    {"chmod", 1, change_mode},
    {"proc", 2, proc_file},
    {"proc-mem", 1, proc_mem},
    {"ptrace", 1, trace},
    {"vm-read", 1, vm_read},
    {"signal", 1, signal_pid},
    {"connect-unix", 1, connect_unix},
    {"connect-abstract", 1, connect_abstract},
    {"datagram-pair", 1, datagram_pair},
    {"connect-tcp", 1, connect_tcp},
    {"mptcp", 1, mptcp},
    {"fast-open", 2, fast_open},
    {"listen", 0, listen_unbound},
    {"wide-socket", 0, wide_socket},
    {"udp", 0, udp},
    {"netlink", 0, netlink},
    {"raw-socket", 0, raw_socket},
    {"descriptors", 0, descriptors},
    {"am-root", 0, am_root},
    {"setuid", 1, run_setuid},
    {"userns", 0, new_user_namespace},
    {"clone-userns", 0, clone_namespace},
    {"clone3-userns", 0, clone3_namespace},
    {"mount", 0, mount_something},
    {"io-uring", 0, io_uring},
    {"tiocsti", 0, type_into_terminal},
    {"add-key", 0, add_key},
    {"forks", 0, fork_many},
    {"huge-file", 1, huge_file},
    {"core", 0, core_files},
    {"x32", 0, x32_call},
    {"personality", 0, old_abi_personality},
    {"file-handle", 1, file_handle},
    {"env", 1, secret_in_env},
};

int main(int argc, char **argv)
{
    if (argc > 2 && strcmp(argv[1], "without-unshare") == 0)
        return without_unshare(argv + 2);
    for (size_t i = 0; argc > 1 && i < sizeof attempts / sizeof *attempts; i++)
        if (strcmp(attempts[i].name, argv[1]) == 0 && attempts[i].args == argc - 2)
            return attempts[i].fn(argv + 2);
    fprintf(stderr, "escape: no such attempt, or the wrong number of arguments\n");
    return 2;
}
