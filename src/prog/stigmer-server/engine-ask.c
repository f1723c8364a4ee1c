#include "prog/stigmer-server/engine-ask.h"

#include <unistd.h>

#include "base/str.h"
#include "prog/stigmer-server/engine-file.h"
#include "prog/stigmer-server/engine-link.h"
#include "svc/container-spec.h"

#define PLACES 3

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
