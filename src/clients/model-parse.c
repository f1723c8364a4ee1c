/* Building a turn out of a provider's events, under limits. */
#include <stdarg.h>

#include "base/mem.h"
#include "base/own.h"
#include "base/str.h"
#include "clients/model-impl.h"

void model_parse_init(struct model_parse *p)
{
    *p = (struct model_parse){.fault = MODEL_FAULT_BROKEN};
    buf_init(&p->text, MODEL_ANSWER_MAX);
    buf_init(&p->thinking, MODEL_ANSWER_MAX);
}

void model_parse_done(struct model_parse *p)
{
    for (size_t i = 0; i < p->call_count; i++) {
        free(p->calls[i].id);
        free(p->calls[i].name);
        buf_done(&p->calls[i].args);
    }
    free(p->calls);
    buf_done(&p->text);
    buf_done(&p->thinking);
    json_decref(p->blocks);
    *p = (struct model_parse){0};
}

/* ---- JSON from strangers --------------------------------------------------------------------- */

static void clean_utf8(struct buf *out, const char *p, size_t len)
{
    while (len) {
        size_t ok = str_utf8_check(p, len);

        buf_put(out, p, ok);
        if (ok == len)
            return;
        if (p[ok]) /* a NUL is dropped */
            buf_puts(out, "\xef\xbf\xbd");
        p += ok + 1;
        len -= ok + 1;
    }
}

static int hex4(const char *p, const char *end)
{
    int v = 0;

    if (end - p < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        char c = p[i];

        if (c >= '0' && c <= '9')
            v = v * 16 + (c - '0');
        else if ((c | 32) >= 'a' && (c | 32) <= 'f')
            v = v * 16 + ((c | 32) - 'a' + 10);
        else
            return -1;
    }
    return v;
}

/* Bytes of an escape that are fine as they stand; 0 for a lone surrogate. */
static size_t escape_len(const char *p, const char *end)
{
    int a, b;

    if (end - p < 2 || p[1] != 'u')
        return end - p < 2 ? 1 : 2;
    a = hex4(p + 2, end);
    if (a < 0xd800 || a > 0xdfff)
        return a < 0 ? 2 : 6;
    b = a < 0xdc00 && end - p >= 12 && p[6] == '\\' && p[7] == 'u' ? hex4(p + 8, end) : -1;
    return b >= 0xdc00 && b <= 0xdfff ? 12 : 0;
}

static void clean_escapes(struct buf *out, const char *p, size_t len)
{
    const char *end = p + len;

    while (p < end) {
        const char *slash = memchr(p, '\\', (size_t)(end - p));
        size_t n;

        buf_put(out, p, (size_t)((slash ? slash : end) - p));
        if (!slash)
            return;
        n = escape_len(slash, end);
        if (n)
            buf_put(out, slash, n);
        else
            buf_puts(out, "\\ufffd");
        p = slash + (n ? n : 6);
    }
}

json_t *model_parse_json(const char *data, size_t len)
{
    OWN_BUF struct buf a, b;
    json_t *v = json_loadb(data, len, JSON_ALLOW_NUL, NULL);

    buf_init(&a, 4 * MODEL_EVENT_MAX);
    buf_init(&b, 4 * MODEL_EVENT_MAX);
    if (v || len > MODEL_EVENT_MAX)
        return v;
    clean_utf8(&a, data, len);
    clean_escapes(&b, buf_text(&a), a.len);
    return json_loadb(buf_text(&b), b.len, JSON_ALLOW_NUL, NULL);
}

json_t *model_parse_string(const char *text)
{
    OWN_BUF struct buf b;
    size_t len = text ? strlen(text) : 0;

    buf_init(&b, 3 * len + 16);
    clean_utf8(&b, text ? text : "", len);
    return mem_check(json_stringn(buf_text(&b), b.len));
}

const char *model_parse_field(const json_t *o, const char *name)
{
    const char *s = json_string_value(json_object_get(o, name));

    return s ? s : "";
}

int64_t model_parse_number(const json_t *o, const char *name, int64_t otherwise)
{
    const json_t *v = json_object_get(o, name);
    double d = json_number_value(v);

    if (json_is_integer(v))
        return json_integer_value(v);
    return json_is_real(v) && d >= 0 && d < 1e15 ? (int64_t)d : otherwise;
}

json_t *model_parse_args_object(const char *args_json)
{
    json_t *v;

    if (str_is_empty(args_json))
        return json_object();
    v = json_loads(args_json, 0, NULL);
    if (json_is_object(v))
        return v;
    json_decref(v);
    return json_pack("{s:o}", "invalid_arguments", model_parse_string(args_json));
}

/* ---- what the events say ----------------------------------------------------------------------
 */

void model_parse_fail(struct model_parse *p, enum model_fault fault, int status, const char *fmt,
                      ...)
{
    va_list ap;

    if (p->failed)
        return;
    p->failed = true;
    p->fault = fault;
    p->fault_status = status;
    va_start(ap, fmt);
    vsnprintf(p->why, sizeof p->why, fmt, ap);
    va_end(ap);
}

void model_parse_fail_json(struct model_parse *p, int status, json_t *error)
{
    char why[sizeof p->why];
    enum model_fault f = model_fault_read_json(status, error, why, sizeof why);

    model_parse_fail(p, f, status, "%s", why);
}

static bool room_for(struct model_parse *p, size_t len)
{
    if (p->failed)
        return false;
    p->total += len;
    if (p->total <= MODEL_ANSWER_MAX)
        return true;
    model_parse_fail(p, MODEL_FAULT_TOO_LARGE, 0, "the answer is larger than %zu MiB",
                     MODEL_ANSWER_MAX >> 20);
    return false;
}

/* jansson hands out valid UTF-8; a NUL may still come as an escape. */
static void put_text(struct buf *b, const char *s, size_t len)
{
    const char *end = s + len;

    while (s < end) {
        const char *nul = memchr(s, '\0', (size_t)(end - s));

        buf_put(b, s, (size_t)((nul ? nul : end) - s));
        if (!nul)
            return;
        s = nul + 1;
    }
}

void model_parse_text(struct model_parse *p, const json_t *text)
{
    size_t before = p->text.len;

    if (!json_is_string(text) || !room_for(p, json_string_length(text)))
        return;
    put_text(&p->text, json_string_value(text), json_string_length(text));
    if (p->on_text && p->text.len > before)
        p->on_text(buf_text(&p->text) + before, p->text.len - before, p->arg);
}

void model_parse_thinking(struct model_parse *p, const json_t *text)
{
    if (json_is_string(text) && room_for(p, json_string_length(text)))
        put_text(&p->thinking, json_string_value(text), json_string_length(text));
}

struct model_parse_call *model_parse_call_new(struct model_parse *p, int64_t key)
{
    struct model_parse_call *c;

    if (p->failed)
        return NULL;
    if (p->call_count == MODEL_CALLS_MAX) {
        model_parse_fail(p, MODEL_FAULT_TOO_LARGE, 0, "the answer has more than %d tool calls",
                         MODEL_CALLS_MAX);
        return NULL;
    }
    p->calls = mem_grow(p->calls, p->call_count + 1, sizeof *p->calls);
    c = &p->calls[p->call_count++];
    *c = (struct model_parse_call){.key = key, .id = mem_str(""), .name = mem_str("")};
    buf_init(&c->args, MODEL_ARGS_MAX);
    return c;
}

struct model_parse_call *model_parse_call_at(struct model_parse *p, int64_t key)
{
    for (size_t i = p->call_count; i-- > 0;) {
        if (p->calls[i].key == key)
            return &p->calls[i];
    }
    return model_parse_call_new(p, key);
}

/* The first non-empty value stays: some servers repeat them in every piece. */
static void set_once(char **field, const char *value)
{
    if (**field || str_is_empty(value))
        return;
    free(*field);
    *field = mem_strn(value, strnlen(value, 256));
}

void model_parse_call_name(struct model_parse_call *c, const char *id, const char *name)
{
    set_once(&c->id, id);
    set_once(&c->name, name);
}

void model_parse_call_args(struct model_parse *p, struct model_parse_call *c, const json_t *args)
{
    OWN_FREE char *dumped = NULL;
    const char *s = json_string_value(args);
    size_t len = json_string_length(args);

    if (!args || json_is_null(args))
        return;
    if (!s) {
        dumped = mem_check(json_dumps(args, JSON_COMPACT | JSON_ENCODE_ANY));
        s = dumped;
        len = strlen(s);
    }
    if (!room_for(p, len))
        return;
    if (c->args.len + len > MODEL_ARGS_MAX) {
        model_parse_fail(p, MODEL_FAULT_TOO_LARGE, 0,
                         "the arguments of tool call %s are larger than %zu MiB", c->name,
                         MODEL_ARGS_MAX >> 20);
        return;
    }
    put_text(&c->args, s, len);
}

void model_parse_stop(struct model_parse *p, const char *stop)
{
    if (!str_is_empty(stop))
        (void)str_format(p->stop, sizeof p->stop, "%s", stop);
}

void model_parse_model(struct model_parse *p, const char *model)
{
    if (!p->model[0] && !str_is_empty(model) && strlen(model) < sizeof p->model)
        (void)str_format(p->model, sizeof p->model, "%s", model);
}

/* ---- the turn -------------------------------------------------------------------------------- */

static bool id_is_taken(const struct model_turn *t, size_t before, const char *id)
{
    for (size_t i = 0; i < before; i++) {
        if (str_eq(t->calls[i].call_id, id))
            return true;
    }
    return false;
}

static char *unique_id(const struct model_turn *t, size_t at, const char *said, uint32_t salt)
{
    char id[300];

    if (said[0] && !id_is_taken(t, at, said))
        return mem_str(said);
    if (said[0])
        (void)str_format(id, sizeof id, "%.256s_%zu", said, at);
    else
        (void)str_format(id, sizeof id, "call_%08x_%zu", (unsigned)salt, at);
    for (unsigned n = 2; id_is_taken(t, at, id); n++)
        (void)str_format(id, sizeof id, "call_%08x_%zu_%u", (unsigned)salt, at, n);
    return mem_str(id);
}

static void take_calls(struct model_parse *p, uint32_t salt, struct model_turn *ret)
{
    ret->calls = mem_array(p->call_count, sizeof *ret->calls);
    for (size_t i = 0; i < p->call_count; i++) {
        struct model_parse_call *c = &p->calls[i];

        ret->calls[i].call_id = unique_id(ret, i, c->id, salt);
        ret->calls[i].name = TAKE(c->name);
        if (!c->args.len)
            buf_puts(&c->args, "{}");
        ret->calls[i].args_json = buf_take_text(&c->args);
        ret->call_count = i + 1;
    }
}

void model_parse_take(struct model_parse *p, uint32_t salt, struct model_turn *ret)
{
    *ret = (struct model_turn){.usage = p->usage};
    ret->text = p->text.len ? buf_take_text(&p->text) : mem_str("");
    take_calls(p, salt, ret);
    if (!p->stop[0] || (p->call_count && str_eq(p->stop, "end_turn")))
        model_parse_stop(p, p->call_count ? "tool_use" : "end_turn");
    memcpy(ret->stop, p->stop, sizeof ret->stop);
    memcpy(ret->model, p->model, sizeof ret->model);
    if (p->blocks)
        ret->provider_state = mem_check(json_dumps(p->blocks, JSON_COMPACT));
}
