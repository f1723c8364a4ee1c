/* dockerlog.h — the frames in which a container engine sends what a container without a terminal
 * wrote: bytes in, pieces of text out.
 *
 *   frame: stream (1 byte: 0 stdin, 1 stdout, 2 stderr), 3 bytes of zero, length (4 bytes, big
 *   endian), that many bytes of text
 * Source: Docker Engine API 1.41, "Attach to a container", stream format.
 *
 * A frame may be of any length: it is passed on as it comes, nothing is kept but the header.
 * Ownership: embed by value; nothing to release. */
#ifndef WIRE_DOCKERLOG_H
#define WIRE_DOCKERLOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* stream: 1 stdout, 2 stderr. A frame may come in several pieces; begins: this is its first. */
typedef void dockerlog_fn(int stream, bool begins, const char *text, size_t len, void *arg);

struct dockerlog {
    uint8_t head[8];
    size_t head_len;
    uint32_t left; /* of the frame's text */
    bool begins;   /* none of it was given yet */
    dockerlog_fn *fn;
    void *arg;
};

static inline void dockerlog_init(struct dockerlog *d, dockerlog_fn *fn, void *arg)
{
    *d = (struct dockerlog){.fn = fn, .arg = arg};
}

/* ERR_INVALID when a header is none; the stream cannot be read on then. */
MUST_CHECK enum err_code dockerlog_feed(struct dockerlog *d, const void *data, size_t len,
                                        struct err *err);

#endif
