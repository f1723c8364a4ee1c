/* toolbox.c — agent-runner with another worker: it reads tool calls from standard input, one JSON
 * object a line, and writes what they gave to standard output, so that tools and sandbox can be
 * tried without a server or a model.
 *
 *   toolbox < calls        {"name","args":{…},"env":{…},"session":"s1","cancelMs":N,"wait":true}
 *   answers, in order of completion   {"n":line number,"outcome":"result|error|unknown","text"}
 *
 * Calls start at once; one with "wait" first lets those before it end. A line {"pids":true} prints
 * the process ids of launcher and worker, and the names of the keys. Ends when all calls have
 * ended. */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/own.h"
#include "platform/loop.h"
#include "platform/sandbox.h"
#include "prog/agent-runner/launcher.h"
#include "prog/agent-runner/worker-main.h"
#include "svc/toolhost.h"

struct box {
    struct loop *loop;
    struct toolhosts *hosts;
    json_t *calls; /* owned; array */
    size_t next;   /* to start */
    size_t open;   /* running */
};

struct one {
    struct box *box;
    size_t n;
    struct toolhost_call *call;
    struct loop_timer *cancel;
};

static void start_more(struct box *b);

static void print(json_t *o)
{
    char *text = json_dumps(o, JSON_COMPACT);

    (void)puts(text);
    (void)fflush(stdout);
    free(text);
    json_decref(o);
}

static void end(struct one *o, const char *outcome, const char *text, size_t len)
{
    struct box *b = o->box;

    print(json_pack("{s:i, s:s, s:s%}", "n", (int)o->n, "outcome", outcome, "text", text, len));
    loop_timer_free(o->cancel);
    free(o);
    b->open--;
    start_more(b);
}

static void on_done(enum toolhost_outcome outcome, const char *text, size_t len, void *arg)
{
    static const char *const names[] = {
        [TOOLHOST_RESULT] = "result", [TOOLHOST_ERROR] = "error", [TOOLHOST_UNKNOWN] = "unknown"};

    end(arg, names[outcome], text, len);
}

static void on_cancel(void *arg)
{
    struct one *o = arg;

    toolhost_cancel(o->call);
    end(o, "cancelled", "", 0);
}

static void start_one(struct box *b, size_t n, const json_t *call)
{
    struct toolhost_env env[64];
    size_t count = 0;
    const char *key, *session = json_string_value(json_object_get(call, "session"));
    const json_t *cancel = json_object_get(call, "cancelMs");
    json_t *value;
    char *args = json_dumps(json_object_get(call, "args"), JSON_COMPACT);
    struct one *o = mem_new(sizeof *o);

    json_object_foreach(json_object_get(call, "env"), key, value) if (count < 64) env[count++] =
        (struct toolhost_env){key, json_string_value(value)};
    if (!session)
        session = "s1";
    const struct toolhost_request req = {
        .session_id = session,
        .workspace = session,
        .name = json_string_value(json_object_get(call, "name")),
        .args_json = args,
        .env = env,
        .env_count = count,
    };
    *o = (struct one){.box = b, .n = n};
    b->open++;
    o->call = toolhost_start(b->hosts, &req, on_done, o);
    if (cancel) {
        o->cancel = loop_timer_new(b->loop, on_cancel, o);
        loop_timer_in(o->cancel, json_integer_value(cancel));
    }
    free(args);
}

static json_t *key_names(void)
{
    char text[4096];
    ssize_t n = pread(LAUNCHER_KEYS_FD, text, sizeof text, 0);
    json_t *keys = json_loadb(text, n > 0 ? (size_t)n : 0, 0, NULL), *names = json_array(), *value;
    const char *key;

    json_object_foreach(keys, key, value) json_array_append_new(names, json_string(key));
    json_decref(keys);
    return names;
}

static void start_more(struct box *b)
{
    while (b->next < json_array_size(b->calls)) {
        const json_t *call = json_array_get(b->calls, b->next);

        if (json_is_true(json_object_get(call, "wait")) && b->open)
            return;
        b->next++;
        if (json_object_get(call, "pids"))
            print(json_pack("{s:i, s:i, s:i, s:o}", "launcher", (int)getppid(), "worker",
                            (int)getpid(), "uid", (int)getuid(), "keys", key_names()));
        else
            start_one(b, b->next - 1, call);
    }
    if (!b->open)
        loop_quit(b->loop);
}

static void on_launcher_gone(void *arg)
{
    loop_quit(((struct box *)arg)->loop);
}

static void start_first(void *arg)
{
    start_more(arg);
}

int worker_main(int argc, char **argv)
{
    struct box b = {.loop = loop_new(), .calls = json_array()};
    char *line = NULL;
    size_t cap = 0;
    struct sandbox_report report;
    struct err err = {0};

    (void)argc;
    (void)argv;
    if (sandbox_report_parse(getenv("STIGMER_SANDBOX_REPORT"), &report, &err) ||
        sandbox_enter_worker(&report, &err)) {
        (void)fprintf(stderr, "toolbox: %s\n", err.msg);
        return EXIT_SANDBOX;
    }
    while (getline(&line, &cap, stdin) > 0) {
        json_t *call = json_loads(line, 0, NULL);

        if (!call) {
            (void)fprintf(stderr, "toolbox: not JSON: %s", line);
            return 2;
        }
        json_array_append_new(b.calls, call);
    }
    free(line);
    b.hosts = toolhosts_new(b.loop, LAUNCHER_FD, on_launcher_gone, &b);
    loop_later(b.loop, start_first, &b);
    loop_run(b.loop);
    toolhosts_free(b.hosts);
    loop_free(b.loop);
    json_decref(b.calls);
    return 0;
}
