/* prune.h — asking the server program what is stale in this home, and having it removed; schema
 * stigmer.cli/prune/v1, see prog/stigmer-server/prune.h. Shared by `prune` and `session rm`. */
#ifndef PROG_STIGMER_PRUNE_H
#define PROG_STIGMER_PRUNE_H

#include <jansson.h>
#include <stdint.h>

#include "base/err.h"
#include "prog/stigmer/cli.h"

/* before_ms: workspaces and backups older than this too; 0: none. agreed: an earlier answer (or any
 * object with such "items"): they go, if they still are stale; NULL: only tell. *ret: the caller's.
 */
MUST_CHECK enum err_code prune_ask(const struct cli *cli, int64_t before_ms, const json_t *agreed,
                                   json_t **ret, struct err *err);

#endif
