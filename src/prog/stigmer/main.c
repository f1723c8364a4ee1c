/* The command line tool: find the command, read its options, run it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/own.h"
#include "base/str.h"
#include "prog/stigmer/cli.h"
#include "prog/stigmer/help.h"
#include "prog/stigmer/out.h"

static int print_help(const struct cmd *cmd, const char *group)
{
    OWN_BUF struct buf b = {0};

    if (cmd)
        help_cmd(&b, cmd);
    else if (group)
        help_group(&b, group);
    else
        help_top(&b);
    (void)out_flush(STDOUT_FILENO, &b);
    return EXIT_OK;
}

static enum err_code unknown_command(const char *group, const char *word, struct err *err)
{
    const char *near = strlen(word) <= 64 ? cmd_table_nearest(group, word) : NULL;

    if (near)
        err_set(err, ERR_INVALID, "unknown command '%s%s%.80s', did you mean '%s'?", group,
                *group ? " " : "", word, near);
    else
        err_set(err, ERR_INVALID, "unknown command '%s%s%.80s'", group, *group ? " " : "", word);
    return err_hint(err, ERR_INVALID, "stigmer --help");
}

/* `server` alone, or with options of `server start` only, is `server start`. */
static const struct cmd *default_of_group(const char *group)
{
    return str_eq(group, "server") ? cmd_table_find("server start") : NULL;
}

static enum err_code find_in_group(struct cli *cli, char *const argv[], size_t *pos,
                                   const char **ret_group, struct err *err)
{
    const struct arg_spec *const globals[] = {cmd_table_global, NULL};
    const char *group = argv[(*pos)++];
    const struct cmd *fallback = default_of_group(group);
    size_t after_group = *pos, given = cli->args.given_count;
    char name[128];
    enum err_code code = args_parse(&cli->args, globals, argv, pos, true, fallback ? NULL : err);

    *ret_group = group;
    if (!code && argv[*pos] && strcmp(argv[*pos], "--") != 0) {
        const char *word = argv[*pos];
        if (str_eq(group, "server") && str_eq(word, "llm")) { /* an old spelling of `model` */
            *ret_group = group = "model";
            if (!(word = argv[++*pos]))
                return ERR_OK;
        }
        if (str_format(name, sizeof name, "%s %s", group, word))
            cli->cmd = cmd_table_find(name);
        if (!cli->cmd)
            return unknown_command(group, word, err);
        (*pos)++;
        return ERR_OK;
    }
    if (fallback && !cli->wants_help && !args_bool(&cli->args, "help", false)) {
        cli->cmd = fallback;
        cli->args.given_count = given; /* read again with the command's own table */
        *pos = after_group;
        return ERR_OK;
    }
    return fallback ? ERR_OK : code;
}

static enum err_code check_words(const struct cli *cli, struct err *err)
{
    const struct cmd *c = cli->cmd;
    size_t n = cli->args.word_count;

    if (n > c->words_max)
        return err_hint(err,
                        err_set(err, ERR_INVALID, "%s: unexpected argument '%.80s'", c->name,
                                cli->args.words[c->words_max]),
                        "stigmer %s --help%s%s", c->name,
                        c->examples[0].line ? "; for example: " : "",
                        c->examples[0].line ? c->examples[0].line : "");
    if (n < c->words_min)
        return err_hint(err,
                        err_set(err, ERR_INVALID, "%s needs %s: stigmer %s %s", c->name,
                                c->words_min == 1 ? "an argument" : "more arguments", c->name,
                                c->words),
                        "stigmer %s --help", c->name);
    return ERR_OK;
}

/* Which command, and all its options. Returns ERR_OK with cli->cmd NULL when help was wanted. */
static enum err_code read_command(struct cli *cli, char *const argv[], const char **ret_group,
                                  struct err *err)
{
    const struct arg_spec *tables[4] = {cmd_table_global};
    size_t pos = 1;
    enum err_code code = args_parse(&cli->args, tables, argv, &pos, true, err);

    if (code)
        return code;
    if (args_bool(&cli->args, "version", false) && !argv[pos]) {
        cli->cmd = cmd_table_find("version");
        return ERR_OK;
    }
    if (argv[pos] && strcmp(argv[pos], "help") == 0) { /* `help run` is `run --help` */
        cli->wants_help = true;
        pos++;
        if (!argv[pos])
            return ERR_OK;
    }
    if (!argv[pos])
        return ERR_OK;
    if (cmd_table_is_group(argv[pos])) {
        code = find_in_group(cli, argv, &pos, ret_group, err);
        if (code || !cli->cmd)
            return code;
    } else {
        cli->cmd = cmd_table_find(argv[pos]);
        if (!cli->cmd)
            return unknown_command("", argv[pos], err);
        pos++;
    }
    help_output_spec(cli->cmd, cli->output_spec);
    tables[1] = cli->cmd->flags ? cli->cmd->flags : cli->output_spec + 1;
    tables[2] = cli->output_spec;
    return args_parse(&cli->args, tables, argv, &pos, false, err);
}

/* A format that was asked for before the error was found still gets its error object. */
static void guess_format(struct cli *cli, char *const argv[])
{
    for (size_t i = 1; argv[i]; i++) {
        const char *v = NULL;
        if (strcmp(argv[i], "--") == 0)
            return;
        if (str_starts(argv[i], "--output="))
            v = argv[i] + 9;
        else if (str_eq(argv[i], "-o") || str_eq(argv[i], "--output"))
            v = argv[i + 1];
        else if (str_starts(argv[i], "-o"))
            v = argv[i] + 2;
        if (str_eq(v, "json"))
            cli->format = CLI_JSON;
        else if (str_eq(v, "jsonl"))
            cli->format = CLI_JSONL;
    }
}

/* A result that could not be written whole is a failure, whatever the command thinks. */
static int finish(struct cli *cli, int exit_code)
{
    struct err err = {0};

    if (!out_is_complete()) {
        err_set(&err, ERR_INTERNAL, "the result could not be written to standard output");
        err_hint(&err, ERR_INTERNAL, "is the disk full that it goes to?");
        cli->format = CLI_TEXT; /* no error object: it would go the same way */
        if (exit_code == EXIT_OK)
            exit_code = cli_fail(cli, &err);
        else
            (void)cli_fail(cli, &err);
    }
    cli_done(cli);
    return exit_code;
}

int main(int argc, char *argv[])
{
    struct cli cli = {0};
    struct err err = {0};
    const char *group = NULL;
    ssize_t n = readlink("/proc/self/exe", cli.program_buf, sizeof cli.program_buf - 1);
    enum err_code code;
    int exit_code;

    own_standard_fds();
    cli.program = n > 0 ? cli.program_buf : "";
    if (argc < 2) {
        print_help(NULL, NULL);
        return EXIT_USAGE;
    }
    code = read_command(&cli, argv, &group, &err);
    if (!code && (!cli.cmd || cli.wants_help || args_bool(&cli.args, "help", false))) {
        exit_code = print_help(cli.cmd, group);
        return finish(&cli, exit_code);
    }
    if (!code && cli.cmd)
        code = check_words(&cli, &err);
    if (!code)
        code = cli_setup(&cli, &err);
    if (code) {
        guess_format(&cli, argv);
        if (!err.hint[0] && cli.cmd)
            err_hint(&err, code, "stigmer %s --help", cli.cmd->name);
        exit_code = cli_fail(&cli, &err);
    } else {
        exit_code = cli.cmd->run(&cli);
    }
    return finish(&cli, exit_code);
}
