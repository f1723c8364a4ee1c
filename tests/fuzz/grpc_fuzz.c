/* Any bytes, cut anywhere, through the reader of length-prefixed messages and the small parsers. */
#include <stdlib.h>

#include "wire/grpc.h"

#define LIMIT 4096

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct grpc_reader r;
    int64_t ms;
    struct buf text = {0};
    if (size == 0)
        return 0;
    size_t step = data[0] % 64 + 1u;
    grpc_reader_init(&r, LIMIT);
    for (size_t at = 1; at < size; at += step) {
        const uint8_t *msg;
        size_t len;
        bool compressed;
        size_t n = size - at < step ? size - at : step;
        enum err_code rc = grpc_reader_feed(&r, data + at, n, NULL);
        while (grpc_reader_next(&r, &msg, &len, &compressed))
            if (len > LIMIT || msg < r.buf.data || msg + len > r.buf.data + r.buf.len)
                abort();
        if (rc)
            break;
    }
    grpc_reader_done(&r);
    if (grpc_timeout_parse((const char *)data, size, &ms, NULL) == ERR_OK && ms < 0)
        abort();
    grpc_percent_decode((const char *)data, size, &text);
    if (text.len > size)
        abort();
    buf_done(&text);
    return 0;
}
