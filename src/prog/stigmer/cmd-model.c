/* model ls, status, pull and test: the server program asks the provider, this prints. */
#include <stdio.h>
#include <string.h>

#include "base/own.h"
#include "base/str.h"
#include "prog/stigmer/cli.h"
#include "prog/stigmer/cmds.h"
#include "prog/stigmer/out.h"
#include "prog/stigmer/tool.h"

static const char *text_of(const json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));

    return s ? s : "";
}

/* *ret: the result, the caller's. */
static enum err_code ask(const struct cli *cli, const char *verb, const char *name, json_t **ret,
                         struct err *err)
{
    const char *const args[] = {"--model", verb, name ? name : "", NULL};

    return tool_ask(cli, args, ret, err);
}

/* ---- ls ---------------------------------------------------------------------------------- */

static void print_table(const struct cli *cli, const json_t *doc)
{
    static const char *const heads[] = {"", "NAME", "SIZE", "PARAMETERS", "MODIFIED", NULL};
    const char *configured = text_of(doc, "configured");
    size_t len = strlen(configured), i;
    OWN_BUF struct buf b = {0};
    struct out_table t = {0};
    json_t *m;

    out_table_row(&t, heads);
    json_array_foreach(json_object_get(doc, "items"), i, m)
    {
        const char *name = text_of(m, "name");
        long long bytes = json_integer_value(json_object_get(m, "bytes"));
        bool mine = str_eq(name, configured) ||
                    (strncmp(name, configured, len) == 0 && str_eq(name + len, ":latest"));
        char size[24] = "-", modified[12] = "-";

        if (bytes)
            (void)snprintf(size, sizeof size, "%.1f GB", (double)bytes / 1e9);
        if (*text_of(m, "modifiedAt"))
            (void)str_format(modified, sizeof modified, "%.10s", text_of(m, "modifiedAt"));
        out_table_row(
            &t, (const char *const[]){mine ? "*" : "", name, size,
                                      *text_of(m, "parameters") ? text_of(m, "parameters") : "-",
                                      modified, NULL});
    }
    out_table_done(&t, &b, cli->out_is_tty);
    (void)out_flush(STDOUT_FILENO, &b);
}

static void tell_missing(const struct cli *cli, const json_t *doc)
{
    bool ollama = str_eq(text_of(doc, "provider"), "ollama");

    if (json_is_true(json_object_get(doc, "configuredIsThere")))
        return;
    cli_warn(cli, "the configured model '%s' is not among them; no other one is taken in its place",
             text_of(doc, "configured"));
    cli_note(cli, "hint: %s%s",
             ollama ? "stigmer model pull " : "stigmer config set llm.model NAME",
             ollama ? text_of(doc, "configured") : "");
}

int cmd_model_ls(struct cli *cli)
{
    struct err err = {0};
    json_t *doc, *m;
    size_t i;

    if (ask(cli, "list", NULL, &doc, &err))
        return cli_fail(cli, &err);
    if (cli->format == CLI_TEXT)
        print_table(cli, doc);
    else if (cli->format == CLI_NAME)
        json_array_foreach(json_object_get(doc, "items"), i, m) printf("%s\n", text_of(m, "name"));
    else
        out_document(cli, doc);
    tell_missing(cli, doc);
    json_decref(doc);
    return EXIT_OK;
}

/* ---- status, pull and test --------------------------------------------------------------- */

static void print_pair(const char *name, const char *value)
{
    if (*value)
        printf("%-12s%s\n", name, value);
}

int cmd_model_status(struct cli *cli)
{
    struct err err = {0};
    json_t *doc;
    bool reachable, there;

    if (ask(cli, "status", NULL, &doc, &err))
        return cli_fail(cli, &err);
    reachable = json_is_true(json_object_get(doc, "reachable"));
    there = json_is_true(json_object_get(doc, "modelIsThere"));
    if (cli->format != CLI_TEXT) {
        out_document(cli, doc);
    } else {
        long long context = json_integer_value(json_object_get(doc, "contextTokens"));
        char tokens[32] = "";

        print_pair("provider", text_of(doc, "provider"));
        print_pair("endpoint", text_of(doc, "baseUrl"));
        print_pair("reachable", reachable ? "yes" : "no");
        print_pair("why", text_of(doc, "why"));
        print_pair("model", text_of(doc, "model"));
        if (reachable)
            print_pair("is there", there ? "yes" : "no");
        if (context)
            (void)snprintf(tokens, sizeof tokens, "%lld tokens", context);
        print_pair("context", tokens);
        print_pair("key", json_is_true(json_object_get(doc, "keyIsSet")) ? text_of(doc, "keyFrom")
                                                                         : "none");
        fflush(stdout);
        if (*text_of(doc, "hint"))
            cli_note(cli, "hint: %s", text_of(doc, "hint"));
    }
    json_decref(doc);
    return reachable && there ? EXIT_OK : EXIT_FAILED;
}

int cmd_model_pull(struct cli *cli)
{
    struct err err = {0};
    json_t *doc;

    if (ask(cli, "pull", cli_word(cli, 0), &doc, &err))
        return cli_fail(cli, &err);
    if (cli->format != CLI_TEXT)
        out_document(cli, doc);
    cli_note(cli, "%s is there", text_of(doc, "model"));
    if (!json_is_true(json_object_get(doc, "configured")))
        cli_note(cli, "`stigmer config set llm.model %s` makes it the one that runs use",
                 text_of(doc, "model"));
    json_decref(doc);
    return EXIT_OK;
}

int cmd_model_test(struct cli *cli)
{
    struct err err = {0};
    json_t *doc;

    cli_verbose(cli, "asking the model …");
    if (ask(cli, "test", cli_word(cli, 0), &doc, &err)) {
        (void)err_wrap(&err, err.code, "the model does not answer");
        (void)cli_fail(cli, &err);
        return err_code_exit(err.code) == EXIT_USAGE ? EXIT_USAGE : EXIT_FAILED;
    }
    if (cli->format != CLI_TEXT) {
        out_document(cli, doc);
    } else {
        OWN_BUF struct buf b = {0};

        buf_printf(&b,
                   "%s answers: first token after %lld ms, whole answer after %lld ms, %lld "
                   "tokens in, %lld out\n",
                   text_of(doc, "asked"),
                   (long long)json_integer_value(json_object_get(doc, "firstMs")),
                   (long long)json_integer_value(json_object_get(doc, "totalMs")),
                   (long long)json_integer_value(json_object_get(doc, "inputTokens")),
                   (long long)json_integer_value(json_object_get(doc, "outputTokens")));
        (void)out_flush(STDOUT_FILENO, &b);
    }
    if (json_is_false(json_object_get(doc, "tools")))
        cli_warn(cli, "this model cannot call tools: agents can only talk with it");
    json_decref(doc);
    return EXIT_OK;
}
