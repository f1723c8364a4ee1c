#include "prog/stigmer/logfile.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/own.h"
#include "base/str.h"

#define HEAD_KEPT (LOGFILE_LINE_MAX / 2)

void logfile_init(struct logfile *f, const char *component, const char *path)
{
    *f = (struct logfile){.component = component, .path = path, .fd = -1};
    buf_init(&f->rest, LOGFILE_LINE_MAX + 65536);
}

void logfile_done(struct logfile *f)
{
    own_fd(&f->fd);
    buf_done(&f->rest);
    f->fd = -1;
}

void logfile_line_done(struct logfile_line *line)
{
    free(line->text);
    line->text = NULL;
}

/* ---- one line ---------------------------------------------------------------------------- */

/* One pair at *p: key and value, the value unescaped. False at the end, or when it is no pair. */
static bool next_pair(const char **p, const char *end, struct buf *key, struct buf *value)
{
    const char *s = *p, *equal;

    buf_clear(key);
    buf_clear(value);
    while (s < end && *s == ' ')
        s++;
    equal = memchr(s, '=', (size_t)(end - s));
    if (!equal || equal == s || memchr(s, ' ', (size_t)(equal - s)))
        return false;
    buf_put(key, s, (size_t)(equal - s));
    s = equal + 1;
    if (s < end && *s == '"') {
        for (s++; s < end && *s != '"'; s++) {
            if (*s == '\\' && s + 1 < end) {
                s++;
                buf_putc(value, *s == 'n' ? '\n' : *s);
            } else {
                buf_putc(value, *s);
            }
        }
        s += s < end;
    } else {
        for (; s < end && *s != ' '; s++)
            buf_putc(value, *s);
    }
    *p = s;
    return true;
}

char *logfile_field(const struct logfile_line *line, const char *key)
{
    OWN_BUF struct buf k = {0}, v = {0};
    const char *p = line->text, *end = line->text + line->len;

    while (line->stamped && next_pair(&p, end, &k, &v))
        if (str_eq(buf_text(&k), key))
            return mem_str(buf_text(&v));
    return NULL;
}

json_t *logfile_json(const struct logfile_line *line)
{
    OWN_BUF struct buf k = {0}, v = {0}, safe = {0};
    const char *p = line->text, *end = line->text + line->len, *event = NULL;
    OWN_FREE char *msg = logfile_field(line, "msg");
    json_t *o = json_object(), *fields = json_object();
    char at[CLOCK_TEXT];

    if (line->at_ms)
        clock_format(line->at_ms, at);
    json_object_set_new(o, "at", line->at_ms ? json_string(at) : json_null());
    json_object_set_new(o, "component", json_string(line->component));
    json_object_set_new(o, "level", json_string(log_level_name(line->level)));
    event = msg && str_utf8_check(msg, strlen(msg)) == strlen(msg) ? msg : "";
    json_object_set_new(o, "event", json_string(event));
    while (line->stamped && next_pair(&p, end, &k, &v)) {
        const char *key = buf_text(&k);
        if (str_eq(key, "at") || str_eq(key, "level") || str_eq(key, "msg") ||
            str_utf8_check(key, k.len) != k.len)
            continue;
        if (str_utf8_check(buf_text(&v), v.len) == v.len)
            json_object_set_new(fields, key, json_string(buf_text(&v)));
    }
    json_object_set_new(o, "fields", fields);
    for (size_t i = 0; i < line->len;) { /* bytes that are no text become U+FFFD */
        size_t n = str_utf8_check(line->text + i, line->len - i);
        buf_put(&safe, line->text + i, n);
        i += n;
        if (i < line->len) {
            buf_puts(&safe, "\xef\xbf\xbd");
            i++;
        }
    }
    json_object_set_new(o, "raw", json_string(buf_text(&safe)));
    return o;
}

static void give_line(struct logfile *f, const char *text, size_t len, logfile_fn *fn, void *arg)
{
    struct logfile_line line = {.component = f->component, .level = LOG_INFO};
    char at[CLOCK_TEXT] = "";

    if (len > 28 && memcmp(text, "at=", 3) == 0) {
        memcpy(at, text + 3, 24);
        at[24] = '\0';
        line.stamped = clock_parse(at, &line.at_ms, NULL) == ERR_OK;
    }
    if (line.stamped)
        f->last_ms = line.at_ms;
    else
        line.at_ms = f->last_ms;
    line.text = mem_strn(text, len);
    line.len = len;
    if (line.stamped) {
        OWN_FREE char *level = logfile_field(&line, "level");
        (void)!log_level_parse(level ? level : "", &line.level, NULL);
    }
    fn(&line, arg);
    free(line.text);
}

static void give_rest(struct logfile *f, logfile_fn *fn, void *arg)
{
    OWN_BUF struct buf b;

    if (!f->cut) {
        give_line(f, buf_text(&f->rest), f->rest.len, fn, arg);
    } else {
        buf_init(&b, LOGFILE_LINE_MAX + 131072);
        buf_put(&b, f->rest.data, HEAD_KEPT);
        buf_printf(&b, " … %llu bytes left out … ", (unsigned long long)f->cut);
        buf_put(&b, f->rest.data + HEAD_KEPT, f->rest.len - HEAD_KEPT);
        give_line(f, buf_text(&b), b.len, fn, arg);
        buf_done(&b);
    }
    buf_clear(&f->rest);
    f->cut = 0;
}

/* Keep the head and the newest bytes of a line that is too long. */
static void add_rest(struct logfile *f, const char *p, size_t n)
{
    if (f->rest.len + n > LOGFILE_LINE_MAX) {
        size_t over = f->rest.len + n - LOGFILE_LINE_MAX;
        size_t tail = f->rest.len > HEAD_KEPT ? f->rest.len - HEAD_KEPT : 0;
        if (over > tail)
            over = tail;
        memmove(f->rest.data + HEAD_KEPT, f->rest.data + HEAD_KEPT + over, tail - over);
        f->rest.len -= over;
        f->cut += over;
    }
    buf_put(&f->rest, p, n);
}

static bool read_on(struct logfile *f, logfile_fn *fn, void *arg)
{
    char chunk[65536];

    for (;;) {
        ssize_t got = pread(f->fd, chunk, sizeof chunk, f->at);
        const char *p = chunk;
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return got == 0;
        f->at += got;
        while (p < chunk + got) {
            size_t left = (size_t)(chunk + got - p);
            const char *end = memchr(p, '\n', left);
            if (!end) {
                add_rest(f, p, left);
                break;
            }
            if (f->rest.len) {
                add_rest(f, p, (size_t)(end - p));
                give_rest(f, fn, arg);
            } else {
                give_line(f, p, (size_t)(end - p), fn, arg);
            }
            p = end + 1;
        }
    }
}

static bool open_now(struct logfile *f)
{
    struct stat st;

    f->fd = open(f->path, O_RDONLY | O_CLOEXEC);
    if (f->fd < 0 || fstat(f->fd, &st)) {
        own_fd(&f->fd);
        f->fd = -1;
        return false;
    }
    f->inode = st.st_ino;
    f->at = 0;
    return true;
}

bool logfile_read(struct logfile *f, bool all, logfile_fn *fn, void *arg)
{
    struct stat st;
    bool ok;

    if (f->fd < 0 && !open_now(f))
        return errno == ENOENT;
    ok = read_on(f, fn, arg);
    if (fstat(f->fd, &st) == 0 && st.st_size < f->at) { /* cut in place */
        f->at = 0;
        buf_clear(&f->rest);
        ok = read_on(f, fn, arg);
    }
    if (stat(f->path, &st) == 0 && st.st_ino != f->inode) { /* rotated: the old one is read */
        if (f->rest.len)
            give_rest(f, fn, arg);
        close(f->fd);
        f->fd = -1;
        ok = open_now(f) && read_on(f, fn, arg);
    }
    if (all && f->rest.len)
        give_rest(f, fn, arg);
    return ok;
}

/* Where the last n lines of an open file begin; *ret_found says how many there are. */
static off_t tail_offset(int fd, uint64_t n, uint64_t *ret_found)
{
    char chunk[65536];
    off_t end = lseek(fd, 0, SEEK_END), at = end;
    uint64_t found = 0;

    while (at > 0) {
        size_t want = at < (off_t)sizeof chunk ? (size_t)at : sizeof chunk;
        ssize_t got = pread(fd, chunk, want, at - (off_t)want);
        if (got != (ssize_t)want)
            break;
        for (ssize_t i = got - 1; i >= 0; i--) {
            off_t pos = at - (off_t)want + i;
            if (chunk[i] == '\n' && pos != end - 1 && ++found == n) {
                *ret_found = n;
                return pos + 1;
            }
        }
        at -= (off_t)want;
    }
    *ret_found = found + (end > 0);
    return 0;
}

void logfile_seek_tail(struct logfile *f, uint64_t n)
{
    uint64_t found = 0, more = 0;
    char old[4096];

    if (!open_now(f))
        return;
    if (!n) {
        f->at = lseek(f->fd, 0, SEEK_END);
        return;
    }
    f->at = tail_offset(f->fd, n, &found);
    if (found >= n || !str_format(old, sizeof old, "%s.1", f->path))
        return;
    /* The rest of the wanted lines is in the file that was rotated away last: read it first, as
     * if it had been open when that happened. */
    {
        struct stat st;
        OWN_FD int fd = open(old, O_RDONLY | O_CLOEXEC);
        if (fd < 0 || fstat(fd, &st))
            return;
        close(f->fd);
        f->fd = take_fd(&fd);
        f->inode = st.st_ino;
        f->at = tail_offset(f->fd, n - found, &more);
    }
}
