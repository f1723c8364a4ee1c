#include <string.h>

#include "base/mem.h"
#include "base/own.h"
#include "base/str.h"
#include "svc/tools.h"

enum {
    CONTEXT = 2,      /* lines around a change */
    HUNKS_MAX = 3,    /* changes shown */
    NEAREST = 3,      /* lines named when nothing matched */
    LINES_NAMED = 10, /* of a text that is not unique */
    LINE_SHOWN = 200,
    COMPARED = 64 /* str_distance's limit */
};

struct span {
    const char *p;
    size_t len;
};

static struct span trim(struct span s)
{
    while (s.len && strchr(" \t\r", s.p[0])) {
        s.p++;
        s.len--;
    }
    while (s.len && strchr(" \t\r", s.p[s.len - 1]))
        s.len--;
    return s;
}

static struct span line_at(const struct buf *b, size_t at)
{
    const char *p = (const char *)b->data + at, *nl = memchr(p, '\n', b->len - at);

    return (struct span){p, nl ? (size_t)(nl - p) : b->len - at};
}

static size_t count_lines(const char *p, size_t len)
{
    size_t n = 0;

    for (const char *q; len && (q = memchr(p, '\n', len)); n++) {
        len -= (size_t)(q + 1 - p);
        p = q + 1;
    }
    return n;
}

/* 0 is the same line but for white space; UINT_MAX: nothing alike. */
static unsigned unlike(struct span want, struct span line)
{
    char a[COMPARED + 1], b[COMPARED + 1];
    unsigned d;

    line = trim(line);
    if (!line.len)
        return ~0u;
    if (line.len == want.len && memcmp(line.p, want.p, want.len) == 0)
        return 0;
    if (want.len >= 4 && (memmem(line.p, line.len, want.p, want.len) ||
                          (line.len >= 4 && memmem(want.p, want.len, line.p, line.len))))
        return 1;
    (void)str_format(a, sizeof a, "%.*s", (int)(want.len < COMPARED ? want.len : COMPARED), want.p);
    (void)str_format(b, sizeof b, "%.*s", (int)(line.len < COMPARED ? line.len : COMPARED), line.p);
    d = str_distance(a, b);
    return d <= want.len / 2 ? 2 + d : ~0u;
}

static void name_nearest(const struct buf *file, const char *old, char *dst, size_t size)
{
    struct {
        unsigned d;
        size_t number;
        struct span line;
    } best[NEAREST];
    struct span want = {old, strcspn(old, "\n")};
    size_t at = 0, number = 1, n = 0, used;

    while (!trim(want).len && want.p[want.len]) {
        want.p += want.len + 1;
        want.len = strcspn(want.p, "\n");
    }
    want = trim(want);
    for (; at < file->len && want.len; number++) {
        struct span line = line_at(file, at);
        unsigned d = unlike(want, line);
        size_t i = n;

        at += line.len + 1;
        if (d == ~0u || (n == NEAREST && d >= best[NEAREST - 1].d))
            continue;
        if (n < NEAREST)
            n++;
        else
            i = NEAREST - 1;
        for (; i > 0 && best[i - 1].d > d; i--)
            best[i] = best[i - 1];
        best[i].d = d;
        best[i].number = number;
        best[i].line = line;
    }
    (void)str_format(dst, size, "%s", n ? "; the nearest lines are" : "; no line is like it");
    for (size_t i = 0; i < n; i++) {
        size_t len = tools_text_split(best[i].line.p, best[i].line.len, LINE_SHOWN);

        used = strlen(dst);
        (void)str_format(dst + used, size - used, "\n%zu: %.*s", best[i].number, (int)len,
                         best[i].line.p);
    }
}

static enum err_code refuse_absent(const struct buf *file, const char *rel, const char *old,
                                   struct err *err)
{
    char nearest[NEAREST * (LINE_SHOWN + 24) + 64];
    bool crlf = file->len && memmem(file->data, file->len, "\r\n", 2) && strchr(old, '\n') &&
                !strstr(old, "\r\n");

    name_nearest(file, old, nearest, sizeof nearest);
    return err_set(err, ERR_NOT_FOUND, "old_string is not in '%.200s' (0 matches)%s%s", rel,
                   crlf ? "; the file's lines end in CR LF" : "", nearest);
}

static enum err_code refuse_many(const struct buf *file, const char *rel, const char *old,
                                 size_t count, struct err *err)
{
    char lines[LINES_NAMED * 24] = "";
    const char *base = (const char *)file->data, *p = base;
    size_t left = file->len, n = strlen(old), line = 1;

    for (unsigned i = 0; i < LINES_NAMED && i < count; i++) {
        const char *q = memmem(p, left, old, n);
        size_t used = strlen(lines);

        line += count_lines(p, (size_t)(q - p));
        (void)str_format(lines + used, sizeof lines - used, "%s%zu", i ? ", " : "", line);
        line += count_lines(q, n);
        left -= (size_t)(q - p) + n;
        p = q + n;
    }
    return err_set(err, ERR_CONFLICT,
                   "old_string is in '%.200s' %zu times (lines %s%s), so it is not clear which is "
                   "meant; add surrounding lines, or set replace_all",
                   rel, count, lines, count > LINES_NAMED ? ", …" : "");
}

static size_t count_of(const struct buf *file, const char *old)
{
    const char *p = (const char *)file->data, *q;
    size_t left = file->len, n = strlen(old), count = 0;

    while (left >= n && (q = memmem(p, left, old, n))) {
        count++;
        left -= (size_t)(q - p) + n;
        p = q + n;
    }
    return count;
}

static void put_lines(struct buf *out, char mark, const char *p, size_t len)
{
    while (len) {
        const char *nl = memchr(p, '\n', len);
        size_t n = nl ? (size_t)(nl - p) : len, shown = tools_text_split(p, n, LINE_SHOWN);

        buf_putc(out, mark);
        tools_text_clean(out, p, shown);
        buf_puts(out, shown < n ? "…\n" : "\n");
        n += nl != NULL;
        p += n;
        len -= n;
    }
}

/* The whole lines around [at, at + n): where they begin and end. */
static struct span widen(const char *base, size_t len, size_t at, size_t n)
{
    size_t from = at, to = at + n;

    while (from > 0 && base[from - 1] != '\n')
        from--;
    if (n == 0 || base[to - 1] != '\n')
        while (to < len && base[to] != '\n')
            to++;
    if (to < len && base[to] == '\n' && (to == at + n ? n == 0 || base[to - 1] != '\n' : true))
        to++;
    return (struct span){base + from, to - from};
}

/* One change as a diff: context, the lines before, the lines after, context. */
static void put_hunk(struct buf *out, const struct buf *file, size_t at, size_t n, const char *new)
{
    const char *base = (const char *)file->data;
    struct span cut = widen(base, file->len, at, n);
    size_t from = (size_t)(cut.p - base), to = from + cut.len, before = from, after = to;
    struct buf added = {0};

    for (unsigned i = 0; i < CONTEXT && before > 0; i++)
        for (before--; before > 0 && base[before - 1] != '\n';)
            before--;
    for (unsigned i = 0; i < CONTEXT && after < file->len; i++)
        after += line_at(file, after).len + 1;
    if (after > file->len)
        after = file->len;
    buf_put(&added, cut.p, at - from);
    buf_puts(&added, new);
    buf_put(&added, base + at + n, to - at - n);
    buf_printf(out, "@@ line %zu @@\n", 1 + count_lines(base, from));
    put_lines(out, ' ', base + before, from - before);
    put_lines(out, '-', cut.p, cut.len);
    put_lines(out, '+', (const char *)added.data, added.len);
    put_lines(out, ' ', base + to, after - to);
    buf_done(&added);
}

static enum err_code replace(const struct buf *file, const char *old, const char *new,
                             struct buf *changed, struct buf *diff, struct err *err)
{
    const char *base = (const char *)file->data, *p = base, *q;
    size_t left = file->len, n = strlen(old), hunks = 0;
    enum err_code code = ERR_OK;

    while (!code && left >= n && (q = memmem(p, left, old, n))) {
        if (hunks++ < HUNKS_MAX && diff->len < TOOLS_RESULT_MAX / 4)
            put_hunk(diff, file, (size_t)(q - base), n, new);
        code = buf_add(changed, p, (size_t)(q - p), err);
        if (!code)
            code = buf_add(changed, new, strlen(new), err);
        left -= (size_t)(q - p) + n;
        p = q + n;
    }
    return code ? code : buf_add(changed, p, left, err);
}

static enum err_code edit(const struct tools *t, const char *rel, const json_t *args,
                          const struct buf *file, struct buf *out, struct err *err)
{
    const char *old = json_string_value(json_object_get(args, "old_string"));
    const char *new = json_string_value(json_object_get(args, "new_string"));
    bool all = json_is_true(json_object_get(args, "replace_all")), created;
    OWN_BUF struct buf changed, diff = {0};
    size_t count = count_of(file, old);
    enum err_code code;

    buf_init(&changed, TOOLS_FILE_MAX);
    if (str_eq(old, new))
        return err_set(err, ERR_INVALID, "old_string and new_string are the same: nothing to do");
    if (!count)
        return refuse_absent(file, rel, old, err);
    if (count > 1 && !all)
        return refuse_many(file, rel, old, count, err);
    code = replace(file, old, new, &changed, &diff, err);
    if (!code)
        code = tools_file_replace(t, rel, changed.data, changed.len, &created, err);
    if (code)
        return code;
    buf_printf(out, "edited %s: %zu replacement%s\n", rel, count, count == 1 ? "" : "s");
    if (diff.len < TOOLS_RESULT_MAX / 2)
        buf_put(out, diff.data, diff.len);
    if (count > HUNKS_MAX)
        buf_printf(out, "[%zu more are not shown]\n", count - HUNKS_MAX);
    return ERR_OK;
}

enum err_code tools_edit_file(const struct tools *t, const json_t *args, struct buf *out,
                              struct err *err)
{
    const char *path = json_string_value(json_object_get(args, "file_path"));
    OWN_BUF struct buf file = {0};
    char rel[PATH_MAX];
    enum err_code code = tools_path_resolve(t, path, rel, err);

    if (!code)
        code = tools_file_load(t, rel, &file, err);
    if (!code && tools_text_is_binary(buf_text(&file), file.len))
        code = err_set(err, ERR_INVALID, "'%.300s' is binary (%s, %zu bytes), not text", rel,
                       tools_text_type(file.data, file.len), file.len);
    if (code)
        return code;
    return edit(t, rel, args, &file, out, err);
}
