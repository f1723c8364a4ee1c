/* spawn.h — starting the server program, and running it as a tool.
 *
 * The server is started with fork and exec: descriptor 3 is the pipe on which it tells how its
 * start goes, 4 a memory file with the provider keys (memfd_create(2)), which therefore stand in
 * no argument and no environment. Its output goes to its log. */
#ifndef PROG_STIGMER_SPAWN_H
#define PROG_STIGMER_SPAWN_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "prog/stigmer/cli.h"

struct spawn_how {
    const char *const *sets; /* "key=value", NULL-ended */
    int64_t timeout_ms;
    bool wait; /* until it says it is ready */
};

/* Start it in a session of its own. *ret: its ready line, owned; NULL when it was not waited for.
 * A failed start has left no process behind; the error is the server's own where it gave one. */
MUST_CHECK enum err_code spawn_server(const struct cli *cli, const struct spawn_how *how,
                                      json_t **ret, struct err *err);

/* Replace this process by the server, in the foreground. Returns on failure only. */
enum err_code spawn_foreground(const struct cli *cli, const char *const *sets, struct err *err);

/* `stigmer-server --home H --cleanup`: remove what a server left. */
MUST_CHECK enum err_code spawn_cleanup(const struct cli *cli, struct err *err);

/* Run the server program with these arguments and give its output, limited to 4 MiB. doing: what is
 * said when it takes longer than a second, "looking at this machine". */
MUST_CHECK enum err_code spawn_output(const struct cli *cli, const char *const *args,
                                      const char *doing, struct buf *ret, struct err *err);

/* Each line it prints, as it comes; a line is at most 1 MiB. Its exit code is not looked at: what
 * it says is. */
typedef void spawn_line_fn(const char *line, size_t len, void *arg);
MUST_CHECK enum err_code spawn_lines(const struct cli *cli, const char *const *args,
                                     spawn_line_fn *fn, void *arg, struct err *err);

/* One that goes on printing: the reading end of its output, and who it is. It ends with this
 * process, or by spawn_end, which also takes leave of one that has ended by itself. */
MUST_CHECK enum err_code spawn_stream(const struct cli *cli, const char *const *args, int *ret_fd,
                                      pid_t *ret_pid, struct err *err);
void spawn_end(pid_t pid);

#endif
