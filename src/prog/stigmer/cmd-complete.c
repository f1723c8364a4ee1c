/* completion for the three shells, and what their scripts ask: `internal complete -- WORD…`, the
 * words typed so far, the one under the cursor last. Candidates are printed a line each, with a tab
 * and what they are. Nothing here ever errors or makes a person wait: the shell is theirs. */
#include <stdio.h>
#include <string.h>
#include <sys/time.h>

#include "base/str.h"
#include "core/config.h"
#include "platform/vault.h"
#include "prog/stigmer/approval.h"
#include "prog/stigmer/cli.h"
#include "prog/stigmer/cmds.h"
#include "prog/stigmer/conn.h"
#include "prog/stigmer/help.h"
#include "prog/stigmer/kinds.h"
#include "stigmer/execution/v1/service.pb-c.h"

#define PATIENCE_US 300000 /* for a server that does not answer: then there are no candidates */
#define NAMES_MOST 100

struct ask {
    const struct cli *cli;
    const struct cmd *cmd;       /* NULL while it is being typed */
    const char *group;           /* the first of two words; NULL */
    const struct arg_spec *flag; /* the word is its value; NULL */
    const char *current;         /* what is typed of the word */
    const char *before;          /* goes in front of a candidate: "--flag=" */
    bool lost;                   /* a word before it is no command */
    size_t word;                 /* which word of the command it is, from 0 */
    const char *first;           /* the command's first word; NULL */
    struct arg_spec output[2];
    struct buf out;
};

static void offer(struct ask *a, const char *candidate, const char *what)
{
    if (!str_starts(candidate, a->current))
        return;
    buf_printf(&a->out, "%s%s", a->before ? a->before : "", candidate);
    if (*what)
        buf_printf(&a->out, "\t%.*s", (int)strcspn(what, "\n"), what);
    buf_putc(&a->out, '\n');
}

static void offer_all(struct ask *a, const char *const *candidates)
{
    for (; candidates && *candidates; candidates++)
        offer(a, *candidates, "");
}

/* ---- what there is -------------------------------------------------------------------------- */

/* After this the kernel ends us, with nothing printed. */
static void limit_patience(void)
{
    const struct itimerval t = {.it_value = {.tv_usec = PATIENCE_US}};

    (void)setitimer(ITIMER_REAL, &t, NULL);
}

static void offer_resources(struct ask *a, const char *word)
{
    const struct kind *k = kinds_by_word(word);
    bool runs = k && str_eq(k->type, "AgentExecution"), ids = runs || str_starts(word, "ses");
    struct kinds_list list = {0};
    struct conn conn;

    if (!k || !k->message)
        return;
    limit_patience();
    if (conn_open(a->cli, &conn, NULL))
        return;
    if (kinds_list(&conn, k, NULL, NAMES_MOST, &list, NULL) == ERR_OK)
        for (size_t i = 0; i < list.count; i++)
            offer(a, ids ? kinds_id(list.items[i]) : kinds_slug(list.items[i]),
                  ids ? kinds_name(list.items[i]) : k->word);
    kinds_list_done(&list);
    conn_close(&conn);
}

static void offer_secret(const char *name, int64_t size, int64_t set_ms, void *arg)
{
    (void)size;
    (void)set_ms;
    offer(arg, name, "secret");
}

static void offer_keys(struct ask *a)
{
    for (int k = 0; k < CONFIG_KEYS; k++)
        offer(a, config_row((enum config_key)k)->name, config_row((enum config_key)k)->help);
}

static void offer_values_of(struct ask *a, const char *key)
{
    enum config_key k;

    if (key && config_find(key, &k))
        offer_all(a, config_row(k)->values);
}

static void offer_approvals(struct ask *a)
{
    Exec__ApprovalsRequest request = EXEC__APPROVALS_REQUEST__INIT;
    ProtobufCMessage *answer = NULL;
    const Exec__ApprovalsResponse *r;
    struct conn conn;

    limit_patience();
    if (conn_open(a->cli, &conn, NULL))
        return;
    if (!conn_call(&conn, APPROVAL_LIST_PATH, &request.base, &exec__approvals_response__descriptor,
                   0, &answer, NULL)) {
        r = (const Exec__ApprovalsResponse *)answer;
        for (size_t i = 0; i < r->n_approvals; i++) {
            char name[APPROVAL_NAME];

            approval_name(r->approvals[i]->execution_id, r->approvals[i]->seq, name);
            offer(a, name, r->approvals[i]->tool);
        }
        protobuf_c_message_free_unpacked(answer, NULL);
    }
    conn_close(&conn);
}

/* ---- which word it is ----------------------------------------------------------------------- */

static const struct arg_spec *find_flag(const struct ask *a, const char *name, size_t len,
                                        char letter)
{
    const struct arg_spec *const tables[] = {a->cmd ? a->cmd->flags : NULL, a->output,
                                             cmd_table_global};

    for (size_t t = 0; t < 3; t++)
        for (const struct arg_spec *s = tables[t]; s && s->name; s++)
            if (letter ? s->letter == letter
                       : strlen(s->name) == len && !strncmp(s->name, name, len))
                return s;
    return NULL;
}

/* An option that was typed; the one whose value is to follow, or NULL. */
static const struct arg_spec *open_flag(const struct ask *a, const char *word)
{
    const struct arg_spec *s = NULL;

    if (str_starts(word, "--") && !strchr(word, '='))
        s = find_flag(a, word + 2, strlen(word) - 2, 0);
    else if (word[0] == '-' && word[1] && word[1] != '-' && !word[2])
        s = find_flag(a, NULL, 0, word[1]);
    return s && s->value ? s : NULL;
}

static void take_word(struct ask *a, const char *word)
{
    char name[128];

    if (a->cmd) {
        if (!a->word++)
            a->first = word;
    } else if (a->group) {
        if (str_format(name, sizeof name, "%s %s", a->group, word))
            a->cmd = cmd_table_find(name);
    } else if (cmd_table_is_group(word)) {
        a->group = word;
    } else {
        a->cmd = cmd_table_find(word);
    }
    if (a->cmd)
        help_output_spec(a->cmd, a->output);
    a->lost = !a->cmd && !str_eq(a->group, word);
}

static void read_words(struct ask *a)
{
    const char *word, *next;

    for (size_t i = 0; (word = cli_word(a->cli, i)); i++) {
        next = cli_word(a->cli, i + 1);
        if (!next) {
            a->current = word;
            return;
        }
        if (a->flag)
            a->flag = NULL; /* this was its value */
        else if (word[0] == '-' && word[1])
            a->flag = open_flag(a, word);
        else
            take_word(a, word);
    }
}

/* ---- candidates ----------------------------------------------------------------------------- */

static void offer_flags(struct ask *a)
{
    const struct arg_spec *const tables[] = {a->cmd ? a->cmd->flags : NULL, a->output,
                                             cmd_table_global};

    for (size_t t = 0; t < 3; t++)
        for (const struct arg_spec *s = tables[t]; s && s->name; s++) {
            char text[80];

            if (str_format(text, sizeof text, "--%s", s->name))
                offer(a, text, s->help);
        }
}

/* "auto|docker|none" of the help, where there is no list. */
static void offer_alternatives(struct ask *a, const char *value)
{
    while (value && strchr(value, '|')) {
        char one[40];
        size_t len = strcspn(value, "|");

        if (str_format(one, sizeof one, "%.*s", (int)len, value) && one[0] >= 'a' && one[0] <= 'z')
            offer(a, one, "");
        value += len + (value[len] == '|');
        if (!strchr(value, '|')) {
            if (*value >= 'a' && *value <= 'z')
                offer(a, value, "");
            return;
        }
    }
}

static void offer_value(struct ask *a)
{
    if (a->flag->choices)
        offer_all(a, a->flag->choices);
    else if (str_eq(a->flag->name, "session"))
        offer_resources(a, "sessions");
    else if (str_eq(a->flag->name, "run"))
        offer_resources(a, "runs");
    else if (str_eq(a->flag->name, "phase"))
        offer_all(a, (const char *const[]){"pending", "running", "completed", "failed", "cancelled",
                                           NULL});
    else
        offer_alternatives(a, a->flag->value);
}

static void offer_kinds(struct ask *a)
{
    offer_all(a, (const char *const[]){"agents", "instances", "sessions", "executions", NULL});
}

static void offer_positional(struct ask *a)
{
    const char *name = a->cmd->name, *words = a->cmd->words;

    if (str_starts(words, "KIND") && !a->word)
        offer_kinds(a);
    else if (str_starts(words, "KIND"))
        offer_resources(a, a->first);
    else if (str_starts(words, "APPROVAL"))
        offer_approvals(a);
    else if (str_starts(words, "RUN") || str_eq(words, "[RUN]"))
        offer_resources(a, "runs");
    else if (str_starts(words, "SESSION"))
        offer_resources(a, "sessions");
    else if (str_eq(words, "[AGENT]") && !a->word)
        offer_resources(a, "agents");
    else if (str_starts(words, "KEY") && !a->word)
        offer_keys(a);
    else if (str_eq(name, "config set"))
        offer_values_of(a, a->first);
    else if (str_starts(name, "secret "))
        (void)!vault_list(a->cli->paths.home, offer_secret, a, NULL);
    else if (str_eq(name, "completion"))
        offer_all(a, (const char *const[]){"bash", "zsh", "fish", NULL});
}

static void offer_commands(struct ask *a)
{
    size_t prefix = a->group ? strlen(a->group) + 1 : 0;

    for (const struct cmd *c = cmd_table; c->name; c++) {
        size_t n = strcspn(c->name, " ");
        char word[64];

        if (c->hidden || (a->group && (strncmp(c->name, a->group, prefix - 1) != 0 ||
                                       c->name[prefix - 1] != ' ')))
            continue;
        if (!a->group && c > cmd_table && strncmp(c[-1].name, c->name, n + 1) == 0)
            continue; /* the group was offered */
        (void)str_format(word, sizeof word, "%.*s", (int)(a->group ? strlen(c->name) - prefix : n),
                         c->name + prefix);
        offer(a, word, a->group || !c->name[n] ? c->summary : "");
    }
}

/* "--flag=va": the value's candidates, with the flag in front. */
static bool offer_joined(struct ask *a)
{
    const char *equal = strchr(a->current, '=');
    char front[80];

    if (!str_starts(a->current, "--") || !equal ||
        !str_format(front, sizeof front, "%.*s", (int)(equal + 1 - a->current), a->current))
        return false;
    a->flag = find_flag(a, a->current + 2, (size_t)(equal - a->current) - 2, 0);
    a->current = equal + 1;
    a->before = front;
    if (a->flag && a->flag->value)
        offer_value(a);
    a->before = NULL;
    return true;
}

int cmd_complete_words(struct cli *cli)
{
    struct ask a = {.cli = cli, .current = ""};

    read_words(&a);
    if (a.flag)
        offer_value(&a);
    else if (offer_joined(&a))
        ;
    else if (a.current[0] == '-')
        offer_flags(&a);
    else if (!a.cmd && !a.lost)
        offer_commands(&a);
    else if (a.cmd)
        offer_positional(&a);
    if (a.out.len)
        (void)fwrite(a.out.data, 1, a.out.len, stdout);
    (void)fflush(stdout);
    buf_done(&a.out);
    return EXIT_OK;
}

/* ---- the scripts ---------------------------------------------------------------------------- */

static const char bash[] =
    "# bash completion of stigmer: source <(stigmer completion bash)\n"
    "_stigmer() {\n"
    "    local IFS=$'\\n' line\n"
    "    COMPREPLY=()\n"
    "    for line in $(\"${COMP_WORDS[0]}\" internal complete -- \"${COMP_WORDS[@]:1:COMP_CWORD}\" "
    "2>/dev/null); do\n"
    "        COMPREPLY+=(\"${line%%$'\\t'*}\")\n"
    "    done\n"
    "}\n"
    "complete -o default -F _stigmer stigmer\n";

static const char zsh[] =
    "#compdef stigmer\n"
    "# zsh completion of stigmer: source <(stigmer completion zsh)\n"
    "_stigmer() {\n"
    "    local -a found\n"
    "    local word what\n"
    "    while IFS=$'\\t' read -r word what; do\n"
    "        found+=(\"${word//:/\\\\:}${what:+:$what}\")\n"
    "    done < <(\"$words[1]\" internal complete -- \"${(@)words[2,CURRENT]}\" 2>/dev/null)\n"
    "    if (( $#found )); then _describe stigmer found; else _files; fi\n"
    "}\n"
    "if [[ $funcstack[1] == _stigmer ]]; then _stigmer \"$@\"; else compdef _stigmer stigmer; fi\n";

static const char fish[] =
    "# fish completion of stigmer: stigmer completion fish | source\n"
    "complete -c stigmer -f -a '(set -l words (commandline -opc); "
    "$words[1] internal complete -- $words[2..-1] (commandline -ct) 2>/dev/null)'\n"
    "complete -c stigmer -n 'string match -qr \"^(-f|--file|-w|--workspace|--record|--replay)$\" "
    "-- "
    "(commandline -opc)[-1]' -F\n";

int cmd_complete_script(struct cli *cli)
{
    const char *shell = cli_word(cli, 0);
    const char *text = str_eq(shell, "bash")   ? bash
                       : str_eq(shell, "zsh")  ? zsh
                       : str_eq(shell, "fish") ? fish
                                               : NULL;

    if (!text)
        return cli_usage(cli, "no completion for '%.80s': bash, zsh, fish", shell);
    printf("%s", text);
    return fflush(stdout) ? EXIT_FAILED : EXIT_OK;
}
