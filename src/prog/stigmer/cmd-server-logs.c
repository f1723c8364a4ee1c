/* server logs: the log files of all components, merged by time, and followed. */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <regex.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/own.h"
#include "base/str.h"
#include "prog/stigmer/cli.h"
#include "prog/stigmer/cmds.h"
#include "prog/stigmer/logfile.h"
#include "prog/stigmer/out.h"

#define FILES 2
#define TAIL_DEFAULT 50
#define HELD_MAX ((size_t)256 << 20) /* bytes of lines sorted at once */

struct logs {
    const struct cli *cli;
    struct logfile files[FILES];
    size_t file_count;
    struct logfile_line *lines; /* owned; waiting to be sorted */
    size_t count, cap, held;
    uint64_t order;
    int64_t since_ms, until_ms; /* 0: open */
    enum log_level level;
    bool filters_level;
    regex_t grep;
    bool greps, timestamps, prefix;
    const char *run;
    struct buf out;
};

static bool is_wanted(const struct logs *l, const struct logfile_line *line)
{
    if ((l->since_ms && line->at_ms < l->since_ms) || (l->until_ms && line->at_ms > l->until_ms))
        return false;
    if (l->filters_level && line->level > l->level)
        return false;
    if (l->run) {
        OWN_FREE char *run = logfile_field(line, "run");
        if (!str_eq(run, l->run))
            return false;
    }
    return !l->greps || regexec(&l->grep, line->text, 0, NULL, 0) == 0;
}

static void take_line(struct logfile_line *line, void *arg)
{
    struct logs *l = arg;

    if (!is_wanted(l, line) || l->held > HELD_MAX)
        return;
    if (l->count == l->cap) {
        l->cap = l->cap ? l->cap * 2 : 256;
        l->lines = mem_grow(l->lines, l->cap, sizeof *l->lines);
    }
    line->order = l->order++;
    l->held += line->len;
    l->lines[l->count++] = *line;
    line->text = NULL;
}

static int by_time(const void *a, const void *b)
{
    const struct logfile_line *x = a, *y = b;

    if (x->at_ms != y->at_ms)
        return x->at_ms < y->at_ms ? -1 : 1;
    return x->order < y->order ? -1 : x->order > y->order;
}

static void print_text(struct logs *l, const struct logfile_line *line)
{
    const char *text = line->text;
    size_t len = line->len;
    char color = line->level == LOG_ERROR ? 'r' : line->level == LOG_WARN ? 'y' : 0;
    bool on = l->cli->out_color && color;

    if (l->prefix)
        buf_printf(&l->out, "%s%-14s |%s ", out_color(l->cli->out_color, 'd'), line->component,
                   out_color(l->cli->out_color, '0'));
    if (line->stamped && !l->timestamps && len > 28) { /* "at=" and 24 characters and a space */
        text += 28;
        len -= 28;
    }
    buf_puts(&l->out, out_color(on, color));
    out_text(&l->out, text, len, l->cli->out_is_tty);
    buf_puts(&l->out, out_color(on, '0'));
    buf_putc(&l->out, '\n');
}

static bool print_lines(struct logs *l)
{
    bool ok = true;

    if (l->count)
        qsort(l->lines, l->count, sizeof *l->lines, by_time);
    for (size_t i = 0; i < l->count; i++) {
        if (l->cli->format == CLI_JSON) {
            json_t *o = logfile_json(&l->lines[i]);
            char *text = json_dumps(o, JSON_COMPACT);
            buf_puts(&l->out, text ? text : "{}");
            buf_putc(&l->out, '\n');
            free(text);
            json_decref(o);
        } else {
            print_text(l, &l->lines[i]);
        }
        logfile_line_done(&l->lines[i]);
        if (l->out.len > 262144)
            ok = ok && out_flush(STDOUT_FILENO, &l->out);
    }
    l->count = l->held = 0;
    return out_flush(STDOUT_FILENO, &l->out) && ok;
}

/* ---- options ----------------------------------------------------------------------------- */

/* A time as people write it: RFC 3339, or how long ago. */
static enum err_code read_time(const struct cli *cli, const char *name, int64_t *ret,
                               struct err *err)
{
    const char *text = args_str(&cli->args, name, NULL);
    int64_t ago;
    char full[64];

    *ret = 0;
    if (!text)
        return ERR_OK;
    if (str_to_duration_ms(text, &ago, NULL) == ERR_OK) {
        *ret = clock_wall_ms() - ago;
        return ERR_OK;
    }
    if (clock_parse(text, ret, NULL) == ERR_OK)
        return ERR_OK;
    if (str_ends(text, "Z") && !strchr(text, '.') && /* without the milliseconds */
        str_format(full, sizeof full, "%.*s.000Z", (int)strlen(text) - 1, text) &&
        clock_parse(full, ret, NULL) == ERR_OK)
        return ERR_OK;
    return err_set(err, ERR_INVALID,
                   "--%s: '%.80s' is neither a time such as 2026-01-31T12:00:00Z nor a duration "
                   "such as 10m",
                   name, text);
}

static enum err_code read_grep(struct logs *l, struct err *err)
{
    const char *re = args_str(&l->cli->args, "grep", NULL);
    char why[200];
    int rc;

    if (!re)
        return ERR_OK;
    rc = regcomp(&l->grep, re, REG_EXTENDED | REG_NOSUB);
    if (rc) {
        regerror(rc, &l->grep, why, sizeof why);
        return err_set(err, ERR_INVALID, "--grep: '%.80s' is no regular expression: %s", re, why);
    }
    l->greps = true;
    return ERR_OK;
}

static bool has_component(const struct cli *cli, const char *name)
{
    const char *given;

    if (!args_has(&cli->args, "component"))
        return true;
    for (size_t i = 0; (given = args_nth(&cli->args, "component", i)); i++)
        if (str_eq(given, name))
            return true;
    return false;
}

static enum err_code read_options(struct logs *l, int64_t *ret_tail, struct err *err)
{
    const struct args *a = &l->cli->args;
    const char *level = args_str(a, "level", NULL);
    enum err_code code = read_time(l->cli, "since", &l->since_ms, err);

    if (!code)
        code = read_time(l->cli, "until", &l->until_ms, err);
    if (!code)
        code = read_grep(l, err);
    if (!code && level) {
        l->filters_level = true;
        code = log_level_parse(level, &l->level, err);
    }
    l->run = args_str(a, "run", NULL);
    l->timestamps = args_bool(a, "timestamps", false);
    l->prefix = !args_bool(a, "no-prefix", false);
    /* With a filter the default is everything that matches: the last 50 lines would hide it. */
    *ret_tail = l->since_ms || l->until_ms || l->greps || l->run || level ? -1 : TAIL_DEFAULT;
    if (!code && str_eq(args_str(a, "tail", ""), "all"))
        *ret_tail = -1;
    else if (!code)
        code = args_int(a, "tail", 0, INT32_MAX, *ret_tail, ret_tail, err);
    return code;
}

/* --tail counts lines that are shown: with a filter the newest n of those that match. */
static void keep_newest(struct logs *l, int64_t tail)
{
    for (size_t f = 0; f < l->file_count && tail >= 0; f++) {
        int64_t seen = 0;
        size_t kept = l->count;
        for (size_t i = l->count; i > 0; i--) {
            struct logfile_line *line = &l->lines[i - 1];
            if (line->component == l->files[f].component && seen++ >= tail)
                logfile_line_done(line);
            else
                l->lines[--kept] = *line;
        }
        memmove(l->lines, l->lines + kept, (l->count - kept) * sizeof *l->lines);
        l->count -= kept;
    }
}

/* ---- following --------------------------------------------------------------------------- */

/* inotify on the folder: a file may come, grow, or be rotated away. */
static int follow(struct logs *l)
{
    OWN_FD int watch = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    OWN_FD int signals = -1;
    sigset_t set;
    char events[8192] __attribute__((aligned(8)));

    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signals = signalfd(-1, &set, SFD_CLOEXEC);
    if (watch < 0 || signals < 0 ||
        inotify_add_watch(watch, l->cli->paths.logs, IN_MODIFY | IN_CREATE | IN_MOVED_TO) < 0) {
        struct err e = {0};
        err_sys(&e, errno, "cannot watch %s", l->cli->paths.logs);
        return cli_fail(l->cli, &e);
    }
    for (;;) {
        struct pollfd fds[3] = {{.fd = watch, .events = POLLIN},
                                {.fd = signals, .events = POLLIN},
                                {.fd = STDOUT_FILENO}}; /* only POLLERR: the reader is gone */
        for (size_t i = 0; i < l->file_count; i++)
            (void)logfile_read(&l->files[i], false, take_line, l);
        if (!print_lines(l))
            return EXIT_OK;
        if (poll(fds, 3, -1) < 0 && errno != EINTR)
            return EXIT_FAILED;
        if (fds[1].revents)
            return EXIT_INTERRUPTED;
        if (fds[2].revents & POLLERR)
            return EXIT_OK;
        while (read(watch, events, sizeof events) > 0)
            ;
    }
}

static int show(struct logs *l, int64_t tail)
{
    bool follows = args_bool(&l->cli->args, "follow", false);
    bool filtered = l->since_ms || l->until_ms || l->greps || l->run || l->filters_level;
    bool any = false;

    for (size_t i = 0; i < l->file_count; i++) {
        struct stat st;
        any |= stat(l->files[i].path, &st) == 0;
        logfile_seek_tail(&l->files[i], tail < 0 || filtered ? UINT64_MAX : (uint64_t)tail);
        if (!logfile_read(&l->files[i], !follows, take_line, l))
            cli_warn(l->cli, "cannot read %s: %s", l->files[i].path, strerror(errno));
    }
    keep_newest(l, tail);
    if (!print_lines(l))
        return EXIT_OK;
    if (follows && any)
        return follow(l);
    if (!any)
        cli_note(l->cli, "no logs yet below %s", l->cli->paths.logs);
    return EXIT_OK;
}

int cmd_server_logs_run(struct cli *cli)
{
    struct logs l = {.cli = cli};
    struct err err = {0};
    int64_t tail;
    int code;

    if (has_component(cli, "stigmer-server"))
        logfile_init(&l.files[l.file_count++], "stigmer-server", cli->paths.log_server);
    if (has_component(cli, "agent-runner"))
        logfile_init(&l.files[l.file_count++], "agent-runner", cli->paths.log_runner);
    code = read_options(&l, &tail, &err) ? cli_fail(cli, &err) : show(&l, tail);
    if (l.greps)
        regfree(&l.grep);
    for (size_t i = 0; i < l.file_count; i++)
        logfile_done(&l.files[i]);
    free(l.lines);
    buf_done(&l.out);
    return code;
}
