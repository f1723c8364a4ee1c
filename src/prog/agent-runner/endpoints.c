#include "prog/agent-runner/endpoints.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/own.h"
#include "base/str.h"
#include "base/ulid.h"
#include "core/config.h"

static const char *env(const char *name)
{
    const char *value = getenv(name);

    return str_is_empty(value) ? NULL : value;
}

static const char *key(const json_t *keys, const char *name)
{
    return json_string_value(json_object_get(keys, name));
}

/* ---- the server ---------------------------------------------------------------------------- */

/* Fills the address; tells whether TLS is wanted. */
static enum err_code read_address(struct endpoints *e, bool *ret_tls, struct err *err)
{
    static const struct {
        const char *text;
        bool tls;
    } schemes[] = {{"tls://", true}, {"https://", true}, {"tcp://", false}, {"http://", false}};
    const char *from = getenv("STIGMER_BACKEND_ENDPOINT"), *given = from;
    bool said = false;
    size_t n;

    for (size_t i = 0; i < sizeof schemes / sizeof schemes[0] && !said; i++)
        if (str_starts(given, schemes[i].text)) {
            from = given + strlen(schemes[i].text);
            *ret_tls = schemes[i].tls;
            said = true;
        }
    if (!str_format(e->address, sizeof e->address, "%s", from))
        return err_set(err, ERR_INVALID, "STIGMER_BACKEND_ENDPOINT is too long");
    n = strlen(e->address);
    if (said && n && e->address[n - 1] == '/')
        e->address[n - 1] = '\0';
    if (str_starts(e->address, "unix:"))
        *ret_tls = false;
    else if (!said)
        *ret_tls = !config_is_loopback(e->address);
    else if (!*ret_tls && !config_is_loopback(e->address))
        return err_hint(err,
                        err_set(err, ERR_DENIED,
                                "STIGMER_BACKEND_ENDPOINT: the runner token is not sent in the "
                                "clear: '%.200s' is beyond loopback",
                                given),
                        "tls://%.200s", e->address);
    return ERR_OK;
}

static bool is_domain(const char *text)
{
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_";
    size_t n = strlen(text);

    return n && n < ENDPOINTS_DOMAIN && strspn(text, allowed) == n;
}

/* Over the unix socket it is the server's own machine, and its folder. */
static enum err_code name_it(struct endpoints *e, struct err *err)
{
    const char *domain = env("STIGMER_WORKSPACE_DOMAIN");
    char id[ULID_LEN + 1];

    (void)gethostname(e->host, sizeof e->host - 1);
    (void)str_format(e->identity, sizeof e->identity, "%d@%s", (int)getpid(), e->host);
    if (!domain && !str_starts(e->address, "unix:"))
        domain = e->host;
    if (domain && !is_domain(domain))
        return err_set(err, ERR_INVALID,
                       "STIGMER_WORKSPACE_DOMAIN: '%.80s' has to be 1 to %d letters, digits, dots, "
                       "dashes and underscores",
                       domain, ENDPOINTS_DOMAIN - 1);
    (void)str_format(e->domain, sizeof e->domain, "%s", domain ? domain : "");
    ulid_make(clock_wall_ms(), id);
    (void)str_format(e->runner_id, sizeof e->runner_id, "run-%s%s%s", id, domain ? "@" : "",
                     e->domain);
    return ERR_OK;
}

enum err_code endpoints_server(struct endpoints *e, const json_t *keys,
                               struct server_options *server, struct err *err)
{
    const struct tls_client_options o = {
        .ca_file = "STIGMER_TLS_CA",
        .ca_pem = key(keys, "server.ca"),
        .ca_hint = "name the authority that signed it (a PEM file): STIGMER_TLS_CA"};
    const struct tls_client_options system = {.ca_hint = o.ca_hint};
    bool tls = false;
    enum err_code code;

    if ((code = read_address(e, &tls, err)) || (code = name_it(e, err)))
        return code;
    if (tls && (code = tls_context_client(o.ca_pem ? &o : &system, &e->server_tls, err)))
        return err_wrap(err, code, "STIGMER_TLS_CA");
    server->token = key(keys, "runner.token");
    if (!server->token && !str_starts(e->address, "unix:"))
        return err_hint(
            err, err_set(err, ERR_INVALID, "the server at %.200s wants a runner token", e->address),
            "STIGMER_RUNNER_TOKEN_FILE, with what `stigmer server runner-token` prints "
            "on its machine");
    server->address = e->address;
    server->tls = e->server_tls;
    server->server_name = env("STIGMER_TLS_SERVER_NAME");
    server->host = e->host;
    server->runner_id = e->runner_id;
    return ERR_OK;
}

/* ---- Temporal ------------------------------------------------------------------------------ */

static bool has_tls(const struct tls_client_options *o, const struct temporal_options *t)
{
    const char *wanted = env("TEMPORAL_TLS");

    if (wanted && !str_eq(wanted, "auto"))
        return str_eq(wanted, "true") || str_eq(wanted, "1");
    return o->ca_pem || o->cert_pem || o->key_pem || t->server_name || t->api_key;
}

enum err_code endpoints_temporal(struct endpoints *e, const json_t *keys,
                                 struct temporal_options *ret, struct err *err)
{
    struct tls_client_options o = {
        .ca_pem = key(keys, "temporal.ca"),
        .cert_pem = key(keys, "temporal.cert"),
        .key_pem = key(keys, "temporal.key"),
        .cert_file = "TEMPORAL_TLS_CERT",
        .key_file = "TEMPORAL_TLS_KEY",
        .ca_hint = "name the authority that signed it (a PEM file): TEMPORAL_TLS_CA"};
    const char *namespace = env("TEMPORAL_NAMESPACE");
    enum err_code code;

    *ret = (struct temporal_options){.address = env("TEMPORAL_SERVICE_ADDRESS"),
                                     .namespace = namespace ? namespace : "default",
                                     .identity = e->identity,
                                     .server_name = env("TEMPORAL_TLS_SERVER_NAME"),
                                     .api_key = key(keys, "temporal.api_key")};
    if (!ret->address)
        return ERR_OK;
    if (o.ca_pem)
        o.ca_file = "TEMPORAL_TLS_CA";
    if (!o.cert_pem && !o.key_pem)
        o.cert_file = o.key_file = NULL;
    if (!has_tls(&o, ret)) {
        if (ret->api_key && !config_is_loopback(ret->address))
            return err_hint(err,
                            err_set(err, ERR_DENIED,
                                    "TEMPORAL_API_KEY_FILE: a key is not sent in the clear: "
                                    "'%.200s' is beyond loopback",
                                    ret->address),
                            "TEMPORAL_TLS=true");
        return ERR_OK;
    }
    code = tls_context_client(&o, &e->temporal_tls, err);
    ret->tls = e->temporal_tls;
    return code ? err_wrap(err, code, "TEMPORAL_TLS") : ERR_OK;
}

void endpoints_done(struct endpoints *e)
{
    tls_context_free(TAKE(e->server_tls));
    tls_context_free(TAKE(e->temporal_tls));
}
