#include "svc/approvals-api.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/own.h"
#include "base/str.h"
#include "stigmer/execution/v1/service.pb-c.h"

#define LIST_MAX 500 /* with APPROVALS_ARGS bytes each they fit one message */

/* ---- the list
 * ------------------------------------------------------------------------------------
 */

static void list_add(Exec__ApprovalsResponse *r, Exec__Approval *a)
{
    r->approvals = mem_grow(r->approvals, r->n_approvals + 1, sizeof *r->approvals);
    r->approvals[r->n_approvals++] = a;
}

static bool add_row(const struct approvals_row *row, void *arg)
{
    Exec__ApprovalsResponse *r = arg;
    Exec__Approval *a;

    if (r->n_approvals == LIST_MAX) {
        r->left_off++;
        return true;
    }
    a = mem_new(sizeof *a);
    exec__approval__init(a);
    a->execution_id = mem_str(row->execution_id);
    a->seq = row->seq;
    a->call_id = mem_str(row->call_id);
    a->tool = mem_str(row->tool);
    a->args_json = mem_str(row->args);
    a->args_bytes = row->args_bytes;
    a->requested_ms = row->asked_ms;
    a->decision = mem_str(!row->decided ? "" : row->approved ? "approved" : "denied");
    list_add(r, a);
    return true;
}

void approvals_api_list(struct store *store, struct journal *journal, struct rpc_call *call,
                        const ProtobufCMessage *request)
{
    const Exec__ApprovalsRequest *q = (const Exec__ApprovalsRequest *)request;
    Exec__ApprovalsResponse *r = mem_new(sizeof *r);
    const char *id = str_is_empty(q->execution_id) ? NULL : q->execution_id;
    struct journal_head head;
    struct err err;
    enum err_code code = ERR_OK;

    exec__approvals_response__init(r);
    if (id)
        code = journal_head(journal, id, &head, &err);
    if (!code)
        code = approvals_open(store_read_db(store), id, add_row, r, &err);
    if (code)
        rpc_call_fail(call, &err);
    else
        rpc_call_reply(call, &r->base);
    exec__approvals_response__free_unpacked(r, NULL);
}

/* ---- decisions
 * -----------------------------------------------------------------------------------
 */

struct deciding {
    struct rpc_call *call; /* borrowed; NULL once closed */
};

static void on_closed(void *arg)
{
    ((struct deciding *)arg)->call = NULL;
}

static void on_decided(const struct err *err, const struct approvals_decided *what, void *arg)
{
    struct deciding *d = arg;
    Exec__DecideResponse r = EXEC__DECIDE_RESPONSE__INIT;

    if (d->call) {
        rpc_call_on_closed(d->call, NULL, NULL);
        r.seq = what->seq;
        r.tool = (char *)(uintptr_t)what->tool; /* only packed */
        if (err)
            rpc_call_fail(d->call, err);
        else
            rpc_call_reply(d->call, &r.base);
    }
    free(d);
}

void approvals_api_decide(struct engine *engine, struct rpc_call *call,
                          const ProtobufCMessage *request, const char *by)
{
    const Exec__DecideRequest *q = (const Exec__DecideRequest *)request;
    const struct approvals_choice c = {
        .seq = q->seq, .approve = q->approve, .by = by, .reason = q->reason};
    struct deciding *d;
    struct err err;

    if (approvals_check(&c, &err)) {
        rpc_call_fail(call, &err);
        return;
    }
    d = mem_new(sizeof *d);
    d->call = call;
    rpc_call_on_closed(call, on_closed, d);
    engine->ops->decide(engine, q->execution_id, &c, on_decided, d);
}
