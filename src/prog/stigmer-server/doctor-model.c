/* Is the configured model there, and can it be asked? */
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "prog/stigmer-server/doctor-impl.h"
#include "prog/stigmer-server/models.h"

#define CONTEXT_SMALL 8192 /* tokens: the tools' descriptions alone take about 2,000 */

static const char *provider(const struct doctor *d)
{
    return config_get_str(&d->config, CONFIG_LLM_PROVIDER);
}

void doctor_model_key(struct doctor *d)
{
    const char *env = config_key_env(provider(d)), *from;
    char hint[160], *key;
    struct err err;

    if (settings_find_key(d->paths, &d->config, &key, &from, &err)) {
        doctor_say(d, "llm.key", DOCTOR_FAIL, err.hint, "%s", err.msg);
        return;
    }
    (void)str_format(hint, sizeof hint, "stigmer secret set llm.%s, or set %s", provider(d),
                     env ? env : "the key");
    if (key)
        doctor_say(d, "llm.key", DOCTOR_OK, "", "from %s", from);
    else if (!env)
        doctor_say(d, "llm.key", DOCTOR_OK, "", "this provider needs none");
    else
        doctor_say(d, "llm.key", DOCTOR_WARN, hint, "there is no key for %s", provider(d));
    if (key)
        explicit_bzero(key, strlen(key));
    free(key);
}

/* Ollama gives every model this much by default, whatever it could take: tools do not fit. */
static void check_context(struct doctor *d, const struct models *m, const char *name)
{
    long long asked = config_get_int(&d->config, CONFIG_LLM_CONTEXT_TOKENS), can;
    json_t *shown;

    if (!str_eq(m->provider, "ollama") || models_show(m, name, &shown, NULL))
        return;
    can = json_integer_value(json_object_get(shown, "contextTokens"));
    if (json_is_false(json_object_get(shown, "tools")))
        doctor_say(d, "llm.tools", DOCTOR_WARN, "choose a model that can: stigmer model ls",
                   "'%s' cannot call tools", name);
    if (asked && can && asked > can)
        doctor_say(d, "llm.context", DOCTOR_WARN, "stigmer config unset llm.context_tokens",
                   "llm.context_tokens is %lld, but '%s' takes %lld at most", asked, name, can);
    else if ((asked && asked < CONTEXT_SMALL) || (can && can < CONTEXT_SMALL))
        doctor_say(d, "llm.context", DOCTOR_WARN, "stigmer config set llm.context_tokens 16384",
                   "%lld tokens: little is left beside the tools' descriptions",
                   asked ? asked : can);
    else
        doctor_say(d, "llm.context", DOCTOR_OK, "", "'%s' takes up to %lld tokens", name, can);
    json_decref(shown);
}

static void check_there(struct doctor *d, const struct models *m, const char *name)
{
    char hint[240];
    json_t *list;
    struct err err;

    if (models_list(m, &list, &err)) {
        doctor_say(d, "llm.endpoint", err.code == ERR_UNAUTHENTICATED ? DOCTOR_FAIL : DOCTOR_WARN,
                   err.hint, "%s", err.msg);
        return;
    }
    doctor_say(d, "llm.endpoint", DOCTOR_OK, "", "%s at %s answers", m->provider, m->base_url);
    if (str_eq(m->provider, "ollama"))
        (void)str_format(hint, sizeof hint, "stigmer model pull %.100s", name);
    else
        (void)str_format(hint, sizeof hint,
                         "stigmer model ls shows those; then stigmer config set llm.model NAME");
    if (models_has(list, name)) {
        doctor_say(d, "llm.model", DOCTOR_OK, "", "'%s' is there", name);
        check_context(d, m, name);
    } else {
        doctor_say(d, "llm.model", json_array_size(list) ? DOCTOR_FAIL : DOCTOR_WARN, hint,
                   "'%s' is not among the %zu models there; no other one is taken in its place",
                   name, json_array_size(list));
    }
    json_decref(list);
}

static bool fill(struct doctor *d, struct models *m, char **ret_key)
{
    const char *from;

    *m = (struct models){.provider = provider(d),
                         .base_url = config_get_str(&d->config, CONFIG_LLM_BASE_URL)};
    if (str_eq(m->provider, "replay") ||
        settings_find_key(d->paths, &d->config, ret_key, &from, NULL))
        return false;
    m->key = *ret_key;
    return true;
}

void doctor_model(struct doctor *d)
{
    struct models m;
    char *key = NULL;

    if (fill(d, &m, &key))
        check_there(d, &m, config_get_str(&d->config, CONFIG_LLM_MODEL));
    else
        doctor_say(d, "llm.endpoint", DOCTOR_OK, "", "not asked");
    free(key);
}

void doctor_model_call(struct doctor *d)
{
    struct models m;
    char *key = NULL;
    json_t *result;
    struct err err;

    if (!d->online || !fill(d, &m, &key))
        return;
    if (models_try(&m, config_get_str(&d->config, CONFIG_LLM_MODEL), &result, &err)) {
        doctor_say(d, "llm.call", DOCTOR_FAIL, err.hint, "%s", err.msg);
    } else {
        doctor_say(d, "llm.call", DOCTOR_OK, "", "answered in %lld ms",
                   (long long)json_integer_value(json_object_get(result, "totalMs")));
        json_decref(result);
    }
    free(key);
}
