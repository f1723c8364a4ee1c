/* Server-sent events: any bytes, split where the first byte says. The events must be the same as
 * of the unsplit stream. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "wire/sse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool note(const char *name, const char *data, size_t len, void *arg)
{
    buf_puts(arg, name);
    buf_putc(arg, '\0');
    buf_put(arg, data, len);
    buf_putc(arg, '\0');
    return true;
}

static enum err_code run(const uint8_t *data, size_t size, size_t step, struct buf *out)
{
    enum err_code rc = ERR_OK;
    struct sse s;

    sse_init(&s, 512, note, out);
    for (size_t at = 0; at < size && rc == ERR_OK; at += step)
        rc = sse_feed(&s, data + at, size - at < step ? size - at : step, NULL);
    if (rc == ERR_OK)
        sse_finish(&s);
    sse_done(&s);
    return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf a, b;

    if (size < 2 || size > 65536)
        return 0;
    buf_init(&a, 0);
    buf_init(&b, 0);
    if (run(data + 1, size - 1, size, &a) != run(data + 1, size - 1, 1u + data[0], &b) ||
        a.len != b.len || (a.len && memcmp(a.data, b.data, a.len) != 0))
        abort();
    buf_done(&a);
    buf_done(&b);
    return 0;
}
