/* event-json.h — journal events as the lines scripts read (schema stigmer.cli/run-event/v1) and
 * as the short lines people read. The names of the lines are ours and stable; the journal's own
 * message may grow without them changing. */
#ifndef PROG_STIGMER_EVENT_JSON_H
#define PROG_STIGMER_EVENT_JSON_H

#include <jansson.h>
#include <stdbool.h>

#include "base/buf.h"
#include "stigmer/execution/v1/event.pb-c.h"

/* "tool_finished"; "unknown" for a kind that this version does not know. */
const char *event_json_kind(const Exec__Event *e);

bool event_json_is_terminal(const Exec__Event *e);

/* A new reference. Text that is no UTF-8 is left out. */
json_t *event_json_object(const char *execution_id, const Exec__Event *e);

/* A line of live text; no seq. */
json_t *event_json_delta(const char *execution_id, unsigned turn, unsigned attempt,
                         const char *text);

/* One line for `logs RUN`, without a newline. */
void event_json_line(struct buf *b, const Exec__Event *e);

/* "denied by uid 0: not now" */
void event_json_decision(struct buf *b, const Exec__ApprovalDecided *d);

/* What a tool call does, in few words: "ls -la" of {"command":"ls -la"}. At most 100 bytes. */
void event_json_args(struct buf *b, const char *args_json);

#endif
