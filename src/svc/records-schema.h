/* records-schema.h — the table of resources, as one step of the store's migrations.
 *
 *   seq      order of creation; what page tokens name
 *   kind     number of ApiResourceKind
 *   slug     unique within kind and org, except for executions (kind 41)
 *   parent   instance: its agent; session: its instance; execution: its session
 *   agent    the agent behind a session or execution, when known
 *   data     the kind's message, serialized, unknown fields kept. Of an execution the status holds
 *            only the audit: the rest is the fold of its journal */
#ifndef SVC_RECORDS_SCHEMA_H
#define SVC_RECORDS_SCHEMA_H

#define RECORDS_SCHEMA_V1                                                                          \
    "CREATE TABLE resource("                                                                       \
    " seq INTEGER PRIMARY KEY AUTOINCREMENT,"                                                      \
    " id TEXT NOT NULL UNIQUE,"                                                                    \
    " kind INTEGER NOT NULL,"                                                                      \
    " org TEXT NOT NULL,"                                                                          \
    " slug TEXT NOT NULL,"                                                                         \
    " name TEXT NOT NULL,"                                                                         \
    " parent TEXT NOT NULL,"                                                                       \
    " agent TEXT NOT NULL,"                                                                        \
    " created_ms INTEGER NOT NULL,"                                                                \
    " updated_ms INTEGER NOT NULL,"                                                                \
    " data BLOB NOT NULL);"                                                                        \
    "CREATE UNIQUE INDEX resource_slug ON resource(kind, org, slug) WHERE kind <> 41;"             \
    "CREATE INDEX resource_find ON resource(kind, slug);"                                          \
    "CREATE INDEX resource_name ON resource(kind, name);"                                          \
    "CREATE INDEX resource_parent ON resource(kind, parent, seq);"                                 \
    "CREATE INDEX resource_agent ON resource(kind, agent, seq);"                                   \
    "CREATE INDEX resource_list ON resource(kind, seq);"

#endif
