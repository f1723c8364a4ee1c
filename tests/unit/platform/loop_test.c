#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/own.h"
#include "platform/loop.h"

struct seen {
    struct loop *loop;
    char order[64];
    struct loop_timer *timer;
    struct loop_io *io;
    struct loop_hook *hook;
    struct loop_child *child;
    int fd;
    int status;
    int term_signal;
    int count;
};

static void note(struct seen *s, char c)
{
    size_t n = strlen(s->order);
    if (n + 1 < sizeof s->order)
        s->order[n] = c;
}

static void on_later(void *arg)
{
    note(arg, 'l');
}

static void on_hook(void *arg)
{
    struct seen *s = arg;
    if (!strchr(s->order, 'h'))
        note(s, 'h');
}

static void on_timer_once(void *arg)
{
    struct seen *s = arg;
    note(s, 't');
    loop_later(s->loop, on_later, s);
    s->order[sizeof s->order - 1] = '\0';
    loop_timer_free(TAKE(s->timer));
}

static void a_turn_runs_callbacks_then_later_then_hooks(void **state)
{
    (void)state;
    struct seen s = {.loop = loop_new()};
    s.timer = loop_timer_new(s.loop, on_timer_once, &s);
    loop_timer_in(s.timer, 0);
    s.hook = loop_hook_new(s.loop, on_hook, &s);
    loop_run(s.loop);
    assert_string_equal(s.order, "tlh");
    loop_hook_free(s.hook);
    loop_free(s.loop);
}

static void on_hook_once(void *arg)
{
    struct seen *s = arg;
    note(s, 'h');
    loop_hook_free(TAKE(s->hook));
}

static void a_hook_does_not_keep_the_loop_alive_and_may_free_itself(void **state)
{
    (void)state;
    struct seen s = {.loop = loop_new()};
    s.hook = loop_hook_new(s.loop, on_hook_once, &s);
    loop_run(s.loop);
    loop_later(s.loop, on_later, &s);
    loop_run(s.loop);
    assert_null(s.hook);
    assert_true(strchr(s.order, 'l') != NULL);
    loop_free(s.loop);
}

static void on_tick(void *arg)
{
    struct seen *s = arg;
    if (++s->count == 3)
        loop_quit(s->loop);
    else
        loop_timer_in(s->timer, 1);
}

static void a_timer_fires_at_its_time_and_can_be_disarmed(void **state)
{
    (void)state;
    struct seen s = {.loop = loop_new()};
    s.timer = loop_timer_new(s.loop, on_tick, &s);
    struct loop_timer *never = loop_timer_new(s.loop, on_tick, &s);
    loop_timer_in(never, 0);
    loop_timer_at(never, INT64_MAX);
    int64_t from = loop_now_ms(s.loop);
    loop_timer_in(s.timer, 20);
    loop_run(s.loop);
    assert_int_equal(s.count, 3);
    assert_true(loop_now_ms(s.loop) - from >= 20);
    loop_timer_free(s.timer);
    loop_free(s.loop); /* never is still there: closed by the loop */
}

static void work_body(void *arg)
{
    struct seen *s = arg;
    s->status = 7;
    loop_post(s->loop, on_later, s);
}

static void work_done(void *arg)
{
    note(arg, 'd');
}

static void work_runs_elsewhere_and_its_post_is_not_lost(void **state)
{
    (void)state;
    struct seen s = {.loop = loop_new()};
    loop_work(s.loop, work_body, work_done, &s);
    loop_run(s.loop);
    assert_int_equal(s.status, 7);
    assert_int_equal(strlen(s.order), 2);
    assert_non_null(strchr(s.order, 'd'));
    assert_non_null(strchr(s.order, 'l'));
    loop_free(s.loop);
}

static void a_pending_post_runs_although_nothing_else_waits(void **state)
{
    (void)state;
    struct seen s = {.loop = loop_new()};
    loop_post(s.loop, on_later, &s);
    loop_run(s.loop);
    assert_string_equal(s.order, "l");
    loop_free(s.loop);
}

static void what_is_queued_at_the_end_still_runs_once(void **state)
{
    (void)state;
    struct seen s = {.loop = loop_new()};
    loop_post(s.loop, on_later, &s);
    loop_later(s.loop, on_later, &s);
    loop_work(s.loop, work_body, work_done, &s);
    loop_free(s.loop);
    s.order[sizeof s.order - 1] = '\0';
    assert_int_equal(strlen(s.order), 4); /* post, later, done, and the post of the work */
}

static void on_readable(int events, void *arg)
{
    struct seen *s = arg;
    char c;
    s->status |= events;
    if (read(s->fd, &c, 1) == 1) {
        note(s, c);
    } else {
        loop_io_free(TAKE(s->io));
        close(s->fd);
    }
}

static void readiness_is_told_until_it_is_taken(void **state)
{
    (void)state;
    struct seen s = {.loop = loop_new()};
    int fds[2];
    assert_int_equal(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
    s.fd = fds[0];
    s.io = loop_io_new(s.loop, s.fd, on_readable, &s);
    loop_io_want(s.io, LOOP_READ);
    assert_int_equal(write(fds[1], "ab", 2), 2);
    close(fds[1]);
    loop_run(s.loop);
    assert_string_equal(s.order, "ab");
    assert_null(s.io);
    loop_free(s.loop);
}

static void on_broken(int events, void *arg)
{
    struct seen *s = arg;
    s->status = events;
    if (++s->count == 2)
        loop_quit(s->loop);
}

static void an_error_is_told_as_both_and_again(void **state)
{
    (void)state;
    struct seen s = {.loop = loop_new()};
    int fds[2];
    assert_int_equal(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
    close(fds[0]);
    s.io = loop_io_new(s.loop, fds[1], on_broken, &s);
    loop_io_want(s.io, LOOP_WRITE);
    loop_run(s.loop);
    assert_int_equal(s.status, LOOP_READ | LOOP_WRITE);
    loop_io_free(s.io);
    close(fds[1]);
    loop_free(s.loop);
}

static void on_usr1(void *arg)
{
    struct seen *s = arg;
    s->count++;
    loop_quit(s->loop);
}

static void a_signal_reaches_its_callback(void **state)
{
    (void)state;
    struct seen s = {.loop = loop_new()};
    struct loop_signal *sig = loop_signal_new(s.loop, SIGUSR1, on_usr1, &s);
    raise(SIGUSR1);
    loop_run(s.loop);
    assert_int_equal(s.count, 1);
    loop_signal_free(sig);
    loop_free(s.loop);
}

static void on_child(int exit_status, int term_signal, void *arg)
{
    struct seen *s = arg;
    s->status = exit_status;
    s->term_signal = term_signal;
    s->count++;
    assert_int_equal(loop_child_pid(s->child), 0);
    loop_child_free(TAKE(s->child));
}

static void a_child_gets_its_descriptors_folder_and_environment_and_nothing_else(void **state)
{
    (void)state;
    struct seen s = {.loop = loop_new()};
    struct err err;
    int out[2], extra[2];
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    assert_int_equal(pipe(extra), 0); /* not close-on-exec on purpose */
    const char *argv[] = {
        "sh", "-c", "ls /proc/self/fd | tr '\\n' ' ' >&4; pwd >&4; echo $WORD >&4; exit 3", NULL};
    const char *envp[] = {"WORD=said", "PATH=/usr/bin:/bin", NULL};
    int map[] = {-1, -1, 2, -1, out[1]};
    struct loop_spawn spawn = {.argv = argv,
                               .envp = envp,
                               .cwd = "/usr",
                               .fd_map = map,
                               .fd_count = 5,
                               .new_session = true};
    assert_int_equal(loop_child_spawn(s.loop, &spawn, on_child, &s, &s.child, &err), ERR_OK);
    assert_true(loop_child_pid(s.child) > 0);
    close(out[1]);
    loop_run(s.loop);
    assert_int_equal(s.count, 1);
    assert_int_equal(s.status, 3);
    char got[256] = "";
    ssize_t n = read(out[0], got, sizeof got - 1);
    assert_true(n > 0);
    /* 0 1 2, the pipe as 4, ls's own (3: the directory; sh may not keep more) */
    assert_string_equal(got, "0 1 2 3 4 /usr\nsaid\n");
    close(out[0]);
    close(extra[0]);
    close(extra[1]);
    loop_free(s.loop);
}

static void a_killed_child_tells_its_signal(void **state)
{
    (void)state;
    struct seen s = {.loop = loop_new()};
    struct err err;
    const char *argv[] = {"/bin/sleep", "100", NULL};
    struct loop_spawn spawn = {.argv = argv};
    assert_int_equal(loop_child_spawn(s.loop, &spawn, on_child, &s, &s.child, &err), ERR_OK);
    loop_child_kill(s.child, SIGKILL);
    loop_run(s.loop);
    assert_int_equal(s.term_signal, SIGKILL);
    loop_free(s.loop);
}

static void a_program_that_is_not_there_is_an_error_with_its_name(void **state)
{
    (void)state;
    struct loop *loop = loop_new();
    struct err err;
    struct loop_child *child = NULL;
    const char *argv[] = {"/no/such/program", NULL};
    struct loop_spawn spawn = {.argv = argv};
    assert_int_equal(loop_child_spawn(loop, &spawn, on_child, NULL, &child, &err), ERR_NOT_FOUND);
    assert_non_null(strstr(err.msg, "/no/such/program"));
    assert_null(child);
    loop_free(loop);
}

static void a_freed_child_goes_on_unwatched(void **state)
{
    (void)state;
    struct seen s = {.loop = loop_new()};
    struct err err;
    const char *argv[] = {"/bin/sleep", "100", NULL};
    struct loop_spawn spawn = {.argv = argv};
    assert_int_equal(loop_child_spawn(s.loop, &spawn, on_child, &s, &s.child, &err), ERR_OK);
    pid_t pid = loop_child_pid(s.child);
    loop_child_free(s.child);
    loop_run(s.loop); /* returns: nothing is waited for */
    assert_int_equal(kill(pid, 0), 0);
    assert_int_equal(kill(pid, SIGKILL), 0);
    loop_free(s.loop);
    assert_int_equal(s.count, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_turn_runs_callbacks_then_later_then_hooks),
        cmocka_unit_test(a_hook_does_not_keep_the_loop_alive_and_may_free_itself),
        cmocka_unit_test(a_timer_fires_at_its_time_and_can_be_disarmed),
        cmocka_unit_test(work_runs_elsewhere_and_its_post_is_not_lost),
        cmocka_unit_test(a_pending_post_runs_although_nothing_else_waits),
        cmocka_unit_test(what_is_queued_at_the_end_still_runs_once),
        cmocka_unit_test(readiness_is_told_until_it_is_taken),
        cmocka_unit_test(an_error_is_told_as_both_and_again),
        cmocka_unit_test(a_signal_reaches_its_callback),
        cmocka_unit_test(a_child_gets_its_descriptors_folder_and_environment_and_nothing_else),
        cmocka_unit_test(a_killed_child_tells_its_signal),
        cmocka_unit_test(a_program_that_is_not_there_is_an_error_with_its_name),
        cmocka_unit_test(a_freed_child_goes_on_unwatched),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
