/* runner-api.h — stigmer.runner.v1.RunnerService: what runners call. It answers on RPC_GATE_RUNNER
 * to calls that show the token of this machine's runners, and on RPC_GATE_REMOTE, where the rpc
 * server asks for the token of runners on other machines (runner_api_set_remote_token).
 *
 * What a run is made of (agent, history, model, limits) is put together at its claim, from what is
 * committed. An execution whose parts are gone fails with words, it does not hang.
 * Ownership: borrows everything it is given, for its life. Threads: the loop's. */
#ifndef SVC_RUNNER_API_H
#define SVC_RUNNER_API_H

#include <stddef.h>
#include <stdint.h>

#include "platform/loop.h"
#include "platform/rpc-server.h"
#include "platform/store.h"
#include "stigmer/runner/v1/runner.pb-c.h"
#include "svc/journal.h"
#include "svc/queue.h"

struct runner_api;

struct runner_api_config {
    const char *token; /* what runners must show */
    const char *provider, *model, *base_url;
    int64_t max_output_tokens, context_tokens; /* 0: by model */
    uint32_t max_turns;
    int64_t max_duration_ms, max_tokens; /* 0: none */
    const char *require_approval;        /* tools.require_approval; NULL or "": of none */
    const char *home;                    /* of this installation: its key opens stored secrets */
    const char *workspace_root;          /* where sessions' folders lie */
    const void *cassette;                /* provider replay: the recording; may be NULL */
    size_t cassette_len;
};

/* The last attach of a runner of this machine, else of any, for status. */
struct runner_api_seen {
    char runner_id[JOURNAL_TEXT];
    char version[64];
    unsigned slots;
    int64_t rss_bytes;
    const Runner__AttachRequest *attach; /* borrowed; NULL before the first */
};

/* A runner that is attached. Texts are borrowed for the call. */
struct runner_api_runner {
    const char *id, *host, *version, *session;
    unsigned slots, runs;
    int64_t rss_bytes, since_ms; /* wall clock */
    bool remote;                 /* came over TCP */
    bool silent;                 /* queue_used */
};

struct runner_api *runner_api_new(struct loop *loop, struct store *store, struct journal *journal,
                                  struct queue *engine, const struct runner_api_config *config);
void runner_api_free(struct runner_api *a); /* after the rpc server */
void runner_api_add(struct rpc_server *s, struct runner_api *a);

/* Called whenever a runner attaches or the last one goes. */
void runner_api_on_change(struct runner_api *a, loop_fn *fn, void *arg);

/* All that are attached, the newest first. */
typedef void runner_api_fn(const struct runner_api_runner *r, void *arg);
void runner_api_list(const struct runner_api *a, runner_api_fn *fn, void *arg);
/* How many of this machine serve all sessions. */
unsigned runner_api_local(const struct runner_api *a);

/* What runners on other machines must show; NULL: none may attach. Those that are attached with
 * another one are sent away, to come back with this. */
void runner_api_set_remote_token(struct runner_api *a, struct rpc_server *s, const char *token);
const struct runner_api_seen *runner_api_seen(const struct runner_api *a);

#endif
