#include "base/log.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/str.h"

static enum log_level level_now = LOG_INFO;
static const char *unit_now = "";
static int fd_now = STDERR_FILENO;

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

static void put_quoted(struct buf *b, const char *s)
{
    size_t len = strlen(s), valid = str_utf8_check(s, len);

    buf_putc(b, '"');
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)s[i];
        if (c == '"' || c == '\\')
            buf_printf(b, "\\%c", c);
        else if (c == '\n')
            buf_puts(b, "\\n");
        else if (c < ' ' || c == 0x7f || (c >= 0x80 && i >= valid))
            buf_printf(b, "\\x%02x", c);
        else
            buf_putc(b, (char)c);
    }
    buf_putc(b, '"');
}

void log_write(enum log_level level, const char *event, const char *const kv[])
{
    OWN_BUF struct buf b = {0};
    char at[CLOCK_TEXT];
    ssize_t n;

    clock_format(clock_wall_ms(), at);
    buf_printf(&b, "at=%s level=%s", at, log_level_name(level));
    if (*unit_now)
        buf_printf(&b, " unit=%s", unit_now);
    buf_puts(&b, " msg=");
    put_quoted(&b, event);
    for (; kv[0]; kv += 2) {
        const char *value = kv[1] ? kv[1] : "";
        buf_printf(&b, " %s=", kv[0]);
        if (is_plain(value))
            buf_puts(&b, value);
        else
            put_quoted(&b, value);
        if (!kv[1])
            break; /* an odd list ends here instead of running on */
    }
    buf_putc(&b, '\n');
    n = write(fd_now, b.data, b.len);
    (void)n; /* nowhere left to say that logging fails */
}
