/* Any bytes after the preface into a server's connection; every call is answered at once, so the
 * paths that send and close run too. */
#include <stdlib.h>
#include <string.h>

#include "wire/h2.h"

static void on_headers(struct h2_stream *s, void *arg)
{
    (void)arg;
    (void)h2_stream_header(s, ":path");
    h2_stream_set(s, s);
}

static void on_message(struct h2_stream *s, const uint8_t *data, size_t len, bool compressed,
                       void *arg)
{
    static const struct h2_field head[] = {{":status", "200"}};
    (void)compressed;
    (void)arg;
    h2_stream_answer(s, head, 1, false);
    uint8_t *to = h2_stream_message(s, len);
    if (len)
        memcpy(to, data, len);
}

static void on_end(struct h2_stream *s, void *arg)
{
    static const struct h2_field end[] = {{"grpc-status", "0"}};
    (void)arg;
    h2_stream_end(s, end, 1);
}

static void on_broken(struct h2_stream *s, const struct err *err, void *arg)
{
    (void)err;
    (void)arg;
    h2_stream_reset(s, H2_CANCEL);
}

static void on_closed(struct h2_stream *s, uint32_t error, void *arg)
{
    (void)error;
    (void)arg;
    h2_stream_set(s, NULL);
}

static void on_drained(struct h2_stream *s, void *arg)
{
    (void)arg;
    if (h2_stream_user(s) && h2_stream_peer_ended(s))
        on_end(s, arg);
}

static void on_goaway(void *arg)
{
    (void)arg;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    static const uint8_t settings[] = {0, 0, 0, 4, 0, 0, 0, 0, 0};
    static const struct h2_events events = {
        .headers = on_headers,
        .message = on_message,
        .broken = on_broken,
        .end = on_end,
        .closed = on_closed,
        .drained = on_drained,
        .goaway = on_goaway,
    };
    static const struct h2_limits limits = {
        .message_bytes = 1 << 16, .header_bytes = 4096, .buffered_bytes = 4096, .streams = 8};
    struct h2 *h = h2_new_server(&limits, &events, NULL);
    struct buf out = {0};
    enum err_code rc = h2_feed(h, preface, sizeof preface - 1, NULL);
    if (!rc)
        rc = h2_feed(h, settings, sizeof settings, NULL);
    size_t step = size ? data[0] + 1u : 1;
    for (size_t at = 1; !rc && at < size; at += step) {
        rc = h2_feed(h, data + at, size - at < step ? size - at : step, NULL);
        if (h2_take(h, &out, 1 << 16, NULL))
            break;
        buf_clear(&out);
    }
    h2_free(h);
    buf_done(&out);
    return 0;
}
