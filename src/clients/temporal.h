/* temporal.h — one Temporal server by its gRPC API (temporal.api.workflowservice.v1), as a client
 * and as the transport of workers. What is asked is built by the caller; namespace and identity are
 * put into every request here.
 *
 *   call      one unary method. Faults that pass (the server is away, overloaded, slow, resets) are
 *             tried again with a doubling wait and jitter until the call's time is over
 *             (long polls: temporal-poll.h)
 *
 * A server whose certificate is not accepted, or ours by it, fails a call at once. The namespace is
 * a header, too, which is how Temporal Cloud finds it. Ownership: a request is packed before
 * temporal_call returns; answers are borrowed for the callback. Errors: ERR_UNAVAILABLE and
 * ERR_TIMEOUT name the address; ERR_UNAUTHENTICATED and ERR_DENIED say whether it is the
 * certificates or the API key, and what mends it; others are the server's. Threads: the loop's. */
#ifndef CLIENTS_TEMPORAL_H
#define CLIENTS_TEMPORAL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "platform/loop.h"
#include "platform/tls.h"
#include "temporal/api/workflowservice/v1/service.pb-c.h"

struct temporal;
struct temporal_call;

struct temporal_options {
    const char *address;           /* host:port, as rpc-client.h has them */
    const char *namespace;         /* copied, as all texts here */
    const char *identity;          /* who calls, for people: pid@host */
    const struct tls_context *tls; /* borrowed, outlives it; NULL: cleartext */
    const char *server_name;       /* that its certificate must be for; NULL: the address's host */
    const char *api_key;           /* shown with every call; NULL: none */
};

MUST_CHECK enum err_code temporal_new(struct loop *loop, const struct temporal_options *o,
                                      struct temporal **ret, struct err *err);
void temporal_free(struct temporal *t); /* not inside a callback; calls end without one */
const char *temporal_address(const struct temporal *t);
const char *temporal_namespace(const struct temporal *t);
const char *temporal_identity(const struct temporal *t);

/* Methods of the service that are called here. */
enum temporal_method {
    TEMPORAL_GET_SYSTEM_INFO,
    TEMPORAL_REGISTER_NAMESPACE,
    TEMPORAL_DESCRIBE_NAMESPACE,
    TEMPORAL_START_WORKFLOW,
    TEMPORAL_GET_HISTORY,
    TEMPORAL_POLL_WORKFLOW_TASK,
    TEMPORAL_COMPLETE_WORKFLOW_TASK,
    TEMPORAL_FAIL_WORKFLOW_TASK,
    TEMPORAL_ANSWER_QUERY,
    TEMPORAL_POLL_ACTIVITY_TASK,
    TEMPORAL_HEARTBEAT,
    TEMPORAL_COMPLETE_ACTIVITY,
    TEMPORAL_FAIL_ACTIVITY,
    TEMPORAL_FAIL_ACTIVITY_BY_ID,
    TEMPORAL_CANCEL_ACTIVITY,
    TEMPORAL_REQUEST_CANCEL,
    TEMPORAL_SIGNAL,
    TEMPORAL_TERMINATE,
    TEMPORAL_LIST_WORKFLOWS,
    TEMPORAL_QUERY,
    TEMPORAL_DESCRIBE_WORKFLOW,
    TEMPORAL_DESCRIBE_TASK_QUEUE,
    TEMPORAL_SHUTDOWN_WORKER,
    TEMPORAL_METHODS
};

/* answer and err: one is NULL. The handle is gone when it returns. */
typedef void temporal_done_fn(const ProtobufCMessage *answer, const struct err *err, void *arg);

/* How long a call goes on trying. */
#define TEMPORAL_FOREVER INT64_MAX
#define TEMPORAL_ONCE 0 /* one attempt */

/* request: its fields `namespace` and `identity` are set here when they are NULL or "", and put
 * back before the return. done may be NULL. Never calls back before returning. */
struct temporal_call *temporal_call(struct temporal *t, enum temporal_method method,
                                    ProtobufCMessage *request, int64_t try_ms,
                                    temporal_done_fn *done, void *arg);
void temporal_call_cancel(struct temporal_call *c); /* no callback follows */

/* ---- figures ---- */

struct temporal_stats {
    uint64_t calls, attempts, failures; /* calls that ended; attempts made; calls that failed */
    int64_t latency_ms_total;           /* of calls that succeeded, polls not counted */
    uint64_t latency_count;
};
const struct temporal_stats *temporal_stats(const struct temporal *t);

#endif
