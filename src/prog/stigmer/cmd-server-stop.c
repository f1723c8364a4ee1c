/* server stop: ask, then insist, then remove what is left. */
#include <signal.h>

#include "base/clock.h"
#include "base/own.h"
#include "prog/stigmer/cli.h"
#include "prog/stigmer/cmds.h"
#include "prog/stigmer/daemon.h"
#include "prog/stigmer/live.h"
#include "prog/stigmer/spawn.h"
#include "prog/stigmer/stop.h"

int cmd_server_stop_run(struct cli *cli)
{
    OWN_FD int lock = -1;
    struct err err = {0};
    bool was_running;
    enum err_code code = daemon_lock(&cli->paths, STOP_LOCK_MS, &lock, &err);

    if (code && code != ERR_TIMEOUT &&
        code != ERR_INVALID) { /* a home that is read-only, or gone */
        cli_note(cli, "%s; stopping all the same", err.msg);
        code = ERR_OK;
    }
    if (!code)
        code = stop_server(cli, &was_running, &err);
    if (code) {
        if (code != ERR_INVALID) /* what was typed is in no log */
            cli->log_path = cli->paths.log_server;
        return cli_fail(cli, &err);
    }
    cli_note(cli, was_running ? "stopped" : "the server is not running");
    return EXIT_OK;
}
