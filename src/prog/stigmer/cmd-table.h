/* cmd-table.h — every command of `stigmer`, one row each: help, completion, the man page and the
 * dispatch are made from it. A new command is a new file cmd-<name>.c and a new row. */
#ifndef PROG_STIGMER_CMD_TABLE_H
#define PROG_STIGMER_CMD_TABLE_H

#include <stdbool.h>
#include <stddef.h>

#include "prog/stigmer/args.h"

struct cli;

/* Returns the exit code; has printed its own error. */
typedef int cmd_fn(struct cli *cli);

struct cmd_example {
    const char *line; /* without "$ " */
    const char *what;
};

struct cmd {
    const char *name;  /* "server start" */
    const char *words; /* "[AGENT]", as usage shows it; "" none */
    size_t words_min, words_max;
    const char *summary; /* one line, no full stop */
    const char *details; /* more, or NULL */
    const struct arg_spec *flags;
    const char *const *formats; /* of -o; NULL: the command has no -o */
    struct cmd_example examples[2];
    cmd_fn *run;
    bool hidden;
};

extern const struct cmd cmd_table[]; /* ends with name == NULL */

/* Options that every command takes. */
extern const struct arg_spec cmd_table_global[];

const struct cmd *cmd_table_find(const char *name);

/* Is word the first word of commands of two ("server")? */
bool cmd_table_is_group(const char *word);

/* Names that begin with "group " (or all first words when group is ""), the nearest to word. */
const char *cmd_table_nearest(const char *group, const char *word);

#endif
