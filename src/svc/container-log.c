#include "svc/container-log.h"

#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/own.h"
#include "base/str.h"
#include "wire/containerline.h"

#define STREAMS 3 /* by number: stdin (unused), stdout, stderr */
#define SECOND 1000000000LL
#define GIVE_AT 65536
#define STAMP_ROOM 40 /* the longest time an engine writes, and its space */

/* One stream of it: the line that is being put together. */
struct stream {
    struct buf line; /* our stamp, and the text so far */
    char head[STAMP_ROOM];
    size_t head_len; /* of the frame's time, while it is not whole */
    int64_t ns;      /* the latest time told */
    int64_t line_ns; /* that of the line */
    bool in_head;
};

struct container_log {
    container_log_fn *fn;
    void *arg;
    struct stream streams[STREAMS];
    struct containerline_window recent; /* what the log ends with */
    int64_t now_ns;                     /* the wall clock */
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
    containerline_window_done(&l->recent);
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
        containerline_window_add(&l->recent, p, (size_t)(lf - p));
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
    containerline_window_done(&l->recent);
    n = know_file(l, path, CONTAINER_LOG_TAIL, may_cut);
    if (n < CONTAINER_LOG_TAIL && str_format(older, sizeof older, "%s.1", path))
        (void)know_file(l, older, CONTAINER_LOG_TAIL - n, false);
    containerline_window_seal(&l->recent);
    return l->recent.floor_ns / SECOND;
}

/* ---- lines --------------------------------------------------------------------------------- */

static void give(struct container_log *l, struct stream *s)
{
    if (containerline_window_is_new(&l->recent, buf_text(&s->line), s->line.len, l->now_ns)) {
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

static void begin_line(struct stream *s, int64_t ns)
{
    char stamp[CONTAINERLINE_TEXT];

    s->line_ns = ns;
    containerline_format(ns, stamp);
    buf_put(&s->line, stamp, CONTAINERLINE_STAMP);
}

/* The frame's time is whole, or is none: then it is text. A frame that goes on with a line repeats
 * the line's time. */
static void end_head(struct stream *s)
{
    size_t n = containerline_read(s->head, s->head_len, &s->ns);

    if (!n)
        s->ns++;
    if (!s->line.len)
        begin_line(s, s->ns);
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
        if (len) { /* past the limit: the rest is a line of the moment after */
            give(l, s);
            begin_line(s, s->line_ns + 1);
        }
    }
}

void container_log_take(struct container_log *l, int stream, bool begins, const char *text,
                        size_t len)
{
    struct stream *s = &l->streams[stream >= 0 && stream < STREAMS ? stream : 1];

    l->now_ns = clock_wall_ms() * 1000000;
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
        if (!s->line.len) { /* a second line in one frame: of the moment after */
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
