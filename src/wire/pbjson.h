/* pbjson.h — messages to JSON and back, driven by descriptors, after the proto3 JSON mapping
 * (protobuf.dev/programming-guides/json): lowerCamelCase names (the .proto's own are read too),
 * enums by name, 64-bit integers as text, bytes as base64, Timestamp, Duration, Struct, Value,
 * ListValue and Any in their own forms.
 *
 * Lossless for every value that JSON can hold; doubles are printed in the fewest digits that read
 * back the same. Unknown fields of a message are not shown. A NaN inside a Struct is an error, as
 * is a NUL inside text.
 * Ownership: results belong to the caller. Threads: any; no state. */
#ifndef WIRE_PBJSON_H
#define WIRE_PBJSON_H

#include <jansson.h>
#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>

#include "base/buf.h"
#include "base/err.h"

#define PBJSON_DEPTH 64 /* levels of submessage, list and object */

typedef const ProtobufCMessageDescriptor *pbjson_resolve_fn(const char *full_name, void *arg);

struct pbjson_opts {
    bool emit_defaults;         /* to JSON: fields that hold their zero value too */
    bool proto_names;           /* to JSON: field names as in the .proto file */
    bool ignore_unknown;        /* from JSON: skip names and enum words that are not known */
    unsigned max_depth;         /* 0: PBJSON_DEPTH */
    pbjson_resolve_fn *resolve; /* for Any; NULL: no Any can be read or written */
    void *resolve_arg;
    char *path; /* from JSON: where it failed, as jsonpath.h writes it; NULL: not wanted */
    size_t path_size;
};

/* opts may be NULL. */
MUST_CHECK enum err_code pbjson_to(const ProtobufCMessage *msg, const struct pbjson_opts *opts,
                                   json_t **ret, struct err *err);
/* *ret is freed with protobuf_c_message_free_unpacked(*ret, NULL). An unknown name is ERR_INVALID
 * with its path and, in the hint, the nearest known one. */
MUST_CHECK enum err_code pbjson_from(const ProtobufCMessageDescriptor *d, const json_t *json,
                                     const struct pbjson_opts *opts, ProtobufCMessage **ret,
                                     struct err *err);

/* JSON text. indent 0: one line. jansson's own writer prints 0.1 with 17 digits. */
void pbjson_print(const json_t *json, unsigned indent, struct buf *ret);

#endif
