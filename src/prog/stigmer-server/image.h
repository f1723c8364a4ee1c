/* image.h — `stigmer-server --image VERB…`: the runner's images at the container engine.
 *
 *   load              the archive that is installed
 *   ls                images of ours, at every engine that answers, and the one the configuration
 * names build FROM TAG    the installed runner on top of another local image, by the engine's own
 *                     builder; the result has our label, so nothing is mounted over it
 *
 * Lines of JSON: {"progress":{"status","completed","total"}}, at the end the result or {"error":…}.
 * load and build take the engine that a start would take: runner.kind, or docker, then podman. */
#ifndef PROG_STIGMER_SERVER_IMAGE_H
#define PROG_STIGMER_SERVER_IMAGE_H

#include "core/paths.h"
#include "prog/stigmer-server/settings.h"

/* from, tag: of build; "" otherwise. */
int image_main(const struct settings_args *args, const struct paths *paths, const char *verb,
               const char *from, const char *tag);

#endif
