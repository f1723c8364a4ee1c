/* server.h — the runner's view of our own API (stigmer.runner.v1): attached to it, told what to
 * run, and handing back what happened.
 *
 *   server        one per process: the attach stream (opened again whenever it ends, with the list
 *                 of runs that are held), heartbeats from a timer
 *   server_run    one per claimed execution: an ordered queue of events that waits for the disk of
 *                 the other side, and live text on the way to whoever watches
 *
 * While the server is away appends wait and are sent again as they were: the same seq with the same
 * bytes is no conflict. A run that the server gave to somebody else is told once, as lost.
 * Live text is lossy: joined for 30 ms, dropped above 64 KB. Recordings are not: events that come
 * after one wait for it.
 * Threads: the loop's thread. */
#ifndef CLIENTS_SERVER_H
#define CLIENTS_SERVER_H

#include "base/err.h"
#include "platform/loop.h"
#include "platform/tls.h"
#include "stigmer/runner/v1/runner.pb-c.h"

struct server;
struct server_run;
struct server_claim;

struct server_layer {
    const char *layer;
    const char *why; /* NULL: active; else why it is missing */
};

struct server_options {
    const char *address; /* as rpc-client.h has them */
    const char *token;
    const struct tls_context *tls; /* borrowed, outlives it; NULL: cleartext */
    const char *server_name;       /* that its certificate must be for; NULL: the address's host */
    const char *host;              /* this machine's name, for people; may be NULL */
    const char *runner_id;
    const char *version;
    const char *session; /* only its runs; NULL or "": of all that have no folder of their own */
    bool host_paths;     /* this machine's folders are in reach */
    unsigned slots;
    const struct server_layer *layers; /* copied */
    size_t layer_count;
};

struct server_events {
    void (*on_attached)(const char *server_version, void *arg);
    void (*on_detached)(const struct err *why, void *arg); /* it comes back by itself */
    /* It cannot be reached, and why: told once for each reason, while it goes on trying. */
    void (*on_unreachable)(const struct err *why, void *arg); /* may be NULL */
    void (*on_assign)(const char *execution_id, void *arg);
    void (*on_cancel)(const char *execution_id, const char *reason, void *arg);
    void (*on_input)(const Runner__Input *in, void *arg);      /* may be said again */
    void (*on_decision)(const Runner__Decision *d, void *arg); /* as that */
    void (*on_drain)(int64_t grace_ms, void *arg);
    void *arg;
};

MUST_CHECK enum err_code server_new(struct loop *loop, const struct server_options *o,
                                    const struct server_events *ev, struct server **ret,
                                    struct err *err);
void server_attach(struct server *s);
void server_detach(struct server *s); /* ends the stream; runs stay held until closed */
void server_free(struct server *s);   /* after its runs and claims */

/* claim and err: one is NULL. The claim is borrowed for the call. */
typedef void server_claim_fn(const Runner__ClaimResponse *claim, const struct err *err, void *arg);
struct server_claim *server_claim(struct server *s, const char *execution_id, server_claim_fn *fn,
                                  void *arg);
void server_claim_cancel(struct server_claim *c); /* no callback follows */

/* Gives a parked run back, whose server_run is closed. draining: this runner takes nothing more.
 * fn is told how it went, never before the return: after a failure the lease ends by itself. */
typedef void server_release_fn(const struct err *err, void *arg);
struct server_release;
struct server_release *server_release(struct server *s, const char *execution_id, uint64_t epoch,
                                      bool draining, server_release_fn *fn, void *arg);
void server_release_cancel(struct server_release *c); /* no callback follows */

struct server_run_events {
    void (*on_acked)(uint64_t seq, void *arg);   /* events up to seq are on disk */
    void (*on_lost)(const char *why, void *arg); /* once; nothing is appended any more */
    void *arg;
};

/* Held from now on. */
struct server_run *server_run_open(struct server *s, const char *execution_id, uint64_t epoch,
                                   const struct server_run_events *ev);
void server_run_close(struct server_run *r); /* fine inside its callbacks */

/* e is borrowed until it is acknowledged or the run is closed. */
void server_run_append(struct server_run *r, const Exec__Event *e);
/* It waits for a person, and nothing of it runs; told with what is appended after, and heartbeats.
 */
void server_run_waits(struct server_run *r, bool waits);
bool server_run_is_idle(const struct server_run *r); /* everything is acknowledged */

void server_run_text(struct server_run *r, uint32_t turn, uint32_t attempt, const char *text,
                     size_t len);
void server_run_record(struct server_run *r, const char *line);

#endif
