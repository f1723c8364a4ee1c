#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/own.h"
#include "base/str.h"
#include "svc/tools.h"

enum {
    CHUNK = 64 << 10,
    LINE_MAX_SHOWN = 2000,
    LIST_MAX = 2000,
    LINKS_MAX = 8,
    DEFAULT_LIMIT = 500
};

static const char *arg_text(const json_t *args, const char *name, const char *fallback)
{
    const char *s = json_string_value(json_object_get(args, name));

    return str_is_empty(s) ? fallback : s;
}

static int64_t arg_int(const json_t *args, const char *name, int64_t fallback)
{
    const json_t *v = json_object_get(args, name);

    return json_is_integer(v) ? json_integer_value(v) : fallback;
}

/* ---- read_file -------------------------------------------------------------------------- */

struct reader {
    struct buf *out;
    int64_t line; /* counted from 0 */
    int64_t from, until;
    unsigned piece;  /* of a long line */
    struct buf text; /* the piece under way */
    bool full;
    bool more;
    int64_t stopped_at; /* the first line not shown */
};

static void show_piece(struct reader *r)
{
    if (r->out->len + r->text.len + 32 > TOOLS_RESULT_MAX) {
        r->full = true;
        r->stopped_at = r->line;
        return;
    }
    if (r->piece)
        buf_printf(r->out, "%4" PRId64 ".%u\t", r->line + 1, r->piece);
    else
        buf_printf(r->out, "%6" PRId64 "\t", r->line + 1);
    tools_text_clean(r->out, r->text.data, r->text.len);
    buf_putc(r->out, '\n');
}

static void feed(struct reader *r, const char *p, size_t len)
{
    while (len && !r->full && r->line < r->until) {
        const char *nl = memchr(p, '\n', len);
        size_t n = nl ? (size_t)(nl - p) : len;
        bool shown = r->line >= r->from;

        while (shown && !r->full && r->text.len + n > LINE_MAX_SHOWN) {
            size_t take = LINE_MAX_SHOWN - r->text.len;

            /* Only a split inside this chunk can be seen whole; that is nearly always. */
            take = take < n ? tools_text_split(p, n, take) : n;
            buf_put(&r->text, p, take);
            show_piece(r);
            buf_clear(&r->text);
            r->piece++;
            p += take;
            len -= take;
            n -= take;
        }
        if (shown)
            buf_put(&r->text, p, n);
        p += n;
        len -= n;
        if (!nl)
            break;
        if (shown && (r->text.len || !r->piece))
            show_piece(r);
        buf_clear(&r->text);
        r->piece = 0;
        if (!r->full)
            r->line++;
        p++;
        len--;
    }
    r->more = len > 0;
}

static enum err_code read_lines(int fd, const char *rel, off_t size, struct reader *r,
                                struct err *err)
{
    OWN_FREE char *chunk = mem_new(CHUNK);
    bool first = true;

    while (!r->full && r->line < r->until) {
        ssize_t n = read(fd, chunk, CHUNK);

        if (n < 0)
            return err_sys(err, errno, "cannot read '%.300s'", rel);
        if (n == 0)
            break;
        if (first && tools_text_is_binary(chunk, (size_t)n))
            return err_set(err, ERR_INVALID, "'%.300s' is binary (%s, %lld bytes), not text", rel,
                           tools_text_type(chunk, (size_t)n), (long long)size);
        first = false;
        feed(r, chunk, (size_t)n);
    }
    if (!r->more && !r->full && r->line >= r->until)
        r->more = read(fd, chunk, 1) == 1;
    if (r->text.len && !r->full && r->line < r->until) { /* no newline at the end */
        show_piece(r);
        r->line++;
    }
    return ERR_OK;
}

enum err_code tools_file_read(const struct tools *t, const json_t *args, struct buf *out,
                              struct err *err)
{
    struct reader r = {.out = out, .from = arg_int(args, "offset", 0)};
    char rel[PATH_MAX];
    OWN_FD int fd = -1;
    off_t size;
    enum err_code code = tools_path_resolve(t, arg_text(args, "file_path", ""), rel, err);

    r.until =
        r.from > INT64_MAX - 200000 ? INT64_MAX : r.from + arg_int(args, "limit", DEFAULT_LIMIT);
    if (!code)
        code = tools_path_open_file(t, rel, &fd, &size, err);
    if (!code)
        code = read_lines(fd, rel, size, &r, err);
    buf_done(&r.text);
    if (code)
        return code;
    if (!out->len && r.from == 0)
        buf_puts(out, "(the file is empty)\n");
    else if (!out->len)
        return err_set(err, ERR_INVALID, "'%.300s' has %lld lines; offset %lld is past its end",
                       rel, (long long)r.line, (long long)r.from);
    else if (r.full)
        buf_printf(out, "[cut at %zu KB; go on with offset %" PRId64 "]\n", TOOLS_RESULT_MAX >> 10,
                   r.stopped_at);
    else if (r.more)
        buf_printf(out, "[there is more; go on with offset %" PRId64 "]\n", r.line);
    return ERR_OK;
}

enum err_code tools_file_load(const struct tools *t, const char *rel, struct buf *ret,
                              struct err *err)
{
    OWN_FREE char *chunk = mem_new(CHUNK);
    OWN_FD int fd = -1;
    off_t size;
    enum err_code code = tools_path_open_file(t, rel, &fd, &size, err);

    if (code)
        return code;
    buf_init(ret, TOOLS_FILE_MAX);
    for (;;) {
        ssize_t n = read(fd, chunk, CHUNK);

        if (n == 0)
            return ERR_OK;
        code = n < 0 ? err_sys(err, errno, "cannot read '%.300s'", rel)
                     : buf_add(ret, chunk, (size_t)n, err);
        if (code) {
            buf_done(ret);
            return code == ERR_LIMIT ? err_set(err, ERR_LIMIT, "'%.300s' is larger than %zu MB",
                                               rel, TOOLS_FILE_MAX >> 20)
                                     : code;
        }
    }
}

/* ---- write_file ------------------------------------------------------------------------- */

/* Where rel leads when it is a link: the name that is to be replaced. */
static enum err_code follow(const struct tools *t, char rel[PATH_MAX], struct err *err)
{
    for (unsigned i = 0; i < LINKS_MAX; i++) {
        char target[PATH_MAX], joined[2 * PATH_MAX];
        const char *slash = strrchr(rel, '/');
        OWN_FD int fd = -1;
        ssize_t n;
        enum err_code code = tools_path_open(t, rel, O_PATH | O_NOFOLLOW, 0, &fd, NULL);

        if (code)
            return ERR_OK; /* not there: to be created, or open_parent says why not */
        n = readlinkat(fd, "", target, sizeof target - 1);
        if (n < 0)
            return ERR_OK;
        target[n] = '\0';
        if (target[0] == '/' || !slash)
            (void)str_format(joined, sizeof joined, "%s", target);
        else
            (void)str_format(joined, sizeof joined, "%.*s/%s", (int)(slash - rel), rel, target);
        code = tools_path_resolve(t, joined, rel, err);
        if (code)
            return err_wrap(err, code, "the link leads out");
    }
    return err_set(err, ERR_INVALID, "'%.300s': too many links", rel);
}

static enum err_code write_all(int fd, const char *data, size_t len, struct err *err)
{
    while (len) {
        ssize_t n = write(fd, data, len);

        if (n < 0 && errno != EINTR)
            return err_sys(err, errno, "cannot write");
        if (n > 0) {
            data += n;
            len -= (size_t)n;
        }
    }
    return ERR_OK;
}

static enum err_code write_and_rename(int dir, const char *name, mode_t mode, const void *data,
                                      size_t len, struct err *err)
{
    char tmp[64];
    uint64_t salt = 0;
    enum err_code code;
    OWN_FD int fd = -1;

    (void)!getrandom(&salt, sizeof salt, 0);
    (void)str_format(tmp, sizeof tmp, ".stigmer-%016" PRIx64, salt);
    fd = openat(dir, tmp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
    if (fd < 0)
        return err_sys(err, errno, "cannot create a file beside it");
    code = write_all(fd, data, len, err);
    if (!code && mode && fchmod(fd, mode) < 0)
        code = err_sys(err, errno, "cannot keep its permissions");
    if (!code && renameat(dir, tmp, dir, name) < 0)
        code = err_sys(err, errno, "cannot replace it");
    if (code)
        (void)unlinkat(dir, tmp, 0);
    return code;
}

enum err_code tools_file_replace(const struct tools *t, const char *rel, const void *data,
                                 size_t len, bool *ret_created, struct err *err)
{
    char path[PATH_MAX];
    const char *name = NULL;
    struct stat st = {0};
    OWN_FD int dir = -1;
    bool there;
    enum err_code code;

    (void)str_format(path, sizeof path, "%s", rel);
    code = follow(t, path, err);
    if (!code && str_eq(path, "."))
        code = err_set(err, ERR_INVALID, "the workspace itself is a folder, not a file");
    if (!code)
        code = tools_path_open_parent(t, path, &dir, &name, err);
    if (code)
        return code;
    there = fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
    if (there && !S_ISREG(st.st_mode))
        return err_set(err, ERR_INVALID, "'%.300s' is there and is not a file", rel);
    code = write_and_rename(dir, name, there ? st.st_mode & 0777 : 0, data, len, err);
    if (code)
        return err_wrap(err, code, "'%.300s' is unchanged", rel);
    *ret_created = !there;
    return ERR_OK;
}

enum err_code tools_file_write(const struct tools *t, const json_t *args, struct buf *out,
                               struct err *err)
{
    const json_t *content = json_object_get(args, "content");
    const char *data = json_string_value(content);
    size_t len = json_string_length(content), lines = 0;
    char rel[PATH_MAX];
    bool created;
    enum err_code code = tools_path_resolve(t, arg_text(args, "file_path", ""), rel, err);

    if (!code)
        code = tools_file_replace(t, rel, data, len, &created, err);
    if (code)
        return code;
    for (size_t i = 0; i < len; i++)
        lines += data[i] == '\n' || (i + 1 == len);
    buf_printf(out, "%s %s: %zu bytes, %zu lines\n", created ? "created" : "replaced", rel, len,
               lines);
    return ERR_OK;
}

/* ---- ls ---------------------------------------------------------------------------------- */

struct entry {
    char *name; /* owned */
    struct stat st;
};

static int by_kind_and_name(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    bool dx = S_ISDIR(x->st.st_mode), dy = S_ISDIR(y->st.st_mode);

    return dx != dy ? (dx ? -1 : 1) : strcmp(x->name, y->name);
}

static void show_entry(struct buf *out, int dir, const struct entry *e)
{
    char target[PATH_MAX];
    ssize_t n;

    if (S_ISDIR(e->st.st_mode)) {
        buf_puts(out, "dir             ");
    } else if (S_ISLNK(e->st.st_mode)) {
        buf_puts(out, "link            ");
    } else if (S_ISREG(e->st.st_mode)) {
        buf_printf(out, "file %10lld ", (long long)e->st.st_size);
    } else {
        buf_puts(out, "other           ");
    }
    tools_text_clean(out, e->name, strlen(e->name));
    if (S_ISDIR(e->st.st_mode))
        buf_putc(out, '/');
    n = S_ISLNK(e->st.st_mode) ? readlinkat(dir, e->name, target, sizeof target) : -1;
    if (n > 0) {
        buf_puts(out, " -> ");
        tools_text_clean(out, target, (size_t)n);
    }
    buf_putc(out, '\n');
}

enum err_code tools_file_ls(const struct tools *t, const json_t *args, struct buf *out,
                            struct err *err)
{
    char rel[PATH_MAX];
    struct entry *all = NULL;
    size_t n = 0, skipped = 0;
    int fd = -1;
    DIR *dir;
    const struct dirent *e;
    enum err_code code = tools_path_resolve(t, arg_text(args, "path", "."), rel, err);

    if (!code)
        code = tools_path_open(t, rel, O_RDONLY | O_DIRECTORY, 0, &fd, err);
    if (code)
        return code;
    dir = fdopendir(fd);
    if (!dir) {
        (void)close(fd);
        return err_sys(err, errno, "cannot list '%.300s'", rel);
    }
    all = mem_array(LIST_MAX, sizeof *all);
    while ((e = readdir(dir))) {
        if (str_eq(e->d_name, ".") || str_eq(e->d_name, ".."))
            continue;
        if (n == LIST_MAX) {
            skipped++;
            continue;
        }
        if (fstatat(fd, e->d_name, &all[n].st, AT_SYMLINK_NOFOLLOW) == 0)
            all[n++].name = mem_str(e->d_name);
    }
    qsort(all, n, sizeof *all, by_kind_and_name);
    for (size_t i = 0; i < n; i++) {
        if (out->len > TOOLS_RESULT_MAX - PATH_MAX)
            skipped++;
        else
            show_entry(out, fd, &all[i]);
        free(all[i].name);
    }
    free(all);
    (void)closedir(dir);
    if (!n)
        buf_puts(out, "(the folder is empty)\n");
    if (skipped)
        buf_printf(out, "[%zu more entries are not shown; use glob]\n", skipped);
    return ERR_OK;
}
