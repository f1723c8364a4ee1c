/* remote.h — where a person says that the server is, and what it is shown there.
 *
 *   unix:PATH          no token: the file's mode says who may
 *   host:port          loopback: cleartext; anywhere else: TLS
 *   tls://host:port    TLS; https:// is the same
 *   tcp://host:port    cleartext; http:// is the same. A token is not sent beyond loopback
 */
#ifndef PROG_STIGMER_REMOTE_H
#define PROG_STIGMER_REMOTE_H

#include <stdbool.h>

#include "core/paths.h"
#include "platform/tls.h"
#include "prog/stigmer/cli.h"

#define REMOTE_ADDRESS (PATHS_MAX + 8)

struct remote {
    char address[REMOTE_ADDRESS]; /* as rpc-client.h has it */
    bool is_given;                /* by --server or STIGMER_SERVER_ADDR; else the home's socket */
    bool is_unix;
    struct tls_context *tls; /* owned; NULL: cleartext */
    char *token;             /* owned; NULL: none */
};

/* --server, STIGMER_SERVER_ADDR, or the socket in the home; --token-file or STIGMER_TOKEN; --tls-ca
 * or STIGMER_TLS_CA. remote_done it only after success. */
MUST_CHECK enum err_code remote_find(const struct cli *cli, struct remote *ret, struct err *err);
void remote_done(struct remote *r);

#endif
