/* Writing and reading cassettes. */
#include "clients/model-cassette.h"

#include "base/buf.h"
#include "base/mem.h"
#include "base/own.h"
#include "base/str.h"

#define SCHEMA "stigmer.cassette/v1"

struct model_cassette {
    json_t *line;   /* owned */
    json_t *chunks; /* borrowed from line */
    size_t bytes;   /* about what the chunks take when written */
};

const char *const model_cassette_headers[] = {"content-type", "retry-after", "retry-after-ms",
                                              NULL};

const char *model_cassette_header(void)
{
    return "{\"schema\":\"" SCHEMA "\"}";
}

uint64_t model_cassette_hash(const void *data, size_t len)
{
    const unsigned char *p = data;
    uint64_t h = 0xcbf29ce484222325u;

    for (size_t i = 0; i < len; i++)
        h = (h ^ p[i]) * 0x100000001b3u;
    return h;
}

/* ---- reading --------------------------------------------------------------------------------- */

/* The next line that is not blank; NULL at the end. */
static const char *next_line(const char **at, const char *end, size_t *ret_len)
{
    while (*at < end) {
        const char *line = *at, *lf = memchr(line, '\n', (size_t)(end - line));
        const char *stop = lf ? lf : end;

        *at = lf ? lf + 1 : end;
        while (line < stop && (*line == ' ' || *line == '\r' || *line == '\t'))
            line++;
        if (line < stop) {
            *ret_len = (size_t)(stop - line);
            return line;
        }
    }
    return NULL;
}

static enum err_code check_header(const char *line, size_t len, struct err *err)
{
    json_t *v = line ? json_loadb(line, len, 0, NULL) : NULL;
    bool ok = str_eq(json_string_value(json_object_get(v, "schema")), SCHEMA);

    json_decref(v);
    if (ok)
        return ERR_OK;
    return err_set(err, ERR_CORRUPT, "this is no cassette: its first line is not %s",
                   model_cassette_header());
}

enum err_code model_cassette_find(const char *text, size_t len, unsigned n, json_t **ret,
                                  struct err *err)
{
    const char *at = text, *end = text + len, *line;
    size_t line_len = 0;
    unsigned have = 0;
    json_t *v;

    if (len > MODEL_CASSETTE_MAX)
        return err_set(err, ERR_LIMIT, "the cassette is larger than %zu MiB",
                       MODEL_CASSETTE_MAX >> 20);
    line = next_line(&at, end, &line_len);
    if (check_header(line, line_len, err) != ERR_OK)
        return ERR_CORRUPT;
    while ((line = next_line(&at, end, &line_len)) && have < n)
        have++;
    if (!line)
        return err_set(err, ERR_NOT_FOUND,
                       "the recording has %u model calls and this run makes call number %u", have,
                       n + 1);
    if (line_len > MODEL_CASSETTE_LINE_MAX)
        return err_set(err, ERR_LIMIT, "call number %u of the cassette is larger than %zu MiB",
                       n + 1, MODEL_CASSETTE_LINE_MAX >> 20);
    v = json_loadb(line, line_len, JSON_ALLOW_NUL, NULL);
    if (!json_is_object(v) || !json_is_array(json_object_get(v, "chunks"))) {
        json_decref(v);
        return err_set(err, ERR_CORRUPT, "call number %u of the cassette is no recorded exchange",
                       n + 1);
    }
    if (json_is_true(json_object_get(v, "too_large"))) {
        json_decref(v);
        return err_set(err, ERR_NOT_FOUND,
                       "call number %u was too large to record (more than %zu MiB)", n + 1,
                       MODEL_CASSETTE_LINE_MAX >> 20);
    }
    *ret = v;
    return ERR_OK;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

char *model_cassette_bytes(const json_t *chunk, size_t *ret_len)
{
    const json_t *hex = json_object_get(chunk, "hex");
    const char *s = json_string_value(hex);
    size_t n = json_string_length(hex) / 2;
    char *out;

    if (json_is_string(chunk)) {
        *ret_len = json_string_length(chunk);
        return mem_strn(json_string_value(chunk), *ret_len);
    }
    if (!s)
        return NULL;
    out = mem_strn("", 0);
    out = mem_grow(out, n + 1, 1);
    for (size_t i = 0; i < n; i++) {
        int a = hex_digit(s[2 * i]), b = hex_digit(s[2 * i + 1]);

        out[i] = (char)((a < 0 ? 0 : a) * 16 + (b < 0 ? 0 : b));
    }
    out[n] = '\0';
    *ret_len = n;
    return out;
}

/* ---- writing --------------------------------------------------------------------------------- */

struct model_cassette *model_cassette_new(const char *provider, const char *model, const char *body,
                                          size_t len, size_t messages)
{
    struct model_cassette *c = mem_new(sizeof *c);
    char hash[20];

    (void)str_format(hash, sizeof hash, "%016llx",
                     (unsigned long long)model_cassette_hash(body, len));
    c->line = mem_check(json_pack("{s:s, s:{s:s*, s:I, s:I, s:s}, s:i, s:{}, s:[]}", "provider",
                                  provider, "request", "model", model, "bytes", (json_int_t)len,
                                  "messages", (json_int_t)messages, "fnv1a64", hash, "status", 0,
                                  "headers", "chunks"));
    c->chunks = json_object_get(c->line, "chunks");
    return c;
}

void model_cassette_free(struct model_cassette *c)
{
    if (!c)
        return;
    json_decref(c->line);
    free(c);
}

void model_cassette_head(struct model_cassette *c, int status)
{
    json_object_set_new(c->line, "status", json_integer(status));
}

void model_cassette_keep(struct model_cassette *c, const char *name, const char *value)
{
    json_t *s = value && strlen(value) <= 256 ? json_string(value) : NULL;

    if (s)
        json_object_set_new(json_object_get(c->line, "headers"), name, s);
}

static json_t *hex_of(const unsigned char *p, size_t len)
{
    OWN_FREE char *text = mem_array(2 * len + 1, 1);

    str_hex(p, len, text);
    return json_pack("{s:s}", "hex", text);
}

/* What a string takes when written as JSON, with its quotes. */
static size_t written_len(const unsigned char *p, size_t len)
{
    size_t n = 3;

    for (size_t i = 0; i < len; i++)
        n += p[i] < ' '                    ? (p[i] == '\n' || p[i] == '\r' || p[i] == '\t' ? 2 : 6)
             : p[i] == '"' || p[i] == '\\' ? 2
                                           : 1;
    return n;
}

void model_cassette_chunk(struct model_cassette *c, const void *data, size_t len)
{
    bool is_text = str_utf8_check(data, len) == len;

    if (!c->chunks)
        return;
    c->bytes += is_text ? written_len(data, len) : 2 * len + 16;
    if (c->bytes > MODEL_CASSETTE_LINE_MAX - 4096) {
        json_object_set_new(c->line, "chunks", json_array());
        json_object_set_new(c->line, "too_large", json_true());
        c->chunks = NULL;
        return;
    }
    json_array_append_new(c->chunks, is_text ? json_stringn(data, len) : hex_of(data, len));
}

void model_cassette_failure(struct model_cassette *c, const char *name)
{
    json_object_set_new(c->line, "failure", json_string(name));
}

char *model_cassette_line(struct model_cassette *c)
{
    return mem_check(json_dumps(c->line, JSON_COMPACT));
}
