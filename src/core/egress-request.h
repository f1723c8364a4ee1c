/* egress-request.h — what a client asks of an HTTP proxy, read from the head of its request:
 * CONNECT (RFC 9110, section 9.3.6) and absolute http:// requests (RFC 9112, section 3.2.2).
 * Nothing else is understood, and nothing is guessed.
 *
 * A head is text from the first byte to the empty line, both included, and has a 0 byte after it.
 * It is hostile. Pure; threads: any. */
#ifndef CORE_EGRESS_REQUEST_H
#define CORE_EGRESS_REQUEST_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "core/egress.h"

struct egress_request {
    bool is_connect;
    char host[EGRESS_HOST_MAX + 1]; /* without brackets */
    unsigned port;
};

/* The value of Proxy-Authorization, borrowed from head; NULL: there is none. */
const char *egress_request_credentials(const char *head, size_t *ret_len);

/* False: it is none of the two. *ret_forward: the head as the server is to get it, for this one
 * exchange and with the Host that was asked for; empty for CONNECT. */
bool egress_request_read(const char *head, size_t len, struct egress_request *ret,
                         struct buf *ret_forward);

#endif
