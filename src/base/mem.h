/* mem.h — allocation for sizes we choose ourselves. Running out is fatal by design: the
 * journal makes a restart cheap, and no half-tested path has to exist. Sizes chosen by a
 * peer go through buf.h, which has a limit and can fail. */
#ifndef BASE_MEM_H
#define BASE_MEM_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MEM_RETURNS __attribute__((malloc, returns_nonnull))

static inline void *mem_check(void *p)
{
    if (!p) {
        fputs("out of memory\n", stderr);
        abort();
    }
    return p;
}

MEM_RETURNS static inline void *mem_new(size_t size)
{
    return mem_check(calloc(1, size ? size : 1));
}

/* count items of size each, zeroed; aborts on overflow too. */
MEM_RETURNS static inline void *mem_array(size_t count, size_t size)
{
    return mem_check(calloc(count ? count : 1, size ? size : 1));
}

__attribute__((returns_nonnull)) static inline void *mem_grow(void *p, size_t count, size_t size)
{
    return mem_check(reallocarray(p, count ? count : 1, size ? size : 1));
}

MEM_RETURNS static inline char *mem_str(const char *s)
{
    return mem_check(strdup(s ? s : ""));
}

MEM_RETURNS static inline char *mem_strn(const char *s, size_t n)
{
    char *p = mem_check(malloc(n + 1));
    if (n)
        memcpy(p, s, n);
    p[n] = '\0';
    return p;
}

MEM_RETURNS static inline void *mem_copy(const void *src, size_t n)
{
    void *p = mem_check(malloc(n ? n : 1));
    if (n)
        memcpy(p, src, n);
    return p;
}

#endif
