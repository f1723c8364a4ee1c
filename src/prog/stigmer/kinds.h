/* kinds.h — the kinds of resources that the commands know, and the calls that concern one
 * resource of any of them. All kinds have the same five fields first, so one struct reads all. */
#ifndef PROG_STIGMER_KINDS_H
#define PROG_STIGMER_KINDS_H

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "prog/stigmer/conn.h"
#include "proto-all.h"

/* What every resource begins with. */
struct kinds_any {
    ProtobufCMessage base;
    char *api_version;
    char *kind;
    Meta__ApiResourceMetadata *metadata;
    ProtobufCMessage *spec;
    ProtobufCMessage *status;
};

struct kind {
    const char *name;    /* "agent_instance": as the API calls it */
    const char *type;    /* "AgentInstance": as files call it */
    const char *word;    /* "instance": as people call it */
    const char *words;   /* "instances" */
    const char *package; /* of its services, "ai.stigmer.agentic.agentinstance.v1" */
    const ProtobufCMessageDescriptor *message; /* NULL: not available in this version */
    const ProtobufCMessageDescriptor *delete_id;
    unsigned order; /* in which files are applied; 0: not by files */
};

const struct kind *kinds_by_word(const char *word); /* "runs", "agent", … */
const struct kind *kinds_by_type(const char *type);
const char *kinds_nearest_type(const char *type);

/* ERR_INVALID with the nearest word, or that it is not available in this version. */
MUST_CHECK enum err_code kinds_lookup(const char *word, const struct kind **ret, struct err *err);

/* One resource by id, slug or name; owned by the caller (kinds_free). */
MUST_CHECK enum err_code kinds_find(struct conn *c, const struct kind *k, const char *ref,
                                    struct kinds_any **ret, struct err *err);

/* Up to limit resources (0: all), newest first; the array and each item are owned. parent: see
 * ListRequest; NULL: any. *ret_total counts those there are. */
struct kinds_list {
    struct kinds_any **items;
    size_t count;
    int64_t total;
};
MUST_CHECK enum err_code kinds_list(struct conn *c, const struct kind *k, const char *parent,
                                    size_t limit, struct kinds_list *ret, struct err *err);
void kinds_list_done(struct kinds_list *l);

/* verb of the command service ("apply", "create"); the answer is owned. */
MUST_CHECK enum err_code kinds_command(struct conn *c, const struct kind *k, const char *verb,
                                       const ProtobufCMessage *request, struct kinds_any **ret,
                                       struct err *err);
MUST_CHECK enum err_code kinds_delete(struct conn *c, const struct kind *k, const char *id,
                                      struct err *err);

void kinds_free(struct kinds_any *r);

/* Never NULL. */
const char *kinds_id(const struct kinds_any *r);
const char *kinds_name(const struct kinds_any *r);
const char *kinds_slug(const struct kinds_any *r);
int64_t kinds_created_ms(const struct kinds_any *r); /* 0 when not known */

/* "pending", "running", "completed", "failed", "cancelled" */
const char *kinds_phase_name(int phase);

#endif
