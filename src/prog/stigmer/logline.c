#include "prog/stigmer/logline.h"

#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/own.h"
#include "base/str.h"
#include "wire/containerline.h"

/* ---- time ---------------------------------------------------------------------------------- */

static int two(const char *p)
{
    return p[0] < '0' || p[0] > '9' || p[1] < '0' || p[1] > '9' ? -1
                                                                : (p[0] - '0') * 10 + p[1] - '0';
}

/* Days since 1970-01-01 of a date of the Gregorian calendar: years that begin in March have their
 * leap day last. */
static int64_t days_of(int year, int month, int day)
{
    int y = month <= 2 ? year - 1 : year, m = month <= 2 ? month + 9 : month - 3;

    return (int64_t)y * 365 + y / 4 - y / 100 + y / 400 + (m * 153 + 2) / 5 + day - 1 - 719468;
}

/* "at=2026-01-31T12:00:00.000Z ", the one form that base/log.c writes: millions of lines are read
 * in a moment. */
static bool read_stamp(const char *p, size_t len, int64_t *ret)
{
    int century, year, month, day, hour, minute, second, tens, ones;

    if (len < LOGLINE_STAMP || memcmp(p, "at=", 3) != 0)
        return false;
    p += 3;
    if (p[4] != '-' || p[7] != '-' || p[10] != 'T' || p[13] != ':' || p[16] != ':' ||
        p[19] != '.' || p[23] != 'Z' || p[24] != ' ')
        return false;
    century = two(p);
    year = two(p + 2);
    month = two(p + 5);
    day = two(p + 8);
    hour = two(p + 11);
    minute = two(p + 14);
    second = two(p + 17);
    tens = two(p + 20);
    ones = p[22] - '0';
    if ((century | year | hour | minute | second | tens) < 0 || month < 1 || month > 12 ||
        day < 1 || day > 31 || ones < 0 || ones > 9)
        return false;
    *ret = ((days_of(century * 100 + year, month, day) * 24 + hour) * 60 + minute) * 60000 +
           second * 1000 + tens * 10 + ones;
    return true;
}

void logline_parse(struct logline *l, int64_t last_ms)
{
    static const char key[] = "level=";
    int64_t engine_ns, own_ms;
    const char *p;
    size_t left;
    char letter;

    l->level = LOG_INFO;
    l->lead = containerline_stamp(l->text, l->len, &engine_ns) ? CONTAINERLINE_STAMP : 0;
    l->text += l->lead;
    l->len -= l->lead;
    l->stamped = read_stamp(l->text, l->len, &own_ms);
    l->at_ms = l->lead ? engine_ns / 1000000 : l->stamped ? own_ms : last_ms;
    if (!l->stamped)
        return;
    p = l->text + LOGLINE_STAMP;
    left = l->len - LOGLINE_STAMP;
    if (left < sizeof key || memcmp(p, key, sizeof key - 1) != 0)
        return;
    p += sizeof key - 1;
    letter = (char)(*p | 0x20); /* Temporal's are capitals */
    l->level = letter == 'e'   ? LOG_ERROR
               : letter == 'w' ? LOG_WARN
               : letter == 'd' ? LOG_DEBUG
                               : LOG_INFO;
}

/* ---- fields -------------------------------------------------------------------------------- */

/* One pair at *p: key and value, the value unescaped. False at the end, or when it is no pair. */
static bool next_pair(const char **p, const char *end, struct buf *key, struct buf *value)
{
    const char *s = *p, *equal;

    buf_clear(key);
    buf_clear(value);
    while (s < end && *s == ' ')
        s++;
    equal = memchr(s, '=', (size_t)(end - s));
    if (!equal || equal == s || memchr(s, ' ', (size_t)(equal - s)))
        return false;
    buf_put(key, s, (size_t)(equal - s));
    s = equal + 1;
    if (s < end && *s == '"') {
        for (s++; s < end && *s != '"'; s++) {
            if (*s == '\\' && s + 1 < end) {
                s++;
                buf_putc(value, *s == 'n' ? '\n' : *s);
            } else {
                buf_putc(value, *s);
            }
        }
        s += s < end;
    } else {
        for (; s < end && *s != ' '; s++)
            buf_putc(value, *s);
    }
    *p = s;
    return true;
}

bool logline_get(const struct logline *l, const char *key, struct buf *ret)
{
    OWN_BUF struct buf k = {0};
    const char *p = l->text, *end = l->text + l->len;

    while (l->stamped && next_pair(&p, end, &k, ret))
        if (str_eq(buf_text(&k), key))
            return true;
    return false;
}

bool logline_has(const struct logline *l, const char *key, const char *value)
{
    OWN_BUF struct buf v = {0};

    return memmem(l->text, l->len, value, strlen(value)) && logline_get(l, key, &v) &&
           str_eq(buf_text(&v), value);
}

/* Bytes that are no text become U+FFFD. */
static json_t *text_json(const char *text, size_t len)
{
    OWN_BUF struct buf safe = {0};

    buf_put_text(&safe, text, len);
    return json_stringn_nocheck(buf_text(&safe), safe.len);
}

json_t *logline_json(const struct logline *l)
{
    OWN_BUF struct buf k = {0}, v = {0};
    const char *p = l->text, *end = l->text + l->len;
    json_t *o = json_object(), *fields = json_object(), *event = NULL;
    char at[CLOCK_TEXT];

    if (l->at_ms)
        clock_format(l->at_ms, at);
    while (l->stamped && next_pair(&p, end, &k, &v)) {
        const char *key = buf_text(&k);

        if (str_eq(key, "msg") && !event)
            event = text_json(buf_text(&v), v.len);
        else if (!str_eq(key, "at") && !str_eq(key, "level") && str_utf8_check(key, k.len) == k.len)
            json_object_set_new(fields, key, text_json(buf_text(&v), v.len));
    }
    json_object_set_new(o, "at", l->at_ms ? json_string(at) : json_null());
    json_object_set_new(o, "component", json_string(l->component));
    json_object_set_new(o, "level", json_string(log_level_name(l->level)));
    json_object_set_new(o, "event", event ? event : json_string(""));
    json_object_set_new(o, "fields", fields);
    json_object_set_new(o, "raw", text_json(l->text, l->len));
    return o;
}
