/* egress.h — where an agent's tools may connect to, as rules: hosts by pattern, addresses by kind.
 *
 *   deny      nowhere
 *   allow     anywhere, directly: then nobody asks here
 *   public    any host whose address is public
 *   patterns  comma-separated, each with ":PORT" or for every port; only these:
 *             "api.github.com", "10.0.0.5", "[::1]:8080": named by a person, whatever the address
 *             "*.debian.org": any depth below, when its address is public
 *
 * No I/O; names are resolved by the caller, who connects to the very address that was judged: what
 * a name means a moment later does not matter. Threads: any. */
#ifndef CORE_EGRESS_H
#define CORE_EGRESS_H

#include <stdbool.h>
#include <sys/socket.h>

#define EGRESS_HOST_MAX 253 /* RFC 1035, without the final dot */

enum egress_verdict {
    EGRESS_REFUSED,
    EGRESS_ALLOWED,  /* at any address */
    EGRESS_IF_PUBLIC /* when egress_is_public says so of its address */
};

/* policy: the text of sandbox.egress. host: as the client wrote it, without brackets. */
enum egress_verdict egress_judge(const char *policy, const char *host, unsigned port);

/* Is it an address of the public Internet? *ret_why (borrowed, constant): what it is otherwise,
 * such as "a private address". IPv4 inside IPv6 (mapped, 6to4, NAT64, Teredo) is judged as IPv4. */
bool egress_is_public(const struct sockaddr *address, const char **ret_why);

#endif
