/* server status: what the server says of itself, or what can be told without it. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/str.h"
#include "prog/stigmer/cli.h"
#include "prog/stigmer/cmds.h"
#include "prog/stigmer/conn.h"
#include "prog/stigmer/daemon.h"
#include "prog/stigmer/live.h"
#include "prog/stigmer/out.h"
#include "stigmer/execution/v1/service.pb-c.h"

#define ANSWER_MS 3000
#define AGAIN_MS 500 /* between two looks for a server that is away */
#define WATCH_PATH "/stigmer.execution.v1.ServerService/watchStatus"

static const char *text_of(const json_t *o, const char *key, const char *fallback)
{
    const char *s = json_string_value(json_object_get(o, key));

    return s ? s : fallback;
}

static void print_components(struct buf *b, const struct cli *cli, const json_t *list)
{
    static const char *const heads[] = {"COMPONENT", "STATE",    "KIND",   "ID",
                                        "SINCE",     "RESTARTS", "MEMORY", NULL};
    struct out_table t = {0};
    size_t i;
    json_t *c;

    out_table_row(&t, heads);
    json_array_foreach(list, i, c)
    {
        const char *container = text_of(c, "containerId", "");
        const char *since = text_of(c, "since", "");
        long long pid = json_integer_value(json_object_get(c, "pid"));
        long long rss = json_integer_value(json_object_get(c, "rssBytes"));
        char id[24] = "-", age[24] = "-", restarts[24], memory[24] = "-";
        int64_t since_ms;
        if (*container)
            snprintf(id, sizeof id, "%.12s", container);
        else if (pid)
            snprintf(id, sizeof id, "%lld", pid);
        if (clock_parse(since, &since_ms, NULL) == ERR_OK)
            out_age(since_ms, clock_wall_ms(), age);
        if (rss)
            snprintf(memory, sizeof memory, "%.1f MB", (double)rss / 1e6);
        snprintf(restarts, sizeof restarts, "%lld",
                 (long long)json_integer_value(json_object_get(c, "restarts")));
        out_table_row(&t, (const char *const[]){text_of(c, "name", "?"), text_of(c, "state", "?"),
                                                text_of(c, "kind", "-"), id, age, restarts, memory,
                                                NULL});
    }
    out_table_done(&t, b, cli->out_is_tty);
    json_array_foreach(list, i, c)
    {
        const char *why = text_of(c, "lastExit", NULL), *trouble = text_of(c, "trouble", NULL);
        if (trouble)
            buf_printf(b, "%s: %s\n", text_of(c, "name", "?"), trouble);
        if (why)
            buf_printf(b, "%s last ended: %s\n", text_of(c, "name", "?"), why);
    }
}

/* When there is more to tell than the agent-runner's own line does. */
static void print_runners(struct buf *b, const struct cli *cli, const json_t *list)
{
    static const char *const heads[] = {"RUNNER", "HOST", "VERSION", "RUNS", "SINCE", NULL};
    struct out_table t = {0};
    bool remote = false;
    size_t i;
    json_t *r;

    json_array_foreach(list, i, r) remote |= json_is_true(json_object_get(r, "remote"));
    if (!remote)
        return;
    buf_putc(b, '\n');
    out_table_row(&t, heads);
    json_array_foreach(list, i, r)
    {
        const json_t *slots = json_object_get(r, "slots");
        char age[24] = "-", runs[48];
        int64_t since_ms;

        if (clock_parse(text_of(r, "since", ""), &since_ms, NULL) == ERR_OK)
            out_age(since_ms, clock_wall_ms(), age);
        snprintf(runs, sizeof runs, "%lld/%lld",
                 (long long)json_integer_value(json_object_get(slots, "used")),
                 (long long)json_integer_value(json_object_get(slots, "max")));
        out_table_row(&t, (const char *const[]){text_of(r, "id", "?"), text_of(r, "host", "-"),
                                                text_of(r, "version", "-"), runs, age, NULL});
    }
    out_table_done(&t, b, cli->out_is_tty);
    json_array_foreach(list, i, r) if (json_object_get(r, "trouble"))
        buf_printf(b, "%s: %s\n", text_of(r, "id", "?"), text_of(r, "trouble", ""));
}

static void put_list(struct buf *b, const char *head, const json_t *list)
{
    size_t i;
    json_t *v;

    if (!json_array_size(list))
        return;
    buf_printf(b, "%-12s", head);
    json_array_foreach(list, i, v)
    {
        if (json_is_string(v))
            buf_printf(b, "%s%s", i ? ", " : "", json_string_value(v));
        else
            buf_printf(b, "%s%s (%s)", i ? ", " : "", text_of(v, "layer", "?"),
                       text_of(v, "why", "?"));
    }
    buf_putc(b, '\n');
}

/* Where Temporal is and who asks it for work; nothing with the other engine. */
static void put_temporal(struct buf *b, const json_t *components)
{
    const json_t *pollers;
    const char *queue;
    json_t *c, *count;
    size_t i;

    json_array_foreach(components, i, c)
    {
        if (!str_eq(text_of(c, "name", ""), "temporal") || !json_object_get(c, "address"))
            continue;
        buf_printf(b, "%-12s%s, namespace %s", "temporal", text_of(c, "address", "?"),
                   text_of(c, "namespace", "?"));
        if (json_is_string(json_object_get(c, "version")))
            buf_printf(b, ", version %s", text_of(c, "version", "?"));
        buf_printf(b, "\n%-12s%s\n", "ui", text_of(c, "ui", "none"));
        pollers = json_object_get(c, "pollers");
        json_object_foreach((json_t *)(uintptr_t)pollers, queue, count)
        {
            if (json_is_integer(count))
                buf_printf(b, "%-12s%lld on %s\n", "pollers", (long long)json_integer_value(count),
                           queue);
        }
    }
}

static void print_text(const struct cli *cli, const json_t *s)
{
    OWN_BUF struct buf b = {0};
    const json_t *sandbox = json_object_get(s, "sandbox");
    const char *state = text_of(s, "state", "?");
    char color = str_eq(state, "ready") ? 'g' : str_eq(state, "stopped") ? 'd' : 'y';

    buf_printf(&b, "%-12s%s%s%s\n", "state", out_color(cli->out_color, color), state,
               out_color(cli->out_color, '0'));
    buf_printf(&b, "%-12s%s\n", "home", text_of(s, "home", cli->paths.home));
    if (json_object_get(s, "engine"))
        buf_printf(&b, "%-12s%s\n", "engine", text_of(s, "engine", "?"));
    put_list(&b, "listen", json_object_get(s, "listen"));
    put_temporal(&b, json_object_get(s, "components"));
    put_list(&b, "sandbox", json_object_get(sandbox, "layers"));
    put_list(&b, "missing", json_object_get(sandbox, "missing"));
    put_list(&b, "warnings", json_object_get(s, "warnings"));
    buf_printf(&b, "%-12s%s\n", "logs", cli->paths.logs);
    if (json_array_size(json_object_get(s, "components"))) {
        buf_putc(&b, '\n');
        print_components(&b, cli, json_object_get(s, "components"));
    }
    print_runners(&b, cli, json_object_get(s, "runners"));
    (void)out_flush(STDOUT_FILENO, &b);
}

/* Without an answer: what the pid file tells. */
static json_t *made_up(const struct cli *cli, enum live_state state)
{
    json_t *o = json_object(), *components = json_array(), *warnings = json_array();
    struct daemon_pids pids;

    daemon_find(&cli->paths, &pids);
    json_object_set_new(o, "schema", json_string("stigmer.cli/server-status/v1"));
    json_object_set_new(o, "state", json_string(state == LIVE_GONE ? "stopped" : "degraded"));
    json_object_set_new(o, "home", json_string(cli->paths.home));
    if (pids.server.pid || pids.keeper.pid)
        json_array_append_new(
            components, json_pack("{s:s, s:s, s:s, s:i}", "name", "stigmer-server", "kind",
                                  "process", "state", "degraded", "pid",
                                  (int)(pids.server.pid ? pids.server.pid : pids.keeper.pid)));
    if (state == LIVE_SILENT)
        json_array_append_new(warnings, json_string("the server's process lives and does not "
                                                    "answer"));
    else if (pids.recorded)
        json_array_append_new(warnings,
                              json_string("the server ended without being stopped; `stigmer server "
                                          "start` goes on with its runs, `stigmer server stop` "
                                          "removes what it left"));
    json_object_set_new(o, "components", components);
    json_object_set_new(o, "warnings", warnings);
    return o;
}

/* There is a server, or there may be: it is the way to it that is wrong. */
static bool is_turned_away(enum err_code code)
{
    return code == ERR_UNAUTHENTICATED || code == ERR_DENIED || code == ERR_UNSUPPORTED ||
           code == ERR_INVALID;
}

/* ---- --watch ------------------------------------------------------------------------------- */

struct watch {
    const struct cli *cli;
    struct loop *loop; /* borrowed; of the connection, or of the wait for one */
    char started[40];  /* of the server that was seen last; "" none */
    bool shown, told_gone;
    enum live_state away; /* as it was told */
    int exit_code;        /* < 0: go on */
};

static void show(struct watch *w, const json_t *status)
{
    const struct cli *cli = w->cli;
    char now[CLOCK_TEXT];

    clock_format(clock_wall_ms(), now);
    if (cli->format == CLI_YAML && w->shown)
        (void)puts("---");
    if (cli->format == CLI_TEXT)
        printf("%sas of       %s\n", cli->out_is_tty ? "\033[H\033[2J" : w->shown ? "\n" : "", now);
    (void)fflush(stdout);
    w->shown = true;
    if (cli->format == CLI_TEXT)
        print_text(cli, status);
    else
        out_document(cli, status);
}

static void on_status(const ProtobufCMessage *msg, void *arg)
{
    struct watch *w = arg;
    json_t *status = json_loads(((const Exec__StatusResponse *)msg)->json, 0, NULL);
    const char *started = text_of(status, "startedAt", "");

    if (*w->started && !str_eq(w->started, started))
        cli_note(w->cli, "the server was started again");
    (void)str_format(w->started, sizeof w->started, "%s", started);
    w->told_gone = false;
    if (status)
        show(w, status);
    json_decref(status);
}

static void on_stream_end(const struct err *err, void *arg)
{
    struct watch *w = arg;

    if (err && is_turned_away(err->code))
        w->exit_code = cli_fail(w->cli, err);
    loop_quit(w->loop);
}

static void on_interrupt(void *arg)
{
    struct watch *w = arg;

    w->exit_code = EXIT_INTERRUPTED;
    loop_quit(w->loop);
}

static void on_deadline(void *arg)
{
    struct watch *w = arg;

    w->exit_code = EXIT_TIMEOUT;
    loop_quit(w->loop);
}

static void on_again(void *arg)
{
    struct watch *w = arg;

    loop_quit(w->loop);
}

/* Runs the loop until something quits it: the stream's end, Ctrl-C, the time that was given. */
static void run_until(struct watch *w, int64_t again_ms, int64_t deadline_ms)
{
    struct loop_signal *interrupt = loop_signal_new(w->loop, SIGINT, on_interrupt, w);
    struct loop_signal *term = loop_signal_new(w->loop, SIGTERM, on_interrupt, w);
    struct loop_timer *again = loop_timer_new(w->loop, on_again, w);
    struct loop_timer *deadline = loop_timer_new(w->loop, on_deadline, w);
    int64_t left = deadline_ms - clock_mono_ms();

    if (again_ms)
        loop_timer_in(again, again_ms);
    if (deadline_ms)
        loop_timer_in(deadline, left > 0 ? left : 0);
    loop_run(w->loop);
    loop_timer_free(again);
    loop_timer_free(deadline);
    loop_signal_free(interrupt);
    loop_signal_free(term);
}

static void follow_stream(struct watch *w, struct conn *conn, int64_t deadline_ms)
{
    Exec__StatusRequest request = EXEC__STATUS_REQUEST__INIT;
    struct rpc_call_spec spec = {.path = WATCH_PATH,
                                 .request = &request.base,
                                 .response = &exec__status_response__descriptor,
                                 .on_message = on_status,
                                 .on_end = on_stream_end,
                                 .arg = w};

    w->loop = conn->loop;
    (void)rpc_client_call(conn->client, &spec);
    run_until(w, 0, deadline_ms);
}

/* Told once for each way of being away: a server that ends is silent first, then gone. */
static void tell_gone(struct watch *w)
{
    struct daemon_pids pids;
    enum live_state state;
    json_t *status;

    daemon_find(&w->cli->paths, &pids);
    state = pids.keeper.pid || pids.server.pid ? LIVE_SILENT : LIVE_GONE;
    if (w->told_gone && w->away == state)
        return;
    if (!w->told_gone)
        cli_note(w->cli, "waiting for a server …");
    w->told_gone = true;
    w->away = state;
    status = made_up(w->cli, state);
    show(w, status);
    json_decref(status);
}

static int watch(const struct cli *cli)
{
    struct watch w = {.cli = cli, .exit_code = -1};
    int64_t deadline_ms = cli->timeout_ms ? clock_mono_ms() + cli->timeout_ms : 0;
    struct err err = {0};
    struct conn conn;

    while (w.exit_code < 0) {
        enum err_code code = conn_open(cli, &conn, &err);

        if (code && is_turned_away(code))
            return cli_fail(cli, &err);
        if (!code) {
            follow_stream(&w, &conn, deadline_ms);
            conn_close(&conn);
        }
        if (w.exit_code >= 0)
            break;
        tell_gone(&w);
        w.loop = loop_new();
        run_until(&w, AGAIN_MS, deadline_ms);
        loop_free(w.loop);
    }
    return w.exit_code;
}

int cmd_server_status_run(struct cli *cli)
{
    json_t *status;
    struct err err = {0};
    enum live_state state;
    bool ready;

    if (args_bool(&cli->args, "watch", false))
        return watch(cli);
    state = live_ask(cli, cli->timeout_ms ? cli->timeout_ms : ANSWER_MS, &status, &err);
    if (!status && is_turned_away(err.code))
        return cli_fail(cli, &err);
    if (!status)
        status = made_up(cli, state);
    ready = str_eq(json_string_value(json_object_get(status, "state")), "ready");
    if (cli->format == CLI_TEXT)
        print_text(cli, status);
    else
        out_document(cli, status);
    json_decref(status);
    if (state == LIVE_GONE) {
        if (cli->format == CLI_TEXT)
            cli_note(cli, "hint: stigmer server start");
        return EXIT_NOT_RUNNING;
    }
    if (state == LIVE_SILENT && cli->format == CLI_TEXT)
        cli_note(cli,
                 "hint: stigmer server logs --tail 20; when it stays like this: stigmer server "
                 "restart");
    return ready ? EXIT_OK : EXIT_FAILED;
}
