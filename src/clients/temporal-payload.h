/* temporal-payload.h — the values that travel through Temporal, and failures as words.
 *
 * Written: one json/plain payload, which every SDK's default converter reads. Read: json/plain,
 * json/protobuf (both are JSON text) and binary/null. Encodings:
 * the "encoding" entry of a payload's metadata, as Temporal's SDKs write it.
 * Pure; threads: none of its own. */
#ifndef CLIENTS_TEMPORAL_PAYLOAD_H
#define CLIENTS_TEMPORAL_PAYLOAD_H

#include <jansson.h>

#include "base/err.h"
#include "temporal/api/common/v1/message.pb-c.h"
#include "temporal/api/failure/v1/message.pb-c.h"

/* One JSON value as payloads, for packing. Embed by value; it points into itself. */
struct temporal_payload {
    Tcom__Payloads payloads;
    Tcom__Payload payload, *list[1];
    Tcom__Payload__MetadataEntry encoding, *metadata[1];
    char *text; /* owned */
};

/* value is kept by nobody: it is written out at once. */
void temporal_payload_init(struct temporal_payload *p, const json_t *value);
void temporal_payload_done(struct temporal_payload *p);

/* The first of payloads as JSON, the caller's (json_decref). None, or binary/null: JSON null.
 * ERR_UNSUPPORTED: an encoding that is not known here (a codec of the namespace's); ERR_INVALID: no
 * JSON; ERR_LIMIT. */
MUST_CHECK enum err_code temporal_payload_read(const Tcom__Payloads *payloads, json_t **ret,
                                               struct err *err);

/* "message: cause: cause", one line, at most so many causes; for people. */
#define TEMPORAL_PAYLOAD_CAUSES 8
void temporal_payload_failure(const Tfail__Failure *f, char *ret, size_t size);

#endif
