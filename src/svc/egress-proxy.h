/* egress-proxy.h — the one way out for an agent's tools: an HTTP proxy on loopback (CONNECT, and
 * absolute http:// requests; RFC 9110 section 9.3.6, RFC 9112 section 3.2), which HTTP_PROXY and
 * HTTPS_PROXY of every command name.
 *
 *   tool ──CONNECT host:port──▶ who? ─▶ may it? ─▶ resolve ─▶ is it public? ─▶ connect ─▶ tunnel
 *                                407      403         502          403           502
 *
 * The address that is judged is the one that is connected to. Each run has a token of its own in
 * the proxy's URL, so other users of the machine get nothing and each host asked for is a line of
 * the log with the run's id. Bytes pass through two small buffers a connection: a side that does
 * not read stops the other. Threads: the loop's. */
#ifndef SVC_EGRESS_PROXY_H
#define SVC_EGRESS_PROXY_H

#include "base/err.h"
#include "platform/loop.h"

struct egress_proxy;

#define EGRESS_PROXY_URL 128

/* policy: the text of sandbox.egress (core/egress.h); copied. */
MUST_CHECK enum err_code egress_proxy_new(struct loop *loop, const char *policy,
                                          struct egress_proxy **ret, struct err *err);
void egress_proxy_free(struct egress_proxy *p); /* NULL is fine */
unsigned egress_proxy_port(const struct egress_proxy *p);

/* Lets a run in: "http://stigmer:TOKEN@127.0.0.1:PORT". */
void egress_proxy_grant(struct egress_proxy *p, const char *run_id, char ret[EGRESS_PROXY_URL]);
void egress_proxy_revoke(struct egress_proxy *p, const char *run_id); /* its connections end */

#endif
