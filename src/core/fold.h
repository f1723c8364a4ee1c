/* fold.h — a journal as the status that the API shows: events in, AgentExecutionStatus out.
 *
 * Deterministic: the same events give the same bytes (invariant 7). The list of messages only
 * grows: old clients print by count. The audit is not ours; the API adds it from the resource.
 *
 *   submitted → HUMAN      turn_finished → AI (with its calls)      tool_finished → TOOL
 *   notice, failed, cancelled → SYSTEM       legacy_status → merged as the original did
 *   turns, calls, tokens and claims → counts, which is set from the first event on
 *
 * Ownership: the status belongs to the fold. Threads: none of its own. */
#ifndef CORE_FOLD_H
#define CORE_FOLD_H

#include "ai/stigmer/agentic/agentexecution/v1/agentexecution.pb-c.h"
#include "stigmer/execution/v1/event.pb-c.h"

struct fold;

struct fold *fold_new(void);
void fold_free(struct fold *f);
void fold_apply(struct fold *f, const Exec__Event *e);

Aexec__AgentExecutionStatus *fold_peek(struct fold *f); /* borrowed */
Aexec__AgentExecutionStatus *fold_take(struct fold *f); /* the caller's; the fold is empty after */

#endif
