#include "wire/toolproto.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"

enum { HEAD = 4, REST = 9 };

static void own_json(json_t **j)
{
    json_decref(*j);
}
#define OWN_JSON __attribute__((cleanup(own_json)))

static void put_le(uint8_t *dst, uint64_t v, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        dst[i] = (uint8_t)(v >> (8 * i));
}

static uint64_t get_le(const uint8_t *src, unsigned bytes)
{
    uint64_t v = 0;

    for (unsigned i = 0; i < bytes; i++)
        v |= (uint64_t)src[i] << (8 * i);
    return v;
}

void toolproto_put(struct buf *out, enum toolproto_kind kind, uint64_t id, const void *body,
                   size_t len)
{
    uint8_t head[HEAD + REST];

    put_le(head, REST + len, HEAD);
    head[HEAD] = (uint8_t)kind;
    put_le(head + HEAD + 1, id, 8);
    buf_put(out, head, sizeof head);
    buf_put(out, body, len);
}

enum err_code toolproto_next(const void *in, size_t len, size_t body_max,
                             struct toolproto_frame *ret, size_t *ret_used, struct err *err)
{
    const uint8_t *p = in;
    uint64_t rest;

    if (len < HEAD) {
        *ret_used = 0;
        return ERR_OK;
    }
    rest = get_le(p, HEAD);
    if (rest < REST || rest - REST > body_max)
        return err_set(err, ERR_CORRUPT, "a frame of %llu bytes", (unsigned long long)rest);
    if (len > HEAD && (p[HEAD] < TOOLPROTO_CALL || p[HEAD] > TOOLPROTO_READY))
        return err_set(err, ERR_CORRUPT, "a frame of unknown kind %u", p[HEAD]);
    if (len < HEAD + rest) {
        *ret_used = 0;
        return ERR_OK;
    }
    *ret = (struct toolproto_frame){.kind = (enum toolproto_kind)p[HEAD],
                                    .id = get_le(p + HEAD + 1, 8),
                                    .body = (const char *)p + HEAD + REST,
                                    .len = (size_t)rest - REST};
    *ret_used = HEAD + (size_t)rest;
    return ERR_OK;
}

char *toolproto_call_make(const char *name, const char *args_json, const char *const env[][2],
                          size_t env_count)
{
    OWN_JSON json_t *o = json_object();
    json_t *args = json_loads(str_is_empty(args_json) ? "{}" : args_json, 0, NULL);
    json_t *vars = json_object();

    json_object_set_new(o, "name", json_string(name));
    json_object_set_new(o, "args", args ? args : json_null());
    for (size_t i = 0; i < env_count; i++)
        json_object_set_new(vars, env[i][0], json_string(env[i][1]));
    json_object_set_new(o, "env", vars);
    return mem_check(json_dumps(o, JSON_COMPACT));
}

void toolproto_call_done(struct toolproto_call *c)
{
    free(c->name);
    free(c->args_json);
    for (size_t i = 0; c->env && c->env[i]; i++)
        free(c->env[i]);
    free(c->env);
    *c = (struct toolproto_call){0};
}

static bool is_env_name(const char *s)
{
    return *s &&
           strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_") ==
               strlen(s) &&
           !(*s >= '0' && *s <= '9');
}

static enum err_code parse_env(const json_t *vars, struct toolproto_call *c, struct err *err)
{
    const char *key;
    json_t *value;
    size_t n = 0;

    if (!json_is_object(vars) || json_object_size(vars) > TOOLPROTO_ENV_MAX)
        return err_set(err, ERR_CORRUPT, "env is not an object of at most %d names",
                       TOOLPROTO_ENV_MAX);
    c->env = mem_array(json_object_size(vars) + 1, sizeof *c->env);
    json_object_foreach((json_t *)vars, key, value)
    {
        size_t size = strlen(key) + json_string_length(value) + 2;

        if (!is_env_name(key) || !json_is_string(value))
            return err_set(err, ERR_CORRUPT, "env holds a bad name or value");
        c->env[n] = mem_new(size);
        (void)str_format(c->env[n++], size, "%s=%s", key, json_string_value(value));
    }
    return ERR_OK;
}

enum err_code toolproto_call_parse(const char *body, size_t len, struct toolproto_call *ret,
                                   struct err *err)
{
    OWN_JSON json_t *o = json_loadb(body, len, JSON_REJECT_DUPLICATES, NULL);
    const char *name = json_string_value(json_object_get(o, "name"));
    const json_t *args = json_object_get(o, "args");
    struct toolproto_call c = {0};
    enum err_code code;

    if (!name || !json_is_object(args))
        return err_set(err, ERR_CORRUPT, "a call without name or arguments");
    code = parse_env(json_object_get(o, "env"), &c, err);
    if (code) {
        toolproto_call_done(&c);
        return code;
    }
    c.name = mem_str(name);
    c.args_json = mem_check(json_dumps(args, JSON_COMPACT));
    *ret = c;
    return ERR_OK;
}

static bool is_alnum(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

bool toolproto_folder_is_valid(const char *folder)
{
    size_t n = strnlen(folder, TOOLPROTO_FOLDER_MAX + 1);

    if (n == 0 || n > TOOLPROTO_FOLDER_MAX || !is_alnum(folder[0]))
        return false;
    for (size_t i = 1; i < n; i++)
        if (!is_alnum(folder[i]) && !strchr("._-", folder[i]))
            return false;
    return true;
}

enum err_code toolproto_open_parse(const char *text, size_t len, uint64_t *ret_serial,
                                   char ret_folder[TOOLPROTO_FOLDER_MAX + 1], unsigned *ret_port,
                                   struct err *err)
{
    char line[TOOLPROTO_DATAGRAM_MAX + 1], *end, *last;
    int64_t port;
    unsigned long long serial;
    const char *p = line;

    if (len >= sizeof line || memchr(text, '\0', len))
        return err_set(err, ERR_CORRUPT, "not a request");
    memcpy(line, text, len);
    line[len] = '\0';
    if (!str_starts(p, "open ") || p[5] < '0' || p[5] > '9')
        return err_set(err, ERR_CORRUPT, "not a request to open");
    serial = strtoull(p + 5, &end, 10);
    last = strrchr(line, ' ');
    if (end - (p + 5) > 19 || *end != ' ' || last <= end ||
        str_to_int(last + 1, 0, 65535, &port, NULL))
        return err_set(err, ERR_CORRUPT, "a request with a bad serial or port");
    *last = '\0';
    if (!toolproto_folder_is_valid(end + 1))
        return err_set(err, ERR_CORRUPT, "a request with a bad folder");
    *ret_port = (unsigned)port;
    *ret_serial = serial;
    memcpy(ret_folder, end + 1, strlen(end + 1) + 1);
    return ERR_OK;
}
