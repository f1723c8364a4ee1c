#include "svc/tools-match.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"

enum { STEPS_MAX = 200000, PATTERN_MAX = 1024, BRACES_MAX = 8, PATTERNS_MAX = 4096 };

/* One [set] at p against c: returns what follows the set, NULL when it is not closed. */
static const char *match_set(const char *p, char c, bool *ret_hit)
{
    bool negated = p[1] == '!' || p[1] == '^', hit = false;
    const char *q = p + 1 + negated;

    for (bool first = true; first || *q != ']'; first = false) {
        unsigned char from = (unsigned char)*q, to;

        if (!*q)
            return NULL;
        if (*q == '\\' && q[1])
            from = (unsigned char)*++q;
        to = from;
        if (q[1] == '-' && q[2] && q[2] != ']') {
            to = (unsigned char)q[2];
            q += 2;
        }
        hit = hit || ((unsigned char)c >= from && (unsigned char)c <= to);
        q++;
    }
    *ret_hit = hit != negated && c != '/';
    return q + 1;
}

static bool match(const char *p, const char *s, unsigned *steps)
{
    for (; *p; s++) {
        bool hit = false;

        if (++*steps > STEPS_MAX)
            return false;
        if (p[0] == '*' && p[1] == '*') {
            bool whole = p[2] == '/'; /* any number of folders, none too */

            p += 2 + whole;
            for (; *s; s++)
                if (match(p, s, steps))
                    return true;
                else if (whole && !(s = strchr(s, '/')))
                    return false;
            return *p == '\0' && !whole;
        }
        if (*p == '*') {
            for (p++; *s && *s != '/'; s++)
                if (match(p, s, steps))
                    return true;
            s--; /* the loop's step: go on at the same place */
            continue;
        }
        if (!*s)
            return false;
        if (*p == '[') {
            const char *after = match_set(p, *s, &hit);

            if (after) {
                if (!hit)
                    return false;
                p = after;
                continue;
            }
        }
        if (*p == '?' ? *s == '/' : (*p == '\\' && p[1] ? *++p : *p) != *s)
            return false;
        p++;
    }
    return *s == '\0';
}

/* {a,b} by trying each: the first brace is replaced, the rest by recursion. */
static bool expand(const char *pattern, const char *path, unsigned depth, unsigned *steps)
{
    const char *open = strchr(pattern, '{'), *close = open ? strchr(open, '}') : NULL, *p;

    if (!close || depth == BRACES_MAX || strlen(pattern) >= PATTERN_MAX)
        return match(pattern, path, steps);
    for (p = open + 1; p <= close; p++) {
        char one[PATTERN_MAX];
        size_t n = strcspn(p, ",}");

        (void)str_format(one, sizeof one, "%.*s%.*s%s", (int)(open - pattern), pattern, (int)n, p,
                         close + 1);
        if (expand(one, path, depth + 1, steps))
            return true;
        p += n;
    }
    return false;
}

bool tools_match(const char *pattern, const char *path)
{
    unsigned steps = 0;

    return expand(pattern, path, 0, &steps);
}

struct ignore {
    char *pattern; /* owned; relative to the list's folder */
    bool negated, folders_only;
};

struct tools_match_list {
    struct ignore *items; /* owned */
    size_t count;
};

static void add_line(struct tools_match_list *l, const char *line, size_t len)
{
    struct ignore *i = &l->items[l->count];
    bool anchored;

    while (len &&
           (line[len - 1] == '\r' || (line[len - 1] == ' ' && (len < 2 || line[len - 2] != '\\'))))
        len--;
    if (!len || *line == '#')
        return;
    *i = (struct ignore){.negated = *line == '!'};
    line += i->negated;
    len -= i->negated;
    i->folders_only = len && line[len - 1] == '/';
    len -= i->folders_only;
    if (!len || len >= PATTERN_MAX - 4)
        return;
    anchored = memchr(line, '/', len) != NULL;
    if (*line == '/') {
        line++;
        len--;
    }
    i->pattern = mem_new(len + 4);
    (void)str_format(i->pattern, len + 4, "%s%.*s", anchored ? "" : "**/", (int)len, line);
    l->count++;
}

struct tools_match_list *tools_match_list_parse(const char *text, size_t len)
{
    struct tools_match_list *l = mem_new(sizeof *l);

    l->items = mem_array(PATTERNS_MAX, sizeof *l->items);
    while (len && l->count < PATTERNS_MAX) {
        const char *nl = memchr(text, '\n', len);
        size_t n = nl ? (size_t)(nl - text) : len;

        add_line(l, text, n);
        n += nl != NULL;
        text += n;
        len -= n;
    }
    l->items = mem_grow(l->items, l->count, sizeof *l->items);
    return l;
}

void tools_match_list_free(struct tools_match_list *l)
{
    if (!l)
        return;
    for (size_t i = 0; i < l->count; i++)
        free(l->items[i].pattern);
    free(l->items);
    free(l);
}

int tools_match_list_find(const struct tools_match_list *l, const char *path, bool is_folder)
{
    for (size_t i = l->count; i-- > 0;) {
        unsigned steps = 0;

        if (l->items[i].folders_only && !is_folder)
            continue;
        if (match(l->items[i].pattern, path, &steps))
            return l->items[i].negated ? 0 : 1;
    }
    return -1;
}
