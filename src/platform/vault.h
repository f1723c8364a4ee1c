/* vault.h — secrets at rest: one file each in HOME/data/secrets (0700; files 0600), sealed with
 * XChaCha20-Poly1305 (libsodium's crypto_aead_xchacha20poly1305_ietf) and the secret's name as
 * associated data, so that files cannot be swapped. The key is 32 bytes in HOME/secret.key (0600,
 * made at the first use), or what a service manager hands over as
 * $CREDENTIALS_DIRECTORY/stigmer.key (systemd.exec(5)).
 *
 *   file: 1 byte version (1) · 24 bytes nonce · sealed value with its 16 bytes tag
 *
 * A file is replaced whole: after a crash it is the old one or the new one.
 * Errors: ERR_NOT_FOUND (no such secret), ERR_CORRUPT (a file or key that is not what it was),
 * ERR_DENIED (a key that others can read). They name the secret, never its value.
 * Threads: any, one at a time a home. */
#ifndef PLATFORM_VAULT_H
#define PLATFORM_VAULT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define VAULT_NAME_MAX 64 /* bytes of a name */
#define VAULT_VALUE_MAX ((size_t)65536)

/* [a-z0-9][a-z0-9._-]* */
bool vault_name_is_valid(const char *name);

MUST_CHECK enum err_code vault_put(const char *home, const char *name, const char *value,
                                   struct err *err);
/* *ret: NUL-ended; the caller's: explicit_bzero and free. */
MUST_CHECK enum err_code vault_get(const char *home, const char *name, char **ret, struct err *err);
MUST_CHECK enum err_code vault_remove(const char *home, const char *name, struct err *err);

/* In the order of their names. size: of the value in bytes; set_ms: wall clock. */
typedef void vault_fn(const char *name, int64_t size, int64_t set_ms, void *arg);
MUST_CHECK enum err_code vault_list(const char *home, vault_fn *fn, void *arg, struct err *err);

/* A value that is kept elsewhere, sealed with the same key: text that begins with "sealed:v1:"
 * (then base64 of nonce and sealed value). ERR_CORRUPT when it or the key is not what it was. */
bool vault_is_sealed(const char *text);
MUST_CHECK enum err_code vault_seal(const char *home, const char *value, char **ret,
                                    struct err *err);
MUST_CHECK enum err_code vault_open(const char *home, const char *sealed, char **ret,
                                    struct err *err);

#endif
