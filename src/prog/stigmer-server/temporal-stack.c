#include "prog/stigmer-server/temporal-stack.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/str.h"
#include "prog/stigmer-server/status.h"
#include "prog/stigmer-server/temporal-unit.h"
#include "svc/supervise.h"
#include "svc/temporal-worker.h"

#define STOP_GRACE_MS 3000 /* its database is whole whenever it is killed */
#define HUNG_MS 10000      /* one that lives and answers nothing for so long is replaced */
#define RESTARTS_ENOUGH 3  /* a first start that ended as often does not get better */

struct temporal_stack {
    struct loop *loop;              /* borrowed */
    struct engine_temporal *engine; /* borrowed */
    const struct config *config;    /* borrowed */
    struct supervise *supervise;    /* owned; NULL: it is not ours to start */
    struct temporal_stack_events events;
    struct loop_timer *hung; /* owned; armed while one that is up does not answer */
    struct clock_mark since; /* of an external one: since it is as it is */
    bool was_reached;
    loop_fn *stopped;
    void *stopped_arg;
};

/* ---- what changes ------------------------------------------------------------------------ */

static void on_engine_change(void *arg)
{
    struct temporal_stack *s = arg;
    struct engine_temporal_report r;

    engine_temporal_report(s->engine, &r);
    if (r.reached != s->was_reached) {
        s->since = clock_mark_now();
        loop_timer_at(s->hung, r.reached ? INT64_MAX : loop_now_ms(s->loop) + HUNG_MS);
    }
    s->was_reached = r.reached;
    if (s->supervise && r.reached)
        supervise_ready(s->supervise);
    else if (s->supervise && *r.trouble && s->events.on_progress)
        s->events.on_progress("Temporal was started and does not answer yet", s->events.arg);
    s->events.on_change(s->events.arg);
}

static void on_hung(void *arg)
{
    struct temporal_stack *s = arg;

    if (s->supervise && !s->stopped)
        supervise_hung(s->supervise);
}

static void on_unit_change(enum unit_state now, void *arg)
{
    struct temporal_stack *s = arg;

    if (now == UNIT_STARTING)
        engine_temporal_greet(s->engine);
    if (now == UNIT_DOWN && s->stopped)
        loop_later(s->loop, s->stopped, s->stopped_arg);
    else if (!s->stopped)
        s->events.on_change(s->events.arg);
}

struct temporal_stack *temporal_stack_new(struct loop *loop, struct engine_temporal *engine,
                                          const struct config *config, const struct paths *paths,
                                          const struct temporal_stack_events *events)
{
    struct temporal_stack *s = mem_new(sizeof *s);
    const struct supervise_events ev = {.on_change = on_unit_change, .arg = s};

    s->loop = loop;
    s->engine = engine;
    s->config = config;
    s->events = *events;
    s->since = clock_mark_now();
    s->hung = loop_timer_new(loop, on_hung, s);
    engine_temporal_on_change(engine, on_engine_change, s);
    if (!config_temporal_is_managed(config))
        return s;
    s->supervise = supervise_new(loop, "temporal", temporal_unit_new(loop, config, paths), &ev);
    if (events->on_progress)
        events->on_progress("Temporal is starting", events->arg);
    supervise_start(s->supervise);
    return s;
}

void temporal_stack_free(struct temporal_stack *s)
{
    if (!s)
        return;
    engine_temporal_on_change(s->engine, NULL, NULL);
    supervise_free(s->supervise);
    loop_timer_free(s->hung);
    free(s);
}

void temporal_stack_stop(struct temporal_stack *s, loop_fn *done, void *arg)
{
    struct supervise_report r;

    if (!s || !s->supervise) {
        done(arg);
        return;
    }
    s->stopped = done;
    s->stopped_arg = arg;
    engine_temporal_rest(s->engine);
    supervise_report(s->supervise, &r);
    if (r.state == UNIT_DOWN)
        loop_later(s->loop, done, arg);
    else
        supervise_stop(s->supervise, STOP_GRACE_MS);
}

/* ---- how it is --------------------------------------------------------------------------- */

bool temporal_stack_is_settled(const struct temporal_stack *s)
{
    struct engine_temporal_report e;
    struct supervise_report r;

    if (!s)
        return true;
    if (s->supervise) {
        supervise_report(s->supervise, &r);
        return r.state == UNIT_UP;
    }
    engine_temporal_report(s->engine, &e);
    return e.reached || *e.trouble;
}

bool temporal_stack_has_failed(const struct temporal_stack *s, struct err *ret)
{
    struct supervise_report r;

    if (!s || !s->supervise)
        return false;
    supervise_report(s->supervise, &r);
    if (r.state != UNIT_FAILED && (r.state != UNIT_BACKOFF || r.restarts < RESTARTS_ENOUGH))
        return false;
    err_set(ret, r.last_code ? r.last_code : ERR_UNAVAILABLE, "Temporal cannot be started: %s",
            r.last_exit);
    err_hint(ret, ret->code, "%s", *r.last_hint ? r.last_hint : "stigmer server logs -c temporal");
    return true;
}

enum temporal_stack_state temporal_stack_state(const struct temporal_stack *s)
{
    struct engine_temporal_report e;
    struct supervise_report r = {.state = UNIT_UP};

    if (!s)
        return TEMPORAL_STACK_READY;
    engine_temporal_report(s->engine, &e);
    if (s->supervise)
        supervise_report(s->supervise, &r);
    if (r.state == UNIT_UP && e.reached && !*e.trouble)
        return TEMPORAL_STACK_READY;
    if (s->supervise ? r.state == UNIT_STARTING && !r.restarts : !*e.trouble)
        return TEMPORAL_STACK_STARTING;
    return TEMPORAL_STACK_DEGRADED;
}

const char *temporal_stack_ui(const struct temporal_stack *s)
{
    if (!s)
        return "";
    return s->supervise ? temporal_unit_ui(supervise_backend(s->supervise))
                        : config_get_str(s->config, CONFIG_TEMPORAL_UI);
}

static json_t *process_json(const struct temporal_stack *s, const char *trouble)
{
    const struct runner_backend *b = supervise_backend(s->supervise);
    struct supervise_report r;
    json_t *o;
    pid_t pid = b->ops->pid(b);

    supervise_report(s->supervise, &r);
    o = json_pack("{s:s,s:s,s:s,s:o,s:i,s:o}", "name", "temporal", "kind", "process", "state",
                  r.state == UNIT_UP && *trouble ? "degraded" : unit_state_name(r.state), "since",
                  status_time(r.since_wall_ms), "restarts", (int)r.restarts, "lastExit",
                  status_text(r.last_exit));
    if (pid) {
        json_object_set_new(o, "pid", json_integer(pid));
        json_object_set_new(o, "rssBytes", json_integer(status_rss(pid)));
    }
    return o;
}

static json_t *external_json(const struct temporal_stack *s)
{
    static const char *const names[] = {"ready", "starting", "degraded"};

    return json_pack("{s:s,s:s,s:s,s:o}", "name", "temporal", "kind", "external", "state",
                     names[temporal_stack_state(s)], "since",
                     status_time(clock_mark_wall_ms(&s->since)));
}

static json_t *count_json(int count)
{
    return count < 0 ? json_null() : json_integer(count);
}

void temporal_stack_look(const struct temporal_stack *s)
{
    if (s)
        engine_temporal_ask_pollers(s->engine);
}

json_t *temporal_stack_json(const struct temporal_stack *s)
{
    struct engine_temporal_report e;
    json_t *o;

    if (!s)
        return json_pack("{s:s,s:s,s:s}", "name", "temporal", "kind", "process", "state",
                         "disabled");
    engine_temporal_report(s->engine, &e);
    o = s->supervise ? process_json(s, e.trouble) : external_json(s);
    json_object_set_new(o, "address",
                        json_string(config_get_str(s->config, CONFIG_TEMPORAL_ADDRESS)));
    json_object_set_new(o, "namespace",
                        json_string(config_get_str(s->config, CONFIG_TEMPORAL_NAMESPACE)));
    json_object_set_new(o, "version", status_text(e.server_version));
    json_object_set_new(o, "ui", status_text(temporal_stack_ui(s)));
    if (*e.trouble)
        json_object_set_new(o, "trouble", json_string(e.trouble));
    json_object_set_new(o, "pollers",
                        json_pack("{s:o,s:o}", TEMPORAL_WORKER_QUEUE,
                                  count_json(e.workflow_pollers), ENGINE_TEMPORAL_RUNNER_QUEUE,
                                  count_json(e.runner_pollers)));
    return o;
}

void temporal_stack_put_warnings(const struct temporal_stack *s, json_t *list)
{
    struct engine_temporal_report e;
    const char *notice;

    if (!s)
        return;
    engine_temporal_report(s->engine, &e);
    notice = s->supervise ? temporal_unit_notice(supervise_backend(s->supervise)) : "";
    if (*notice)
        json_array_append_new(list, json_string(notice));
    if (!s->supervise && *e.trouble)
        json_array_append_new(list, json_sprintf("Temporal does not take work, and executions wait "
                                                 "until it does: %s",
                                                 e.trouble));
}
