#include "svc/api.h"

#include <stdlib.h>

#include "base/mem.h"
#include "svc/api-services.h"

struct api *api_new(struct loop *loop, struct store *store, struct journal *journal,
                    struct engine *engine, const char *home)
{
    struct api *a = mem_new(sizeof *a);

    a->loop = loop;
    a->store = store;
    a->journal = journal;
    a->engine = engine;
    a->home = home;
    return a;
}

void api_on_session_deleted(struct api *a, api_session_fn *fn, void *arg)
{
    a->on_session_deleted = fn;
    a->session_arg = arg;
}

void api_free(struct api *a)
{
    if (!a)
        return;
    api_subscribe_free_all(a);
    free(a);
}

void api_add(struct rpc_server *s, struct api *a)
{
    api_agent_add(s, a);
    api_instance_add(s, a);
    api_session_add(s, a);
    api_execution_add(s, a);
    api_resource_add(s, a);
}
