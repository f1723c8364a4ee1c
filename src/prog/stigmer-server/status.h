/* status.h — stigmer.execution.v1.ServerService: the live truth as JSON of schema
 * stigmer.cli/server-status/v1, and shutdown. The server fills a view; nothing is cached. */
#ifndef PROG_STIGMER_SERVER_STATUS_H
#define PROG_STIGMER_SERVER_STATUS_H

#include <jansson.h>

#include "base/clock.h"
#include "core/config.h"
#include "core/paths.h"
#include "platform/loop.h"
#include "platform/rpc-server.h"
#include "prog/stigmer-server/keeper-link.h"
#include "prog/stigmer-server/session-runners.h"
#include "prog/stigmer-server/temporal-stack.h"
#include "svc/queue.h"
#include "svc/runner-api.h"
#include "svc/supervise.h"

#define STATUS_WARNINGS 16
#define STATUS_TEXT 512

struct status_watch;

struct status_view {
    const struct paths *paths;
    const struct keeper_past *past; /* of this server's predecessors */
    const struct config *config;
    const struct queue *engine;
    const struct runner_api *runner_api;
    struct supervise *supervise;                   /* NULL: runner.kind none */
    const struct session_runners *session_runners; /* NULL likewise */
    const struct temporal_stack *temporal;         /* NULL: the engine is the embedded one */
    const char *listen;                            /* as bound */
    const char *keys_folder;
    struct clock_mark started;
    struct status_watch *watch; /* who wants to hear of changes */
    bool stopping;
    char keeper_trouble[KEEPER_LINK_TROUBLE]; /* "": none */
    char warnings[STATUS_WARNINGS][STATUS_TEXT];
    size_t warning_count;
    enum err_code (*on_runner_token)(bool rotate, char **ret, struct err *err, void *arg);
    void (*on_shutdown)(int64_t grace_ms, void *arg);
    void *arg;
};

json_t *status_json(const struct status_view *v); /* the caller's */
void status_warn(struct status_view *v, const char *text);

/* Pieces of that JSON; the caller's. */
json_t *status_time(int64_t wall_ms);
json_t *status_text(const char *text); /* "" is null */
int64_t status_rss(pid_t pid);

/* Appends what a person should know now: what was warned of, and what the runner's choice says. */
void status_put_warnings(const struct status_view *v, json_t *list);
void status_add(struct rpc_server *s, struct status_view *v);

#endif
