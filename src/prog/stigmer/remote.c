#include "prog/stigmer/remote.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/own.h"
#include "base/str.h"
#include "core/config.h"
#include "platform/secret-file.h"

static const struct {
    const char *text;
    bool tls;
} schemes[] = {{"tls://", true}, {"https://", true}, {"tcp://", false}, {"http://", false}};

/* Fills address and is_unix; tells whether TLS is wanted. */
static enum err_code read_address(const char *text, struct remote *r, bool *ret_tls,
                                  struct err *err)
{
    const char *from = text;
    bool said = false;
    size_t n;

    *ret_tls = false;
    for (size_t i = 0; i < sizeof schemes / sizeof schemes[0] && !said; i++)
        if (str_starts(text, schemes[i].text)) {
            from = text + strlen(schemes[i].text);
            *ret_tls = schemes[i].tls;
            said = true;
        }
    if (!said && strstr(text, "://"))
        return err_set(
            err, ERR_INVALID,
            "'%.200s' is no address of a server: unix:PATH, host:port, tls://host:port or "
            "tcp://host:port",
            text);
    if (!str_format(r->address, sizeof r->address, "%s", from))
        return err_set(err, ERR_INVALID, "the address of the server is too long");
    n = strlen(r->address);
    if (said && n && r->address[n - 1] == '/')
        r->address[n - 1] = '\0';
    r->is_unix = !said && str_starts(r->address, "unix:");
    if (!said && !r->is_unix)
        *ret_tls = !config_is_loopback(r->address);
    return ERR_OK;
}

static enum err_code find_token(const struct cli *cli, struct remote *r, struct err *err)
{
    const char *file = args_str(&cli->args, "token-file", NULL), *value = getenv("STIGMER_TOKEN");
    enum err_code code;

    if (file)
        return secret_file_token(file, &r->token, err);
    if (str_is_empty(value))
        return ERR_OK;
    code = secret_file_check_token(value, "STIGMER_TOKEN", err);
    if (!code)
        r->token = mem_str(value);
    return code;
}

static enum err_code open_tls(const struct cli *cli, struct remote *r, struct err *err)
{
    const char *ca = args_str(&cli->args, "tls-ca", NULL);
    const struct tls_client_options o = {
        .ca_file = ca                                       ? ca
                   : str_is_empty(getenv("STIGMER_TLS_CA")) ? NULL
                                                            : getenv("STIGMER_TLS_CA"),
        .ca_hint =
            "name the authority that signed it (a PEM file): --tls-ca FILE, or STIGMER_TLS_CA"};

    return tls_context_client(&o, &r->tls, err);
}

enum err_code remote_find(const struct cli *cli, struct remote *ret, struct err *err)
{
    const char *given = args_str(&cli->args, "server", NULL);
    struct remote r = {0};
    bool tls = false;
    enum err_code code;

    if (str_is_empty(given))
        given = getenv("STIGMER_SERVER_ADDR");
    r.is_given = !str_is_empty(given);
    if (!r.is_given) {
        r.is_unix = true;
        (void)str_format(r.address, sizeof r.address, "unix:%s", cli->paths.api_sock);
        *ret = r;
        return ERR_OK;
    }
    code = read_address(given, &r, &tls, err);
    if (!code && !r.is_unix)
        code = find_token(cli, &r, err);
    if (!code && r.token && !tls && !config_is_loopback(r.address))
        code = err_hint(err,
                        err_set(err, ERR_DENIED,
                                "a token is not sent in the clear: '%.200s' is beyond loopback",
                                given),
                        "--server tls://%.150s", r.address);
    if (!code && tls)
        code = open_tls(cli, &r, err);
    if (code) {
        remote_done(&r);
        return code;
    }
    *ret = r;
    return ERR_OK;
}

void remote_done(struct remote *r)
{
    if (r->token)
        explicit_bzero(r->token, strlen(r->token));
    free(TAKE(r->token));
    tls_context_free(TAKE(r->tls));
}
