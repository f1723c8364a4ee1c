#include "prog/stigmer/daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/own.h"
#include "base/str.h"
#include "platform/proc.h"

bool daemon_is_alive(const struct daemon_process *p)
{
    return p->pid > 0 && proc_started(p->pid) == p->started;
}

void daemon_find(const struct paths *paths, struct daemon_pids *ret)
{
    OWN_FD int fd = open(paths->pid_file, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    char text[512];
    ssize_t n;

    *ret = (struct daemon_pids){0};
    n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (n <= 0)
        return;
    text[n] = '\0';
    ret->recorded = true;
    for (const char *line = text; line; line = strchr(line, '\n'), line = line ? line + 1 : NULL) {
        struct daemon_process p = {0};
        char role[16];
        int pid;
        if (sscanf(line, "%15s %d %llu", role, &pid, &p.started) != 3 || pid <= 1 || !p.started)
            continue;
        p.pid = pid;
        if (!daemon_is_alive(&p))
            continue;
        if (str_eq(role, "keeper"))
            ret->keeper = p;
        else if (str_eq(role, "server"))
            ret->server = p;
    }
}

/* A descriptor of exactly that process, so that nobody else can be meant in between. */
static int open_process(const struct daemon_process *p)
{
    int fd = p->pid > 0 ? (int)syscall(SYS_pidfd_open, p->pid, 0) : -1;

    if (fd >= 0 && !daemon_is_alive(p)) {
        close(fd);
        return -1;
    }
    return fd;
}

bool daemon_signal(const struct daemon_process *p, int sig)
{
    OWN_FD int fd = open_process(p);

    return fd >= 0 && syscall(SYS_pidfd_send_signal, fd, sig, NULL, 0) == 0;
}

bool daemon_wait_end(const struct daemon_process *p, int64_t timeout_ms)
{
    OWN_FD int fd = open_process(p);
    int64_t until = clock_mono_ms() + timeout_ms;

    while (fd >= 0) {
        struct pollfd pfd = {.fd = fd, .events = POLLIN};
        int64_t left = until - clock_mono_ms();
        int n = poll(&pfd, 1, left > 0 ? (int)left : 0);
        if (n > 0)
            return true;
        if (n == 0 || errno != EINTR)
            return false;
    }
    return true;
}

static enum err_code make_folder(const char *path, mode_t mode, struct err *err)
{
    if (mkdir(path, mode) && errno != EEXIST)
        return err_hint(err, err_sys(err, errno, "cannot make the folder %s", path),
                        "choose another folder with --home or STIGMER_HOME");
    return ERR_OK;
}

static enum err_code make_folders(const struct paths *paths, struct err *err)
{
    const char *const all[] = {paths->home, paths->data, paths->logs, paths->run};
    char parent[PATHS_MAX];

    /* Parents of the home, as mkdir -p makes them. */
    (void)str_format(parent, sizeof parent, "%s", paths->home);
    for (char *p = strchr(parent + 1, '/'); p; p = strchr(p + 1, '/')) {
        enum err_code code;
        *p = '\0';
        code = make_folder(parent, 0755, err);
        *p = '/';
        if (code)
            return code;
    }
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        enum err_code code = make_folder(all[i], 0700, err);
        if (code)
            return code;
    }
    return ERR_OK;
}

enum err_code daemon_lock(const struct paths *paths, int64_t timeout_ms, int *ret_fd,
                          struct err *err)
{
    OWN_FD int fd = -1;
    int64_t until = clock_mono_ms() + timeout_ms;
    enum err_code code = make_folders(paths, err);

    if (code)
        return code;
    fd = open(paths->lock_file, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return err_hint(err, err_sys(err, errno, "cannot open %s", paths->lock_file),
                        "make the home writable, or choose another one with --home");
    /* flock has no deadline of its own; the other holder ends within its own time. */
    while (flock(fd, LOCK_EX | LOCK_NB)) {
        if (errno != EWOULDBLOCK && errno != EINTR)
            return err_sys(err, errno, "cannot lock %s", paths->lock_file);
        if (clock_mono_ms() >= until)
            return err_set(err, ERR_TIMEOUT, "another start or stop of %s is under way for %lld s",
                           paths->home, (long long)(timeout_ms / 1000));
        (void)poll(NULL, 0, 20);
    }
    *ret_fd = take_fd(&fd);
    return ERR_OK;
}
