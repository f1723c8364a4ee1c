#include "prog/stigmer-server/listeners.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/own.h"
#include "base/str.h"
#include "platform/notify.h"
#include "platform/secret-file.h"
#include "platform/sock.h"

enum err_code listeners_tls(const struct config *config, struct tls_context **ret, struct err *err)
{
    const struct tls_server_options o = {.cert_file =
                                             config_get_str(config, CONFIG_SERVER_TLS_CERT),
                                         .key_file = config_get_str(config, CONFIG_SERVER_TLS_KEY)};
    enum err_code code;

    *ret = NULL;
    if (str_is_empty(o.cert_file) && str_is_empty(o.key_file))
        return ERR_OK;
    code = tls_context_server(&o, ret, err);
    return code ? err_wrap(err, code, "server.tls") : ERR_OK;
}

static enum err_code use_token(struct rpc_server *rpc, const struct config *config,
                               struct listeners *l, struct err *err)
{
    const char *path = config_get_str(config, CONFIG_SERVER_TOKEN_FILE);
    char *token = NULL;
    enum err_code code;

    if (str_is_empty(path))
        return ERR_OK;
    if ((code = secret_file_token(path, &token, err)))
        return err_wrap(err, code, "server.token_file");
    rpc_server_set_token(rpc, token);
    explicit_bzero(token, strlen(token));
    free(token);
    l->has_token = true;
    return ERR_OK;
}

/* name: of the socket that a service manager may have handed over in place of it; NULL: none. */
static enum err_code open_socket(const char *sockets, const char *name, int family,
                                 const char *address, mode_t mode, int *ret_fd, struct err *err)
{
    int fd = name && sockets ? notify_socket(sockets, name, family) : -1;

    if (fd < 0)
        return sock_listen(address, mode, ret_fd, err);
    *ret_fd = fd;
    return ERR_OK;
}

/* A service manager's socket may be bound to anything, whatever server.listen says. */
static enum err_code check_bound(const char *name, const struct listeners *l, struct err *err)
{
    if (config_is_loopback(name) || (l->has_token && l->tls))
        return ERR_OK;
    err_set(err, ERR_INVALID,
            "the socket that the service manager handed over is bound to %s, beyond loopback: that "
            "needs server.token_file, server.tls.cert and server.tls.key",
            name);
    return err_hint(err, ERR_INVALID,
                    "set them, or ListenStream=127.0.0.1:PORT in the socket unit");
}

static enum err_code listen_tcp(struct rpc_server *rpc, const struct config *config,
                                const char *sockets, struct listeners *l, struct err *err)
{
    OWN_FD int fd = -1;
    char name[128];
    enum err_code code;

    code = open_socket(sockets, "tcp", AF_INET, config_get_str(config, CONFIG_SERVER_LISTEN), 0,
                       &fd, err);
    if (code == ERR_CONFLICT)
        err_hint(err, code,
                 "stop it, or choose another port: stigmer config set server.listen "
                 "127.0.0.1:PORT");
    if (code || (code = sock_name(fd, name, sizeof name, err)) ||
        (code = check_bound(name, l, err)))
        return code;
    (void)str_format(l->name, sizeof l->name, "%s%s", l->tls ? "tls://" : "", name);
    if (l->tls)
        rpc_server_listen_tls(rpc, take_fd(&fd), RPC_GATE_API | RPC_GATE_REMOTE, l->tls);
    else
        rpc_server_listen(rpc, take_fd(&fd), RPC_GATE_API | RPC_GATE_REMOTE);
    return ERR_OK;
}

static enum err_code listen_unix(struct rpc_server *rpc, const char *sockets, const char *name,
                                 const char *path, mode_t mode, unsigned gates, int *ret_fd,
                                 struct err *err)
{
    char address[PATHS_MAX + 8];
    enum err_code code;

    (void)str_format(address, sizeof address, "unix:%s", path);
    if ((code = open_socket(sockets, name, AF_UNIX, address, mode, ret_fd, err)))
        return code;
    rpc_server_listen(rpc, *ret_fd, gates);
    return ERR_OK;
}

static enum err_code listen_api(struct rpc_server *rpc, const char *sockets,
                                const struct paths *paths, int *ret_fd, struct err *err)
{
    return listen_unix(rpc, sockets, "api", paths->api_sock, 0600, RPC_GATE_API, ret_fd, err);
}

static enum err_code listen_runners(struct rpc_server *rpc, const struct paths *paths, int *ret_fd,
                                    struct err *err)
{
    return listen_unix(rpc, NULL, NULL, paths->runner_sock, 0666, RPC_GATE_RUNNER, ret_fd, err);
}

enum err_code listeners_open(struct rpc_server *rpc, const struct config *config,
                             const struct paths *paths, const char *sockets, struct listeners *ret,
                             struct err *err)
{
    enum err_code code;

    if ((code = use_token(rpc, config, ret, err)) ||
        (code = listeners_tls(config, &ret->tls, err)) ||
        (code = listen_tcp(rpc, config, sockets, ret, err)) ||
        (code = listen_api(rpc, sockets, paths, &ret->api_fd, err)))
        return code;
    return listen_runners(rpc, paths, &ret->runner_fd, err);
}

enum err_code listeners_restore(struct rpc_server *rpc, const struct paths *paths, const char *path,
                                struct listeners *l, struct err *err)
{
    bool api = str_eq(path, paths->api_sock);
    int *fd = api ? &l->api_fd : &l->runner_fd, old = *fd;
    enum err_code code =
        api ? listen_api(rpc, NULL, paths, fd, err) : listen_runners(rpc, paths, fd, err);

    if (!code)
        rpc_server_unlisten(rpc, old);
    return code;
}

void listeners_done(struct listeners *l)
{
    tls_context_free(l->tls);
    l->tls = NULL;
}
