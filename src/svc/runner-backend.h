/* runner-backend.h — one way to have an agent-runner: as a process, as a container. The supervisor
 * (supervise.h) decides when; a backend only does.
 *
 *   start ──▶ on_started ──▶ … ──▶ on_exited      (a failed start is on_exited with the reason)
 *   stop asks and kill forces; both end in on_exited
 *
 * Ready is not a backend's word: a runner is ready when it has attached.
 * Callbacks never come before start has returned. Threads: the loop's. */
#ifndef SVC_RUNNER_BACKEND_H
#define SVC_RUNNER_BACKEND_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/err.h"

struct runner_backend;

struct runner_backend_events {
    void (*on_progress)(const char *what, void *arg); /* "loading the runner image: 40 %" */
    void (*on_started)(void *arg);
    /* code ERR_OK: it ended by itself with the told exit code or signal; else why it could not run
     */
    void (*on_exited)(const struct err *why, void *arg);
    void *arg;
};

struct runner_backend_ops {
    const char *kind;    /* as status says: "process", "container" */
    const char *runtime; /* "process", "docker" */
    void (*start)(struct runner_backend *b);
    void (*stop)(struct runner_backend *b);
    void (*kill)(struct runner_backend *b);
    /* What identifies it: a pid, or a container id; "" while there is none. */
    pid_t (*pid)(const struct runner_backend *b);
    const char *(*container_id)(const struct runner_backend *b);
    void (*free)(struct runner_backend *b);
};

/* First member of every backend. */
struct runner_backend {
    const struct runner_backend_ops *ops;
    struct runner_backend_events events; /* set by the supervisor before start */
};

#endif
