/* records.h — the table of resources (svc/records-schema.h) as messages. Reads work on any
 * connection; writes only inside a store job. Messages handed out are the caller's
 * (protobuf_c_message_free_unpacked). */
#ifndef SVC_RECORDS_H
#define SVC_RECORDS_H

#include <sqlite3.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "core/resource.h"

/* ERR_NOT_FOUND names kind and id. */
MUST_CHECK enum err_code records_get(sqlite3 *db, const struct resource_kind *k, const char *id,
                                     struct resource **ret, struct err *err);

/* The id of a slug; org "" matches any. ERR_NOT_FOUND when there is none. */
MUST_CHECK enum err_code records_by_slug(sqlite3 *db, const struct resource_kind *k,
                                         const char *org, const char *slug, char ret[RESOURCE_ID],
                                         struct err *err);

/* What a person typed: an id, a slug, or a name that only one has. */
MUST_CHECK enum err_code records_find(sqlite3 *db, const struct resource_kind *k, const char *ref,
                                      char ret[RESOURCE_ID], struct err *err);

/* parent, agent: as records-schema.h says; insert refuses an id or slug that is taken. */
MUST_CHECK enum err_code records_insert(sqlite3 *db, const struct resource_kind *k,
                                        const struct resource *m, const char *parent,
                                        const char *agent, int64_t at_ms, struct err *err);
MUST_CHECK enum err_code records_update(sqlite3 *db, const struct resource_kind *k,
                                        const struct resource *m, int64_t at_ms, struct err *err);
MUST_CHECK enum err_code records_delete(sqlite3 *db, const struct resource_kind *k, const char *id,
                                        struct err *err);

/* The parent column of a row: "" when it has none. */
MUST_CHECK enum err_code records_agent_of(sqlite3 *db, const struct resource_kind *k,
                                          const char *id, char ret[RESOURCE_ID], struct err *err);

struct records_query {
    const struct resource_kind *kind;
    const char *org, *parent, *agent; /* NULL or "": any */
    int phase;                        /* of executions; 0: any */
    char *const *tags;                /* of metadata.tags: all of these */
    size_t tag_count;
    bool newest_first;
    int64_t offset, limit;
};
/* fn gets each message, borrowed. ret_total: rows that match in all. */
typedef void records_fn(struct resource *m, void *arg);
MUST_CHECK enum err_code records_list(sqlite3 *db, const struct records_query *q, records_fn *fn,
                                      void *arg, int64_t *ret_total, struct err *err);

#endif
