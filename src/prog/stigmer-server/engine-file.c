#include "prog/stigmer-server/engine-file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/own.h"
#include "base/str.h"

#define TEXT_SIZE (sizeof(struct docker_place) + 2)

void engine_file_write(const char *path, const struct docker_place *place)
{
    char text[TEXT_SIZE], temp[PATH_MAX];
    OWN_FD int fd = -1;
    size_t len;

    (void)str_format(text, sizeof text, "%s %s\n", place->runtime, place->socket);
    len = strlen(text);
    if (str_format(temp, sizeof temp, "%s.new", path))
        fd = open(temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0 || write(fd, text, len) != (ssize_t)len || rename(temp, path) < 0)
        log_warn("the engine cannot be noted", "path", path, "why", strerror(errno));
}

bool engine_file_read(const char *path, struct docker_place *ret)
{
    OWN_FD int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    char text[TEXT_SIZE] = "", *space;
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);

    if (n <= 0)
        return false;
    text[strcspn(text, "\n")] = '\0';
    space = strchr(text, ' ');
    if (!space)
        return false;
    *space = '\0';
    return str_format(ret->runtime, sizeof ret->runtime, "%s", text) &&
           str_format(ret->socket, sizeof ret->socket, "%s", space + 1) && *ret->socket == '/';
}
