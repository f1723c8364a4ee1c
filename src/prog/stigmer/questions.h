/* questions.h — questions of policy while a run is followed: on a terminal a person is asked
 * and may answer there; elsewhere it is said what is waited for, or the following ends.
 *
 * A question is acted on a moment after it came: of a replay those count that have no decision
 * behind them. The answer is only a wish until the journal has it, so what others decide meanwhile
 * withdraws the question. Threads: the loop's. */
#ifndef PROG_STIGMER_QUESTIONS_H
#define PROG_STIGMER_QUESTIONS_H

#include "prog/stigmer/cli.h"
#include "prog/stigmer/conn.h"
#include "stigmer/execution/v1/event.pb-c.h"

struct questions;

struct questions_options {
    const char *execution_id;
    bool may_ask;                               /* else leave or tell, whatever the terminal is */
    bool leaves;                                /* where nobody can be asked, on_leave is called */
    void (*before)(void *arg);                  /* a question or a note comes: end the open line */
    void (*on_leave)(int exit_code, void *arg); /* its error is printed */
    void *arg;
};

struct questions *questions_new(const struct cli *cli, struct conn *conn,
                                const struct questions_options *o);
void questions_free(struct questions *q);

/* Something else is about to be printed: a prompt that stands there makes room, and comes again. */
void questions_step_aside(struct questions *q);

/* Any event of the run, in order. */
void questions_see(struct questions *q, const Exec__Event *e);

#endif
