/* notify.h — telling a service manager how a service is (sd_notify(3)): datagrams of NAME=VALUE
 * lines to the socket that NOTIFY_SOCKET names, a path or, after "@", an abstract address. No
 * library: this is the whole protocol. And sockets that it hands over (sd_listen_fds(3)). Nothing
 * happens where no manager asked for it. Threads: any. */
#ifndef PLATFORM_NOTIFY_H
#define PLATFORM_NOTIFY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* "READY=1", "STATUS=…", "WATCHDOG=1": lines; control characters in a status become spaces. */
void notify_send(const char *lines);
void notify_status(const char *lines, const char *status);

/* How often "WATCHDOG=1" is expected, halved; 0: never. main_pid: of the service's main process. */
int64_t notify_watchdog_ms(int main_pid);

/* Sockets that were handed over to this process, from descriptor 3 on: "name=3,name=4" ("" for
 * none); the variables are unset, so that no child takes them for its own. */
void notify_take_sockets(char *ret, size_t size);

/* The descriptor of a name in such a list; else the first one without a known name that is of the
 * family (AF_UNIX, AF_INET for both kinds of TCP). -1: none. It is made nonblocking and
 * close-on-exec and is listening. */
int notify_socket(const char *list, const char *name, int family);

#endif
