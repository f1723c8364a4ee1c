/* sandbox.h — which confinement this machine offers, and entering it (design, section 7).
 *
 * A layer is active or it is missing with a reason; what STIGMER_SANDBOX_REQUIRE names and is
 * missing stops the program (ERR_SANDBOX, exit code 10). Entering is for good and for the calling
 * thread and its children; a step that fails leaves the process half confined: end it. */
#ifndef PLATFORM_SANDBOX_H
#define PLATFORM_SANDBOX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"

enum sandbox_layer {
    SANDBOX_LANDLOCK,       /* files: the workspace, own /tmp, system folders read-only */
    SANDBOX_SECCOMP,        /* system calls and sockets */
    SANDBOX_LANDLOCK_NET,   /* no TCP (ABI 4) */
    SANDBOX_LANDLOCK_SCOPE, /* no signals or abstract sockets to the outside (ABI 6) */
    SANDBOX_NO_NEW_PRIVS,
    SANDBOX_RLIMITS,
    SANDBOX_UIDS,       /* a user of its own; needs a root launcher */
    SANDBOX_NAMESPACES, /* a root folder, processes and a network of its own */
    SANDBOX_LAYERS
};

enum sandbox_egress {
    SANDBOX_EGRESS_DENY,
    SANDBOX_EGRESS_ALLOW,
    SANDBOX_EGRESS_PROXY /* the worker's proxy alone */
};

struct sandbox_report {
    char missing[SANDBOX_LAYERS][160]; /* why; empty: the layer is active */
    int landlock_abi;                  /* 0: none */
    enum sandbox_egress egress;
    char egress_note[160]; /* what was asked for and is not available; may be empty */
};

/* egress: deny, allow, or what the proxy looks after (public, host lists), which needs Landlock's
 * TCP rules: without them it means deny and is noted; NULL or "" is deny. Forks short-lived
 * children to try. */
void sandbox_probe(const char *egress, struct sandbox_report *ret);

const char *sandbox_layer_name(enum sandbox_layer layer);

/* {"layers":[…],"missing":[{"layer","why"}],"landlockAbi":N,"egress":"deny"}; owned by the caller
 */
char *sandbox_report_json(const struct sandbox_report *r);

/* The launcher's report as its children get it (STIGMER_SANDBOX_REPORT). */
MUST_CHECK enum err_code sandbox_report_parse(const char *json, struct sandbox_report *ret,
                                              struct err *err);

/* required: "landlock,seccomp" (the default for NULL or ""), or "none". */
MUST_CHECK enum err_code sandbox_require(const struct sandbox_report *r, const char *required,
                                         struct err *err);

/* Of all processes of a user that can be seen: the kernel's limit counts them together. */
unsigned long sandbox_count_threads(uid_t uid);

struct sandbox_tools {
    const char *workspace; /* absolute */
    const char *tmp;       /* own temporary folder, absolute */
    enum sandbox_egress egress;
    unsigned proxy_port;   /* of SANDBOX_EGRESS_PROXY */
    unsigned long running; /* sandbox_count_threads before the jail hid them */
    int64_t processes;     /* of all tools of this user together, above those; 0: 512 */
    int64_t memory;        /* bytes of one process; 0: something else limits it (a container) */
    bool in_jail;          /* /proc, /dev/shm and /tmp are its own (jail.h) */
    bool shares_uid;       /* other things of this user are in reach of its path names */
};

/* Privileges are gone already. Applies every layer that r has as active. */
MUST_CHECK enum err_code sandbox_enter_tools(const struct sandbox_report *r,
                                             const struct sandbox_tools *t, struct err *err);

/* In a command's process before its program: half of the processes that the user may still have.
 * So a command that takes all it can leaves as much again to the next one, of whichever session:
 * the kernel counts a user's processes together. Asks the kernel by starting short-lived ones.
 * running: as in struct sandbox_tools. */
void sandbox_share_processes(unsigned long running);

/* When memory runs out, in the machine or in a container, this process and its children go first.
 * To be called before /proc is out of reach. */
void sandbox_offer_to_oom(void);

/* The worker: network yes; no file but CA bundles and resolver settings, no program, no process. */
MUST_CHECK enum err_code sandbox_enter_worker(const struct sandbox_report *r, struct err *err);

/* A domain below the current one: it reaches no process outside itself. False: not available. */
bool sandbox_nest(void);

/* Every capability, the bounding set too; what cannot be dropped was never there. */
void sandbox_drop_caps(void);

#endif
