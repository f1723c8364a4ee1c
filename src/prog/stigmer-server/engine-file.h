/* engine-file.h — which container engine this home has used: data/run/engine, "RUNTIME SOCKET\n".
 * A later stop may run in another environment (without DOCKER_HOST, say) and must still find what
 * was left there. Threads: any. */
#ifndef PROG_STIGMER_SERVER_ENGINE_FILE_H
#define PROG_STIGMER_SERVER_ENGINE_FILE_H

#include <stdbool.h>

#include "clients/docker-find.h"

/* A failure is logged: the file only helps. */
void engine_file_write(const char *path, const struct docker_place *place);

/* False: there is none that can be read. */
bool engine_file_read(const char *path, struct docker_place *ret);

#endif
