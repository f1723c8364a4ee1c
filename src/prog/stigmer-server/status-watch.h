/* status-watch.h — ServerService/watchStatus: the status now, and again whenever it has changed.
 *
 * Looked at after a turn of the loop in which something happened, at most ten times a second;
 * nothing wakes up an idle server for it. What grows and shrinks by itself (memory) is no change. A
 * client that reads slowly gets the newest status later, and none in between. Threads: the loop's.
 */
#ifndef PROG_STIGMER_SERVER_STATUS_WATCH_H
#define PROG_STIGMER_SERVER_STATUS_WATCH_H

#include "platform/loop.h"
#include "prog/stigmer-server/status.h"

struct status_watch;

/* Borrows both. */
struct status_watch *status_watch_new(struct loop *loop, const struct status_view *view);
void status_watch_free(struct status_watch *w); /* before the rpc server; ends what is open */

/* A new call (rpc_method.fn's first argument). */
void status_watch_add(struct status_watch *w, struct rpc_call *call);

#endif
