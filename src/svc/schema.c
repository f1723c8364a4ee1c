#include "svc/schema.h"

#include "svc/records-schema.h"

/* execution.state: 0 queued, 1 claimed, 2 ended (enum journal_state).
 * execution.turn_seq: where the last turn_finished stands, from which the rules can be taken up.
 * execution.folder: the session's own folder; '' for one of ours below data/workspace.
 * inbox.seq: of the event that says it was read; 0: unread. Unread ones are in the order of their
 * rows. approval.state: see approvals.c; approval.seq: of the approval_requested. event: either
 * data (the event without seq, epoch and time) or hash, the key of a blob. Rows stand in the order
 * they were written, so that the events of many runs in one commit share pages.
 */
static const char *const migrations[] = {
    RECORDS_SCHEMA_V1 "CREATE TABLE execution("
                      "  id TEXT PRIMARY KEY,"
                      "  session_id TEXT NOT NULL,"
                      "  phase INTEGER NOT NULL,"
                      "  state INTEGER NOT NULL,"
                      "  head INTEGER NOT NULL,"
                      "  turn_seq INTEGER NOT NULL,"
                      "  epoch INTEGER NOT NULL,"
                      "  runner TEXT NOT NULL,"
                      "  lost INTEGER NOT NULL,"
                      "  cancel_by TEXT,"
                      "  cancel_reason TEXT,"
                      "  created_ms INTEGER NOT NULL,"
                      "  ended_ms INTEGER NOT NULL) WITHOUT ROWID;"
                      "CREATE INDEX execution_open ON execution(state, id) WHERE state < 2;"
                      "CREATE INDEX execution_session ON execution(session_id, id);"
                      "CREATE TABLE event("
                      "  execution_id TEXT NOT NULL,"
                      "  seq INTEGER NOT NULL,"
                      "  epoch INTEGER NOT NULL,"
                      "  at_ms INTEGER NOT NULL,"
                      "  data BLOB,"
                      "  hash BLOB,"
                      "  UNIQUE(execution_id, seq));"
                      "CREATE INDEX event_hash ON event(hash) WHERE hash IS NOT NULL;"
                      "CREATE TABLE blob(hash BLOB PRIMARY KEY, data BLOB NOT NULL);",
    "ALTER TABLE execution ADD COLUMN folder TEXT NOT NULL DEFAULT ''",
    "CREATE TABLE inbox("
    "  execution_id TEXT NOT NULL,"
    "  id TEXT NOT NULL,"
    "  sender TEXT NOT NULL,"
    "  text TEXT NOT NULL,"
    "  seq INTEGER NOT NULL DEFAULT 0,"
    "  UNIQUE(execution_id, id))",
    "CREATE TABLE approval("
    "  execution_id TEXT NOT NULL,"
    "  seq INTEGER NOT NULL,"
    "  call_id TEXT NOT NULL,"
    "  tool TEXT NOT NULL,"
    "  args TEXT NOT NULL,"
    "  args_bytes INTEGER NOT NULL,"
    "  asked_ms INTEGER NOT NULL,"
    "  state INTEGER NOT NULL DEFAULT 0,"
    "  decider TEXT NOT NULL DEFAULT '',"
    "  reason TEXT NOT NULL DEFAULT '',"
    "  PRIMARY KEY(execution_id, seq)) WITHOUT ROWID",
    "CREATE TABLE workflow_end(execution_id TEXT PRIMARY KEY) WITHOUT ROWID",
};

const struct store_schema *schema(void)
{
    static const struct store_schema s = {migrations, sizeof migrations / sizeof migrations[0]};

    return &s;
}
