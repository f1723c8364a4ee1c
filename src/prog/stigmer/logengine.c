#include "prog/stigmer/logengine.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/own.h"
#include "base/str.h"
#include "platform/proc.h"
#include "prog/stigmer/daemon.h"
#include "prog/stigmer/out.h"
#include "prog/stigmer/spawn.h"

#define ASKED_MAX ((size_t)1 << 30) /* what the engine itself keeps is far less */

struct asking {
    struct logengine *e;
    struct buf out;
    bool is_over;
};

void logengine_init(struct logengine *e)
{
    *e = (struct logengine){.fd = -1, .stream = -1};
}

void logengine_done(struct logengine *e)
{
    logengine_stop(e);
    own_fd(&e->fd);
    e->fd = -1;
    containerline_set_done(&e->shown);
}

bool logengine_is_needed(const struct cli *cli)
{
    struct daemon_pids pids;

    if (access(cli->paths.engine_file, F_OK) < 0)
        return false;
    daemon_find(&cli->paths, &pids);
    return !pids.server.pid || proc_is_stopped(pids.server.pid);
}

static void take_line(const char *line, size_t len, void *arg)
{
    struct asking *a = arg;

    if (containerline_set_take(&a->e->shown, line, len))
        return;
    if (a->out.len + len >= ASKED_MAX) {
        a->is_over = true;
        return;
    }
    buf_put(&a->out, line, len);
    buf_putc(&a->out, '\n');
}

static void note_new(struct logengine *e, const struct buf *out)
{
    const char *p = buf_text(out), *end = p + out->len, *lf;

    for (; p < end && (lf = memchr(p, '\n', (size_t)(end - p))); p = lf + 1, e->lines++)
        containerline_set_add(&e->shown, p, (size_t)(lf - p));
}

static enum err_code make_file(struct logengine *e, struct err *err)
{
    if (e->fd < 0) {
        e->fd = memfd_create("runner-logs", MFD_CLOEXEC);
        (void)str_format(e->path, sizeof e->path, "/proc/self/fd/%d", e->fd);
    }
    return e->fd < 0 ? err_sys(err, errno, "make a file in memory") : ERR_OK;
}

static enum err_code keep(struct logengine *e, struct buf *out, struct err *err)
{
    note_new(e, out);
    return !out->len || out_flush(e->fd, out) ? ERR_OK
                                              : err_sys(err, errno, "keep what the engine says");
}

static void warn(const struct cli *cli, const struct err *err)
{
    cli_warn(cli, "what the runner's container wrote meanwhile cannot be had: %s", err->msg);
}

void logengine_ask(struct logengine *e, const struct cli *cli)
{
    static const char *const args[] = {"--runner-logs", NULL};
    struct asking a = {.e = e};
    struct err err = {0}, other;
    enum err_code code = make_file(e, &err);

    buf_init(&a.out, ASKED_MAX);
    containerline_set_reset(&e->shown);
    if (!code)
        code = spawn_lines(cli, args, take_line, &a, &err);
    if (keep(e, &a.out, code ? &other : &err) && !code)
        code = err.code;
    if (!code && a.is_over)
        code = err_set(&err, ERR_LIMIT, "it is more than %zu MiB", ASKED_MAX >> 20);
    if (code)
        warn(cli, &err);
    buf_done(&a.out);
}

/* ---- followed ------------------------------------------------------------------------------ */

void logengine_follow(struct logengine *e, const struct cli *cli)
{
    static const char *const args[] = {"--runner-logs", "--follow", NULL};
    struct err err;

    containerline_set_reset(&e->shown);
    if (make_file(e, &err) || spawn_stream(cli, args, &e->stream, &e->pid, &err))
        warn(cli, &err);
    else
        (void)fcntl(e->stream, F_SETFL, O_NONBLOCK);
}

static void take_lines(struct asking *a, struct buf *part)
{
    const char *p = buf_text(part), *end = p + part->len, *lf;

    for (; p < end && (lf = memchr(p, '\n', (size_t)(end - p))); p = lf + 1)
        take_line(p, (size_t)(lf - p), a);
    buf_shift(part, (size_t)(p - buf_text(part)));
}

/* A line is at most as long as the server makes them (svc/container-log.h). */
void logengine_take(struct logengine *e, const struct cli *cli)
{
    struct asking a = {.e = e};
    char chunk[65536];
    struct err err;
    ssize_t n = -1;

    errno = EAGAIN;
    while (e->stream >= 0 && (n = read(e->stream, chunk, sizeof chunk)) > 0) {
        buf_put(&e->part, chunk, (size_t)n);
        take_lines(&a, &e->part);
        if (keep(e, &a.out, &err))
            warn(cli, &err);
    }
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
        logengine_stop(e);
    buf_done(&a.out);
}

void logengine_stop(struct logengine *e)
{
    if (e->stream < 0)
        return;
    own_fd(&e->stream);
    e->stream = -1;
    spawn_end(e->pid);
    buf_done(&e->part);
}

bool logengine_has(struct logengine *e, const struct logline *line)
{
    return line->lead && e->shown.count &&
           containerline_set_take(&e->shown, line->text - line->lead, line->len + line->lead);
}
