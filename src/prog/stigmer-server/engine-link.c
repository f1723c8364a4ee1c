#include "prog/stigmer-server/engine-link.h"

void engine_link_on_answer(const struct err *err, const json_t *answer, void *link)
{
    struct engine_link *l = link;

    json_decref(l->answer);
    l->answer = answer ? json_deep_copy(answer) : NULL;
    l->err = err ? *err : (struct err){0};
    loop_quit(l->loop);
}

enum err_code engine_link_wait(struct engine_link *l, struct docker_call *call, struct err *err)
{
    (void)call; /* it ends in engine_link_on_answer */
    loop_run(l->loop);
    if (l->err.code && err)
        *err = l->err;
    return l->err.code;
}

void engine_link_close(struct engine_link *l)
{
    json_decref(l->answer);
    docker_free(l->docker);
    http_free(l->http);
    loop_free(l->loop);
    *l = (struct engine_link){0};
}

enum err_code engine_link_open(struct engine_link *l, const struct docker_place *place,
                               struct err *err)
{
    *l = (struct engine_link){.loop = loop_new()};
    l->http = http_new(l->loop);
    l->docker = docker_new(l->http, place);
    return engine_link_wait(l, docker_ping(l->docker, engine_link_on_answer, l), err);
}
