#include "prog/stigmer-server/serve.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/own.h"
#include "base/str.h"
#include "platform/notify.h"
#include "platform/rpc-server.h"
#include "platform/runner-token.h"
#include "platform/sock-owner.h"
#include "platform/store.h"
#include "prog/stigmer-server/folders.h"
#include "prog/stigmer-server/home-watch.h"
#include "prog/stigmer-server/keeper-link.h"
#include "prog/stigmer-server/listeners.h"
#include "prog/stigmer-server/runner-unit.h"
#include "prog/stigmer-server/session-runners.h"
#include "prog/stigmer-server/status-watch.h"
#include "prog/stigmer-server/status.h"
#include "prog/stigmer-server/temporal-access.h"
#include "prog/stigmer-server/temporal-stack.h"
#include "prog/stigmer-server/workflow-api.h"
#include "svc/api.h"
#include "svc/engine-temporal.h"
#include "svc/execution-api.h"
#include "svc/grpc-health.h"
#include "svc/grpc-reflection.h"
#include "svc/journal.h"
#include "svc/keys.h"
#include "svc/queue.h"
#include "svc/runner-api.h"
#include "svc/schema.h"
#include "svc/supervise.h"

#define CASSETTE_MAX ((size_t)4 << 20)
#define STOP_GRACE_MS 10000

struct serve {
    const struct settings_args *args; /* borrowed */
    const struct paths *paths;        /* borrowed */
    struct config config;
    int told_fd; /* the person's start; -1 once told */
    char keys_folder[KEYS_PATH];
    char token[KEYS_TOKEN];
    struct listeners listeners;

    struct loop *loop;
    struct store *store;
    struct journal *journal;
    struct queue *engine;
    struct temporal_access access;         /* to Temporal */
    struct temporal *temporal;             /* owned; NULL: the engine is the embedded one */
    struct engine_temporal *dispatch;      /* owned; NULL with it */
    struct temporal_stack *temporal_stack; /* owned; likewise */
    struct rpc_server *rpc;
    struct api *api;
    struct runner_api *runner_api;
    struct execution_api *execution_api;
    struct grpc_health *health;
    struct grpc_reflection *reflection;
    struct workflow_api workflow_api;
    struct supervise *supervise;
    struct session_runners *session_runners; /* NULL without a runner of ours */
    struct loop_signal *on_term, *on_int;
    struct loop_io *keeper; /* NULL: there is none */
    struct home_watch *home_watch;
    bool is_homeless;            /* the home's folders are gone, or another's */
    struct loop_timer *watchdog; /* a service manager's; NULL: none asks */
    int64_t watchdog_ms;
    struct runner_api_config runner_config;
    void *cassette; /* owned */
    struct status_view view;
    bool has_runner_token;
    bool ready;
    int code;
};

/* ---- telling how the start goes ---------------------------------------------------------- */

static void tell(struct serve *s, json_t *take_line)
{
    char *text = json_dumps(take_line, JSON_COMPACT);
    OWN_BUF struct buf line = {0};

    json_decref(take_line);
    if (text && s->told_fd >= 0) {
        buf_printf(&line, "%s\n", text);
        if (write(s->told_fd, line.data, line.len) < 0)
            log_debug("nobody waits for this start any more");
    }
    free(text);
}

static void tell_error(struct serve *s, const struct err *err)
{
    log_error("start failed", "why", err->msg, "hint", err->hint);
    notify_status("", err->msg);
    tell(s, json_pack("{s:{s:s,s:i,s:s,s:s}}", "error", "code", err_code_name(err->code), "exit",
                      (int)err_code_exit(err->code), "message", err->msg, "hint", err->hint));
    s->code = (int)err_code_exit(err->code);
    if (!s->code)
        s->code = EXIT_FAILED;
}

static void tell_ready(struct serve *s)
{
    json_t *warnings = json_array();

    s->ready = true;
    log_info("ready", "listen", s->listeners.name);
    notify_status("READY=1", s->listeners.name);
    status_put_warnings(&s->view, warnings);
    tell(s, json_pack("{s:b,s:[s],s:o}", "ready", 1, "listen", s->listeners.name, "warnings",
                      warnings));
    own_fd(&s->told_fd);
    s->told_fd = -1;
    keeper_link_up(s->args->keeper_fd);
}

/* ---- settings ---------------------------------------------------------------- */

static enum err_code load_cassette(struct serve *s, struct err *err)
{
    const char *url = config_get_str(&s->config, CONFIG_LLM_BASE_URL);
    const char *path = str_starts(url, "file://") ? url + 7
                       : str_starts(url, "file:") ? url + 5
                                                  : url;
    OWN_FD int fd = -1;
    struct stat st;

    if (!str_eq(config_get_str(&s->config, CONFIG_LLM_PROVIDER), "replay") || str_is_empty(path))
        return ERR_OK;
    fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &st) < 0)
        return err_hint(err, err_sys(err, errno, "open the recording '%s'", path),
                        "set llm.base_url to a file that 'stigmer run --record' wrote");
    if (!S_ISREG(st.st_mode) || (size_t)st.st_size > CASSETTE_MAX)
        return err_set(err, ERR_LIMIT, "the recording '%s' is no file of at most %zu bytes", path,
                       CASSETTE_MAX);
    s->cassette = mem_array((size_t)st.st_size + 1, 1);
    s->runner_config.cassette_len = (size_t)st.st_size;
    s->runner_config.cassette = s->cassette;
    if (read(fd, s->cassette, (size_t)st.st_size) != st.st_size)
        return err_sys(err, errno, "read the recording '%s'", path);
    return ERR_OK;
}

static void fill_runner_config(struct serve *s)
{
    const struct config *c = &s->config;

    s->runner_config.token = s->token;
    s->runner_config.home = s->paths->home;
    s->runner_config.workspace_root = s->paths->workspace;
    s->runner_config.provider = config_get_str(c, CONFIG_LLM_PROVIDER);
    s->runner_config.model = config_get_str(c, CONFIG_LLM_MODEL);
    s->runner_config.base_url =
        str_eq(s->runner_config.provider, "replay") ? "" : config_get_str(c, CONFIG_LLM_BASE_URL);
    s->runner_config.max_output_tokens = config_get_int(c, CONFIG_LLM_MAX_OUTPUT_TOKENS);
    s->runner_config.context_tokens = config_get_int(c, CONFIG_LLM_CONTEXT_TOKENS);
    s->runner_config.max_turns = (uint32_t)config_get_int(c, CONFIG_BUDGET_MAX_TURNS);
    s->runner_config.max_tokens = config_get_int(c, CONFIG_BUDGET_MAX_TOKENS);
    s->runner_config.max_duration_ms = config_get_duration(c, CONFIG_BUDGET_MAX_DURATION);
    s->runner_config.require_approval = config_get_str(c, CONFIG_TOOLS_REQUIRE_APPROVAL);
}

static enum err_code prepare(struct serve *s, struct err *err)
{
    OWN_BUF struct buf warnings = {0};
    char notice[STATUS_TEXT];
    enum log_level level;
    enum err_code code;

    if ((code = settings_load(s->args, s->paths, &s->config, err)) ||
        (code = folders_make(s->paths, notice, sizeof notice, err)) ||
        (code = load_cassette(s, err)))
        return code;
    if (log_level_parse(config_get_str(&s->config, CONFIG_SERVER_LOG_LEVEL), &level, NULL) ==
        ERR_OK)
        log_set_level(level);
    keeper_link_log(s->args->keeper_fd, config_get_size(&s->config, CONFIG_SERVER_LOG_MAX_SIZE),
                    (int)config_get_int(&s->config, CONFIG_SERVER_LOG_MAX_FILES));
    if (*notice)
        status_warn(&s->view, notice);
    fill_runner_config(s);
    config_warnings(&s->config, &warnings);
    if (warnings.len) {
        char *line, *rest = (char *)warnings.data;
        while ((line = strsep(&rest, "\n")) && *line)
            status_warn(&s->view, line);
    }
    return ERR_OK;
}

static void begin_stop(int64_t grace_ms, void *arg);

/* ---- opening ----------------------------------------------------------------------------- */

/* What a person should know of the way in. */
static void warn_of_listeners(struct serve *s)
{
    char words[STATUS_TEXT];

    if (!s->listeners.has_token && !sock_owner_can_tell())
        status_warn(&s->view, "other users of this machine can call the API on TCP: the kernel "
                              "does not tell here whose a connection is");
    if (s->listeners.tls &&
        tls_context_is_stale(s->listeners.tls, clock_wall_ms() / 1000, words, sizeof words))
        status_warn(&s->view, words);
}

/* What a client did wrong is its own affair and told there, too; what we did is more. The texts of
 * invalid requests may quote them. */
static void on_call_ended(const struct rpc_ended_call *call, void *arg)
{
    enum err_code code = call->err ? call->err->code : ERR_OK;
    bool ours = code == ERR_IO || code == ERR_CORRUPT || code == ERR_INTERNAL;

    (void)arg;
    if (!code || code == ERR_CANCELLED)
        log_debug(code ? "call cancelled" : "call", "method", call->path, "ms",
                  log_int(call->took_ms));
    else
        log_kv_(ours ? LOG_WARN : LOG_INFO, "call failed", "method", call->path, "code",
                err_code_name(code), "ms", log_int(call->took_ms), "why",
                code == ERR_INVALID ? "" : call->err->msg);
}

/* ---- the files it is found by ------------------------------------------------------------- */

/* What came by the old socket stays; what comes by the new one is told apart by nobody. */
static void on_file_gone(const char *path, void *arg)
{
    struct serve *s = arg;
    struct err err;

    if (s->view.stopping)
        return;
    if (str_eq(path, s->paths->pid_file)) {
        keeper_link_pids(s->args->keeper_fd);
        log_warn("pid file was removed; it is written again", "path", path);
    } else if (listeners_restore(s->rpc, s->paths, path, &s->listeners, &err)) {
        log_error("socket was removed and cannot be put back", "path", path, "why", err.msg, "hint",
                  "stigmer server restart");
    } else {
        log_warn("socket was removed; it is there again", "path", path);
    }
}

static void on_home_gone(const char *folder, void *arg)
{
    struct serve *s = arg;

    log_error("the server's folder was moved or removed: it ends", "folder", folder, "hint",
              "stigmer server start, with --home when the home was moved");
    s->is_homeless = true; /* what has that path from now on is not ours to remove: */
    keys_remove(s->keys_folder);
    begin_stop(0, s);
}

static void watch_home(struct serve *s)
{
    const struct home_watch_events events = {on_file_gone, on_home_gone, s};

    s->home_watch = home_watch_new(s->loop, s->paths, &events);
}

static enum err_code open_temporal(struct serve *s, struct err *err)
{
    char identity[128] = "", host[80] = "";
    struct temporal_options o;
    enum err_code code;

    if (!str_eq(config_get_str(&s->config, CONFIG_ENGINE), "temporal"))
        return temporal_access_put_keys(&s->config, s->keys_folder, err); /* none are left */
    (void)gethostname(host, sizeof host - 1);
    (void)str_format(identity, sizeof identity, "%d@%s", (int)getpid(), host);
    if ((code = temporal_access_open(&s->config, &s->access, err)) ||
        (code = temporal_access_put_keys(&s->config, s->keys_folder, err)))
        return code;
    temporal_access_options(&s->config, &s->access, &o);
    o.identity = identity;
    if ((code = temporal_new(s->loop, &o, &s->temporal, err)))
        return err_wrap(err, code, "temporal.address");
    s->dispatch = engine_temporal_new(
        s->loop, s->store, s->journal, s->engine, s->temporal,
        &(struct engine_temporal_options){
            .heartbeat_ms = config_get_duration(&s->config, CONFIG_TEMPORAL_HEARTBEAT),
            .make_namespace = config_temporal_is_managed(&s->config)});
    return ERR_OK;
}

/* ---- the token of runners on other machines ------------------------------------------------ */

static enum err_code make_runner_token(bool rotate, char **ret, struct err *err, void *arg)
{
    struct serve *s = arg;
    bool is_new = rotate || !s->has_runner_token;
    enum err_code code = runner_token_make(s->paths->home, rotate, ret, err);

    if (!code && is_new)
        runner_api_set_remote_token(s->runner_api, s->rpc, *ret);
    s->has_runner_token |= !code;
    return code;
}

static enum err_code load_runner_token(struct serve *s, struct err *err)
{
    char *token = NULL;
    enum err_code code = runner_token_get(s->paths->home, &token, err);

    if (code == ERR_NOT_FOUND) /* nobody has asked for one: no runner is let in from outside */
        return ERR_OK;
    if (code)
        return code;
    runner_api_set_remote_token(s->runner_api, s->rpc, token);
    s->has_runner_token = true;
    explicit_bzero(token, strlen(token));
    free(token);
    return ERR_OK;
}

static enum err_code open_services(struct serve *s, struct err *err)
{
    enum err_code code;

    /* The store's lock first: from here on the home is ours, and so are its keys. */
    if ((code = store_open(s->loop, s->paths->data, schema(), &s->store, err)) ||
        (code = keys_dir(s->paths->home, s->keys_folder, err)) ||
        (code = keys_open(s->keys_folder, s->token, err)) ||
        (code = settings_put_keys(s->args, s->paths, &s->config, s->keys_folder, err)))
        return code;
    s->journal = journal_new(s->loop, s->store);
    if ((code = queue_new(s->loop, s->store, s->journal, NULL, &s->engine, err)) ||
        (code = open_temporal(s, err)))
        return code;
    s->rpc = rpc_server_new(s->loop, &(struct rpc_limits){.own_user_only = true});
    rpc_server_observe(s->rpc, on_call_ended, NULL);
    s->api = api_new(s->loop, s->store, s->journal, queue_engine(s->engine), s->paths->home);
    s->runner_api = runner_api_new(s->loop, s->store, s->journal, s->engine, &s->runner_config);
    s->execution_api = execution_api_new(s->loop, s->store, s->journal, queue_engine(s->engine));
    api_add(s->rpc, s->api);
    execution_api_add(s->rpc, s->execution_api);
    runner_api_add(s->rpc, s->runner_api);
    s->workflow_api = (struct workflow_api){s->journal, s->dispatch, s->temporal, NULL};
    workflow_api_add(s->rpc, &s->workflow_api);
    s->view.paths = s->paths;
    s->view.config = &s->config;
    s->view.engine = s->engine;
    s->view.runner_api = s->runner_api;
    s->view.listen = s->listeners.name;
    s->view.keys_folder = s->keys_folder;
    s->view.started = clock_mark_now();
    s->view.watch = status_watch_new(s->loop, &s->view);
    s->view.on_shutdown = begin_stop;
    s->view.on_runner_token = make_runner_token;
    s->view.arg = s;
    status_add(s->rpc, &s->view);
    s->health = grpc_health_new(s->rpc);
    s->reflection = grpc_reflection_new(s->rpc);
    if ((code = load_runner_token(s, err)))
        return code;
    code = listeners_open(s->rpc, &s->config, s->paths, s->args->sockets, &s->listeners, err);
    if (!code)
        warn_of_listeners(s);
    return code;
}

/* ---- the runner -------------------------------------------------------------------------- */

static void on_runner_change(void *arg)
{
    struct serve *s = arg;

    if (s->supervise && runner_api_local(s->runner_api))
        supervise_ready(s->supervise);
    if (s->session_runners)
        session_runners_changed(s->session_runners);
}

static void on_runner_silent(const char *session, void *arg)
{
    struct serve *s = arg;

    if (session && s->session_runners)
        session_runners_hung(s->session_runners, session);
    else if (!session && s->supervise)
        supervise_hung(s->supervise);
}

static void on_session_deleted(const char *session_id, void *arg)
{
    struct serve *s = arg;

    if (s->session_runners)
        session_runners_end(s->session_runners, session_id);
}

static void quit(void *arg)
{
    struct serve *s = arg;

    loop_quit(s->loop);
}

/* Last: runners hand their work back to it. */
static void stop_temporal(void *arg)
{
    struct serve *s = arg;

    temporal_stack_stop(s->temporal_stack, quit, s);
}

static bool runner_is_up(const struct serve *s)
{
    struct supervise_report r;

    if (!s->supervise)
        return true;
    supervise_report(s->supervise, &r);
    return r.state == UNIT_UP;
}

static bool runner_has_failed(const struct serve *s, struct err *ret)
{
    struct supervise_report r;

    if (!s->supervise || runner_unit_waits(supervise_backend(s->supervise)))
        return false;
    supervise_report(s->supervise, &r);
    if (r.state != UNIT_FAILED &&
        (r.state != UNIT_BACKOFF || (r.last_code == ERR_OK && r.restarts < 3)))
        return false;
    err_set(ret, r.last_code ? r.last_code : ERR_UNAVAILABLE,
            "the agent-runner cannot be started: %s", r.last_exit);
    err_hint(ret, ret->code, "%s",
             *r.last_hint ? r.last_hint : "stigmer server logs -c agent-runner");
    return true;
}

static void on_unit_progress(const char *what, void *arg)
{
    struct serve *s = arg;

    tell(s, json_pack("{s:s}", "progress", what));
}

/* A first start that cannot have a runner, or the Temporal it was to bring along, has failed; later
 * that is retried and status says so. */
static void check_start(void *arg)
{
    struct serve *s = arg;
    struct err err;

    if (s->ready || s->code)
        return;
    if (runner_has_failed(s, &err) || temporal_stack_has_failed(s->temporal_stack, &err)) {
        tell_error(s, &err);
        begin_stop(0, s);
    } else if (runner_is_up(s) && temporal_stack_is_settled(s->temporal_stack)) {
        tell_ready(s);
    } else if (runner_is_up(s)) {
        on_unit_progress("waiting for Temporal to answer", s);
    } else if (temporal_stack_is_settled(s->temporal_stack) && s->temporal_stack) {
        on_unit_progress("waiting for the agent-runner", s);
    }
}

static void on_unit_change(enum unit_state now, void *arg)
{
    struct serve *s = arg;

    if (now == UNIT_UP && s->session_runners)
        session_runners_changed(s->session_runners);
    if (s->view.stopping && now == UNIT_DOWN)
        loop_later(s->loop, stop_temporal, s);
    else if (!s->view.stopping)
        loop_later(s->loop, check_start, s);
}

static void on_temporal_change(void *arg)
{
    struct serve *s = arg;

    if (!s->view.stopping)
        loop_later(s->loop, check_start, s);
}

static void start_temporal(struct serve *s)
{
    const struct temporal_stack_events events = {on_temporal_change, on_unit_progress, s};

    if (s->dispatch)
        s->temporal_stack = temporal_stack_new(s->loop, s->dispatch, &s->config, s->paths, &events);
    s->view.temporal = s->temporal_stack;
    s->workflow_api.stack = s->temporal_stack;
}

static void start_runner(struct serve *s)
{
    const struct supervise_events events = {on_unit_change, on_unit_progress, s};
    const struct runner_unit_options o = {
        .config = &s->config, .paths = s->paths, .keys_folder = s->keys_folder, .token = s->token};

    runner_api_on_change(s->runner_api, on_runner_change, s);
    queue_on_silent(s->engine, on_runner_silent, s);
    api_on_session_deleted(s->api, on_session_deleted, s);
    if (str_eq(config_get_str(&s->config, CONFIG_RUNNER_KIND), "none")) {
        if (s->view.past->restarts)
            tell_ready(s);
        else
            check_start(s);
        return;
    }
    s->supervise = supervise_new(s->loop, "agent-runner", runner_unit_new(s->loop, &o), &events);
    s->view.supervise = s->supervise;
    s->session_runners = session_runners_new(s->loop, s->engine, s->supervise, &o);
    s->view.session_runners = s->session_runners;
    supervise_start(s->supervise);
    if (s->view.past->restarts) /* nobody waits for this start; without a runner it goes on, too */
        tell_ready(s);
}

/* ---- the end ----------------------------------------------------------------------------- */

static void stop_main_runner(void *arg)
{
    struct serve *s = arg;
    struct supervise_report r;

    if (!s->supervise) {
        stop_temporal(s);
        return;
    }
    supervise_stop(s->supervise, STOP_GRACE_MS); /* on_unit_change hears that it is down */
    supervise_report(s->supervise, &r);
    if (r.state == UNIT_DOWN)
        loop_later(s->loop, stop_temporal, s);
}

/* Those of single sessions first: it is beside the main one that they are. */
static void stop_runner(void *arg)
{
    struct serve *s = arg;

    if (s->session_runners)
        session_runners_stop(s->session_runners, STOP_GRACE_MS, stop_main_runner, s);
    else
        stop_main_runner(s);
}

static void begin_stop(int64_t grace_ms, void *arg)
{
    struct serve *s = arg;
    struct engine *e = queue_engine(s->engine);

    if (s->view.stopping)
        return;
    s->view.stopping = true;
    log_info("stopping", "grace_ms", log_int(grace_ms));
    notify_status("STOPPING=1", "runs reach a step that can be resumed");
    grpc_health_set(s->health, false);
    e->ops->drain(e, grace_ms, stop_runner, s);
}

/* From the loop that does the work: a server that hangs does not say that it lives. */
static void pet_watchdog(void *arg)
{
    struct serve *s = arg;

    notify_send("WATCHDOG=1");
    loop_timer_in(s->watchdog, s->watchdog_ms);
}

/* One that is gone is told by the kernel (a signal), not by its socket. */
static void on_keeper(int events, void *arg)
{
    struct serve *s = arg;
    char peek;

    (void)events;
    if (recv(s->args->keeper_fd, &peek, 1, MSG_PEEK | MSG_DONTWAIT) == 0)
        loop_io_want(s->keeper, 0);
    else if (keeper_link_take(s->args->keeper_fd, s->view.keeper_trouble) &&
             *s->view.keeper_trouble)
        notify_status("", s->view.keeper_trouble);
}

static void on_signal(void *arg)
{
    begin_stop(STOP_GRACE_MS, arg);
}

static void close_all(struct serve *s)
{
    home_watch_free(s->home_watch);
    status_watch_free(s->view.watch);
    session_runners_free(s->session_runners);
    supervise_free(s->supervise);
    temporal_stack_free(s->temporal_stack);
    grpc_reflection_free(s->reflection);
    grpc_health_free(s->health);
    rpc_server_free(s->rpc);
    listeners_done(&s->listeners);
    execution_api_free(s->execution_api);
    runner_api_free(s->runner_api);
    api_free(s->api);
    engine_temporal_free(s->dispatch);
    temporal_free(s->temporal);
    temporal_access_done(&s->access);
    queue_free(s->engine);
    store_free(s->store);
    journal_free(s->journal);
    loop_timer_free(s->watchdog);
    loop_io_free(s->keeper);
    loop_signal_free(s->on_term);
    loop_signal_free(s->on_int);
    loop_free(s->loop);
    free(s->cassette);
    config_done(&s->config);
    if (s->store && !s->is_homeless) { /* we were the one who had this home */
        (void)unlink(s->paths->api_sock);
        (void)unlink(s->paths->runner_sock);
        keys_remove(s->keys_folder);
    }
    own_fd(&s->told_fd);
}

int serve_run(const struct settings_args *args, const struct paths *paths)
{
    struct keeper_past past;
    struct serve s = {.args = args, .paths = paths, .view = {.past = &past}};
    struct err err;

    (void)prctl(PR_SET_DUMPABLE, 0, 0, 0,
                0);                /* keys pass through here: no core file, no debugger */
    (void)mallopt(M_ARENA_MAX, 2); /* two threads that allocate: the loop's and the writer's */
    keeper_link_read(args->keeper_fd, &past);
    s.told_fd = past.restarts ? -1 : args->ready_fd;
    config_init(&s.config);
    s.loop = loop_new();
    if (args->keeper_fd >= 0) {
        s.keeper = loop_io_new(s.loop, args->keeper_fd, on_keeper, &s);
        loop_io_want(s.keeper, LOOP_READ);
    }
    s.on_term = loop_signal_new(s.loop, SIGTERM, on_signal, &s);
    s.on_int = args->foreground ? loop_signal_new(s.loop, SIGINT, on_signal, &s) : NULL;
    s.watchdog_ms = notify_watchdog_ms(getppid());
    if (s.watchdog_ms) {
        s.watchdog = loop_timer_new(s.loop, pet_watchdog, &s);
        pet_watchdog(&s);
    }
    if (prepare(&s, &err) || open_services(&s, &err)) {
        tell_error(&s, &err);
    } else { /* from here on no outside error ends us */
        watch_home(&s);
        start_temporal(&s);
        start_runner(&s);
        loop_run(s.loop);
    }
    close_all(&s);
    return s.code;
}
