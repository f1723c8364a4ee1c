/* pbcheck.h — reads the bytes of a message by its descriptor before anything is unpacked, because
 * protobuf-c recurses without a limit, keeps no NUL inside text and does not look at UTF-8.
 *
 * Refused with ERR_INVALID, naming the field's path and the byte offset: broken varints, lengths
 * past the end, groups, field number 0, a known field in a foreign wire type, text that is not
 * UTF-8 or holds a NUL, nesting deeper than max_depth (unknown fields are opaque bytes: they do not
 * nest). ERR_LIMIT: more than PBCHECK_ITEMS_MAX values, since two bytes on the wire can become a
 * hundred in memory. What passes is accepted by protobuf_c_message_unpack.
 * Source: protobuf.dev/programming-guides/encoding. Threads: any; no state. */
#ifndef WIRE_PBCHECK_H
#define WIRE_PBCHECK_H

#include <protobuf-c/protobuf-c.h>
#include <stddef.h>

#include "base/err.h"

#define PBCHECK_ITEMS_MAX 500000

MUST_CHECK enum err_code pbcheck(const ProtobufCMessageDescriptor *d, const void *data, size_t len,
                                 unsigned max_depth, struct err *err);

#endif
