#include "prog/stigmer/stop.h"

#include <signal.h>

#include "prog/stigmer/daemon.h"
#include "prog/stigmer/live.h"
#include "prog/stigmer/spawn.h"

#define GRACE_MS 10000
#define AFTER_GRACE_MS 8000 /* the server's own ending and Temporal's, beyond the runs' time */
#define SIGNAL_MS 5000
#define TELL_MS 1000

/* True when both processes have ended within the time. */
static bool wait_both(const struct daemon_pids *p, int64_t ms)
{
    return daemon_wait_end(&p->keeper, ms) && daemon_wait_end(&p->server, ms);
}

static enum err_code insist(const struct cli *cli, const struct daemon_pids *p, struct err *err)
{
    static const int signals[] = {SIGTERM, SIGKILL};

    for (int i = 0; i < 2; i++) {
        if (i)
            cli_note(cli, "the server does not end; killing it");
        /* The keeper first: it would start a server again that ends unasked. */
        (void)daemon_signal(&p->keeper, signals[i]);
        (void)daemon_signal(&p->server, signals[i]);
        if (wait_both(p, TELL_MS))
            return ERR_OK;
        cli_note(cli, "waiting for the server to end …");
        if (wait_both(p, SIGNAL_MS - TELL_MS))
            return ERR_OK;
    }
    return err_set(err, ERR_INTERNAL, "server stop failed: process %d does not end",
                   (int)(daemon_is_alive(&p->keeper) ? p->keeper.pid : p->server.pid));
}

static enum err_code end_processes(const struct cli *cli, const struct daemon_pids *p,
                                   int64_t grace_ms, bool force, struct err *err)
{
    bool asked = !force && live_shutdown(cli, grace_ms, NULL) == ERR_OK;

    if (asked && wait_both(p, 900))
        return ERR_OK;
    if (asked) {
        cli_note(
            cli,
            "waiting for runs to reach a step that can be resumed, and for the stack to end …");
        if (wait_both(p, grace_ms + AFTER_GRACE_MS))
            return ERR_OK;
    }
    return insist(cli, p, err);
}

enum err_code stop_server(const struct cli *cli, bool *ret_was_running, struct err *err)
{
    bool force = args_bool(&cli->args, "force", false);
    struct daemon_pids pids;
    int64_t grace_ms;
    enum err_code code = args_duration(&cli->args, "grace", GRACE_MS, &grace_ms, err);

    if (code)
        return code;
    daemon_find(&cli->paths, &pids);
    *ret_was_running = pids.keeper.pid || pids.server.pid;
    if (*ret_was_running)
        code = end_processes(cli, &pids, force ? 0 : grace_ms, force, err);
    if (code)
        return code;
    code = spawn_cleanup(cli, err);
    if (code)
        return err_wrap(err, code, "the server is stopped, but what it left could not be removed");
    return ERR_OK;
}
