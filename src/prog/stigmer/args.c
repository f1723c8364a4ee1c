#include "prog/stigmer/args.h"

#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/str.h"

#define NAMES_MAX 64 /* options of one command, the global ones included */

void args_done(struct args *a)
{
    free(a->given);
    free(a->words);
    *a = (struct args){0};
}

static void add_word(struct args *a, const char *word)
{
    a->words = mem_grow(a->words, a->word_count + 1, sizeof *a->words);
    a->words[a->word_count++] = word;
}

static const struct arg_spec *find_long(const struct arg_spec *const tables[], const char *name,
                                        size_t n)
{
    for (; *tables; tables++)
        for (const struct arg_spec *s = *tables; s->name; s++)
            if (strlen(s->name) == n && strncmp(s->name, name, n) == 0)
                return s;
    return NULL;
}

static const struct arg_spec *find_letter(const struct arg_spec *const tables[], char letter)
{
    for (; *tables; tables++)
        for (const struct arg_spec *s = *tables; s->name; s++)
            if (s->letter == letter)
                return s;
    return NULL;
}

static enum err_code refuse_unknown(const struct arg_spec *const tables[], const char *name,
                                    size_t n, struct err *err)
{
    const char *names[NAMES_MAX + 1] = {0};
    const char *near = NULL;
    size_t count = 0;
    char word[65];

    for (; *tables; tables++)
        for (const struct arg_spec *s = *tables; s->name && count < NAMES_MAX; s++)
            names[count++] = s->name;
    if (n < sizeof word) {
        memcpy(word, name, n);
        word[n] = '\0';
        near = str_nearest(word, names);
    }
    if (near)
        return err_set(err, ERR_INVALID, "unknown option '--%.*s', did you mean '--%s'?",
                       (int)(n < 80 ? n : 80), name, near);
    return err_set(err, ERR_INVALID, "unknown option '--%.*s'", (int)(n < 80 ? n : 80), name);
}

static enum err_code check_choice(const struct arg_spec *s, const char *value, struct err *err)
{
    OWN_BUF struct buf list = {0};

    for (size_t i = 0; s->choices[i]; i++) {
        if (str_eq(s->choices[i], value))
            return ERR_OK;
        buf_printf(&list, "%s%s", i ? ", " : "", s->choices[i]);
    }
    return err_set(err, ERR_INVALID, "--%s: '%.80s' is not one of %s", s->name, value,
                   buf_text(&list));
}

static enum err_code add_given(struct args *a, const struct arg_spec *s, const char *value,
                               struct err *err)
{
    bool on;

    if (!s->value && str_to_bool(value, &on, NULL))
        return err_set(err, ERR_INVALID, "--%s takes true or false, not '%.80s'", s->name, value);
    if (s->choices && check_choice(s, value, err))
        return ERR_INVALID;
    if (!s->repeat && s->value && args_has(a, s->name))
        return err_set(err, ERR_INVALID, "--%s is given twice", s->name);
    a->given = mem_grow(a->given, a->given_count + 1, sizeof *a->given);
    a->given[a->given_count++] = (struct arg_given){s, value};
    return ERR_OK;
}

static enum err_code parse_long(struct args *a, const struct arg_spec *const tables[],
                                char *const argv[], size_t *pos, struct err *err)
{
    const char *name = argv[*pos] + 2;
    size_t n = strcspn(name, "=");
    const struct arg_spec *s = find_long(tables, name, n);

    if (!s)
        return refuse_unknown(tables, name, n, err);
    (*pos)++;
    if (name[n] == '=')
        return add_given(a, s, name + n + 1, err);
    if (!s->value)
        return add_given(a, s, "true", err);
    if (!argv[*pos])
        return err_set(err, ERR_INVALID, "--%s needs a value: --%s %s", s->name, s->name, s->value);
    return add_given(a, s, argv[(*pos)++], err);
}

static enum err_code parse_letters(struct args *a, const struct arg_spec *const tables[],
                                   char *const argv[], size_t *pos, struct err *err)
{
    const char *p = argv[(*pos)++] + 1;

    for (; *p; p++) {
        const struct arg_spec *s = find_letter(tables, *p);
        if (!s && (unsigned char)*p > ' ' && (unsigned char)*p < 0x7f)
            return err_set(err, ERR_INVALID, "unknown option '-%c'", *p);
        if (!s)
            return err_set(err, ERR_INVALID, "unknown option '-\\x%02x'", (unsigned char)*p);
        if (!s->value) {
            if (add_given(a, s, "true", err))
                return ERR_INVALID;
            continue;
        }
        if (p[1])
            return add_given(a, s, p + 1 + (p[1] == '='), err);
        if (!argv[*pos])
            return err_set(err, ERR_INVALID, "-%c needs a value: -%c %s", s->letter, s->letter,
                           s->value);
        return add_given(a, s, argv[(*pos)++], err);
    }
    return ERR_OK;
}

enum err_code args_parse(struct args *a, const struct arg_spec *const tables[], char *const argv[],
                         size_t *pos, bool first_word_ends, struct err *err)
{
    while (argv[*pos]) {
        const char *arg = argv[*pos];
        enum err_code code;

        if (strcmp(arg, "--") == 0) {
            if (first_word_ends)
                return ERR_OK;
            for ((*pos)++; argv[*pos]; (*pos)++)
                add_word(a, argv[*pos]);
            return ERR_OK;
        }
        if (arg[0] != '-' || arg[1] == '\0') { /* "-" alone is a word: standard input */
            if (first_word_ends)
                return ERR_OK;
            add_word(a, arg);
            (*pos)++;
            continue;
        }
        code = arg[1] == '-' ? parse_long(a, tables, argv, pos, err)
                             : parse_letters(a, tables, argv, pos, err);
        if (code)
            return code;
    }
    return ERR_OK;
}

size_t args_count(const struct args *a, const char *name)
{
    size_t n = 0;

    for (size_t i = 0; i < a->given_count; i++)
        n += str_eq(a->given[i].spec->name, name);
    return n;
}

bool args_has(const struct args *a, const char *name)
{
    return args_count(a, name) > 0;
}

const char *args_str(const struct args *a, const char *name, const char *fallback)
{
    for (size_t i = a->given_count; i > 0; i--)
        if (str_eq(a->given[i - 1].spec->name, name))
            return a->given[i - 1].value;
    return fallback;
}

bool args_bool(const struct args *a, const char *name, bool fallback)
{
    const char *value = args_str(a, name, NULL);

    return value ? str_eq(value, "true") : fallback;
}

const char *args_nth(const struct args *a, const char *name, size_t n)
{
    for (size_t i = 0; i < a->given_count; i++)
        if (str_eq(a->given[i].spec->name, name) && n-- == 0)
            return a->given[i].value;
    return NULL;
}

enum err_code args_duration(const struct args *a, const char *name, int64_t fallback_ms,
                            int64_t *ret_ms, struct err *err)
{
    const char *value = args_str(a, name, NULL);
    enum err_code code;

    *ret_ms = fallback_ms;
    if (!value)
        return ERR_OK;
    code = str_to_duration_ms(value, ret_ms, err);
    return code ? err_wrap(err, code, "--%s", name) : ERR_OK;
}

enum err_code args_int(const struct args *a, const char *name, int64_t min, int64_t max,
                       int64_t fallback, int64_t *ret, struct err *err)
{
    const char *value = args_str(a, name, NULL);
    enum err_code code;

    *ret = fallback;
    if (!value)
        return ERR_OK;
    code = str_to_int(value, min, max, ret, err);
    return code ? err_wrap(err, code, "--%s", name) : ERR_OK;
}
