#include "clients/docker-find.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <limits.h>
#include <openssl/sha.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/own.h"
#include "base/str.h"

#define FILE_MAX ((size_t)1 << 20)

/* An engine's address as people write it; who: who wrote it. */
static enum err_code take_address(const char *address, const char *who, const char *instead,
                                  struct docker_place *ret, struct err *err)
{
    static const char prefix[] = "unix://";

    if (!str_starts(address, prefix))
        return err_hint(
            err,
            err_set(err, ERR_SANDBOX, "%.200s names '%.200s', not a unix socket", who, address),
            "%s", instead);
    if (!str_format(ret->socket, sizeof ret->socket, "%s", address + sizeof prefix - 1))
        return err_set(err, ERR_SANDBOX, "%.200s names a socket with too long a path", who);
    return ERR_OK;
}

/* ---- docker's contexts --------------------------------------------------------------------- */

static bool config_folder(char ret[PATH_MAX])
{
    const char *folder = getenv("DOCKER_CONFIG"), *home = getenv("HOME");

    if (!str_is_empty(folder))
        return str_format(ret, PATH_MAX, "%s", folder);
    return !str_is_empty(home) && str_format(ret, PATH_MAX, "%s/.docker", home);
}

/* NULL: it is not there, or is none that can be read. */
static json_t *read_json(const char *path)
{
    OWN_FD int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    OWN_FREE char *text = NULL;
    struct stat st;
    ssize_t n;

    if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || (size_t)st.st_size > FILE_MAX)
        return NULL;
    text = mem_array((size_t)st.st_size + 1, 1);
    n = read(fd, text, (size_t)st.st_size);
    return n > 0 ? json_loadb(text, (size_t)n, 0, NULL) : NULL;
}

static enum err_code context_address(const char *folder, const char *name, struct docker_place *ret,
                                     struct err *err)
{
    static const char instead[] = "docker context use default, or set DOCKER_HOST=unix:///PATH";
    unsigned char sum[SHA256_DIGEST_LENGTH];
    char hex[2 * sizeof sum + 1], path[PATH_MAX], who[240];
    json_t *meta = NULL;
    const char *host;
    enum err_code code;

    SHA256((const unsigned char *)name, strlen(name), sum);
    str_hex(sum, sizeof sum, hex);
    (void)str_format(who, sizeof who, "docker's context '%.200s'", name);
    if (str_format(path, sizeof path, "%s/contexts/meta/%s/meta.json", folder, hex))
        meta = read_json(path);
    host = json_string_value(
        json_object_get(json_object_get(json_object_get(meta, "Endpoints"), "docker"), "Host"));
    code = host ? take_address(host, who, instead, ret, err)
                : err_hint(err, err_set(err, ERR_SANDBOX, "%s does not exist", who), "%s", instead);
    json_decref(meta);
    return code;
}

/* *ret_found: a context other than the default one is in use. */
static enum err_code find_context(struct docker_place *ret, bool *ret_found, struct err *err)
{
    const char *name = getenv("DOCKER_CONTEXT");
    char folder[PATH_MAX], path[PATH_MAX];
    json_t *config = NULL;
    enum err_code code = ERR_OK;

    *ret_found = false;
    if (!config_folder(folder))
        return ERR_OK;
    if (str_is_empty(name) && str_format(path, sizeof path, "%s/config.json", folder)) {
        config = read_json(path);
        name = json_string_value(json_object_get(config, "currentContext"));
    }
    if (!str_is_empty(name) && !str_eq(name, "default")) {
        *ret_found = true;
        code = context_address(folder, name, ret, err);
    }
    json_decref(config);
    return code;
}

/* ---- sockets ------------------------------------------------------------------------------- */

/* The first that is there; the last one is named when none is. */
static void first_there(const char *const paths[], struct docker_place *ret)
{
    for (size_t i = 0; paths[i]; i++) {
        struct stat st;

        if (str_format(ret->socket, sizeof ret->socket, "%s", paths[i]) &&
            (stat(paths[i], &st) == 0 || !paths[i + 1]))
            return;
    }
}

static enum err_code find_docker(struct docker_place *ret, struct err *err)
{
    const char *host = getenv("DOCKER_HOST"), *runtime = getenv("XDG_RUNTIME_DIR");
    char own[DOCKER_SOCKET_MAX];
    bool found, has_own;
    enum err_code code;

    if (!str_is_empty(host))
        return take_address(host, "DOCKER_HOST", "unset DOCKER_HOST or give unix:///PATH", ret,
                            err);
    if ((code = find_context(ret, &found, err)) || found)
        return code;
    has_own = !str_is_empty(runtime) && str_format(own, sizeof own, "%s/docker.sock", runtime) &&
              access(own, F_OK) == 0;
    first_there((const char *const[]){"/var/run/docker.sock", has_own ? own : NULL, NULL}, ret);
    return ERR_OK;
}

static enum err_code find_podman(struct docker_place *ret, struct err *err)
{
    static const char root_socket[] = "/run/podman/podman.sock";
    const char *host = getenv("CONTAINER_HOST"), *runtime = getenv("XDG_RUNTIME_DIR");
    char own[DOCKER_SOCKET_MAX];

    if (!str_is_empty(host))
        return take_address(host, "CONTAINER_HOST", "unset CONTAINER_HOST or give unix:///PATH",
                            ret, err);
    if (str_is_empty(runtime))
        (void)str_format(own, sizeof own, "/run/user/%u/podman/podman.sock", (unsigned)getuid());
    else if (!str_format(own, sizeof own, "%s/podman/podman.sock", runtime))
        own[0] = '\0';
    if (getuid() == 0)
        first_there((const char *const[]){root_socket, NULL}, ret);
    else if (access(own, F_OK) != 0 && access(root_socket, W_OK) == 0)
        first_there((const char *const[]){root_socket, NULL}, ret);
    else
        first_there((const char *const[]){own, NULL}, ret);
    return ERR_OK;
}

enum err_code docker_find(const char *runtime, struct docker_place *ret, struct err *err)
{
    *ret = (struct docker_place){0};
    (void)str_format(ret->runtime, sizeof ret->runtime, "%s", runtime);
    return str_eq(runtime, "podman") ? find_podman(ret, err) : find_docker(ret, err);
}
