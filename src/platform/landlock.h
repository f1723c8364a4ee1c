/* landlock.h — confining this process to parts of the file system, by Landlock's three system
 * calls (kernel documentation userspace-api/landlock). Debian 12's headers stop at ABI 2, so the
 * numbers are our own; what a kernel does not know is left out and can be asked with landlock_abi.
 * A domain only ever narrows: a second one nests in the first. Threads: only the calling thread
 * and what it starts afterwards are confined. */
#ifndef PLATFORM_LANDLOCK_H
#define PLATFORM_LANDLOCK_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

enum landlock_access {
    LANDLOCK_READ,  /* read files and folders */
    LANDLOCK_EXEC,  /* the same, and run programs */
    LANDLOCK_WRITE, /* everything but device nodes */
    LANDLOCK_OPEN   /* read and write what is there: /dev/null */
};

struct landlock_rule {
    const char *path; /* NULL: use fd */
    int fd;           /* opened with O_PATH or more; borrowed */
    enum landlock_access access;
    bool optional; /* a path that is not there is skipped */
};

struct landlock_policy {
    const struct landlock_rule *rules;
    size_t count;
    bool files;    /* handle the file system: only what rules name */
    bool no_tcp;   /* ABI 4: neither connect nor bind … */
    unsigned port; /* … but connecting to this port, of any address; 0: none */
    bool isolated; /* ABI 6: no signal and no abstract socket of processes outside */
};

int landlock_abi(void); /* 0: not there, errno says why */

/* Needs no_new_privs, and sets it. ERR_SANDBOX: Landlock is missing. */
MUST_CHECK enum err_code landlock_enter(const struct landlock_policy *policy, struct err *err);

#endif
