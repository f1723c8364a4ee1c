#include "base/ulid.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

static const char alphabet[] = "0123456789abcdefghjkmnpqrstvwxyz";

/* The last id's random part, so that ids of one millisecond still sort by birth. */
static pthread_mutex_t last_lock = PTHREAD_MUTEX_INITIALIZER;
static int64_t last_ms;
static uint8_t last_random[10];

static void fill_random(uint8_t *p, size_t n)
{
    if (getrandom(p, n, 0) != (ssize_t)n)
        abort();  /* the kernel has given up; ids would collide */
    p[0] &= 0x7f; /* room to count up */
}

/* Returns the time of the id: never less than that of the one before, whatever the clock does. */
static int64_t next_random(int64_t ms, uint8_t ret[10])
{
    pthread_mutex_lock(&last_lock);
    if (ms > last_ms) {
        last_ms = ms;
        fill_random(last_random, sizeof last_random);
    } else {
        for (int i = 9; i >= 0 && ++last_random[i] == 0; i--)
            ;
    }
    memcpy(ret, last_random, 10);
    ms = last_ms;
    pthread_mutex_unlock(&last_lock);
    return ms;
}

void ulid_make(int64_t wall_ms, char ret[ULID_LEN + 1])
{
    uint8_t r[10];
    uint64_t ms = (uint64_t)next_random(wall_ms, r) & 0xffffffffffffULL;

    for (int i = 9; i >= 0; i--, ms >>= 5)
        ret[i] = alphabet[ms & 31];
    for (int half = 0; half < 2; half++) { /* 40 bits are 8 characters */
        uint64_t v = 0;
        for (int i = 0; i < 5; i++)
            v = v << 8 | r[half * 5 + i];
        for (int i = 7; i >= 0; i--, v >>= 5)
            ret[10 + half * 8 + i] = alphabet[v & 31];
    }
    ret[ULID_LEN] = '\0';
}

bool ulid_is_valid(const char *s)
{
    for (int i = 0; i < ULID_LEN; i++)
        if (!s[i] || !strchr(alphabet, s[i]))
            return false;
    return s[ULID_LEN] == '\0' && s[0] <= '7'; /* 130 bits of text, 128 of value */
}
