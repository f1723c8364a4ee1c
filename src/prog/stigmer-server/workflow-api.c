#include "prog/stigmer-server/workflow-api.h"

#include <stdlib.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/own.h"
#include "base/str.h"
#include "stigmer/execution/v1/service.pb-c.h"
#include "svc/temporal-worker.h"

#define ASK_MS 2000
#define ID_MAX 256

struct asking {
    const struct workflow_api *api; /* borrowed */
    struct rpc_call *call;          /* borrowed */
    struct temporal_call *describe;
    char id[ID_MAX]; /* of the workflow */
};

/* One segment of a path (RFC 3986): ids have slashes. */
static void put_segment(struct buf *b, const char *text)
{
    static const char hex[] = "0123456789ABCDEF";

    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;

        if ((c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') || c == '-' ||
            c == '.' || c == '_' || c == '~')
            buf_putc(b, (char)c);
        else
            buf_printf(b, "%%%c%c", hex[c >> 4], hex[c & 15]);
    }
}

static void put_url(const struct workflow_api *a, const char *id, const char *run_id, struct buf *b)
{
    const char *ui = temporal_stack_ui(a->stack);
    size_t len = strlen(ui);

    if (!len || !*run_id)
        return;
    buf_put(b, ui, ui[len - 1] == '/' ? len - 1 : len);
    buf_puts(b, "/namespaces/");
    put_segment(b, temporal_namespace(a->temporal));
    buf_puts(b, "/workflows/");
    put_segment(b, id);
    buf_putc(b, '/');
    put_segment(b, run_id);
    buf_puts(b, "/history");
}

static void reply(const struct workflow_api *a, struct rpc_call *call, const char *id,
                  const char *run_id, const char *why)
{
    Exec__WorkflowResponse r = EXEC__WORKFLOW_RESPONSE__INIT;
    OWN_BUF struct buf url = {0};

    put_url(a, id, run_id, &url);
    r.workflow_id = (char *)(uintptr_t)id; /* only packed, as all here */
    r.run_id = (char *)(uintptr_t)run_id;
    r.namespace_ = (char *)(uintptr_t)temporal_namespace(a->temporal);
    r.url = (char *)(uintptr_t)buf_text(&url);
    r.why = (char *)(uintptr_t)why;
    rpc_call_reply(call, &r.base);
}

static void on_described(const ProtobufCMessage *answer, const struct err *err, void *arg)
{
    struct asking *q = arg;
    const Twork__WorkflowExecutionInfo *info =
        answer ? ((const Tsvc__DescribeWorkflowExecutionResponse *)answer)->workflow_execution_info
               : NULL;

    rpc_call_on_closed(q->call, NULL, NULL);
    reply(q->api, q->call, q->id, info && info->execution ? info->execution->run_id : "",
          err ? err->msg : "");
    free(q);
}

static void on_closed(void *arg)
{
    struct asking *q = arg;

    temporal_call_cancel(q->describe);
    free(q);
}

static void ask(const struct workflow_api *a, struct rpc_call *call, const char *id)
{
    Tsvc__DescribeWorkflowExecutionRequest r = TSVC__DESCRIBE_WORKFLOW_EXECUTION_REQUEST__INIT;
    Tcom__WorkflowExecution x = TCOM__WORKFLOW_EXECUTION__INIT;
    struct asking *q = mem_new(sizeof *q);

    q->api = a;
    q->call = call;
    (void)str_format(q->id, sizeof q->id, "%s", id);
    x.workflow_id = q->id;
    r.execution = &x;
    rpc_call_on_closed(call, on_closed, q);
    q->describe =
        temporal_call(a->temporal, TEMPORAL_DESCRIBE_WORKFLOW, &r.base, ASK_MS, on_described, q);
}

static void find(struct rpc_call *call, const ProtobufCMessage *msg, void *arg)
{
    const struct workflow_api *a = arg;
    const char *execution_id = ((const Exec__WorkflowRequest *)msg)->execution_id, *run_id;
    Exec__WorkflowResponse none = EXEC__WORKFLOW_RESPONSE__INIT;
    struct journal_head head;
    char id[ID_MAX];
    struct err err;

    if (!a->engine) {
        rpc_call_reply(call, &none.base);
        return;
    }
    if (journal_head(a->journal, execution_id, &head, &err)) {
        rpc_call_fail(call, &err);
        return;
    }
    (void)str_format(id, sizeof id, TEMPORAL_WORKER_WORKFLOW "/%.200s", execution_id);
    run_id = engine_temporal_run_id(a->engine, execution_id);
    if (run_id)
        reply(a, call, id, run_id, "");
    else
        ask(a, call, id);
}

void workflow_api_add(struct rpc_server *s, struct workflow_api *a)
{
    static const struct rpc_method methods[] = {
        {.name = "find",
         .request = &exec__workflow_request__descriptor,
         .response = &exec__workflow_response__descriptor,
         .fn = find},
        {0},
    };
    static const struct rpc_service service = {"stigmer.execution.v1.WorkflowService", methods};

    rpc_server_add(s, &service, a);
}
