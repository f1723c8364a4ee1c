#include "prog/stigmer/logengine.h"

#include <errno.h>
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
    *e = (struct logengine){.fd = -1};
}

void logengine_done(struct logengine *e)
{
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

void logengine_ask(struct logengine *e, const struct cli *cli)
{
    static const char *const args[] = {"--runner-logs", NULL};
    struct asking a = {.e = e};
    struct err err = {0};
    enum err_code code = ERR_OK;

    if (e->fd < 0) {
        e->fd = memfd_create("runner-logs", MFD_CLOEXEC);
        (void)str_format(e->path, sizeof e->path, "/proc/self/fd/%d", e->fd);
    }
    buf_init(&a.out, ASKED_MAX);
    containerline_set_reset(&e->shown);
    if (e->fd < 0)
        code = err_sys(&err, errno, "make a file in memory");
    if (!code)
        code = spawn_lines(cli, args, take_line, &a, &err);
    note_new(e, &a.out);
    if (!code && a.out.len && !out_flush(e->fd, &a.out))
        code = err_sys(&err, errno, "keep what the engine says");
    if (!code && a.is_over)
        code = err_set(&err, ERR_LIMIT, "it is more than %zu MiB", ASKED_MAX >> 20);
    if (code)
        cli_warn(cli, "what the runner's container wrote meanwhile cannot be had: %s", err.msg);
    buf_done(&a.out);
}

bool logengine_has(struct logengine *e, const struct logline *line)
{
    return line->lead && e->shown.count &&
           containerline_set_take(&e->shown, line->text - line->lead, line->len + line->lead);
}
