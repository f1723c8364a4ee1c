#include "base/log.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/str.h"

static enum log_level level_now = LOG_INFO;
static const char *unit_now = "";
static int fd_now = STDERR_FILENO;
static _Thread_local char request_now[LOG_REQUEST];

static const char *const level_names[] = {"error", "warn", "info", "debug"};
_Static_assert(sizeof level_names / sizeof level_names[0] == LOG_LEVELS, "every level has a name");

struct log_num log_num_make(long long v)
{
    struct log_num n;

    snprintf(n.text, sizeof n.text, "%lld", v);
    return n;
}

void log_set_level(enum log_level level)
{
    level_now = level;
}

void log_set_unit(const char *unit)
{
    unit_now = unit;
}

void log_set_request(const char *id)
{
    if (!id || !str_format(request_now, sizeof request_now, "%s", id))
        request_now[0] = '\0';
}

void log_set_fd(int fd)
{
    fd_now = fd;
}

bool log_is_on(enum log_level level)
{
    return level <= level_now;
}

const char *log_level_name(enum log_level level)
{
    return (unsigned)level < LOG_LEVELS ? level_names[level] : "unknown";
}

enum err_code log_level_parse(const char *text, enum log_level *ret, struct err *err)
{
    for (int i = 0; i < LOG_LEVELS; i++)
        if (str_eq(text, level_names[i])) {
            *ret = (enum log_level)i;
            return ERR_OK;
        }
    return err_set(err, ERR_INVALID, "'%.40s' is not one of error, warn, info, debug", text);
}

/* One line being put together; what does not fit is marked. */
struct line {
    char text[LOG_LINE];
    size_t len;
    bool cut;
};

#define LINE_END "…\n"
#define LINE_ROOM (LOG_LINE - sizeof LINE_END + 1)

static void put(struct line *l, const char *text, size_t len)
{
    if (l->cut || l->len + len > LINE_ROOM) {
        l->cut = true;
        return;
    }
    memcpy(l->text + l->len, text, len);
    l->len += len;
}

static void puts_to(struct line *l, const char *text)
{
    put(l, text, strlen(text));
}

static bool is_plain(const char *s)
{
    if (!*s)
        return false;
    for (; *s; s++)
        if ((unsigned char)*s <= ' ' || *s == '"' || *s == '=' || *s == '\\' ||
            (unsigned char)*s >= 0x7f)
            return false;
    return true;
}

static void put_quoted(struct line *l, const char *s)
{
    static const char hex[] = "0123456789abcdef";
    size_t len = strlen(s), valid = str_utf8_check(s, len);

    puts_to(l, "\"");
    for (size_t i = 0; i < len && !l->cut; i++) {
        unsigned char c = (unsigned char)s[i];

        if (c == '"' || c == '\\')
            put(l, (const char[]){'\\', (char)c}, 2);
        else if (c == '\n')
            puts_to(l, "\\n");
        else if (c < ' ' || c == 0x7f || (c >= 0x80 && i >= valid))
            put(l, (const char[]){'\\', 'x', hex[c >> 4], hex[c & 15]}, 4);
        else
            put(l, s + i, 1);
    }
    puts_to(l, "\"");
}

static void put_pair(struct line *l, const char *key, const char *value)
{
    puts_to(l, " ");
    puts_to(l, key);
    puts_to(l, "=");
    if (is_plain(value))
        puts_to(l, value);
    else
        put_quoted(l, value);
}

static void begin_line(struct line *l, enum log_level level, const char *event)
{
    char at[CLOCK_TEXT];

    l->len = 0;
    l->cut = false;
    clock_format(clock_wall_ms(), at);
    puts_to(l, "at=");
    puts_to(l, at);
    put_pair(l, "level", log_level_name(level));
    if (*unit_now)
        put_pair(l, "unit", unit_now);
    puts_to(l, " msg=");
    put_quoted(l, event);
}

static bool end_line(struct line *l)
{
    if (l->cut) { /* not in the middle of a character */
        while (l->len && ((unsigned char)l->text[l->len - 1] & 0xc0) == 0x80)
            l->len--;
        if (l->len && (unsigned char)l->text[l->len - 1] >= 0xc0)
            l->len--;
        memcpy(l->text + l->len, LINE_END, sizeof LINE_END - 1);
        l->len += sizeof LINE_END - 1;
    } else {
        l->text[l->len++] = '\n';
    }
    return write(fd_now, l->text, l->len) == (ssize_t)l->len;
}

void log_write(enum log_level level, const char *event, const char *const kv[])
{
    static _Atomic unsigned dropped;
    unsigned lost = dropped;
    struct line l;

    if (lost) {
        begin_line(&l, LOG_WARN, "log lines were dropped");
        put_pair(&l, "lines", log_int(lost));
        if (end_line(&l))
            dropped -= lost;
    }
    begin_line(&l, level, event);
    for (; kv[0]; kv += 2) {
        put_pair(&l, kv[0], kv[1] ? kv[1] : "");
        if (!kv[1])
            break; /* an odd list ends here instead of running on */
    }
    if (*request_now)
        put_pair(&l, "req", request_now);
    if (!end_line(&l))
        dropped++;
}
