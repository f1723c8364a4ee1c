#include "prog/stigmer/help.h"

#include <string.h>

#include "base/str.h"
#include "core/config.h"

#define COLUMNS 80 /* of a terminal that nobody made wider */
#define FLAG_COLUMN 32

/* The words of text as lines that fit; the next one goes behind column `at`, which is `indent` at
 * the start of a line. An empty line parts paragraphs. */
static void put_words(struct buf *b, const char *text, size_t indent, size_t at)
{
    while (*text) {
        size_t n = strcspn(text, " \n"), gap;
        if (at > indent && at + 1 + n > COLUMNS) {
            buf_printf(b, "\n%*s", (int)indent, "");
            at = indent;
        } else if (at > indent) {
            buf_putc(b, ' ');
            at++;
        }
        buf_put(b, text, n);
        at += n;
        text += n;
        gap = strspn(text, " \n");
        if (gap > 1 && text[0] == '\n' && text[1] == '\n') {
            buf_printf(b, "\n\n%*s", (int)indent, "");
            at = indent;
        }
        text += gap;
    }
}

static void put_choices(struct buf *b, const char *const *choices)
{
    for (size_t i = 0; choices && choices[i]; i++)
        buf_printf(b, "%s%s", i ? "|" : "", choices[i]);
}

void help_output_spec(const struct cmd *cmd, struct arg_spec storage[2])
{
    storage[0] = (struct arg_spec){0};
    storage[1] = (struct arg_spec){0};
    if (cmd && cmd->formats)
        storage[0] = (struct arg_spec){.name = "output",
                                       .letter = 'o',
                                       .value = "FORMAT",
                                       .choices = cmd->formats,
                                       .help = "form of the result"};
}

static void put_flag(struct buf *b, const struct arg_spec *s)
{
    OWN_BUF struct buf left = {0}, text = {0};

    if (s->letter)
        buf_printf(&left, "  -%c, --%s", s->letter, s->name);
    else
        buf_printf(&left, "      --%s", s->name);
    if (s->value && s->choices) {
        buf_putc(&left, ' ');
        put_choices(&left, s->choices);
    } else if (s->value) {
        buf_printf(&left, " %s", s->value);
    }
    buf_puts(&text, s->help);
    if (s->repeat)
        buf_puts(&text, " (repeatable)");
    if (s->env)
        buf_printf(&text, " [%s]", s->env);
    if (left.len < FLAG_COLUMN)
        buf_printf(b, "%-*s", FLAG_COLUMN, buf_text(&left));
    else
        buf_printf(b, "%s\n%*s", buf_text(&left), FLAG_COLUMN, "");
    put_words(b, buf_text(&text), FLAG_COLUMN, FLAG_COLUMN);
    buf_putc(b, '\n');
}

static void put_flags(struct buf *b, const char *title, const struct arg_spec *a,
                      const struct arg_spec *more)
{
    if ((!a || !a->name) && (!more || !more->name))
        return;
    buf_printf(b, "\n%s:\n", title);
    for (; a && a->name; a++)
        put_flag(b, a);
    for (; more && more->name; more++)
        put_flag(b, more);
}

static bool is_in_group(const struct cmd *c, const char *group)
{
    size_t n = strlen(group);

    return strncmp(c->name, group, n) == 0 && c->name[n] == ' ';
}

void help_top(struct buf *b)
{
    buf_puts(b, "stigmer runs AI agents on your own machine, durably and in a sandbox.\n\n"
                "Usage: stigmer [OPTIONS] COMMAND\n\nCommands:\n");
    for (const struct cmd *c = cmd_table; c->name; c++)
        if (!c->hidden)
            buf_printf(b, "  %-22s%s\n", c->name, c->summary);
    put_flags(b, "Options of every command", cmd_table_global, NULL);
    buf_puts(b, "\nExamples:\n"
                "  stigmer server start                 # bring the stack up\n"
                "  stigmer run reviewer -m \"Look at it\"  # give an agent a task\n"
                "\n`stigmer COMMAND --help` says more about one of them.\n");
}

void help_group(struct buf *b, const char *group)
{
    buf_printf(b, "Usage: stigmer %s COMMAND\n\nCommands:\n", group);
    for (const struct cmd *c = cmd_table; c->name; c++)
        if (!c->hidden && is_in_group(c, group))
            buf_printf(b, "  %-22s%s\n", c->name, c->summary);
}

void help_cmd(struct buf *b, const struct cmd *cmd)
{
    struct arg_spec output[2];

    help_output_spec(cmd, output);
    buf_printf(b, "%s\n\nUsage: stigmer %s%s%s%s\n", cmd->summary, cmd->name,
               (cmd->flags && cmd->flags->name) || cmd->formats ? " [OPTIONS]" : "",
               *cmd->words ? " " : "", cmd->words);
    if (cmd->details) {
        buf_putc(b, '\n');
        put_words(b, cmd->details, 0, 0);
        buf_putc(b, '\n');
    }
    put_flags(b, "Options", cmd->flags, output);
    put_flags(b, "Options of every command", cmd_table_global, NULL);
    buf_puts(b, "\nExamples:\n");
    for (int i = 0; i < 2; i++)
        if (cmd->examples[i].line)
            buf_printf(b, "  # %s\n  %s\n", cmd->examples[i].what, cmd->examples[i].line);
}

/* ---- man pages --------------------------------------------------------------------------- */

/* roff: a leading dot or apostrophe is a request, a backslash an escape, a dash a hyphen. */
static void roff(struct buf *b, const char *s)
{
    bool at_start = true;

    for (; *s; s++) {
        if (at_start && (*s == '.' || *s == '\''))
            buf_puts(b, "\\&");
        if (*s == '\\')
            buf_puts(b, "\\e");
        else if (*s == '-')
            buf_puts(b, "\\-");
        else
            buf_putc(b, *s);
        at_start = *s == '\n';
    }
}

static void roff_flag(struct buf *b, const struct arg_spec *s)
{
    buf_puts(b, ".TP\n.B ");
    if (s->letter)
        buf_printf(b, "\\-%c\", \"", s->letter);
    buf_puts(b, "\\-\\-");
    roff(b, s->name);
    if (s->value) {
        buf_putc(b, ' ');
        if (s->choices)
            put_choices(b, s->choices);
        else
            roff(b, s->value);
    }
    buf_putc(b, '\n');
    roff(b, s->help);
    if (s->repeat)
        buf_puts(b, " (repeatable)");
    if (s->env)
        buf_printf(b, ". Environment: \\fB%s\\fR", s->env);
    buf_puts(b, ".\n");
}

static void roff_cmd(struct buf *b, const struct cmd *c)
{
    struct arg_spec output[2];

    help_output_spec(c, output);
    buf_puts(b, ".SS \"stigmer ");
    roff(b, c->name);
    if (*c->words) {
        buf_putc(b, ' ');
        roff(b, c->words);
    }
    buf_puts(b, "\"\n");
    roff(b, c->summary);
    buf_puts(b, ".\n");
    if (c->details) {
        buf_puts(b, ".PP\n");
        roff(b, c->details);
        buf_putc(b, '\n');
    }
    for (const struct arg_spec *s = c->flags; s && s->name; s++)
        roff_flag(b, s);
    if (output[0].name)
        roff_flag(b, &output[0]);
    for (int i = 0; i < 2 && c->examples[i].line; i++) {
        buf_puts(b, ".PP\n");
        roff(b, c->examples[i].what);
        buf_puts(b, ":\n.PP\n.EX\n    ");
        roff(b, c->examples[i].line);
        buf_puts(b, "\n.EE\n");
    }
}

static const char exit_section[] =
    ".SH EXIT STATUS\n"
    "0 ok; 1 the run or operation failed; 2 usage or invalid input; 3 server not running; "
    "4 not found; 5 refused by policy; 6 approval needed; 7 budget exhausted; 8 timed out; "
    "9 conflict, or port in use; 10 sandbox or container engine unavailable; 130 interrupted.\n";

static void man_stigmer(struct buf *b)
{
    buf_puts(b,
             ".TH STIGMER 1 \"\" \"Stigmer " STIGMER_VERSION "\" \"User Commands\"\n"
             ".SH NAME\nstigmer \\- run AI agents on your own machine, durably and in a sandbox\n"
             ".SH SYNOPSIS\n.B stigmer\n[\\fIOPTIONS\\fR] \\fICOMMAND\\fR\n"
             ".SH DESCRIPTION\nBrings a local stack up, gives agents tasks and shows what each "
             "part says. Results go to standard output, progress and errors to standard error.\n"
             ".SH OPTIONS OF EVERY COMMAND\n");
    for (const struct arg_spec *s = cmd_table_global; s->name; s++)
        roff_flag(b, s);
    buf_puts(b, ".SH COMMANDS\n");
    for (const struct cmd *c = cmd_table; c->name; c++)
        if (!c->hidden)
            roff_cmd(b, c);
    buf_puts(b, exit_section);
    buf_puts(b, ".SH FILES\n.TP\n.I ~/.stigmer/config.yaml\nThe configuration; "
                "\\fBstigmer config list\\fR shows every key.\n"
                ".TP\n.I ~/.stigmer/data\nDatabase, workspaces, logs and sockets.\n"
                ".SH SEE ALSO\n.BR stigmer\\-server (8),\n.BR agent\\-runner (8)\n");
}

static void man_server(struct buf *b)
{
    buf_puts(
        b, ".TH STIGMER\\-SERVER 8 \"\" \"Stigmer " STIGMER_VERSION "\" \"Daemons\"\n"
           ".SH NAME\nstigmer\\-server \\- the daemon of Stigmer: API, store, engine, runner\n"
           ".SH SYNOPSIS\n.B stigmer\\-server\n\\-\\-home \\fIDIR\\fR [\\-\\-set "
           "\\fIKEY=VALUE\\fR]...\n"
           ".SH DESCRIPTION\nStarted by \\fBstigmer server start\\fR, which hands it the provider "
           "keys in a memory file and returns when it is ready. It serves gRPC on a unix socket "
           "in the home and on a loopback address, keeps every execution in a journal, and "
           "starts, watches and ends the agent\\-runner. A small parent process restarts it "
           "after a crash.\n"
           ".SH CONFIGURATION\nA flag beats an environment variable, which beats "
           "\\fIconfig.yaml\\fR, which beats the default.\n");
    for (int k = 0; k < CONFIG_KEYS; k++) {
        const struct config_row *r = config_row((enum config_key)k);
        buf_puts(b, ".TP\n.B ");
        roff(b, r->name);
        buf_putc(b, '\n');
        roff(b, r->help);
        buf_printf(b, ". Environment: \\fB%s\\fR.", r->env);
        if (*r->fallback) {
            buf_puts(b, " Default: ");
            roff(b, r->fallback);
            buf_putc(b, '.');
        }
        buf_putc(b, '\n');
    }
    buf_puts(b, exit_section);
    buf_puts(b, ".SH SEE ALSO\n.BR stigmer (1),\n.BR agent\\-runner (8)\n");
}

static void man_runner(struct buf *b)
{
    buf_puts(
        b, ".TH AGENT\\-RUNNER 8 \"\" \"Stigmer " STIGMER_VERSION "\" \"Daemons\"\n"
           ".SH NAME\nagent\\-runner \\- the worker of Stigmer: models and sandboxed tools\n"
           ".SH SYNOPSIS\n.B agent\\-runner\n[launch|healthcheck|probe|version]\n"
           ".SH DESCRIPTION\nStarted by \\fBstigmer\\-server\\fR, in a container or as a process. "
           "A launcher forks a worker, which talks to the server and to model endpoints, and one "
           "tool host for each session, which runs the agent's tools in a sandbox and can reach "
           "its workspace alone.\n"
           ".TP\n.B launch\nRun; the same as no word at all.\n"
           ".TP\n.B healthcheck\nExit 0 when the worker is attached to its server.\n"
           ".TP\n.B probe\nPrint the sandbox layers of this machine as JSON.\n"
           ".TP\n.B version\nPrint the version.\n"
           ".SH ENVIRONMENT\nSTIGMER_BACKEND_ENDPOINT, WORKSPACE_ROOT, STIGMER_KEYS_DIR, "
           "STIGMER_LOG_LEVEL, STIGMER_SANDBOX_REQUIRE, STIGMER_SANDBOX_EGRESS, STIGMER_SLOTS, "
           "STIGMER_TOOL_PROCESSES, STIGMER_TOOL_MEMORY, set by the server. A runner on another "
           "machine than its server: STIGMER_RUNNER_TOKEN_FILE, STIGMER_TLS_CA, "
           "STIGMER_TLS_SERVER_NAME, STIGMER_WORKSPACE_DOMAIN, ANTHROPIC_API_KEY_FILE, "
           "OPENAI_API_KEY_FILE, and for Temporal TEMPORAL_SERVICE_ADDRESS, TEMPORAL_NAMESPACE, "
           "TASK_QUEUE, TEMPORAL_TLS, TEMPORAL_TLS_CA, TEMPORAL_TLS_CERT, TEMPORAL_TLS_KEY, "
           "TEMPORAL_TLS_SERVER_NAME, TEMPORAL_API_KEY_FILE; see docs/scale\\-out.md.\n"
           ".SH SEE ALSO\n.BR stigmer (1),\n.BR stigmer\\-server (8)\n");
}

bool help_man(struct buf *b, const char *page)
{
    if (str_eq(page, "stigmer.1"))
        man_stigmer(b);
    else if (str_eq(page, "stigmer-server.8"))
        man_server(b);
    else if (str_eq(page, "agent-runner.8"))
        man_runner(b);
    else
        return false;
    return true;
}

/* ---- the configuration page --------------------------------------------------- */

void help_config_doc(struct buf *b)
{
    buf_puts(b, "# Configuration\n\n"
                "`$STIGMER_HOME/config.yaml` (default `~/.stigmer/config.yaml`). A flag beats an "
                "environment variable, which beats the file,\nwhich beats the default. "
                "`stigmer config list` shows every value and where it comes from. Unknown keys and "
                "bad values are errors that\nname the line. A place that changes `llm.provider` "
                "does not inherit the model, endpoint, key file and token limits of another "
                "provider.\n\nThis page is made by `stigmer internal config-doc`.\n\n"
                "| key | environment | default | values | what it is |\n|---|---|---|---|---|\n");
    for (int k = 0; k < CONFIG_KEYS; k++) {
        const struct config_row *r = config_row((enum config_key)k);
        static const char *const kinds[] = {[CONFIG_TEXT] = "text",
                                            [CONFIG_PATH] = "absolute path",
                                            [CONFIG_ADDRESS] = "host:port",
                                            [CONFIG_URL] = "URL",
                                            [CONFIG_INT] = "",
                                            [CONFIG_NUMBER] = "number",
                                            [CONFIG_DURATION] = "duration",
                                            [CONFIG_SIZE] = "size",
                                            [CONFIG_CHOICE] = "",
                                            [CONFIG_CHOICES] = "list of ",
                                            [CONFIG_EGRESS] = "public, deny, allow, hosts",
                                            [CONFIG_TOOLS] = "names of tools"};
        buf_printf(b, "| `%s` | `%s` | %s%s%s | %s", r->name, r->env, *r->fallback ? "`" : "",
                   *r->fallback ? r->fallback : "", *r->fallback ? "`" : "none", kinds[r->type]);
        if (r->type == CONFIG_INT)
            buf_printf(b, "%lld to %lld", (long long)r->min, (long long)r->max);
        for (size_t i = 0; r->values && r->values[i]; i++)
            buf_printf(b, "%s%s", i ? ", " : "", r->values[i]);
        buf_printf(b, " | %s |\n", r->help);
    }
    buf_puts(b,
             "\n## Keys of model providers\n\n"
             "Never values of this file. The first of these that has one counts:\n\n"
             "1. `ANTHROPIC_API_KEY`, `OPENAI_API_KEY` in the environment of `stigmer server "
             "start`; `STIGMER_LLM_API_KEY` for the configured provider\n"
             "2. the content of the file that `ANTHROPIC_API_KEY_FILE` or "
             "`OPENAI_API_KEY_FILE` names, or `llm.api_key_file` for the configured provider\n"
             "3. the secret `llm.anthropic` or `llm.openai` (`stigmer secret set`), which lies "
             "sealed in `data/secrets`\n"
             "4. the service manager's credential of that name (`LoadCredential=` of systemd)\n\n"
             "A start hands them over in a memory file, and the runner gets them as files in "
             "memory; they appear in no argument list, no environment of a\nprocess or "
             "container, no log, no event and no image.\n\n"
             "## Defaults by provider\n\n| provider | model | endpoint |\n|---|---|---|\n");
    for (size_t i = 0; config_row(CONFIG_LLM_PROVIDER)->values[i]; i++) {
        const char *name = config_row(CONFIG_LLM_PROVIDER)->values[i];
        struct config c;
        config_init(&c);
        if (!config_set(&c, CONFIG_LLM_PROVIDER, CONFIG_FROM_FLAG, name, NULL))
            buf_printf(b, "| %s | `%s` | %s |\n", name, config_get_str(&c, CONFIG_LLM_MODEL),
                       *config_get_str(&c, CONFIG_LLM_BASE_URL)
                           ? config_get_str(&c, CONFIG_LLM_BASE_URL)
                           : "the recording that `llm.base_url` names");
        config_done(&c);
    }
}
