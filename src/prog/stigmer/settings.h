/* settings.h — the configuration as this invocation sees it: file, environment, options. */
#ifndef PROG_STIGMER_SETTINGS_H
#define PROG_STIGMER_SETTINGS_H

#include "base/buf.h"
#include "base/err.h"
#include "core/config.h"
#include "prog/stigmer/cli.h"

#define SETTINGS_FILE_MAX ((size_t)1 << 20)

/* The text of a file, of at most max bytes. *ret is appended to. */
MUST_CHECK enum err_code settings_read_file(const char *path, size_t max, struct buf *ret,
                                            struct err *err);

/* Check the text of a configuration file and put its values into c. path is for messages. */
MUST_CHECK enum err_code settings_parse(const char *path, const struct buf *text, struct config *c,
                                        struct err *err);

MUST_CHECK enum err_code settings_load_env(struct config *c, struct err *err);

/* File and environment. A missing file says nothing. c is initialised; config_done it always. */
MUST_CHECK enum err_code settings_load(const struct cli *cli, struct config *c, struct err *err);

/* The options of `server start` (--runner, --engine, --listen, --set) as a NULL-ended array of
 * "key=value"; owned by the caller, each text and the array (settings_free). */
char **settings_from_options(const struct cli *cli);
void settings_free(char **sets);

#endif
