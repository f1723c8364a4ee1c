/* sock-owner.h — whose the other end of a connection is.
 *
 * Of a unix socket the kernel tells (SO_PEERCRED). Of a TCP connection on this machine it is asked
 * for the socket of the other end by its four numbers (sock_diag(7), NETLINK_SOCK_DIAG, since Linux
 * 3.3): that socket's owner is who made it. One question to the kernel, some 20 us; no waiting.
 * Threads: any; no state. */
#ifndef PLATFORM_SOCK_OWNER_H
#define PLATFORM_SOCK_OWNER_H

#include <stdbool.h>
#include <sys/types.h>

enum sock_owner {
    SOCK_OWNER_KNOWN,
    SOCK_OWNER_NOT_HERE, /* no such socket in this network namespace: elsewhere, or closed by now */
    SOCK_OWNER_UNKNOWN   /* the kernel cannot be asked */
};

enum sock_owner sock_owner_of_peer(int fd, uid_t *ret);
bool sock_owner_is_tcp(int fd);
bool sock_owner_can_tell(void); /* of TCP, on this kernel and in this container */

#endif
