/* tools.h — what the tools of a tool host share: the workspace they work in, and how text goes to
 * the model. Runs inside the confined tool host only; arguments were checked against the schema
 * (core/tooldef.h). A failing tool returns an error whose message the model reads.
 * Threads: none; one host is one thread. */
#ifndef SVC_TOOLS_H
#define SVC_TOOLS_H

#include <jansson.h>
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/err.h"

#define TOOLS_RESULT_MAX ((size_t)64 << 10) /* to the model */
#define TOOLS_FILE_MAX ((size_t)16 << 20)   /* edited or searched as a whole */
#define TOOLS_OWN_FOLDER ".stigmer"         /* in the workspace: whole outputs, temporary files */

struct tools {
    int root_fd;           /* the workspace folder */
    const char *root;      /* its path, as the model sees it; borrowed */
    const char *tmp;       /* borrowed */
    unsigned long running; /* threads of this user before the first tool */
    int vmstat_fd; /* /proc/vmstat, opened before Landlock; -1: not known here. Not opened by
                      path later: procfs forgets its inodes, and a rule with them */
};

/* tools-path.c: names. rel is relative to the root, "." for the root itself. */
MUST_CHECK enum err_code tools_path_resolve(const struct tools *t, const char *path,
                                            char ret_rel[PATH_MAX], struct err *err);
/* Opens below the root only: no link leads out. flags as for open; O_CLOEXEC is added. */
MUST_CHECK enum err_code tools_path_open(const struct tools *t, const char *rel, int flags,
                                         mode_t mode, int *ret_fd, struct err *err);
/* A regular file to read; everything else is refused by kind, and never waited for. */
MUST_CHECK enum err_code tools_path_open_file(const struct tools *t, const char *rel, int *ret_fd,
                                              off_t *ret_size, struct err *err);
/* The folder that holds rel, made if need be, and rel's last name (points into rel). */
MUST_CHECK enum err_code tools_path_open_parent(const struct tools *t, const char *rel, int *ret_fd,
                                                const char **ret_name, struct err *err);

/* tools-text.c: what a model can read of any bytes. */
void tools_text_clean(struct buf *out, const void *data, size_t len);
bool tools_text_is_binary(const void *data, size_t len);
const char *tools_text_type(const void *data, size_t len);      /* "PNG image", "data" */
size_t tools_text_split(const char *s, size_t len, size_t max); /* ≤ max, at a character */

/* tools-file.c, tools-edit.c, tools-search.c: args is the checked object. */
typedef enum err_code tools_fn(const struct tools *t, const json_t *args, struct buf *out,
                               struct err *err);
MUST_CHECK tools_fn tools_file_read;
MUST_CHECK tools_fn tools_file_write;
MUST_CHECK tools_fn tools_file_ls;
MUST_CHECK tools_fn tools_edit_file;
MUST_CHECK tools_fn tools_search_glob;
MUST_CHECK tools_fn tools_search_grep;

/* Replaces rel's content in one step; a link is followed inside the workspace. */
MUST_CHECK enum err_code tools_file_replace(const struct tools *t, const char *rel,
                                            const void *data, size_t len, bool *ret_created,
                                            struct err *err);
/* The whole of a file of at most TOOLS_FILE_MAX bytes. */
MUST_CHECK enum err_code tools_file_load(const struct tools *t, const char *rel, struct buf *ret,
                                         struct err *err);

#endif
