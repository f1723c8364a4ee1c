/* help.h — every text that is made from the tables: --help, the man pages, docs/configuration.md
 * and shell completion. */
#ifndef PROG_STIGMER_HELP_H
#define PROG_STIGMER_HELP_H

#include "base/buf.h"
#include "prog/stigmer/cmd-table.h"

void help_top(struct buf *b);
void help_group(struct buf *b, const char *group);
void help_cmd(struct buf *b, const struct cmd *cmd);

/* The options of a command with -o among them; storage is the caller's, two rows. */
void help_output_spec(const struct cmd *cmd, struct arg_spec storage[2]);

/* page: "stigmer.1", "stigmer-server.8", "agent-runner.8"; false when there is no such page. */
bool help_man(struct buf *b, const char *page);
void help_config_doc(struct buf *b);

#endif
