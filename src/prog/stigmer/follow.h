/* follow.h — one execution from an event on to its end, shown as it happens.
 *
 * The stream is resumed from the last event seen when the connection breaks: a server that is
 * restarted in the middle costs nothing but time.
 *
 *   text   stdout: the answer and nothing else; on a terminal its text as it comes.
 *          stderr: tool calls as short lines, notices, what is waited for.
 *   jsonl  one line an event, live text among them; the last line is the terminal event with
 *          phase, answer, usage and durationMs
 *   json   that last object alone */
#ifndef PROG_STIGMER_FOLLOW_H
#define PROG_STIGMER_FOLLOW_H

#include <stdbool.h>
#include <stdint.h>

#include "prog/stigmer/cli.h"
#include "prog/stigmer/conn.h"

struct follow_how {
    const char *execution_id;
    uint64_t from_seq;
    bool owns;          /* Ctrl-C and --timeout cancel the run; else they only leave */
    bool lines;         /* one line an event on stdout, for `logs` */
    bool to_the_end;    /* else leave after the last event there is now */
    int record_fd;      /* -1, or where recordings go */
    int64_t timeout_ms; /* 0: none */
};

/* Returns the exit code; prints its own errors. */
int follow_run(const struct cli *cli, struct conn *conn, const struct follow_how *how);

#endif
