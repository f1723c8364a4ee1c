/* toolhost.h — the worker's view of the tool hosts: one confined process per session that runs
 * the file tools and commands the model asks for (design, section 7).
 *
 *   worker ──"open session S"──▶ launcher ──fork, setuid, confine──▶ tool host (socketpair back)
 *   worker ──call {id, name, args}──▶ tool host ──result──▶ worker
 *
 * A tool host that dies fails its open calls with TOOLHOST_UNKNOWN (an effect may have happened)
 * and is replaced on the next call. Bad arguments are results the model reads, not errors here.
 * Without its launcher a worker is at its end: what reaches no host then is not answered, since a
 * next runner can do it, and an error would be the last word on it.
 * Threads: the loop's thread. */
#ifndef SVC_TOOLHOST_H
#define SVC_TOOLHOST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "platform/loop.h"

struct toolhosts; /* all of this worker's */
struct toolhost_call;

enum toolhost_outcome { TOOLHOST_RESULT, TOOLHOST_ERROR, TOOLHOST_UNKNOWN };

struct toolhost_env {
    const char *name;
    const char *value;
};

/* What one call may do and see; everything is copied. */
struct toolhost_request {
    const char *session_id; /* one host per session */
    const char *run;        /* for the log */
    const char *workspace;  /* folder name below the workspace root */
    const char *name;       /* tool */
    const char *args_json;
    const struct toolhost_env *env; /* for commands: the run's environment */
    size_t env_count;
};

/* text: what the model reads; borrowed. Called exactly once unless cancelled. */
typedef void toolhost_done_fn(enum toolhost_outcome outcome, const char *text, size_t len,
                              void *arg);

/* launcher_fd: the worker's end of the socket to the launcher; borrowed. on_gone: the launcher has
 * ended; called once, also from within toolhost_start. */
struct toolhosts *toolhosts_new(struct loop *loop, int launcher_fd, loop_fn *on_gone, void *arg);
void toolhosts_free(struct toolhosts *t);

/* The one TCP port of this machine that hosts opened from now on may connect to; 0: none. */
void toolhosts_allow_port(struct toolhosts *t, unsigned port);

struct toolhost_call *toolhost_start(struct toolhosts *t, const struct toolhost_request *req,
                                     toolhost_done_fn *done, void *arg);
void toolhost_cancel(struct toolhost_call *c); /* kills its process group; no callback follows */

/* The session's run is over: end its host (after an idle time, so a next run finds it warm). */
void toolhost_release(struct toolhosts *t, const char *session_id);

#endif
