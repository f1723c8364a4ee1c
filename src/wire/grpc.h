/* grpc.h — the parts of the gRPC wire format that need no socket: length-prefixed messages,
 * grpc-timeout, grpc-message and the status numbers.
 * Source: github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md, and google.rpc.Code. */
#ifndef WIRE_GRPC_H
#define WIRE_GRPC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

enum grpc_status {
    GRPC_OK,
    GRPC_CANCELLED,
    GRPC_UNKNOWN,
    GRPC_INVALID_ARGUMENT,
    GRPC_DEADLINE_EXCEEDED,
    GRPC_NOT_FOUND,
    GRPC_ALREADY_EXISTS,
    GRPC_PERMISSION_DENIED,
    GRPC_RESOURCE_EXHAUSTED,
    GRPC_FAILED_PRECONDITION,
    GRPC_ABORTED,
    GRPC_OUT_OF_RANGE,
    GRPC_UNIMPLEMENTED,
    GRPC_INTERNAL,
    GRPC_UNAVAILABLE,
    GRPC_DATA_LOSS,
    GRPC_UNAUTHENTICATED,
    GRPC_STATUSES
};
const char *grpc_status_name(int status); /* "NOT_FOUND" */

#define GRPC_PREFIX 5
#define GRPC_MESSAGE_MAX ((size_t)4 << 20) /* what grpc-go and grpcio accept by default */

void grpc_prefix(uint8_t ret[GRPC_PREFIX], size_t message_len);

/* Cuts a byte stream into messages. Embed by value. */
struct grpc_reader {
    struct buf buf; /* owned */
    size_t limit;   /* largest message accepted */
    size_t taken;   /* bytes at the front that grpc_reader_next has handed out */
    size_t start;   /* where the last, possibly unfinished message starts */
    size_t end;     /* where it ends; 0 until its prefix is complete */
};
void grpc_reader_init(struct grpc_reader *r, size_t limit);
void grpc_reader_done(struct grpc_reader *r);
/* ERR_LIMIT: a message announces more than limit (known before its bytes are kept). */
MUST_CHECK enum err_code grpc_reader_feed(struct grpc_reader *r, const void *data, size_t len,
                                          struct err *err);
/* True and the message (borrowed until the next call) when one is complete.
 * ret_compressed tells the flag byte; the caller refuses it. */
bool grpc_reader_next(struct grpc_reader *r, const uint8_t **ret, size_t *ret_len,
                      bool *ret_compressed);
bool grpc_reader_is_empty(const struct grpc_reader *r); /* no partial message waits */

/* "100m" ⇄ milliseconds; at most 8 digits and one unit of HMSmun. */
MUST_CHECK enum err_code grpc_timeout_parse(const char *text, size_t len, int64_t *ret_ms,
                                            struct err *err);
void grpc_timeout_format(int64_t ms, char ret[16]);

/* Percent-encoding of grpc-message: bytes outside 0x20–0x7e, and '%'. */
void grpc_percent_encode(const char *text, struct buf *ret);
void grpc_percent_decode(const char *text, size_t len, struct buf *ret);

#endif
