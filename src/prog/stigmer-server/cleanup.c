#include "prog/stigmer-server/cleanup.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/own.h"
#include "base/str.h"
#include "svc/keys.h"

/* True when no server holds this home (the store's lock is free or was never made). */
static bool is_free(const struct paths *paths, int *ret_lock)
{
    char path[PATHS_MAX + 8];

    (void)str_format(path, sizeof path, "%s/lock", paths->data);
    *ret_lock = open(path, O_RDWR | O_CLOEXEC);
    return *ret_lock < 0 || flock(*ret_lock, LOCK_EX | LOCK_NB) == 0;
}

int cleanup_main(const struct paths *paths)
{
    char keys[KEYS_PATH];
    OWN_FD int lock = -1;

    if (!is_free(paths, &lock)) {
        fprintf(stderr, "stigmer-server: error: '%s' is in use by a running server\n", paths->home);
        return EXIT_CONFLICT;
    }
    (void)unlink(paths->api_sock);
    (void)unlink(paths->runner_sock);
    (void)unlink(paths->pid_file);
    (void)unlink(paths->state_file);
    if (keys_dir(paths->home, keys, NULL) == ERR_OK)
        keys_remove(keys);
    return EXIT_OK;
}
