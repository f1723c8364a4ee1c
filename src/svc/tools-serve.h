/* tools-serve.h — a tool host's loop: frames of wire/toolproto.h in, answers out. Quick tools are
 * answered at once and in order; commands and searches run beside each other as children.
 * Ends, with everything it started, when the worker closes the socket. */
#ifndef SVC_TOOLS_SERVE_H
#define SVC_TOOLS_SERVE_H

#include <stdbool.h>

#include "base/err.h"
#include "svc/tools.h"

/* Blocks SIGCHLD and SIGTERM for this process and its children. socket: borrowed. direct_network:
 * commands may use TCP. Returns when the worker is gone (ERR_OK) or broke the protocol. */
MUST_CHECK enum err_code tools_serve(const struct tools *t, int socket, bool direct_network,
                                     struct err *err);

#endif
