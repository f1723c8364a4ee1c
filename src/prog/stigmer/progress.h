/* progress.h — how far something long is: a bar with bytes and rate on a terminal, a line a second
 * elsewhere, nothing with --quiet. */
#ifndef PROG_STIGMER_PROGRESS_H
#define PROG_STIGMER_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

#include "prog/stigmer/cli.h"

struct progress {
    const struct cli *cli; /* borrowed */
    char status[120];
    int64_t completed, total;
    int64_t began_ms, told_ms;
    bool on_bar; /* a line of the terminal is in use */
};

void progress_init(struct progress *p, const struct cli *cli);

/* total 0: it is not known; only status is told. */
void progress_tell(struct progress *p, const char *status, int64_t completed, int64_t total);

/* Leaves the bar as it is and goes to the next line. */
void progress_end(struct progress *p);

#endif
