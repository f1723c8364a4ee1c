/* runner-backend.h — one way to have an agent-runner: as a process, as a container; or to have a
 * Temporal server. The supervisor (supervise.h) decides when; a backend only does.
 *
 *   start ──▶ on_started ──▶ … ──▶ on_exited
 *     └▶ on_blocked                      it cannot run now: no engine, no image, a name that is
 * taken stop asks and kill forces; both end in on_exited or on_blocked
 *
 * Ready is not a backend's word: a runner is ready when it has attached, Temporal when it answers.
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
    /* It ended by itself: the message tells how; code ERR_SANDBOX: it says that this machine cannot
     * confine it. */
    void (*on_exited)(const struct err *why, void *arg);
    /* Nothing runs, for a reason that may pass. */
    void (*on_blocked)(const struct err *why, void *arg);
    void (*on_trouble)(void *arg); /* what trouble() says has changed; may be NULL */
    void *arg;
};

struct runner_backend_ops {
    const char *(*kind)(const struct runner_backend *b);    /* "process", "container" */
    const char *(*runtime)(const struct runner_backend *b); /* "process", "docker", "podman" */
    void (*start)(struct runner_backend *b);
    void (*stop)(struct runner_backend *b);
    void (*kill)(struct runner_backend *b);
    /* What identifies it: a pid, or a container id; "" while there is none. */
    pid_t (*pid)(const struct runner_backend *b);
    const char *(*container_id)(const struct runner_backend *b);
    /* Why it runs and does nothing ("the container is paused"); "" when all is well. */
    const char *(*trouble)(const struct runner_backend *b);
    void (*free)(struct runner_backend *b);
};

/* First member of every backend. */
struct runner_backend {
    const struct runner_backend_ops *ops;
    struct runner_backend_events events; /* set by the supervisor before start */
};

#endif
