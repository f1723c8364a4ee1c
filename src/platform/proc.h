/* proc.h — which process a pid means. A pid alone says little: it is given out again. Together with
 * the start time that the kernel tells (field 22 of /proc/PID/stat, clock ticks since boot,
 * proc(5)) it means one process for good. Threads: any; allocates nothing. */
#ifndef PLATFORM_PROC_H
#define PLATFORM_PROC_H

#include <stdbool.h>
#include <sys/types.h>

/* 0: it is gone, or a zombie with no thread left. */
unsigned long long proc_started(pid_t pid);

/* Held by a signal (SIGSTOP), or by a debugger. */
bool proc_is_stopped(pid_t pid);

#endif
