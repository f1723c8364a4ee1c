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
    int ready_fd;   /* -1: none */
    int secrets_fd; /* -1: none */
    int keeper_fd;  /* -1: none; see keeper-link.h */
    bool foreground;
};

MUST_CHECK enum err_code settings_load(const struct settings_args *args, const struct paths *paths,
                                       struct config *ret, struct err *err);

/* Provider keys from the secrets descriptor and llm.api_key_file into the keys folder. */
MUST_CHECK enum err_code settings_put_keys(const struct settings_args *args,
                                           const struct config *config, const char *keys_folder,
                                           struct err *err);

#endif
