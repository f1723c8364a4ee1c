/* Log frames: any bytes, split where the first byte says. The text must be the same as of the
 * unsplit stream. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "wire/dockerlog.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void note(int stream, bool begins, const char *text, size_t len, void *arg)
{
    (void)begins;
    for (size_t i = 0; i < len; i++) {
        buf_putc(arg, (char)stream);
        buf_putc(arg, text[i]);
    }
}

static enum err_code run(const uint8_t *data, size_t size, size_t step, struct buf *out)
{
    struct dockerlog d;
    enum err_code code = ERR_OK;

    dockerlog_init(&d, note, out);
    for (size_t at = 0; at < size && !code; at += step)
        code = dockerlog_feed(&d, data + at, size - at < step ? size - at : step, NULL);
    return code;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf a = {0}, b = {0};

    if (size < 2 || size > 65536)
        return 0;
    if (run(data + 1, size - 1, size, &a) != run(data + 1, size - 1, 1u + data[0], &b) ||
        a.len != b.len || (a.len && memcmp(a.data, b.data, a.len) != 0))
        abort();
    buf_done(&a);
    buf_done(&b);
    return 0;
}
