/* loop.h — the one event loop of a program, on libuv. Single-threaded; callbacks never block.
 * Nothing else in the tree sees libuv.
 *
 * A turn: I/O and timers → loop_later callbacks → turn-end hooks. Objects that free themselves
 * inside their own callback do so through loop_later or are safe to free there (each type says).
 * Threads: everything belongs to the loop's thread, except loop_post and the body of loop_work. */
#ifndef PLATFORM_LOOP_H
#define PLATFORM_LOOP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"

struct loop;
struct loop_timer;
struct loop_io;
struct loop_signal;
struct loop_child;
struct loop_hook;

typedef void loop_fn(void *arg);

struct loop *loop_new(void);
void loop_free(struct loop *loop); /* NULL is fine, here and in every _free */
void loop_run(struct loop *loop); /* returns after loop_quit, or when nothing is left to wait for */
void loop_quit(struct loop *loop);
int64_t loop_now_ms(const struct loop *loop); /* monotonic; frozen during one turn */

/* Run fn after the current callback has returned: the way to free what is calling you. */
void loop_later(struct loop *loop, loop_fn *fn, void *arg);

/* From any thread: run fn(arg) on the loop's thread soon. */
void loop_post(struct loop *loop, loop_fn *fn, void *arg);

/* Run work(arg) on a helper thread, then done(arg) on the loop's thread. */
void loop_work(struct loop *loop, loop_fn *work, loop_fn *done, void *arg);

/* Called at the end of every turn: where a turn's work is handed on in one piece. */
struct loop_hook *loop_hook_new(struct loop *loop, loop_fn *fn, void *arg);
void loop_hook_free(struct loop_hook *h);

/* One-shot, absolute; arms with loop_timer_at. Free is fine inside its own callback. */
struct loop_timer *loop_timer_new(struct loop *loop, loop_fn *fn, void *arg);
void loop_timer_at(struct loop_timer *t, int64_t when_ms); /* INT64_MAX disarms */
void loop_timer_in(struct loop_timer *t, int64_t delay_ms);
void loop_timer_free(struct loop_timer *t);

/* Readiness of a descriptor that the caller owns. Free before closing the descriptor; free is
 * fine inside its own callback. events: LOOP_READ | LOOP_WRITE; errors and hang-ups show as both.
 */
enum { LOOP_READ = 1, LOOP_WRITE = 2 };
typedef void loop_io_fn(int events, void *arg);
struct loop_io *loop_io_new(struct loop *loop, int fd, loop_io_fn *fn, void *arg);
void loop_io_want(struct loop_io *io, int events); /* 0 stops */
void loop_io_free(struct loop_io *io);

struct loop_signal *loop_signal_new(struct loop *loop, int signum, loop_fn *fn, void *arg);
void loop_signal_free(struct loop_signal *s);

/* A child process. fd_map[i] becomes descriptor i of the child (-1: /dev/null for 0–2, closed
 * above); every other descriptor is closed. fn is called once when it has ended. */
struct loop_spawn {
    const char *const *argv; /* argv[0] is a path or found on PATH */
    const char *const *envp; /* NULL: inherit */
    const char *cwd;         /* NULL: inherit */
    const int *fd_map;
    size_t fd_count;
    bool new_session; /* setsid */
};
typedef void loop_child_fn(int exit_status, int term_signal, void *arg);
MUST_CHECK enum err_code loop_child_spawn(struct loop *loop, const struct loop_spawn *spawn,
                                          loop_child_fn *fn, void *arg, struct loop_child **ret,
                                          struct err *err);
pid_t loop_child_pid(const struct loop_child *c); /* 0 after it has ended */
void loop_child_kill(struct loop_child *c, int sig);
void loop_child_free(struct loop_child *c); /* a child that still runs goes on, unwatched */

#endif
