#include "wire/containerline.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"

#define SECOND 1000000000LL

/* ---- time ---------------------------------------------------------------------------------- */

static bool digits(const char **p, const char *end, int count, int *ret)
{
    int v = 0;

    for (; count; count--, (*p)++) {
        if (*p >= end || **p < '0' || **p > '9')
            return false;
        v = v * 10 + (**p - '0');
    }
    *ret = v;
    return true;
}

static bool one(const char **p, const char *end, char c)
{
    if (*p >= end || **p != c)
        return false;
    (*p)++;
    return true;
}

static bool date_and_time(const char **p, const char *end, struct tm *t)
{
    *t = (struct tm){0};
    if (!digits(p, end, 4, &t->tm_year) || !one(p, end, '-') || !digits(p, end, 2, &t->tm_mon) ||
        !one(p, end, '-') || !digits(p, end, 2, &t->tm_mday) || !one(p, end, 'T') ||
        !digits(p, end, 2, &t->tm_hour) || !one(p, end, ':') || !digits(p, end, 2, &t->tm_min) ||
        !one(p, end, ':') || !digits(p, end, 2, &t->tm_sec))
        return false;
    if (t->tm_year < 1970 || t->tm_year > 2200 || t->tm_mon < 1 || t->tm_mon > 12 ||
        t->tm_mday < 1 || t->tm_mday > 31 || t->tm_hour > 23 || t->tm_min > 59 || t->tm_sec > 60)
        return false;
    t->tm_year -= 1900;
    t->tm_mon--;
    return true;
}

static bool fraction(const char **p, const char *end, int64_t *ret_ns)
{
    int64_t scale = SECOND / 10, ns = 0;

    if (!one(p, end, '.'))
        return true;
    for (; *p < end && **p >= '0' && **p <= '9'; (*p)++, scale /= 10)
        ns += (**p - '0') * scale;
    *ret_ns = ns;
    return true;
}

static bool zone(const char **p, const char *end, int64_t *ret_s)
{
    int sign, hours, minutes;

    *ret_s = 0;
    if (one(p, end, 'Z'))
        return true;
    sign = one(p, end, '+') ? 1 : one(p, end, '-') ? -1 : 0;
    if (!sign || !digits(p, end, 2, &hours) || !one(p, end, ':') || !digits(p, end, 2, &minutes))
        return false;
    *ret_s = sign * (hours * 3600 + minutes * 60);
    return true;
}

size_t containerline_read(const char *text, size_t len, int64_t *ret_ns)
{
    const char *p = text, *end = text + len;
    int64_t ns = 0, offset;
    struct tm t;

    if (!len || *p < '1' || *p > '2' || !date_and_time(&p, end, &t) || !fraction(&p, end, &ns) ||
        !zone(&p, end, &offset) || !one(&p, end, ' '))
        return 0;
    *ret_ns = ((int64_t)timegm(&t) - offset) * SECOND + ns;
    return (size_t)(p - text);
}

bool containerline_stamp(const char *line, size_t len, int64_t *ret_ns)
{
    return len >= CONTAINERLINE_STAMP && line[CONTAINERLINE_STAMP - 2] == 'Z' &&
           containerline_read(line, len, ret_ns) == CONTAINERLINE_STAMP;
}

void containerline_format(int64_t ns, char ret[CONTAINERLINE_TEXT])
{
    time_t s = (time_t)(ns / SECOND);
    unsigned part = (unsigned)(ns % SECOND);
    char *p = ret;
    struct tm t;

    gmtime_r(&s, &t);
    p += strftime(p, 24, "%Y-%m-%dT%H:%M:%S.", &t);
    for (int i = 8; i >= 0; i--, part /= 10)
        p[i] = (char)('0' + part % 10);
    memcpy(p + 9, "Z ", 3);
}

/* ---- identity ------------------------------------------------------------------------------ */

static bool id_of(const char *line, size_t len, struct containerline_id *ret)
{
    uint64_t h = 0xcbf29ce484222325u; /* FNV-1a */

    if (!containerline_stamp(line, len, &ret->ns))
        return false;
    for (size_t i = CONTAINERLINE_STAMP; i < len; i++)
        h = (h ^ (unsigned char)line[i]) * 0x100000001b3u;
    ret->hash = h;
    ret->used = false;
    return true;
}

static int compare(const void *a, const void *b)
{
    const struct containerline_id *x = a, *y = b;

    if (x->ns != y->ns)
        return x->ns < y->ns ? -1 : 1;
    return x->hash == y->hash ? 0 : x->hash < y->hash ? -1 : 1;
}

void containerline_set_done(struct containerline_set *s)
{
    free(s->ids);
    *s = (struct containerline_set){0};
}

void containerline_set_add(struct containerline_set *s, const char *line, size_t len)
{
    struct containerline_id id;

    if (!id_of(line, len, &id))
        return;
    if (s->count == s->room) {
        s->room = s->room ? s->room * 2 : 256;
        s->ids = mem_grow(s->ids, s->room, sizeof *s->ids);
    }
    if (!s->count || id.ns < s->first_ns)
        s->first_ns = id.ns;
    if (!s->count || id.ns > s->last_ns)
        s->last_ns = id.ns;
    s->ids[s->count++] = id;
    s->sorted = false;
}

void containerline_set_reset(struct containerline_set *s)
{
    for (size_t i = 0; i < s->count; i++)
        s->ids[i].used = false;
}

bool containerline_set_take(struct containerline_set *s, const char *line, size_t len)
{
    struct containerline_id id;
    size_t low = 0, high = s->count;

    if (!s->count || !id_of(line, len, &id))
        return false;
    if (!s->sorted)
        qsort(s->ids, s->count, sizeof *s->ids, compare);
    s->sorted = true;
    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (compare(&s->ids[middle], &id) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    for (; low < s->count && compare(&s->ids[low], &id) == 0; low++)
        if (!s->ids[low].used) {
            s->ids[low].used = true;
            return true;
        }
    return false;
}

/* ---- what is new --------------------------------------------------------------------------- */

void containerline_window_done(struct containerline_window *w)
{
    free(w->ids);
    *w = (struct containerline_window){0};
}

static void make_room(struct containerline_window *w)
{
    if (w->count == CONTAINERLINE_WINDOW) {
        w->from++;
        w->count--;
        w->floor_ns = w->ids[w->from].ns;
    }
    if (w->from + w->count < w->room)
        return;
    if (w->room < 2 * CONTAINERLINE_WINDOW) {
        w->room = w->room ? w->room * 2 : 256;
        w->ids = mem_grow(w->ids, w->room, sizeof *w->ids);
    } else {
        memmove(w->ids, w->ids + w->from, w->count * sizeof *w->ids);
        w->from = 0;
    }
}

/* Nearly always it is the latest. */
static void put_sorted(struct containerline_window *w, const struct containerline_id *id)
{
    struct containerline_id *first, *at;

    make_room(w);
    first = w->ids + w->from;
    for (at = first + w->count; at > first && compare(at - 1, id) > 0; at--)
        *at = at[-1];
    *at = *id;
    w->count++;
}

void containerline_window_add(struct containerline_window *w, const char *line, size_t len)
{
    struct containerline_id id;

    if (id_of(line, len, &id))
        put_sorted(w, &id);
}

void containerline_window_seal(struct containerline_window *w)
{
    if (w->count)
        w->floor_ns = w->ids[w->from].ns;
}

static struct containerline_id *lowest(struct containerline_window *w,
                                       const struct containerline_id *id)
{
    size_t low = w->from, high = w->from + w->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (compare(&w->ids[middle], id) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return w->ids + low;
}

static bool is_seen(struct containerline_window *w, const struct containerline_id *id)
{
    const struct containerline_id *end = w->ids + w->from + w->count;

    for (struct containerline_id *p = lowest(w, id); p < end && compare(p, id) == 0; p++) {
        if (!p->used || id->ns % SECOND) {
            p->used = true;
            return true;
        }
    }
    return false;
}

bool containerline_window_is_new(struct containerline_window *w, const char *line, size_t len,
                                 int64_t now_ns)
{
    struct containerline_id id;

    if (!id_of(line, len, &id))
        return true;
    if (w->count && id.ns < w->floor_ns) {
        if (w->ids[w->from + w->count - 1].ns <= now_ns)
            return false;
        w->from = w->count = 0;
        w->floor_ns = 0;
    }
    if (w->count && id.ns <= w->ids[w->from + w->count - 1].ns && is_seen(w, &id))
        return false;
    id.used = true;
    put_sorted(w, &id);
    return true;
}
