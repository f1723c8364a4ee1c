#include "base/map.h"

#include <stdint.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"

struct map_slot {
    char *key; /* owned; NULL while free, DELETED after removal */
    void *value;
};

static char deleted_mark;
#define DELETED (&deleted_mark)

/* FNV-1a, 64 bit: keys are our own ids and names, not an attacker's choice of thousands. */
static struct map_slot *find(const struct map *m, const char *key)
{
    size_t i;

    if (!m->cap)
        return NULL;
    for (i = str_hash(key) & (m->cap - 1); m->slots[i].key; i = (i + 1) & (m->cap - 1))
        if (m->slots[i].key != DELETED && strcmp(m->slots[i].key, key) == 0)
            return &m->slots[i];
    return NULL;
}

void map_done(struct map *m)
{
    for (size_t i = 0; i < m->cap; i++)
        if (m->slots[i].key != DELETED)
            free(m->slots[i].key);
    free(m->slots);
    *m = (struct map){0};
}

static void place(struct map *m, char *key, void *value)
{
    size_t i = str_hash(key) & (m->cap - 1);

    while (m->slots[i].key)
        i = (i + 1) & (m->cap - 1);
    m->slots[i] = (struct map_slot){key, value};
    m->used++;
    m->len++;
}

static void grow(struct map *m)
{
    struct map old = *m;

    *m = (struct map){.cap = 16};
    while (m->cap < old.len * 4)
        m->cap *= 2;
    m->slots = mem_array(m->cap, sizeof *m->slots);
    for (size_t i = 0; i < old.cap; i++)
        if (old.slots[i].key && old.slots[i].key != DELETED)
            place(m, old.slots[i].key, old.slots[i].value);
    free(old.slots);
}

void *map_get(const struct map *m, const char *key)
{
    struct map_slot *s = find(m, key);

    return s ? s->value : NULL;
}

void *map_put(struct map *m, const char *key, void *value)
{
    struct map_slot *s = find(m, key);
    void *old = NULL;

    if (s) {
        old = s->value;
        s->value = value;
        return old;
    }
    if ((m->used + 1) * 2 > m->cap)
        grow(m);
    place(m, mem_str(key), value);
    return old;
}

void *map_remove(struct map *m, const char *key)
{
    struct map_slot *s = find(m, key);
    void *old;

    if (!s)
        return NULL;
    old = s->value;
    free(s->key);
    *s = (struct map_slot){DELETED, NULL};
    m->len--;
    return old;
}

int map_next(const struct map *m, size_t *i, const char **ret_key, void **ret_value)
{
    for (; *i < m->cap; (*i)++) {
        struct map_slot *s = &m->slots[*i];
        if (!s->key || s->key == DELETED)
            continue;
        *ret_key = s->key;
        *ret_value = s->value;
        (*i)++;
        return 1;
    }
    return 0;
}
