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

#define STAT_SIZE 1024

/* What follows the name in /proc/PID/stat, from the space before the state on; NULL: it is gone. */
static const char *read_stat(pid_t pid, char text[STAT_SIZE])
{
    char path[64];
    const char *p;
    OWN_FD int fd = -1;
    ssize_t n;

    (void)str_format(path, sizeof path, "/proc/%d/stat", (int)pid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    n = fd < 0 ? -1 : read(fd, text, STAT_SIZE - 1);
    if (n <= 0)
        return NULL;
    text[n] = '\0';
    p = strrchr(text, ')'); /* the name before it may hold anything */
    return p && p[1] == ' ' ? p + 1 : NULL;
}

unsigned long long proc_started(pid_t pid)
{
    char text[STAT_SIZE];
    const char *p = read_stat(pid, text);
    bool zombie = p && p[1] == 'Z';

    for (int field = 3; p && field < THREADS_FIELD; field++)
        p = strchr(p + 1, ' ');
    /* A first thread that has ended while others have not: the process still holds its files. */
    if (p && zombie && strtoull(p + 1, NULL, 10) <= 1)
        return 0;
    for (int field = THREADS_FIELD; p && field < START_FIELD; field++)
        p = strchr(p + 1, ' ');
    return p ? strtoull(p + 1, NULL, 10) : 0;
}

bool proc_is_stopped(pid_t pid)
{
    char text[STAT_SIZE];
    const char *p = read_stat(pid, text);

    return p && (p[1] == 'T' || p[1] == 't');
}
