#include "prog/stigmer-server/models.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/own.h"
#include "base/str.h"
#include "clients/model.h"
#include "core/config.h"
#include "platform/http.h"
#include "platform/loop.h"
#include "prog/stigmer-server/http-ask.h"

#define URL_SIZE 1200
#define ANSWER_MS 5000
#define PULL_MS 120000 /* of silence while an archive is fetched */
#define TRY_MS 60000   /* a local model is loaded first */
#define TRY_TOKENS 16

/* ---- asking -------------------------------------------------------------------------------- */

struct headers {
    char key[9000];
    const char *list[4];
};

static void put_headers(const struct models *m, struct headers *h)
{
    size_t n = 0;

    if (!str_is_empty(m->key)) {
        bool anthropic = str_eq(m->provider, "anthropic");

        (void)str_format(h->key, sizeof h->key, "%s%s",
                         anthropic ? "x-api-key: " : "Authorization: Bearer ", m->key);
        h->list[n++] = h->key;
    }
    if (str_eq(m->provider, "anthropic"))
        h->list[n++] = "anthropic-version: 2023-06-01";
    h->list[n++] = "Content-Type: application/json";
    h->list[n] = NULL;
}

/* "error" is a text with Ollama, an object with a "message" elsewhere. */
static const char *words_of(const json_t *answer)
{
    const json_t *e = json_object_get(answer, "error");
    const char *text = json_string_value(json_object_get(e, "message"));

    return text ? text : json_string_value(e);
}

static enum err_code refused(const struct models *m, int status, const json_t *answer,
                             struct err *err)
{
    const char *words = words_of(answer), *env = config_key_env(m->provider);
    enum err_code code = status == 401 || status == 403 ? ERR_UNAUTHENTICATED
                         : status == 404                ? ERR_NOT_FOUND
                                                        : ERR_UNAVAILABLE;

    err_set(err, code, "%s at %.200s answers with status %d%s%.500s", m->provider, m->base_url,
            status, words ? ": " : "", words ? words : "");
    if (code == ERR_UNAUTHENTICATED)
        return err_hint(err, code, "%s%s, or: stigmer secret set llm.%s",
                        env ? "set " : "check the key", env ? env : "", m->provider);
    if (code == ERR_NOT_FOUND)
        return err_hint(err, code, "stigmer config get llm.base_url: is it the provider's API?");
    return code;
}

static enum err_code ask(const struct models *m, struct http_ask *a, const char *path, json_t **ret,
                         struct err *err)
{
    struct headers h;
    char url[URL_SIZE];
    int status;
    enum err_code code;

    *ret = NULL;
    if (!str_format(url, sizeof url, "%s%s", m->base_url, path))
        return err_set(err, ERR_INVALID, "llm.base_url is too long");
    put_headers(m, &h);
    a->url = url;
    a->headers = h.list;
    if (!a->timeout_ms)
        a->timeout_ms = ANSWER_MS;
    code = http_ask(a, &status, ret, err);
    explicit_bzero(h.key, sizeof h.key);
    if (code)
        return err_hint(err, err_wrap(err, code, "%s at %.200s", m->provider, m->base_url), "%s",
                        str_eq(m->provider, "ollama")
                            ? "start Ollama (ollama serve), or set llm.base_url to where it is"
                            : "check llm.base_url and the network");
    if (status < 200 || status > 299) {
        code = refused(m, status, *ret, err);
        json_decref(*ret);
        *ret = NULL;
    }
    return code;
}

/* ---- lists --------------------------------------------------------------------------------- */

static void put_text(json_t *o, const char *key, const json_t *value)
{
    if (json_is_string(value))
        json_object_set(o, key, (json_t *)(uintptr_t)value);
}

static json_t *of_ollama(const json_t *m)
{
    const json_t *details = json_object_get(m, "details");
    json_t *o = json_object();

    put_text(o, "name", json_object_get(m, "name"));
    if (json_is_integer(json_object_get(m, "size")))
        json_object_set(o, "bytes", json_object_get(m, "size"));
    put_text(o, "family", json_object_get(details, "family"));
    put_text(o, "parameters", json_object_get(details, "parameter_size"));
    put_text(o, "quantization", json_object_get(details, "quantization_level"));
    put_text(o, "modifiedAt", json_object_get(m, "modified_at"));
    return o;
}

static json_t *of_others(const json_t *m)
{
    json_t *o = json_object();

    put_text(o, "name", json_object_get(m, "id"));
    put_text(o, "displayName", json_object_get(m, "display_name"));
    return o;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(json_string_value(json_object_get(*(json_t *const *)a, "name")),
                  json_string_value(json_object_get(*(json_t *const *)b, "name")));
}

static json_t *sorted(json_t *take_list)
{
    size_t n = json_array_size(take_list), i;
    OWN_FREE json_t **items = mem_array(n + 1, sizeof(json_t *));
    json_t *ret = json_array();

    for (i = 0; i < n; i++)
        items[i] = json_array_get(take_list, i);
    qsort(items, n, sizeof *items, by_name);
    for (i = 0; i < n; i++)
        json_array_append(ret, items[i]);
    json_decref(take_list);
    return ret;
}

enum err_code models_list(const struct models *m, json_t **ret, struct err *err)
{
    bool ollama = str_eq(m->provider, "ollama");
    struct http_ask a = {.method = "GET"};
    json_t *answer, *list = json_array(), *one;
    const json_t *from;
    size_t i;
    enum err_code code = ask(m, &a,
                             ollama                             ? "/api/tags"
                             : str_eq(m->provider, "anthropic") ? "/v1/models?limit=1000"
                                                                : "/models",
                             &answer, err);

    from = json_object_get(answer, ollama ? "models" : "data");
    if (!code && !json_is_array(from))
        code = err_hint(err,
                        err_set(err, ERR_UNAVAILABLE,
                                "what answers at %.200s has no list of models", m->base_url),
                        "stigmer config get llm.base_url: is it the provider's API?");
    json_array_foreach(from, i, one)
    {
        json_t *o = ollama ? of_ollama(one) : of_others(one);

        if (json_object_get(o, "name"))
            json_array_append(list, o);
        json_decref(o);
    }
    json_decref(answer);
    if (code)
        json_decref(list);
    else
        *ret = sorted(list);
    return code;
}

/* "-20250929": Anthropic lists its models by day and answers to the name without it. */
static bool is_date(const char *s)
{
    return s[0] == '-' && strlen(s) == 9 && strspn(s + 1, "0123456789") == 8;
}

bool models_has(const json_t *list, const char *name)
{
    const json_t *m;
    size_t i, len = strlen(name);

    json_array_foreach(list, i, m)
    {
        const char *have = json_string_value(json_object_get(m, "name"));

        if (str_eq(have, name) || (strncmp(have, name, len) == 0 &&
                                   (str_eq(have + len, ":latest") || is_date(have + len))))
            return true;
    }
    return false;
}

/* ---- one model ----------------------------------------------------------------------------- */

static json_t *context_of(const json_t *info)
{
    const char *key;
    json_t *value;

    json_object_foreach((json_t *)(uintptr_t)info, key,
                        value) if (str_ends(key, ".context_length") &&
                                   json_is_integer(value)) return json_incref(value);
    return json_null();
}

static json_t *tools_of(const json_t *capabilities)
{
    const json_t *c;
    size_t i;

    if (!json_is_array(capabilities))
        return json_null();
    json_array_foreach(capabilities, i, c)
    {
        if (str_eq(json_string_value(c), "tools"))
            return json_true();
    }
    return json_false();
}

enum err_code models_show(const struct models *m, const char *name, json_t **ret, struct err *err)
{
    json_t *request, *answer;
    struct http_ask a = {.method = "POST"};
    char *body;
    enum err_code code;

    if (!str_eq(m->provider, "ollama")) {
        *ret = json_pack("{s:n,s:n}", "contextTokens", "tools");
        return ERR_OK;
    }
    request = json_pack("{s:s,s:s}", "model", name, "name", name); /* older versions read "name" */
    body = json_dumps(request, JSON_COMPACT);
    json_decref(request);
    a.body = body;
    code = ask(m, &a, "/api/show", &answer, err);
    free(body);
    if (code == ERR_NOT_FOUND)
        err_hint(err, code, "stigmer model pull %.100s", name);
    if (code)
        return code;
    *ret =
        json_pack("{s:o,s:o}", "contextTokens", context_of(json_object_get(answer, "model_info")),
                  "tools", tools_of(json_object_get(answer, "capabilities")));
    json_decref(answer);
    return ERR_OK;
}

/* ---- pull ---------------------------------------------------------------------------------- */

struct pulling {
    models_progress_fn *progress;
    void *arg;
    char why[600];
    bool succeeded;
};

static bool on_pull(const json_t *line, void *arg)
{
    struct pulling *p = arg;
    const char *why = json_string_value(json_object_get(line, "error"));

    if (why) { /* with status 200: the stream had begun */
        (void)str_format(p->why, sizeof p->why, "%.500s", why);
        return false;
    }
    p->succeeded |= str_eq(json_string_value(json_object_get(line, "status")), "success");
    p->progress(line, p->arg);
    return true;
}

enum err_code models_pull(const struct models *m, const char *name, models_progress_fn *progress,
                          void *arg, struct err *err)
{
    struct pulling p = {.progress = progress, .arg = arg};
    struct http_ask a = {.method = "POST", .timeout_ms = PULL_MS, .on_line = on_pull, .arg = &p};
    json_t *request, *answer;
    char *body;
    enum err_code code;

    if (!str_eq(m->provider, "ollama"))
        return err_set(err, ERR_INVALID, "models of %s are not pulled: they run at the provider",
                       m->provider);
    request = json_pack("{s:s,s:s,s:b}", "model", name, "name", name, "stream", 1);
    body = json_dumps(request, JSON_COMPACT);
    json_decref(request);
    a.body = body;
    code = ask(m, &a, "/api/pull", &answer, err);
    json_decref(answer);
    free(body);
    if (code)
        return code;
    if (*p.why)
        return err_hint(err,
                        err_set(err,
                                strstr(p.why, "does not exist") ? ERR_NOT_FOUND : ERR_UNAVAILABLE,
                                "Ollama cannot pull '%.100s': %s", name, p.why),
                        "https://ollama.com/library lists what there is");
    return p.succeeded ? ERR_OK
                       : err_set(err, ERR_UNAVAILABLE,
                                 "Ollama ended without saying that '%.100s' is there", name);
}

/* ---- a call -------------------------------------------------------------------------------- */

struct trying {
    struct loop *loop;
    int64_t began_ms, first_ms;
    json_t *result;
    struct err err;
};

static void on_text(const char *text, size_t len, void *arg)
{
    struct trying *t = arg;

    (void)text;
    (void)len;
    if (!t->first_ms)
        t->first_ms = clock_mono_ms() - t->began_ms;
}

static void on_done(struct model_turn *turn, void *arg)
{
    struct trying *t = arg;
    int64_t total = clock_mono_ms() - t->began_ms;

    t->result = json_pack("{s:I,s:I,s:I,s:I,s:s,s:s}", "firstMs",
                          (json_int_t)(t->first_ms ? t->first_ms : total), "totalMs",
                          (json_int_t)total, "inputTokens", (json_int_t)turn->usage.input_tokens,
                          "outputTokens", (json_int_t)turn->usage.output_tokens, "answer",
                          turn->text ? turn->text : "", "model", turn->model);
    loop_quit(t->loop);
}

static void on_fail(const struct model_failure *f, void *arg)
{
    struct trying *t = arg;

    t->err = f->err;
    loop_quit(t->loop);
}

enum err_code models_try(const struct models *m, const char *name, json_t **ret, struct err *err)
{
    const struct model_message message = {.role = MODEL_USER, .text = "Answer with the word OK."};
    struct trying t = {.loop = loop_new(), .began_ms = clock_mono_ms()};
    const struct model_events events = {
        .on_text = on_text, .on_done = on_done, .on_fail = on_fail, .arg = &t};
    const struct model_request request = {.provider = m->provider,
                                          .model = name,
                                          .base_url = m->base_url,
                                          .api_key = m->key,
                                          .system = "You answer in one word.",
                                          .messages = &message,
                                          .message_count = 1,
                                          .max_output_tokens = TRY_TOKENS,
                                          .first_byte_ms = TRY_MS,
                                          .stall_ms = TRY_MS};
    struct http *http = http_new(t.loop);

    (void)model_start(t.loop, http, &request, &events);
    loop_run(t.loop);
    http_free(http);
    loop_free(t.loop);
    if (t.err.code && err)
        *err = t.err;
    if (!t.err.code)
        *ret = t.result;
    return t.err.code;
}
