/* secret set, ls and rm: values come from standard input, a file, or a variable's name. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/own.h"
#include "base/str.h"
#include "platform/vault.h"
#include "prog/stigmer/cli.h"
#include "prog/stigmer/cmds.h"
#include "prog/stigmer/daemon.h"
#include "prog/stigmer/out.h"
#include "prog/stigmer/settings.h"

static void on_interrupt(int signal)
{
    (void)signal; /* read() returns, and the terminal is put right first */
}

/* A line from the terminal that does not show it. */
static ssize_t read_hidden(const struct termios *before, char *chunk, size_t size)
{
    const struct sigaction wake = {.sa_handler = on_interrupt};
    struct termios silent = *before;
    struct sigaction old;
    ssize_t n;
    int why;

    (void)sigaction(SIGINT, &wake, &old);
    silent.c_lflag &= ~(tcflag_t)ECHO;
    (void)tcsetattr(STDIN_FILENO, TCSAFLUSH, &silent);
    n = read(STDIN_FILENO, chunk, size);
    why = errno;
    (void)tcsetattr(STDIN_FILENO, TCSAFLUSH, before);
    (void)sigaction(SIGINT, &old, NULL);
    fputc('\n', stderr);
    if (n < 0 && why == EINTR)
        (void)raise(SIGINT);
    errno = why;
    return n;
}

static enum err_code ask(const struct cli *cli, struct buf *ret, struct err *err)
{
    char chunk[VAULT_VALUE_MAX + 2];
    struct termios before;
    ssize_t n;

    if (cli->no_input)
        return err_hint(err,
                        err_set(err, ERR_INVALID, "secret set needs the value on standard input"),
                        "printf %%s \"$VALUE\" | stigmer secret set NAME, or --from-env VARIABLE");
    if (tcgetattr(STDIN_FILENO, &before))
        return err_sys(err, errno, "cannot read from the terminal");
    fprintf(stderr, "Value of %s (it is not shown; end with Enter): ", cli_word(cli, 0));
    n = read_hidden(&before, chunk, sizeof chunk);
    if (n < 0)
        return err_sys(err, errno, "cannot read from the terminal");
    buf_put(ret, chunk, (size_t)n);
    explicit_bzero(chunk, sizeof chunk);
    return ERR_OK;
}

static enum err_code read_value(const struct cli *cli, struct buf *ret, struct err *err)
{
    const char *variable = args_str(&cli->args, "from-env", NULL);
    const char *file = args_str(&cli->args, "from-file", NULL);
    enum err_code code = ERR_OK;

    if (variable && file)
        return err_set(err, ERR_INVALID, "--from-env and --from-file exclude each other");
    if (variable) {
        const char *value = getenv(variable);

        if (!value)
            return err_set(err, ERR_INVALID, "--from-env: the variable %.80s is not set", variable);
        buf_puts(ret, value);
    } else if (file || !isatty(STDIN_FILENO)) {
        code = settings_read_file(file ? file : "-", VAULT_VALUE_MAX + 1, ret, err);
    } else {
        code = ask(cli, ret, err);
    }
    if (!code && ret->len && ret->data[ret->len - 1] == '\n') /* of echo, or of the Enter key */
        ret->data[--ret->len] = '\0';
    if (!code && ret->len && memchr(ret->data, 0, ret->len))
        code = err_set(err, ERR_INVALID, "a secret is text: this value has a zero byte");
    return code;
}

/* What runs has read its keys already. */
static void tell_restart(const struct cli *cli)
{
    struct daemon_pids pids;

    daemon_find(&cli->paths, &pids);
    if (pids.server.pid)
        cli_note(cli, "`stigmer server restart` lets the running server use it");
}

/* Before anything is asked for. What begins with "llm." is read by a server, under these names. */
static enum err_code check_name(const char *name, struct err *err)
{
    static const char *const known[] = {"llm.anthropic", "llm.openai", "llm.ollama", NULL};
    const char *near = str_nearest(name, known);

    if (!vault_name_is_valid(name))
        return vault_put("", name, "", err); /* which says what a name is */
    if (!str_starts(name, "llm."))
        return ERR_OK;
    for (size_t i = 0; known[i]; i++)
        if (str_eq(name, known[i]))
            return ERR_OK;
    for (size_t i = 0; known[i] && !near; i++)
        near = str_starts(name, known[i]) ? known[i] : NULL;
    return err_hint(err,
                    err_set(err, ERR_INVALID,
                            "no provider reads '%.80s'; llm.anthropic, llm.openai and llm.ollama "
                            "are read",
                            name),
                    "stigmer secret set %s", near ? near : "llm.PROVIDER");
}

int cmd_secret_set(struct cli *cli)
{
    const char *name = cli_word(cli, 0);
    OWN_BUF struct buf value = {0};
    struct err err = {0};
    enum err_code code = check_name(name, &err);

    if (!code)
        code = read_value(cli, &value, &err);
    if (!code)
        code = vault_put(cli->paths.home, name, buf_text(&value), &err);
    if (value.data)
        explicit_bzero(value.data, value.len);
    if (code)
        return cli_fail(cli, &err);
    cli_note(cli, "secret %s is set", name);
    tell_restart(cli);
    return EXIT_OK;
}

static void add(const char *name, int64_t size, int64_t set_ms, void *arg)
{
    char at[CLOCK_TEXT];

    clock_format(set_ms, at);
    json_array_append_new(
        arg, json_pack("{s:s,s:I,s:s}", "name", name, "bytes", (json_int_t)size, "setAt", at));
}

static void print_table(const struct cli *cli, const json_t *items)
{
    static const char *const heads[] = {"NAME", "BYTES", "SET", NULL};
    OWN_BUF struct buf b = {0};
    struct out_table t = {0};
    json_t *s;
    size_t i;

    out_table_row(&t, heads);
    json_array_foreach(items, i, s)
    {
        char bytes[24], age[24] = "-";
        int64_t at;

        snprintf(bytes, sizeof bytes, "%lld",
                 (long long)json_integer_value(json_object_get(s, "bytes")));
        if (clock_parse(json_string_value(json_object_get(s, "setAt")), &at, NULL) == ERR_OK)
            out_age(at, clock_wall_ms(), age);
        out_table_row(&t, (const char *const[]){json_string_value(json_object_get(s, "name")),
                                                bytes, age, NULL});
    }
    out_table_done(&t, &b, cli->out_is_tty);
    (void)out_flush(STDOUT_FILENO, &b);
}

int cmd_secret_ls(struct cli *cli)
{
    json_t *items = json_array(), *o, *s;
    struct err err = {0};
    size_t i;

    if (vault_list(cli->paths.home, add, items, &err)) {
        json_decref(items);
        return cli_fail(cli, &err);
    }
    o = json_pack("{s:s,s:O}", "schema", "stigmer.cli/secret-ls/v1", "items", items);
    if (cli->format == CLI_TEXT)
        print_table(cli, items);
    else if (cli->format == CLI_NAME)
        json_array_foreach(items, i, s)
            printf("%s\n", json_string_value(json_object_get(s, "name")));
    else
        out_document(cli, o);
    json_decref(o);
    json_decref(items);
    return EXIT_OK;
}

int cmd_secret_rm(struct cli *cli)
{
    struct err err = {0};
    const char *name;

    for (size_t i = 0; (name = cli_word(cli, i)); i++) {
        if (vault_remove(cli->paths.home, name, &err))
            return cli_fail(cli, &err);
        cli_note(cli, "secret %s is removed", name);
    }
    tell_restart(cli);
    return EXIT_OK;
}
