#include "prog/stigmer-server/image.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/own.h"
#include "base/str.h"
#include "prog/stigmer-server/engine-link.h"
#include "prog/stigmer-server/image-context.h"
#include "prog/stigmer-server/runner-unit.h"
#include "svc/backend-docker.h"
#include "svc/container-spec.h"

#define TELL_MS 100 /* between two lines of progress */

struct image {
    struct engine_link link; /* open, for load and build; first: on_progress is given it */
    struct config config;
    const char *configured, *kind; /* of config */
    const char *from, *tag;
    char installed[RUNNER_UNIT_IMAGE_ID];
    struct docker_place place;
    const char *what; /* progress is about */
    int64_t told_ms;
};

static void print_line(json_t *take_line)
{
    (void)json_dumpf(take_line, stdout, JSON_COMPACT);
    (void)putchar('\n');
    (void)fflush(stdout);
    json_decref(take_line);
}

static int tell_error(const struct err *err)
{
    print_line(json_pack("{s:{s:s,s:i,s:s*,s:s}}", "error", "code", err_code_name(err->code),
                         "exit", (int)err_code_exit(err->code), "message", err->msg, "hint",
                         err->hint));
    return (int)err_code_exit(err->code);
}

static void on_progress(int64_t sent, int64_t total, void *arg)
{
    struct image *m = arg; /* the link is its first member */
    int64_t now = clock_mono_ms();

    if (now - m->told_ms < TELL_MS && sent < total)
        return;
    m->told_ms = now;
    print_line(json_pack("{s:{s:s,s:I,s:I}}", "progress", "status", m->what, "completed",
                         (json_int_t)sent, "total", (json_int_t)total));
}

static const char *text_of(const json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));

    return s ? s : "";
}

/* ---- which engine -------------------------------------------------------------------------- */

static enum err_code open_at(struct image *m, const char *runtime, struct err *err)
{
    enum err_code code = docker_find(runtime, &m->place, err);

    if (code)
        return code;
    code = engine_link_open(&m->link, &m->place, err);
    if (code)
        engine_link_close(&m->link);
    return code;
}

/* As a start would choose. */
static enum err_code open_engine(struct image *m, struct err *err)
{
    enum err_code code;

    if (str_eq(m->kind, "docker") || str_eq(m->kind, "podman"))
        return open_at(m, m->kind, err);
    code = open_at(m, "docker", err);
    return code && open_at(m, "podman", NULL) == ERR_OK ? ERR_OK : code;
}

/* *ret: the caller's. */
static enum err_code inspect(struct image *m, const char *name, json_t **ret, struct err *err)
{
    struct docker_call *call = docker_image(m->link.docker, name, engine_link_on_answer, &m->link);
    enum err_code code = engine_link_wait(&m->link, call, err);

    if (!code)
        *ret = json_incref(m->link.answer);
    return code;
}

static const char *label_of(const json_t *image, const char *name)
{
    const json_t *labels = json_object_get(image, "Labels");

    if (!labels)
        labels = json_object_get(json_object_get(image, "Config"), "Labels");
    return text_of(labels, name);
}

static json_t *result(const struct image *m, const char *schema, const char *name,
                      const json_t *image)
{
    return json_pack("{s:s,s:s,s:s,s:s,s:s,s:O?,s:b}", "schema", schema, "image", name, "id",
                     text_of(image, "Id"), "engine", m->place.runtime, "version",
                     label_of(image, CONTAINER_SPEC_LABEL_VERSION), "sizeBytes",
                     json_object_get(image, "Size"), "configured",
                     (int)str_eq(name, m->configured));
}

/* ---- load ---------------------------------------------------------------------------------- */

static enum err_code send_archive(struct image *m, struct err *err)
{
    char archive[PATHS_MAX];
    OWN_FD int fd = -1;
    struct stat st;
    enum err_code code = runner_unit_archive(archive, err);

    if (code)
        return code;
    fd = open(archive, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0)
        return err_hint(err, err_sys(err, errno, "read the image's archive '%s'", archive),
                        "install stigmer again: scripts/build.sh makes it");
    m->what = "loading the runner image";
    return engine_link_wait(
        &m->link,
        docker_load(m->link.docker, fd, st.st_size, on_progress, engine_link_on_answer, &m->link),
        err);
}

static enum err_code load(struct image *m, json_t **ret, struct err *err)
{
    json_t *image = NULL;
    enum err_code code = open_engine(m, err);

    if (!code)
        code = send_archive(m, err);
    if (!code)
        code = inspect(m, BACKEND_DOCKER_IMAGE, &image, err);
    if (!code)
        *ret = result(m, "stigmer.cli/image-load/v1", BACKEND_DOCKER_IMAGE, image);
    json_decref(image);
    return code;
}

/* ---- build --------------------------------------------------------------------------------- */

static enum err_code check_tag(const struct image *m, struct err *err)
{
    char plain[sizeof BACKEND_DOCKER_IMAGE];

    (void)str_format(plain, sizeof plain, "%s", BACKEND_DOCKER_IMAGE);
    *strchr(plain, ':') = '\0';
    if (str_eq(m->tag, BACKEND_DOCKER_IMAGE))
        return err_set(
            err, ERR_INVALID,
            "'%s' is the installed image's name: a start would put that one in its place", m->tag);
    if (strchr(m->tag, '@') || str_starts(m->tag, "sha256:"))
        return err_set(err, ERR_INVALID, "'%.200s' is a digest; give a name such as %s:tools",
                       m->tag, plain);
    return ERR_OK;
}

static enum err_code base_of(struct image *m, json_t **ret, struct err *err)
{
    enum err_code code = inspect(m, m->from, ret, err);

    if (code == ERR_NOT_FOUND) {
        err_set(err, code, "there is no image '%s' at this engine, and none is fetched unasked",
                m->from);
        return err_hint(err, code, "%s pull %s", m->place.runtime, m->from);
    }
    if (!code &&
        str_eq(label_of(*ret, CONTAINER_SPEC_LABEL_COMPONENT), CONTAINER_SPEC_COMPONENT_RUNNER))
        return err_hint(err, err_set(err, ERR_INVALID, "'%s' is a runner's image already", m->from),
                        "give the image that it was built from: stigmer image ls");
    return code;
}

static enum err_code send_context(struct image *m, const char *base_id, struct err *err)
{
    char program[PATHS_MAX + 16], folder[PATHS_MAX];
    OWN_FD int fd = -1;
    int64_t len;
    enum err_code code = runner_unit_libexec(folder, err);

    if (code)
        return code;
    (void)str_format(program, sizeof program, "%s/agent-runner", folder);
    if ((code = image_context_make(program, base_id, m->from, &fd, &len, err)))
        return code;
    m->what = "sending the runner to the engine";
    return engine_link_wait(
        &m->link,
        docker_build(m->link.docker, m->tag, fd, len, on_progress, engine_link_on_answer, &m->link),
        err);
}

static enum err_code build(struct image *m, json_t **ret, struct err *err)
{
    json_t *base = NULL, *made = NULL;
    enum err_code code = check_tag(m, err);

    if (code || (code = open_engine(m, err)))
        return code;
    code = base_of(m, &base, err);
    if (!code)
        code = send_context(m, text_of(base, "Id"), err);
    if (!code)
        code = inspect(m, m->tag, &made, err);
    if (!code) {
        *ret = result(m, "stigmer.cli/image-build/v1", m->tag, made);
        json_object_set_new(*ret, "base", json_string(m->from));
    }
    json_decref(base);
    json_decref(made);
    return code;
}

/* ---- ls ------------------------------------------------------------------------------------ */

static void add_row(const struct image *m, json_t *items, const char *name, const json_t *image,
                    bool configured, bool ours)
{
    const char *id = text_of(image, "Id");
    json_t *row;

    row = json_pack("{s:s,s:s,s:s,s:s,s:s,s:O?,s:b,s:b,s:b}", "image", name, "id", id, "engine",
                    m->place.runtime, "version", label_of(image, CONTAINER_SPEC_LABEL_VERSION),
                    "base", label_of(image, CONTAINER_SPEC_LABEL_BASE), "sizeBytes",
                    json_object_get(image, "Size"), "installed",
                    (int)(*m->installed && str_eq(id, m->installed)), "configured", (int)configured,
                    "ours", (int)ours);
    json_array_append_new(items, row);
}

/* Docker calls one without a name "<none>:<none>", Podman nothing. */
static const char *name_of(const char *name)
{
    return str_is_empty(name) || str_eq(name, "<none>:<none>") ? "<none>" : name;
}

/* Every name of ours; an image that has lost its name has one row all the same. */
static bool add_ours(const struct image *m, json_t *items, const char *configured_id)
{
    json_t *image, *name;
    bool found = false;
    size_t i, k;

    json_array_foreach(m->link.answer, i, image)
    {
        const json_t *names = json_object_get(image, "RepoTags");
        bool configured = *configured_id && str_eq(text_of(image, "Id"), configured_id);

        found |= configured;
        json_array_foreach(names, k, name)
            add_row(m, items, name_of(json_string_value(name)), image, configured, true);
        if (!json_array_size(names))
            add_row(m, items, name_of(NULL), image, configured, true);
    }
    return found;
}

/* ERR_SANDBOX and the like: this engine does not answer. */
static enum err_code list_at(struct image *m, const char *runtime, json_t *items, struct err *err)
{
    static const char label[] = CONTAINER_SPEC_LABEL_COMPONENT "=" CONTAINER_SPEC_COMPONENT_RUNNER;
    json_t *configured = NULL;
    enum err_code code = open_at(m, runtime, err);

    if (code)
        return code;
    if (inspect(m, m->configured, &configured, NULL))
        configured = NULL;
    code = engine_link_wait(
        &m->link, docker_images(m->link.docker, label, engine_link_on_answer, &m->link), err);
    if (!code && !add_ours(m, items, text_of(configured, "Id")) && configured)
        add_row(m, items, m->configured, configured, true, false);
    json_decref(configured);
    engine_link_close(&m->link);
    return code;
}

static enum err_code list(struct image *m, json_t **ret, struct err *err)
{
    static const char *const runtimes[] = {"docker", "podman"};
    json_t *items = json_array();
    struct docker_place first = {0};
    enum err_code code = ERR_SANDBOX;
    struct err other;

    for (size_t i = 0; i < 2; i++) {
        if ((str_eq(m->kind, "docker") || str_eq(m->kind, "podman")) &&
            !str_eq(m->kind, runtimes[i]))
            continue;
        if (docker_find(runtimes[i], &m->place, NULL) == ERR_OK &&
            str_eq(m->place.socket, first.socket))
            continue; /* one engine under both names */
        if (list_at(m, runtimes[i], items, code && !i ? err : &other) == ERR_OK) {
            code = ERR_OK;
            first = m->place;
        } else if (code && str_eq(m->kind, "podman")) {
            *err = other;
        }
    }
    if (code) {
        json_decref(items);
        return err->code;
    }
    *ret = json_pack("{s:s,s:s,s:s,s:o}", "schema", "stigmer.cli/image-ls/v1", "configured",
                     m->configured, "installedId", m->installed, "items", items);
    return ERR_OK;
}

/* ---- the command --------------------------------------------------------------------------- */

static enum err_code run(struct image *m, const char *verb, json_t **ret, struct err *err)
{
    if (str_eq(verb, "load"))
        return load(m, ret, err);
    if (str_eq(verb, "ls"))
        return list(m, ret, err);
    if (str_eq(verb, "build"))
        return build(m, ret, err);
    return err_set(err, ERR_INVALID, "'%.40s' is not one of load, ls, build", verb);
}

int image_main(const struct settings_args *args, const struct paths *paths, const char *verb,
               const char *from, const char *tag)
{
    struct image m = {.from = from, .tag = tag};
    json_t *answer = NULL;
    struct err err = {0};
    enum err_code code;

    config_init(&m.config);
    code = settings_load(args, paths, &m.config, &err);
    if (!code) {
        m.configured = config_get_str(&m.config, CONFIG_RUNNER_IMAGE);
        m.kind = config_get_str(&m.config, CONFIG_RUNNER_KIND);
        runner_unit_archive_id(m.installed);
        code = run(&m, verb, &answer, &err);
    }
    engine_link_close(&m.link);
    config_done(&m.config);
    if (code)
        return tell_error(&err);
    print_line(answer);
    return EXIT_OK;
}
