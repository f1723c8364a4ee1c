#include "prog/stigmer-server/cleanup.h"

#include <dirent.h>
#include <stdbool.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "base/own.h"
#include "base/str.h"
#include "prog/stigmer-server/engine-ask.h"
#include "prog/stigmer-server/home-lock.h"
#include "svc/keys.h"

#define ENDING_MS 5000 /* a server that removed its pid file has this long to be gone */
#define LOOK_MS 10

/* The id files of sessions' own containers (runner-unit.c). */
static void remove_session_files(const struct paths *paths)
{
    DIR *dir = opendir(paths->run);
    const struct dirent *e;

    while (dir && (e = readdir(dir)))
        if (str_starts(e->d_name, "container-") && str_ends(e->d_name, ".id"))
            (void)unlinkat(dirfd(dir), e->d_name, 0);
    if (dir)
        (void)closedir(dir);
}

/* Where a container is known to have been, an engine that does not answer is worth a word. Without
 * an id file a crash may still have come between create and the file: all engines are asked. */
static int remove_containers(const struct paths *paths)
{
    bool had = access(paths->container_id, F_OK) == 0;
    struct err err;
    size_t count;
    enum err_code code = engine_ask_remove_all(paths, &count, &err);

    if (!code || !had) {
        (void)unlink(paths->container_id);
        (void)unlink(paths->engine_file);
        remove_session_files(paths);
        return EXIT_OK;
    }
    fprintf(stderr,
            "stigmer-server: error: the runner's container may still be there: %s\n"
            "hint: docker ps -a --filter label=ai.stigmer.home=%s\n",
            err.msg, paths->home);
    return (int)err_code_exit(err.code);
}

/* A server that ends lets go of its lock last. One whose pid file stands is not waited for. */
static bool take_lock(const struct paths *paths, int *ret_fd)
{
    const struct timespec pause = {.tv_nsec = LOOK_MS * 1000000L};

    for (int waited = 0; !home_lock_take(paths, ret_fd); waited += LOOK_MS) {
        (void)close(*ret_fd);
        *ret_fd = -1;
        if (waited >= ENDING_MS || home_lock_pids_live(paths))
            return false;
        (void)nanosleep(&pause, NULL);
    }
    return true;
}

int cleanup_main(const struct paths *paths)
{
    char keys[KEYS_PATH];
    OWN_FD int lock = -1;
    int code;

    if (!take_lock(paths, &lock)) {
        fprintf(stderr, "stigmer-server: error: '%s' is in use by a running server\n", paths->home);
        return EXIT_CONFLICT;
    }
    code = remove_containers(paths);
    (void)unlink(paths->api_sock);
    (void)unlink(paths->runner_sock);
    (void)unlink(paths->pid_file);
    (void)unlink(paths->state_file);
    if (keys_dir(paths->home, keys, NULL) == ERR_OK)
        keys_remove(keys);
    return code;
}
