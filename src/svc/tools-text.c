#include <string.h>

#include "base/str.h"
#include "svc/tools.h"

enum { SNIFF = 8192 };

void tools_text_clean(struct buf *out, const void *data, size_t len)
{
    const char *p = data;

    while (len) {
        size_t good = str_utf8_check(p, len);

        buf_put(out, p, good);
        p += good;
        len -= good;
        if (!len)
            break;
        buf_puts(out, *p ? "\xef\xbf\xbd" : "\\0");
        p++;
        len--;
    }
}

bool tools_text_is_binary(const void *data, size_t len)
{
    return memchr(data, '\0', len < SNIFF ? len : SNIFF) != NULL;
}

const char *tools_text_type(const void *data, size_t len)
{
    static const struct {
        const char *magic;
        size_t len;
        const char *name;
    } types[] = {
        {"\x89PNG", 4, "PNG image"},
        {"\xff\xd8\xff", 3, "JPEG image"},
        {"GIF8", 4, "GIF image"},
        {"RIFF", 4, "RIFF (WebP, WAV or AVI)"},
        {"%PDF", 4, "PDF document"},
        {"PK\3\4", 4, "ZIP archive"},
        {"\x1f\x8b", 2, "gzip archive"},
        {"\x28\xb5\x2f\xfd", 4, "zstd archive"},
        {"\xfd"
         "7zXZ",
         5, "xz archive"},
        {"\177ELF", 4, "ELF program"},
        {"SQLite format 3", 15, "SQLite database"},
        {"!<arch>", 7, "static library"},
    };

    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (len >= types[i].len && memcmp(data, types[i].magic, types[i].len) == 0)
            return types[i].name;
    return "data";
}

size_t tools_text_split(const char *s, size_t len, size_t max)
{
    size_t n = len < max ? len : max;

    if (n == len)
        return n;
    /* A character has at most three bytes that continue it. */
    for (size_t back = 0; back < 4 && n - back > 0; back++)
        if (((unsigned char)s[n - back] & 0xc0) != 0x80)
            return n - back;
    return n;
}
