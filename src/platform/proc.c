#include "platform/proc.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/own.h"
#include "base/str.h"

#define THREADS_FIELD 20
#define START_FIELD 22

unsigned long long proc_started(pid_t pid)
{
    char path[64], text[1024];
    const char *p;
    OWN_FD int fd = -1;
    ssize_t n;
    bool zombie;

    (void)str_format(path, sizeof path, "/proc/%d/stat", (int)pid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (n <= 0)
        return 0;
    text[n] = '\0';
    p = strrchr(text, ')'); /* the name before it may hold anything */
    if (!p || p[1] != ' ')
        return 0;
    zombie = p[2] == 'Z';
    for (int field = 2; p && field < THREADS_FIELD; field++)
        p = strchr(p + 1, ' ');
    /* A first thread that has ended while others have not: the process still holds its files. */
    if (p && zombie && strtoull(p + 1, NULL, 10) <= 1)
        return 0;
    for (int field = THREADS_FIELD; p && field < START_FIELD; field++)
        p = strchr(p + 1, ' ');
    return p ? strtoull(p + 1, NULL, 10) : 0;
}
