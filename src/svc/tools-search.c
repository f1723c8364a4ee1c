#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <regex.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/own.h"
#include "base/str.h"
#include "svc/tools-match.h"
#include "svc/tools.h"

enum {
    DEPTH_MAX = 64,
    VISITS_MAX = 500000,
    GLOB_MAX = 1000,    /* paths shown */
    GLOB_KEPT = 100000, /* paths sorted */
    LINE_SHOWN = 500,
    PATTERN_MAX = 4096,
    IGNORE_MAX = 256 << 10
};

/* One walk over a folder and what is below it, links not followed. */
struct walk {
    const struct tools *tools;
    bool use_ignores;
    void (*on_file)(struct walk *w, int dir, const char *name, const struct stat *st);
    void *arg;
    bool stop;
    unsigned visits;
    bool cut;            /* a limit ended it early */
    char path[PATH_MAX]; /* of the entry, relative to the workspace */
    size_t base;         /* where the part below the walk's folder begins */
    struct {
        struct tools_match_list *list; /* owned; NULL: no .gitignore here */
        size_t base;                   /* where paths relative to its folder begin */
    } ignores[DEPTH_MAX + 1];
    unsigned depth;
};

static bool is_ignored(const struct walk *w, bool is_folder)
{
    for (unsigned d = w->depth + 1; w->use_ignores && d-- > 0;) {
        int found =
            w->ignores[d].list
                ? tools_match_list_find(w->ignores[d].list, w->path + w->ignores[d].base, is_folder)
                : -1;
        if (found >= 0)
            return found;
    }
    return false;
}

static void read_ignores(struct walk *w, int dir, size_t base)
{
    OWN_FD int fd = openat(dir, ".gitignore", O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    struct stat st;
    OWN_FREE char *text = NULL;
    ssize_t n;

    w->ignores[w->depth].list = NULL;
    w->ignores[w->depth].base = base;
    if (!w->use_ignores || fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) ||
        st.st_size > IGNORE_MAX)
        return;
    text = mem_new(IGNORE_MAX);
    n = read(fd, text, IGNORE_MAX);
    if (n > 0)
        w->ignores[w->depth].list = tools_match_list_parse(text, (size_t)n);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The names of a folder in order, so that results do not depend on the disk's. */
static char **list_names(struct walk *w, int fd, size_t *ret_count)
{
    DIR *dir = fdopendir(fd);
    size_t n = 0, cap = 64;
    char **names = mem_array(cap, sizeof *names);
    const struct dirent *e;

    while (dir && (e = readdir(dir))) {
        if (str_eq(e->d_name, ".") || str_eq(e->d_name, "..") || str_eq(e->d_name, ".git") ||
            str_eq(e->d_name, TOOLS_OWN_FOLDER))
            continue;
        if (++w->visits > VISITS_MAX) {
            w->cut = w->stop = true;
            break;
        }
        if (n == cap)
            names = mem_grow(names, cap *= 2, sizeof *names);
        names[n++] = mem_str(e->d_name);
    }
    if (dir)
        (void)closedir(dir);
    else
        (void)close(fd);
    qsort(names, n, sizeof *names, by_name);
    *ret_count = n;
    return names;
}

static void walk_folder(struct walk *w, int dir, size_t len);

static void visit(struct walk *w, int dir, const char *name, size_t len)
{
    struct stat st;
    int n = snprintf(w->path + len, sizeof w->path - len, "%s%s", len ? "/" : "", name);

    if (n < 0 || (size_t)n >= sizeof w->path - len ||
        fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || is_ignored(w, S_ISDIR(st.st_mode)))
        return;
    if (S_ISREG(st.st_mode)) {
        w->on_file(w, dir, name, &st);
    } else if (S_ISDIR(st.st_mode) && w->depth < DEPTH_MAX) {
        OWN_FD int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

        if (fd < 0)
            return;
        w->depth++;
        walk_folder(w, fd, len + (size_t)n);
        w->depth--;
    }
}

/* len: of the folder's own path in w->path. */
static void walk_folder(struct walk *w, int dir, size_t len)
{
    size_t n;
    char **names = list_names(w, fcntl(dir, F_DUPFD_CLOEXEC, 3), &n);

    read_ignores(w, dir, len ? len + 1 : 0);
    for (size_t i = 0; i < n; i++) {
        if (!w->stop)
            visit(w, dir, names[i], len);
        free(names[i]);
    }
    free(names);
    tools_match_list_free(w->ignores[w->depth].list);
    w->ignores[w->depth].list = NULL;
}

static enum err_code walk_from(struct walk *w, const char *rel, struct err *err)
{
    OWN_FD int dir = -1;
    bool is_root = str_eq(rel, ".");
    enum err_code code = tools_path_open(w->tools, rel, O_RDONLY | O_DIRECTORY, 0, &dir, err);

    if (code)
        return code;
    (void)str_format(w->path, sizeof w->path, "%s", is_root ? "" : rel);
    w->base = is_root ? 0 : strlen(rel) + 1;
    walk_folder(w, dir, strlen(w->path));
    return ERR_OK;
}

static const char *arg_text(const json_t *args, const char *name, const char *fallback)
{
    const char *s = json_string_value(json_object_get(args, name));

    return str_is_empty(s) ? fallback : s;
}

/* ---- glob -------------------------------------------------------------------------------- */

struct found {
    char *path; /* owned */
    struct timespec at;
};

struct globbing {
    const char *pattern;
    struct found *found; /* owned, GLOB_KEPT places */
    size_t count;
};

static void glob_file(struct walk *w, int dir, const char *name, const struct stat *st)
{
    struct globbing *g = w->arg;

    (void)dir;
    (void)name;
    if (!tools_match(g->pattern, w->path + w->base))
        return;
    if (g->count == GLOB_KEPT) {
        w->cut = w->stop = true;
        return;
    }
    g->found[g->count++] = (struct found){.path = mem_str(w->path), .at = st->st_mtim};
}

static int newest_first(const void *a, const void *b)
{
    const struct found *x = a, *y = b;

    if (x->at.tv_sec != y->at.tv_sec)
        return x->at.tv_sec > y->at.tv_sec ? -1 : 1;
    if (x->at.tv_nsec != y->at.tv_nsec)
        return x->at.tv_nsec > y->at.tv_nsec ? -1 : 1;
    return strcmp(x->path, y->path);
}

enum err_code tools_search_glob(const struct tools *t, const json_t *args, struct buf *out,
                                struct err *err)
{
    const char *pattern = arg_text(args, "pattern", "");
    struct globbing g = {.pattern = pattern};
    OWN_FREE struct walk *w = mem_new(sizeof *w);
    char rel[PATH_MAX], below[PATH_MAX];
    size_t shown = 0;
    enum err_code code = tools_path_resolve(t, arg_text(args, "path", "."), rel, err);

    /* A pattern that is itself a path of the workspace. */
    if (!code && *pattern == '/') {
        code = tools_path_resolve(t, pattern, below, err);
        g.pattern = below;
    } else if (str_starts(pattern, "./")) {
        g.pattern += 2;
    }
    if (code)
        return code;
    *w = (struct walk){.tools = t, .on_file = glob_file, .arg = &g};
    g.found = mem_array(GLOB_KEPT, sizeof *g.found);
    code = walk_from(w, rel, err);
    qsort(g.found, g.count, sizeof *g.found, newest_first);
    for (size_t i = 0; i < g.count; i++) {
        if (shown == i && i < GLOB_MAX && out->len < TOOLS_RESULT_MAX - PATH_MAX) {
            tools_text_clean(out, g.found[i].path, strlen(g.found[i].path));
            buf_putc(out, '\n');
            shown++;
        }
        free(g.found[i].path);
    }
    free(g.found);
    if (code)
        return code;
    if (!g.count)
        buf_puts(out, "no file matches\n");
    if (shown < g.count)
        buf_printf(out, "[%zu more matches are not shown]\n", g.count - shown);
    if (w->cut)
        buf_puts(out, "[there are too many files; the search ended early]\n");
    return ERR_OK;
}

/* ---- grep -------------------------------------------------------------------------------- */

enum mode { MODE_FILES, MODE_CONTENT, MODE_COUNT };

struct grepping {
    const char *pattern;
    size_t pattern_len;
    const char *glob; /* NULL: all */
    regex_t *regex;   /* NULL: literal */
    enum mode mode;
    int64_t context;
    struct buf *out;
    size_t files, skipped;
};

static bool line_matches(const struct grepping *g, const char *p, size_t len)
{
    regmatch_t m = {.rm_so = 0, .rm_eo = (regoff_t)len};

    if (!g->regex)
        return memmem(p, len, g->pattern, g->pattern_len) != NULL;
    return regexec(g->regex, p, 1, &m, REG_STARTEND) == 0;
}

static bool is_full(struct walk *w)
{
    const struct grepping *g = w->arg;

    if (g->out->len > TOOLS_RESULT_MAX - PATH_MAX - LINE_SHOWN * 4)
        w->cut = w->stop = true;
    return w->stop;
}

static void show_line(struct grepping *g, const char *path, size_t number, char mark, const char *p,
                      size_t len)
{
    size_t shown = tools_text_split(p, len, LINE_SHOWN);

    tools_text_clean(g->out, path, strlen(path));
    buf_printf(g->out, "%c%zu%c", mark, number, mark);
    tools_text_clean(g->out, p, shown);
    buf_puts(g->out, shown < len ? "…\n" : "\n");
}

/* Lines of one file in order; the last `context` of them wait, in case the next one matches. */
static size_t grep_lines(struct walk *w, const char *text, size_t len)
{
    struct grepping *g = w->arg;
    size_t number = 1, matches = 0, last_shown = 0, show_until = 0;
    const char *starts[64];

    for (const char *p = text, *end = text + len; p < end && !w->stop; number++) {
        const char *nl = memchr(p, '\n', (size_t)(end - p));
        size_t n = (size_t)((nl ? nl : end) - p);

        starts[number % 64] = p;
        if (line_matches(g, p, n)) {
            size_t from = number > (size_t)g->context ? number - (size_t)g->context : 1;

            matches++;
            if (g->mode == MODE_FILES)
                return matches;
            if (from <= last_shown)
                from = last_shown + 1;
            if (g->mode == MODE_CONTENT) {
                if (g->context && g->out->len && from > last_shown + 1)
                    buf_puts(g->out, "--\n");
                for (size_t k = from; k < number; k++)
                    show_line(g, w->path, k, '-', starts[k % 64],
                              (size_t)(starts[(k + 1) % 64] - starts[k % 64] - 1));
                show_line(g, w->path, number, ':', p, n);
                last_shown = number;
                show_until = number + (size_t)g->context;
            }
        } else if (g->mode == MODE_CONTENT && number <= show_until) {
            show_line(g, w->path, number, '-', p, n);
            last_shown = number;
        }
        if (g->mode == MODE_CONTENT && is_full(w))
            break;
        p += n + 1;
    }
    return matches;
}

static void grep_file(struct walk *w, int dir, const char *name, const struct stat *st)
{
    struct grepping *g = w->arg;
    const char *below = w->path + w->base, *slash = strrchr(below, '/');
    OWN_BUF struct buf text = {0};
    size_t matches;

    (void)dir;
    (void)name;
    /* As in ripgrep: a glob without a slash is about the name. */
    if (g->glob && !tools_match(g->glob, strchr(g->glob, '/') || !slash ? below : slash + 1))
        return;
    if (st->st_size == 0 || is_full(w))
        return;
    if (tools_file_load(w->tools, w->path, &text, NULL)) {
        g->skipped++;
        return;
    }
    if (tools_text_is_binary(buf_text(&text), text.len))
        return;
    matches = grep_lines(w, (const char *)text.data, text.len);
    if (!matches)
        return;
    g->files++;
    if (g->mode == MODE_CONTENT)
        return;
    tools_text_clean(g->out, w->path, strlen(w->path));
    if (g->mode == MODE_COUNT)
        buf_printf(g->out, ":%zu", matches);
    buf_putc(g->out, '\n');
}

static enum err_code compile(const char *pattern, regex_t *re, struct err *err)
{
    char why[160];
    int rc = regcomp(re, pattern, REG_EXTENDED);

    if (rc == 0)
        return ERR_OK;
    (void)regerror(rc, re, why, sizeof why);
    return err_set(err, ERR_INVALID,
                   "the pattern is not a POSIX extended regular expression: %s; leave out regex to "
                   "search for it as it is",
                   why);
}

static enum err_code grep_path(struct walk *w, const char *path, struct err *err)
{
    char rel[PATH_MAX];
    struct stat st;
    OWN_FD int fd = -1;
    enum err_code code = tools_path_resolve(w->tools, path, rel, err);

    if (!code)
        code = tools_path_open(w->tools, rel, O_PATH, 0, &fd, err);
    if (code)
        return code;
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode)) {
        (void)str_format(w->path, sizeof w->path, "%s", rel);
        grep_file(w, fd, rel, &st);
        return ERR_OK;
    }
    return walk_from(w, rel, err);
}

enum err_code tools_search_grep(const struct tools *t, const json_t *args, struct buf *out,
                                struct err *err)
{
    const char *mode = arg_text(args, "output_mode", "files_with_matches");
    const json_t *context = json_object_get(args, "context");
    struct grepping g = {.pattern = arg_text(args, "pattern", ""),
                         .glob = arg_text(args, "glob", NULL),
                         .mode = str_eq(mode, "content") ? MODE_CONTENT
                                 : str_eq(mode, "count") ? MODE_COUNT
                                                         : MODE_FILES,
                         .context = context ? json_integer_value(context) : 0,
                         .out = out};
    OWN_FREE struct walk *w = mem_new(sizeof *w);
    regex_t regex;
    enum err_code code = ERR_OK;

    g.pattern_len = strlen(g.pattern);
    if (g.pattern_len > PATTERN_MAX)
        return err_set(err, ERR_INVALID, "the pattern is longer than %d bytes", PATTERN_MAX);
    if (json_is_true(json_object_get(args, "regex"))) {
        code = compile(g.pattern, &regex, err);
        g.regex = code ? NULL : &regex;
    } else if (strchr(g.pattern, '\n')) {
        code = err_set(err, ERR_INVALID, "the pattern holds a line break; search line by line");
    }
    *w = (struct walk){.tools = t, .use_ignores = true, .on_file = grep_file, .arg = &g};
    if (!code)
        code = grep_path(w, arg_text(args, "path", "."), err);
    if (g.regex)
        regfree(g.regex);
    if (code)
        return code;
    if (!g.files)
        buf_puts(out, "no match\n");
    if (w->cut)
        buf_puts(out, "[there is more; narrow the search with path, glob or the pattern]\n");
    if (g.skipped)
        buf_printf(out, "[%zu files were too large or not readable]\n", g.skipped);
    return ERR_OK;
}
