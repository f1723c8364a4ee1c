/* tool.h — a question to the server program that takes its time: it prints lines of JSON,
 * {"progress":{"status","completed","total"}} any number of times, then its result or {"error":…}.
 * Progress is shown as it comes (progress.h). */
#ifndef PROG_STIGMER_TOOL_H
#define PROG_STIGMER_TOOL_H

#include <jansson.h>

#include "base/err.h"
#include "prog/stigmer/cli.h"

/* args: NULL-ended, after `stigmer-server --home H`. *ret: the result, the caller's. */
MUST_CHECK enum err_code tool_ask(const struct cli *cli, const char *const *args, json_t **ret,
                                  struct err *err);

#endif
