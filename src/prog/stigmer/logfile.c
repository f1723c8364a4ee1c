#include "prog/stigmer/logfile.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/own.h"
#include "base/str.h"

#define HEAD_KEPT (LOGFILE_LINE_MAX / 2)
#define BISECT_TO 65536  /* bytes: nearer is read through */
#define SAMPLES 256      /* at most, of a file */
#define SET_BACK_MS 2000 /* less is two writers' disorder */
#define NOTE_ROOM 64

void logfile_init(struct logfile *f, const char *component, const char *path)
{
    *f = (struct logfile){.component = component, .path = path, .fd = -1};
    f->chunk = mem_array(LOGFILE_CHUNK, 1);
    buf_init(&f->rest, LOGFILE_LINE_MAX + NOTE_ROOM + LOGFILE_CHUNK);
}

void logfile_done(struct logfile *f)
{
    own_fd(&f->fd);
    f->fd = -1;
    free(TAKE(f->chunk));
    buf_done(&f->rest);
}

/* ---- which files --------------------------------------------------------------------------- */

/* Of number 0, the one that is written to, or rotated away n times. */
static bool name_of(const struct logfile *f, int n, char ret[PATH_MAX])
{
    return n ? str_format(ret, PATH_MAX, "%s.%d", f->path, n)
             : str_format(ret, PATH_MAX, "%s", f->path);
}

static bool stat_of(const struct logfile *f, int n, struct stat *ret)
{
    char path[PATH_MAX];

    return name_of(f, n, path) && stat(path, ret) == 0 && S_ISREG(ret->st_mode);
}

static void close_file(struct logfile *f)
{
    own_fd(&f->fd);
    f->fd = -1;
    f->at = 0;
    f->begin = f->end = 0;
}

static bool open_number(struct logfile *f, int n)
{
    char path[PATH_MAX];
    struct stat st;

    close_file(f);
    if (!name_of(f, n, path))
        return false;
    f->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (f->fd >= 0 && (fstat(f->fd, &st) < 0 || !S_ISREG(st.st_mode))) {
        close_file(f);
        errno = S_ISDIR(st.st_mode) ? EISDIR : EINVAL;
    }
    if (f->fd < 0) {
        f->why = errno == ENOENT ? f->why : errno;
        return false;
    }
    f->dev = st.st_dev;
    f->inode = st.st_ino;
    return true;
}

/* The oldest number there is; 0 when nothing was rotated away. */
static int oldest(const struct logfile *f)
{
    struct stat st;
    int n = 0;

    while (n < LOGFILE_OLD_MAX && stat_of(f, n + 1, &st))
        n++;
    return n;
}

/* Which number a file has now; -1: it is gone. */
static int number_of(const struct logfile *f, dev_t dev, ino_t inode)
{
    struct stat st;

    for (int n = 0; n <= LOGFILE_OLD_MAX; n++) {
        if (!stat_of(f, n, &st)) {
            if (n)
                break;
        } else if (st.st_ino == inode && st.st_dev == dev) {
            return n;
        }
    }
    return -1;
}

/* ---- lines --------------------------------------------------------------------------------- */

/* Keeps the head and the newest bytes of a line that is too long. */
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

static void give(struct logfile *f, const char *text, size_t len, struct logline *ret)
{
    *ret = (struct logline){.component = f->component, .text = text, .len = len};
    logline_parse(ret, f->last_ms);
    f->last_ms = ret->at_ms;
}

/* The rest is a whole line now; it stays valid until the next call. */
static void give_rest(struct logfile *f, struct logline *ret)
{
    if (f->cut) {
        char note[NOTE_ROOM];
        size_t len;

        (void)str_format(note, sizeof note, " … %llu bytes left out … ",
                         (unsigned long long)f->cut);
        len = strlen(note);
        buf_put(&f->rest, note, len); /* room first, then into the middle */
        memmove(f->rest.data + HEAD_KEPT + len, f->rest.data + HEAD_KEPT,
                f->rest.len - len - HEAD_KEPT);
        memcpy(f->rest.data + HEAD_KEPT, note, len);
    }
    f->cut = 0;
    buf_putc(&f->rest, '\n'); /* marks it as given */
    give(f, buf_text(&f->rest), f->rest.len - 1, ret);
}

/* More of the open file into the chunk; false at its end. */
static bool fill(struct logfile *f)
{
    ssize_t n;

    do
        n = pread(f->fd, f->chunk, LOGFILE_CHUNK, f->at);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        f->why = errno;
    f->begin = 0;
    f->end = n > 0 ? (size_t)n : 0;
    f->at += n > 0 ? n : 0;
    return n > 0;
}

/* The open file is at its end. True: there is another one to go on with, or it had more. */
static bool go_on(struct logfile *f)
{
    struct stat st;
    int n;

    if (fstat(f->fd, &st) == 0 && st.st_size < f->at) { /* cut in place */
        f->at = 0;
        buf_clear(&f->rest);
        f->replaced = true;
        return st.st_size > 0;
    }
    n = number_of(f, f->dev, f->inode);
    if (n == 0 || (n < 0 && !stat_of(f, 0, &st)))
        return false; /* nothing newer; or removed, and nothing there yet */
    if (fstat(f->fd, &st) == 0 && st.st_size > f->at)
        return true; /* written to after its end was read, and renamed only then */
    f->replaced |= n != 1 || f->at == 0;
    if (n < 0) {
        f->replaced = true;
        n = oldest(f) + 1;
    }
    for (n--; n >= 0; n--)
        if (open_number(f, n))
            return true;
    return false;
}

bool logfile_next(struct logfile *f, bool all, struct logline *ret)
{
    if (f->rest.len && !f->cut && f->rest.data[f->rest.len - 1] == '\n')
        buf_clear(&f->rest); /* given the last time */
    if (f->fd < 0 && !open_number(f, 0))
        return false;
    for (;;) {
        const char *p = f->chunk + f->begin;
        size_t left = f->end - f->begin;
        const char *lf = left ? memchr(p, '\n', left) : NULL;

        if (lf && !f->rest.len) {
            f->begin += (size_t)(lf - p) + 1;
            give(f, p, (size_t)(lf - p), ret);
            return true;
        }
        if (lf) {
            f->begin += (size_t)(lf - p) + 1;
            add_rest(f, p, (size_t)(lf - p));
            give_rest(f, ret);
            return true;
        }
        add_rest(f, p, left);
        f->begin = f->end;
        if (fill(f))
            continue;
        if (f->rest.len && (all || number_of(f, f->dev, f->inode) != 0)) {
            give_rest(f, ret); /* the writer is gone, or nobody waits for the rest */
            return true;
        }
        if (!go_on(f))
            return false;
    }
}

/* ---- where to begin ------------------------------------------------------------------------ */

static void open_first(struct logfile *f, int n)
{
    buf_clear(&f->rest);
    f->cut = 0;
    for (; n >= 0; n--)
        if (open_number(f, n))
            return;
}

void logfile_from_start(struct logfile *f)
{
    open_first(f, oldest(f));
}

void logfile_from_end(struct logfile *f)
{
    if (open_number(f, 0))
        f->at = lseek(f->fd, 0, SEEK_END);
}

/* Where the last n lines of an open file begin; *ret_found: how many it has, at most n. */
static off_t tail_offset(int fd, uint64_t n, uint64_t *ret_found)
{
    char chunk[LOGFILE_CHUNK];
    off_t end = lseek(fd, 0, SEEK_END), at = end;
    uint64_t found = 0;

    while (at > 0) {
        size_t want = at < (off_t)sizeof chunk ? (size_t)at : sizeof chunk;

        if (pread(fd, chunk, want, at - (off_t)want) != (ssize_t)want)
            break;
        for (const char *p = chunk + want, *lf; (lf = memrchr(chunk, '\n', (size_t)(p - chunk)));
             p = lf) {
            off_t pos = at - (off_t)want + (lf - chunk);

            if (pos != end - 1 && ++found == n) {
                *ret_found = n;
                return pos + 1;
            }
        }
        at -= (off_t)want;
    }
    *ret_found = found + (end > 0);
    return 0;
}

void logfile_from_tail(struct logfile *f, uint64_t lines)
{
    int last = oldest(f);

    for (int n = 0; n <= last && lines; n++) {
        uint64_t found;
        off_t at;

        if (!open_number(f, n))
            continue;
        at = tail_offset(f->fd, lines, &found);
        lines -= found;
        if (!lines || n == last) {
            f->at = at;
            return;
        }
    }
    if (f->fd < 0)
        logfile_from_end(f);
}

/* The time of the first stamped line at or after an offset; false: there is none nearby. */
static bool time_near(const struct logfile *f, off_t at, int64_t *ret)
{
    char text[8192];
    ssize_t n = pread(f->fd, text, sizeof text, at);
    const char *p = text, *end = text + (n > 0 ? n : 0);

    if (at > 0)
        p = (p = memchr(p, '\n', (size_t)(end - p))) ? p + 1 : end;
    while (p < end) {
        const char *lf = memchr(p, '\n', (size_t)(end - p));
        struct logline l = {.text = p, .len = (size_t)((lf ? lf : end) - p)};

        logline_parse(&l, 0);
        if (l.stamped || l.lead) {
            *ret = l.at_ms;
            return true;
        }
        p = lf ? lf + 1 : end;
    }
    return false;
}

/* Where the bisection may look: from *ret_low to the result. A clock that is set back leaves late
 * times before early ones: of places all over the file, the first that is late enough is meant; and
 * between two where the clock goes back there may be any time. */
static off_t sample(const struct logfile *f, off_t size, int64_t at_ms, off_t *ret_low)
{
    off_t step = size / SAMPLES > BISECT_TO ? size / SAMPLES : BISECT_TO;
    int64_t then, latest = 0;

    for (off_t at = step; at < size; at += step) {
        if (!time_near(f, at, &then))
            continue;
        if (then >= at_ms)
            return at;
        if (then < latest - SET_BACK_MS)
            return *ret_low;
        latest = then > latest ? then : latest;
        *ret_low = at;
    }
    return size;
}

void logfile_from_time(struct logfile *f, int64_t at_ms)
{
    struct stat st;
    off_t low = 0, high;
    int n = oldest(f);

    while (n > 0 && stat_of(f, n, &st) && (int64_t)st.st_mtime * 1000 + 999 < at_ms)
        n--; /* nothing was written to it since */
    open_first(f, n);
    if (f->fd < 0 || fstat(f->fd, &st) < 0)
        return;
    high = sample(f, st.st_size, at_ms, &low);
    while (high - low > BISECT_TO) {
        off_t middle = low + (high - low) / 2;
        int64_t then;

        if (!time_near(f, middle, &then) || then >= at_ms)
            high = middle;
        else
            low = middle;
    }
    f->at = low;
    if (low > 0) { /* in the middle of a line, most likely */
        struct logline skipped;

        (void)logfile_next(f, true, &skipped);
    }
}

struct logfile_mark logfile_mark(const struct logfile *f)
{
    return (struct logfile_mark){f->dev, f->inode, f->at - (off_t)(f->end - f->begin)};
}

void logfile_go(struct logfile *f, struct logfile_mark mark)
{
    int n = number_of(f, mark.dev, mark.inode);

    open_first(f, n < 0 ? oldest(f) : n);
    if (n >= 0)
        f->at = mark.at;
}
