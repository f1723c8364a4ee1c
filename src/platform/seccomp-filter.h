/* seccomp-filter.h — which system calls a confined process may make, through libseccomp.
 *
 * A deny list above "allow": it takes away what changes the machine, looks into other processes,
 * makes namespaces, or opens sockets the design does not grant. A refused call fails with EPERM
 * (ENOSYS where programs have a fall-back), another ABI (32-bit, x32) kills the process. Only the
 * low 32 bits of an argument are compared where the kernel reads only those. */
#ifndef PLATFORM_SECCOMP_FILTER_H
#define PLATFORM_SECCOMP_FILTER_H

#include <stdbool.h>

#include "base/err.h"

enum seccomp_filter_kind {
    SECCOMP_FILTER_TOOL,  /* tool host and commands */
    SECCOMP_FILTER_WORKER /* sockets yes; new processes and programs no */
};

/* What tools may do over IPv4 and IPv6; a socketpair they always have. */
enum seccomp_filter_tcp {
    SECCOMP_FILTER_NO_TCP,
    SECCOMP_FILTER_TCP_CLIENT, /* connect() only, so that a rule on connect() is a rule on all */
    SECCOMP_FILTER_TCP
};

struct seccomp_filter {
    enum seccomp_filter_kind kind;
    enum seccomp_filter_tcp tcp; /* of tools */
    bool no_metadata; /* refuse chmod, chown, utime and xattr by path: Landlock does not cover them
                       */
};

bool seccomp_filter_available(void);
MUST_CHECK enum err_code seccomp_filter_enter(const struct seccomp_filter *f, struct err *err);

#endif
