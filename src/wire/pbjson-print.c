#include <string.h>

#include "wire/pbjson-text.h"
#include "wire/pbjson.h"

static void put_text(const char *s, size_t len, struct buf *out)
{
    static const char hex[] = "0123456789abcdef";

    buf_putc(out, '"');
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)s[i];
        const char *p = c ? strchr("\"\"\\\\\bb\ff\nn\rr\tt", c) : NULL;
        if (c == '"' || c == '\\') {
            buf_putc(out, '\\');
            buf_putc(out, (char)c);
        } else if (c < 0x20 && p) {
            buf_putc(out, '\\');
            buf_putc(out, p[1]);
        } else if (c < 0x20 || c == 0x7f) {
            buf_puts(out, "\\u00");
            buf_putc(out, hex[c >> 4]);
            buf_putc(out, hex[c & 15]);
        } else {
            buf_putc(out, (char)c);
        }
    }
    buf_putc(out, '"');
}

static void new_line(unsigned indent, unsigned level, struct buf *out)
{
    if (!indent)
        return;
    buf_putc(out, '\n');
    for (unsigned i = 0; i < indent * level; i++)
        buf_putc(out, ' ');
}

static void put_json(const json_t *json, unsigned indent, unsigned level, struct buf *out);

static void put_object(const json_t *json, unsigned indent, unsigned level, struct buf *out)
{
    const char *key;
    json_t *value;
    bool first = true;

    buf_putc(out, '{');
    json_object_foreach((json_t *)json, key, value)
    {
        if (!first)
            buf_puts(out, indent ? "," : ", ");
        first = false;
        new_line(indent, level + 1, out);
        put_text(key, strlen(key), out);
        buf_puts(out, ": ");
        put_json(value, indent, level + 1, out);
    }
    if (!first)
        new_line(indent, level, out);
    buf_putc(out, '}');
}

static void put_array(const json_t *json, unsigned indent, unsigned level, struct buf *out)
{
    size_t n = json_array_size(json);

    buf_putc(out, '[');
    for (size_t i = 0; i < n; i++) {
        if (i)
            buf_puts(out, indent ? "," : ", ");
        new_line(indent, level + 1, out);
        put_json(json_array_get(json, i), indent, level + 1, out);
    }
    if (n)
        new_line(indent, level, out);
    buf_putc(out, ']');
}

static void put_json(const json_t *json, unsigned indent, unsigned level, struct buf *out)
{
    char text[40];

    switch (json_typeof(json)) {
    case JSON_OBJECT:
        put_object(json, indent, level, out);
        break;
    case JSON_ARRAY:
        put_array(json, indent, level, out);
        break;
    case JSON_STRING:
        put_text(json_string_value(json), json_string_length(json), out);
        break;
    case JSON_INTEGER:
        buf_printf(out, "%" JSON_INTEGER_FORMAT, json_integer_value(json));
        break;
    case JSON_REAL:
        pbjson_text_real(json_real_value(json), false, text);
        buf_puts(out, text);
        break;
    case JSON_TRUE:
        buf_puts(out, "true");
        break;
    case JSON_FALSE:
        buf_puts(out, "false");
        break;
    case JSON_NULL:
    default:
        buf_puts(out, "null");
        break;
    }
}

void pbjson_print(const json_t *json, unsigned indent, struct buf *ret)
{
    put_json(json, indent, 0, ret);
}
