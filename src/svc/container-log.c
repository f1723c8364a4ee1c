#include "svc/container-log.h"

#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/own.h"
#include "base/str.h"
#include "wire/containerline.h"

#define STREAMS 3 /* by number: stdin (unused), stdout, stderr */
#define SECOND 1000000000LL
#define GIVE_AT 65536
#define STAMP_ROOM 40 /* the longest time an engine writes, and its space */
/* Past this after the latest line that is remembered nothing of it comes any more: two writers'
 * lines lie in the order in which they came, not quite in that of their times. */
#define FORGET_AFTER (10 * SECOND)

/* One stream of it: the line that is being put together. */
struct stream {
    struct buf line; /* our stamp, and the text so far */
    char head[STAMP_ROOM];
    size_t head_len; /* of the frame's time, while it is not whole */
    int64_t ns;      /* the latest time told */
    bool in_head;
};

struct container_log {
    container_log_fn *fn;
    void *arg;
    struct stream streams[STREAMS];
    struct containerline_set known; /* the end of the log */
    struct buf out;
};

struct container_log *container_log_new(container_log_fn *fn, void *arg)
{
    struct container_log *l = mem_new(sizeof *l);

    l->fn = fn;
    l->arg = arg;
    return l;
}

static void forget_lines(struct container_log *l)
{
    for (size_t i = 0; i < STREAMS; i++) {
        buf_clear(&l->streams[i].line);
        l->streams[i].head_len = 0;
        l->streams[i].in_head = false;
    }
}

void container_log_free(struct container_log *l)
{
    if (!l)
        return;
    for (size_t i = 0; i < STREAMS; i++)
        buf_done(&l->streams[i].line);
    containerline_set_done(&l->known);
    buf_done(&l->out);
    free(l);
}

/* ---- where the log ends -------------------------------------------------------------------- */

/* Adds the lines of a file's last size bytes; how many of them there were, a cut first line not
 * counted. */
static size_t know_file(struct container_log *l, const char *path, size_t size, bool may_cut)
{
    OWN_FD int fd = open(path, (may_cut ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NONBLOCK);
    OWN_FREE char *text = NULL;
    struct stat st;
    const char *p, *end, *lf;
    off_t from;
    ssize_t n;

    if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size == 0)
        return 0;
    from = st.st_size > (off_t)size ? st.st_size - (off_t)size : 0;
    text = mem_array(size, 1);
    n = pread(fd, text, size, from);
    p = text;
    end = text + (n > 0 ? n : 0);
    if (from) /* in the middle of a line */
        p = (lf = memchr(p, '\n', (size_t)(end - p))) ? lf + 1 : end;
    for (; p < end && (lf = memchr(p, '\n', (size_t)(end - p))); p = lf + 1)
        containerline_set_add(&l->known, p, (size_t)(lf - p));
    if (may_cut && p < end && n == st.st_size - from)
        (void)ftruncate(fd, from + (p - text));
    return n > 0 ? (size_t)n : 0;
}

int64_t container_log_resume(struct container_log *l, const char *path, bool may_cut)
{
    char older[PATH_MAX];
    size_t n;

    forget_lines(l);
    container_log_flush(l);
    containerline_set_done(&l->known);
    n = know_file(l, path, CONTAINER_LOG_TAIL, may_cut);
    if (n < CONTAINER_LOG_TAIL && str_format(older, sizeof older, "%s.1", path))
        (void)know_file(l, older, CONTAINER_LOG_TAIL - n, false);
    return l->known.first_ns / SECOND;
}

/* ---- lines --------------------------------------------------------------------------------- */

static bool is_known(struct container_log *l, const char *line, size_t len)
{
    int64_t ns;

    if (!l->known.count || !containerline_stamp(line, len, &ns))
        return false;
    if (ns > l->known.last_ns + FORGET_AFTER) {
        containerline_set_done(&l->known);
        return false;
    }
    return ns < l->known.first_ns || containerline_set_take(&l->known, line, len);
}

static void give(struct container_log *l, struct stream *s)
{
    if (!is_known(l, buf_text(&s->line), s->line.len)) {
        buf_put(&l->out, s->line.data, s->line.len);
        buf_putc(&l->out, '\n');
    }
    buf_clear(&s->line);
    if (l->out.len >= GIVE_AT)
        container_log_flush(l);
}

void container_log_flush(struct container_log *l)
{
    if (!l->out.len)
        return;
    l->fn(buf_text(&l->out), l->out.len, l->arg);
    buf_clear(&l->out);
}

/* The frame's time is whole, or is none: then it is text. A frame that goes on with a line repeats
 * the line's time. */
static void end_head(struct stream *s)
{
    char stamp[CONTAINERLINE_TEXT];
    size_t n = containerline_read(s->head, s->head_len, &s->ns);

    if (!s->line.len) {
        containerline_format(s->ns, stamp);
        buf_put(&s->line, stamp, CONTAINERLINE_STAMP);
    }
    buf_put(&s->line, s->head + n, s->head_len - n);
    s->in_head = false;
    s->head_len = 0;
}

/* How much of the text belongs to the frame's time. */
static size_t take_head(struct stream *s, const char *text, size_t len)
{
    size_t n = 0;

    while (s->in_head && n < len && text[n] != '\n') {
        s->head[s->head_len++] = text[n++];
        if (s->head[s->head_len - 1] == ' ' || s->head_len == STAMP_ROOM)
            end_head(s);
    }
    if (s->in_head && n < len) /* a line that ends before its time does */
        end_head(s);
    return n;
}

static void add_text(struct container_log *l, struct stream *s, const char *text, size_t len)
{
    while (len) {
        size_t room = CONTAINERLINE_STAMP + CONTAINER_LOG_LINE_MAX - s->line.len;
        size_t n = len < room ? len : room;

        buf_put(&s->line, text, n);
        text += n;
        len -= n;
        if (len) { /* past the limit: the rest is a line of the same moment */
            char stamp[CONTAINERLINE_STAMP];

            memcpy(stamp, s->line.data, sizeof stamp);
            give(l, s);
            buf_put(&s->line, stamp, sizeof stamp);
        }
    }
}

void container_log_take(struct container_log *l, int stream, bool begins, const char *text,
                        size_t len)
{
    struct stream *s = &l->streams[stream >= 0 && stream < STREAMS ? stream : 1];

    if (begins) {
        s->in_head = true;
        s->head_len = 0;
    }
    while (len) {
        size_t n = take_head(s, text, len);
        const char *lf;

        text += n;
        len -= n;
        lf = len ? memchr(text, '\n', len) : NULL;
        if (!len)
            return;
        if (!s->line.len) { /* a second line in one frame: of the same moment, but none said */
            s->in_head = true;
            continue;
        }
        n = lf ? (size_t)(lf - text) : len;
        add_text(l, s, text, n);
        if (lf) {
            give(l, s);
            n++;
        }
        text += n;
        len -= n;
    }
}

void container_log_end(struct container_log *l)
{
    for (size_t i = 0; i < STREAMS; i++)
        if (l->streams[i].line.len > CONTAINERLINE_STAMP)
            give(l, &l->streams[i]);
    forget_lines(l);
    container_log_flush(l);
}
