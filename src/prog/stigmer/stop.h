/* stop.h — bringing the stack down; shared by `server stop` and `server restart`. */
#ifndef PROG_STIGMER_STOP_H
#define PROG_STIGMER_STOP_H

#include <stdbool.h>

#include "base/err.h"
#include "prog/stigmer/cli.h"

#define STOP_LOCK_MS 60000 /* how long another start or stop is waited for */

/* Under the lock. --grace and --force are read from the command's options. Whatever happens, what
 * a server left is removed at the end; a process that cannot be ended is an error. */
MUST_CHECK enum err_code stop_server(const struct cli *cli, bool *ret_was_running, struct err *err);

#endif
