/* approval.h — a tool call that waits for a person, as the CLI names it and decides on it. */
#ifndef PROG_STIGMER_APPROVAL_H
#define PROG_STIGMER_APPROVAL_H

#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "prog/stigmer/conn.h"

#define APPROVAL_NAME 120 /* "aex-….12", with its NUL */
#define APPROVAL_LIST_PATH "/stigmer.execution.v1.ExecutionService/approvals"
#define APPROVAL_DECIDE_PATH "/stigmer.execution.v1.ExecutionService/decide"

/* What stands before the last dot is the run, what stands behind it the number; a run alone (no dot
 * and number): *ret_seq 0, the one call of it that waits. ERR_INVALID: it is neither. */
MUST_CHECK enum err_code approval_parse(const char *word, char ret_run[APPROVAL_NAME],
                                        uint64_t *ret_seq, struct err *err);
void approval_name(const char *execution_id, uint64_t seq, char ret[APPROVAL_NAME]);

/* A call's arguments, whole up to max bytes: what a person decides on. On one line, and with
 * nothing in it that hides or turns around what follows. */
void approval_show_args(struct buf *b, const char *args_json, size_t max);

#endif
