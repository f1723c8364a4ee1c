/* keys.h — the folder through which keys reach the runner: one file a secret, 0400 in a 0700 folder
 * on tmpfs, so they are on no disk, in no argument list, environment, image or `docker inspect`.
 *
 *   $XDG_RUNTIME_DIR/stigmer-<hash of home>/   or   /dev/shm/stigmer-<uid>-<hash of home>/
 *     runner.token     what runners show on run/runner.sock
 *     llm.<provider>   the key of a model provider
 *     temporal.*       certificates and keys for Temporal (temporal-access.h)
 *
 * The token outlives a crash of the server, because the runner does; a stop removes the folder. */
#ifndef SVC_KEYS_H
#define SVC_KEYS_H

#include <stdbool.h>

#include "base/err.h"

#define KEYS_PATH 512
#define KEYS_TOKEN 65  /* 64 hex digits and a NUL */
#define KEYS_MAX 65536 /* bytes of one key, or of one file of certificates */

/* Where the folder of this home is. */
MUST_CHECK enum err_code keys_dir(const char *home, char ret[KEYS_PATH], struct err *err);

/* Makes the folder, and the token when there is none. A folder that is not ours alone is refused.
 */
MUST_CHECK enum err_code keys_open(const char *dir, char ret_token[KEYS_TOKEN], struct err *err);

/* Writes one key; NULL or "" removes it. Surrounding white space is cut. */
MUST_CHECK enum err_code keys_put(const char *dir, const char *name, const char *value,
                                  struct err *err);

/* Reads a secret from a file a person named; the caller frees it (free). */
MUST_CHECK enum err_code keys_read_file(const char *path, char **ret, struct err *err);

/* A mark of all keys, which changes when one does and tells nothing of them: each key's hash
 * keyed with the token, joined. Shown in public (a container's label). */
#define KEYS_MARK 65 /* hex */
MUST_CHECK enum err_code keys_mark(const char *dir, const char *token, char ret[KEYS_MARK],
                                   struct err *err);

void keys_remove(const char *dir);

#endif
