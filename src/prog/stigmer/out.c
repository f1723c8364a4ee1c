#include "prog/stigmer/out.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/str.h"

/* C1 controls are two bytes in UTF-8 (c2 80 – c2 9f) and drive some terminals as ESC does. */
static bool is_c1(const unsigned char *p, size_t left)
{
    return left > 1 && p[0] == 0xc2 && p[1] >= 0x80 && p[1] <= 0x9f;
}

void out_text(struct buf *b, const char *text, size_t len, bool for_terminal)
{
    const unsigned char *p = (const unsigned char *)text;
    size_t i = 0;

    if (!for_terminal) {
        buf_put(b, text, len);
        return;
    }
    while (i < len) {
        size_t valid = str_utf8_check(p + i, len - i), end = i + valid;
        for (; i < end; i++) {
            if ((p[i] < ' ' && p[i] != '\n' && p[i] != '\t') || p[i] == 0x7f)
                buf_printf(b, "\\x%02x", p[i]);
            else if (is_c1(p + i, end - i))
                buf_printf(b, "\\x%02x", p[++i]);
            else
                buf_putc(b, (char)p[i]);
        }
        if (i < len)
            buf_printf(b, "\\x%02x", p[i++]);
    }
}

bool out_flush(int fd, struct buf *b)
{
    size_t at = 0;
    bool ok = true;

    while (at < b->len) {
        ssize_t n = write(fd, b->data + at, b->len - at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            ok = false;
            break;
        }
        at += (size_t)n;
    }
    if (!ok && fd == STDOUT_FILENO) { /* what failed is kept by stdio, for out_is_complete */
        (void)fwrite(b->data + at, 1, b->len - at, stdout);
        (void)fflush(stdout);
    }
    buf_clear(b);
    return ok;
}

bool out_is_complete(void)
{
    struct pollfd reader = {.fd = STDOUT_FILENO};

    if (!fflush(stdout) && !ferror(stdout))
        return true;
    return poll(&reader, 1, 0) > 0 && (reader.revents & (POLLERR | POLLHUP));
}

void out_table_row(struct out_table *t, const char *const cells[])
{
    if (!t->columns)
        while (cells[t->columns])
            t->columns++;
    t->cells = mem_grow(t->cells, t->count + t->columns, sizeof *t->cells);
    for (size_t i = 0; i < t->columns; i++)
        t->cells[t->count++] = mem_str(*cells ? *cells++ : "");
}

/* Characters, not bytes: continuation bytes take no room. */
static size_t width_of(const char *s)
{
    size_t n = 0;

    for (; *s; s++)
        n += ((unsigned char)*s & 0xc0) != 0x80;
    return n;
}

void out_table_done(struct out_table *t, struct buf *b, bool for_terminal)
{
    size_t *width = mem_array(t->columns, sizeof *width);

    for (size_t i = 0; i < t->count; i++) {
        OWN_BUF struct buf cell = {0};
        size_t w;
        for (char *c = t->cells[i]; *c; c++) /* a cell is one line */
            if (*c == '\n' || *c == '\t')
                *c = ' ';
        out_text(&cell, t->cells[i], strlen(t->cells[i]), for_terminal);
        free(t->cells[i]);
        t->cells[i] = buf_take_text(&cell);
        w = width_of(t->cells[i]);
        if (w > width[i % t->columns])
            width[i % t->columns] = w;
    }
    for (size_t i = 0; i < t->count; i++) {
        bool last = i % t->columns == t->columns - 1;
        buf_puts(b, t->cells[i]);
        for (size_t w = width_of(t->cells[i]); !last && w < width[i % t->columns] + 2; w++)
            buf_putc(b, ' ');
        while (last && b->len && b->data[b->len - 1] == ' ')
            b->len--;
        if (last)
            buf_putc(b, '\n');
        free(t->cells[i]);
    }
    free(width);
    free(t->cells);
    *t = (struct out_table){0};
}

/* ---- YAML -------------------------------------------------------------------------------- */

static bool is_plain_yaml(const char *s)
{
    static const char *const words[] = {"true", "false", "null", "yes",   "no",   "on",   "off",
                                        "y",    "n",     "True", "False", "Null", "TRUE", "FALSE",
                                        "NULL", "Yes",   "No",   "On",    "Off",  "YES",  "NO",
                                        "ON",   "OFF",   "Y",    "N",     "~",    NULL};

    if (!*s || strchr(" -?:,[]{}#&*!|>'\"%@`0123456789+.~=", *s) || s[strlen(s) - 1] == ' ' ||
        s[strlen(s) - 1] == ':' || strstr(s, ": ") || strstr(s, " #"))
        return false;
    for (size_t i = 0; words[i]; i++)
        if (str_eq(words[i], s))
            return false;
    for (; *s; s++)
        if ((unsigned char)*s < ' ' || *s == 0x7f)
            return false;
    return true;
}

static void yaml_scalar(struct buf *b, const json_t *v)
{
    char *text;

    if (json_is_string(v) && is_plain_yaml(json_string_value(v))) {
        buf_puts(b, json_string_value(v));
        return;
    }
    text = json_dumps(v, JSON_ENCODE_ANY | JSON_COMPACT); /* a JSON scalar is a YAML scalar */
    buf_puts(b, text ? text : "null");
    free(text);
}

static void indent(struct buf *b, int depth)
{
    for (int i = 0; i < depth; i++)
        buf_puts(b, "  ");
}

/* A text of several lines as a literal block; false when it cannot be one. */
static bool yaml_block(struct buf *b, const json_t *v, int depth)
{
    const char *s = json_string_value(v);
    size_t n = s ? strlen(s) : 0;

    if (!s || !strchr(s, '\n') || s[0] == ' ' || s[0] == '\n' || strchr(s, '\r') ||
        strchr(s, '\t') || (n > 1 && s[n - 1] == '\n' && s[n - 2] == '\n'))
        return false;
    for (const char *p = s; *p; p++)
        if ((unsigned char)*p < ' ' && *p != '\n')
            return false;
    buf_puts(b, s[n - 1] == '\n' ? "|\n" : "|-\n");
    while (*s) {
        size_t len = strcspn(s, "\n");
        if (len)
            indent(b, depth);
        buf_put(b, s, len);
        buf_putc(b, '\n');
        s += len + (s[len] == '\n');
    }
    return true;
}

static void yaml_value(struct buf *b, const json_t *v, int depth, bool inline_first);

static bool is_nested(const json_t *v)
{
    return (json_is_object(v) && json_object_size(v)) || (json_is_array(v) && json_array_size(v));
}

static void yaml_object(struct buf *b, const json_t *v, int depth, bool inline_first)
{
    const char *name;
    json_t *item;

    json_object_foreach((json_t *)(uintptr_t)v, name, item)
    {
        json_t *key = json_string(name);
        if (!inline_first)
            indent(b, depth);
        inline_first = false;
        yaml_scalar(b, key);
        json_decref(key);
        buf_putc(b, ':');
        if (is_nested(item)) {
            buf_putc(b, '\n');
            yaml_value(b, item, depth + 1, false);
        } else {
            buf_putc(b, ' ');
            if (!yaml_block(b, item, depth + 1)) {
                yaml_scalar(b, item);
                buf_putc(b, '\n');
            }
        }
    }
}

static void yaml_value(struct buf *b, const json_t *v, int depth, bool inline_first)
{
    size_t i;
    json_t *item;

    if (depth > OUT_DEPTH || !is_nested(v)) {
        if (!inline_first)
            indent(b, depth);
        yaml_scalar(b, v);
        buf_putc(b, '\n');
        return;
    }
    if (json_is_object(v)) {
        yaml_object(b, v, depth, inline_first);
        return;
    }
    json_array_foreach(v, i, item)
    {
        if (!inline_first || i)
            indent(b, depth);
        buf_puts(b, "- ");
        yaml_value(b, item, depth + 1, true);
    }
}

void out_yaml(struct buf *b, const json_t *doc)
{
    yaml_value(b, doc, 0, false);
}

void out_document(const struct cli *cli, const json_t *doc)
{
    OWN_BUF struct buf b = {0};

    if (cli->format == CLI_YAML) {
        out_yaml(&b, doc);
    } else {
        char *text = json_dumps(doc, cli->format == CLI_JSONL ? JSON_COMPACT : JSON_INDENT(2));
        buf_puts(&b, text ? text : "null");
        buf_putc(&b, '\n');
        free(text);
    }
    (void)out_flush(STDOUT_FILENO, &b);
}

void out_age(int64_t from_ms, int64_t now_ms, char ret[24])
{
    int64_t s = (now_ms - from_ms) / 1000;

    if (s < 0)
        s = 0;
    if (s < 120)
        snprintf(ret, 24, "%" PRId64 "s", s);
    else if (s < 7200)
        snprintf(ret, 24, "%" PRId64 "m", s / 60);
    else if (s < 172800)
        snprintf(ret, 24, "%" PRId64 "h", s / 3600);
    else
        snprintf(ret, 24, "%" PRId64 "d", s / 86400);
}

void out_size(int64_t bytes, char ret[32])
{
    static const char *const units[] = {"kB", "MB", "GB", "TB"};
    double n = (double)bytes / 1000;
    size_t unit = 0;

    if (bytes < 1000) {
        (void)snprintf(ret, 32, "%lld B", (long long)bytes);
        return;
    }
    for (; n >= 1000 && unit < 3; unit++)
        n /= 1000;
    (void)snprintf(ret, 32, "%.1f %s", n, units[unit]);
}

const char *out_color(bool on, char which)
{
    if (!on)
        return "";
    switch (which) {
    case 'r':
        return "\033[31m";
    case 'g':
        return "\033[32m";
    case 'y':
        return "\033[33m";
    case 'd':
        return "\033[2m";
    case 'b':
        return "\033[1m";
    default:
        return "\033[0m";
    }
}
