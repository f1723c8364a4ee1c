/* listeners.h — where the server listens, and what a caller there must show: unix sockets for their
 * owner, TCP with the token and the TLS of the settings. Files are read once, here. */
#ifndef PROG_STIGMER_SERVER_LISTENERS_H
#define PROG_STIGMER_SERVER_LISTENERS_H

#include "core/config.h"
#include "core/paths.h"
#include "platform/rpc-server.h"
#include "platform/tls.h"

struct listeners {
    struct tls_context *tls; /* owned; NULL: TCP is cleartext. Outlives the rpc server */
    int api_fd, runner_fd;   /* the unix sockets; the rpc server's */
    bool has_token;
    char name[160]; /* of the TCP socket: "127.0.0.1:7234", "tls://0.0.0.0:7234" */
};

/* sockets: that a service manager has handed over (platform/notify.h), or NULL. */
MUST_CHECK enum err_code listeners_open(struct rpc_server *rpc, const struct config *config,
                                        const struct paths *paths, const char *sockets,
                                        struct listeners *ret, struct err *err);
/* A unix socket whose file (path) is gone is made anew. What came by the old one stays. */
MUST_CHECK enum err_code listeners_restore(struct rpc_server *rpc, const struct paths *paths,
                                           const char *path, struct listeners *l, struct err *err);
void listeners_done(struct listeners *l);

/* The TLS of the settings; *ret NULL: they have none. */
MUST_CHECK enum err_code listeners_tls(const struct config *config, struct tls_context **ret,
                                       struct err *err);

#endif
