#include "base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct code_row {
    const char *name;
    int grpc; /* google.rpc.Code */
    int http;
    enum exit_code exit;
};

/* clang-format off */
static const struct code_row rows[] = {
    [ERR_OK]              = {"OK",                   0, 200, EXIT_OK},
    [ERR_INVALID]         = {"INVALID",              3, 400, EXIT_USAGE},
    [ERR_NOT_FOUND]       = {"NOT_FOUND",            5, 404, EXIT_NOT_FOUND},
    [ERR_EXISTS]          = {"ALREADY_EXISTS",       6, 409, EXIT_CONFLICT},
    [ERR_CONFLICT]        = {"CONFLICT",            10, 409, EXIT_CONFLICT},
    [ERR_STATE]           = {"FAILED_PRECONDITION",  9, 409, EXIT_FAILED},
    [ERR_DENIED]          = {"REFUSED",              7, 403, EXIT_REFUSED},
    [ERR_UNAUTHENTICATED] = {"UNAUTHENTICATED",     16, 401, EXIT_REFUSED},
    [ERR_UNAVAILABLE]     = {"UNAVAILABLE",         14, 503, EXIT_FAILED},
    [ERR_NOT_RUNNING]     = {"SERVER_NOT_RUNNING",  14, 503, EXIT_NOT_RUNNING},
    [ERR_TIMEOUT]         = {"TIMEOUT",              4, 504, EXIT_TIMEOUT},
    [ERR_CANCELLED]       = {"CANCELLED",            1, 499, EXIT_FAILED},
    [ERR_LIMIT]           = {"LIMIT",                8, 429, EXIT_FAILED},
    [ERR_BUDGET]          = {"BUDGET",               8, 429, EXIT_BUDGET},
    [ERR_SANDBOX]         = {"SANDBOX_UNAVAILABLE",  9, 503, EXIT_SANDBOX},
    [ERR_APPROVAL]        = {"APPROVAL_NEEDED",      9, 409, EXIT_APPROVAL},
    [ERR_UNSUPPORTED]     = {"UNIMPLEMENTED",       12, 501, EXIT_FAILED},
    [ERR_IO]              = {"IO",                  13, 500, EXIT_FAILED},
    [ERR_CORRUPT]         = {"CORRUPT",             15, 500, EXIT_FAILED},
    [ERR_INTERNAL]        = {"INTERNAL",            13, 500, EXIT_FAILED},
};
/* clang-format on */
_Static_assert(sizeof rows / sizeof rows[0] == ERR_COUNT, "every code has a row");

static const struct code_row *row_of(enum err_code code)
{
    return &rows[(unsigned)code < ERR_COUNT ? code : ERR_INTERNAL];
}

enum err_code err_code_named(const char *name)
{
    for (int c = 1; c < ERR_COUNT; c++)
        if (name && strcmp(err_code_name((enum err_code)c), name) == 0)
            return (enum err_code)c;
    return ERR_INTERNAL;
}

const char *err_code_name(enum err_code code)
{
    return row_of(code)->name;
}

int err_code_grpc(enum err_code code)
{
    return row_of(code)->grpc;
}

int err_code_http(enum err_code code)
{
    return row_of(code)->http;
}

enum exit_code err_code_exit(enum err_code code)
{
    return row_of(code)->exit;
}

/* Several of our codes share one status; the first row of a status is its plain meaning. */
enum err_code err_code_from_grpc(int status)
{
    for (int i = 0; i < ERR_COUNT; i++)
        if (rows[i].grpc == status && i != ERR_NOT_RUNNING && i != ERR_IO)
            return (enum err_code)i;
    return ERR_INTERNAL;
}

static enum err_code from_errno(int sys)
{
    switch (sys) {
    case ENOENT:
    case ESRCH:
        return ERR_NOT_FOUND;
    case EEXIST:
        return ERR_EXISTS;
    case EADDRINUSE:
        return ERR_CONFLICT;
    case EACCES:
    case EPERM:
    case EROFS:
        return ERR_DENIED;
    case ECONNREFUSED:
    case ECONNRESET:
    case EPIPE:
        return ERR_UNAVAILABLE;
    case ETIMEDOUT:
        return ERR_TIMEOUT;
    case EMFILE:
    case ENFILE:
    case ENOSPC:
    case EDQUOT:
        return ERR_LIMIT;
    case EINVAL:
        return ERR_INVALID;
    default:
        return ERR_IO;
    }
}

enum err_code err_set(struct err *err, enum err_code code, const char *fmt, ...)
{
    va_list ap;

    if (err) {
        err->code = code;
        err->sys = 0;
        err->hint[0] = '\0';
        va_start(ap, fmt);
        vsnprintf(err->msg, sizeof err->msg, fmt, ap);
        va_end(ap);
    }
    return code;
}

enum err_code err_sys(struct err *err, int sys, const char *fmt, ...)
{
    enum err_code code = from_errno(sys);
    va_list ap;
    size_t n;

    if (!err)
        return code;
    err->code = code;
    err->sys = sys;
    err->hint[0] = '\0';
    va_start(ap, fmt);
    vsnprintf(err->msg, sizeof err->msg, fmt, ap);
    va_end(ap);
    n = strlen(err->msg);
    snprintf(err->msg + n, sizeof err->msg - n, ": %s", strerror(sys));
    return code;
}

enum err_code err_wrap(struct err *err, enum err_code code, const char *fmt, ...)
{
    char old[sizeof err->msg];
    va_list ap;
    size_t n;

    if (!err)
        return code;
    err->code = code;
    memcpy(old, err->msg, sizeof old);
    va_start(ap, fmt);
    vsnprintf(err->msg, sizeof err->msg, fmt, ap);
    va_end(ap);
    n = strlen(err->msg);
    snprintf(err->msg + n, sizeof err->msg - n, ": %.*s", (int)(sizeof old - 1), old);
    return code;
}

enum err_code err_hint(struct err *err, enum err_code code, const char *fmt, ...)
{
    va_list ap;

    if (err) {
        va_start(ap, fmt);
        vsnprintf(err->hint, sizeof err->hint, fmt, ap);
        va_end(ap);
    }
    return code;
}
