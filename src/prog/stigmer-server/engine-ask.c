#include "prog/stigmer-server/engine-ask.h"

#include "base/str.h"
#include "clients/docker.h"
#include "platform/loop.h"
#include "svc/container-spec.h"

struct ask {
    struct loop *loop;
    struct http *http;
    struct docker *docker;
    char socket[DOCKER_SOCKET_MAX];
    json_t *answer; /* owned */
    struct err err; /* of the last call */
};

static void on_answer(const struct err *err, const json_t *answer, void *arg)
{
    struct ask *a = arg;

    json_decref(a->answer);
    a->answer = answer ? json_deep_copy(answer) : NULL;
    a->err = err ? *err : (struct err){0};
    loop_quit(a->loop);
}

static enum err_code wait_for(struct ask *a, struct docker_call *c, struct err *err)
{
    (void)c; /* it ends in on_answer */
    loop_run(a->loop);
    if (a->err.code && err)
        *err = a->err;
    return a->err.code;
}

static void close_ask(struct ask *a)
{
    json_decref(a->answer);
    docker_free(a->docker);
    http_free(a->http);
    loop_free(a->loop);
}

/* Close it in any case. */
static enum err_code open_ask(struct ask *a, struct err *err)
{
    enum err_code code = docker_find(a->socket, err);

    if (code)
        return code;
    a->loop = loop_new();
    a->http = http_new(a->loop);
    a->docker = docker_new(a->http, a->socket);
    return wait_for(a, docker_ping(a->docker, on_answer, a), err);
}

enum err_code engine_ask_version(char *ret, size_t size, struct err *err)
{
    struct ask a = {0};
    enum err_code code = open_ask(&a, err);
    const char *version = json_string_value(json_object_get(a.answer, "Version"));

    if (!code)
        (void)str_format(ret, size, "%s at %s", version ? version : "unknown version", a.socket);
    close_ask(&a);
    return code;
}

enum err_code engine_ask_image(const char *name, bool *ret_there, struct err *err)
{
    struct ask a = {0};
    struct err why;
    enum err_code code = open_ask(&a, &why);

    if (!code) {
        code = wait_for(&a, docker_image(a.docker, name, on_answer, &a), &why);
        *ret_there = code == ERR_OK;
        if (code == ERR_NOT_FOUND)
            code = ERR_OK;
    }
    close_ask(&a);
    if (code && err)
        *err = why;
    return code;
}

enum err_code engine_ask_remove_all(const char *home, size_t *ret_count, struct err *err)
{
    struct ask a = {0};
    char label[1200];
    json_t *list = NULL;
    size_t i;
    const json_t *c;
    enum err_code code = open_ask(&a, err);

    *ret_count = 0;
    (void)str_format(label, sizeof label, CONTAINER_SPEC_LABEL_HOME "=%s", home);
    if (!code)
        code = wait_for(&a, docker_list(a.docker, label, on_answer, &a), err);
    if (!code)
        list = json_incref(a.answer);
    json_array_foreach(list, i, c)
    {
        const char *id = json_string_value(json_object_get(c, "Id"));

        if (code || !id)
            break;
        code = wait_for(&a, docker_remove(a.docker, id, on_answer, &a), err);
        *ret_count += code == ERR_OK;
    }
    json_decref(list);
    close_ask(&a);
    return code;
}
