/* confirm.h — "are you sure?", the same for every command that removes. */
#ifndef PROG_STIGMER_CONFIRM_H
#define PROG_STIGMER_CONFIRM_H

#include "base/err.h"
#include "prog/stigmer/cli.h"

/* ERR_OK with --yes, or when a person says so. Without a terminal, or with --no-input, ERR_INVALID
 * that names --yes. doing: "delete --all"; question: "Delete 3 agents?". */
MUST_CHECK enum err_code confirm(const struct cli *cli, const char *doing, const char *question,
                                 struct err *err);

#endif
