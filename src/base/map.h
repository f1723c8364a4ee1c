/* map.h — text keys to borrowed pointers. Open addressing; keys are copied. A value is never
 * freed by the map: its owner frees it. Not thread-safe. */
#ifndef BASE_MAP_H
#define BASE_MAP_H

#include <stddef.h>

struct map {
    struct map_slot *slots; /* owned */
    size_t len;             /* live entries */
    size_t used;            /* live and deleted */
    size_t cap;             /* a power of two, or 0 */
};

void map_done(struct map *m);
void *map_get(const struct map *m, const char *key);        /* NULL when absent */
void *map_put(struct map *m, const char *key, void *value); /* returns the value it replaced */
void *map_remove(struct map *m, const char *key);           /* returns what was there */

/* for (size_t i = 0; map_next(&m, &i, &key, &value);) — removing the current key is allowed. */
int map_next(const struct map *m, size_t *i, const char **ret_key, void **ret_value);

#endif
