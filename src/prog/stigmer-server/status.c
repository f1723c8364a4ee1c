#include "prog/stigmer-server/status.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/str.h"
#include "prog/stigmer-server/runner-unit.h"
#include "prog/stigmer-server/status-runners.h"
#include "prog/stigmer-server/status-watch.h"
#include "stigmer/execution/v1/service.pb-c.h"

int64_t status_rss(pid_t pid)
{
    char path[64];
    long pages = 0;
    FILE *f;

    (void)str_format(path, sizeof path, "/proc/%d/statm", (int)pid);
    f = fopen(path, "re");
    if (f && fscanf(f, "%*s %ld", &pages) != 1)
        pages = 0;
    if (f)
        fclose(f);
    return (int64_t)pages * sysconf(_SC_PAGESIZE);
}

json_t *status_time(int64_t wall_ms)
{
    char text[CLOCK_TEXT];

    clock_format(wall_ms, text);
    return json_string(text);
}

json_t *status_text(const char *text)
{
    return str_is_empty(text) ? json_null() : json_string(text);
}

/* What the last one wrote before it ended by itself. */
static json_t *last_lines(const struct keeper_past *p)
{
    json_t *list = json_array();

    for (size_t i = 0; i < KEEPER_LINK_LINES; i++)
        if (*p->last_lines[i])
            json_array_append_new(list, json_string(p->last_lines[i]));
    return list;
}

static json_t *server_json(const struct status_view *v)
{
    return json_pack("{s:s,s:s,s:s,s:i,s:o,s:i,s:o,s:o,s:I,s:s}", "name", "stigmer-server", "kind",
                     "process", "state", v->stopping ? "stopping" : "ready", "pid", (int)getpid(),
                     "since", status_time(clock_mark_wall_ms(&v->started)), "restarts",
                     (int)v->past->restarts, "lastExit", status_text(v->past->last_exit),
                     "lastLines", last_lines(v->past), "rssBytes", (json_int_t)status_rss(getpid()),
                     "version", STIGMER_VERSION);
}

static const char *runner_state(const struct supervise_report *r)
{
    return *r->trouble ? "degraded" : unit_state_name(r->state);
}

static void put_identity(const struct status_view *v, struct runner_backend *b, json_t *o)
{
    const char *container = b->ops->container_id(b);
    const struct runner_api_seen *seen = runner_api_seen(v->runner_api);
    pid_t pid = b->ops->pid(b);

    if (pid)
        json_object_set_new(o, "pid", json_integer(pid));
    if (!str_is_empty(container)) {
        json_object_set_new(o, "containerId", json_string(container));
        json_object_set_new(o, "image",
                            json_string(config_get_str(v->config, CONFIG_RUNNER_IMAGE)));
        json_object_set_new(o, "network",
                            json_string(str_eq(config_egress(v->config), "allow")
                                            ? "bridge"
                                            : config_get_str(v->config, CONFIG_RUNNER_NETWORK)));
    }
    json_object_set_new(o, "rssBytes", json_integer(seen->rss_bytes));
    json_object_set_new(o, "version", json_string(seen->version));
}

static json_t *runner_json(const struct status_view *v)
{
    struct supervise_report r;
    struct runner_backend *b;
    json_t *o;

    if (!v->supervise)
        return json_pack("{s:s,s:s,s:s}", "name", "agent-runner", "kind", "external", "state",
                         queue_runners(v->engine, NULL) ? "ready" : "disabled");
    supervise_report(v->supervise, &r);
    b = supervise_backend(v->supervise);
    o = json_pack("{s:s,s:s,s:s,s:s,s:o,s:i,s:o}", "name", "agent-runner", "kind", b->ops->kind(b),
                  "state", runner_state(&r), "runtime", b->ops->runtime(b), "since",
                  status_time(r.since_wall_ms), "restarts", (int)r.restarts, "lastExit",
                  status_text(r.last_exit));
    put_identity(v, b, o);
    if (*r.trouble)
        json_object_set_new(o, "trouble", json_string(r.trouble));
    json_object_set_new(o, "slots",
                        json_pack("{s:i,s:i}", "used", (int)queue_running(v->engine), "max",
                                  (int)config_get_int(v->config, CONFIG_RUNNER_SLOTS)));
    return o;
}

static json_t *sandbox_json(const struct status_view *v)
{
    const Runner__AttachRequest *a = runner_api_seen(v->runner_api)->attach;
    json_t *layers = json_array(), *missing = json_array();

    const struct runner_backend *b = v->supervise ? supervise_backend(v->supervise) : NULL;

    if (b && str_eq(b->ops->kind(b), "container"))
        json_array_append_new(layers, json_string("container"));
    for (size_t i = 0; a && i < a->n_layers; i++)
        json_array_append_new(layers, json_string(a->layers[i]));
    for (size_t i = 0; a && i < a->n_missing; i++)
        json_array_append_new(missing, json_pack("{s:s,s:s}", "layer", a->missing[i]->layer, "why",
                                                 a->missing[i]->why));
    return json_pack("{s:o,s:o}", "layers", layers, "missing", missing);
}

static const char *whole_state(const struct status_view *v)
{
    enum temporal_stack_state temporal = temporal_stack_state(v->temporal);
    struct supervise_report r = {.state = UNIT_UP, .trouble = ""};

    if (v->stopping)
        return "stopping";
    if (v->supervise)
        supervise_report(v->supervise, &r);
    if (temporal == TEMPORAL_STACK_DEGRADED || *r.trouble ||
        (r.state != UNIT_UP && (r.state != UNIT_STARTING || r.restarts)))
        return "degraded";
    return temporal == TEMPORAL_STACK_READY && r.state == UNIT_UP ? "ready" : "starting";
}

/* What a later start compares its wishes with. */
static json_t *config_json(const struct config *c)
{
    json_t *o = json_object();

    for (int k = 0; k < CONFIG_KEYS; k++)
        json_object_set_new(o, config_row((enum config_key)k)->name,
                            json_string(config_get_str(c, (enum config_key)k)));
    return o;
}

json_t *status_json(const struct status_view *v)
{
    char unix_address[PATHS_MAX + 8];
    json_t *warnings = json_array(), *components;

    (void)str_format(unix_address, sizeof unix_address, "unix:%s", v->paths->api_sock);
    status_put_warnings(v, warnings);
    components =
        json_pack("[o,o,o]", server_json(v), runner_json(v), temporal_stack_json(v->temporal));
    if (v->session_runners)
        session_runners_put(v->session_runners, components);
    return json_pack("{s:s,s:s,s:s,s:s,s:o,s:[s,s],s:o,s:o,s:o,s:o,s:o,s:{s:s,s:s,s:s}}", "schema",
                     "stigmer.cli/server-status/v1", "state", whole_state(v), "home",
                     v->paths->home, "engine", config_get_str(v->config, CONFIG_ENGINE),
                     "startedAt", status_time(clock_mark_wall_ms(&v->started)), "listen",
                     unix_address, v->listen, "components", components, "runners",
                     status_runners(v->runner_api), "sandbox", sandbox_json(v), "warnings",
                     warnings, "config", config_json(v->config), "runnerFolders", "workspace",
                     v->paths->workspace, "api", v->paths->runner_dir, "keys", v->keys_folder);
}

void status_put_warnings(const struct status_view *v, json_t *list)
{
    const char *notice = v->supervise ? runner_unit_notice(supervise_backend(v->supervise)) : "";

    for (size_t i = 0; i < v->warning_count; i++)
        json_array_append_new(list, json_string(v->warnings[i]));
    if (*notice)
        json_array_append_new(list, json_string(notice));
    temporal_stack_put_warnings(v->temporal, list);
    if (*v->keeper_trouble)
        json_array_append_new(list, json_string(v->keeper_trouble));
}

void status_warn(struct status_view *v, const char *text)
{
    if (v->warning_count < STATUS_WARNINGS)
        (void)str_format(v->warnings[v->warning_count++], STATUS_TEXT, "%s", text);
}

static void status(struct rpc_call *call, const ProtobufCMessage *msg, void *arg)
{
    Exec__StatusResponse r = EXEC__STATUS_RESPONSE__INIT;
    const struct status_view *v = arg;
    json_t *j = status_json(v);

    (void)msg;
    temporal_stack_look(v->temporal);
    r.json = json_dumps(j, JSON_COMPACT);
    rpc_call_reply(call, &r.base);
    free(r.json);
    json_decref(j);
}

static void watch(struct rpc_call *call, const ProtobufCMessage *msg, void *arg)
{
    const struct status_view *v = arg;

    (void)msg;
    status_watch_add(v->watch, call);
}

static void shut_down(struct rpc_call *call, const ProtobufCMessage *msg, void *arg)
{
    struct status_view *v = arg;
    const Exec__ShutdownRequest *req = (const Exec__ShutdownRequest *)msg;
    Exec__ShutdownResponse r = EXEC__SHUTDOWN_RESPONSE__INIT;
    int64_t grace = req->grace_ms < 0 ? 0 : req->grace_ms > 3600000 ? 3600000 : req->grace_ms;

    rpc_call_reply(call, &r.base);
    v->on_shutdown(grace, v->arg);
}

static void runner_token(struct rpc_call *call, const ProtobufCMessage *msg, void *arg)
{
    struct status_view *v = arg;
    Exec__RunnerTokenResponse r = EXEC__RUNNER_TOKEN_RESPONSE__INIT;
    struct err err;

    if (v->on_runner_token(((const Exec__RunnerTokenRequest *)msg)->rotate, &r.token, &err,
                           v->arg)) {
        rpc_call_fail(call, &err);
        return;
    }
    rpc_call_reply(call, &r.base);
    explicit_bzero(r.token, strlen(r.token));
    free(r.token);
}

void status_add(struct rpc_server *s, struct status_view *v)
{
    static const struct rpc_method methods[] = {
        {.name = "status",
         .request = &exec__status_request__descriptor,
         .response = &exec__status_response__descriptor,
         .fn = status},
        {.name = "watchStatus",
         .request = &exec__status_request__descriptor,
         .response = &exec__status_response__descriptor,
         .streams = true,
         .fn = watch},
        {.name = "shutdown",
         .request = &exec__shutdown_request__descriptor,
         .response = &exec__shutdown_response__descriptor,
         .fn = shut_down},
        {.name = "runnerToken",
         .request = &exec__runner_token_request__descriptor,
         .response = &exec__runner_token_response__descriptor,
         .fn = runner_token},
        {0},
    };
    static const struct rpc_service service = {"stigmer.execution.v1.ServerService", methods};

    rpc_server_add(s, &service, v);
}
