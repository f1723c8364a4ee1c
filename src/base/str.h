/* str.h — small questions about text, and parsers for what people type: whole numbers, durations
 * ("250ms", "30s", "10m", "1h30m") and sizes ("64KiB", "512MiB"). Every parser takes the whole
 * string or fails with ERR_INVALID and a message that says what is accepted. */
#ifndef BASE_STR_H
#define BASE_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

bool str_eq(const char *a, const char *b); /* NULL equals "" */
/* Takes the same time however many bytes are right; "" equals nothing. */
bool str_eq_secret(const char *given, const char *secret);
bool str_is_empty(const char *s); /* NULL or "" */
bool str_starts(const char *s, const char *prefix);
bool str_ends(const char *s, const char *suffix);

/* snprintf that says whether everything fitted. */
bool str_format(char *dst, size_t size, const char *fmt, ...) ERR_PRINTF(3, 4);

MUST_CHECK enum err_code str_to_int(const char *s, int64_t min, int64_t max, int64_t *ret,
                                    struct err *err);
MUST_CHECK enum err_code str_to_duration_ms(const char *s, int64_t *ret_ms, struct err *err);
MUST_CHECK enum err_code str_to_size(const char *s, int64_t *ret_bytes, struct err *err);
MUST_CHECK enum err_code str_to_bool(const char *s, bool *ret, struct err *err);

/* Edits between two words, ≤ 64 bytes each: for "did you mean". */
unsigned str_distance(const char *a, const char *b);

/* Two lower-case digits a byte and a NUL: ret has 2 * len + 1 bytes. */
void str_hex(const void *data, size_t len, char *ret);

/* FNV-1a, 64 bits: for tables and names, not for secrets. */
uint64_t str_hash(const char *s);

/* The nearest of names (NULL-ended), or NULL when none is near enough to be a slip. */
const char *str_nearest(const char *word, const char *const names[]);

/* Offset of the first byte that is not valid UTF-8 (RFC 3629) or is NUL; len when all is well. */
size_t str_utf8_check(const void *data, size_t len);
/* Ends s before its first byte that is not valid UTF-8: for a text that was cut to a size. */
void str_cut_bad(char *s);

#endif
