#include "prog/stigmer/confirm.h"

#include <stdio.h>
#include <unistd.h>

enum err_code confirm(const struct cli *cli, const char *doing, const char *question,
                      struct err *err)
{
    char answer[16] = "";

    if (args_bool(&cli->args, "yes", false))
        return ERR_OK;
    if (cli->no_input || !isatty(STDIN_FILENO) || !cli->err_is_tty)
        return err_hint(err, err_set(err, ERR_INVALID, "%s would ask: %s", doing, question),
                        "say yes with --yes");
    fprintf(stderr, "%s [y/N] ", question);
    if (!fgets(answer, sizeof answer, stdin) || (answer[0] != 'y' && answer[0] != 'Y'))
        return err_set(err, ERR_CANCELLED, "nothing was removed");
    return ERR_OK;
}
