#include "wire/pbjson-text.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"

enum pbjson_wkt pbjson_text_wkt(const ProtobufCMessageDescriptor *d)
{
    static const struct {
        const char *name;
        enum pbjson_wkt wkt;
    } rows[] = {
        {"google.protobuf.Timestamp", PBJSON_TIMESTAMP},
        {"google.protobuf.Duration", PBJSON_DURATION},
        {"google.protobuf.Struct", PBJSON_STRUCT},
        {"google.protobuf.Value", PBJSON_VALUE},
        {"google.protobuf.ListValue", PBJSON_LIST},
        {"google.protobuf.Any", PBJSON_ANY},
    };

    if (strncmp(d->name, "google.protobuf.", 16) != 0)
        return PBJSON_PLAIN;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (strcmp(d->name, rows[i].name) == 0)
            return rows[i].wkt;
    return PBJSON_PLAIN;
}

/* protobuf-c keeps no map_entry option; a nested "…Entry" of key = 1 and value = 2 is one. */
bool pbjson_text_is_map(const ProtobufCFieldDescriptor *f)
{
    const ProtobufCMessageDescriptor *d = f->descriptor;
    size_t n;

    if (f->label != PROTOBUF_C_LABEL_REPEATED || f->type != PROTOBUF_C_TYPE_MESSAGE ||
        d->n_fields != 2)
        return false;
    n = strlen(d->short_name);
    return n > 5 && strcmp(d->short_name + n - 5, "Entry") == 0 && d->fields[0].id == 1 &&
           strcmp(d->fields[0].name, "key") == 0 && d->fields[1].id == 2 &&
           strcmp(d->fields[1].name, "value") == 0;
}

size_t pbjson_text_size(ProtobufCType type)
{
    switch (type) {
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_DOUBLE:
        return 8;
    case PROTOBUF_C_TYPE_BOOL:
        return sizeof(protobuf_c_boolean);
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_MESSAGE:
        return sizeof(void *);
    case PROTOBUF_C_TYPE_BYTES:
        return sizeof(ProtobufCBinaryData);
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
    case PROTOBUF_C_TYPE_FLOAT:
    case PROTOBUF_C_TYPE_ENUM:
    default:
        return 4;
    }
}

void pbjson_text_camel(const char *name, char ret[PBJSON_NAME])
{
    size_t n = 0;
    bool up = false;

    for (; *name && n + 1 < PBJSON_NAME; name++) {
        if (*name == '_') {
            up = true;
            continue;
        }
        ret[n++] = up ? (char)toupper((unsigned char)*name) : *name;
        up = false;
    }
    ret[n] = '\0';
}

void pbjson_text_real(double v, bool is_float, char ret[40])
{
    int most = is_float ? 9 : 17;

    for (int digits = is_float ? 6 : 15; digits <= most; digits++) {
        (void)snprintf(ret, 40, "%.*g", digits, v);
        if (is_float ? strtof(ret, NULL) == (float)v : strtod(ret, NULL) == v)
            break;
    }
    if (!strpbrk(ret, ".e"))
        (void)memcpy(ret + strlen(ret), ".0", 3);
}

/* ---- times: days after Howard Hinnant's "chrono-compatible low-level date algorithms" ---- */

#define SECONDS_MIN (-62135596800LL) /* 0001-01-01T00:00:00Z */
#define SECONDS_MAX 253402300799LL   /* 9999-12-31T23:59:59Z */
#define DURATION_MAX 315576000000LL

static int64_t days_of(int64_t y, unsigned m, unsigned d)
{
    int64_t era;
    unsigned yoe, doy;

    y -= m <= 2;
    era = (y >= 0 ? y : y - 399) / 400;
    yoe = (unsigned)(y - era * 400);
    doy = (153 * (m > 2 ? m - 3 : m + 9) + 2) / 5 + d - 1;
    return era * 146097 + (int64_t)(yoe * 365 + yoe / 4 - yoe / 100 + doy) - 719468;
}

static void date_of(int64_t days, int *y, unsigned *m, unsigned *d)
{
    int64_t z = days + 719468, era = (z >= 0 ? z : z - 146096) / 146097;
    unsigned doe = (unsigned)(z - era * 146097);
    unsigned yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    unsigned doy = doe - (365 * yoe + yoe / 4 - yoe / 100), mp = (5 * doy + 2) / 153;

    *d = doy - (153 * mp + 2) / 5 + 1;
    *m = mp < 10 ? mp + 3 : mp - 9;
    *y = (int)((int64_t)yoe + era * 400 + (*m <= 2));
}

/* "" or ".123", ".123456", ".123456789" */
static void put_nanos(int32_t nanos, char ret[12])
{
    if (nanos == 0)
        ret[0] = '\0';
    else if (nanos % 1000000 == 0)
        (void)snprintf(ret, 12, ".%03d", nanos / 1000000);
    else if (nanos % 1000 == 0)
        (void)snprintf(ret, 12, ".%06d", nanos / 1000);
    else
        (void)snprintf(ret, 12, ".%09d", nanos);
}

/* Reads ".ddd" of 1–9 digits when it is there; false when it is broken. */
static bool take_nanos(const char **s, int32_t *ret)
{
    int digits = 0;
    int32_t v = 0;

    *ret = 0;
    if (**s != '.')
        return true;
    for ((*s)++; isdigit((unsigned char)**s) && digits < 9; (*s)++, digits++)
        v = v * 10 + (**s - '0');
    if (digits == 0 || isdigit((unsigned char)**s))
        return false;
    for (; digits < 9; digits++)
        v *= 10;
    *ret = v;
    return true;
}

bool pbjson_text_timestamp(int64_t seconds, int32_t nanos, char ret[40])
{
    int64_t days, left;
    unsigned month, day;
    int year;
    char frac[12];

    if (seconds < SECONDS_MIN || seconds > SECONDS_MAX || nanos < 0 || nanos > 999999999)
        return false;
    days = (seconds >= 0 ? seconds : seconds - 86399) / 86400;
    left = seconds - days * 86400;
    date_of(days, &year, &month, &day);
    put_nanos(nanos, frac);
    return str_format(ret, 40, "%04d-%02u-%02uT%02d:%02d:%02d%sZ", year, month, day,
                      (int)(left / 3600), (int)(left / 60 % 60), (int)(left % 60), frac);
}

/* n digits and then the byte after, unless that is 0. */
static bool take_digits(const char **s, int n, char after, int *ret)
{
    *ret = 0;
    for (; n > 0; n--, (*s)++) {
        if (!isdigit((unsigned char)**s))
            return false;
        *ret = *ret * 10 + (**s - '0');
    }
    if (after && **s != after)
        return false;
    *s += after != 0;
    return true;
}

static bool is_day(int y, int m, int d)
{
    static const int len[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (y % 4 == 0 && y % 100 != 0) || y % 400 == 0;

    return y >= 1 && m >= 1 && m <= 12 && d >= 1 && d <= len[m - 1] + (m == 2 && leap);
}

bool pbjson_text_parse_timestamp(const char *s, int64_t *ret_seconds, int32_t *ret_nanos)
{
    int y, mo, d, h, mi, sec, oh = 0, om = 0, sign = 0;
    int64_t at;

    if (!take_digits(&s, 4, '-', &y) || !take_digits(&s, 2, '-', &mo) ||
        !take_digits(&s, 2, 'T', &d) || !take_digits(&s, 2, ':', &h) ||
        !take_digits(&s, 2, ':', &mi) || !take_digits(&s, 2, 0, &sec) || !take_nanos(&s, ret_nanos))
        return false;
    if (*s == '+' || *s == '-') {
        sign = *s++ == '+' ? 1 : -1;
        if (!take_digits(&s, 2, ':', &oh) || !take_digits(&s, 2, 0, &om) || oh > 23 || om > 59)
            return false;
    } else if (*s++ != 'Z') {
        return false;
    }
    if (*s || !is_day(y, mo, d) || h > 23 || mi > 59 || sec > 59)
        return false;
    at = days_of(y, (unsigned)mo, (unsigned)d) * 86400 + h * 3600 + mi * 60 + sec -
         sign * (oh * 3600 + om * 60);
    if (at < SECONDS_MIN || at > SECONDS_MAX)
        return false;
    *ret_seconds = at;
    return true;
}

bool pbjson_text_duration(int64_t seconds, int32_t nanos, char ret[40])
{
    char frac[12];
    bool minus = seconds < 0 || nanos < 0;

    if (seconds > DURATION_MAX || seconds < -DURATION_MAX || nanos > 999999999 ||
        nanos < -999999999 || (seconds < 0 && nanos > 0) || (seconds > 0 && nanos < 0))
        return false;
    put_nanos(nanos < 0 ? -nanos : nanos, frac);
    (void)snprintf(ret, 40, "%s%lld%ss", minus ? "-" : "",
                   (long long)(seconds < 0 ? -seconds : seconds), frac);
    return true;
}

bool pbjson_text_parse_duration(const char *s, int64_t *ret_seconds, int32_t *ret_nanos)
{
    bool minus = *s == '-';
    int64_t v = 0;
    int32_t nanos;

    s += minus;
    if (!isdigit((unsigned char)*s))
        return false;
    for (; isdigit((unsigned char)*s); s++) {
        v = v * 10 + (*s - '0');
        if (v > DURATION_MAX)
            return false;
    }
    if (!take_nanos(&s, &nanos) || strcmp(s, "s") != 0)
        return false;
    *ret_seconds = minus ? -v : v;
    *ret_nanos = minus ? -nanos : nanos;
    return true;
}
