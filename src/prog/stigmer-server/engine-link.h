/* engine-link.h — one container engine, asked a question at a time, each waited for: for the parts
 * of stigmer-server that run no loop of their own. A call is made with engine_link_on_answer and
 * the link as its callback, and ends in engine_link_wait. Threads: one. */
#ifndef PROG_STIGMER_SERVER_ENGINE_LINK_H
#define PROG_STIGMER_SERVER_ENGINE_LINK_H

#include <jansson.h>

#include "base/err.h"
#include "clients/docker.h"
#include "platform/loop.h"

struct engine_link {
    struct loop *loop;     /* owned */
    struct http *http;     /* owned */
    struct docker *docker; /* owned */
    json_t *answer;        /* owned; of the last call; NULL where the engine answers nothing */
    struct err err;        /* of the last call */
};

/* Its answer is that of GET /version. Close it in any case. */
MUST_CHECK enum err_code engine_link_open(struct engine_link *l, const struct docker_place *place,
                                          struct err *err);
void engine_link_close(struct engine_link *l);

void engine_link_on_answer(const struct err *err, const json_t *answer, void *link);
MUST_CHECK enum err_code engine_link_wait(struct engine_link *l, struct docker_call *call,
                                          struct err *err);

#endif
