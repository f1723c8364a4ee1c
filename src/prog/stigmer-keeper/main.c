/* main.c — stigmer-keeper SERVER LOG PID_FILE ONCE_FD COPIES [ARGUMENT…]: stigmer-server becomes
 * this program and is started by it.
 * stigmer-keeper --tied PARENT PROGRAM [ARGUMENT…]: becomes PROGRAM, which the kernel kills when
 * PARENT, the server that started it, ends in whatever way. Nobody else calls it. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/err.h"
#include "base/log.h"
#include "base/str.h"
#include "prog/stigmer-keeper/keeper.h"

/* The parent-death signal outlives exec (prctl(2)). */
static int become_tied(const char *parent, char **argv)
{
    int64_t pid;

    if (str_to_int(parent, 1, INT32_MAX, &pid, NULL))
        return EXIT_USAGE;
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    if (getppid() != (pid_t)pid) /* it died before we could ask */
        return EXIT_FAILED;
    (void)execv(argv[0], argv);
    (void)fprintf(stderr, "cannot run '%s': %s\n", argv[0], strerror(errno));
    return EXIT_FAILED;
}

int main(int argc, char **argv)
{
    struct keeper_options o = {.once_fd = -1};
    int64_t fd;

    log_set_unit("keeper");
    if (argc > 3 && strcmp(argv[1], "--tied") == 0)
        return become_tied(argv[2], argv + 3);
    if (argc < 6 || str_to_int(argv[4], -1, 1024, &fd, NULL)) {
        (void)fputs("stigmer-keeper is started by stigmer-server\n", stderr);
        return EXIT_USAGE;
    }
    o.server = argv[1];
    o.log = argv[2];
    o.pid_file = argv[3];
    o.once_fd = (int)fd;
    o.copies = strcmp(argv[5], "1") == 0;
    o.argv = argv + 6;
    return keeper_run(&o);
}
