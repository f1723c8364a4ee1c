/* buf.h — a growing run of bytes with a ceiling. For sizes a peer chooses: past the ceiling an
 * append fails with ERR_LIMIT and changes nothing. The content is always followed by a NUL that
 * does not count, so buf_text() works for text. Not thread-safe; embed by value. */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct buf {
    uint8_t *data; /* owned; NULL while empty */
    size_t len;
    size_t cap;
    size_t max; /* ceiling in bytes; 0 means BUF_MAX_DEFAULT */
};

#define BUF_MAX_DEFAULT ((size_t)64 << 20)

static inline void buf_init(struct buf *b, size_t max)
{
    *b = (struct buf){.max = max};
}
void buf_done(struct buf *b);  /* frees; the buf may be used again */
void buf_clear(struct buf *b); /* empties, keeps memory */

MUST_CHECK enum err_code buf_add(struct buf *b, const void *data, size_t len, struct err *err);

/* For text we make ourselves: these never fail in practice and abort past the ceiling. */
void buf_put(struct buf *b, const void *data, size_t len);
void buf_puts(struct buf *b, const char *s);
void buf_putc(struct buf *b, char c);
void buf_put_text(struct buf *b, const void *data,
                  size_t len); /* bytes that are no UTF-8: U+FFFD */
void buf_printf(struct buf *b, const char *fmt, ...) ERR_PRINTF(2, 3);

/* Drop n bytes from the front. */
void buf_shift(struct buf *b, size_t n);

const char *buf_text(const struct buf *b); /* "" while empty */
char *buf_take_text(struct buf *b);        /* owned by the caller; the buf is empty after */

static inline void own_buf(struct buf *b)
{
    buf_done(b);
}
#define OWN_BUF __attribute__((cleanup(own_buf)))

#endif
