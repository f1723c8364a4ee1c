/* sock.h — stream sockets by address text: "unix:/path", "127.0.0.1:7234", "[::1]:7234",
 * "localhost:7234", "name:port". Every socket made here is nonblocking and close-on-exec; TCP
 * ones have TCP_NODELAY. Threads: any; no state. */
#ifndef PLATFORM_SOCK_H
#define PLATFORM_SOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/types.h>

#include "base/err.h"

struct sock_addr {
    struct sockaddr_storage ss;
    socklen_t len;
};
#define SOCK_ADDRS 8

/* Address text to socket addresses, in the order to be tried. Blocks only when
 * sock_needs_lookup says so. */
bool sock_needs_lookup(const char *address);
MUST_CHECK enum err_code sock_resolve(const char *address, struct sock_addr ret[SOCK_ADDRS],
                                      size_t *ret_count, struct err *err);

/* The host of "host:port", without brackets; false where there is none. */
#define SOCK_HOST 256
bool sock_host(const char *address, char ret[SOCK_HOST]);
bool sock_port(const char *address, unsigned *ret); /* … and its port */

/* Listen. A unix socket gets `mode`; a socket file that nobody listens on is replaced, any other
 * file is left alone (ERR_CONFLICT, as for a port in use; the message names who holds it when
 * that can be seen). */
MUST_CHECK enum err_code sock_listen(const char *address, mode_t mode, int *ret_fd,
                                     struct err *err);
/* "127.0.0.1:41233": what a socket is bound to, the port that 0 became included. */
MUST_CHECK enum err_code sock_name(int fd, char *ret, size_t size, struct err *err);

/* Start to connect; *ret_done false: wait until it is writable, then ask sock_connected. */
MUST_CHECK enum err_code sock_connect(const struct sock_addr *to, int *ret_fd, bool *ret_done,
                                      struct err *err);
MUST_CHECK enum err_code sock_connected(int fd, struct err *err);

/* Is it an address of this machine? (The kernel binds to no other; nothing is sent.) */
bool sock_is_own(const struct sock_addr *a);

/* Lets the kernel find out within a minute that a TCP peer's machine is gone, without waking this
 * process meanwhile. sock_connect does it itself. Nothing on other sockets. */
void sock_keep_alive(int fd);

#endif
