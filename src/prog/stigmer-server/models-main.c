#include "prog/stigmer-server/models-main.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "prog/stigmer-server/models.h"

struct command {
    struct config config;
    struct models models;
    char *key; /* owned */
    const char *key_from;
    const char *name, *configured;
};

static void print_line(json_t *take_line)
{
    (void)json_dumpf(take_line, stdout, JSON_COMPACT);
    (void)putchar('\n');
    (void)fflush(stdout);
    json_decref(take_line);
}

static int tell_error(const struct err *err)
{
    print_line(json_pack("{s:{s:s,s:i,s:s*,s:s}}", "error", "code", err_code_name(err->code),
                         "exit", (int)err_code_exit(err->code), "message", err->msg, "hint",
                         err->hint));
    return (int)err_code_exit(err->code);
}

static void on_progress(const json_t *progress, void *arg)
{
    (void)arg;
    print_line(json_pack("{s:O}", "progress", progress));
}

static enum err_code list(struct command *c, json_t **ret, struct err *err)
{
    json_t *items;
    enum err_code code = models_list(&c->models, &items, err);

    if (code)
        return code;
    *ret = json_pack("{s:s,s:s,s:s,s:s,s:b,s:o}", "schema", "stigmer.cli/model-ls/v1", "provider",
                     c->models.provider, "baseUrl", c->models.base_url, "configured", c->configured,
                     "configuredIsThere", (int)models_has(items, c->configured), "items", items);
    return ERR_OK;
}

/* Says how things are, also when they are not well: that is no failure of the command. */
static enum err_code status(struct command *c, json_t **ret, struct err *err)
{
    json_t *items = NULL, *shown = NULL;
    struct err why = {0};
    bool reached = models_list(&c->models, &items, &why) == ERR_OK;
    bool there = reached && models_has(items, c->name);

    (void)err;
    if (there && models_show(&c->models, c->name, &shown, NULL))
        shown = NULL;
    *ret = json_pack("{s:s,s:s,s:s,s:s,s:b,s:b,s:b,s:s,s:O?,s:s*,s:s*}", "schema",
                     "stigmer.cli/model-status/v1", "provider", c->models.provider, "baseUrl",
                     c->models.base_url, "model", c->name, "reachable", (int)reached,
                     "modelIsThere", (int)there, "keyIsSet", c->key != NULL, "keyFrom", c->key_from,
                     "contextTokens", json_object_get(shown, "contextTokens"), "why",
                     reached ? NULL : why.msg, "hint", reached ? NULL : why.hint);
    json_decref(items);
    json_decref(shown);
    return ERR_OK;
}

static enum err_code pull(struct command *c, json_t **ret, struct err *err)
{
    enum err_code code = models_pull(&c->models, c->name, on_progress, NULL, err);

    if (!code)
        *ret = json_pack("{s:s,s:s,s:b}", "schema", "stigmer.cli/model-pull/v1", "model", c->name,
                         "configured", (int)str_eq(c->name, c->configured));
    return code;
}

static enum err_code test(struct command *c, json_t **ret, struct err *err)
{
    json_t *shown = NULL;
    enum err_code code = models_show(&c->models, c->name, &shown, err);

    if (!code)
        code = models_try(&c->models, c->name, ret, err);
    if (!code) {
        json_object_set_new(*ret, "schema", json_string("stigmer.cli/model-test/v1"));
        json_object_set_new(*ret, "provider", json_string(c->models.provider));
        json_object_set_new(*ret, "asked", json_string(c->name));
        json_object_update(*ret, shown);
    }
    json_decref(shown);
    return code;
}

static enum err_code run(struct command *c, const char *verb, json_t **ret, struct err *err)
{
    if (str_eq(c->models.provider, "replay"))
        return err_set(err, ERR_STATE, "the provider is replay: it answers from %.300s",
                       c->models.base_url);
    if (str_eq(verb, "list"))
        return list(c, ret, err);
    if (str_eq(verb, "status"))
        return status(c, ret, err);
    if (str_eq(verb, "pull"))
        return pull(c, ret, err);
    if (str_eq(verb, "test"))
        return test(c, ret, err);
    return err_set(err, ERR_INVALID, "'%.40s' is not one of list, status, pull, test", verb);
}

int models_main(const struct settings_args *args, const struct paths *paths, const char *verb,
                const char *name)
{
    struct command c = {.key_from = ""};
    struct err err;
    json_t *result = NULL;
    enum err_code code;

    config_init(&c.config);
    code = settings_load(args, paths, &c.config, &err);
    if (!code)
        code = settings_find_key(paths, &c.config, &c.key, &c.key_from, &err);
    if (!code) {
        c.configured = config_get_str(&c.config, CONFIG_LLM_MODEL);
        c.name = str_is_empty(name) ? c.configured : name;
        c.models = (struct models){.provider = config_get_str(&c.config, CONFIG_LLM_PROVIDER),
                                   .base_url = config_get_str(&c.config, CONFIG_LLM_BASE_URL),
                                   .key = c.key};
        code = run(&c, verb, &result, &err);
    }
    if (c.key)
        explicit_bzero(c.key, strlen(c.key));
    free(c.key);
    config_done(&c.config);
    if (code)
        return tell_error(&err);
    print_line(result);
    return EXIT_OK;
}
