/* config: the table of core/config.h, read and written. The file is changed line by line, so that
 * comments and order stay; what comes out is parsed again before it replaces the old one. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/own.h"
#include "base/str.h"
#include "prog/stigmer/cli.h"
#include "prog/stigmer/cmds.h"
#include "prog/stigmer/daemon.h"
#include "prog/stigmer/out.h"
#include "prog/stigmer/settings.h"
#include "wire/yaml.h"

static int print_text(const char *text)
{
    OWN_BUF struct buf b = {0};

    buf_printf(&b, "%s\n", text);
    (void)out_flush(STDOUT_FILENO, &b);
    return EXIT_OK;
}

static json_t *key_json(const struct config *c, enum config_key key)
{
    const struct config_row *r = config_row(key);
    json_t *o = json_object();

    json_object_set_new(o, "key", json_string(r->name));
    json_object_set_new(o, "value", json_string(config_get_str(c, key)));
    json_object_set_new(o, "origin", json_string(config_origin_name(config_origin(c, key))));
    json_object_set_new(o, "env", json_string(r->env));
    return o;
}

int cmd_config_get(struct cli *cli)
{
    struct config c;
    struct err err = {0};
    enum config_key key;
    enum err_code code;

    config_init(&c);
    code = config_lookup(cli_word(cli, 0), &key, &err);
    if (!code)
        code = settings_load(cli, &c, &err);
    if (!code && cli->format == CLI_TEXT) {
        print_text(config_get_str(&c, key));
    } else if (!code) {
        json_t *o = json_object(), *row = key_json(&c, key);
        json_object_set_new(o, "schema", json_string("stigmer.cli/config-get/v1"));
        json_object_update(o, row);
        out_document(cli, o);
        json_decref(row);
        json_decref(o);
    }
    config_done(&c);
    return code ? cli_fail(cli, &err) : EXIT_OK;
}

static void print_list(const struct cli *cli, const struct config *c)
{
    static const char *const heads[] = {"KEY", "VALUE", "ORIGIN", "ENVIRONMENT", NULL};
    OWN_BUF struct buf b = {0};
    struct out_table t = {0};
    json_t *o, *items;

    if (cli->format == CLI_TEXT) {
        out_table_row(&t, heads);
        for (int k = 0; k < CONFIG_KEYS; k++) {
            enum config_key key = (enum config_key)k;
            const char *value = config_get_str(c, key);
            out_table_row(&t, (const char *const[]){config_row(key)->name, *value ? value : "-",
                                                    config_origin_name(config_origin(c, key)),
                                                    config_row(key)->env, NULL});
        }
        out_table_done(&t, &b, cli->out_is_tty);
        (void)out_flush(STDOUT_FILENO, &b);
        return;
    }
    o = json_object();
    items = json_array();
    for (int k = 0; k < CONFIG_KEYS; k++)
        json_array_append_new(items, key_json(c, (enum config_key)k));
    json_object_set_new(o, "schema", json_string("stigmer.cli/config-list/v1"));
    json_object_set_new(o, "path", json_string(cli->paths.config));
    json_object_set_new(o, "items", items);
    out_document(cli, o);
    json_decref(o);
}

int cmd_config_list(struct cli *cli)
{
    struct config c;
    struct err err = {0};
    enum err_code code;

    config_init(&c);
    code = settings_load(cli, &c, &err);
    if (!code)
        print_list(cli, &c);
    config_done(&c);
    return code ? cli_fail(cli, &err) : EXIT_OK;
}

int cmd_config_path(struct cli *cli)
{
    return print_text(cli->paths.config);
}

int cmd_config_validate(struct cli *cli)
{
    const char *path = cli_word(cli, 0);
    OWN_BUF struct buf text = {0}, warnings = {0};
    struct config c;
    struct err err = {0};
    enum err_code code;

    config_init(&c);
    if (path) {
        code = settings_read_file(path, SETTINGS_FILE_MAX, &text, &err);
        if (!code)
            code = settings_parse(path, &text, &c, &err);
    } else {
        code = settings_load(cli, &c, &err);
    }
    if (!code)
        code = config_check_listen(&c, &err);
    config_warnings(&c, &warnings);
    config_done(&c);
    if (code)
        return cli_fail(cli, &err);
    if (warnings.len)
        cli_warn(cli, "%.*s", (int)warnings.len - 1, buf_text(&warnings));
    cli_note(cli, "%s is valid", path ? path : cli->paths.config);
    return EXIT_OK;
}

/* ---- changing the file ------------------------------------------------------------------- */

/* The n-th line (from 1) of text: its start, and its end before the newline. */
static size_t line_start(const char *text, unsigned n)
{
    size_t at = 0;

    while (--n && text[at]) {
        at += strcspn(text + at, "\n");
        at += text[at] == '\n';
    }
    return at;
}

/* A scalar that reads back as this text: plain where YAML takes it as it stands. */
static void put_scalar(struct buf *b, const char *value)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                "._-/:+";
    json_t *v;
    char *text;

    if (!value[strspn(value, plain)] && value[0] != '-' && value[0] != ':' &&
        value[strlen(value) - 1] != ':') {
        buf_puts(b, value);
        return;
    }
    v = json_string(value);
    text = json_dumps(v, JSON_ENCODE_ANY);
    buf_puts(b, text ? text : "\"\"");
    free(text);
    json_decref(v);
}

/* Where the value ends on its line: in front of a comment, or of trailing space. */
static size_t value_end(const char *line, size_t len)
{
    char quote = 0;
    size_t end = len;

    for (size_t i = 0; i < len; i++) {
        if (quote && line[i] == '\\' && quote == '"')
            i++;
        else if (quote && line[i] == quote)
            quote = 0;
        else if (!quote && (line[i] == '"' || line[i] == '\''))
            quote = line[i];
        else if (!quote && line[i] == '#' && i && (line[i - 1] == ' ' || line[i - 1] == '\t')) {
            end = i;
            break;
        }
    }
    while (end && (line[end - 1] == ' ' || line[end - 1] == '\t' || line[end - 1] == '\r'))
        end--;
    return end;
}

/* Replace (value NULL: drop) the line of a key that is there. */
static void edit_line(const struct buf *old, unsigned line, const char *value, struct buf *ret)
{
    const char *text = buf_text(old);
    size_t at = line_start(text, line), len = strcspn(text + at, "\n");
    size_t colon = strcspn(text + at, ":"), end = value_end(text + at, len);

    buf_put(ret, text, at);
    if (value) {
        buf_put(ret, text + at, colon + 1);
        buf_putc(ret, ' ');
        put_scalar(ret, value);
        buf_put(ret, text + at + end, len - end);
        buf_putc(ret, '\n');
    }
    at += len;
    at += text[at] == '\n';
    buf_puts(ret, text + at);
}

static size_t indent_of(const char *line)
{
    return strspn(line, " ");
}

/* Put a new key behind the line of its nearest parent that is there, or at the end. */
static void insert_key(const struct buf *old, const char *name, unsigned parent_line,
                       size_t parent_len, const char *value, struct buf *ret)
{
    const char *text = buf_text(old), *rest = name + parent_len;
    size_t at = old->len, depth = 0;

    if (parent_line) {
        at = line_start(text, parent_line);
        depth = indent_of(text + at);
        at += strcspn(text + at, "\n");
        at += text[at] == '\n';
        /* As deep as the first child, if there is one. */
        depth = at < old->len && indent_of(text + at) > depth ? indent_of(text + at) : depth + 2;
    }
    buf_put(ret, text, at);
    if (at && ret->data[ret->len - 1] != '\n')
        buf_putc(ret, '\n');
    while (*rest) {
        size_t n = strcspn(rest, ".");
        bool last = !rest[n];
        buf_printf(ret, "%*s%.*s:", (int)depth, "", (int)n, rest);
        if (last) {
            buf_putc(ret, ' ');
            put_scalar(ret, value);
        }
        buf_putc(ret, '\n');
        depth += 2;
        rest += n + !last;
    }
    buf_puts(ret, text + at);
}

static const json_t *value_at(const json_t *root, const char *name, size_t len)
{
    while (root && len) {
        size_t n = 0;
        OWN_FREE char *step = NULL;
        while (n < len && name[n] != '.')
            n++;
        step = mem_strn(name, n);
        root = json_object_get(root, step);
        name += n + (n < len);
        len -= n + (n < len);
    }
    return root;
}

/* New text with key set (or dropped, value NULL). *ret_changed false: it was not there. */
static enum err_code edit(const char *path, const struct buf *old, const char *name,
                          const char *value, struct buf *ret, bool *ret_changed, struct err *err)
{
    struct yaml_docs *docs = NULL;
    enum err_code code = yaml_docs_parse(buf_text(old), old->len, path, NULL, &docs, err);
    const json_t *root = code || !yaml_docs_count(docs) ? NULL : yaml_docs_root(docs, 0);
    unsigned line = 0, column;
    size_t len = strlen(name);

    if (code)
        return code;
    *ret_changed = true;
    if (value_at(root, name, len)) {
        (void)yaml_docs_where(docs, 0, name, &line, &column);
        edit_line(old, line, value, ret);
    } else if (!value) {
        *ret_changed = false;
        buf_put(ret, old->data, old->len);
    } else {
        OWN_FREE char *parent = mem_str(name);
        while (len && !json_is_object(value_at(root, name, len)) &&
               !json_is_null(value_at(root, name, len))) {
            while (len && name[--len] != '.')
                ;
        }
        parent[len] = '\0';
        if (len)
            (void)yaml_docs_where(docs, 0, parent, &line, &column);
        insert_key(old, name, line, len ? len + 1 : 0, value, ret);
    }
    yaml_docs_free(docs);
    return ERR_OK;
}

/* What was written must be what is read, whatever form the file has. */
static bool reads_back(const char *path, const struct buf *text, enum config_key key,
                       const char *value)
{
    struct config c;
    bool ok;

    config_init(&c);
    ok = settings_parse(path, text, &c, NULL) == ERR_OK &&
         str_eq(c.text[key][CONFIG_FROM_FILE], value);
    config_done(&c);
    return ok;
}

/* The same settings a line each, for a file that is in another form (JSON, say). Its comments are
 * lost, so this is for files that cannot be changed line by line. */
static enum err_code unfold(const char *path, const struct buf *text, struct buf *ret,
                            struct err *err)
{
    struct config c;
    enum err_code code;

    config_init(&c);
    code = settings_parse(path, text, &c, err);
    for (int k = 0; !code && k < CONFIG_KEYS; k++) {
        const char *value = c.text[k][CONFIG_FROM_FILE];
        struct buf now = {0};
        bool changed;

        if (!value)
            continue;
        code = edit(path, ret, config_row((enum config_key)k)->name, value, &now, &changed, err);
        buf_done(ret);
        *ret = now;
    }
    config_done(&c);
    return code;
}

/* dir: the file's folder. */
static enum err_code replace_file(const char *path, int dir, struct buf *text, struct err *err)
{
    char temp[PATHS_MAX + 16];
    OWN_FD int fd = -1;
    struct stat st;
    mode_t mode = stat(path, &st) ? 0600 : st.st_mode & 0777;

    (void)str_format(temp, sizeof temp, "%s.new", path);
    fd = open(temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, mode);
    if (fd < 0)
        return err_sys(err, errno, "cannot write %s", temp);
    if (!out_flush(fd, text) || fsync(fd) || rename(temp, path) || fsync(dir)) {
        int sys = errno;
        (void)unlink(temp);
        return err_sys(err, sys, "cannot write %s", path);
    }
    return ERR_OK;
}

/* Change one key of *text; *ret_changed as in edit. */
static enum err_code change(const char *path, struct buf *text, enum config_key key,
                            const char *value, bool *ret_changed, struct err *err)
{
    const char *name = config_row(key)->name;
    OWN_BUF struct buf now = {0}, plain = {0};
    enum err_code code = edit(path, text, name, value, &now, ret_changed, err);

    if (!code && !reads_back(path, &now, key, value)) {
        buf_clear(&now);
        code = unfold(path, text, &plain, err);
        if (!code)
            code = edit(path, &plain, name, value, &now, ret_changed, err);
        if (!code && !reads_back(path, &now, key, value))
            code = err_hint(err,
                            err_set(err, ERR_INVALID,
                                    "%s has a form that cannot be changed here; it is untouched",
                                    path),
                            "edit it by hand: %s", name);
    }
    if (code)
        return code;
    buf_done(text);
    *text = now;
    now = (struct buf){0};
    return ERR_OK;
}

/* Keys that belong to the provider that is left. */
static enum err_code drop_of_provider(const struct cli *cli, struct buf *text, struct err *err)
{
    static const enum config_key keys[] = {CONFIG_LLM_MODEL, CONFIG_LLM_BASE_URL,
                                           CONFIG_LLM_API_KEY_FILE, CONFIG_LLM_MAX_OUTPUT_TOKENS,
                                           CONFIG_LLM_CONTEXT_TOKENS};

    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        bool changed;
        enum err_code code = change(cli->paths.config, text, keys[i], NULL, &changed, err);
        if (code)
            return code;
        if (changed)
            cli_note(cli, "%s is removed: it was the other provider's", config_row(keys[i])->name);
    }
    return ERR_OK;
}

static enum err_code make_parents(const char *path, struct err *err)
{
    char dir[PATHS_MAX];

    (void)str_format(dir, sizeof dir, "%s", path);
    for (char *p = strchr(dir + 1, '/'); p; p = strchr(p + 1, '/')) {
        *p = '\0';
        if (mkdir(dir, p[1] && !strchr(p + 1, '/') ? 0700 : 0755) && errno != EEXIST)
            return err_sys(err, errno, "cannot make the folder %s", dir);
        *p = '/';
    }
    return ERR_OK;
}

/* The file's folder, locked until it is closed: of two changes at once none is lost. */
static enum err_code lock_folder(const char *path, int *ret, struct err *err)
{
    char dir[PATHS_MAX];
    char *slash;
    OWN_FD int fd = -1;

    (void)str_format(dir, sizeof dir, "%s", path);
    slash = strrchr(dir, '/');
    if (slash)
        slash[slash == dir] = '\0';
    fd = open(slash ? dir : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || flock(fd, LOCK_EX) < 0)
        return err_sys(err, errno, "cannot lock the folder of %s", path);
    *ret = take_fd(&fd);
    return ERR_OK;
}

static enum err_code check_listen(const char *path, const struct buf *text, struct err *err)
{
    struct config c;
    enum err_code code;

    config_init(&c);
    code = settings_parse(path, text, &c, err);
    if (!code)
        code = settings_load_env(&c, err);
    if (!code)
        code = config_check_listen(&c, err);
    config_done(&c);
    return code;
}

static enum err_code apply_change(const struct cli *cli, enum config_key key, const char *value,
                                  bool *ret_changed, struct err *err)
{
    const char *path = cli->paths.config;
    OWN_BUF struct buf text = {0};
    struct config before;
    OWN_FD int dir = -1;
    enum err_code code = make_parents(path, err);
    bool provider_changes = false, listens_well;

    if (!code)
        code = lock_folder(path, &dir, err);
    if (!code && (access(path, F_OK) == 0 || errno != ENOENT))
        code = settings_read_file(path, SETTINGS_FILE_MAX, &text, err);
    if (code)
        return code;
    config_init(&before);
    code = settings_parse(path, &text, &before, err);
    if (!code && key == CONFIG_LLM_PROVIDER) {
        const char *old = before.text[key][CONFIG_FROM_FILE];
        const char *fallback = config_row(key)->fallback;
        provider_changes = !str_eq(old ? old : fallback, value ? value : fallback);
    }
    config_done(&before);
    listens_well = check_listen(path, &text, NULL) == ERR_OK;
    if (!code)
        code = change(path, &text, key, value, ret_changed, err);
    if (!code && provider_changes)
        code = drop_of_provider(cli, &text, err);
    if (!code && listens_well) /* what was wrong before may be mended key by key */
        code = check_listen(path, &text, err);
    return code ? code : replace_file(path, dir, &text, err);
}

/* A server reads its settings once. */
static void tell_running(const struct cli *cli)
{
    struct daemon_pids pids;

    daemon_find(&cli->paths, &pids);
    if (pids.keeper.pid || pids.server.pid)
        cli_note(cli, "a server runs with the settings of its start: stigmer server restart");
}

int cmd_config_set(struct cli *cli)
{
    const char *value = cli_word(cli, 1);
    struct err err = {0};
    enum config_key key;
    bool changed;
    enum err_code code = config_lookup(cli_word(cli, 0), &key, &err);

    if (!code)
        code = config_check(key, value, &err);
    if (!code)
        code = apply_change(cli, key, value, &changed, &err);
    if (code)
        return cli_fail(cli, &err);
    if (!str_is_empty(getenv(config_row(key)->env)))
        cli_warn(cli, "%s is set in the environment and beats the file", config_row(key)->env);
    tell_running(cli);
    return EXIT_OK;
}

int cmd_config_unset(struct cli *cli)
{
    struct err err = {0};
    enum config_key key;
    bool changed = false;
    enum err_code code = config_lookup(cli_word(cli, 0), &key, &err);

    if (!code && access(cli->paths.config, F_OK) == 0)
        code = apply_change(cli, key, NULL, &changed, &err);
    if (code)
        return cli_fail(cli, &err);
    if (!changed)
        cli_note(cli, "%s was not set in %s", config_row(key)->name, cli->paths.config);
    else
        tell_running(cli);
    return EXIT_OK;
}
