/* Splitting a stream into lines. */
#include "wire/ndjson.h"

#include <string.h>

void ndjson_init(struct ndjson *n, size_t line_max, ndjson_fn *fn, void *arg)
{
    *n = (struct ndjson){.fn = fn, .arg = arg};
    buf_init(&n->line, line_max);
}

void ndjson_done(struct ndjson *n)
{
    buf_done(&n->line);
}

static bool is_blank(const char *p, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (p[i] != ' ' && p[i] != '\t')
            return false;
    }
    return true;
}

void ndjson_finish(struct ndjson *n)
{
    if (n->line.len && n->line.data[n->line.len - 1] == '\r')
        n->line.data[--n->line.len] = '\0';
    if (!n->stopped && !is_blank(buf_text(&n->line), n->line.len) &&
        !n->fn(buf_text(&n->line), n->line.len, n->arg))
        n->stopped = true;
    buf_clear(&n->line);
}

enum err_code ndjson_feed(struct ndjson *n, const void *data, size_t len, struct err *err)
{
    const char *p = data, *end = p + len;

    while (p < end && !n->stopped) {
        const char *lf = memchr(p, '\n', (size_t)(end - p)), *stop = lf ? lf : end;

        if (buf_add(&n->line, p, (size_t)(stop - p), err) != ERR_OK)
            return ERR_LIMIT;
        if (!lf)
            break;
        ndjson_finish(n);
        p = lf + 1;
    }
    return ERR_OK;
}
