#include "svc/backend-process.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/own.h"
#include "base/str.h"
#include "platform/logsink.h"

#define WORDS 600 /* bytes of what a foreign program wrote last */

struct process {
    struct runner_backend base;
    struct loop *loop;                    /* borrowed */
    struct backend_process_config config; /* borrowed text */
    struct loop_child *child;             /* owned; NULL while nothing runs */
    pid_t pid;                            /* of child; also the id of its session and group */
    struct loop_timer *later;             /* owned; tells what came of a start after it returned */
    struct logsink *sink;                 /* owned; while it runs */
    struct loop_io *output;               /* owned; likewise */
    int output_fd;                        /* owned; the end of a pipe that it writes to; or -1 */
    struct err start_err;
    bool started;
    bool in_line;      /* the last line of the log has no end yet */
    char words[WORDS]; /* of a foreign program */
    size_t words_len;
    char trouble[LOGSINK_TROUBLE]; /* with its log; "" */
};

static struct process *self(struct runner_backend *b)
{
    return (struct process *)b; /* base is the first member */
}

/* What the launcher did not get to end: its group. Tool hosts die with their launcher by the
 * kernel's parent-death signal; this catches whatever else stayed in the session's group. */
static void kill_group(const struct process *p)
{
    if (p->pid > 1)
        kill(-p->pid, SIGKILL);
}

static void keep_words(struct process *p, const char *text, size_t len)
{
    size_t over;

    if (len > sizeof p->words) {
        text += len - sizeof p->words;
        len = sizeof p->words;
    }
    over = p->words_len + len > sizeof p->words ? p->words_len + len - sizeof p->words : 0;
    memmove(p->words, p->words + over, p->words_len - over);
    memcpy(p->words + p->words_len - over, text, len);
    p->words_len += len - over;
}

/* Its last two lines, as one. A time in front of them is of no use there. */
static void last_words(const struct process *p, char *ret, size_t size)
{
    size_t end = p->words_len, at, lines = 0, len = 0;

    while (end > 0 && strchr("\r\n ", p->words[end - 1]))
        end--;
    for (at = end; at > 0 && (p->words[at - 1] != '\n' || ++lines < 2); at--)
        ;
    for (; at < end && len + 3 < size; at++) {
        unsigned char c = (unsigned char)p->words[at];

        if (c == '\n')
            ret[len++] = ';';
        ret[len++] = c < ' ' ? ' ' : (char)c;
    }
    ret[len] = '\0';
}

/* Line by line, with the time in front; a time of its own ("time=… ") makes way for it. */
static void write_stamped(struct process *p, const char *text, size_t len)
{
    while (len) {
        const char *end = memchr(text, '\n', len);
        size_t n = end ? (size_t)(end - text) + 1 : len;
        char now[CLOCK_TEXT], stamp[CLOCK_TEXT + 8];

        if (!p->in_line) {
            const char *space =
                n > 5 && memcmp(text, "time=", 5) == 0 ? memchr(text, ' ', n) : NULL;
            size_t skip = space ? (size_t)(space - text) + 1 : 0;

            clock_format(clock_wall_ms(), now);
            (void)str_format(stamp, sizeof stamp, "at=%s ", now);
            logsink_write(p->sink, stamp, strlen(stamp));
            text += skip;
            len -= skip;
            n -= skip;
        }
        logsink_write(p->sink, text, n);
        p->in_line = !end;
        text += n;
        len -= n;
    }
}

/* Reads at most so much at once, so that a loud child does not hold the loop up. */
static bool read_some(struct process *p)
{
    char text[16384];
    bool was = *p->trouble;
    ssize_t n = read(p->output_fd, text, sizeof text);

    if (n <= 0)
        return false;
    if (p->config.foreign) {
        keep_words(p, text, (size_t)n);
        write_stamped(p, text, (size_t)n);
    } else {
        logsink_write(p->sink, text, (size_t)n);
    }
    if (logsink_trouble(p->sink, p->trouble) != was && p->base.events.on_trouble)
        p->base.events.on_trouble(p->base.events.arg);
    return true;
}

static void close_output(struct process *p)
{
    while (p->output_fd >= 0 && read_some(p)) /* what lies in the pipe yet; it is not blocking */
        ;
    loop_io_free(p->output);
    p->output = NULL;
    if (p->output_fd >= 0)
        (void)close(take_fd(&p->output_fd));
    if (p->in_line)
        logsink_write(p->sink, "\n", 1);
    p->in_line = false;
    logsink_close(p->sink);
    p->sink = NULL;
    p->trouble[0] = '\0';
}

static void on_output(int events, void *arg)
{
    struct process *p = arg;

    (void)events;
    if (!read_some(p) && errno != EAGAIN && errno != EINTR)
        loop_io_want(p->output, 0); /* its end: everybody who wrote is gone */
}

static void on_exit_status(int exit_status, int term_signal, void *arg)
{
    struct process *p = arg;
    char words[400] = "";
    struct err why;

    kill_group(p);
    close_output(p);
    loop_child_free(p->child);
    p->child = NULL;
    p->pid = 0;
    if (term_signal)
        err_set(&why, ERR_OK, "killed by signal %d (%s)", term_signal, strsignal(term_signal));
    else if (p->config.foreign)
        last_words(p, words, sizeof words);
    if (!term_signal)
        err_set(&why, exit_status == EXIT_SANDBOX && !p->config.foreign ? ERR_SANDBOX : ERR_OK,
                "exit code %d%s%s", exit_status, *words ? ": " : "", words);
    p->base.events.on_exited(&why, p->base.events.arg);
}

static enum err_code open_output(struct process *p, int *ret_write_fd, struct err *err)
{
    int ends[2];
    enum err_code code = logsink_open(p->config.log_file, p->config.log_max_size,
                                      p->config.log_max_files, &p->sink, err);

    if (code)
        return code;
    if (pipe2(ends, O_CLOEXEC) < 0)
        return err_sys(err, errno, "make a pipe for the log of %s", p->config.what);
    (void)fcntl(ends[0], F_SETFL, O_NONBLOCK);
    p->output_fd = ends[0];
    p->output = loop_io_new(p->loop, p->output_fd, on_output, p);
    loop_io_want(p->output, LOOP_READ);
    *ret_write_fd = ends[1];
    return ERR_OK;
}

static enum err_code spawn(struct process *p, struct err *err)
{
    OWN_FD int log = -1;
    int fds[3] = {-1, -1, -1};
    struct loop_spawn spawn = {.argv = p->config.argv,
                               .envp = p->config.envp,
                               .cwd = "/",
                               .fd_map = fds,
                               .fd_count = 3,
                               .new_session = true};
    enum err_code code = open_output(p, &log, err);

    fds[1] = fds[2] = log;
    if (!code)
        code = loop_child_spawn(p->loop, &spawn, on_exit_status, p, &p->child, err);
    if (code)
        close_output(p);
    return code;
}

static void tell_start(void *arg)
{
    struct process *p = arg;

    if (p->started)
        p->base.events.on_started(p->base.events.arg);
    else
        p->base.events.on_blocked(&p->start_err, p->base.events.arg);
}

static void start(struct runner_backend *b)
{
    struct process *p = self(b);

    p->words_len = 0;
    p->started = spawn(p, &p->start_err) == ERR_OK;
    if (p->started) {
        p->pid = loop_child_pid(p->child);
        log_info("process started", "component", p->config.what, "pid", log_int(p->pid));
    }
    loop_timer_in(p->later, 0);
}

static void stop(struct runner_backend *b)
{
    loop_child_kill(self(b)->child, SIGTERM);
}

static void kill_now(struct runner_backend *b)
{
    kill_group(self(b));
    loop_child_kill(self(b)->child, SIGKILL);
}

static pid_t pid_of(const struct runner_backend *b)
{
    return ((const struct process *)b)->pid;
}

static const char *nothing(const struct runner_backend *b)
{
    (void)b;
    return "";
}

static const char *trouble_of(const struct runner_backend *b)
{
    return ((const struct process *)b)->trouble;
}

static const char *name_of(const struct runner_backend *b)
{
    (void)b;
    return "process";
}

static void free_backend(struct runner_backend *b)
{
    struct process *p = self(b);

    kill_group(p);
    close_output(p);
    loop_child_free(p->child);
    loop_timer_free(p->later);
    free(p);
}

struct runner_backend *backend_process_new(struct loop *loop,
                                           const struct backend_process_config *config)
{
    static const struct runner_backend_ops ops = {.kind = name_of,
                                                  .runtime = name_of,
                                                  .start = start,
                                                  .stop = stop,
                                                  .kill = kill_now,
                                                  .pid = pid_of,
                                                  .container_id = nothing,
                                                  .trouble = trouble_of,
                                                  .free = free_backend};
    struct process *p = mem_new(sizeof *p);

    p->base.ops = &ops;
    p->loop = loop;
    p->config = *config;
    p->output_fd = -1;
    p->later = loop_timer_new(loop, tell_start, p);
    return &p->base;
}
