#include "svc/backend-process.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/own.h"

struct process {
    struct runner_backend base;
    struct loop *loop;                    /* borrowed */
    struct backend_process_config config; /* borrowed text */
    struct loop_child *child;             /* owned; NULL while nothing runs */
    pid_t pid;                            /* of child; also the id of its session and group */
    struct loop_timer *later;             /* owned; tells what came of a start after it returned */
    struct err start_err;
    bool started;
};

static struct process *self(struct runner_backend *b)
{
    return (struct process *)b; /* base is the first member */
}

/* What the launcher did not get to end: its group. Tool hosts die with their launcher by the
 * kernel's parent-death signal; this catches whatever else stayed in the session's group. */
static void kill_group(const struct process *p)
{
    if (p->pid > 1)
        kill(-p->pid, SIGKILL);
}

static void on_exit_status(int exit_status, int term_signal, void *arg)
{
    struct process *p = arg;
    struct err why;

    kill_group(p);
    loop_child_free(p->child);
    p->child = NULL;
    p->pid = 0;
    if (term_signal)
        err_set(&why, ERR_OK, "killed by signal %d (%s)", term_signal, strsignal(term_signal));
    else
        err_set(&why, exit_status == EXIT_SANDBOX ? ERR_SANDBOX : ERR_OK, "exit code %d",
                exit_status);
    p->base.events.on_exited(&why, p->base.events.arg);
}

static enum err_code spawn(struct process *p, struct err *err)
{
    const char *const argv[] = {p->config.program, "launch", NULL};
    OWN_FD int log = open(p->config.log_file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    int fds[3] = {-1, log, log};
    struct loop_spawn spawn = {.argv = argv,
                               .envp = p->config.envp,
                               .cwd = "/",
                               .fd_map = fds,
                               .fd_count = 3,
                               .new_session = true};

    if (log < 0)
        return err_sys(err, errno, "open the runner's log '%s'", p->config.log_file);
    return loop_child_spawn(p->loop, &spawn, on_exit_status, p, &p->child, err);
}

static void tell_start(void *arg)
{
    struct process *p = arg;

    if (p->started)
        p->base.events.on_started(p->base.events.arg);
    else
        p->base.events.on_exited(&p->start_err, p->base.events.arg);
}

static void start(struct runner_backend *b)
{
    struct process *p = self(b);

    p->started = spawn(p, &p->start_err) == ERR_OK;
    if (p->started) {
        p->pid = loop_child_pid(p->child);
        log_info("runner process started", "pid", log_int(p->pid));
    }
    loop_timer_in(p->later, 0);
}

static void stop(struct runner_backend *b)
{
    loop_child_kill(self(b)->child, SIGTERM);
}

static void kill_now(struct runner_backend *b)
{
    kill_group(self(b));
    loop_child_kill(self(b)->child, SIGKILL);
}

static pid_t pid_of(const struct runner_backend *b)
{
    return ((const struct process *)b)->pid;
}

static const char *no_container(const struct runner_backend *b)
{
    (void)b;
    return "";
}

static void free_backend(struct runner_backend *b)
{
    struct process *p = self(b);

    kill_group(p);
    loop_child_free(p->child);
    loop_timer_free(p->later);
    free(p);
}

struct runner_backend *backend_process_new(struct loop *loop,
                                           const struct backend_process_config *config)
{
    static const struct runner_backend_ops ops = {.kind = "process",
                                                  .runtime = "process",
                                                  .start = start,
                                                  .stop = stop,
                                                  .kill = kill_now,
                                                  .pid = pid_of,
                                                  .container_id = no_container,
                                                  .free = free_backend};
    struct process *p = mem_new(sizeof *p);

    p->base.ops = &ops;
    p->loop = loop;
    p->config = *config;
    p->later = loop_timer_new(loop, tell_start, p);
    return &p->base;
}
