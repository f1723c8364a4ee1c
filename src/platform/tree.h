/* tree.h — a file or folder with all that lies below it: measured, and removed.
 *
 * For folders that somebody else has filled (a workspace holds what a model wrote): no link is ever
 * followed, no mount is ever crossed, and a tree of any depth needs a handful of descriptors.
 * Every step names one entry of an open folder; folders are opened with openat2(2) and
 * RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV (kernel 5.6), on older kernels with
 * O_NOFOLLOW and a look at st_dev.
 *
 * dir is an open folder, name one entry of it, without a slash. Threads: any. */
#ifndef PLATFORM_TREE_H
#define PLATFORM_TREE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

struct tree_size {
    int64_t bytes;  /* on the disk */
    bool has_mount; /* something is mounted in it: tree_remove will refuse */
    bool is_part;   /* there is more: too deep, too many, or not to be read */
};

/* Of the first TREE_LEVELS levels and TREE_ENTRIES entries. What is not there has no size. */
#define TREE_LEVELS 48
#define TREE_ENTRIES 1000000
void tree_measure(int dir, const char *name, struct tree_size *ret);

/* Folders whose modes are in the way are opened first, so far as they are ours. Stops at the first
 * thing that does not go; what is gone by then stays gone. ERR_NOT_FOUND: there is no such entry;
 * ERR_DENIED: something is mounted in it, or the system says no. */
MUST_CHECK enum err_code tree_remove(int dir, const char *name, struct err *err);

#endif
