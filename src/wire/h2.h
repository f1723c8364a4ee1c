/* h2.h — one HTTP/2 connection that carries gRPC, on nghttp2: bytes in, events out; no descriptor
 * and no clock. The same engine serves both ends.
 *
 *   h2_feed(bytes from the peer) ──▶ events          h2_take ──▶ bytes for the peer
 *
 * Ownership: a stream belongs to its connection and lives until its `closed` event has returned;
 * h2_feed, h2_take and h2_free are what closes streams, nothing else does. Inside an event any
 * h2_stream_ function may be called, but none of those three.
 * Threads: one at a time. Source: RFC 9113 by way of nghttp2; gRPC's PROTOCOL-HTTP2. */
#ifndef WIRE_H2_H
#define WIRE_H2_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

struct h2;
struct h2_stream;

struct h2_field {
    const char *name;
    const char *value;
};

struct h2_events {
    /* The first block of headers is complete (request, or head of an answer). */
    void (*headers)(struct h2_stream *s, void *arg);
    void (*message)(struct h2_stream *s, const uint8_t *data, size_t len, bool compressed,
                    void *arg);
    /* Incoming bytes break a rule of framing or a limit; what follows of them is dropped. */
    void (*broken)(struct h2_stream *s, const struct err *err, void *arg);
    /* The peer sends no more; its trailers are among the headers now. */
    void (*end)(struct h2_stream *s, void *arg);
    /* The stream is gone when this returns. error: an RFC 9113 error code, 0 is fine. */
    void (*closed)(struct h2_stream *s, uint32_t error, void *arg);
    /* A stream that was full has room again. */
    void (*drained)(struct h2_stream *s, void *arg);
    /* By h2_sweep alone; NULL: not asked for. incoming: it is the peer's bytes that do not come,
     * not ours that it does not take. sweeps: how many in a row have found it so, from 1. */
    void (*stalled)(struct h2_stream *s, bool incoming, unsigned sweeps, void *arg);
    void (*goaway)(void *arg);
};

struct h2_limits {
    size_t message_bytes;  /* largest message accepted */
    size_t header_bytes;   /* all headers of one stream together */
    size_t buffered_bytes; /* unsent bytes of a stream before it is full */
    unsigned streams;      /* that the peer may open at once */
};

struct h2 *h2_new_server(const struct h2_limits *l, const struct h2_events *ev, void *arg);
struct h2 *h2_new_client(const struct h2_limits *l, const struct h2_events *ev, void *arg);
void h2_free(struct h2 *h); /* closes what is open, with error CANCEL */

/* A failure means that the connection is of no more use than to take its last bytes. */
MUST_CHECK enum err_code h2_feed(struct h2 *h, const void *data, size_t len, struct err *err);
/* Appends to out until it holds about `enough` bytes; less when there is no more. */
MUST_CHECK enum err_code h2_take(struct h2 *h, struct buf *out, size_t enough, struct err *err);
bool h2_wants_out(const struct h2 *h);
bool h2_is_over(const struct h2 *h); /* neither side has anything left to say */
bool h2_greeted(const struct h2 *h); /* the peer's SETTINGS have come */
unsigned h2_streams(const struct h2 *h);
void h2_set_owner(struct h2 *h, void *owner); /* for h2_stream_owner; the engine ignores it */

/* Tells as `stalled` each stream that waited through the whole time since the last sweep, for the
 * rest of the peer's request or for the peer to take what is unsent, and nothing of it moved.
 * Headers are waited for whether they move or not. False: no stream waits, so another sweep tells
 * nothing unless something happens before. */
bool h2_sweep(struct h2 *h);

void h2_ping(struct h2 *h);
void h2_notice(struct h2 *h); /* announce that a GOAWAY will come: open no more streams */
void h2_goaway(struct h2 *h); /* no new streams; open ones go on */

/* ---- a stream ---- */
void h2_stream_set(struct h2_stream *s, void *user);
void *h2_stream_user(const struct h2_stream *s);
void *h2_stream_owner(const struct h2_stream *s);
/* NULL when absent; pseudo headers too (":path"). Good until the stream's next event. */
const char *h2_stream_header(const struct h2_stream *s, const char *name);
bool h2_stream_headers_too_big(const struct h2_stream *s);
bool h2_stream_was_sent(const struct h2_stream *s); /* client: HEADERS have left */

/* Client: open a stream. Server: answer one; end closes our half with this one block. */
struct h2_stream *h2_request(struct h2 *h, const struct h2_field *fields, size_t n, void *user);
void h2_stream_answer(struct h2_stream *s, const struct h2_field *fields, size_t n, bool end);

/* Room for one message of len bytes, its prefix already written; fill it before the next call. */
uint8_t *h2_stream_message(struct h2_stream *s, size_t len);
void h2_stream_raw(struct h2_stream *s, const void *data, size_t len); /* body without a prefix */
/* After what is queued: trailers (server), or a plain end with n == 0. */
void h2_stream_end(struct h2_stream *s, const struct h2_field *trailers, size_t n);
void h2_stream_reset(struct h2_stream *s, uint32_t error); /* queued bytes are dropped */
void h2_stream_pause(struct h2_stream *s, bool paused);    /* the window stays shut meanwhile */
bool h2_stream_is_full(const struct h2_stream *s);
bool h2_stream_peer_ended(const struct h2_stream *s);
bool h2_stream_has_headers(const struct h2_stream *s); /* the first block is complete */
bool h2_stream_is_amid(const struct h2_stream *s);     /* a part of a message has come */

enum { H2_NO_ERROR = 0, H2_REFUSED_STREAM = 7, H2_CANCEL = 8 };

#endif
