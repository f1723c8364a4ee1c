/* runner-token.h — the token that runners on other machines show: made once, kept among the secrets
 * of the home (vault.h) as "runner.token", until somebody asks for another one.
 * Threads: one at a time a home. */
#ifndef PLATFORM_RUNNER_TOKEN_H
#define PLATFORM_RUNNER_TOKEN_H

#include <stdbool.h>

#include "base/err.h"

/* *ret is the caller's (explicit_bzero and free). ERR_NOT_FOUND: none was ever made. */
MUST_CHECK enum err_code runner_token_get(const char *home, char **ret, struct err *err);

/* Makes it when there is none, or anew with rotate. */
MUST_CHECK enum err_code runner_token_make(const char *home, bool rotate, char **ret,
                                           struct err *err);

#endif
