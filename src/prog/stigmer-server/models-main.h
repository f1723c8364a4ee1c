/* models-main.h — `stigmer-server --model VERB [NAME]`: list, status, pull and test of the
 * configured provider's models, as JSON lines for the CLI. Progress is {"progress":…}; the last
 * line is the result, or {"error":{code,exit,message,hint}}. */
#ifndef PROG_STIGMER_SERVER_MODELS_MAIN_H
#define PROG_STIGMER_SERVER_MODELS_MAIN_H

#include "core/paths.h"
#include "prog/stigmer-server/settings.h"

/* name: "" is the configured model. */
int models_main(const struct settings_args *args, const struct paths *paths, const char *verb,
                const char *name);

#endif
