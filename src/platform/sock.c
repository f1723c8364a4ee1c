/* sock.c — sockets by address text. Who holds a port: /proc/net/tcp{,6} give the inode, the
 * /proc/PID/fd links give the process (proc(5)). */
#include "platform/sock.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/own.h"
#include "base/str.h"

#define BACKLOG 512

static const char *unix_path(const char *address)
{
    return str_starts(address, "unix:") ? address + 5 : NULL;
}

static enum err_code split(const char *address, char host[256], char port[8], struct err *err)
{
    const char *colon = strrchr(address, ':');
    int64_t n = 0;
    if (!colon || colon == address || str_to_int(colon + 1, 0, 65535, &n, NULL))
        goto bad;
    size_t len = (size_t)(colon - address);
    const char *from = address;
    if (address[0] == '[') {
        if (colon[-1] != ']')
            goto bad;
        from++;
        len -= 2;
    } else if (memchr(address, ':', len)) {
        goto bad; /* a bare IPv6 address: which colon is the port's? */
    }
    if (len == 0 || len > 255)
        goto bad;
    memcpy(host, from, len);
    host[len] = '\0';
    (void)str_format(port, 8, "%d", (int)n);
    return ERR_OK;
bad:
    return err_set(err, ERR_INVALID,
                   "address \"%s\" is not unix:/path, host:port or [ipv6]:port with a port of "
                   "0 to 65535",
                   address);
}

static enum err_code unix_addr(const char *path, struct sock_addr *ret, struct err *err)
{
    struct sockaddr_un *un = (struct sockaddr_un *)&ret->ss;
    size_t len = strlen(path);
    if (len == 0 || len >= sizeof un->sun_path)
        return err_set(err, ERR_INVALID,
                       "the socket path \"%s\" has %zu bytes; a unix socket allows 1 to %zu", path,
                       len, sizeof un->sun_path - 1);
    memset(ret, 0, sizeof *ret);
    un->sun_family = AF_UNIX;
    memcpy(un->sun_path, path, len);
    ret->len = sizeof *un;
    return ERR_OK;
}

static bool is_numeric(const char *host)
{
    struct in6_addr a;
    return inet_pton(AF_INET, host, &a) == 1 || inet_pton(AF_INET6, host, &a) == 1;
}

bool sock_needs_lookup(const char *address)
{
    char host[256], port[8];
    if (unix_path(address) || split(address, host, port, NULL))
        return false;
    return !is_numeric(host) && strcmp(host, "localhost") != 0;
}

bool sock_host(const char *address, char ret[SOCK_HOST])
{
    char port[8];

    return !unix_path(address) && split(address, ret, port, NULL) == ERR_OK;
}

bool sock_port(const char *address, unsigned *ret)
{
    char host[SOCK_HOST], port[8];
    int64_t n = 0;

    if (unix_path(address) || split(address, host, port, NULL) ||
        str_to_int(port, 0, 65535, &n, NULL))
        return false;
    *ret = (unsigned)n;
    return true;
}

static void numeric_addr(const char *host, const char *port, struct sock_addr *ret)
{
    struct sockaddr_in *in4 = (struct sockaddr_in *)&ret->ss;
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&ret->ss;
    int64_t n = 0;
    (void)!str_to_int(port, 0, 65535, &n, NULL);
    memset(ret, 0, sizeof *ret);
    if (inet_pton(AF_INET, host, &in4->sin_addr) == 1) {
        in4->sin_family = AF_INET;
        in4->sin_port = htons((uint16_t)n);
        ret->len = sizeof *in4;
    } else if (inet_pton(AF_INET6, host, &in6->sin6_addr) == 1) {
        in6->sin6_family = AF_INET6;
        in6->sin6_port = htons((uint16_t)n);
        ret->len = sizeof *in6;
    }
}

enum err_code sock_resolve(const char *address, struct sock_addr ret[SOCK_ADDRS], size_t *ret_count,
                           struct err *err)
{
    char host[256], port[8];
    if (unix_path(address)) {
        *ret_count = 1;
        return unix_addr(unix_path(address), &ret[0], err);
    }
    enum err_code rc = split(address, host, port, err);
    if (rc)
        return rc;
    if (is_numeric(host)) {
        numeric_addr(host, port, &ret[0]);
        *ret_count = 1;
        return ERR_OK;
    }
    if (strcmp(host, "localhost") == 0) {
        numeric_addr("127.0.0.1", port, &ret[0]);
        numeric_addr("::1", port, &ret[1]);
        *ret_count = 2;
        return ERR_OK;
    }
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG};
    struct addrinfo *list = NULL;
    int gai = getaddrinfo(host, port, &hints, &list);
    if (gai)
        return err_set(err, ERR_UNAVAILABLE, "cannot resolve host %s: %s", host, gai_strerror(gai));
    size_t n = 0;
    for (struct addrinfo *a = list; a && n < SOCK_ADDRS; a = a->ai_next, n++) {
        memset(&ret[n], 0, sizeof ret[n]);
        memcpy(&ret[n].ss, a->ai_addr, a->ai_addrlen);
        ret[n].len = a->ai_addrlen;
    }
    freeaddrinfo(list);
    *ret_count = n;
    return ERR_OK;
}

/* ---- who holds a port ---- */

static bool inode_in(const char *file, unsigned port, unsigned long *ret)
{
    FILE *f = fopen(file, "re");
    char line[512];
    bool found = false;
    while (f && !found && fgets(line, sizeof line, f)) {
        unsigned local, state;
        unsigned long inode;
        /* sl local:port remote:port state queues timer retransmits uid timeout inode */
        if (sscanf(line, " %*d: %*[0-9A-Fa-f]:%x %*[0-9A-Fa-f]:%*x %x %*s %*s %*s %*s %*s %lu",
                   &local, &state, &inode) == 3 &&
            local == port && state == 10 /* TCP_LISTEN */) {
            *ret = inode;
            found = true;
        }
    }
    if (f)
        fclose(f);
    return found;
}

static bool process_has(const char *pid, const char *link)
{
    char path[64];
    if (!str_format(path, sizeof path, "/proc/%s/fd", pid))
        return false;
    DIR *dir = opendir(path);
    bool found = false;
    for (const struct dirent *e; dir && !found && (e = readdir(dir));) {
        char target[64];
        ssize_t n = readlinkat(dirfd(dir), e->d_name, target, sizeof target - 1);
        if (n <= 0)
            continue;
        target[n] = '\0';
        found = strcmp(target, link) == 0;
    }
    if (dir)
        closedir(dir);
    return found;
}

static bool holder_of(unsigned port, char *ret, size_t size)
{
    unsigned long inode;
    char link[48];
    if (!inode_in("/proc/net/tcp", port, &inode) && !inode_in("/proc/net/tcp6", port, &inode))
        return false;
    (void)str_format(link, sizeof link, "socket:[%lu]", inode);
    DIR *proc = opendir("/proc");
    bool found = false;
    for (const struct dirent *e; proc && !found && (e = readdir(proc));) {
        if (e->d_name[0] < '0' || e->d_name[0] > '9' || !process_has(e->d_name, link))
            continue;
        char path[64], name[64] = "?";
        (void)str_format(path, sizeof path, "/proc/%s/comm", e->d_name);
        FILE *f = fopen(path, "re");
        if (f && fgets(name, sizeof name, f))
            name[strcspn(name, "\n")] = '\0';
        if (f)
            fclose(f);
        found = str_format(ret, size, "%s (pid %s)", name, e->d_name);
    }
    if (proc)
        closedir(proc);
    return found;
}

/* ---- listen ---- */

static unsigned port_of(const struct sock_addr *a)
{
    if (a->ss.ss_family == AF_INET)
        return ntohs(((const struct sockaddr_in *)&a->ss)->sin_port);
    return ntohs(((const struct sockaddr_in6 *)&a->ss)->sin6_port);
}

static enum err_code listen_tcp(const char *address, const struct sock_addr *a, int *ret_fd,
                                struct err *err)
{
    OWN_FD int fd = socket(a->ss.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int one = 1;
    if (fd < 0)
        return err_sys(err, errno, "cannot make a socket for %s", address);
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (a->ss.ss_family == AF_INET6)
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one);
    if (bind(fd, (const struct sockaddr *)&a->ss, a->len) < 0 || listen(fd, BACKLOG) < 0) {
        char who[128];
        if (errno != EADDRINUSE)
            return err_sys(err, errno, "cannot listen on %s", address);
        if (holder_of(port_of(a), who, sizeof who))
            err_set(err, ERR_CONFLICT, "%s is in use by %s", address, who);
        else
            err_set(err, ERR_CONFLICT, "%s is in use by another process", address);
        return err_hint(err, ERR_CONFLICT, "stop that process, or choose another port");
    }
    *ret_fd = take_fd(&fd);
    return ERR_OK;
}

/* A socket file stays behind when its owner is killed. Only a refused connection proves that. */
static enum err_code remove_stale(const char *path, const struct sock_addr *a, struct err *err)
{
    struct stat st;
    if (lstat(path, &st) < 0)
        return errno == ENOENT ? ERR_OK : err_sys(err, errno, "cannot look at %s", path);
    if (!S_ISSOCK(st.st_mode))
        return err_set(err, ERR_CONFLICT, "%s exists and is not a socket", path);
    OWN_FD int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return err_sys(err, errno, "cannot make a socket");
    if (connect(fd, (const struct sockaddr *)&a->ss, a->len) == 0 || errno != ECONNREFUSED)
        return err_set(err, ERR_CONFLICT, "%s is in use by another process", path);
    if (unlink(path) < 0 && errno != ENOENT)
        return err_sys(err, errno, "cannot remove the stale socket %s", path);
    return ERR_OK;
}

static enum err_code listen_unix(const char *path, mode_t mode, int *ret_fd, struct err *err)
{
    struct sock_addr a;
    enum err_code rc = unix_addr(path, &a, err);
    if (!rc)
        rc = remove_stale(path, &a, err);
    if (rc)
        return rc;
    OWN_FD int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return err_sys(err, errno, "cannot make a socket");
    /* The mode of the descriptor becomes the file's, so nobody can connect before the chmod. */
    if (fchmod(fd, mode & 0600) < 0 || bind(fd, (const struct sockaddr *)&a.ss, a.len) < 0 ||
        chmod(path, mode) < 0 || listen(fd, BACKLOG) < 0)
        return err_sys(err, errno, "cannot listen on %s", path);
    *ret_fd = take_fd(&fd);
    return ERR_OK;
}

enum err_code sock_listen(const char *address, mode_t mode, int *ret_fd, struct err *err)
{
    struct sock_addr a[SOCK_ADDRS];
    size_t n = 0;
    if (unix_path(address))
        return listen_unix(unix_path(address), mode, ret_fd, err);
    enum err_code rc = sock_resolve(address, a, &n, err);
    if (!rc && n == 0)
        rc = err_set(err, ERR_INVALID, "%s has no address", address);
    return rc ? rc : listen_tcp(address, &a[0], ret_fd, err);
}

enum err_code sock_name(int fd, char *ret, size_t size, struct err *err)
{
    struct sock_addr a = {.len = sizeof a.ss};
    char host[INET6_ADDRSTRLEN] = "";
    if (getsockname(fd, (struct sockaddr *)&a.ss, &a.len) < 0)
        return err_sys(err, errno, "cannot read a socket's name");
    if (a.ss.ss_family == AF_UNIX) {
        (void)str_format(ret, size, "unix:%s", ((const struct sockaddr_un *)&a.ss)->sun_path);
    } else if (a.ss.ss_family == AF_INET) {
        inet_ntop(AF_INET, &((const struct sockaddr_in *)&a.ss)->sin_addr, host, sizeof host);
        (void)str_format(ret, size, "%s:%u", host, port_of(&a));
    } else {
        inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)&a.ss)->sin6_addr, host, sizeof host);
        (void)str_format(ret, size, "[%s]:%u", host, port_of(&a));
    }
    return ERR_OK;
}

/* ---- connect ---- */

void sock_keep_alive(int fd)
{
    static const int on = 1, idle_s = 30, between_s = 10, probes = 3;

    (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof idle_s);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &between_s, sizeof between_s);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof probes);
}

bool sock_is_own(const struct sock_addr *a)
{
    OWN_FD int fd = socket(a->ss.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct sock_addr any = *a;

    if (a->ss.ss_family == AF_INET)
        ((struct sockaddr_in *)&any.ss)->sin_port = 0;
    else
        ((struct sockaddr_in6 *)&any.ss)->sin6_port = 0;
    return fd >= 0 && bind(fd, (const struct sockaddr *)&any.ss, any.len) == 0;
}

enum err_code sock_connect(const struct sock_addr *to, int *ret_fd, bool *ret_done, struct err *err)
{
    OWN_FD int fd = socket(to->ss.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int one = 1;
    if (fd < 0)
        return err_sys(err, errno, "cannot make a socket");
    if (to->ss.ss_family != AF_UNIX) {
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        sock_keep_alive(fd);
    }
    if (connect(fd, (const struct sockaddr *)&to->ss, to->len) == 0)
        *ret_done = true;
    else if (errno == EINPROGRESS)
        *ret_done = false;
    else /* EAGAIN: a unix socket whose backlog is full; the caller tries again later */
        return err_sys(err, errno, "cannot connect");
    *ret_fd = take_fd(&fd);
    return ERR_OK;
}

enum err_code sock_connected(int fd, struct err *err)
{
    int sys = 0;
    socklen_t len = sizeof sys;
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &sys, &len) < 0)
        sys = errno;
    return sys ? err_sys(err, sys, "cannot connect") : ERR_OK;
}
