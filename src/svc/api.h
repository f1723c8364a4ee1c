/* api.h — the resource services: Agent, AgentInstance, Session, AgentExecution (28 methods of the
 * original's contract) and our ResourceService. All of them answer over RPC_GATE_API.
 *
 * Handlers decide from what is committed; what writes is one job of the store, checked again
 * there, so two requests at once cannot both create a slug.
 * Ownership: the api borrows loop, store and journal; free it before them, after the rpc server.
 * Threads: the loop's thread only. */
#ifndef SVC_API_H
#define SVC_API_H

#include "platform/loop.h"
#include "platform/rpc-server.h"
#include "platform/store.h"

struct api;
struct engine;
struct journal;

/* home: of this installation; borrowed, as the rest. */
struct api *api_new(struct loop *loop, struct store *store, struct journal *journal,
                    struct engine *engine, const char *home);

/* fn hears of each session that was deleted, after the commit; NULL: nobody. */
typedef void api_session_fn(const char *session_id, void *arg);
void api_on_session_deleted(struct api *api, api_session_fn *fn, void *arg);
void api_free(struct api *api); /* ends open subscriptions without an answer */
void api_add(struct rpc_server *s, struct api *api);

#endif
