#include "wire/grpc.h"

#include <stdio.h>
#include <string.h>

const char *grpc_status_name(int status)
{
    static const char *const names[GRPC_STATUSES] = {
        "OK",
        "CANCELLED",
        "UNKNOWN",
        "INVALID_ARGUMENT",
        "DEADLINE_EXCEEDED",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "RESOURCE_EXHAUSTED",
        "FAILED_PRECONDITION",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
        "INTERNAL",
        "UNAVAILABLE",
        "DATA_LOSS",
        "UNAUTHENTICATED",
    };
    return status >= 0 && status < GRPC_STATUSES ? names[status] : "UNKNOWN";
}

void grpc_prefix(uint8_t ret[GRPC_PREFIX], size_t message_len)
{
    ret[0] = 0;
    for (int i = 0; i < 4; i++)
        ret[1 + i] = (uint8_t)(message_len >> (24 - 8 * i));
}

static size_t prefix_len(const uint8_t *p)
{
    return (size_t)p[1] << 24 | (size_t)p[2] << 16 | (size_t)p[3] << 8 | p[4];
}

void grpc_reader_init(struct grpc_reader *r, size_t limit)
{
    *r = (struct grpc_reader){.limit = limit};
    /* The limit on one message is ours; what is fed at once is bounded by its caller. */
    buf_init(&r->buf, SIZE_MAX / 4);
}

void grpc_reader_done(struct grpc_reader *r)
{
    buf_done(&r->buf);
    *r = (struct grpc_reader){.limit = r->limit};
}

static void drop_taken(struct grpc_reader *r)
{
    if (!r->taken)
        return;
    buf_shift(&r->buf, r->taken);
    r->start -= r->taken;
    if (r->end)
        r->end -= r->taken;
    r->taken = 0;
}

enum err_code grpc_reader_feed(struct grpc_reader *r, const void *data, size_t len, struct err *err)
{
    const uint8_t *p = data;
    drop_taken(r);
    while (len) {
        size_t upto = r->end ? r->end : r->start + GRPC_PREFIX;
        size_t n = upto - r->buf.len < len ? upto - r->buf.len : len;
        enum err_code rc = buf_add(&r->buf, p, n, err);
        if (rc)
            return rc;
        p += n;
        len -= n;
        if (r->buf.len < upto)
            break;
        if (!r->end) {
            size_t size = prefix_len(r->buf.data + r->start);
            if (size > r->limit)
                return err_set(err, ERR_LIMIT,
                               "message of %zu bytes is larger than the limit of %zu bytes", size,
                               r->limit);
            r->end = upto + size;
        }
        if (r->end == r->buf.len) {
            r->start = r->end;
            r->end = 0;
        }
    }
    return ERR_OK;
}

bool grpc_reader_next(struct grpc_reader *r, const uint8_t **ret, size_t *ret_len,
                      bool *ret_compressed)
{
    if (r->taken >= r->start)
        return false;
    const uint8_t *p = r->buf.data + r->taken;
    *ret_compressed = p[0] != 0;
    *ret_len = prefix_len(p);
    *ret = p + GRPC_PREFIX;
    r->taken += GRPC_PREFIX + *ret_len;
    return true;
}

bool grpc_reader_is_empty(const struct grpc_reader *r)
{
    return r->buf.len == r->start;
}

enum err_code grpc_timeout_parse(const char *text, size_t len, int64_t *ret_ms, struct err *err)
{
    static const struct {
        char unit;
        int64_t mul, div;
    } units[] = {{'H', 3600000, 1}, {'M', 60000, 1}, {'S', 1000, 1},
                 {'m', 1, 1},       {'u', 1, 1000},  {'n', 1, 1000000}};
    int64_t v = 0;
    size_t digits = len ? len - 1 : 0;
    bool good = digits >= 1 && digits <= 8;
    for (size_t i = 0; good && i < digits; i++) {
        good = text[i] >= '0' && text[i] <= '9';
        v = v * 10 + (text[i] - '0');
    }
    for (size_t i = 0; good && i < sizeof units / sizeof *units; i++) {
        if (units[i].unit != text[digits])
            continue;
        /* Rounded up: a deadline must not become "none left" by its unit. */
        *ret_ms = (v * units[i].mul + units[i].div - 1) / units[i].div;
        return ERR_OK;
    }
    return err_set(err, ERR_INVALID,
                   "grpc-timeout \"%.*s\" is not 1 to 8 digits and one of H M S m u n",
                   (int)(len < 24 ? len : 24), text);
}

void grpc_timeout_format(int64_t ms, char ret[16])
{
    static const struct {
        char unit;
        int64_t ms;
    } units[] = {{'m', 1}, {'S', 1000}, {'M', 60000}, {'H', 3600000}};
    if (ms < 0)
        ms = 0;
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        int64_t v = ms / units[i].ms + (ms % units[i].ms != 0);
        if (v > 99999999 && i + 1 < sizeof units / sizeof *units)
            continue;
        snprintf(ret, 16, "%d%c", (int)(v > 99999999 ? 99999999 : v), units[i].unit);
        return;
    }
}

void grpc_percent_encode(const char *text, struct buf *ret)
{
    static const char hex[] = "0123456789ABCDEF";
    for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
        if (*p >= 0x20 && *p <= 0x7e && *p != '%') {
            buf_putc(ret, (char)*p);
        } else {
            buf_putc(ret, '%');
            buf_putc(ret, hex[*p >> 4]);
            buf_putc(ret, hex[*p & 15]);
        }
    }
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

void grpc_percent_decode(const char *text, size_t len, struct buf *ret)
{
    for (size_t i = 0; i < len; i++) {
        int hi = text[i] == '%' && i + 2 < len ? hex_digit(text[i + 1]) : -1;
        int lo = hi >= 0 ? hex_digit(text[i + 2]) : -1;
        if (lo >= 0) {
            buf_putc(ret, (char)(hi << 4 | lo));
            i += 2;
        } else {
            buf_putc(ret, text[i]); /* the rules: an invalid escape stays as it is */
        }
    }
}
