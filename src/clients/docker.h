/* docker.h — a container engine by its API over a unix socket (Docker Engine API, moby's
 * docs/api; 1.41 is Docker 20.10). No `docker` command is ever run.
 *
 * Every call ends in one callback: the engine's JSON answer (borrowed for the call; NULL where the
 * engine answers nothing), or an error in the engine's own words:
 *   ERR_SANDBOX    no engine answers, or not one we can talk to
 *   ERR_NOT_FOUND  no such image or container
 *   ERR_CONFLICT   the name is taken, the container is in another state
 *   ERR_TIMEOUT    it did not answer
 *   ERR_INVALID, ERR_INTERNAL, ERR_CORRUPT   what it says
 * Never before the function has returned. docker_ping comes first: it agrees on the API version.
 *
 * Names and ids are checked before they become part of a URL.
 * Ownership: borrows the http client. Threads: the loop's. */
#ifndef CLIENTS_DOCKER_H
#define CLIENTS_DOCKER_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "clients/docker-find.h"
#include "platform/http.h"

struct docker;
struct docker_call;

typedef void docker_fn(const struct err *err, const json_t *answer, void *arg);

struct docker *docker_new(struct http *http, const struct docker_place *place);
void docker_free(struct docker *d); /* ends calls without calling back */

/* No callback follows. NULL is fine. */
void docker_cancel(struct docker_call *c);

/* Is one there, and which: the answer is that of GET /version. */
struct docker_call *docker_ping(struct docker *d, docker_fn *fn, void *arg);

/* What the last answered ping told: is it Podman behind Docker's API, and the minor API version. */
bool docker_is_podman(const struct docker *d);
unsigned docker_api(const struct docker *d);

struct docker_call *docker_image(struct docker *d, const char *name, docker_fn *fn, void *arg);

/* The archive of an image (docker save) from descriptor fd (borrowed until the end). */
typedef void docker_progress_fn(int64_t sent, int64_t total, void *arg);
struct docker_call *docker_load(struct docker *d, int fd, int64_t len, docker_progress_fn *progress,
                                docker_fn *fn, void *arg);

/* The images with a label ("name=value"). */
struct docker_call *docker_images(struct docker *d, const char *label, docker_fn *fn, void *arg);

/* Builds from a tar archive with a Dockerfile, as docker_load takes one; tag names the result. What
 * the Dockerfile builds upon should be local: else the engine may fetch it. Answers nothing. */
struct docker_call *docker_build(struct docker *d, const char *tag, int fd, int64_t len,
                                 docker_progress_fn *progress, docker_fn *fn, void *arg);

struct docker_call *docker_list(struct docker *d, const char *label, docker_fn *fn, void *arg);
struct docker_call *docker_inspect(struct docker *d, const char *container, docker_fn *fn,
                                   void *arg);
struct docker_call *docker_create(struct docker *d, const char *name, const json_t *body,
                                  docker_fn *fn, void *arg);
struct docker_call *docker_start(struct docker *d, const char *container, docker_fn *fn, void *arg);
struct docker_call *docker_kill(struct docker *d, const char *container, const char *signal,
                                docker_fn *fn, void *arg);
/* By force, with its anonymous volumes. One that is gone already is a success. */
struct docker_call *docker_remove(struct docker *d, const char *container, docker_fn *fn,
                                  void *arg);
/* Answers when it does not run (any more). */
struct docker_call *docker_wait(struct docker *d, const char *container, docker_fn *fn, void *arg);

/* What it writes, from since (seconds of the wall clock) on; follow: until it ends, else what there
 * is. Frames as wire/dockerlog.h gives them, each begins with the engine's time and a space; after
 * what came at once one of length 0. */
typedef void docker_output_fn(int stream, bool begins, const char *text, size_t len, void *arg);
struct docker_call *docker_logs(struct docker *d, const char *container, int64_t since, bool follow,
                                docker_output_fn *output, docker_fn *fn, void *arg);

/* What happens to a container from now on, an object each ("Action": pause, unpause, oom, die, …,
 * moby's api/types/events), until the engine ends the stream. */
typedef void docker_event_fn(const json_t *event, void *arg);
struct docker_call *docker_events(struct docker *d, const char *container, docker_event_fn *event,
                                  docker_fn *fn, void *arg);

#endif
