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
    return ERR_OK;
}

static enum err_code put_named(const json_t *secrets, const char *env, const char *keys_folder,
                               const char *file, struct err *err)
{
    const char *value = json_string_value(json_object_get(secrets, env));

    return str_is_empty(value) ? ERR_OK : keys_put(keys_folder, file, value, err);
}

static enum err_code put_secrets(int fd, const struct config *config, const char *keys_folder,
                                 struct err *err)
{
    OWN_BUF struct buf text = {0};
    char file[64];
    json_t *o;
    enum err_code code;

    if (lseek(fd, 0, SEEK_SET) < 0 && errno != ESPIPE)
        return err_sys(err, errno, "read the secrets");
    if ((code = read_all(fd, SECRETS_BYTES, &text, err)))
        return err_wrap(err, code, "secrets");
    o = json_loads(buf_text(&text), 0, NULL);
    explicit_bzero(text.data, text.len);
    if (!json_is_object(o)) {
        json_decref(o);
        return err_set(err, ERR_INVALID, "the secrets descriptor does not hold a JSON object");
    }
    (void)str_format(file, sizeof file, "llm.%s", config_get_str(config, CONFIG_LLM_PROVIDER));
    if (!(code = put_named(o, "ANTHROPIC_API_KEY", keys_folder, "llm.anthropic", err)) &&
        !(code = put_named(o, "OPENAI_API_KEY", keys_folder, "llm.openai", err)))
        code = put_named(o, "STIGMER_LLM_API_KEY", keys_folder, file, err);
    json_decref(o);
    return code;
}

/* Foreground under a service manager: keys may come in the environment. */
static enum err_code put_environment(const char *keys_folder, struct err *err)
{
    static const char *const rows[][2] = {{"ANTHROPIC_API_KEY", "llm.anthropic"},
                                          {"OPENAI_API_KEY", "llm.openai"}};

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const char *value = getenv(rows[i][0]);
        enum err_code code =
            str_is_empty(value) ? ERR_OK : keys_put(keys_folder, rows[i][1], value, err);
        if (code)
            return code;
    }
    return ERR_OK;
}

enum err_code settings_put_keys(const struct settings_args *args, const struct config *config,
                                const char *keys_folder, struct err *err)
{
    const char *path = config_get_str(config, CONFIG_LLM_API_KEY_FILE);
    char *value = NULL;
    char file[64];
    enum err_code code = args->secrets_fd >= 0
                             ? put_secrets(args->secrets_fd, config, keys_folder, err)
                             : put_environment(keys_folder, err);

    if (code || str_is_empty(path))
        return code;
    if ((code = keys_read_file(path, &value, err)))
        return err_wrap(err, code, "llm.api_key_file");
    (void)str_format(file, sizeof file, "llm.%s", config_get_str(config, CONFIG_LLM_PROVIDER));
    code = keys_put(keys_folder, file, value, err);
    explicit_bzero(value, strlen(value));
    free(value);
    return code;
}
