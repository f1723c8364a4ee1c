#include "wire/jsonpath.h"

#include <stdbool.h>
#include <string.h>

static bool is_word(const char *s)
{
    return *s && strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-@") ==
                     strlen(s);
}

void jsonpath_key(struct buf *path, const char *key)
{
    if (is_word(key)) {
        if (path->len)
            buf_putc(path, '.');
        buf_puts(path, key);
        return;
    }
    buf_puts(path, "[\"");
    for (; *key; key++) {
        if (*key == '"' || *key == '\\')
            buf_putc(path, '\\');
        buf_putc(path, *key);
    }
    buf_puts(path, "\"]");
}

void jsonpath_index(struct buf *path, size_t index)
{
    buf_printf(path, "[%zu]", index);
}

void jsonpath_cut(struct buf *path, size_t len)
{
    if (path->len > len) {
        path->len = len;
        path->data[len] = '\0';
    }
}
