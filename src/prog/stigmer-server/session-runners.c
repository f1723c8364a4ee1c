#include "prog/stigmer-server/session-runners.h"

#include <stdbool.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"

#define GRACE_MS 10000
#define MOST 64 /* containers at once; more sessions wait for one to end */

struct one {
    struct session_runners *all; /* borrowed */
    struct one *next;
    char *session, *folder, *name; /* owned */
    struct supervise *supervise;   /* owned */
    struct loop_timer *idle;       /* owned */
    int64_t busy_ms;               /* when it last had work */
    bool ending;
};

struct session_runners {
    struct loop *loop;        /* borrowed */
    struct queue *engine;     /* borrowed */
    struct supervise *beside; /* borrowed */
    struct runner_unit_options o;
    int64_t idle_ms;
    struct one *first; /* owned */
    size_t count;
    bool stopping;
    loop_fn *done;
    void *arg;
};

static void free_one(struct one *r)
{
    for (struct one **p = &r->all->first; *p; p = &(*p)->next)
        if (*p == r) {
            *p = r->next;
            r->all->count--;
            break;
        }
    supervise_free(r->supervise);
    loop_timer_free(r->idle);
    free(r->session);
    free(r->folder);
    free(r->name);
    free(r);
}

static void end_one(struct one *r, int64_t grace_ms)
{
    r->ending = true;
    supervise_stop(r->supervise, grace_ms);
}

/* Looked at a few times in the idle time, so that it ends when it should, and wakes nobody else. */
static void look(void *arg)
{
    struct one *r = arg;
    int64_t now = loop_now_ms(r->all->loop);

    if (queue_busy(r->all->engine, r->session))
        r->busy_ms = now;
    if (now - r->busy_ms >= r->all->idle_ms && !r->ending) {
        log_info("session runner was idle and ends", "runner", r->name);
        end_one(r, GRACE_MS);
        return;
    }
    loop_timer_in(r->idle, r->all->idle_ms / 8 + 1);
}

static void forget(void *arg)
{
    struct session_runners *s = arg;

    for (struct one *r = s->first, *next; r; r = next) {
        struct supervise_report report;

        next = r->next;
        supervise_report(r->supervise, &report);
        if (r->ending && report.state == UNIT_DOWN)
            free_one(r);
    }
    if (s->stopping && !s->first && s->done) {
        loop_fn *done = s->done;

        s->done = NULL;
        done(s->arg);
    }
}

static void on_change(enum unit_state now, void *arg)
{
    struct one *r = arg;

    if (now == UNIT_DOWN)
        loop_later(r->all->loop, forget, r->all);
}

static void add(struct session_runners *s, const char *session, const char *folder)
{
    struct one *r = mem_new(sizeof *r);
    const struct supervise_events events = {.on_change = on_change, .arg = r};
    struct runner_unit_options o = s->o;
    char name[160];

    (void)str_format(name, sizeof name, "agent-runner-%.100s", session);
    r->all = s;
    r->session = mem_str(session);
    r->folder = mem_str(folder);
    r->name = mem_str(name);
    r->busy_ms = loop_now_ms(s->loop);
    r->idle = loop_timer_new(s->loop, look, r);
    o.session = r->session;
    o.folder = r->folder;
    r->supervise = supervise_new(s->loop, r->name, runner_unit_new(s->loop, &o), &events);
    r->next = s->first;
    s->first = r;
    s->count++;
    log_info("session runner starts", "runner", r->name, "folder", folder);
    loop_timer_in(r->idle, s->idle_ms / 8 + 1);
    supervise_start(r->supervise);
}

/* Beside a process nothing is needed: it reaches the folder as soon as it is attached. */
static void on_need(const char *session_id, const char *folder, void *arg)
{
    struct session_runners *s = arg;
    const struct runner_backend *main = supervise_backend(s->beside);
    struct supervise_report report;

    supervise_report(s->beside, &report);
    if (s->stopping || s->count >= MOST || report.state != UNIT_UP ||
        !str_eq(main->ops->kind(main), "container"))
        return;
    for (const struct one *r = s->first; r; r = r->next)
        if (str_eq(r->session, session_id))
            return;
    add(s, session_id, folder);
}

struct session_runners *session_runners_new(struct loop *loop, struct queue *engine,
                                            struct supervise *beside,
                                            const struct runner_unit_options *o)
{
    struct session_runners *s = mem_new(sizeof *s);

    s->loop = loop;
    s->engine = engine;
    s->beside = beside;
    s->o = *o;
    s->idle_ms = config_get_duration(o->config, CONFIG_RUNNER_SESSION_IDLE);
    queue_on_need(engine, on_need, s);
    return s;
}

void session_runners_free(struct session_runners *s)
{
    if (!s)
        return;
    queue_on_need(s->engine, NULL, NULL);
    while (s->first)
        free_one(s->first);
    free(s);
}

void session_runners_changed(struct session_runners *s)
{
    queue_on_need(s->engine, on_need, s); /* asks again */
    for (struct one *r = s->first; r; r = r->next)
        if (queue_runners(s->engine, r->session))
            supervise_ready(r->supervise);
}

void session_runners_hung(struct session_runners *s, const char *session)
{
    for (struct one *r = s->first; r; r = r->next)
        if (str_eq(r->session, session))
            supervise_hung(r->supervise);
}

void session_runners_end(struct session_runners *s, const char *session)
{
    for (struct one *r = s->first; r; r = r->next)
        if (str_eq(r->session, session) && !r->ending) {
            log_info("session is gone and its runner ends", "runner", r->name);
            end_one(r, GRACE_MS);
        }
}

void session_runners_stop(struct session_runners *s, int64_t grace_ms, loop_fn *done, void *arg)
{
    s->stopping = true;
    s->done = done;
    s->arg = arg;
    for (struct one *r = s->first; r; r = r->next)
        end_one(r, grace_ms);
    loop_later(s->loop, forget, s);
}

void session_runners_put(const struct session_runners *s, json_t *components)
{
    for (const struct one *r = s->first; r; r = r->next) {
        const struct runner_backend *b = supervise_backend(r->supervise);
        struct supervise_report report;
        char since[CLOCK_TEXT];

        supervise_report(r->supervise, &report);
        clock_format(report.since_wall_ms, since);
        json_array_append_new(
            components, json_pack("{s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:i,s:s*}", "name", r->name,
                                  "kind", b->ops->kind(b), "state", unit_state_name(report.state),
                                  "runtime", b->ops->runtime(b), "containerId",
                                  b->ops->container_id(b), "session", r->session, "workspace",
                                  r->folder, "since", since, "restarts", (int)report.restarts,
                                  "lastExit", *report.last_exit ? report.last_exit : NULL));
    }
}
