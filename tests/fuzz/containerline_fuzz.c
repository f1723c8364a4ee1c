/* A container's lines: a time that is read is written the same again, and no line is new twice. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "wire/containerline.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_time(const char *text, size_t len)
{
    char stamp[CONTAINERLINE_TEXT];
    int64_t ns, again;
    size_t n = containerline_read(text, len, &ns);

    if (n > len)
        abort();
    if (!n)
        return;
    containerline_format(ns, stamp);
    if (!containerline_stamp(stamp, CONTAINERLINE_STAMP, &again) || again != ns)
        abort();
}

/* Every line, or the same with a valid time whose last digits are its first bytes. */
static void check_window(const char *p, const char *end)
{
    struct containerline_window w = {0};
    char line[CONTAINERLINE_STAMP + 64];
    const char *lf;

    for (; p < end && (lf = memchr(p, '\n', (size_t)(end - p))); p = lf + 1) {
        size_t len = (size_t)(lf - p) < 64 ? (size_t)(lf - p) : 64;
        int64_t ns = 1800000000123456001;

        check_time(p, (size_t)(lf - p));
        (void)containerline_window_is_new(&w, p, (size_t)(lf - p), 0);
        if (!len)
            continue;
        containerline_format(ns + (unsigned char)*p * 1000, line);
        memcpy(line + CONTAINERLINE_STAMP, p, len);
        (void)containerline_window_is_new(&w, line, CONTAINERLINE_STAMP + len, INT64_MAX);
        if (containerline_window_is_new(&w, line, CONTAINERLINE_STAMP + len, INT64_MAX))
            abort();
    }
    containerline_window_done(&w);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > 65536)
        return 0;
    check_time((const char *)data, size);
    check_window((const char *)data, (const char *)data + size);
    return 0;
}
