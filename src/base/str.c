#include "base/str.h"

#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool str_is_empty(const char *s)
{
    return !s || !*s;
}

bool str_eq(const char *a, const char *b)
{
    return strcmp(a ? a : "", b ? b : "") == 0;
}

bool str_eq_secret(const char *given, const char *secret)
{
    size_t n = strlen(secret);
    volatile unsigned char diff = 0;

    if (!n || strlen(given) != n)
        return false;
    for (size_t i = 0; i < n; i++)
        diff |= (unsigned char)(given[i] ^ secret[i]);
    return diff == 0;
}

bool str_starts(const char *s, const char *prefix)
{
    return s && strncmp(s, prefix, strlen(prefix)) == 0;
}

bool str_ends(const char *s, const char *suffix)
{
    size_t n = s ? strlen(s) : 0, m = strlen(suffix);

    return s && n >= m && memcmp(s + n - m, suffix, m) == 0;
}

bool str_format(char *dst, size_t size, const char *fmt, ...)
{
    va_list ap;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(dst, size, fmt, ap);
    va_end(ap);
    return n >= 0 && (size_t)n < size;
}

enum err_code str_to_int(const char *s, int64_t min, int64_t max, int64_t *ret, struct err *err)
{
    char *end;
    long long v;

    errno = 0;
    v = strtoll(s ? s : "", &end, 10);
    if (str_is_empty(s) || *end || errno || *s == ' ' || v < min || v > max)
        return err_set(err, ERR_INVALID, "'%.80s' is not a whole number from %lld to %lld",
                       s ? s : "", (long long)min, (long long)max);
    *ret = v;
    return ERR_OK;
}

struct unit {
    const char *name;
    int64_t factor;
};

static const struct unit *find_unit(const struct unit *units, const char *s, size_t n)
{
    for (; units->name; units++)
        if (strlen(units->name) == n && strncmp(units->name, s, n) == 0)
            return units;
    return NULL;
}

/* One "<digits><unit>" at *p, added to *sum. False when it is not one, or overflows. */
static bool take_term(const char **p, const struct unit *units, int64_t *sum)
{
    char *end;
    const struct unit *u;
    unsigned long long v;
    size_t n;
    int64_t term;

    if (**p < '0' || **p > '9')
        return false;
    errno = 0;
    v = strtoull(*p, &end, 10);
    n = strcspn(end, "0123456789");
    u = find_unit(units, end, n);
    if (errno || !u || v > INT64_MAX || __builtin_mul_overflow((int64_t)v, u->factor, &term) ||
        __builtin_add_overflow(*sum, term, sum))
        return false;
    *p = end + n;
    return true;
}

enum err_code str_to_duration_ms(const char *s, int64_t *ret_ms, struct err *err)
{
    static const struct unit units[] = {{"ms", 1},      {"s", 1000},     {"m", 60000},
                                        {"h", 3600000}, {"d", 86400000}, {NULL, 0}};
    const char *p = s ? s : "";
    int64_t sum = 0;

    do {
        if (!take_term(&p, units, &sum))
            return err_set(err, ERR_INVALID,
                           "'%.80s' is not a duration such as 250ms, 30s, 10m or 1h30m",
                           s ? s : "");
    } while (*p);
    *ret_ms = sum;
    return ERR_OK;
}

enum err_code str_to_size(const char *s, int64_t *ret_bytes, struct err *err)
{
    static const struct unit units[] = {{"", 1},          {"B", 1},           {"KB", 1000},
                                        {"MB", 1000000},  {"GB", 1000000000}, {"KiB", 1 << 10},
                                        {"MiB", 1 << 20}, {"GiB", 1 << 30},   {"K", 1 << 10},
                                        {"M", 1 << 20},   {"G", 1 << 30},     {NULL, 0}};
    const char *p = s ? s : "";
    int64_t sum = 0;

    if (!take_term(&p, units, &sum) || *p)
        return err_set(err, ERR_INVALID, "'%.80s' is not a size such as 65536, 64KiB or 512MiB",
                       s ? s : "");
    *ret_bytes = sum;
    return ERR_OK;
}

enum err_code str_to_bool(const char *s, bool *ret, struct err *err)
{
    if (!str_eq(s, "true") && !str_eq(s, "false"))
        return err_set(err, ERR_INVALID, "'%.80s' is neither true nor false", s ? s : "");
    *ret = str_eq(s, "true");
    return ERR_OK;
}

unsigned str_distance(const char *a, const char *b)
{
    enum { MAX = 64 };
    unsigned row[MAX + 1];
    size_t n = strlen(a), m = strlen(b);

    if (n > MAX || m > MAX)
        return UINT_MAX;
    for (unsigned j = 0; j <= m; j++)
        row[j] = j;
    for (size_t i = 1; i <= n; i++) {
        unsigned diag = row[0];
        row[0] = (unsigned)i;
        for (size_t j = 1; j <= m; j++) {
            unsigned up = row[j];
            unsigned best = diag + (a[i - 1] != b[j - 1]);
            if (up + 1 < best)
                best = up + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            diag = up;
            row[j] = best;
        }
    }
    return row[m];
}

const char *str_nearest(const char *word, const char *const names[])
{
    const char *best = NULL;
    unsigned best_d = (unsigned)strlen(word) / 3 + 1; /* a third of the letters may be wrong */

    for (; *names; names++) {
        unsigned d = str_distance(word, *names);
        if (d <= best_d && (!best || d < best_d)) {
            best = *names;
            best_d = d;
        }
    }
    return best;
}

/* Length of the well-formed sequence at p (RFC 3629, table 3-7 of Unicode), or 0. */
static size_t utf8_one(const unsigned char *p, size_t left)
{
    static const struct {
        unsigned char lo, hi, lo2, hi2, len;
    } rows[] = {
        {0x01, 0x7f, 0, 0, 1},       {0xc2, 0xdf, 0x80, 0xbf, 2}, {0xe0, 0xe0, 0xa0, 0xbf, 3},
        {0xe1, 0xec, 0x80, 0xbf, 3}, {0xed, 0xed, 0x80, 0x9f, 3}, {0xee, 0xef, 0x80, 0xbf, 3},
        {0xf0, 0xf0, 0x90, 0xbf, 4}, {0xf1, 0xf3, 0x80, 0xbf, 4}, {0xf4, 0xf4, 0x80, 0x8f, 4}};

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (p[0] < rows[i].lo || p[0] > rows[i].hi)
            continue;
        if (left < rows[i].len)
            return 0;
        if (rows[i].len > 1 && (p[1] < rows[i].lo2 || p[1] > rows[i].hi2))
            return 0;
        for (size_t k = 2; k < rows[i].len; k++)
            if ((p[k] & 0xc0) != 0x80)
                return 0;
        return rows[i].len;
    }
    return 0;
}

size_t str_utf8_check(const void *data, size_t len)
{
    const unsigned char *p = data;
    size_t i = 0;

    while (i < len) {
        size_t n = utf8_one(p + i, len - i);
        if (!n)
            break;
        i += n;
    }
    return i;
}

uint64_t str_hash(const char *s)
{
    uint64_t h = 14695981039346656037ULL;

    for (; *s; s++)
        h = (h ^ (unsigned char)*s) * 1099511628211ULL;
    return h;
}

void str_hex(const void *data, size_t len, char *ret)
{
    static const char digits[] = "0123456789abcdef";
    const uint8_t *p = data;

    for (size_t i = 0; i < len; i++) {
        ret[2 * i] = digits[p[i] >> 4];
        ret[2 * i + 1] = digits[p[i] & 15];
    }
    ret[2 * len] = '\0';
}

void str_cut_bad(char *s)
{
    s[str_utf8_check(s, strlen(s))] = '\0';
}
