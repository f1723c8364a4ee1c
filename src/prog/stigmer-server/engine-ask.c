#include "prog/stigmer-server/engine-ask.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/str.h"
#include "prog/stigmer-server/engine-file.h"
#include "prog/stigmer-server/engine-link.h"
#include "svc/container-log.h"
#include "svc/container-spec.h"
#include "wire/containerline.h"

#define PLACES 3
#define LOGS_MAX ((size_t)32 << 20) /* of one container */

enum err_code engine_ask_version(const char *runtime, json_t **ret, struct err *err)
{
    struct engine_link a = {0};
    struct docker_place place;
    enum err_code code = docker_find(runtime, &place, err);

    if (code)
        return code;
    code = engine_link_open(&a, &place, err);
    if (!code) {
        *ret = json_incref(a.answer);
        json_object_set_new(*ret, "Socket", json_string(place.socket));
    }
    engine_link_close(&a);
    return code;
}

enum err_code engine_ask_image(const char *runtime, const char *name, json_t **ret, struct err *err)
{
    struct engine_link a = {0};
    struct docker_place place;
    enum err_code code = docker_find(runtime, &place, err);

    *ret = NULL;
    if (code)
        return code;
    code = engine_link_open(&a, &place, err);
    if (!code) {
        code = engine_link_wait(&a, docker_image(a.docker, name, engine_link_on_answer, &a), err);
        *ret = code ? NULL : json_incref(a.answer);
        if (code == ERR_NOT_FOUND)
            code = ERR_OK;
    }
    engine_link_close(&a);
    return code;
}

/* ---- this home's containers, wherever they are ---------------------------------------------- */

static void add_place(struct docker_place *list, size_t *count, const struct docker_place *place)
{
    for (size_t i = 0; i < *count; i++)
        if (str_eq(list[i].socket, place->socket))
            return;
    list[(*count)++] = *place;
}

/* The one that was used last comes first. */
static size_t places_of(const struct paths *paths, struct docker_place ret[PLACES])
{
    struct docker_place place;
    size_t count = 0;

    if (engine_file_read(paths->engine_file, &place))
        add_place(ret, &count, &place);
    if (docker_find("docker", &place, NULL) == ERR_OK)
        add_place(ret, &count, &place);
    if (docker_find("podman", &place, NULL) == ERR_OK)
        add_place(ret, &count, &place);
    return count;
}

static enum err_code list_at(struct engine_link *a, const struct docker_place *place,
                             const char *home, json_t **ret, struct err *err)
{
    char label[1200];
    enum err_code code = engine_link_open(a, place, err);

    *ret = NULL;
    (void)str_format(label, sizeof label, CONTAINER_SPEC_LABEL_HOME "=%s", home);
    if (!code)
        code = engine_link_wait(a, docker_list(a->docker, label, engine_link_on_answer, a), err);
    if (!code)
        *ret = json_incref(a->answer);
    return code;
}

json_t *engine_ask_list(const struct paths *paths, struct err *err)
{
    struct docker_place places[PLACES];
    size_t count = places_of(paths, places), k;
    bool used = access(paths->engine_file, F_OK) == 0;
    json_t *all = json_array(), *some, *c;

    if (err)
        *err = (struct err){0};
    for (size_t i = 0; i < count; i++) {
        struct engine_link a = {0};

        if (list_at(&a, &places[i], paths->home, &some, used && !i ? err : NULL) == ERR_OK)
            json_array_foreach(some, k, c)
            {
                json_object_set_new(c, "Engine", json_string(places[i].runtime));
                json_object_set_new(c, "Socket", json_string(places[i].socket));
                json_array_append(all, c);
            }
        json_decref(some);
        engine_link_close(&a);
    }
    return all;
}

enum err_code engine_ask_remove(const json_t *container, struct err *err)
{
    struct docker_place place = {0};
    struct engine_link a = {0};
    enum err_code code;

    (void)str_format(place.runtime, sizeof place.runtime, "%s",
                     json_string_value(json_object_get(container, "Engine")));
    (void)str_format(place.socket, sizeof place.socket, "%s",
                     json_string_value(json_object_get(container, "Socket")));
    code = engine_link_open(&a, &place, err);
    if (!code)
        code = engine_link_wait(&a,
                                docker_remove(a.docker,
                                              json_string_value(json_object_get(container, "Id")),
                                              engine_link_on_answer, &a),
                                err);
    engine_link_close(&a);
    return code;
}

/* ---- what they wrote ----------------------------------------------------------------------- */

/* Of one container; the newest LOGS_MAX bytes of it. */
struct words {
    struct container_log *log; /* owned */
    struct buf text;
    size_t at; /* given up to here */
};

static void on_lines(const char *lines, size_t len, void *arg)
{
    struct words *w = arg;

    if (w->text.len + len > LOGS_MAX) {
        const char *lf = memchr(w->text.data + LOGS_MAX / 2, '\n', w->text.len - LOGS_MAX / 2);

        buf_shift(&w->text, lf ? (size_t)(lf - buf_text(&w->text)) + 1 : w->text.len);
    }
    buf_put(&w->text, lines, len);
}

struct logs_call {
    struct engine_link *ask;
    struct words *words;
};

static void on_logs_output(int stream, bool begins, const char *text, size_t len, void *arg)
{
    container_log_take(((struct logs_call *)arg)->words->log, stream, begins, text, len);
}

static void on_logs_end(const struct err *err, const json_t *answer, void *arg)
{
    engine_link_on_answer(err, answer, ((struct logs_call *)arg)->ask);
}

static void tell_unheard(const char *id, const struct err *why)
{
    fprintf(stderr, "stigmer-server: what the container %.12s wrote cannot be had: %s\n", id,
            why->msg);
}

static void listen_to(struct engine_link *a, const json_t *container, const char *log_file,
                      struct words *w)
{
    const char *id = json_string_value(json_object_get(container, "Id"));
    struct logs_call call = {a, w};
    struct err err;

    buf_init(&w->text, LOGS_MAX + CONTAINER_LOG_TAIL);
    w->log = container_log_new(on_lines, w);
    if (id &&
        engine_link_wait(a,
                         docker_logs(a->docker, id, container_log_resume(w->log, log_file, false),
                                     false, on_logs_output, on_logs_end, &call),
                         &err))
        tell_unheard(id, &err);
    if (str_eq(json_string_value(json_object_get(container, "State")), "running"))
        container_log_flush(w->log);
    else
        container_log_end(w->log);
}

/* Lines begin with their times, which sort as text. */
static struct words *earliest(struct words *all, size_t count)
{
    struct words *first = NULL;

    for (size_t i = 0; i < count; i++) {
        struct words *w = &all[i];

        if (w->at < w->text.len &&
            (!first ||
             memcmp(w->text.data + w->at, first->text.data + first->at, CONTAINERLINE_STAMP) < 0))
            first = w;
    }
    return first;
}

static void give_merged(struct words *all, size_t count,
                        void (*fn)(const char *lines, size_t len, void *arg), void *arg)
{
    struct words *w;

    while ((w = earliest(all, count))) {
        const char *line = buf_text(&w->text) + w->at;
        size_t left = w->text.len - w->at;
        const char *lf = memchr(line, '\n', left);
        size_t n = lf ? (size_t)(lf - line) + 1 : left;

        fn(line, n, arg);
        w->at += n;
    }
}

static void logs_at(const struct docker_place *place, const struct paths *paths,
                    void (*fn)(const char *lines, size_t len, void *arg), void *arg)
{
    struct engine_link a = {0};
    json_t *list, *c;
    size_t i, count = 0;
    struct words *all = NULL;

    if (list_at(&a, place, paths->home, &list, NULL) == ERR_OK && json_array_size(list)) {
        all = mem_array(json_array_size(list), sizeof *all);
        json_array_foreach(list, i, c) listen_to(&a, c, paths->log_runner, &all[count++]);
        give_merged(all, count, fn, arg);
    }
    for (i = 0; i < count; i++) {
        container_log_free(all[i].log);
        buf_done(&all[i].text);
    }
    free(all);
    json_decref(list);
    engine_link_close(&a);
}

void engine_ask_logs(const struct paths *paths,
                     void (*fn)(const char *lines, size_t len, void *arg), void *arg)
{
    struct docker_place places[PLACES];
    size_t count = places_of(paths, places);

    for (size_t i = 0; i < count; i++)
        logs_at(&places[i], paths, fn, arg);
}

/* ---- what they write ----------------------------------------------------------------------- */

struct follower {
    struct engine_link *link;  /* borrowed */
    struct container_log *log; /* owned */
    size_t *open;              /* how many are there yet */
    char id[80];
};

static void on_followed(int stream, bool begins, const char *text, size_t len, void *arg)
{
    struct follower *f = arg;

    if (len)
        container_log_take(f->log, stream, begins, text, len);
    else
        container_log_flush(f->log);
}

static void on_follow_end(const struct err *err, const json_t *answer, void *arg)
{
    struct follower *f = arg;

    (void)answer;
    if (err)
        tell_unheard(f->id, err);
    else
        container_log_end(f->log);
    if (--*f->open == 0)
        loop_quit(f->link->loop);
}

void engine_ask_follow(const struct paths *paths,
                       void (*fn)(const char *lines, size_t len, void *arg), void *arg)
{
    struct docker_place places[PLACES];
    struct engine_link link = {0};
    struct follower *all = NULL;
    json_t *list = NULL, *c;
    size_t i, open = 0, count = 0;

    if (places_of(paths, places) && list_at(&link, &places[0], paths->home, &list, NULL) == ERR_OK)
        all = mem_array(json_array_size(list) + 1, sizeof *all);
    json_array_foreach(list, i, c)
    {
        struct follower *f = &all[count++];

        *f = (struct follower){.link = &link, .log = container_log_new(fn, arg), .open = &open};
        (void)str_format(f->id, sizeof f->id, "%s", json_string_value(json_object_get(c, "Id")));
        open++;
        (void)docker_logs(link.docker, f->id,
                          container_log_resume(f->log, paths->log_runner, false), true, on_followed,
                          on_follow_end, f);
    }
    if (open)
        loop_run(link.loop);
    for (i = 0; i < count; i++)
        container_log_free(all[i].log);
    free(all);
    json_decref(list);
    engine_link_close(&link);
}

static enum err_code remove_at(const struct docker_place *place, const char *home, size_t *count,
                               struct err *err)
{
    struct engine_link a = {0};
    json_t *list, *c;
    size_t i;
    enum err_code code = list_at(&a, place, home, &list, err);

    json_array_foreach(list, i, c)
    {
        const char *id = json_string_value(json_object_get(c, "Id"));

        if (code || !id)
            break;
        code = engine_link_wait(&a, docker_remove(a.docker, id, engine_link_on_answer, &a), err);
        *count += code == ERR_OK;
    }
    json_decref(list);
    engine_link_close(&a);
    return code;
}

enum err_code engine_ask_remove_all(const struct paths *paths, size_t *ret_count, struct err *err)
{
    struct docker_place places[PLACES];
    size_t count = places_of(paths, places);
    enum err_code first = ERR_OK;
    struct err other;

    *ret_count = 0;
    for (size_t i = 0; i < count; i++) {
        enum err_code code = remove_at(&places[i], paths->home, ret_count, i ? &other : err);

        if (!i)
            first = code;
    }
    return first;
}
