#include "base/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { SET_MS = 2000 }; /* clocks drift apart by less; what is more was done to one of them */

static int64_t read_ms(clockid_t id)
{
    struct timespec ts;

    clock_gettime(id, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

int64_t clock_mono_ms(void)
{
    return read_ms(CLOCK_MONOTONIC);
}

int64_t clock_wall_ms(void)
{
    return read_ms(CLOCK_REALTIME);
}

struct clock_mark clock_mark_now(void)
{
    return (struct clock_mark){clock_wall_ms(), read_ms(CLOCK_BOOTTIME)};
}

int64_t clock_mark_wall_ms(const struct clock_mark *m)
{
    struct clock_mark now = clock_mark_now();
    int64_t today = now.wall_ms - (now.boot_ms - m->boot_ms);

    return llabs(today - m->wall_ms) < SET_MS ? m->wall_ms : today;
}

void clock_format(int64_t wall_ms, char ret[CLOCK_TEXT])
{
    int64_t ms = wall_ms % 1000;
    time_t s;
    struct tm tm;

    if (ms < 0)
        ms += 1000;
    s = (time_t)((wall_ms - ms) / 1000);
    if (!gmtime_r(&s, &tm))
        memset(&tm, 0, sizeof tm);
    snprintf(ret, CLOCK_TEXT, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", (tm.tm_year + 1900) % 10000,
             (tm.tm_mon + 1) % 100, tm.tm_mday % 100, tm.tm_hour % 100, tm.tm_min % 100,
             tm.tm_sec % 100, (int)ms);
}

/* Digits after the point, as milliseconds; more than three are cut. */
static const char *take_fraction(const char *p, int64_t *ret_ms)
{
    int64_t ms = 0;
    int n = 0;

    for (p++; *p >= '0' && *p <= '9'; p++)
        if (n++ < 3)
            ms = ms * 10 + (*p - '0');
    for (; n < 3; n++)
        ms *= 10;
    *ret_ms = ms;
    return p;
}

enum err_code clock_parse(const char *text, int64_t *ret_wall_ms, struct err *err)
{
    struct tm tm = {0};
    const char *p = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);
    int64_t ms = 0, zone_min = 0;
    int h, m;

    if (p && *p == '.')
        p = take_fraction(p, &ms);
    if (p && (*p == '+' || *p == '-') && sscanf(p + 1, "%2d:%2d", &h, &m) == 2) {
        zone_min = (*p == '-' ? -1 : 1) * (h * 60 + m);
        p += strlen(p) < 6 ? strlen(p) : 6;
    } else if (p && (*p == 'Z' || *p == 'z'))
        p++;
    else
        p = NULL;
    if (!p || *p)
        return err_set(err, ERR_INVALID, "'%.80s' is not a time such as 2026-01-31T12:00:00Z",
                       text);
    *ret_wall_ms = ((int64_t)timegm(&tm) - zone_min * 60) * 1000 + ms;
    return ERR_OK;
}
