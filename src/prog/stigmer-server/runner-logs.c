#include "prog/stigmer-server/runner-logs.h"

#include <stdio.h>

#include "base/err.h"
#include "prog/stigmer-server/engine-ask.h"

static void print(const char *lines, size_t len, void *arg)
{
    (void)fwrite(lines, 1, len, arg);
}

int runner_logs_main(const struct paths *paths)
{
    engine_ask_logs(paths, print, stdout);
    return fflush(stdout) == 0 ? EXIT_OK : EXIT_FAILED;
}
