/* main.c — stigmer-keeper SERVER LOG PID_FILE ONCE_FD COPIES [ARGUMENT…]: stigmer-server becomes
 * this program and is started by it. Nobody else calls it. */
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/log.h"
#include "base/str.h"
#include "prog/stigmer-keeper/keeper.h"

int main(int argc, char **argv)
{
    struct keeper_options o = {.once_fd = -1};
    int64_t fd;

    log_set_unit("keeper");
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
