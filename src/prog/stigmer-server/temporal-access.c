#include "prog/stigmer-server/temporal-access.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/own.h"
#include "base/str.h"
#include "platform/secret-file.h"
#include "svc/keys.h"

/* "" is none. */
static const char *path_of(const struct config *c, enum config_key key)
{
    const char *path = config_get_str(c, key);

    return str_is_empty(path) ? NULL : path;
}

static enum err_code open_tls(const struct config *c, struct tls_context **ret, struct err *err)
{
    const struct tls_client_options o = {.ca_file = path_of(c, CONFIG_TEMPORAL_TLS_CA),
                                         .ca_hint = "name the authority that signed it (a PEM "
                                                    "file): temporal.tls.ca",
                                         .cert_file = path_of(c, CONFIG_TEMPORAL_TLS_CERT),
                                         .key_file = path_of(c, CONFIG_TEMPORAL_TLS_KEY)};
    enum err_code code = tls_context_client(&o, ret, err);

    return code ? err_wrap(err, code, "temporal.tls") : ERR_OK;
}

enum err_code temporal_access_open(const struct config *config, struct temporal_access *ret,
                                   struct err *err)
{
    const char *key_file = path_of(config, CONFIG_TEMPORAL_API_KEY_FILE);
    const char *address = config_get_str(config, CONFIG_TEMPORAL_ADDRESS);
    bool tls = config_temporal_has_tls(config);
    struct temporal_access a = {0};
    enum err_code code = ERR_OK;

    if (key_file && !tls && !config_is_loopback(address))
        return err_hint(err,
                        err_set(err, ERR_DENIED,
                                "temporal.api_key_file: a key is not sent in the clear: '%.200s' "
                                "is beyond loopback",
                                address),
                        "stigmer config set temporal.tls.enabled true");
    if (tls)
        code = open_tls(config, &a.tls, err);
    if (!code && key_file && (code = secret_file_token(key_file, &a.api_key, err)))
        err_wrap(err, code, "temporal.api_key_file");
    if (code) {
        temporal_access_done(&a);
        return code;
    }
    *ret = a;
    return ERR_OK;
}

void temporal_access_done(struct temporal_access *a)
{
    tls_context_free(TAKE(a->tls));
    if (a->api_key)
        explicit_bzero(a->api_key, strlen(a->api_key));
    free(TAKE(a->api_key));
}

void temporal_access_options(const struct config *config, const struct temporal_access *a,
                             struct temporal_options *ret)
{
    *ret =
        (struct temporal_options){.address = config_get_str(config, CONFIG_TEMPORAL_ADDRESS),
                                  .namespace = config_get_str(config, CONFIG_TEMPORAL_NAMESPACE),
                                  .tls = a->tls,
                                  .server_name = path_of(config, CONFIG_TEMPORAL_TLS_SERVER_NAME),
                                  .api_key = a->api_key};
}

static enum err_code put_file(const char *folder, const char *name, const char *path,
                              struct err *err)
{
    OWN_FREE char *text = NULL;
    enum err_code code;

    if (!path)
        return keys_put(folder, name, NULL, err);
    if ((code = keys_read_file(path, &text, err)))
        return code;
    code = keys_put(folder, name, text, err);
    explicit_bzero(text, strlen(text));
    return code;
}

enum err_code temporal_access_put_keys(const struct config *config, const char *keys_folder,
                                       struct err *err)
{
    static const struct {
        enum config_key key;
        const char *name;
    } files[] = {{CONFIG_TEMPORAL_TLS_CA, "temporal.ca"},
                 {CONFIG_TEMPORAL_TLS_CERT, "temporal.cert"},
                 {CONFIG_TEMPORAL_TLS_KEY, "temporal.key"},
                 {CONFIG_TEMPORAL_API_KEY_FILE, "temporal.api_key"}};
    bool used = str_eq(config_get_str(config, CONFIG_ENGINE), "temporal");
    enum err_code code = ERR_OK;

    for (size_t i = 0; i < sizeof files / sizeof files[0] && !code; i++) {
        code =
            put_file(keys_folder, files[i].name, used ? path_of(config, files[i].key) : NULL, err);
        if (code)
            err_wrap(err, code, "%s", config_row(files[i].key)->name);
    }
    return code;
}
