#include "prog/agent-runner/worker-main.h"

#include <jansson.h>
#include <malloc.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/own.h"
#include "base/str.h"
#include "platform/sandbox.h"
#include "prog/agent-runner/endpoints.h"
#include "prog/agent-runner/healthcheck.h"
#include "prog/agent-runner/launcher.h"
#include "svc/activities.h"
#include "svc/worker.h"

#define SLOTS_DEFAULT 16
#define SLOTS_MAX 10000
#define KEYS_MAX ((off_t)1 << 20)
#define GRACE_MS 5000
#define LINGER_MS 30000 /* drained by the server, and nobody ends this process */
#define BACK_MS 1000    /* … on another machine: it waits for the next server */

struct program {
    struct loop *loop;
    struct worker *worker;
    struct endpoints endpoints;
    struct temporal *temporal;     /* owned; NULL: the server hands out work itself */
    struct activities *activities; /* owned; NULL with it */
    struct egress_proxy *proxy;    /* owned; NULL: tools have no way out, or a direct one */
    struct loop_timer *linger;
    bool ending;
    bool drained; /* nothing runs here any more */
    bool orphan;  /* the launcher is gone: no tool can be run here any more */
};

/* glibc keeps an arena per thread and never trims by itself: a waiting runner should be small. */
static void stay_small(void)
{
    (void)mallopt(M_ARENA_MAX, 1);
    (void)mallopt(M_TRIM_THRESHOLD, 64 << 10);
    (void)mallopt(M_MMAP_THRESHOLD, 128 << 10);
    (void)setenv("UV_THREADPOOL_SIZE", "1", 1);
}

static enum err_code read_keys(json_t **ret, struct err *err)
{
    struct stat st;
    ssize_t n;

    if (fstat(LAUNCHER_KEYS_FD, &st) < 0 || st.st_size > KEYS_MAX)
        return err_set(err, ERR_INVALID,
                       "descriptor %d holds no keys: the worker is started by the launcher",
                       LAUNCHER_KEYS_FD);
    char *text = mem_new((size_t)st.st_size + 1);
    n = pread(LAUNCHER_KEYS_FD, text, (size_t)st.st_size, 0);
    *ret = n >= 0 ? json_loadb(text, (size_t)n, 0, NULL) : NULL;
    explicit_bzero(text, (size_t)st.st_size);
    free(text);
    (void)close(LAUNCHER_KEYS_FD);
    if (!json_is_object(*ret))
        return err_set(err, ERR_INVALID, "the keys are no JSON object");
    return ERR_OK;
}

static enum err_code read_slots(unsigned *ret, struct err *err)
{
    const char *text = getenv("STIGMER_SLOTS");
    int64_t n = SLOTS_DEFAULT;
    enum err_code code = str_is_empty(text) ? ERR_OK : str_to_int(text, 1, SLOTS_MAX, &n, err);

    *ret = (unsigned)n;
    return code ? err_wrap(err, code, "STIGMER_SLOTS") : ERR_OK;
}

static void list_layers(const struct sandbox_report *r, struct server_layer ret[SANDBOX_LAYERS])
{
    for (int i = 0; i < SANDBOX_LAYERS; i++)
        ret[i] = (struct server_layer){sandbox_layer_name((enum sandbox_layer)i),
                                       r->missing[i][0] ? r->missing[i] : NULL};
}

static void on_attached(bool attached, void *arg)
{
    struct program *p = arg;

    healthcheck_tell(attached);
    if (p->activities)
        activities_open(p->activities, p->worker, attached);
}

static void on_over(const char *id, enum worker_over how, const char *phase, const struct err *why,
                    void *arg)
{
    struct program *p = arg;

    if (p->activities)
        activities_over(p->activities, id, how, phase, why);
}

static void on_waits(const char *id, bool waits, void *arg)
{
    struct program *p = arg;

    if (p->activities)
        activities_waits(p->activities, id, waits);
}

static bool is_remote(const struct program *p)
{
    return !str_starts(p->endpoints.address, "unix:");
}

static void on_linger(void *arg)
{
    struct program *p = arg;

    if (p->ending || !is_remote(p)) {
        loop_quit(p->loop);
        return;
    }
    p->drained = false;
    if (p->activities)
        activities_go_on(p->activities);
    worker_go_on(p->worker);
}

static void end_if_idle(void *arg)
{
    struct program *p = arg;

    if (p->ending && p->drained && (!p->activities || activities_is_idle(p->activities)))
        loop_quit(p->loop);
}

static void begin_drain(struct program *p)
{
    if (p->activities)
        activities_drain(p->activities, p->ending);
}

/* Drained by the server: it is about to end this process itself, when that is on its machine. */
static void on_drained(void *arg)
{
    struct program *p = arg;

    healthcheck_tell(false);
    p->drained = true;
    begin_drain(p);
    if (p->ending)
        end_if_idle(p);
    else
        loop_timer_in(p->linger, is_remote(p) ? BACK_MS : LINGER_MS);
}

/* The kernel ends this process then (launcher.c), but not at once. */
static void on_launcher_gone(void *arg)
{
    struct program *p = arg;

    p->orphan = true;
    loop_quit(p->loop);
}

static void on_term(void *arg)
{
    struct program *p = arg;

    if (p->ending)
        return;
    p->ending = true;
    loop_timer_in(p->linger, GRACE_MS + 1000);
    begin_drain(p);
    if (p->drained) {
        end_if_idle(p);
        return;
    }
    worker_drain(p->worker, GRACE_MS);
}

static enum err_code open_proxy(struct program *p, const struct sandbox_report *report,
                                struct toolhosts *hosts, struct err *err)
{
    enum err_code code;

    if (report->egress != SANDBOX_EGRESS_PROXY)
        return ERR_OK;
    code = egress_proxy_new(p->loop, getenv("STIGMER_SANDBOX_EGRESS"), &p->proxy, err);
    if (!code)
        toolhosts_allow_port(hosts, egress_proxy_port(p->proxy));
    return code;
}

static enum err_code open_temporal(struct program *p, const json_t *keys, unsigned slots,
                                   struct err *err)
{
    const char *queue = getenv("TASK_QUEUE");
    struct temporal_options o;
    enum err_code code = endpoints_temporal(&p->endpoints, keys, &o, err);

    if (code || !o.address)
        return code;
    if ((code = temporal_new(p->loop, &o, &p->temporal, err)))
        return err_wrap(err, code, "TEMPORAL_SERVICE_ADDRESS");
    p->activities =
        activities_new(p->loop, &(struct activities_options){
                                    .temporal = p->temporal,
                                    .queue = str_is_empty(queue) ? "agent_execution_runner" : queue,
                                    .domain = p->endpoints.domain,
                                    .slots = slots,
                                    .on_idle = end_if_idle,
                                    .arg = p});
    return ERR_OK;
}

static enum err_code open_worker(struct program *p, const struct sandbox_report *report,
                                 struct http *http, struct toolhosts *hosts, const json_t *keys,
                                 struct err *err)
{
    struct server_layer layers[SANDBOX_LAYERS];
    struct worker_options o = {.loop = p->loop,
                               .http = http,
                               .toolhosts = hosts,
                               .keys = keys,
                               .workspace_root = getenv("WORKSPACE_ROOT"),
                               .proxy = p->proxy,
                               .on_attached = on_attached,
                               .on_drained = on_drained,
                               .on_over = on_over,
                               .on_waits = on_waits,
                               .arg = p};
    enum err_code code = read_slots(&o.server.slots, err);

    if (code || (code = endpoints_server(&p->endpoints, keys, &o.server, err)) ||
        (code = open_temporal(p, keys, o.server.slots, err)))
        return code;
    list_layers(report, layers);
    o.server.version = STIGMER_VERSION;
    o.server.session = getenv("STIGMER_RUNNER_SESSION");
    o.server.host_paths = str_eq(getenv("STIGMER_HOST_PATHS"), "1");
    o.server.layers = layers;
    o.server.layer_count = SANDBOX_LAYERS;
    return worker_new(&o, &p->worker, err);
}

static enum err_code prepare(struct sandbox_report *ret_report, struct err *err)
{
    static const char *const needed[] = {"STIGMER_BACKEND_ENDPOINT", "WORKSPACE_ROOT",
                                         "STIGMER_SANDBOX_REPORT"};
    const char *level = getenv("STIGMER_LOG_LEVEL");
    enum log_level parsed;

    if (!str_is_empty(level)) {
        enum err_code code = log_level_parse(level, &parsed, err);

        if (code)
            return code;
        log_set_level(parsed);
    }
    for (size_t i = 0; i < sizeof needed / sizeof *needed; i++)
        if (str_is_empty(getenv(needed[i])))
            return err_set(err, ERR_INVALID, "%s is not set", needed[i]);
    return sandbox_report_parse(getenv("STIGMER_SANDBOX_REPORT"), ret_report, err);
}

static enum err_code work(struct program *p, struct err *err)
{
    struct sandbox_report report;
    json_t *keys = NULL;
    enum err_code code = prepare(&report, err);

    if (!code)
        code = read_keys(&keys, err);
    if (!code)
        code = sandbox_enter_worker(&report, err);
    if (!code) {
        p->loop = loop_new();
        p->linger = loop_timer_new(p->loop, on_linger, p);
        struct loop_signal *term = loop_signal_new(p->loop, SIGTERM, on_term, p);
        struct loop_signal *intr = loop_signal_new(p->loop, SIGINT, on_term, p);
        struct http *http = http_new(p->loop);
        struct toolhosts *hosts = toolhosts_new(p->loop, LAUNCHER_FD, on_launcher_gone, p);

        code = open_proxy(p, &report, hosts, err);
        if (!code)
            code = open_worker(p, &report, http, hosts, keys, err);
        if (!code) {
            /* From here on no outside error ends us: a server that is away comes back. */
            worker_start(p->worker);
            loop_run(p->loop);
        }
        worker_free(p->worker);
        activities_free(p->activities);
        temporal_free(p->temporal);
        endpoints_done(&p->endpoints);
        egress_proxy_free(p->proxy);
        toolhosts_free(hosts);
        http_free(http);
        loop_signal_free(term);
        loop_signal_free(intr);
        loop_timer_free(p->linger);
        loop_free(p->loop);
    }
    json_decref(keys);
    if (!code && p->orphan && !p->ending)
        code = err_set(err, ERR_UNAVAILABLE, "the launcher has ended before its worker");
    return code;
}

int worker_main(int argc, char **argv)
{
    struct program p = {0};
    struct err err = {0};
    enum err_code code;

    (void)argc;
    (void)argv;
    stay_small();
    log_set_unit("worker");
    code = work(&p, &err);
    if (!code)
        return EXIT_OK;
    log_error("cannot work", "code", err_code_name(code), "error", err.msg, "hint", err.hint);
    return (int)err_code_exit(code);
}
