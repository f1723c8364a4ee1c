/* engine-ask.h — questions to the container engine by the parts of stigmer-server that run no loop
 * of their own (doctor, cleanup). Each call blocks, at most some seconds where no engine is. */
#ifndef PROG_STIGMER_SERVER_ENGINE_ASK_H
#define PROG_STIGMER_SERVER_ENGINE_ASK_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

/* The engine's version, as "20.10.24 at /var/run/docker.sock". */
MUST_CHECK enum err_code engine_ask_version(char *ret, size_t size, struct err *err);

MUST_CHECK enum err_code engine_ask_image(const char *name, bool *ret_there, struct err *err);

/* Removes every container with the label of this home. */
MUST_CHECK enum err_code engine_ask_remove_all(const char *home, size_t *ret_count,
                                               struct err *err);

#endif
