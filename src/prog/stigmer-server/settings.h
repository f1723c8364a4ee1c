/* settings.h — the server's settings at start: config.yaml, environment, --set; and the keys. */
#ifndef PROG_STIGMER_SERVER_SETTINGS_H
#define PROG_STIGMER_SERVER_SETTINGS_H

#include "base/err.h"
#include "core/config.h"
#include "core/paths.h"

#define SETTINGS_SETS 128

/* What the command line says; borrowed text. */
struct settings_args {
    const char *home;
    const char *sets[SETTINGS_SETS];
    int set_count;
    int ready_fd;        /* -1: none */
    int secrets_fd;      /* -1: none */
    int keeper_fd;       /* -1: none; see keeper-link.h */
    const char *sockets; /* that a service manager handed over (platform/notify.h); NULL: none */
    bool foreground;
};

MUST_CHECK enum err_code settings_load(const struct settings_args *args, const struct paths *paths,
                                       struct config *ret, struct err *err);

/* The key of the configured provider; *ret NULL: there is none. ret_from says where it is from. The
 * caller's: explicit_bzero and free. settings.c has the places in their order. */
MUST_CHECK enum err_code settings_find_key(const struct paths *paths, const struct config *config,
                                           char **ret, const char **ret_from, struct err *err);

/* The keys of all providers into the keys folder. */
MUST_CHECK enum err_code settings_put_keys(const struct settings_args *args,
                                           const struct paths *paths, const struct config *config,
                                           const char *keys_folder, struct err *err);

#endif
