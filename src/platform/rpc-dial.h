/* rpc-dial.h — attempts to reach one address: resolve it, connect (its addresses in turn), greet by
 * TLS where asked. Names are resolved as resolve.h does it; an address gets 10 s to connect and
 * greet.
 *
 *   idle ──begin──▶ resolving ──▶ connecting ──▶ greeting ──▶ idle, told
 *
 * Threads: the loop's. */
#ifndef PLATFORM_RPC_DIAL_H
#define PLATFORM_RPC_DIAL_H

#include <stdbool.h>

#include "platform/loop.h"
#include "platform/rpc-wire.h"

struct rpc_dial;

/* wire: connected, greeted; taken over. Or NULL, and err says why the last address failed. Called
 * once for each begin, perhaps from inside it; the dial may be freed there. */
typedef void rpc_dial_fn(struct rpc_wire *take_wire, const struct err *err, void *arg);

/* tls: borrowed, NULL: cleartext. host: that the certificate must be for; NULL: the address's. */
MUST_CHECK enum err_code rpc_dial_new(struct loop *loop, const char *address,
                                      const struct tls_context *tls, const char *host,
                                      rpc_dial_fn *fn, void *arg, struct rpc_dial **ret,
                                      struct err *err);
void rpc_dial_free(struct rpc_dial *d);  /* ends an attempt without calling back */
void rpc_dial_begin(struct rpc_dial *d); /* nothing while an attempt is under way */
bool rpc_dial_is_busy(const struct rpc_dial *d);

#endif
