/* temporal-access.h — how Temporal is reached by the settings: its address, TLS, and who we say we
 * are. For the server's own client, and, through the keys folder, for its runners'.
 *
 *   temporal.ca, temporal.cert, temporal.key   PEM, as the settings' files hold them
 *   temporal.api_key                           the API key
 *
 * Files are read once, here. Ownership: borrows the settings. Threads: one at a time. */
#ifndef PROG_STIGMER_SERVER_TEMPORAL_ACCESS_H
#define PROG_STIGMER_SERVER_TEMPORAL_ACCESS_H

#include "clients/temporal.h"
#include "core/config.h"

struct temporal_access {
    struct tls_context *tls; /* owned; NULL: cleartext. Outlives the client */
    char *api_key;           /* owned; NULL: none */
};

/* Fails when a file is not what it should be, with the name of its setting. */
MUST_CHECK enum err_code temporal_access_open(const struct config *config,
                                              struct temporal_access *ret, struct err *err);
void temporal_access_done(struct temporal_access *a);

/* Fills all but the identity; borrows from both. */
void temporal_access_options(const struct config *config, const struct temporal_access *a,
                             struct temporal_options *ret);

/* The files into the keys folder; of those that are not set none is left there. */
MUST_CHECK enum err_code temporal_access_put_keys(const struct config *config,
                                                  const char *keys_folder, struct err *err);

#endif
