#include "wire/dockerlog.h"

#include <string.h>

static enum err_code open_frame(struct dockerlog *d, struct err *err)
{
    const uint8_t *h = d->head;

    d->head_len = 0;
    if (h[0] > 2 || h[1] || h[2] || h[3])
        return err_set(err, ERR_INVALID, "no log frame: %02x %02x %02x %02x", h[0], h[1], h[2],
                       h[3]);
    d->begins = true;
    d->left = (uint32_t)h[4] << 24 | (uint32_t)h[5] << 16 | (uint32_t)h[6] << 8 | h[7];
    return ERR_OK;
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

enum err_code dockerlog_feed(struct dockerlog *d, const void *data, size_t len, struct err *err)
{
    const char *p = data;

    while (len) {
        size_t n = d->left ? least(len, d->left) : least(len, sizeof d->head - d->head_len);

        if (d->left) {
            d->fn(d->head[0], d->begins, p, n, d->arg);
            d->begins = false;
            d->left -= (uint32_t)n;
        } else {
            memcpy(d->head + d->head_len, p, n);
            d->head_len += n;
            if (d->head_len == sizeof d->head && open_frame(d, err))
                return ERR_INVALID;
        }
        p += n;
        len -= n;
    }
    return ERR_OK;
}
