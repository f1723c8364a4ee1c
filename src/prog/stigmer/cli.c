#include "prog/stigmer/cli.h"

#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/str.h"
#include "prog/stigmer/out.h"

static bool wants_color(const struct cli *cli, int fd)
{
    const char *force = getenv("CLICOLOR_FORCE"), *term = getenv("TERM");

    if (args_bool(&cli->args, "no-color", false) || !str_is_empty(getenv("NO_COLOR")))
        return false;
    if (!str_is_empty(force) && !str_eq(force, "0"))
        return true;
    return isatty(fd) && !str_eq(term, "dumb");
}

static enum cli_format format_of(const char *name)
{
    static const char *const names[] = {"text", "json", "yaml", "jsonl", "name"};

    for (int i = 0; i < 5; i++)
        if (str_eq(names[i], name))
            return (enum cli_format)i;
    return CLI_TEXT;
}

enum err_code cli_setup(struct cli *cli, struct err *err)
{
    const char *home = args_str(&cli->args, "home", NULL);
    char absolute[PATHS_MAX], cwd[PATHS_MAX];
    enum err_code code;

    cli->format = format_of(args_str(&cli->args, "output", "text"));
    cli->quiet = args_bool(&cli->args, "quiet", false);
    cli->verbose =
        args_bool(&cli->args, "verbose", false) ? (int)args_count(&cli->args, "verbose") : 0;
    cli->no_input = args_bool(&cli->args, "no-input", false);
    cli->out_is_tty = isatty(STDOUT_FILENO);
    cli->err_is_tty = isatty(STDERR_FILENO);
    cli->out_color = wants_color(cli, STDOUT_FILENO);
    cli->err_color = wants_color(cli, STDERR_FILENO);
    code = args_duration(&cli->args, "timeout", 0, &cli->timeout_ms, err);
    if (code)
        return code;
    if (home && !*home)
        return err_set(err, ERR_INVALID, "--home: the value is empty");
    if (home && home[0] != '/' && getcwd(cwd, sizeof cwd)) { /* typed by a person: below here */
        if (!str_format(absolute, sizeof absolute, "%s/%s", cwd, home))
            return err_set(err, ERR_INVALID, "--home: the path is too long");
        home = absolute;
    }
    return paths_make(home, getenv("STIGMER_HOME"), getenv("HOME"), &cli->paths, err);
}

void cli_done(struct cli *cli)
{
    args_done(&cli->args);
}

static void print_line(const struct cli *cli, const char *color, const char *head, const char *text)
{
    OWN_BUF struct buf b = {0}, whole = {0};

    buf_put_text(&whole, text, strlen(text)); /* it may have been cut in the middle of a letter */
    buf_printf(&b, "%s%s%s", color, head, out_color(*color, '0'));
    out_text(&b, buf_text(&whole), whole.len, cli->err_is_tty);
    buf_putc(&b, '\n');
    (void)out_flush(STDERR_FILENO, &b);
}

static void print_error_object(const struct cli *cli, const struct err *err)
{
    json_t *o = json_object();
    char *text;

    json_object_set_new(o, "schema", json_string("stigmer.cli/error/v1"));
    json_object_set_new(o, "code", json_string(err_code_name(err->code)));
    json_object_set_new(o, "exit", json_integer(err_code_exit(err->code)));
    /* A peer's message may hold bytes that JSON cannot; the code and the exit still stand. */
    if (json_object_set_new(o, "message", json_string(err->msg)))
        json_object_set_new(o, "message", json_string("(the message is not valid text)"));
    if (err->hint[0])
        json_object_set_new(o, "hint", json_string(err->hint));
    if (cli->log_path)
        json_object_set_new(o, "log", json_string(cli->log_path));
    text = json_dumps(o, JSON_COMPACT);
    if (text)
        printf("%s\n", text);
    fflush(stdout);
    free(text);
    json_decref(o);
}

int cli_fail(const struct cli *cli, const struct err *err)
{
    print_line(cli, out_color(cli->err_color, 'r'), "stigmer: error: ", err->msg);
    if (err->hint[0])
        print_line(cli, out_color(cli->err_color, 'y'), "hint: ", err->hint);
    if (cli->log_path)
        print_line(cli, out_color(cli->err_color, 'd'), "log: ", cli->log_path);
    if (cli->format == CLI_JSON || cli->format == CLI_JSONL)
        print_error_object(cli, err);
    return err_code_exit(err->code);
}

int cli_usage(const struct cli *cli, const char *fmt, ...)
{
    struct err e = {0};
    char text[900];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    err_set(&e, ERR_INVALID, "%s", text);
    err_hint(&e, ERR_INVALID, "stigmer %s%s--help", cli->cmd ? cli->cmd->name : "",
             cli->cmd ? " " : "");
    return cli_fail(cli, &e);
}

#define PRINT_TO_STDERR(color, head)                                                               \
    do {                                                                                           \
        char text[4096];                                                                           \
        va_list ap;                                                                                \
        va_start(ap, fmt);                                                                         \
        vsnprintf(text, sizeof text, fmt, ap);                                                     \
        va_end(ap);                                                                                \
        print_line(cli, out_color(cli->err_color, color), head, text);                             \
    } while (0)

void cli_note(const struct cli *cli, const char *fmt, ...)
{
    if (!cli->quiet)
        PRINT_TO_STDERR('d', "");
}

void cli_warn(const struct cli *cli, const char *fmt, ...)
{
    PRINT_TO_STDERR('y', "stigmer: warning: ");
}

void cli_verbose(const struct cli *cli, const char *fmt, ...)
{
    if (cli->verbose)
        PRINT_TO_STDERR('d', "");
}

const char *cli_word(const struct cli *cli, size_t n)
{
    return n < cli->args.word_count ? cli->args.words[n] : NULL;
}

enum err_code cli_libexec(const struct cli *cli, const char *name, char ret[PATHS_MAX],
                          struct err *err)
{
    const char *dir = getenv("STIGMER_LIBEXEC");
    char *slash;
    bool fits;

    if (!str_is_empty(dir)) {
        fits = str_format(ret, PATHS_MAX, "%s/%s", dir, name);
    } else {
        char base[PATHS_MAX];
        (void)str_format(base, sizeof base, "%s", cli->program);
        for (int up = 0; up < 2; up++) { /* PREFIX/bin/stigmer */
            slash = strrchr(base, '/');
            if (!slash)
                break;
            *slash = '\0';
        }
        fits = str_format(ret, PATHS_MAX, "%s/libexec/stigmer/%s", base, name);
    }
    if (!fits)
        return err_set(err, ERR_INVALID, "the path of %s is too long", name);
    if (access(ret, X_OK))
        return err_hint(err, err_set(err, ERR_NOT_FOUND, "%s is not installed at %s", name, ret),
                        "install Stigmer whole (scripts/build.sh --prefix DIR), or set "
                        "STIGMER_LIBEXEC");
    return ERR_OK;
}
