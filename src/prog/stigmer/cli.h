/* cli.h — one invocation of the command line tool: what was asked, where the home is, how to
 * print. Made by main, handed to every command.
 *
 * Streams: results on stdout; progress, notices and errors on stderr. Errors have one form:
 *
 *   stigmer: error: WHAT failed: WHY
 *   hint: COMMAND OR ACTION
 *   log: PATH
 *
 * and with -o json|jsonl one object on stdout besides. */
#ifndef PROG_STIGMER_CLI_H
#define PROG_STIGMER_CLI_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "core/config.h"
#include "core/paths.h"
#include "prog/stigmer/args.h"
#include "prog/stigmer/cmd-table.h"

enum cli_format { CLI_TEXT, CLI_JSON, CLI_YAML, CLI_JSONL, CLI_NAME };

struct cli {
    const struct cmd *cmd; /* NULL until it is known */
    struct args args;
    struct arg_spec output_spec[2]; /* the row of -o, which differs by command */
    struct paths paths;
    enum cli_format format;
    bool wants_help; /* the word `help` */
    bool quiet;
    int verbose;
    bool no_input;
    bool out_is_tty, err_is_tty;
    bool out_color, err_color;
    int64_t timeout_ms;   /* of --timeout; 0: none given */
    const char *log_path; /* named by the next error; borrowed; NULL: none */
    const char *program;  /* path of this binary, "" when not known */
    char program_buf[PATHS_MAX];
};

/* The way options of this invocation apply: colours, format, home, timeout. */
MUST_CHECK enum err_code cli_setup(struct cli *cli, struct err *err);
void cli_done(struct cli *cli);

/* Print the error, return its exit code. */
int cli_fail(const struct cli *cli, const struct err *err);

/* A usage error of this command: exit 2. */
int cli_usage(const struct cli *cli, const char *fmt, ...) ERR_PRINTF(2, 3);

/* To stderr, a line each. note is dropped by --quiet, warn is not, verbose needs -v. */
void cli_note(const struct cli *cli, const char *fmt, ...) ERR_PRINTF(2, 3);
void cli_warn(const struct cli *cli, const char *fmt, ...) ERR_PRINTF(2, 3);
void cli_verbose(const struct cli *cli, const char *fmt, ...) ERR_PRINTF(2, 3);

/* The n-th word of the command, or NULL. */
const char *cli_word(const struct cli *cli, size_t n);

/* Path of a program of ours (`stigmer-server`) or of a shared file (`examples`). */
MUST_CHECK enum err_code cli_libexec(const struct cli *cli, const char *name, char ret[PATHS_MAX],
                                     struct err *err);

#endif
