/* resource.h — what all resources have in common: kinds, ids, slugs, and one view of their
 * messages, which all begin with the same five fields.
 *
 * Pure; threads: none of its own. */
#ifndef CORE_RESOURCE_H
#define CORE_RESOURCE_H

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stdint.h>

#include "ai/stigmer/commons/apiresource/apiresource.pb-c.h"
#include "base/err.h"

#define RESOURCE_ID 64
#define RESOURCE_SLUG 256
#define RESOURCE_API_VERSION "agentic.stigmer.ai/v1"

/* Numbers of ai.stigmer.commons.apiresource.apiresourcekind.ApiResourceKind. */
enum resource_number {
    RESOURCE_AGENT = 40,
    RESOURCE_EXECUTION = 41,
    RESOURCE_SESSION = 42,
    RESOURCE_INSTANCE = 45
};

struct resource_kind {
    enum resource_number number;
    const char *name;   /* "Agent": the kind field of its documents */
    const char *word;   /* "agent": how our own API names it */
    const char *prefix; /* of ids: "agt" */
    const ProtobufCMessageDescriptor *message;
    const ProtobufCMessageDescriptor *status;
};
const struct resource_kind *resource_kind(enum resource_number number);
const struct resource_kind *resource_kind_by_word(const char *word); /* NULL: none such */

/* The fields 1–5 of every resource message. spec and status are of the kind's own types. */
struct resource {
    ProtobufCMessage base;
    char *api_version;
    char *kind;
    Meta__ApiResourceMetadata *metadata;
    ProtobufCMessage *spec;
    ProtobufCMessage *status;
};
struct resource *resource_of(ProtobufCMessage *m); /* of one of the four kinds */

/* A new id of this kind, and whether text is one. */
void resource_make_id(const struct resource_kind *k, int64_t wall_ms, char ret[RESOURCE_ID]);
bool resource_is_id(const struct resource_kind *k, const char *text);

/* Lower case, letters with marks folded, spaces to hyphens, all else dropped, runs of hyphens
 * joined; "" when nothing is left. Longer than the space: cut. */
void resource_make_slug(const char *name, char ret[RESOURCE_SLUG]);
bool resource_is_slug(const char *text);

/* Texts of messages that protobuf-c will free: sets a copy. */
void resource_set_text(char **field, const char *value);

/* Writes the audit of m's status (made when absent). created_*: kept from old when given. */
void resource_audit(struct resource *m, const struct resource_kind *k, const struct resource *old,
                    const char *actor, int64_t wall_ms);

ProtobufCMessage *resource_copy(const ProtobufCMessage *m);

#endif
