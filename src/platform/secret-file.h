/* secret-file.h — files that hold a secret and that a person named: read only when nobody but their
 * owner, who is us or root, may. Threads: any; no state. */
#ifndef PLATFORM_SECRET_FILE_H
#define PLATFORM_SECRET_FILE_H

#include "base/err.h"

#define SECRET_FILE_TOKEN_MIN 16
#define SECRET_FILE_TOKEN_MAX 4096

/* what: "key of the certificate", for messages. ERR_DENIED with the chmod that mends it. */
MUST_CHECK enum err_code secret_file_open(const char *what, const char *path, int *ret_fd,
                                          struct err *err);

/* A token for "authorization: Bearer …": one line of visible ASCII. *ret is the caller's
 * (explicit_bzero and free). */
MUST_CHECK enum err_code secret_file_token(const char *path, char **ret, struct err *err);

/* Is text such a token? from: where it is from, for the message; the text itself is never told. */
MUST_CHECK enum err_code secret_file_check_token(const char *text, const char *from,
                                                 struct err *err);

#endif
