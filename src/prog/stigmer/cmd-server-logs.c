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
#include "prog/stigmer/logengine.h"
#include "prog/stigmer/logfile.h"
#include "prog/stigmer/out.h"

#define SOURCES 4
#define TAIL_DEFAULT 50
#define TAIL_MAX 10000000
#define OUT_KEPT 262144 /* bytes of output that are written in one go */
#define FOLDER_MS 500   /* how often a folder that is not there is looked for */
#define ENGINE_MS 1000  /* how often it is looked whether a server listens to the runner */

struct source {
    struct logfile file;
    struct logline line; /* the next one that is wanted */
    bool has_line;
    bool hidden;                 /* it is only read for what it tells of the others */
    struct logfile_mark *newest; /* owned; a ring: where the last matches of a first pass begin */
};

struct logs {
    const struct cli *cli;
    struct source sources[SOURCES];
    size_t count;
    struct source *runner;       /* of sources; NULL: it is not wanted */
    struct source *runner_since; /* what the engine says beyond it; NULL: it was not asked */
    struct logengine engine;
    int64_t asked_ms; /* when it was begun to be followed the last time, mono */
    int64_t begun_ms; /* the wall clock when following began */
    bool had_folder;
    int64_t since_ms, until_ms; /* 0: open */
    enum log_level level;
    bool filters_level;
    regex_t grep;
    bool greps, timestamps, prefix, follows;
    const char *run;
    struct buf out;
};

static bool matches(const struct logs *l, const struct logline *line)
{
    if ((l->since_ms && line->at_ms < l->since_ms) || (l->until_ms && line->at_ms > l->until_ms))
        return false;
    if (l->filters_level && line->level > l->level)
        return false;
    if (l->run && !logline_has(line, "run", l->run))
        return false;
    if (l->greps) { /* REG_STARTEND: the line need not end in a NUL, and may hold some */
        regmatch_t range = {.rm_so = 0, .rm_eo = (regoff_t)line->len};

        return regexec(&l->grep, line->text, 1, &range, REG_STARTEND) == 0;
    }
    return true;
}

static bool is_filtered(const struct logs *l)
{
    return l->since_ms || l->until_ms || l->greps || l->run || l->filters_level;
}

/* What a person who follows should know between the lines. */
static void tell_event(struct logs *l, const struct logline *line)
{
    static const struct {
        const char *event, *text;
    } told[] = {
        {"server ended; it is started again", "stigmer-server ended and is started again"},
        {"server ended too often; giving up", "stigmer-server ended too often and stays down"},
        {"stopping", "stigmer-server stops"},
        {"ready", "stigmer-server is ready"},
        {"runner container started", "agent-runner started in a new container"},
        {"runner container found again", "agent-runner's container is gone on with"},
        {"process started", " started"}, /* after the component's name */
        {"component ended", " ended"},
    };
    OWN_BUF struct buf event = {0}, why = {0}, name = {0};

    if (line->at_ms < l->begun_ms || !logline_get(line, "msg", &event))
        return;
    for (size_t i = 0; i < sizeof told / sizeof told[0]; i++)
        if (str_eq(buf_text(&event), told[i].event) && out_flush(STDOUT_FILENO, &l->out)) {
            bool has_why = logline_get(line, "why", &why);
            bool has_name = told[i].text[0] == ' ' && logline_get(line, "component", &name);

            cli_note(l->cli, "-- %.40s%s%s%.200s --", has_name ? buf_text(&name) : "", told[i].text,
                     has_why ? ": " : "", has_why ? buf_text(&why) : "");
        }
}

/* The next line of a source that is wanted. */
static bool next_wanted(struct logs *l, struct source *s)
{
    while ((s->has_line = logfile_next(&s->file, !l->follows, &s->line))) {
        if (l->follows && s == l->sources)
            tell_event(l, &s->line);
        if (!s->hidden && matches(l, &s->line) &&
            (s != l->runner || !logengine_has(&l->engine, &s->line)))
            return true;
    }
    return false;
}

/* ---- printing ---------------------------------------------------------------------------- */

static void print_text(struct logs *l, const struct logline *line)
{
    const char *text = line->text;
    size_t len = line->len;
    char color = line->level == LOG_ERROR ? 'r' : line->level == LOG_WARN ? 'y' : 0;
    bool on = l->cli->out_color && color;

    if (l->prefix)
        buf_printf(&l->out, "%s%-14s |%s ", out_color(l->cli->out_color, 'd'), line->component,
                   out_color(l->cli->out_color, '0'));
    if (line->lead && !line->stamped && l->timestamps)
        buf_put(&l->out, text - line->lead, line->lead); /* the engine's is the only one */
    if (line->stamped && !l->timestamps) {
        text += LOGLINE_STAMP;
        len -= LOGLINE_STAMP;
    }
    buf_puts(&l->out, out_color(on, color));
    out_text(&l->out, text, len, true); /* a pipe often ends at a terminal */
    buf_puts(&l->out, out_color(on, '0'));
    buf_putc(&l->out, '\n');
}

static bool print_line(struct logs *l, const struct logline *line)
{
    if (l->cli->format == CLI_JSON) {
        json_t *o = logline_json(line);
        char *text = json_dumps(o, JSON_COMPACT);

        buf_puts(&l->out, text ? text : "{}");
        buf_putc(&l->out, '\n');
        free(text);
        json_decref(o);
    } else {
        print_text(l, line);
    }
    return l->out.len < OUT_KEPT || out_flush(STDOUT_FILENO, &l->out);
}

static struct source *earliest(struct logs *l)
{
    struct source *first = NULL;

    for (size_t i = 0; i < l->count; i++)
        if (l->sources[i].has_line && (!first || l->sources[i].line.at_ms < first->line.at_ms))
            first = &l->sources[i];
    return first;
}

/* What following people should know of a file; the lines before it are out by then. */
static void tell_replaced(struct logs *l, struct source *s)
{
    if (!s->file.replaced)
        return;
    s->file.replaced = false;
    if (l->follows && out_flush(STDOUT_FILENO, &l->out))
        cli_note(l->cli, "(%s: a new log file begins)", s->file.component);
}

/* Everything there is now, by time. False: the reader is gone. */
static bool print_merged(struct logs *l)
{
    struct source *s;

    for (size_t i = 0; i < l->count; i++)
        (void)next_wanted(l, &l->sources[i]);
    while ((s = earliest(l))) {
        tell_replaced(l, s);
        if (!print_line(l, &s->line))
            return false;
        (void)next_wanted(l, s);
    }
    return out_flush(STDOUT_FILENO, &l->out);
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
    if (str_format(full, sizeof full, "%sT00:00:00Z", text) && /* a day */
        clock_parse(full, ret, NULL) == ERR_OK)
        return ERR_OK;
    if (str_to_int(text, 1, INT64_MAX / 1000, ret, NULL) == ERR_OK) { /* seconds since 1970 */
        *ret *= 1000;
        return ERR_OK;
    }
    return err_set(err, ERR_INVALID,
                   "--%s: '%.80s' is neither a time such as 2026-01-31T12:00:00Z, a day such as "
                   "2026-01-31, seconds since 1970, nor a duration before now such as 10m",
                   name, text);
}

static enum err_code read_grep(struct logs *l, struct err *err)
{
    const char *re = args_str(&l->cli->args, "grep", NULL);
    char why[200];
    int rc;

    if (!re)
        return ERR_OK;
    rc = regcomp(&l->grep, re, REG_EXTENDED);
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
    *ret_tail = is_filtered(l) ? -1 : TAIL_DEFAULT;
    if (!code && str_eq(args_str(a, "tail", ""), "all"))
        *ret_tail = -1;
    else if (!code)
        code = args_int(a, "tail", 0, TAIL_MAX, *ret_tail, ret_tail, err);
    return code;
}

/* ---- where to begin ---------------------------------------------------------------------- */

/* --tail counts lines that are shown: with a filter, the newest n of those that match. They are
 * counted in a first pass, which keeps where each of the last n begins. */
static uint64_t from_matching_tail(struct logs *l, struct source *s, uint64_t n)
{
    uint64_t found = 0;
    struct logline line;

    s->newest = mem_array(n, sizeof *s->newest);
    for (;;) {
        struct logfile_mark here = logfile_mark(&s->file);

        if (!logfile_next(&s->file, !l->follows, &line))
            break;
        if (matches(l, &line))
            s->newest[found++ % n] = here;
    }
    if (found)
        logfile_go(&s->file, s->newest[found > n ? found % n : 0]);
    free(TAKE(s->newest));
    return found < n ? found : n;
}

/* How many lines of the tail it has. */
static int64_t begin(struct logs *l, struct source *s, int64_t tail)
{
    if (tail == 0)
        logfile_from_end(&s->file);
    else if (l->since_ms)
        logfile_from_time(&s->file, l->since_ms);
    else if (tail < 0 || is_filtered(l))
        logfile_from_start(&s->file);
    else
        logfile_from_tail(&s->file, (uint64_t)tail);
    if (tail > 0 && is_filtered(l))
        return (int64_t)from_matching_tail(l, s, (uint64_t)tail);
    return tail;
}

/* The runner's newest lines are those that only the engine has yet: they come first in its tail. */
static int64_t begin_engine(struct logs *l, int64_t tail)
{
    int64_t has = (int64_t)l->engine.lines, had = begin(l, l->runner_since, tail);

    if (tail <= 0)
        return tail;
    return tail - (is_filtered(l) || has > had ? had : has);
}

/* ---- following --------------------------------------------------------------------------- */

struct watch {
    int folder, signals; /* owned */
    bool on_folder;
};

static bool open_watch(struct watch *w)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_BLOCK, &set, NULL);
    w->signals = signalfd(-1, &set, SFD_CLOEXEC);
    w->folder = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    return w->signals >= 0 && w->folder >= 0;
}

/* The folder may be made later, and may be removed and made anew. */
static void watch_folder(struct watch *w, const char *path)
{
    if (!w->on_folder)
        w->on_folder = inotify_add_watch(w->folder, path,
                                         IN_MODIFY | IN_CREATE | IN_MOVED_TO | IN_MOVED_FROM |
                                             IN_DELETE | IN_DELETE_SELF | IN_MOVE_SELF) >= 0;
}

static void take_events(struct watch *w)
{
    char events[8192] __attribute__((aligned(8)));
    ssize_t n;

    while ((n = read(w->folder, events, sizeof events)) > 0)
        for (char *p = events; p < events + n;) {
            const struct inotify_event *e = (const struct inotify_event *)(void *)p;

            if (e->mask & (IN_IGNORED | IN_DELETE_SELF | IN_MOVE_SELF))
                w->on_folder = false;
            p += sizeof *e + e->len;
        }
}

static int wait_ms(const struct logs *l, const struct watch *w)
{
    int64_t left = l->until_ms ? l->until_ms - clock_wall_ms() : INT64_MAX;

    if (l->runner && left > ENGINE_MS && access(l->cli->paths.engine_file, F_OK) == 0)
        left = ENGINE_MS;
    if (!w->on_folder && left > FOLDER_MS)
        return FOLDER_MS;
    return left == INT64_MAX ? -1 : left < 0 ? 0 : left > 60000 ? 60000 : (int)left;
}

static void tell_folder(struct logs *l, const struct watch *w)
{
    if (l->had_folder && !w->on_folder && out_flush(STDOUT_FILENO, &l->out))
        cli_note(l->cli, "-- the log folder %s is gone; waiting for it --", l->cli->paths.logs);
    l->had_folder = w->on_folder;
}

static void add_engine_source(struct logs *l)
{
    if (l->runner_since || l->engine.fd < 0)
        return;
    l->runner_since = &l->sources[l->count++];
    logfile_init(&l->runner_since->file, "agent-runner", l->engine.path);
}

/* What no server writes down is heard from the engine until one does; whether one does is looked
 * at when a log changes, and each ENGINE_MS. */
static void hear_engine(struct logs *l)
{
    int64_t now = clock_mono_ms();

    if (!l->runner)
        return;
    if (!logengine_is_needed(l->cli)) {
        logengine_stop(&l->engine);
    } else if (l->engine.stream < 0 && (!l->asked_ms || now - l->asked_ms >= ENGINE_MS)) {
        l->asked_ms = now;
        logengine_follow(&l->engine, l->cli);
    }
    logengine_take(&l->engine, l->cli);
    add_engine_source(l);
}

/* Between the last read and the wait nothing is missed: the watch is there before the read. */
static int follow(struct logs *l)
{
    struct watch w = {-1, -1, false};
    int code = EXIT_OK;

    if (!open_watch(&w)) {
        struct err e = {0};

        err_sys(&e, errno, "cannot watch %s", l->cli->paths.logs);
        code = cli_fail(l->cli, &e);
    }
    while (!code) {
        struct pollfd fds[4] = {{.fd = w.folder, .events = POLLIN},
                                {.fd = w.signals, .events = POLLIN},
                                {.fd = STDOUT_FILENO}}; /* only POLLERR: the reader is gone */

        watch_folder(&w, l->cli->paths.logs);
        tell_folder(l, &w);
        hear_engine(l);
        fds[3] = (struct pollfd){.fd = l->engine.stream, .events = POLLIN};
        if (!print_merged(l) || (l->until_ms && clock_wall_ms() > l->until_ms))
            break;
        if (poll(fds, 4, wait_ms(l, &w)) < 0 && errno != EINTR)
            code = EXIT_FAILED;
        if (fds[1].revents)
            code = EXIT_INTERRUPTED;
        if (fds[2].revents & POLLERR)
            break;
        take_events(&w);
    }
    own_fd(&w.folder);
    own_fd(&w.signals);
    return code;
}

static void tell_unread(struct logs *l)
{
    for (size_t i = 0; i < l->count; i++)
        if (l->sources[i].file.why)
            cli_warn(l->cli, "cannot read %s: %s", l->sources[i].file.path,
                     strerror(l->sources[i].file.why));
}

static int show(struct logs *l, int64_t tail)
{
    int64_t runner_tail = tail;
    bool any = false;

    if (l->runner && logengine_is_needed(l->cli))
        logengine_ask(&l->engine, l->cli);
    add_engine_source(l);
    if (l->runner_since)
        runner_tail = begin_engine(l, tail);
    for (size_t i = 0; i < l->count; i++) {
        struct source *s = &l->sources[i];

        if (s != l->runner_since)
            (void)begin(l, s, s->hidden ? 0 : s == l->runner ? runner_tail : tail);
        s->file.replaced = false;
        any |= l->sources[i].file.fd >= 0 || l->sources[i].file.why;
    }
    if (!any)
        cli_note(l->cli, "no logs yet below %s", l->cli->paths.logs);
    if (!l->follows && !print_merged(l))
        return EXIT_OK;
    tell_unread(l);
    return l->follows ? follow(l) : EXIT_OK;
}

/* The server's is read in any case by those who follow: it tells of restarts. */
static struct source *add_source(struct logs *l, const char *component, const char *path)
{
    bool wanted = has_component(l->cli, component);
    struct source *s = &l->sources[l->count];

    if (!wanted && (!l->follows || l->count))
        return NULL;
    s->hidden = !wanted;
    logfile_init(&s->file, component, path);
    l->count++;
    return s;
}

int cmd_server_logs_run(struct cli *cli)
{
    struct logs l = {.cli = cli, .follows = args_bool(&cli->args, "follow", false)};
    struct err err = {0};
    int64_t tail;
    int code;

    logengine_init(&l.engine);
    l.begun_ms = clock_wall_ms();
    (void)add_source(&l, "stigmer-server", cli->paths.log_server);
    l.runner = add_source(&l, "agent-runner", cli->paths.log_runner);
    (void)add_source(&l, "temporal", cli->paths.log_temporal);
    code = read_options(&l, &tail, &err) ? cli_fail(cli, &err) : show(&l, tail);
    if (l.greps)
        regfree(&l.grep);
    for (size_t i = 0; i < l.count; i++)
        logfile_done(&l.sources[i].file);
    logengine_done(&l.engine);
    buf_done(&l.out);
    return code;
}
