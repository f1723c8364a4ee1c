/* api-op.h — the verbs all resources share: create, update, apply, delete as store jobs, and reads.
 * Each kind adds its own rules through hooks that run inside the job, so that what is checked is
 * still true when it is written. Internal to the resource services (api*.c). */
#ifndef SVC_API_OP_H
#define SVC_API_OP_H

#include <sqlite3.h>

#include "core/resource.h"
#include "platform/loop.h"
#include "platform/rpc-server.h"
#include "platform/store.h"
#include "svc/api.h"
#include "svc/engine.h"
#include "svc/journal.h"

#define API_OP_ACTOR 64

struct api_op;

/* Inside the job; any may be NULL. old: the stored message on an update. */
struct api_op_hooks {
    /* Complete and check op->in; sets parent and agent of the row. */
    enum err_code (*prepare)(sqlite3 *db, struct api_op *op, const struct resource *old,
                             struct err *err);
    /* After the row is inserted. May change op->in: it is written again. */
    enum err_code (*inserted)(sqlite3 *db, struct api_op *op, struct err *err);
    /* After the row is deleted. */
    enum err_code (*deleted)(sqlite3 *db, struct api_op *op, struct err *err);
    /* On the loop's thread, after the reply. */
    void (*committed)(struct api_op *op);
};

struct api {
    struct loop *loop;                  /* borrowed */
    struct store *store;                /* borrowed */
    struct journal *journal;            /* borrowed */
    struct engine *engine;              /* borrowed */
    const char *home;                   /* borrowed; of this installation */
    api_session_fn *on_session_deleted; /* NULL: nobody wants to hear it */
    void *session_arg;
    struct sub *subs;         /* owned: open subscriptions (api-subscribe.c) */
    char actor[API_OP_ACTOR]; /* the last caller's name, so that no user is looked up twice */
    uid_t actor_uid;
};

enum api_op_verb { API_CREATE, API_UPDATE, API_APPLY, API_DELETE };

struct api_op {
    struct api *api;       /* borrowed */
    struct rpc_call *call; /* borrowed; NULL once closed */
    const struct resource_kind *kind;
    const struct api_op_hooks *hooks;
    enum api_op_verb verb;
    struct resource *in;  /* owned; becomes the answer */
    char id[RESOURCE_ID]; /* API_DELETE: which */
    char parent[RESOURCE_ID], agent[RESOURCE_ID];
    char actor[API_OP_ACTOR];
    int64_t now_ms;
    bool created;
};

/* The verbs as handlers call them: validate, copy, submit, reply. */
void api_op_write(struct api *a, struct rpc_call *call, enum api_op_verb verb,
                  const struct resource_kind *kind, const struct api_op_hooks *hooks,
                  const ProtobufCMessage *in);
void api_op_delete(struct api *a, struct rpc_call *call, const struct resource_kind *kind,
                   const struct api_op_hooks *hooks, const char *id);
void api_op_get(struct api *a, struct rpc_call *call, const struct resource_kind *kind,
                const char *id);
void api_op_reference(struct api *a, struct rpc_call *call, const struct resource_kind *kind,
                      const Meta__ApiResourceReference *ref);

/* A stored resource as clients see it: an execution with its status folded, all parts set. */
MUST_CHECK enum err_code api_op_load(struct api *a, const struct resource_kind *kind,
                                     const char *id, struct resource **ret, struct err *err);
MUST_CHECK enum err_code api_op_complete(struct api *a, const struct resource_kind *kind,
                                         struct resource *m, struct err *err);

/* Inserts a resource that we make ourselves, inside a job. The name gets the id when it is taken.
 */
MUST_CHECK enum err_code api_op_insert_own(sqlite3 *db, struct api_op *op,
                                           const struct resource_kind *kind, struct resource *m,
                                           const char *parent, const char *agent, struct err *err);

/* Page of a list: token is the number of a page, from 1. */
struct api_op_page {
    int64_t offset, limit;
};
MUST_CHECK enum err_code api_op_page(int32_t size, const char *token, struct api_op_page *ret,
                                     struct err *err);

#endif
