#include "svc/backend-docker.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/own.h"
#include "base/str.h"
#include "platform/logsink.h"
#include "svc/container-log.h"

#define ID_SIZE 80
#define AWAY_RETRY_MS 500 /* an engine that is restarted */
#define AWAY_TRIES 20
#define LIMIT_MOST 4096
#define OOM_MS 1000        /* an end so soon after memory ran out is from that */
#define LAST_WORDS_MS 2000 /* how long the output may take to end after the container has */

struct container {
    struct runner_backend base;
    struct docker *docker;               /* borrowed */
    struct backend_docker_config config; /* borrowed text */
    struct docker_call *step;            /* the one request that the diagram is at; or NULL */
    struct docker_call *wait, *logs, *events, *signal;
    struct loop_timer *later; /* owned: for the engine to come back, for last words, for a kill */
    struct logsink *sink;     /* owned; while it runs */
    struct container_log *output; /* owned; likewise */
    char log_trouble[LOGSINK_TROUBLE];
    json_t *body; /* owned; of create */
    char id[ID_SIZE];
    struct err why; /* what on_exited or on_blocked will tell */
    int archive;    /* owned; -1 but while it is loaded */
    int last_percent;
    unsigned away;
    int64_t oom_ms; /* when a process of it was last killed for memory; 0: not seen */
    bool created, loaded, up, wants_end, paused;
    bool blocked; /* it could not run, or was taken away; c->why is the reason */
    bool ended;   /* only its last words are waited for */
    bool is_left; /* it could not be removed: its id file stays */
};

static struct container *self(struct runner_backend *b)
{
    return (struct container *)b; /* base is the first member */
}

/* ---- the end ------------------------------------------------------------------------------- */

static void close_output(struct container *c)
{
    docker_cancel(c->logs);
    c->logs = NULL;
    logsink_close(c->sink);
    c->sink = NULL;
    container_log_free(TAKE(c->output));
    c->log_trouble[0] = '\0';
}

static void gone(struct container *c)
{
    bool blocked = c->blocked;

    close_output(c);
    json_decref(TAKE(c->body));
    loop_timer_at(c->later, INT64_MAX);
    if (!c->is_left)
        (void)unlink(c->config.id_file);
    c->id[0] = '\0';
    c->created = c->up = c->wants_end = c->ended = c->paused = c->blocked = false;
    if (blocked)
        c->base.events.on_blocked(&c->why, c->base.events.arg);
    else
        c->base.events.on_exited(&c->why, c->base.events.arg);
}

static void on_removed(const struct err *err, const json_t *answer, void *arg)
{
    struct container *c = arg;

    (void)answer;
    c->step = NULL;
    c->is_left = err != NULL;
    if (err)
        log_warn("container cannot be removed", "id", c->id, "why", err->msg);
    gone(c);
}

/* It is over, for the reason in c->why. */
static void end(struct container *c)
{
    if (c->ended)
        container_log_end(c->output);
    docker_cancel(c->wait);
    docker_cancel(c->events);
    c->wait = c->events = NULL;
    c->ended = c->up = false;
    if (c->created)
        c->step = docker_remove(c->docker, c->id, on_removed, c);
    else
        gone(c);
}

static void fail(struct container *c, const struct err *why)
{
    c->why = *why;
    c->blocked = true;
    end(c);
}

/* A step came back. True: it went wrong, or a stop was asked for meanwhile, and is dealt with. */
static bool is_over(struct container *c, const struct err *err)
{
    c->step = NULL;
    if (err) {
        fail(c, err);
        return true;
    }
    if (!c->wants_end)
        return false;
    err_set(&c->why, ERR_OK, "stopped while it was starting");
    end(c);
    return true;
}

/* ---- it runs ------------------------------------------------------------------------------- */

static void on_lines(const char *lines, size_t len, void *arg)
{
    struct container *c = arg;
    bool was = *c->log_trouble;

    logsink_write(c->sink, lines, len);
    if (logsink_trouble(c->sink, c->log_trouble) != was)
        c->base.events.on_trouble(c->base.events.arg);
}

static void on_output(int stream, bool begins, const char *text, size_t len, void *arg)
{
    struct container *c = arg;

    if (len)
        container_log_take(c->output, stream, begins, text, len);
    else
        container_log_flush(c->output);
}

static void listen_to(struct container *c, bool again);

/* While it runs this is the engine's doing (a rotation of its own file, say): it is asked again. */
static void on_logs_end(const struct err *err, const json_t *answer, void *arg)
{
    struct container *c = arg;

    (void)answer;
    c->logs = NULL;
    if (c->ended)
        end(c);
    else if (c->up && c->wait)
        loop_timer_in(c->later, AWAY_RETRY_MS);
    if (err && c->up)
        log_warn("the runner's output broke off", "why", err->msg);
}

/* From where the log ends: of a container that was there before, or whose stream broke off. */
static void listen_to(struct container *c, bool again)
{
    int64_t since = again ? container_log_resume(c->output, c->config.log_file, true) : (int64_t)0;

    c->logs = docker_logs(c->docker, c->id, since, true, on_output, on_logs_end, c);
}

static void follow(struct container *c, bool adopted);

/* Engines remember for good that a process of it, any tool, was killed for memory. */
static bool is_oom(const struct container *c, const json_t *state, int code)
{
    return json_is_true(json_object_get(state, "OOMKilled")) && code != 0 &&
           (!c->oom_ms || clock_mono_ms() - c->oom_ms < OOM_MS);
}

static enum err_code open_output(struct container *c, struct err *err)
{
    const struct container_spec *s = &c->config.spec;
    enum err_code code =
        logsink_open(c->config.log_file, s->log_max_size, (int)s->log_max_files, &c->sink, err);

    if (!code)
        c->output = container_log_new(on_lines, c);
    return code;
}

static void describe_exit(struct container *c, const json_t *state)
{
    int code = (int)json_integer_value(json_object_get(state, "ExitCode"));
    const char *why = json_string_value(json_object_get(state, "Error"));

    if (is_oom(c, state, code))
        err_hint(&c->why,
                 err_set(&c->why, ERR_OK, "out of memory: it had more than %lld MiB",
                         (long long)(c->config.spec.memory >> 20)),
                 "stigmer config set runner.memory SIZE");
    else if (!str_is_empty(why))
        err_set(&c->why, ERR_OK, "exit code %d: %.300s", code, why);
    else if (code > 128 && code < 128 + NSIG)
        err_set(&c->why, ERR_OK, "killed by signal %d (%s)", code - 128, strsignal(code - 128));
    else
        err_set(&c->why, code == EXIT_SANDBOX ? ERR_SANDBOX : ERR_OK, "exit code %d", code);
}

static void on_ended(const struct err *err, const json_t *answer, void *arg)
{
    struct container *c = arg;

    c->step = NULL;
    if (err) {
        c->created = err->code != ERR_NOT_FOUND;
        err_set(&c->why, ERR_OK, "the container was removed");
    } else {
        describe_exit(c, json_object_get(answer, "State"));
    }
    c->ended = c->logs != NULL;
    if (c->ended)
        loop_timer_in(c->later, LAST_WORDS_MS);
    else
        end(c);
}

static void ask_how_it_ended(struct container *c)
{
    c->up = false;
    if (!c->step)
        c->step = docker_inspect(c->docker, c->id, on_ended, c);
}

/* The engine went away; it may be restarted with the container still running. */
static void on_back(const struct err *err, const json_t *answer, void *arg)
{
    struct container *c = arg;

    (void)answer;
    c->step = NULL;
    if (!err) {
        c->away = 0;
        follow(c, true);
    } else if (++c->away < AWAY_TRIES && !c->wants_end) {
        loop_timer_in(c->later, AWAY_RETRY_MS);
    } else {
        fail(c, err);
    }
}

static void on_later(void *arg)
{
    struct container *c = arg;

    if (c->ended) {
        end(c); /* without them, then */
    } else if (c->up && c->wait) {
        if (!c->logs)
            listen_to(c, true);
    } else if (c->up) {
        c->step = docker_ping(c->docker, on_back, c);
    } else if (c->wants_end && !c->step) {
        err_set(&c->why, ERR_OK, "stopped while it was starting");
        end(c);
    }
}

static void on_waited(const struct err *err, const json_t *answer, void *arg)
{
    struct container *c = arg;

    (void)answer;
    c->wait = NULL;
    if (!err || err->code == ERR_NOT_FOUND) {
        ask_how_it_ended(c);
        return;
    }
    log_warn("the container engine does not answer", "why", err->msg);
    close_output(c);
    loop_timer_in(c->later, AWAY_RETRY_MS);
}

/* ---- what others do to it ------------------------------------------------------------------ */

static void set_paused(struct container *c, bool paused)
{
    if (c->paused == paused)
        return;
    c->paused = paused;
    log_warn(paused ? "runner container is paused" : "runner container goes on", "id", c->id);
    c->base.events.on_trouble(c->base.events.arg);
}

static void on_event(const json_t *event, void *arg)
{
    const char *action = json_string_value(json_object_get(event, "Action"));
    struct container *c = arg;

    if (!action) /* Podman before its version 5 */
        action = json_string_value(json_object_get(event, "status"));
    if (str_eq(action, "pause"))
        set_paused(c, true);
    else if (str_eq(action, "unpause"))
        set_paused(c, false);
    else if (str_eq(action, "oom")) {
        c->oom_ms = clock_mono_ms();
        log_warn("memory ran out in the runner's container and a process of it was killed", "id",
                 c->id, "limit_mib", log_int(c->config.spec.memory >> 20), "hint",
                 "stigmer config set runner.memory SIZE");
    }
}

/* The stream breaks with the engine, and so does the wait: it is that one's end that counts. */
static void on_events_end(const struct err *err, const json_t *answer, void *arg)
{
    struct container *c = arg;

    (void)err;
    (void)answer;
    c->events = NULL;
}

static void on_state(const struct err *err, const json_t *answer, void *arg)
{
    struct container *c = arg;
    const json_t *state = json_object_get(answer, "State");

    c->step = NULL;
    if (!err && c->up)
        set_paused(c, json_is_true(json_object_get(state, "Paused")));
    else if (!c->up && c->wait == NULL)
        ask_how_it_ended(c);
}

/* From now on by its events; what was before by asking. */
static void watch(struct container *c, bool adopted)
{
    docker_cancel(c->events);
    c->events = docker_events(c->docker, c->id, on_event, on_events_end, c);
    if (adopted && !c->step)
        c->step = docker_inspect(c->docker, c->id, on_state, c);
}

static void follow(struct container *c, bool adopted)
{
    struct err err;

    if (open_output(c, &err)) {
        fail(c, &err);
        return;
    }
    listen_to(c, adopted);
    c->wait = docker_wait(c->docker, c->id, on_waited, c);
    c->up = true;
    watch(c, adopted);
}

static void is_up(struct container *c, bool adopted)
{
    log_info(adopted ? "runner container found again" : "runner container started", "id", c->id,
             "name", c->config.name);
    follow(c, adopted);
    if (c->up)
        c->base.events.on_started(c->base.events.arg);
}

/* ---- the way there ------------------------------------------------------------------------- */

static enum err_code write_id(struct container *c, struct err *err)
{
    char temp[PATH_MAX], text[ID_SIZE + 1];
    OWN_FD int fd = -1;
    size_t len;

    (void)str_format(text, sizeof text, "%s\n", c->id);
    len = strlen(text);
    if (!str_format(temp, sizeof temp, "%s.new", c->config.id_file))
        return err_set(err, ERR_INVALID, "the path of the container id file is too long");
    fd = open(temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, text, len) != (ssize_t)len || rename(temp, c->config.id_file) < 0)
        return err_sys(err, errno, "write the container id file '%s'", c->config.id_file);
    return ERR_OK;
}

static void on_start(const struct err *err, const json_t *answer, void *arg)
{
    struct container *c = arg;

    (void)answer;
    if (!is_over(c, err))
        is_up(c, false);
}

static void on_created(const struct err *err, const json_t *answer, void *arg)
{
    struct container *c = arg;
    const char *id = json_string_value(json_object_get(answer, "Id"));
    struct err own;

    if (!err && id && str_format(c->id, sizeof c->id, "%s", id))
        c->created = true;
    if (!err && !c->created) {
        err_set(&own, ERR_INTERNAL, "the container engine gave the new container no id");
        err = &own;
    }
    if (!err && write_id(c, &own))
        err = &own;
    if (!is_over(c, err))
        c->step = docker_start(c->docker, c->id, on_start, c);
}

static void create(struct container *c)
{
    c->step = docker_create(c->docker, c->config.name, c->body, on_created, c);
}

static void on_cleared(const struct err *err, const json_t *answer, void *arg)
{
    struct container *c = arg;

    (void)answer;
    if (!is_over(c, err))
        create(c);
}

/* Of a container that is not gone on with, what it wrote while nobody listened. */
static void on_last_words(const struct err *err, const json_t *answer, void *arg)
{
    struct container *c = arg;

    (void)answer;
    c->step = NULL;
    if (err)
        log_warn("the last output of a container that is replaced cannot be had", "why", err->msg);
    container_log_end(c->output);
    close_output(c);
    c->step = docker_remove(c->docker, c->config.name, on_cleared, c);
}

static void replace(struct container *c)
{
    struct err err;

    if (open_output(c, &err)) {
        fail(c, &err);
        return;
    }
    c->step = docker_logs(c->docker, c->config.name,
                          container_log_resume(c->output, c->config.log_file, true), false,
                          on_output, on_last_words, c);
}

static void refuse_name(struct container *c, const char *owner)
{
    struct err err;

    if (owner)
        err_set(&err, ERR_CONFLICT, "the container name '%s' is taken by the stigmer of '%.300s'",
                c->config.name, owner);
    else
        err_set(&err, ERR_CONFLICT,
                "the container name '%s' is taken by a container of another kind", c->config.name);
    err_hint(&err, ERR_CONFLICT, "stigmer config set runner.name NAME");
    fail(c, &err);
}

static void adopt(struct container *c, const char *id)
{
    struct err err;

    if (str_is_empty(id) || !str_format(c->id, sizeof c->id, "%s", id)) {
        err_set(&err, ERR_INTERNAL, "the container engine tells no id of '%s'", c->config.name);
        fail(c, &err);
        return;
    }
    if (write_id(c, &err)) /* somebody may have removed it meanwhile */
        log_warn("container id cannot be written", "why", err.msg);
    c->created = true;
    is_up(c, true);
}

static void on_found(const struct err *err, const json_t *answer, void *arg)
{
    struct container *c = arg;

    if (err && err->code == ERR_NOT_FOUND) {
        if (!is_over(c, NULL))
            create(c);
        return;
    }
    if (is_over(c, err))
        return;
    switch (container_spec_match(&c->config.spec, c->body, answer)) {
    case CONTAINER_SPEC_STRANGER:
        refuse_name(c, container_spec_owner(answer));
        return;
    case CONTAINER_SPEC_OTHER:
        replace(c);
        return;
    case CONTAINER_SPEC_SAME:
        adopt(c, json_string_value(json_object_get(answer, "Id")));
        return;
    }
}

static void load(struct container *c, bool missing);

/* The id that the archive's image will have; "" when there is no archive. */
static void archive_id(const struct container *c, char ret[ID_SIZE])
{
    char path[PATH_MAX];
    OWN_FD int fd = -1;
    ssize_t n = 0;

    if (str_format(path, sizeof path, "%s.id", c->config.archive))
        fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0 && (n = read(fd, ret, ID_SIZE - 1)) < 0)
        n = 0;
    ret[n] = '\0';
    ret[strcspn(ret, "\n")] = '\0';
}

static void no_image(struct container *c, const struct err *err)
{
    struct err own = *err;

    err_set(&own, own.code, "there is no image '%s' at this engine, and none is fetched unasked",
            c->config.spec.image);
    err_hint(&own, own.code, "docker pull %s, or: stigmer config unset runner.image",
             c->config.spec.image);
    fail(c, &own);
}

/* Enough for a runner, and not more than this process may have: an engine that is asked for more
 * than it may set itself refuses. */
static int64_t limit_of(__rlimit_resource_t what)
{
    struct rlimit l;

    return getrlimit(what, &l) < 0 || l.rlim_max > LIMIT_MOST ? LIMIT_MOST : (int64_t)l.rlim_max;
}

static void on_image(const struct err *err, const json_t *answer, void *arg)
{
    struct container *c = arg;
    bool ours = str_eq(c->config.spec.image, BACKEND_DOCKER_IMAGE);
    bool missing = err && err->code == ERR_NOT_FOUND;
    const char *id = json_string_value(json_object_get(answer, "Id"));
    char wanted[ID_SIZE];

    archive_id(c, wanted);
    if (ours && !c->loaded && (missing || (!err && *wanted && !str_eq(id, wanted)))) {
        c->step = NULL;
        load(c, missing);
        return;
    }
    if (missing) {
        c->step = NULL;
        no_image(c, err);
        return;
    }
    if (is_over(c, err))
        return;
    c->config.spec.is_podman = docker_is_podman(c->docker);
    c->config.spec.api = docker_api(c->docker);
    c->config.spec.open_files = limit_of(RLIMIT_NOFILE);
    c->config.spec.processes = limit_of(RLIMIT_NPROC);
    c->body = container_spec_body(&c->config.spec, answer);
    c->step = docker_inspect(c->docker, c->config.name, on_found, c);
}

static void on_load_progress(int64_t sent, int64_t total, void *arg)
{
    struct container *c = arg;
    int percent = total > 0 ? (int)(sent * 100 / total) : 0;
    char text[96];

    if (percent / 10 == c->last_percent / 10)
        return;
    c->last_percent = percent;
    (void)str_format(text, sizeof text, "loading the runner image: %d %% of %lld MB", percent,
                     (long long)(total / 1000000));
    c->base.events.on_progress(text, c->base.events.arg);
}

static void on_loaded(const struct err *err, const json_t *answer, void *arg)
{
    struct container *c = arg;
    struct err own;

    (void)answer;
    (void)close(take_fd(&c->archive));
    if (err) {
        own = *err;
        err_hint(&own, own.code,
                 "install stigmer again (scripts/build.sh makes the archive %.120s)",
                 c->config.archive);
        err = &own;
    }
    if (is_over(c, err))
        return;
    log_info("runner image loaded", "archive", c->config.archive);
    c->step = docker_image(c->docker, c->config.spec.image, on_image, c);
}

/* missing: there is none at all, and not one of another build. */
static void load(struct container *c, bool missing)
{
    struct stat st;
    struct err err;

    c->loaded = true;
    c->archive = open(c->config.archive, O_RDONLY | O_CLOEXEC);
    if (c->archive < 0 || fstat(c->archive, &st) < 0 || !S_ISREG(st.st_mode)) {
        err_set(&err, ERR_NOT_FOUND, "the image '%s' is %s, and its archive '%s' is missing",
                c->config.spec.image, missing ? "not there" : "of another build",
                c->config.archive);
        err_hint(&err, ERR_NOT_FOUND,
                 "install stigmer again (scripts/build.sh --prefix DIR, or its package), or: "
                 "stigmer server start --runner process");
        if (c->archive >= 0)
            (void)close(take_fd(&c->archive));
        fail(c, &err);
        return;
    }
    c->last_percent = -10;
    c->base.events.on_progress("loading the runner image", c->base.events.arg);
    c->step = docker_load(c->docker, c->archive, st.st_size, on_load_progress, on_loaded, c);
}

static void on_ping(const struct err *err, const json_t *answer, void *arg)
{
    struct container *c = arg;

    (void)answer;
    if (!is_over(c, err))
        c->step = docker_image(c->docker, c->config.spec.image, on_image, c);
}

/* ---- the backend's verbs ------------------------------------------------------------------- */

static void start(struct runner_backend *b)
{
    struct container *c = self(b);

    c->why = (struct err){0};
    c->loaded = c->wants_end = c->is_left = false;
    c->away = 0;
    c->oom_ms = 0;
    c->step = docker_ping(c->docker, on_ping, c);
}

static void on_signalled(const struct err *err, const json_t *answer, void *arg)
{
    struct container *c = arg;

    (void)answer;
    c->signal = NULL;
    if (err && err->code != ERR_CONFLICT && err->code != ERR_NOT_FOUND) /* those: it has ended */
        log_warn("container cannot be signalled", "id", c->id, "why", err->msg);
}

static void send(struct container *c, const char *signal)
{
    c->wants_end = true;
    if (!c->up)
        return;    /* the next step sees it */
    if (c->paused) /* it would hear of a signal when it goes on, that is: never */
        signal = "SIGKILL";
    docker_cancel(c->signal);
    c->signal = docker_kill(c->docker, c->id, signal, on_signalled, c);
}

static void stop(struct runner_backend *b)
{
    send(self(b), "SIGTERM");
}

/* What is still on its way up does not get there. */
static void kill_now(struct runner_backend *b)
{
    struct container *c = self(b);

    send(c, "SIGKILL");
    if (c->up || c->ended || !c->step)
        return;
    docker_cancel(c->step);
    c->step = NULL;
    if (c->archive >= 0)
        (void)close(take_fd(&c->archive));
    loop_timer_in(c->later, 0);
}

static pid_t pid_of(const struct runner_backend *b)
{
    (void)b;
    return 0; /* the engine may be on another machine's kernel */
}

static const char *id_of(const struct runner_backend *b)
{
    return ((const struct container *)b)->id;
}

static const char *kind_of(const struct runner_backend *b)
{
    (void)b;
    return "container";
}

static const char *runtime_of(const struct runner_backend *b)
{
    return ((const struct container *)b)->config.runtime;
}

static const char *trouble_of(const struct runner_backend *b)
{
    const struct container *c = (const struct container *)b;

    return c->paused ? "the container is paused" : c->log_trouble;
}

static void free_backend(struct runner_backend *b)
{
    struct container *c = self(b);

    docker_cancel(c->step);
    docker_cancel(c->events);
    docker_cancel(c->wait);
    docker_cancel(c->signal);
    close_output(c);
    json_decref(c->body);
    loop_timer_free(c->later);
    own_fd(&c->archive);
    free(c);
}

struct runner_backend *backend_docker_new(struct loop *loop, struct docker *docker,
                                          const struct backend_docker_config *config)
{
    static const struct runner_backend_ops ops = {.kind = kind_of,
                                                  .runtime = runtime_of,
                                                  .start = start,
                                                  .stop = stop,
                                                  .kill = kill_now,
                                                  .pid = pid_of,
                                                  .container_id = id_of,
                                                  .trouble = trouble_of,
                                                  .free = free_backend};
    struct container *c = mem_new(sizeof *c);

    c->base.ops = &ops;
    c->docker = docker;
    c->config = *config;
    c->archive = -1;
    c->later = loop_timer_new(loop, on_later, c);
    return &c->base;
}
