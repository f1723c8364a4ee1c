#include "prog/stigmer-server/settings.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/own.h"
#include "base/str.h"
#include "platform/vault.h"
#include "svc/keys.h"
#include "wire/yaml.h"

#define CONFIG_BYTES ((size_t)1 << 20)
#define SECRETS_BYTES ((size_t)64 << 10)

static enum err_code read_all(int fd, size_t max, struct buf *ret, struct err *err)
{
    char piece[4096];
    ssize_t n;
    enum err_code code;

    buf_init(ret, max);
    while ((n = read(fd, piece, sizeof piece)) > 0)
        if ((code = buf_add(ret, piece, (size_t)n, err)))
            return code;
    return n < 0 ? err_sys(err, errno, "read") : ERR_OK;
}

static const char *env_of(const char *name, void *arg)
{
    (void)arg;
    return getenv(name);
}

static int line_of(const char *path, void *arg)
{
    unsigned line = 0, column = 0;

    return yaml_docs_where(arg, 0, path, &line, &column) ? (int)line : 0;
}

static enum err_code load_file(const char *path, struct config *c, struct err *err)
{
    OWN_FD int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    OWN_BUF struct buf text = {0};
    struct yaml_docs *docs = NULL;
    enum err_code code;

    if (fd < 0 && errno == ENOENT)
        return ERR_OK;
    if (fd < 0)
        return err_sys(err, errno, "open '%s'", path);
    if ((code = read_all(fd, CONFIG_BYTES, &text, err)))
        return err_wrap(err, code, "'%s'", path);
    if ((code = yaml_docs_parse(text.data, text.len, path, NULL, &docs, err)))
        return code;
    if (yaml_docs_count(docs) > 1)
        code = err_set(err, ERR_INVALID, "'%s' has more than one document", path);
    else if (yaml_docs_count(docs) == 1)
        code = config_load(c, yaml_docs_root(docs, 0), line_of, docs, err);
    if (code)
        err_wrap(err, code, "settings");
    yaml_docs_free(docs);
    return code;
}

enum err_code settings_load(const struct settings_args *args, const struct paths *paths,
                            struct config *ret, struct err *err)
{
    enum err_code code;

    if ((code = load_file(paths->config, ret, err)) ||
        (code = config_load_env(ret, env_of, NULL, err)))
        return code;
    for (int i = 0; i < args->set_count; i++)
        if ((code = config_set_pair(ret, CONFIG_FROM_FLAG, args->sets[i], err)))
            return code;
    return config_check_listen(ret, err);
}

/* ---- provider keys ------------------------------------------------------------------------- */

/* Where a provider's key may come from, the first that has one wins:
 *   its own variable · STIGMER_LLM_API_KEY (the configured provider's) · the same names with _FILE
 * · llm.api_key_file (likewise) · the stored secret llm.<provider> · the service manager's
 *   credential llm.<provider> */
struct sources {
    const json_t *secrets; /* what a start took out of its environment; NULL: the environment */
    const struct config *config;
    const char *home;
    const char *provider;
    bool configured; /* it is the provider of the settings */
};

static const char *variable(const struct sources *s, const char *name)
{
    return s->secrets ? json_string_value(json_object_get(s->secrets, name)) : getenv(name);
}

static enum err_code from_variables(const struct sources *s, char **ret, const char **ret_from,
                                    struct err *err)
{
    const char *own = config_key_env(s->provider);
    const char *const names[] = {own, s->configured ? "STIGMER_LLM_API_KEY" : NULL};

    (void)err;
    for (size_t i = 0; i < 2; i++) {
        const char *value = names[i] ? variable(s, names[i]) : NULL;

        if (!str_is_empty(value)) {
            *ret = mem_str(value);
            *ret_from = names[i];
            return ERR_OK;
        }
    }
    return ERR_OK;
}

static enum err_code from_file(const char *path, const char *who, char **ret, const char **ret_from,
                               struct err *err)
{
    enum err_code code;

    if (str_is_empty(path))
        return ERR_OK;
    code = path[0] == '/' ? keys_read_file(path, ret, err)
                          : err_set(err, ERR_INVALID, "'%.200s' is not an absolute path", path);
    if (code)
        return err_wrap(err, code, "%s", who);
    *ret_from = who;
    return ERR_OK;
}

static enum err_code from_files(const struct sources *s, char **ret, const char **ret_from,
                                struct err *err)
{
    static const char *const names[][2] = {{"anthropic", "ANTHROPIC_API_KEY_FILE"},
                                           {"openai", "OPENAI_API_KEY_FILE"}};

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        enum err_code code;

        if (!str_eq(names[i][0], s->provider))
            continue;
        code = from_file(getenv(names[i][1]), names[i][1], ret, ret_from, err);
        if (code || *ret)
            return code;
    }
    return s->configured ? from_file(config_get_str(s->config, CONFIG_LLM_API_KEY_FILE),
                                     "llm.api_key_file", ret, ret_from, err)
                         : ERR_OK;
}

static enum err_code from_vault(const struct sources *s, char **ret, const char **ret_from,
                                struct err *err)
{
    char name[64];
    enum err_code code;

    (void)str_format(name, sizeof name, "llm.%.50s", s->provider);
    code = vault_get(s->home, name, ret, err);
    if (!code)
        *ret_from = "the stored secret";
    return code == ERR_NOT_FOUND ? ERR_OK : code;
}

static enum err_code from_credentials(const struct sources *s, char **ret, const char **ret_from,
                                      struct err *err)
{
    const char *folder = getenv("CREDENTIALS_DIRECTORY");
    char path[PATHS_MAX];

    if (str_is_empty(folder) ||
        !str_format(path, sizeof path, "%s/llm.%.50s", folder, s->provider) ||
        access(path, F_OK) < 0)
        return ERR_OK;
    return from_file(path, "the service manager's credential", ret, ret_from, err);
}

static enum err_code find_key(const struct sources *s, char **ret, const char **ret_from,
                              struct err *err)
{
    static enum err_code (*const places[])(const struct sources *, char **, const char **,
                                           struct err *) = {from_variables, from_files, from_vault,
                                                            from_credentials};
    enum err_code code = ERR_OK;

    *ret = NULL;
    *ret_from = "";
    for (size_t i = 0; i < sizeof places / sizeof places[0] && !code && !*ret; i++)
        code = places[i](s, ret, ret_from, err);
    return code;
}

enum err_code settings_find_key(const struct paths *paths, const struct config *config, char **ret,
                                const char **ret_from, struct err *err)
{
    const struct sources s = {.config = config,
                              .home = paths->home,
                              .provider = config_get_str(config, CONFIG_LLM_PROVIDER),
                              .configured = true};

    return find_key(&s, ret, ret_from, err);
}

static enum err_code read_secrets(int fd, json_t **ret, struct err *err)
{
    OWN_BUF struct buf text = {0};
    enum err_code code;

    if (lseek(fd, 0, SEEK_SET) < 0 && errno != ESPIPE)
        return err_sys(err, errno, "read the secrets");
    if ((code = read_all(fd, SECRETS_BYTES, &text, err)))
        return err_wrap(err, code, "secrets");
    *ret = json_loads(buf_text(&text), 0, NULL);
    explicit_bzero(text.data, text.len);
    return json_is_object(*ret)
               ? ERR_OK
               : err_set(err, ERR_INVALID, "the secrets descriptor does not hold a JSON object");
}

enum err_code settings_put_keys(const struct settings_args *args, const struct paths *paths,
                                const struct config *config, const char *keys_folder,
                                struct err *err)
{
    static const char *const providers[] = {"anthropic", "openai", "ollama"};
    json_t *secrets = NULL;
    enum err_code code =
        args->secrets_fd >= 0 ? read_secrets(args->secrets_fd, &secrets, err) : ERR_OK;

    for (size_t i = 0; i < sizeof providers / sizeof providers[0] && !code; i++) {
        const struct sources s = {
            .secrets = secrets,
            .config = config,
            .home = paths->home,
            .provider = providers[i],
            .configured = str_eq(config_get_str(config, CONFIG_LLM_PROVIDER), providers[i])};
        char *value, file[64];
        const char *from;

        (void)str_format(file, sizeof file, "llm.%s", providers[i]);
        code = find_key(&s, &value, &from, err);
        if (!code && value) {
            code = keys_put(keys_folder, file, value, err);
            explicit_bzero(value, strlen(value));
        }
        free(value);
    }
    json_decref(secrets);
    return code;
}
