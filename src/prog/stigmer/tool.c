#include "prog/stigmer/tool.h"

#include "prog/stigmer/progress.h"
#include "prog/stigmer/spawn.h"

#include "base/str.h"

struct answer {
    struct progress progress;
    json_t *result; /* owned */
};

static const char *text_of(const json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));

    return s ? s : "";
}

static void take_line(const char *line, size_t len, void *arg)
{
    struct answer *a = arg;
    json_t *o = json_loadb(line, len, 0, NULL);
    const json_t *p = json_object_get(o, "progress");

    if (json_is_object(p)) {
        progress_tell(&a->progress, text_of(p, "status"),
                      json_integer_value(json_object_get(p, "completed")),
                      json_integer_value(json_object_get(p, "total")));
    } else if (json_is_object(o)) {
        json_decref(a->result);
        a->result = json_incref(o);
    }
    json_decref(o);
}

static enum err_code error_of(const json_t *e, struct err *err)
{
    enum err_code code = err_code_named(text_of(e, "code"));

    err_set(err, code, "%.900s", text_of(e, "message"));
    if (*text_of(e, "hint"))
        err_hint(err, code, "%s", text_of(e, "hint"));
    return code;
}

enum err_code tool_ask(const struct cli *cli, const char *const *args, json_t **ret,
                       struct err *err)
{
    struct answer a = {0};
    const json_t *error;
    enum err_code code;

    progress_init(&a.progress, cli);
    code = spawn_lines(cli, args, take_line, &a, err);
    progress_end(&a.progress);
    error = json_object_get(a.result, "error");
    if (!code && json_is_object(error))
        code = error_of(error, err);
    else if (!code && !a.result)
        code = err_set(err, ERR_INTERNAL, "stigmer-server gave no answer");
    if (code)
        json_decref(a.result);
    else
        *ret = a.result;
    return code;
}
