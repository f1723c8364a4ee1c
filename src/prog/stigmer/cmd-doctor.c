/* doctor: the server program looks, this prints. */
#include <string.h>
#include <unistd.h>

#include "base/str.h"
#include "prog/stigmer/cli.h"
#include "prog/stigmer/cmds.h"
#include "prog/stigmer/out.h"
#include "prog/stigmer/spawn.h"

static const char *field(const json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));

    return s ? s : "";
}

static void print_checks(const struct cli *cli, const json_t *doc)
{
    OWN_BUF struct buf b = {0};
    json_t *c;
    size_t i;

    json_array_foreach(json_object_get(doc, "checks"), i, c)
    {
        const char *status = field(c, "status"), *hint = field(c, "hint");
        char color = str_eq(status, "ok") ? 'g' : str_eq(status, "warn") ? 'y' : 'r';
        buf_printf(&b, "%s%-5s%s %-22s ", out_color(cli->out_color, color), status,
                   out_color(cli->out_color, '0'), field(c, "id"));
        out_text(&b, field(c, "detail"), strlen(field(c, "detail")), cli->out_is_tty);
        buf_putc(&b, '\n');
        if (*hint && !str_eq(status, "ok"))
            buf_printf(&b, "      hint: %s\n", hint);
    }
    (void)out_flush(STDOUT_FILENO, &b);
}

int cmd_doctor_run(struct cli *cli)
{
    const char *const args[] = {"--doctor",
                                args_bool(&cli->args, "online", false) ? "--online" : NULL, NULL};
    OWN_BUF struct buf text = {0};
    struct err err = {0};
    json_t *doc;
    bool ok;

    if (spawn_output(cli, args, "looking at this machine, its engines and the model", &text, &err))
        return cli_fail(cli, &err);
    doc = json_loadb(buf_text(&text), text.len, 0, NULL);
    if (!json_is_object(doc)) {
        json_decref(doc);
        err_set(&err, ERR_INTERNAL, "doctor failed: stigmer-server gave no answer");
        return cli_fail(cli, &err);
    }
    ok = json_is_true(json_object_get(doc, "ok"));
    if (cli->format == CLI_JSON)
        out_document(cli, doc);
    else
        print_checks(cli, doc);
    json_decref(doc);
    return ok ? EXIT_OK : EXIT_FAILED;
}
