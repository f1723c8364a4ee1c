/* args.h — the command line: GNU long and short options from tables, and words.
 *
 *   --name VALUE  --name=VALUE  -n VALUE  -nVALUE  -abc  --bool  --bool=false  -- WORDS…
 *
 * Values are borrowed from argv. Errors are ERR_INVALID with the nearest option's name; a value
 * is never checked here beyond being there (and true or false for a switch, one of the choices
 * where the row lists them). */
#ifndef PROG_STIGMER_ARGS_H
#define PROG_STIGMER_ARGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct arg_spec {
    const char *name;  /* "wait-timeout"; NULL ends a table */
    char letter;       /* 'f', or 0 */
    const char *value; /* how help calls the value ("DUR"); NULL: a switch */
    const char *help;
    const char *env;            /* variable with the same meaning, for help; or NULL */
    const char *const *choices; /* NULL-ended; NULL: anything */
    bool repeat;                /* may be given more than once */
};

struct arg_given {
    const struct arg_spec *spec;
    const char *value; /* borrowed; "true" or "false" for a switch */
};

struct args {
    struct arg_given *given; /* owned */
    size_t given_count;
    const char **words; /* owned array of borrowed text */
    size_t word_count;
};

void args_done(struct args *a);

/* Parse argv[*pos] on, adding to a. tables: NULL-ended list of tables to look options up in.
 * first_word_ends: stop in front of the first word, *pos tells where; "--" counts as an end too. */
MUST_CHECK enum err_code args_parse(struct args *a, const struct arg_spec *const tables[],
                                    char *const argv[], size_t *pos, bool first_word_ends,
                                    struct err *err);

bool args_has(const struct args *a, const char *name);
const char *args_str(const struct args *a, const char *name, const char *fallback); /* the last */
bool args_bool(const struct args *a, const char *name, bool fallback);
size_t args_count(const struct args *a, const char *name);
const char *args_nth(const struct args *a, const char *name, size_t n); /* NULL past the end */

/* "30s"; a plain number is refused, as its unit is not said. */
MUST_CHECK enum err_code args_duration(const struct args *a, const char *name, int64_t fallback_ms,
                                       int64_t *ret_ms, struct err *err);
MUST_CHECK enum err_code args_int(const struct args *a, const char *name, int64_t min, int64_t max,
                                  int64_t fallback, int64_t *ret, struct err *err);

#endif
