#include "prog/stigmer/workflow.h"

#include "base/str.h"
#include "stigmer/execution/v1/service.pb-c.h"

#define FIND_PATH "/stigmer.execution.v1.WorkflowService/find"
#define ASK_MS 5000

static json_t *text_or_null(const char *text)
{
    return str_is_empty(text) ? json_null() : json_string(text);
}

json_t *workflow_of(struct conn *c, const char *execution_id)
{
    Exec__WorkflowRequest request = EXEC__WORKFLOW_REQUEST__INIT;
    const Exec__WorkflowResponse *r;
    ProtobufCMessage *answer = NULL;
    json_t *o = NULL;
    struct err err;

    request.execution_id = (char *)(uintptr_t)execution_id; /* only packed */
    if (conn_call(c, FIND_PATH, &request.base, &exec__workflow_response__descriptor, ASK_MS,
                  &answer, &err))
        return NULL;
    r = (const Exec__WorkflowResponse *)answer;
    if (*r->workflow_id)
        o = json_pack("{s:s,s:o,s:s,s:o,s:o}", "id", r->workflow_id, "runId",
                      text_or_null(r->run_id), "namespace", r->namespace_, "url",
                      text_or_null(r->url), "why", text_or_null(r->why));
    protobuf_c_message_free_unpacked(answer, NULL);
    return o;
}
