#include "platform/proc.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/own.h"
#include "base/str.h"

#define START_FIELD 22

unsigned long long proc_started(pid_t pid)
{
    char path[64], text[1024];
    const char *p;
    OWN_FD int fd = -1;
    ssize_t n;

    (void)str_format(path, sizeof path, "/proc/%d/stat", (int)pid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (n <= 0)
        return 0;
    text[n] = '\0';
    p = strrchr(text, ')'); /* the name before it may hold anything */
    if (!p || p[1] != ' ' || p[2] == 'Z')
        return 0;
    for (int field = 2; p && field < START_FIELD; field++)
        p = strchr(p + 1, ' ');
    return p ? strtoull(p + 1, NULL, 10) : 0;
}
