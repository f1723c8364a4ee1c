/* resolve.h — names to addresses, by c-ares on the loop: /etc/hosts, then DNS as /etc/resolv.conf
 * says. Never glibc's resolver, whose plug-ins a static program in somebody else's image cannot
 * load.
 *
 * Ownership: a query is the resolver's until its callback. Threads: the loop's. */
#ifndef PLATFORM_RESOLVE_H
#define PLATFORM_RESOLVE_H

#include <stddef.h>
#include <sys/socket.h>

#include "base/err.h"
#include "platform/loop.h"
#include "platform/sock.h"

struct resolver;
struct resolve_query;

/* Reads /etc/resolv.conf now, and not again; /etc/hosts for each query. */
MUST_CHECK enum err_code resolve_new(struct loop *loop, struct resolver **ret, struct err *err);
void resolve_free(struct resolver *r); /* ends queries without calling back */

/* err or addresses (with the port, in the order to be tried); borrowed for the call. Never before
 * resolve_start has returned. */
typedef void resolve_fn(const struct err *err, const struct sock_addr *addresses, size_t count,
                        void *arg);
struct resolve_query *resolve_start(struct resolver *r, const char *host, unsigned port,
                                    resolve_fn *fn, void *arg);
void resolve_cancel(struct resolve_query *q); /* no callback follows; NULL is fine */

#endif
