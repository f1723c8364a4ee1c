/* base64.h — bytes as text (RFC 4648). What these return is the caller's. Threads: any. */
#ifndef BASE_BASE64_H
#define BASE_BASE64_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

char *base64_text(const uint8_t *data, size_t len); /* padded, with + and / */

/* Both alphabets, padded or not; false, and nothing set, for any other text. */
bool base64_bytes(const char *s, uint8_t **ret, size_t *ret_len);

#endif
