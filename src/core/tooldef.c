#include "core/tooldef.h"

#include <jansson.h>
#include <string.h>

#include "base/own.h"
#include "base/str.h"

#define ARGS_MAX ((size_t)8 << 20) /* a whole file may be in them */
#define NAMES_MAX 16
#define WHERE_MAX 128

/* clang-format off */
static const struct tooldef tools[] = {
    {"execute",
     "Run a shell command with /bin/sh -c in the workspace, inside the sandbox. Returns standard output and "
     "standard error in order of arrival, then a line that says how it ended: `exit code N`, `killed by SIGNAL` or "
     "`timed out after N s`. Everything the command started is ended with it, so nothing keeps running in the "
     "background. Long output is cut in the middle; the whole is kept in a file that the result names. There is "
     "usually no network. Prefer read_file, ls, glob and grep to cat, ls, find and grep.",
     "{\"type\":\"object\",\"properties\":{"
     "\"command\":{\"type\":\"string\",\"minLength\":1,\"description\":\"the command line, as typed into a shell\"},"
     "\"timeout_seconds\":{\"type\":\"integer\",\"minimum\":1,\"maximum\":3600,\"default\":120,"
     "\"description\":\"end the command after this many seconds\"},"
     "\"working_dir\":{\"type\":\"string\",\"description\":\"folder to run in, relative to the workspace; default: the workspace\"}},"
     "\"required\":[\"command\"],\"additionalProperties\":false}",
     true, false},
    {"read_file",
     "Read a text file of the workspace. Returns numbered lines (the number and a tab are not part of the file). "
     "Reads `limit` lines from line `offset` (the first line is 0); long lines are split. Read the part you need of a large "
     "file. Binary files are refused with their type and size.",
     "{\"type\":\"object\",\"properties\":{"
     "\"file_path\":{\"type\":\"string\",\"minLength\":1,\"description\":\"relative to the workspace, or absolute below it\"},"
     "\"offset\":{\"type\":\"integer\",\"minimum\":0,\"default\":0,\"description\":\"lines to skip\"},"
     "\"limit\":{\"type\":\"integer\",\"minimum\":1,\"maximum\":100000,\"default\":500,\"description\":\"lines to return\"}},"
     "\"required\":[\"file_path\"],\"additionalProperties\":false}",
     false, false},
    {"write_file",
     "Create a file of the workspace, or replace its whole content. Missing folders are made. The file is replaced in one "
     "step: it never holds half of the content. To change a part of a file use edit_file.",
     "{\"type\":\"object\",\"properties\":{"
     "\"file_path\":{\"type\":\"string\",\"minLength\":1,\"description\":\"relative to the workspace, or absolute below it\"},"
     "\"content\":{\"type\":\"string\",\"description\":\"the whole new content\"}},"
     "\"required\":[\"file_path\",\"content\"],\"additionalProperties\":false}",
     true, false},
    {"edit_file",
     "Replace a piece of text in a file. `old_string` must be in the file exactly once, white space included, without the line "
     "numbers that read_file shows; add surrounding lines until it is unique, or set replace_all. Read the file "
     "first. Returns a short diff.",
     "{\"type\":\"object\",\"properties\":{"
     "\"file_path\":{\"type\":\"string\",\"minLength\":1,\"description\":\"relative to the workspace, or absolute below it\"},"
     "\"old_string\":{\"type\":\"string\",\"minLength\":1,\"description\":\"the exact text to replace\"},"
     "\"new_string\":{\"type\":\"string\",\"description\":\"what to put there\"},"
     "\"replace_all\":{\"type\":\"boolean\",\"default\":false,\"description\":\"replace every occurrence\"}},"
     "\"required\":[\"file_path\",\"old_string\",\"new_string\"],\"additionalProperties\":false}",
     true, false},
    {"ls",
     "List a folder of the workspace: names, kinds and sizes, folders first.",
     "{\"type\":\"object\",\"properties\":{"
     "\"path\":{\"type\":\"string\",\"description\":\"the folder; default: the workspace\"}},"
     "\"required\":[],\"additionalProperties\":false}",
     false, false},
    {"glob",
     "Find files by name pattern, newest first. `*` and `?` match within one name, `**` any number of folders, "
     "`[a-z]` a set, `{a,b}` alternatives. Example: src/**/*.{c,h}",
     "{\"type\":\"object\",\"properties\":{"
     "\"pattern\":{\"type\":\"string\",\"minLength\":1,\"description\":\"relative to path\"},"
     "\"path\":{\"type\":\"string\",\"description\":\"folder to search; default: the workspace\"}},"
     "\"required\":[\"pattern\"],\"additionalProperties\":false}",
     false, false},
    {"grep",
     "Search file contents. The pattern is literal text unless regex is true (POSIX extended syntax). Files that .gitignore "
     "names and binary files are skipped. output_mode `files_with_matches` (default) lists paths, `content` shows "
     "lines as path:number:text, `count` the number of matching lines of each file.",
     "{\"type\":\"object\",\"properties\":{"
     "\"pattern\":{\"type\":\"string\",\"minLength\":1,\"description\":\"what to search for\"},"
     "\"path\":{\"type\":\"string\",\"description\":\"file or folder to search; default: the workspace\"},"
     "\"glob\":{\"type\":\"string\",\"description\":\"only files whose path matches, such as *.py\"},"
     "\"output_mode\":{\"type\":\"string\",\"enum\":[\"files_with_matches\",\"content\",\"count\"],\"default\":\"files_with_matches\"},"
     "\"context\":{\"type\":\"integer\",\"minimum\":0,\"maximum\":50,\"default\":0,\"description\":\"lines around each match, with content\"},"
     "\"regex\":{\"type\":\"boolean\",\"default\":false,\"description\":\"pattern is a POSIX extended regular expression\"}},"
     "\"required\":[\"pattern\"],\"additionalProperties\":false}",
     false, false},
    {"write_todos",
     "Keep the list of steps of a longer task. Give the whole list each time; it replaces the one before. Mark one step "
     "in_progress before you begin it and completed as soon as it is done. Not needed for a task of one or two steps.",
     "{\"type\":\"object\",\"properties\":{\"todos\":{\"type\":\"array\",\"maxItems\":200,\"items\":{\"type\":\"object\",\"properties\":{"
     "\"content\":{\"type\":\"string\",\"minLength\":1,\"description\":\"the step\"},"
     "\"status\":{\"type\":\"string\",\"enum\":[\"pending\",\"in_progress\",\"completed\"]}},"
     "\"required\":[\"content\",\"status\"],\"additionalProperties\":false}}},"
     "\"required\":[\"todos\"],\"additionalProperties\":false}",
     false, true},
};
/* clang-format on */

const struct tooldef *tooldef_all(size_t *ret_count)
{
    *ret_count = sizeof tools / sizeof *tools;
    return tools;
}

const struct tooldef *tooldef_find(const char *name)
{
    for (size_t i = 0; i < sizeof tools / sizeof *tools; i++)
        if (str_eq(tools[i].name, name))
            return &tools[i];
    return NULL;
}

static void own_json(json_t **j)
{
    json_decref(*j);
}
#define OWN_JSON __attribute__((cleanup(own_json)))

static const char *type_name(const json_t *v)
{
    switch (json_typeof(v)) {
    case JSON_OBJECT:
        return "an object";
    case JSON_ARRAY:
        return "a list";
    case JSON_STRING:
        return "a string";
    case JSON_INTEGER:
        return "a whole number";
    case JSON_REAL:
        return "a fraction";
    case JSON_TRUE:
    case JSON_FALSE:
        return "a boolean";
    case JSON_NULL:
    default:
        return "null";
    }
}

static const char *wanted_name(const char *type)
{
    static const struct {
        const char *type, *text;
    } names[] = {{"object", "an object"},       {"array", "a list"},
                 {"string", "a string"},        {"number", "a number"},
                 {"integer", "a whole number"}, {"boolean", "true or false"}};

    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(names[i].type, type) == 0)
            return names[i].text;
    return type;
}

static bool has_type(const json_t *v, const char *type)
{
    if (strcmp(type, "object") == 0)
        return json_is_object(v);
    if (strcmp(type, "array") == 0)
        return json_is_array(v);
    if (strcmp(type, "string") == 0)
        return json_is_string(v);
    if (strcmp(type, "boolean") == 0)
        return json_is_boolean(v);
    if (strcmp(type, "integer") == 0)
        return json_is_integer(v);
    return strcmp(type, "number") == 0 && json_is_number(v);
}

/* "a, b, c" of an array of strings or the keys of an object, cut to fit. */
static const char *list_names(const json_t *of, char *dst, size_t size)
{
    const char *names[NAMES_MAX];
    size_t n = 0, at = 0;

    if (json_is_object(of)) {
        const char *key;
        json_t *value;

        json_object_foreach((json_t *)of, key, value) if (n < NAMES_MAX) names[n++] = key;
    } else {
        for (size_t i = 0; i < json_array_size(of) && n < NAMES_MAX; i++)
            names[n++] = json_string_value(json_array_get(of, i));
    }
    dst[0] = '\0';
    for (size_t i = 0; i < n && at + strlen(names[i]) + 3 < size; i++) {
        (void)str_format(dst + at, size - at, "%s%s", i ? ", " : "", names[i]);
        at += strlen(dst + at);
    }
    return n ? dst : "none";
}

static enum err_code check_value(const json_t *schema, const json_t *v, const char *where,
                                 struct err *err);

/* A slip of spelling, or a short form of a longer name: `path` for `file_path`. */
static const char *nearest_key(const char *word, const json_t *props)
{
    const char *names[NAMES_MAX + 1] = {NULL}, *key, *near;
    size_t n = 0;
    json_t *value;

    json_object_foreach((json_t *)props, key, value) if (n < NAMES_MAX) names[n++] = key;
    near = str_nearest(word, names);
    for (size_t i = 0; !near && i < n; i++)
        if (strlen(word) >= 3 && (strstr(names[i], word) || strstr(word, names[i])))
            near = names[i];
    return near;
}

static enum err_code refuse_key(const char *key, const char *where, const json_t *props,
                                struct err *err)
{
    char accepted[256];
    const char *near = nearest_key(key, props);

    list_names(props, accepted, sizeof accepted);
    if (near)
        return err_set(err, ERR_INVALID,
                       "%sunknown argument '%.60s': did you mean '%s'? accepted: %s", where, key,
                       near, accepted);
    return err_set(err, ERR_INVALID, "%sunknown argument '%.60s'; accepted: %s", where, key,
                   accepted);
}

static enum err_code check_object(const json_t *schema, const json_t *v, const char *where,
                                  struct err *err)
{
    const json_t *props = json_object_get(schema, "properties");
    const json_t *required = json_object_get(schema, "required");
    char at[WHERE_MAX], accepted[256];
    const char *key;
    json_t *value;

    (void)str_format(at, sizeof at, "%s%s", where, *where ? ": " : "");
    if (json_is_false(json_object_get(schema, "additionalProperties")))
        json_object_foreach((json_t *)v, key,
                            value) if (!json_object_get(props, key)) return refuse_key(key, at,
                                                                                       props, err);
    for (size_t i = 0; i < json_array_size(required); i++) {
        key = json_string_value(json_array_get(required, i));
        if (!json_object_get(v, key))
            return err_set(err, ERR_INVALID, "%sthe argument '%s' is missing; required: %s", at,
                           key, list_names(required, accepted, sizeof accepted));
    }
    json_object_foreach((json_t *)v, key, value)
    {
        const json_t *sub = json_object_get(props, key);

        if (!sub)
            continue;
        (void)str_format(at, sizeof at, "%s%s%s", where, *where ? "." : "", key);
        enum err_code code = check_value(sub, value, at, err);
        if (code)
            return code;
    }
    return ERR_OK;
}

static enum err_code check_array(const json_t *schema, const json_t *v, const char *where,
                                 struct err *err)
{
    const json_t *items = json_object_get(schema, "items"),
                 *max = json_object_get(schema, "maxItems");
    char at[WHERE_MAX];

    if (max && (json_int_t)json_array_size(v) > json_integer_value(max))
        return err_set(err, ERR_INVALID, "%s has %zu items, at most %lld are accepted", where,
                       json_array_size(v), (long long)json_integer_value(max));
    for (size_t i = 0; items && i < json_array_size(v); i++) {
        (void)str_format(at, sizeof at, "%.100s[%zu]", where, i);
        enum err_code code = check_value(items, json_array_get(v, i), at, err);
        if (code)
            return code;
    }
    return ERR_OK;
}

static enum err_code check_number(const json_t *schema, const json_t *v, const char *where,
                                  struct err *err)
{
    const json_t *min = json_object_get(schema, "minimum"),
                 *max = json_object_get(schema, "maximum");
    double d = json_number_value(v);

    if ((!min || d >= json_number_value(min)) && (!max || d <= json_number_value(max)))
        return ERR_OK;
    if (min && max)
        return err_set(err, ERR_INVALID, "%s is %.15g; accepted: %.15g to %.15g", where, d,
                       json_number_value(min), json_number_value(max));
    return err_set(err, ERR_INVALID, "%s is %.15g; accepted: %.15g or %s", where, d,
                   json_number_value(min ? min : max), min ? "more" : "less");
}

static enum err_code check_string(const json_t *schema, const json_t *v, const char *where,
                                  struct err *err)
{
    const json_t *choices = json_object_get(schema, "enum");
    char accepted[256];

    if (json_is_integer(json_object_get(schema, "minLength")) && json_string_length(v) == 0)
        return err_set(err, ERR_INVALID, "%s is empty", where);
    if (!choices)
        return ERR_OK;
    for (size_t i = 0; i < json_array_size(choices); i++)
        if (json_equal(json_array_get(choices, i), v))
            return ERR_OK;
    return err_set(err, ERR_INVALID, "%s is '%.60s'; accepted: %s", where, json_string_value(v),
                   list_names(choices, accepted, sizeof accepted));
}

static enum err_code check_value(const json_t *schema, const json_t *v, const char *where,
                                 struct err *err)
{
    const char *type = json_string_value(json_object_get(schema, "type"));

    if (type && !has_type(v, type))
        return err_set(err, ERR_INVALID, "%s must be %s, not %s", *where ? where : "the arguments",
                       wanted_name(type), type_name(v));
    if (json_is_object(v))
        return check_object(schema, v, where, err);
    if (json_is_array(v))
        return check_array(schema, v, where, err);
    if (json_is_number(v))
        return check_number(schema, v, where, err);
    return json_is_string(v) ? check_string(schema, v, where, err) : ERR_OK;
}

enum err_code tooldef_check(const struct tooldef *t, const char *args_json, struct err *err)
{
    size_t len = args_json ? strlen(args_json) : 0;
    json_error_t why;
    OWN_JSON json_t *schema = json_loads(t->schema_json, 0, NULL);
    OWN_JSON json_t *args = NULL;
    enum err_code code;

    if (len > ARGS_MAX)
        return err_set(err, ERR_INVALID,
                       "%s: the arguments have %zu bytes, at most %zu are accepted", t->name, len,
                       ARGS_MAX);
    /* Some models send nothing at all for "no arguments". */
    args = json_loads(len ? args_json : "{}", JSON_REJECT_DUPLICATES, &why);
    if (!args)
        return err_set(err, ERR_INVALID,
                       "%s: the arguments are not valid JSON (line %d, column %d: %s); send one "
                       "JSON object",
                       t->name, why.line, why.column, why.text);
    code = check_value(schema, args, "", err);
    return code ? err_wrap(err, code, "%s", t->name) : ERR_OK;
}
