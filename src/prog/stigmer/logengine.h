/* logengine.h — what the runner's containers write while no server listens to them: the engine is
 * asked for it (by stigmer-server --runner-logs), and it is read like a log file. The server
 * collects the same lines later: those that were shown are known. Threads: one. */
#ifndef PROG_STIGMER_LOGENGINE_H
#define PROG_STIGMER_LOGENGINE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "prog/stigmer/cli.h"
#include "prog/stigmer/logline.h"
#include "wire/containerline.h"

struct logengine {
    int fd;                         /* owned; of a file in memory; -1: nothing was asked */
    char path[32];                  /* by which it can be opened */
    uint64_t lines;                 /* in it */
    struct containerline_set shown; /* what it holds */
    int stream;                     /* owned; what comes, nonblocking; -1: nothing is followed */
    pid_t pid;                      /* owned; who writes to it */
    struct buf part;                /* of a line */
};

/* A container engine was used, and no server that runs writes down what its containers say. */
bool logengine_is_needed(const struct cli *cli);

/* Asks; what is new is in the file then. A failure is a warning. */
void logengine_ask(struct logengine *e, const struct cli *cli);

/* Follows them until they end or it is stopped; take what has come when there is something. */
void logengine_follow(struct logengine *e, const struct cli *cli);
void logengine_take(struct logengine *e, const struct cli *cli);
void logengine_stop(struct logengine *e);

/* A line of the log that was shown already, as the engine's. */
bool logengine_has(struct logengine *e, const struct logline *line);

void logengine_init(struct logengine *e);
void logengine_done(struct logengine *e);

#endif
