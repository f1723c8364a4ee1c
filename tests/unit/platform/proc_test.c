#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "platform/proc.h"

static void *wait_for_ever(void *arg)
{
    for (;;)
        (void)pause();
    return arg;
}

static _Noreturn void leave_a_thread(void)
{
    pthread_t t;

    if (pthread_create(&t, NULL, wait_for_ever, NULL))
        _exit(1);
    pthread_exit(NULL);
}

static char state_of(pid_t pid)
{
    char path[64], text[512] = "";
    FILE *f;

    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    f = fopen(path, "re");
    if (f) {
        text[fread(text, 1, sizeof text - 1, f)] = '\0';
        fclose(f);
    }
    return *text ? strrchr(text, ')')[2] : '\0';
}

static void a_process_is_there_until_its_last_thread_has_ended(void **state)
{
    pid_t pid = fork();
    unsigned long long started;

    (void)state;
    if (pid == 0)
        leave_a_thread();
    started = proc_started(pid);
    assert_true(started > 0);
    while (state_of(pid) != 'Z') /* its first thread */
        sched_yield();
    assert_true(proc_started(pid) == started);
    assert_int_equal(kill(pid, SIGKILL), 0);
    while (proc_started(pid)) /* and then it is a zombie */
        sched_yield();
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    assert_true(proc_started(pid) == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_process_is_there_until_its_last_thread_has_ended),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
