#include "base/buf.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"

static size_t ceiling(const struct buf *b)
{
    return b->max ? b->max : BUF_MAX_DEFAULT;
}

void buf_done(struct buf *b)
{
    free(b->data);
    b->data = NULL;
    b->len = b->cap = 0;
}

void buf_clear(struct buf *b)
{
    b->len = 0;
    if (b->data)
        b->data[0] = '\0';
}

static void reserve(struct buf *b, size_t extra)
{
    size_t want = b->len + extra + 1; /* + NUL */
    size_t cap = b->cap ? b->cap : 64;

    if (want <= b->cap)
        return;
    while (cap < want)
        cap += cap / 2 + 64;
    b->data = mem_grow(b->data, cap, 1);
    b->cap = cap;
}

enum err_code buf_add(struct buf *b, const void *data, size_t len, struct err *err)
{
    if (len > ceiling(b) || b->len > ceiling(b) - len)
        return err_set(err, ERR_LIMIT, "larger than the limit of %zu bytes", ceiling(b));
    reserve(b, len);
    if (len)
        memcpy(b->data + b->len, data, len);
    b->len += len;
    b->data[b->len] = '\0';
    return ERR_OK;
}

void buf_put(struct buf *b, const void *data, size_t len)
{
    enum err_code code = buf_add(b, data, len, NULL);

    assert(code == ERR_OK); /* text of our own making has a size we know */
    (void)code;
}

void buf_puts(struct buf *b, const char *s)
{
    buf_put(b, s, strlen(s));
}

void buf_putc(struct buf *b, char c)
{
    buf_put(b, &c, 1);
}

void buf_put_text(struct buf *b, const void *data, size_t len)
{
    const char *p = data, *end = p + len;

    while (p < end) {
        size_t good = str_utf8_check(p, (size_t)(end - p));

        buf_put(b, p, good);
        p += good;
        if (p < end) {
            buf_puts(b, "\xef\xbf\xbd");
            p++;
        }
    }
}

void buf_printf(struct buf *b, const char *fmt, ...)
{
    va_list ap;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    assert(n >= 0);
    reserve(b, (size_t)n);
    va_start(ap, fmt);
    vsnprintf((char *)b->data + b->len, (size_t)n + 1, fmt, ap);
    va_end(ap);
    b->len += (size_t)n;
    assert(b->len <= ceiling(b));
}

void buf_shift(struct buf *b, size_t n)
{
    assert(n <= b->len);
    if (!n)
        return;
    b->len -= n;
    memmove(b->data, b->data + n, b->len);
    b->data[b->len] = '\0';
}

const char *buf_text(const struct buf *b)
{
    return b->data ? (const char *)b->data : "";
}

char *buf_take_text(struct buf *b)
{
    char *text = b->data ? (char *)b->data : mem_str("");

    b->data = NULL;
    b->len = b->cap = 0;
    return text;
}
