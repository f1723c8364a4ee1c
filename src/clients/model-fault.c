/* Failures of model calls: which kind, in the endpoint's own words, and what to do about it. */
#include <ctype.h>
#include <strings.h>
#include <time.h>

#include "base/mem.h"
#include "base/own.h"
#include "base/str.h"
#include "clients/model-impl.h"

#define WHY_MAX 400

const char *model_fault_name(enum model_fault f)
{
    static const char *const names[] = {
        [MODEL_FAULT_AUTH] = "auth",
        [MODEL_FAULT_REQUEST] = "request",
        [MODEL_FAULT_CONTEXT] = "context",
        [MODEL_FAULT_RATE] = "rate",
        [MODEL_FAULT_OVERLOADED] = "overloaded",
        [MODEL_FAULT_CONNECT] = "connect",
        [MODEL_FAULT_FIRST_BYTE] = "first_byte",
        [MODEL_FAULT_STALLED] = "stalled",
        [MODEL_FAULT_BROKEN] = "broken",
        [MODEL_FAULT_TOO_LARGE] = "too_large",
        [MODEL_FAULT_CASSETTE] = "cassette",
    };

    return names[f];
}

bool model_fault_is_retryable(enum model_fault f)
{
    return f == MODEL_FAULT_RATE || f == MODEL_FAULT_OVERLOADED || f == MODEL_FAULT_CONNECT ||
           f == MODEL_FAULT_FIRST_BYTE || f == MODEL_FAULT_STALLED || f == MODEL_FAULT_BROKEN;
}

static enum err_code fault_code(enum model_fault f)
{
    static const enum err_code codes[] = {
        [MODEL_FAULT_AUTH] = ERR_UNAUTHENTICATED,   [MODEL_FAULT_REQUEST] = ERR_INVALID,
        [MODEL_FAULT_CONTEXT] = ERR_LIMIT,          [MODEL_FAULT_RATE] = ERR_UNAVAILABLE,
        [MODEL_FAULT_OVERLOADED] = ERR_UNAVAILABLE, [MODEL_FAULT_CONNECT] = ERR_UNAVAILABLE,
        [MODEL_FAULT_FIRST_BYTE] = ERR_TIMEOUT,     [MODEL_FAULT_STALLED] = ERR_TIMEOUT,
        [MODEL_FAULT_BROKEN] = ERR_UNAVAILABLE,     [MODEL_FAULT_TOO_LARGE] = ERR_LIMIT,
        [MODEL_FAULT_CASSETTE] = ERR_NOT_FOUND,
    };

    return codes[f];
}

static bool has_any(const char *text, const char *const words[])
{
    for (size_t i = 0; words[i]; i++) {
        if (strcasestr(text, words[i]))
            return true;
    }
    return false;
}

/* The formats' own names of error kinds, for errors inside a 200 stream. */
static enum model_fault fault_of_kind(const char *kind)
{
    if (has_any(kind, (const char *const[]){"rate_limit", NULL}))
        return MODEL_FAULT_RATE;
    if (has_any(kind,
                (const char *const[]){"authentication", "permission", "invalid_api_key", NULL}))
        return MODEL_FAULT_AUTH;
    if (has_any(kind, (const char *const[]){"request_too_large", NULL}))
        return MODEL_FAULT_CONTEXT;
    if (has_any(kind, (const char *const[]){"invalid_request", "not_found", "BadRequest", NULL}))
        return MODEL_FAULT_REQUEST;
    return MODEL_FAULT_OVERLOADED;
}

static enum model_fault fault_of_status(int status)
{
    switch (status) {
    case 401:
    case 402:
    case 403:
        return MODEL_FAULT_AUTH;
    case 413:
        return MODEL_FAULT_CONTEXT;
    case 408:
    case 409:
    case 425:
        return MODEL_FAULT_OVERLOADED;
    case 429:
        return MODEL_FAULT_RATE;
    default:
        return status >= 500 ? MODEL_FAULT_OVERLOADED : MODEL_FAULT_REQUEST;
    }
}

enum model_fault model_fault_of(int status, const char *type, const char *code, const char *message)
{
    static const char *const context[] = {
        "context length",     "context_length",    "maximum context",
        "prompt is too long", "context window",    "context size",
        "too many tokens",    "input is too long", NULL};
    static const char *const money[] = {"insufficient_quota", "billing", "credit balance",
                                        "exceeded your current quota", NULL};
    int said = (int)strtol(code, NULL, 10);

    if (has_any(type, money) || has_any(code, money) || has_any(message, money))
        return MODEL_FAULT_AUTH;
    if (status != 429 && status != 401 && (has_any(message, context) || has_any(code, context)))
        return MODEL_FAULT_CONTEXT;
    if (status >= 300)
        return fault_of_status(status);
    if (said >= 400 && said < 600)
        return fault_of_status(said);
    if (!str_is_empty(type))
        return fault_of_kind(type);
    return fault_of_kind(code);
}

/* ---- the endpoint's words -------------------------------------------------------------------- */

/* One line of valid UTF-8, bounded. */
static void one_line(const char *text, size_t len, char *ret, size_t size)
{
    size_t n = 0, limit = size - 1 < WHY_MAX ? size - 1 : WHY_MAX;

    for (size_t i = 0; i < len && n < limit; i++) {
        unsigned char c = (unsigned char)text[i];

        if (c <= ' ' || c == 0x7f) {
            if (n && ret[n - 1] != ' ')
                ret[n++] = ' ';
        } else {
            ret[n++] = (char)c;
        }
    }
    while (n && ret[n - 1] == ' ')
        n--;
    n = str_utf8_check(ret, n);
    ret[n] = '\0';
}

static void member_text(const json_t *o, const char *name, char *ret, size_t size)
{
    const json_t *v = json_object_get(o, name);

    ret[0] = '\0';
    if (json_is_string(v))
        (void)str_format(ret, size, "%s", json_string_value(v));
    else if (json_is_integer(v))
        (void)str_format(ret, size, "%lld", (long long)json_integer_value(v));
}

enum model_fault model_fault_read_json(int status, const json_t *body, char *ret, size_t size)
{
    OWN_FREE char *dumped = NULL;
    const json_t *first = json_is_array(body) ? json_array_get(body, 0) : body;
    const json_t *error = json_object_get(first, "error");
    const json_t *o = json_is_object(error) ? error : first;
    const char *text = json_string_value(error);
    char type[80], code[80];

    for (size_t i = 0; !text && i < 3; i++) {
        static const char *const names[] = {"message", "detail", "error"};

        text = json_string_value(json_object_get(o, names[i]));
    }
    if (!text && o) {
        dumped = json_dumps(o, JSON_COMPACT | JSON_ENCODE_ANY);
        text = dumped;
    }
    text = text ? text : "";
    member_text(o, "type", type, sizeof type);
    member_text(o, "code", code, sizeof code);
    one_line(text, strlen(text), ret, size);
    if (type[0] && !strstr(ret, type) && strlen(ret) + strlen(type) + 4 < size)
        (void)str_format(ret + strlen(ret), size - strlen(ret), " (%s)", type);
    return model_fault_of(status, type, code, text);
}

enum model_fault model_fault_read(int status, const char *body, size_t len, char *ret, size_t size)
{
    json_t *v = model_parse_json(body, len);
    enum model_fault f;

    if (json_is_object(v) || json_is_array(v)) {
        f = model_fault_read_json(status, v, ret, size);
    } else {
        one_line(body, len, ret, size);
        if (ret[0] == '<')
            (void)str_format(ret, size, "an HTML page instead of an API answer");
        f = model_fault_of(status, "", "", ret);
    }
    json_decref(v);
    return f;
}

int64_t model_fault_retry_after(const char *retry_after, const char *retry_after_ms,
                                int64_t wall_ms)
{
    const int64_t most = (int64_t)366 * 86400 * 1000;
    struct tm tm = {0};
    double v;
    char *end;

    if (retry_after_ms && isdigit((unsigned char)*retry_after_ms)) {
        v = strtod(retry_after_ms, &end);
        return v < (double)most ? (int64_t)v : most;
    }
    if (!retry_after)
        return -1;
    if (isdigit((unsigned char)*retry_after)) {
        v = strtod(retry_after, &end) * 1000;
        return v < (double)most ? (int64_t)v : most;
    }
    end = strptime(retry_after, "%a, %d %b %Y %H:%M:%S GMT", &tm);
    if (!end)
        return -1;
    wall_ms = (int64_t)timegm(&tm) * 1000 - wall_ms;
    return wall_ms < 0 ? 0 : wall_ms < most ? wall_ms : most;
}

/* ---- the whole message ----------------------------------------------------------------------- */

/* Endpoints like to repeat the key they refuse. */
static void redact(char *text, const char *key)
{
    size_t len = key ? strlen(key) : 0, stars = len < 5 ? len : 5;
    char *at = text;

    while (len >= 4 && (at = strstr(at, key))) {
        memset(at, '*', stars);
        memmove(at + stars, at + len, strlen(at + len) + 1);
        at += stars;
    }
    at = text;
    while ((at = strstr(at, "sk-"))) {
        char *end = at + 3;

        while (isalnum((unsigned char)*end) || *end == '-' || *end == '_' || *end == '*')
            end++;
        if (end - at > 8 && (at == text || !isalnum((unsigned char)at[-1]))) {
            memcpy(at, "sk-**", 5);
            memmove(at + 5, end, strlen(end) + 1);
        }
        at += 3;
    }
}

static void hint_auth(struct model_failure *f, const struct model_fault_about *a)
{
    if (!a->provider->key_name)
        err_hint(&f->err, f->err.code, "check who may use %s", a->url);
    else if (str_is_empty(a->api_key))
        err_hint(&f->err, f->err.code, "no key was sent: set %s and start the server again",
                 a->provider->key_name);
    else
        err_hint(&f->err, f->err.code,
                 "check that the key in %s is valid, has credit and may use %s",
                 a->provider->key_name, a->model);
}

static void hint_request(struct model_failure *f, const struct model_fault_about *a)
{
    if (f->status == 404 && a->provider == &model_ollama)
        err_hint(&f->err, f->err.code, "run: ollama pull %s", a->model);
    else if (f->status >= 300 && f->status < 400)
        err_hint(&f->err, f->err.code, "the endpoint has moved; set llm.base_url to where it is");
    else if (f->status == 404 || f->status == 405)
        err_hint(&f->err, f->err.code, "check llm.model (%s) and llm.base_url", a->model);
    else
        err_hint(&f->err, f->err.code, "check that model %s takes tools and this many tokens",
                 a->model);
}

static void hint(struct model_failure *f, const struct model_fault_about *a)
{
    enum err_code c = f->err.code;

    switch (f->fault) {
    case MODEL_FAULT_AUTH:
        hint_auth(f, a);
        break;
    case MODEL_FAULT_REQUEST:
        hint_request(f, a);
        break;
    case MODEL_FAULT_CONTEXT:
        err_hint(&f->err, c, "start a new session, or use a model with a larger context");
        break;
    case MODEL_FAULT_RATE:
        err_hint(&f->err, c, "wait a while, or raise the limits of the account");
        break;
    case MODEL_FAULT_OVERLOADED:
        err_hint(&f->err, c, "the endpoint is in trouble; try again later or set another model");
        break;
    case MODEL_FAULT_CONNECT:
        if (a->provider == &model_ollama)
            err_hint(&f->err, c, "start it with: ollama serve; or set llm.base_url");
        else
            err_hint(&f->err, c, "check the network and llm.base_url");
        break;
    case MODEL_FAULT_FIRST_BYTE:
    case MODEL_FAULT_STALLED:
        err_hint(&f->err, c, "the model may be too large for the machine, or the endpoint hangs");
        break;
    case MODEL_FAULT_BROKEN:
        err_hint(&f->err, c, "check that what llm.base_url names speaks the %s format",
                 a->provider->name);
        break;
    case MODEL_FAULT_TOO_LARGE:
        err_hint(&f->err, c, "ask for less in one answer");
        break;
    case MODEL_FAULT_CASSETTE:
        err_hint(&f->err, c, "record the run again: stigmer run --record FILE");
        break;
    }
}

void model_fault_fill(struct model_failure *f, const struct model_fault_about *a, const char *why)
{
    char text[WHY_MAX + 240];
    char status[32] = "";

    (void)str_format(text, sizeof text, "%s", str_is_empty(why) ? "no reason was given" : why);
    redact(text, a->api_key);
    if (f->status)
        (void)str_format(status, sizeof status, "HTTP %d: ", f->status);
    err_set(&f->err, fault_code(f->fault), "%s%s%.200s: %s%s", a->provider->name,
            a->model[0] ? " " : "", a->model, status, text);
    hint(f, a);
}
