#include "prog/stigmer-server/keeper-link.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/own.h"
#include "base/str.h"
#include "prog/stigmer-server/runner-unit.h"

#define TEXT_MAX 8192

enum err_code keeper_link_become(const struct paths *paths, int once_fd, bool copies_log,
                                 char *const *args, struct err *err)
{
    char folder[PATHS_MAX], keeper[PATHS_MAX], server[PATHS_MAX], once[16];
    OWN_FREE const char **argv = NULL;
    size_t count = 0, n = 0;
    enum err_code code = runner_unit_libexec(folder, err);

    if (code)
        return code;
    if (!str_format(keeper, sizeof keeper, "%s/stigmer-keeper", folder) ||
        !str_format(server, sizeof server, "%s/stigmer-server", folder))
        return err_set(err, ERR_INVALID, "the path '%s' is too long", folder);
    (void)str_format(once, sizeof once, "%d", once_fd);
    while (args[count])
        count++;
    argv = mem_array(count + 7, sizeof *argv);
    argv[n++] = keeper;
    argv[n++] = server;
    argv[n++] = paths->log_server;
    argv[n++] = paths->pid_file;
    argv[n++] = once;
    argv[n++] = copies_log ? "1" : "0";
    for (size_t i = 0; i < count; i++)
        argv[n++] = args[i];
    (void)execv(keeper, (char *const *)(uintptr_t)argv);
    return err_hint(err, err_sys(err, errno, "run '%s'", keeper),
                    "install stigmer again: scripts/build.sh");
}

static void take_line(struct keeper_past *p, const char *line, size_t *lines)
{
    if (sscanf(line, "restarts %u", &p->restarts) == 1)
        return;
    if (str_starts(line, "exit "))
        (void)str_format(p->last_exit, sizeof p->last_exit, "%s", line + strlen("exit "));
    else if (str_starts(line, "log ") && *lines < KEEPER_LINK_LINES)
        (void)str_format(p->last_lines[(*lines)++], sizeof p->last_lines[0], "%s",
                         line + strlen("log "));
}

void keeper_link_read(int fd, struct keeper_past *ret)
{
    char text[TEXT_MAX], *rest = text, *line;
    size_t lines = 0;
    ssize_t n = fd < 0 ? -1 : recv(fd, text, sizeof text - 1, 0);

    *ret = (struct keeper_past){0};
    if (n <= 0)
        return;
    text[n] = '\0';
    while ((line = strsep(&rest, "\n")))
        take_line(ret, line, &lines);
}

bool keeper_link_take(int fd, char ret_trouble[KEEPER_LINK_TROUBLE])
{
    static const char word[] = "trouble ";
    char text[KEEPER_LINK_TROUBLE + sizeof word];
    ssize_t n = recv(fd, text, sizeof text - 1, MSG_DONTWAIT);

    if (n < (ssize_t)sizeof word - 1 || memcmp(text, word, sizeof word - 1) != 0)
        return false;
    text[n] = '\0';
    return str_format(ret_trouble, KEEPER_LINK_TROUBLE, "%s", text + sizeof word - 1);
}

static void tell(int fd, const char *text)
{
    if (fd >= 0 && send(fd, text, strlen(text), MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
        log_warn("keeper cannot be told", "what", text, "why", strerror(errno));
}

void keeper_link_up(int fd)
{
    tell(fd, "up");
}

void keeper_link_pids(int fd)
{
    tell(fd, "pids");
}

void keeper_link_log(int fd, int64_t max_size, int max_files)
{
    char text[64];

    (void)str_format(text, sizeof text, "log %lld %d", (long long)max_size, max_files);
    tell(fd, text);
}
