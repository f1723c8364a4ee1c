#include "prog/stigmer-server/home-lock.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/str.h"
#include "platform/proc.h"

bool home_lock_take(const struct paths *paths, int *ret_fd)
{
    char path[PATHS_MAX + 8];

    (void)str_format(path, sizeof path, "%s/lock", paths->data);
    *ret_fd = open(path, O_RDWR | O_CLOEXEC);
    return *ret_fd < 0 || flock(*ret_fd, LOCK_EX | LOCK_NB) == 0;
}

bool home_lock_pids_live(const struct paths *paths)
{
    FILE *f = fopen(paths->pid_file, "re");
    char role[16];
    int pid;
    unsigned long long started;
    bool lives = false;

    while (f && fscanf(f, "%15s %d %llu", role, &pid, &started) == 3)
        lives |= proc_started(pid) == started;
    if (f)
        (void)fclose(f);
    return lives;
}
