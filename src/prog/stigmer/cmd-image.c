/* image load, ls and build: the server program talks to the engine, this prints. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/own.h"
#include "base/str.h"
#include "prog/stigmer/cli.h"
#include "prog/stigmer/cmds.h"
#include "prog/stigmer/out.h"
#include "prog/stigmer/tool.h"

#define TAG_SIZE 256

static const char *text_of(const json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));

    return s ? s : "";
}

static enum err_code ask(const struct cli *cli, const char *verb, const char *from, const char *tag,
                         json_t **ret, struct err *err)
{
    const char *kind = args_str(&cli->args, "runner", NULL);
    char set[64];
    const char *const plain[] = {"--image", verb, from, tag, NULL};
    const char *const chosen[] = {"--set", set, "--image", verb, from, tag, NULL};

    (void)str_format(set, sizeof set, "runner.kind=%.40s", kind ? kind : "");
    return tool_ask(cli, kind ? chosen : plain, ret, err);
}

static void short_id(const char *id, char ret[16])
{
    (void)str_format(ret, 16, "%.12s", str_starts(id, "sha256:") ? id + 7 : id);
}

/* ---- ls ---------------------------------------------------------------------------------- */

static const char *version_of(const json_t *item)
{
    if (!json_is_true(json_object_get(item, "ours")))
        return "(mounted)"; /* a start mounts the installed runner into it */
    return *text_of(item, "version") ? text_of(item, "version") : "-";
}

static void print_table(const struct cli *cli, const json_t *items)
{
    static const char *const heads[] = {"",     "IMAGE",  "ID",        "SIZE", "VERSION",
                                        "BASE", "ENGINE", "INSTALLED", NULL};
    OWN_BUF struct buf b = {0};
    struct out_table t = {0};
    json_t *item;
    size_t i;

    out_table_row(&t, heads);
    json_array_foreach(items, i, item)
    {
        char id[16], size[32];

        short_id(text_of(item, "id"), id);
        out_size(json_integer_value(json_object_get(item, "sizeBytes")), size);
        out_table_row(
            &t, (const char *const[]){
                    json_is_true(json_object_get(item, "configured")) ? "*" : "",
                    text_of(item, "image"), id, size, version_of(item),
                    *text_of(item, "base") ? text_of(item, "base") : "-", text_of(item, "engine"),
                    json_is_true(json_object_get(item, "installed")) ? "yes" : "no", NULL});
    }
    out_table_done(&t, &b, cli->out_is_tty);
    (void)out_flush(STDOUT_FILENO, &b);
}

/* "*" is what a start would take; without one, why there is none. */
static void tell_configured(const struct cli *cli, const json_t *doc)
{
    json_t *item;
    size_t i;

    json_array_foreach(json_object_get(doc, "items"), i,
                       item) if (json_is_true(json_object_get(item, "configured"))) return;
    if (*text_of(doc, "installedId") && str_ends(text_of(doc, "configured"), "agent-runner:local"))
        cli_note(cli,
                 "%s is not there; a start loads the installed archive, and so does: stigmer "
                 "image load",
                 text_of(doc, "configured"));
    else
        cli_warn(cli, "the configured image '%s' is not there, and no other one is taken",
                 text_of(doc, "configured"));
}

int cmd_image_ls(struct cli *cli)
{
    struct err err = {0};
    json_t *doc, *item;
    size_t i;

    if (ask(cli, "ls", "", "", &doc, &err))
        return cli_fail(cli, &err);
    if (cli->format == CLI_TEXT)
        print_table(cli, json_object_get(doc, "items"));
    else if (cli->format == CLI_NAME)
        json_array_foreach(json_object_get(doc, "items"), i, item)
            printf("%s\n", text_of(item, "image"));
    else
        out_document(cli, doc);
    (void)fflush(stdout);
    tell_configured(cli, doc);
    json_decref(doc);
    return EXIT_OK;
}

/* ---- load and build ------------------------------------------------------------------------ */

static void print_made(const struct cli *cli, const json_t *doc, const char *verb)
{
    char id[16], size[32];

    if (cli->format != CLI_TEXT) {
        out_document(cli, doc);
        return;
    }
    if (cli->quiet)
        return;
    short_id(text_of(doc, "id"), id);
    out_size(json_integer_value(json_object_get(doc, "sizeBytes")), size);
    printf("%s %s  %s  %s, %s\n", text_of(doc, "image"), verb, id, size, text_of(doc, "engine"));
    (void)fflush(stdout);
}

int cmd_image_load(struct cli *cli)
{
    struct err err = {0};
    json_t *doc;

    if (ask(cli, "load", "", "", &doc, &err))
        return cli_fail(cli, &err);
    print_made(cli, doc, "loaded");
    if (!json_is_true(json_object_get(doc, "configured")))
        cli_note(cli, "the configuration names another image: stigmer config get runner.image");
    json_decref(doc);
    return EXIT_OK;
}

/* registry/team/debian:12 → stigmer-agent-runner:debian-12 */
static void default_tag(const char *from, char ret[TAG_SIZE])
{
    const char *slash = strrchr(from, '/');
    char *colon;

    (void)str_format(ret, TAG_SIZE, "stigmer-agent-runner:%.100s", slash ? slash + 1 : from);
    colon = strchr(strchr(ret, ':') + 1, ':');
    if (colon)
        *colon = '-';
    if (str_ends(ret, "-latest"))
        ret[strlen(ret) - strlen("-latest")] = '\0';
    ret[strcspn(ret, "@")] = '\0';
}

int cmd_image_build(struct cli *cli)
{
    const char *from = args_str(&cli->args, "from", NULL);
    const char *tag = args_str(&cli->args, "tag", NULL);
    char own[TAG_SIZE];
    struct err err = {0};
    json_t *doc;

    if (str_is_empty(from))
        return cli_usage(cli, "image build needs --from IMAGE, an image that is there");
    if (tag && !*tag)
        return cli_usage(cli, "--tag is empty");
    default_tag(from, own);
    if (ask(cli, "build", from, tag ? tag : own, &doc, &err)) {
        (void)err_wrap(&err, err.code, "image build failed");
        return cli_fail(cli, &err);
    }
    print_made(cli, doc, "built");
    if (!json_is_true(json_object_get(doc, "configured")))
        cli_note(cli, "`stigmer config set runner.image %s` and `stigmer server restart` use it",
                 text_of(doc, "image"));
    json_decref(doc);
    return EXIT_OK;
}
