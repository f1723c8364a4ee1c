#include "base/base64.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

char *base64_text(const uint8_t *data, size_t len)
{
    char *text = mem_new((len + 2) / 3 * 4 + 1), *p = text;

    for (size_t i = 0; i < len; i += 3) {
        size_t left = len - i;
        uint32_t v = (uint32_t)data[i] << 16 | (left > 1 ? (uint32_t)data[i + 1] << 8 : 0) |
                     (left > 2 ? data[i + 2] : 0);
        *p++ = alphabet[v >> 18];
        *p++ = alphabet[v >> 12 & 63];
        *p++ = left > 1 ? alphabet[v >> 6 & 63] : '=';
        *p++ = left > 2 ? alphabet[v & 63] : '=';
    }
    *p = '\0';
    return text;
}

static int digit64(char c)
{
    const char *p = c ? strchr(alphabet, c == '-' ? '+' : c == '_' ? '/' : c) : NULL;

    return p ? (int)(p - alphabet) : -1;
}

bool base64_bytes(const char *s, uint8_t **ret, size_t *ret_len)
{
    size_t n = strlen(s), len = 0;
    uint8_t *data;
    uint32_t v = 0;
    unsigned have = 0;

    for (int pad = 0; pad < 2 && n > 0 && s[n - 1] == '='; pad++)
        n--;
    if (n % 4 == 1)
        return false;
    data = mem_new(n / 4 * 3 + 3);
    for (size_t i = 0; i < n; i++) {
        int digit = digit64(s[i]);
        if (digit < 0) {
            free(data);
            return false;
        }
        v = v << 6 | (uint32_t)digit;
        have += 6;
        if (have >= 8) {
            have -= 8;
            data[len++] = (uint8_t)(v >> have);
        }
    }
    *ret = data;
    *ret_len = len;
    return true;
}
