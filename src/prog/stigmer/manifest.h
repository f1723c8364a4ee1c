/* manifest.h — resource files: YAML or JSON, several documents a file, folders read recursively.
 * Everything is read and checked before anything is sent; faults are collected with file, line
 * and column, all of them, and told at once. */
#ifndef PROG_STIGMER_MANIFEST_H
#define PROG_STIGMER_MANIFEST_H

#include <jansson.h>

#include "base/buf.h"
#include "base/err.h"
#include "prog/stigmer/kinds.h"

#define MANIFEST_FILE_MAX ((size_t)4 << 20)
#define MANIFEST_FILES_MAX 10000
#define MANIFEST_DEPTH 32 /* of folders */

struct manifest_item {
    const struct kind *kind;    /* borrowed */
    struct kinds_any *resource; /* owned */
};

struct manifest {
    struct manifest_item *items; /* owned */
    size_t count;
    size_t files;
    struct buf faults; /* lines */
    unsigned fault_count;
};

void manifest_init(struct manifest *m);
void manifest_done(struct manifest *m);

/* A file, a folder, or "-". Only what is wrong with the path itself is an error here. */
MUST_CHECK enum err_code manifest_add(struct manifest *m, const char *path, struct err *err);

/* All faults as one error; puts the items into the order in which they are applied. */
MUST_CHECK enum err_code manifest_check(struct manifest *m, struct err *err);

#endif
