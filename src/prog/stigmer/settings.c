#include "prog/stigmer/settings.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/own.h"
#include "base/str.h"
#include "wire/yaml.h"

enum err_code settings_read_file(const char *path, size_t max, struct buf *ret, struct err *err)
{
    bool is_stdin = str_eq(path, "-");
    OWN_FD int own = is_stdin ? -1 : open(path, O_RDONLY | O_CLOEXEC);
    int fd = is_stdin ? STDIN_FILENO : own;
    char chunk[16384];

    if (fd < 0)
        return err_sys(err, errno, "cannot open %s", path);
    for (;;) {
        ssize_t n = read(fd, chunk, sizeof chunk);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_sys(err, errno, "cannot read %s", is_stdin ? "standard input" : path);
        if (n == 0)
            return ERR_OK;
        if (ret->len + (size_t)n > max)
            return err_set(err, ERR_LIMIT, "%s is larger than %zu bytes",
                           is_stdin ? "standard input" : path, max);
        buf_put(ret, chunk, (size_t)n);
    }
}

static int line_of(const char *path, void *arg)
{
    unsigned line = 0, column;

    return yaml_docs_where(arg, 0, path, &line, &column) ? (int)line : 0;
}

enum err_code settings_parse(const char *path, const struct buf *text, struct config *c,
                             struct err *err)
{
    struct yaml_docs *docs = NULL;
    enum err_code code = yaml_docs_parse(buf_text(text), text->len, path, NULL, &docs, err);

    if (!code && yaml_docs_count(docs) > 1)
        code = err_set(err, ERR_INVALID, "%s holds more than one document", path);
    else if (!code && yaml_docs_count(docs) == 1) {
        code = config_load(c, yaml_docs_root(docs, 0), line_of, docs, err);
        if (code)
            err_wrap(err, code, "%s", path);
    }
    yaml_docs_free(docs);
    return code;
}

static const char *from_environment(const char *name, void *arg)
{
    (void)arg;
    return getenv(name);
}

enum err_code settings_load_env(struct config *c, struct err *err)
{
    return config_load_env(c, from_environment, NULL, err);
}

enum err_code settings_load(const struct cli *cli, struct config *c, struct err *err)
{
    OWN_BUF struct buf text = {0};
    enum err_code code = ERR_OK;

    if (access(cli->paths.config, F_OK) == 0 || errno != ENOENT)
        code = settings_read_file(cli->paths.config, SETTINGS_FILE_MAX, &text, err);
    if (!code)
        code = settings_parse(cli->paths.config, &text, c, err);
    if (!code)
        code = settings_load_env(c, err);
    return code;
}

char **settings_from_options(const struct cli *cli)
{
    static const struct {
        const char *flag, *key;
    } rows[] = {{"runner", "runner.kind"},
                {"engine", "engine"},
                {"temporal-address", "temporal.address"},
                {"temporal-namespace", "temporal.namespace"},
                {"listen", "server.listen"}};
    static const size_t count = sizeof rows / sizeof rows[0];
    char **sets = mem_array(count + 1 + args_count(&cli->args, "set"), sizeof *sets);
    size_t n = 0;
    const char *value;

    for (size_t i = 0; (value = args_nth(&cli->args, "set", i)); i++)
        sets[n++] = mem_str(value);
    for (size_t i = 0; i < count; i++) {
        OWN_BUF struct buf b = {0};
        value = args_str(&cli->args, rows[i].flag, NULL);
        if (!value)
            continue;
        buf_printf(&b, "%s=%s", rows[i].key, value);
        sets[n++] = buf_take_text(&b);
    }
    return sets;
}

void settings_free(char **sets)
{
    for (char **s = sets; s && *s; s++)
        free(*s);
    free(sets);
}
