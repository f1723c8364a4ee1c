/* message.h — the text that -m gives: the text itself, - for standard input, @FILE. */
#ifndef PROG_STIGMER_MESSAGE_H
#define PROG_STIGMER_MESSAGE_H

#include "base/buf.h"
#include "base/err.h"
#include "prog/stigmer/cli.h"

/* Not empty, UTF-8, at most max bytes; the newline that ends a file or a pipe is left out. Without
 * -m it is read from a pipe when nothing may be asked. command: for the error. */
MUST_CHECK enum err_code message_read(const struct cli *cli, const char *command, size_t max,
                                      struct buf *ret, struct err *err);

#endif
