/* server start and server restart. */
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/own.h"
#include "base/str.h"
#include "prog/stigmer/cli.h"
#include "prog/stigmer/cmds.h"
#include "prog/stigmer/daemon.h"
#include "prog/stigmer/live.h"
#include "prog/stigmer/out.h"
#include "prog/stigmer/settings.h"
#include "prog/stigmer/spawn.h"
#include "prog/stigmer/stop.h"

#define WAIT_MS 30000
#define ASK_MS 2000
#define SETTLE_MS 16000 /* a server that ends gives its runs 10 s, and Temporal 3 s */

/* Everything is checked here, so that a mistake is told without a server being started for it. */
static enum err_code check_settings(const struct cli *cli, char *const *sets, struct config *c,
                                    struct err *err)
{
    OWN_BUF struct buf warnings = {0};
    int64_t wait_ms;
    enum err_code code = args_duration(&cli->args, "wait-timeout", WAIT_MS, &wait_ms, err);

    if (!code)
        code = settings_load(cli, c, err);
    for (; !code && *sets; sets++)
        code = config_set_pair(c, CONFIG_FROM_FLAG, *sets, err);
    if (!code)
        code = config_check_listen(c, err);
    if (code)
        return code;
    config_warnings(c, &warnings);
    if (warnings.len)
        cli_warn(cli, "%.*s", (int)warnings.len - 1, buf_text(&warnings));
    return ERR_OK;
}

/* Keys of the running server that a start would set otherwise. The server tells its settings in
 * "config" of its status. */
static void tell_differences(const struct cli *cli, const json_t *status, const struct config *c)
{
    const json_t *running = json_object_get(status, "config");
    OWN_BUF struct buf keys = {0};

    for (int k = 0; k < CONFIG_KEYS; k++) {
        const char *name = config_row((enum config_key)k)->name;
        const char *now = json_string_value(json_object_get(running, name));
        if (now && !str_eq(now, config_get_str(c, (enum config_key)k)))
            buf_printf(&keys, "%s%s (running: %s, asked: %s)", keys.len ? ", " : "", name,
                       *now ? now : "none", config_get_str(c, (enum config_key)k));
    }
    if (keys.len)
        cli_warn(cli, "the running server differs in %s; `stigmer server restart` applies it",
                 buf_text(&keys));
}

static void print_ready(const struct cli *cli, const json_t *o, bool already)
{
    OWN_BUF struct buf b = {0};
    const json_t *listen = json_object_get(o, "listen");
    json_t *item;
    size_t i;

    if (cli->format == CLI_JSON) {
        json_t *copy = json_object();
        json_object_set_new(copy, "schema", json_string("stigmer.cli/server-start/v1"));
        json_object_set_new(copy, "alreadyRunning", json_boolean(already));
        json_object_update_missing(copy, (json_t *)(uintptr_t)o);
        out_document(cli, copy);
        json_decref(copy);
        return;
    }
    if (cli->quiet)
        return;
    buf_puts(&b, already ? "already running" : "ready");
    json_array_foreach(listen, i, item) buf_printf(
        &b, "%s%s", i ? ", " : ": ", json_string_value(item) ? json_string_value(item) : "");
    buf_putc(&b, '\n');
    (void)out_flush(STDOUT_FILENO, &b);
}

static int fail_start(struct cli *cli, const struct err *err)
{
    if (!access(cli->paths.log_server, R_OK) && err->code != ERR_INVALID)
        cli->log_path = cli->paths.log_server;
    return cli_fail(cli, err);
}

/* A server that crashed is being started again by its keeper; one whose keeper was killed is
 * ending. Both take a moment, and then the question has an answer. */
static enum live_state ask_patiently(const struct cli *cli, json_t **ret_status)
{
    int64_t until = clock_mono_ms() + SETTLE_MS;
    bool told = false;

    for (;;) {
        enum live_state state = live_ask(cli, ASK_MS, ret_status, NULL);
        struct daemon_pids pids;

        if (state != LIVE_SILENT || clock_mono_ms() >= until)
            return state;
        daemon_find(&cli->paths, &pids);
        if (!told && clock_mono_ms() > until - SETTLE_MS + 1000) {
            told = true;
            cli_note(cli, pids.keeper.pid ? "waiting for the server that is being started again …"
                                          : "waiting for the server before to end …");
        }
        if (!pids.keeper.pid && pids.server.pid)
            (void)daemon_wait_end(&pids.server, until - clock_mono_ms());
        else
            (void)poll(NULL, 0, 50);
    }
}

/* Under the lock: is there one already? A process that lives and is silent is not started over. */
static enum err_code find_running(const struct cli *cli, json_t **ret_status, struct err *err)
{
    enum live_state state = ask_patiently(cli, ret_status);

    if (state != LIVE_SILENT)
        return ERR_OK;
    return err_hint(err,
                    err_set(err, ERR_CONFLICT,
                            "server start failed: a server process of %s lives and does not answer",
                            cli->paths.home),
                    "stigmer server restart");
}

static void print_warnings(const struct cli *cli, const json_t *ready)
{
    json_t *w;
    size_t i;

    json_array_foreach(json_object_get(ready, "warnings"), i, w) if (json_is_string(w))
        cli_warn(cli, "%s", json_string_value(w));
}

static int start_new(struct cli *cli, char *const *sets)
{
    struct spawn_how how = {.sets = (const char *const *)sets, .wait = true};
    struct err err = {0};
    json_t *ready = NULL;
    enum err_code code = args_duration(&cli->args, "wait-timeout", WAIT_MS, &how.timeout_ms, &err);

    how.wait = !args_bool(&cli->args, "no-wait", false);
    if (!code)
        code = spawn_server(cli, &how, &ready, &err);
    if (code)
        return fail_start(cli, &err);
    if (ready) {
        print_warnings(cli, ready);
        print_ready(cli, ready, false);
    } else {
        cli_note(cli, "starting; `stigmer server status` says when it is ready");
    }
    json_decref(ready);
    return EXIT_OK;
}

static int start_locked(struct cli *cli, char *const *sets, const struct config *config)
{
    struct err err = {0};
    json_t *status = NULL;

    if (find_running(cli, &status, &err))
        return fail_start(cli, &err);
    if (!status)
        return start_new(cli, sets);
    tell_differences(cli, status, config);
    print_ready(cli, status, true);
    json_decref(status);
    return EXIT_OK;
}

static int run_foreground(struct cli *cli, char *const *sets, int *lock)
{
    struct err err = {0};
    json_t *status = NULL;

    if (!find_running(cli, &status, &err) && !status) {
        own_fd(lock); /* the server itself keeps a second one out */
        *lock = -1;
        (void)spawn_foreground(cli, (const char *const *)sets, &err);
    } else if (status) {
        err_set(&err, ERR_CONFLICT, "server start failed: a server of %s runs already",
                cli->paths.home);
        err_hint(&err, ERR_CONFLICT, "stigmer server stop");
        json_decref(status);
    }
    return fail_start(cli, &err);
}

int cmd_server_start_run(struct cli *cli)
{
    char **sets = settings_from_options(cli);
    struct err err = {0};
    struct config config;
    OWN_FD int lock = -1;
    enum err_code code;
    int exit_code;

    config_init(&config);
    code = check_settings(cli, sets, &config, &err);
    if (!code)
        code = daemon_lock(&cli->paths, STOP_LOCK_MS, &lock, &err);
    if (code)
        exit_code = cli_fail(cli, &err);
    else if (args_bool(&cli->args, "foreground", false))
        exit_code = run_foreground(cli, sets, &lock);
    else
        exit_code = start_locked(cli, sets, &config);
    config_done(&config);
    settings_free(sets);
    return exit_code;
}

int cmd_server_start_restart(struct cli *cli)
{
    char **sets = settings_from_options(cli);
    struct err err = {0};
    struct config config;
    OWN_FD int lock = -1;
    bool was_running = false;
    enum err_code code;
    int exit_code;

    config_init(&config);
    code = check_settings(cli, sets, &config, &err);
    if (!code)
        code = daemon_lock(&cli->paths, STOP_LOCK_MS, &lock, &err);
    if (!code)
        code = stop_server(cli, &was_running, &err);
    exit_code = code ? cli_fail(cli, &err) : start_new(cli, sets);
    if (!code && exit_code && was_running)
        cli_warn(cli, "the server that ran before is stopped; none runs now");
    config_done(&config);
    settings_free(sets);
    return exit_code;
}
