#include "prog/stigmer-server/runner-logs.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/err.h"
#include "prog/stigmer-server/engine-ask.h"

static void print(const char *lines, size_t len, void *arg)
{
    (void)fwrite(lines, 1, len, arg);
}

static void print_now(const char *lines, size_t len, void *arg)
{
    if (fwrite(lines, 1, len, arg) < len || fflush(arg))
        exit(EXIT_FAILED); /* nobody reads it any more */
}

int runner_logs_main(const struct paths *paths, bool follows)
{
    if (follows)
        engine_ask_follow(paths, print_now, stdout);
    else
        engine_ask_logs(paths, print, stdout);
    return fflush(stdout) == 0 ? EXIT_OK : EXIT_FAILED;
}
