/* image-context.h — what an engine builds a runner's image from: a tar archive (POSIX ustar) in
 * memory, with a Dockerfile and the installed runner. */
#ifndef PROG_STIGMER_SERVER_IMAGE_CONTEXT_H
#define PROG_STIGMER_SERVER_IMAGE_CONTEXT_H

#include <stdint.h>

#include "base/err.h"

/* base_id: "sha256:…" of a local image; base: what a person calls it. *ret_fd: at its start; the
 * caller's. */
MUST_CHECK enum err_code image_context_make(const char *program, const char *base_id,
                                            const char *base, int *ret_fd, int64_t *ret_len,
                                            struct err *err);

#endif
