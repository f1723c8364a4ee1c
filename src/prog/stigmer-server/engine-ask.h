/* engine-ask.h — questions to the container engine by the parts of stigmer-server that run no loop
 * of their own (doctor, cleanup). Each call blocks, at most some seconds where no engine is.
 * runtime: "docker" or "podman", see clients/docker-find.h. */
#ifndef PROG_STIGMER_SERVER_ENGINE_ASK_H
#define PROG_STIGMER_SERVER_ENGINE_ASK_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "core/paths.h"

/* What GET /version answers; with "Socket", where. The caller's. */
MUST_CHECK enum err_code engine_ask_version(const char *runtime, json_t **ret, struct err *err);

/* What is told of an image, the caller's; NULL: there is none of that name. */
MUST_CHECK enum err_code engine_ask_image(const char *runtime, const char *name, json_t **ret,
                                          struct err *err);

/* The containers with this home's label, of every engine that answers; the caller's. Each has
 * "Id", "Names", "Labels", "State", "Created", and "Engine", its runtime, and "Socket". *err (NULL
 * is fine): ERR_OK, or why the engine that this home has used last does not answer. */
json_t *engine_ask_list(const struct paths *paths, struct err *err);

/* Removes one of them, by force. One that is gone already is a success. */
MUST_CHECK enum err_code engine_ask_remove(const json_t *container, struct err *err);

/* What the containers of this home have written and its log (paths->log_runner) does not have:
 * whole lines as the log keeps them (wire/containerline.h), in the order of their times. A
 * container that still runs keeps a line that it has not ended to itself. */
void engine_ask_logs(const struct paths *paths,
                     void (*fn)(const char *lines, size_t len, void *arg), void *arg);

/* The same and what they write from then on, each container's as it comes, until all have ended; of
 * the engine that was used last. */
void engine_ask_follow(const struct paths *paths,
                       void (*fn)(const char *lines, size_t len, void *arg), void *arg);

/* Removes every container with the label of this home, at every engine that answers.
 * Fails when the engine that this home has used last (else Docker) does not answer. */
MUST_CHECK enum err_code engine_ask_remove_all(const struct paths *paths, size_t *ret_count,
                                               struct err *err);

#endif
