/* Server-sent events: a line splitter and a field reader. */
#include "wire/sse.h"

#include <string.h>

void sse_init(struct sse *s, size_t event_max, sse_fn *fn, void *arg)
{
    *s = (struct sse){.fn = fn, .arg = arg};
    buf_init(&s->line, event_max);
    buf_init(&s->data, event_max);
}

void sse_done(struct sse *s)
{
    buf_done(&s->line);
    buf_done(&s->data);
}

static void dispatch(struct sse *s)
{
    if (s->has_data && !s->stopped &&
        !s->fn(s->name[0] ? s->name : "message", buf_text(&s->data), s->data.len, s->arg))
        s->stopped = true;
    buf_clear(&s->data);
    s->has_data = false;
    s->name[0] = '\0';
}

static enum err_code field(struct sse *s, const char *name, size_t name_len, const char *value,
                           size_t len, struct err *err)
{
    if (name_len == 5 && !memcmp(name, "event", 5)) {
        if (len >= sizeof s->name)
            len = sizeof s->name - 1;
        memcpy(s->name, value, len);
        s->name[len] = '\0';
        return ERR_OK;
    }
    if (name_len != 4 || memcmp(name, "data", 4) != 0)
        return ERR_OK;
    if (s->has_data && buf_add(&s->data, "\n", 1, err) != ERR_OK)
        return ERR_LIMIT;
    s->has_data = true;
    return buf_add(&s->data, value, len, err);
}

static enum err_code whole_line(struct sse *s, struct err *err)
{
    const char *line = buf_text(&s->line), *colon, *value;
    size_t len = s->line.len;
    enum err_code rc = ERR_OK;

    if (!len) {
        dispatch(s);
        return ERR_OK;
    }
    colon = memchr(line, ':', len);
    if (!colon) {
        rc = field(s, line, len, "", 0, err);
    } else if (colon > line) {
        value = colon + 1;
        if (value < line + len && *value == ' ')
            value++;
        rc = field(s, line, (size_t)(colon - line), value, (size_t)(line + len - value), err);
    }
    buf_clear(&s->line);
    return rc;
}

/* Eats a BOM at the very beginning; what only looked like one goes into the line. */
static size_t skip_bom(struct sse *s, const unsigned char *p, size_t len)
{
    static const unsigned char bom[3] = {0xef, 0xbb, 0xbf};
    size_t used = 0;

    while (s->bom < 3 && used < len) {
        if (p[used] != bom[s->bom]) {
            buf_put(&s->line, bom, s->bom);
            s->bom = 4;
            return used;
        }
        s->bom++;
        used++;
    }
    if (s->bom == 3)
        s->bom = 4;
    return used;
}

enum err_code sse_feed(struct sse *s, const void *data, size_t len, struct err *err)
{
    const char *p = data, *end = p + len;

    if (s->bom < 4)
        p += skip_bom(s, data, len);
    while (p < end && !s->stopped) {
        const char *stop = p;

        if (s->after_cr && *p == '\n') {
            s->after_cr = false;
            p++;
            continue;
        }
        s->after_cr = false;
        while (stop < end && *stop != '\r' && *stop != '\n')
            stop++;
        if (buf_add(&s->line, p, (size_t)(stop - p), err) != ERR_OK)
            return ERR_LIMIT;
        if (stop == end)
            return ERR_OK;
        s->after_cr = *stop == '\r';
        p = stop + 1;
        if (whole_line(s, err) != ERR_OK)
            return ERR_LIMIT;
    }
    return ERR_OK;
}

void sse_finish(struct sse *s)
{
    if (!s->line.len)
        dispatch(s);
}
