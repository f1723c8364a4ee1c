/* daemon.h — the server seen from outside, without talking to it: its pid file, its lock, how
 * to end it. How to start it is in spawn.h.
 *
 * A pid is believed only together with the start time the kernel gives it (field 22 of
 * /proc/PID/stat, proc(5)): a pid that was given out again is a stranger and is left alone. */
#ifndef PROG_STIGMER_DAEMON_H
#define PROG_STIGMER_DAEMON_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "prog/stigmer/cli.h"

struct daemon_process {
    pid_t pid;                  /* 0: not recorded, or recorded and gone */
    unsigned long long started; /* clock ticks since boot */
};

struct daemon_pids {
    struct daemon_process keeper, server;
    bool recorded; /* there was a pid file */
};

/* What of the pid file still lives. A missing or broken file is not an error. */
void daemon_find(const struct paths *paths, struct daemon_pids *ret);

bool daemon_is_alive(const struct daemon_process *p);

/* Signal it if it still is who it was. False when it is gone. */
bool daemon_signal(const struct daemon_process *p, int sig);

/* Wait for it to end; false when the time is over. */
bool daemon_wait_end(const struct daemon_process *p, int64_t timeout_ms);

/* The lock under which starts and stops take turns. Waits for the other one up to timeout_ms.
 * The folders it lies in are made (0700). */
MUST_CHECK enum err_code daemon_lock(const struct paths *paths, int64_t timeout_ms, int *ret_fd,
                                     struct err *err);

#endif
