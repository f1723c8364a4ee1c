#include "platform/notify.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/own.h"
#include "base/str.h"

#define FIRST_FD 3
#define FDS_MAX 16
#define NAME_SIZE 32

void notify_send(const char *lines)
{
    const char *where = getenv("NOTIFY_SOCKET");
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    size_t len = where ? strlen(where) : 0;
    OWN_FD int fd = -1;

    if (len < 2 || len >= sizeof to.sun_path || (where[0] != '/' && where[0] != '@'))
        return;
    memcpy(to.sun_path, where, len);
    if (where[0] == '@')
        to.sun_path[0] = '\0';
    fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd >= 0) /* a manager that does not read loses its own news */
        (void)sendto(fd, lines, strlen(lines), MSG_NOSIGNAL | MSG_DONTWAIT,
                     (const struct sockaddr *)&to,
                     (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len));
}

void notify_status(const char *lines, const char *status)
{
    char text[1200];
    size_t from;

    (void)str_format(text, sizeof text, "%.80s%sSTATUS=", lines, *lines ? "\n" : "");
    from = strlen(text);
    (void)str_format(text + from, sizeof text - from, "%.1000s", status);
    for (char *p = text + from; *p; p++)
        if ((unsigned char)*p < ' ')
            *p = ' ';
    notify_send(text);
}

int64_t notify_watchdog_ms(int main_pid)
{
    const char *usec = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");
    int64_t us, who;

    if (str_is_empty(usec) || str_to_int(usec, 1000, INT64_MAX / 2, &us, NULL))
        return 0;
    if (!str_is_empty(pid) &&
        (str_to_int(pid, 1, INT32_MAX, &who, NULL) || (who != main_pid && who != getpid())))
        return 0;
    return us / 2000;
}

/* ---- sockets ------------------------------------------------------------------------------- */

static void one_name(const char **names, char ret[NAME_SIZE])
{
    size_t len = *names ? strcspn(*names, ":") : 0;

    (void)str_format(ret, NAME_SIZE, "%.*s", (int)(len < NAME_SIZE ? len : 0),
                     *names ? *names : "");
    for (char *p = ret; *p; p++)
        if (*p == ',' || *p == '=')
            *p = '_';
    if (*names)
        *names = (*names)[len] ? *names + len + 1 : NULL;
}

void notify_take_sockets(char *ret, size_t size)
{
    const char *pid = getenv("LISTEN_PID"), *fds = getenv("LISTEN_FDS");
    const char *names = getenv("LISTEN_FDNAMES");
    int64_t who, count = 0;
    size_t len = 0;

    *ret = '\0';
    if (pid && fds && !str_to_int(pid, 1, INT32_MAX, &who, NULL) && who == getpid() &&
        str_to_int(fds, 1, FDS_MAX, &count, NULL))
        count = 0;
    for (int i = 0; i < count; i++) {
        char name[NAME_SIZE];
        int n;

        one_name(&names, name);
        n = snprintf(ret + len, size - len, "%s%s=%d", len ? "," : "", name, FIRST_FD + i);
        if (n < 0 || (size_t)n >= size - len)
            break;
        len += (size_t)n;
    }
    ret[len < size ? len : size - 1] = '\0';
    (void)unsetenv("LISTEN_PID");
    (void)unsetenv("LISTEN_FDS");
    (void)unsetenv("LISTEN_FDNAMES");
}

static bool listens(int fd, int family)
{
    int yes = 0, type = 0, domain = 0;
    socklen_t size = sizeof yes;

    if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &yes, &size) < 0 || !yes ||
        getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) < 0 || type != SOCK_STREAM ||
        getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) < 0)
        return false;
    return family == AF_UNIX ? domain == AF_UNIX : domain == AF_INET || domain == AF_INET6;
}

static bool is_known_name(const char *name)
{
    return str_eq(name, "api") || str_eq(name, "tcp");
}

int notify_socket(const char *list, const char *name, int family)
{
    int found = -1;

    for (const char *p = list; *p;) {
        char this[NAME_SIZE];
        size_t len = strcspn(p, "="), item = strcspn(p, ",");
        int fd = (int)strtol(p + len + 1, NULL, 10);

        (void)str_format(this, sizeof this, "%.*s", (int)(len < NAME_SIZE ? len : 0), p);
        if (listens(fd, family) && (str_eq(this, name) || (found < 0 && !is_known_name(this))))
            found = fd;
        p += item;
        p += *p == ',';
    }
    if (found >= 0) {
        (void)fcntl(found, F_SETFL, fcntl(found, F_GETFL) | O_NONBLOCK);
        (void)fcntl(found, F_SETFD, FD_CLOEXEC);
    }
    return found;
}
