#include "prog/stigmer/message.h"

#include <unistd.h>

#include "base/str.h"
#include "prog/stigmer/settings.h"

enum err_code message_read(const struct cli *cli, const char *command, size_t max, struct buf *ret,
                           struct err *err)
{
    const char *text = args_str(&cli->args, "message", NULL);
    enum err_code code = ERR_OK;

    if (!text && !isatty(STDIN_FILENO) && cli->no_input)
        text = "-";
    if (!text)
        return err_set(err, ERR_INVALID, "%s needs a message: -m TEXT, -m - or -m @FILE", command);
    if (str_eq(text, "-"))
        code = settings_read_file("-", max, ret, err);
    else if (text[0] == '@')
        code = settings_read_file(text + 1, max, ret, err);
    else
        buf_puts(ret, text);
    if (code)
        return code;
    while (ret->len && ret->data[ret->len - 1] == '\n' && text[0] != '\n')
        ret->data[--ret->len] = '\0'; /* the newline that ends a file */
    if (!ret->len)
        return err_set(err, ERR_INVALID, "the message is empty");
    if (ret->len > max)
        return err_set(err, ERR_INVALID, "the message has %zu bytes; the limit is %zu", ret->len,
                       max);
    if (str_utf8_check(ret->data, ret->len) != ret->len)
        return err_set(err, ERR_INVALID, "the message is not UTF-8 text");
    return ERR_OK;
}
