#include "core/config.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/own.h"
#include "base/str.h"
#include "core/policy.h"

static const char *const log_levels[] = {"error", "warn", "info", "debug", NULL};
static const char *const engines[] = {"embedded", "temporal", NULL};
static const char *const booleans[] = {"true", "false", NULL};
static const char *const switches[] = {"auto", "true", "false", NULL};
static const char *const runner_kinds[] = {"auto", "docker", "podman", "process", "none", NULL};
static const char *const networks[] = {"host", "bridge", "none", NULL};
static const char *const providers[] = {"anthropic", "openai", "ollama", "replay", NULL};
static const char *const layers[] = {"landlock", "seccomp",   "rlimits", "uid",
                                     "userns",   "container", "none",    NULL};

#define MIB ((int64_t)1 << 20)

/* clang-format off */
static const struct config_row rows[] = {
    [CONFIG_SERVER_LISTEN] = {"server.listen", "STIGMER_LISTEN", CONFIG_ADDRESS, 0, 0, NULL,
        "127.0.0.1:7234", "address of the API besides its unix socket; beyond loopback only with token_file, tls.cert and tls.key; port 0 takes a free one"},
    [CONFIG_SERVER_TOKEN_FILE] = {"server.token_file", "STIGMER_TOKEN_FILE", CONFIG_PATH, 0, 0, NULL,
        "", "file with the token that calls over TCP must show, 16 characters or more, readable by its owner alone; read at start"},
    [CONFIG_SERVER_TLS_CERT] = {"server.tls.cert", "STIGMER_TLS_CERT", CONFIG_PATH, 0, 0, NULL,
        "", "certificate of the API (PEM, with its chain): TCP then speaks TLS; read at start"},
    [CONFIG_SERVER_TLS_KEY] = {"server.tls.key", "STIGMER_TLS_KEY", CONFIG_PATH, 0, 0, NULL,
        "", "key of that certificate (PEM), readable by its owner alone; read at start"},
    [CONFIG_SERVER_LOG_LEVEL] = {"server.log.level", "STIGMER_LOG_LEVEL", CONFIG_CHOICE, 0, 0, log_levels,
        "info", "how much the server and the runner write to their logs"},
    [CONFIG_SERVER_LOG_MAX_SIZE] = {"server.log.max_size", "STIGMER_LOG_MAX_SIZE", CONFIG_SIZE, 65536, 0, NULL,
        "10MiB", "a log file that grows past this size is rotated"},
    [CONFIG_SERVER_LOG_MAX_FILES] = {"server.log.max_files", "STIGMER_LOG_MAX_FILES", CONFIG_INT, 1, 100, NULL,
        "5", "how many files of one log are kept, the current one included"},
    [CONFIG_ENGINE] = {"engine", "STIGMER_ENGINE", CONFIG_CHOICE, 0, 0, engines,
        "embedded", "what schedules executions: a queue of the server's own, or Temporal"},
    [CONFIG_TEMPORAL_ADDRESS] = {"temporal.address", "TEMPORAL_SERVICE_ADDRESS", CONFIG_ADDRESS, 0, 0, NULL,
        "127.0.0.1:7233", "address of Temporal's frontend; naming one means that the server there is not ours to start"},
    [CONFIG_TEMPORAL_NAMESPACE] = {"temporal.namespace", "TEMPORAL_NAMESPACE", CONFIG_TEXT, 0, 0, NULL,
        "default", "Temporal's namespace"},
    [CONFIG_TEMPORAL_MANAGED] = {"temporal.managed", "STIGMER_TEMPORAL_MANAGED", CONFIG_CHOICE, 0, 0, booleans,
        "true", "start a development server of Temporal at temporal.address, and stop it with the stack; false when an address is named, unless it is set itself"},
    [CONFIG_TEMPORAL_BINARY] = {"temporal.binary", "STIGMER_TEMPORAL_BINARY", CONFIG_TEXT, 0, 0, NULL,
        "temporal", "Temporal's program for that: a path, or a name on PATH"},
    [CONFIG_TEMPORAL_UI] = {"temporal.ui", "STIGMER_TEMPORAL_UI", CONFIG_URL, 0, 0, NULL,
        "", "address of Temporal's web UI, for links to workflows; of a server that is started here the address it gets, http://127.0.0.1:8233 by default"},
    [CONFIG_TEMPORAL_HEARTBEAT] = {"temporal.heartbeat", "STIGMER_TEMPORAL_HEARTBEAT", CONFIG_DURATION, 1000, 0, NULL,
        "30s", "a runner that Temporal has not heard of for so long has lost its runs to another"},
    [CONFIG_TEMPORAL_TLS] = {"temporal.tls.enabled", "TEMPORAL_TLS", CONFIG_CHOICE, 0, 0, switches,
        "auto", "speak TLS to Temporal; auto does so when a key below temporal.tls or an API key is set"},
    [CONFIG_TEMPORAL_TLS_CA] = {"temporal.tls.ca", "TEMPORAL_TLS_CA", CONFIG_PATH, 0, 0, NULL,
        "", "authority that Temporal's certificate is from (PEM); none: those that the system knows; read at start"},
    [CONFIG_TEMPORAL_TLS_CERT] = {"temporal.tls.cert", "TEMPORAL_TLS_CERT", CONFIG_PATH, 0, 0, NULL,
        "", "certificate that is shown to Temporal (PEM, with its chain); read at start"},
    [CONFIG_TEMPORAL_TLS_KEY] = {"temporal.tls.key", "TEMPORAL_TLS_KEY", CONFIG_PATH, 0, 0, NULL,
        "", "key of that certificate (PEM), readable by its owner alone; read at start"},
    [CONFIG_TEMPORAL_TLS_SERVER_NAME] = {"temporal.tls.server_name", "TEMPORAL_TLS_SERVER_NAME", CONFIG_TEXT, 0, 0, NULL,
        "", "name that Temporal's certificate must be for, when it is not that of temporal.address"},
    [CONFIG_TEMPORAL_API_KEY_FILE] = {"temporal.api_key_file", "TEMPORAL_API_KEY_FILE", CONFIG_PATH, 0, 0, NULL,
        "", "file with the API key that Temporal wants (Temporal Cloud), readable by its owner alone; read at start"},
    [CONFIG_RUNNER_KIND] = {"runner.kind", "STIGMER_RUNNER", CONFIG_CHOICE, 0, 0, runner_kinds,
        "auto", "where agents run: a container, a process of this machine, or nowhere; auto takes a container when an engine (docker, then podman) answers"},
    [CONFIG_RUNNER_NAME] = {"runner.name", "STIGMER_RUNNER_NAME", CONFIG_TEXT, 0, 0, NULL,
        "stigmer-agent-runner", "name of the runner's container"},
    [CONFIG_RUNNER_IMAGE] = {"runner.image", "STIGMER_RUNNER_IMAGE", CONFIG_TEXT, 0, 0, NULL,
        "stigmer-agent-runner:local", "image of the runner's container"},
    [CONFIG_RUNNER_NETWORK] = {"runner.network", "STIGMER_RUNNER_NETWORK", CONFIG_CHOICE, 0, 0, networks,
        "host", "network of the runner's container"},
    [CONFIG_RUNNER_SLOTS] = {"runner.slots", "STIGMER_RUNNER_SLOTS", CONFIG_INT, 1, 1024, NULL,
        "16", "executions at once in one runner"},
    [CONFIG_RUNNER_MEMORY] = {"runner.memory", "STIGMER_RUNNER_MEMORY", CONFIG_SIZE, 16 * MIB, 0, NULL,
        "512MiB", "memory limit of the runner's container; of each process of a tool when the runner is a process"},
    [CONFIG_RUNNER_CPUS] = {"runner.cpus", "STIGMER_RUNNER_CPUS", CONFIG_NUMBER, 0, 0, NULL,
        "0", "processors the runner's container may use; 0 is no limit"},
    [CONFIG_RUNNER_PIDS] = {"runner.pids", "STIGMER_RUNNER_PIDS", CONFIG_INT, 16, 65536, NULL,
        "512", "processes the runner's container may have; the tools together when the runner is a process"},
    [CONFIG_RUNNER_SESSION_IDLE] = {"runner.session_idle", "STIGMER_RUNNER_SESSION_IDLE", CONFIG_DURATION, 1000, 0, NULL,
        "10m", "how long the own container of a session with --workspace is kept without work"},
    [CONFIG_LLM_PROVIDER] = {"llm.provider", "STIGMER_LLM_PROVIDER", CONFIG_CHOICE, 0, 0, providers,
        "ollama", "who answers for the model; openai is any compatible endpoint, replay answers from a recording"},
    [CONFIG_LLM_MODEL] = {"llm.model", "STIGMER_LLM_MODEL", CONFIG_TEXT, 0, 0, NULL,
        "", "model of runs that name none; the default follows the provider"},
    [CONFIG_LLM_BASE_URL] = {"llm.base_url", "STIGMER_LLM_BASE_URL", CONFIG_URL, 0, 0, NULL,
        "", "endpoint of the provider; for replay the path of the recording; the default follows the provider"},
    [CONFIG_LLM_API_KEY_FILE] = {"llm.api_key_file", "STIGMER_LLM_API_KEY_FILE", CONFIG_PATH, 0, 0, NULL,
        "", "file that holds the provider's key, when the key's own variable is not set"},
    [CONFIG_LLM_MAX_OUTPUT_TOKENS] = {"llm.max_output_tokens", "STIGMER_LLM_MAX_OUTPUT_TOKENS", CONFIG_INT, 0, 10000000, NULL,
        "0", "longest answer of one model call; 0 is the model's own limit"},
    [CONFIG_LLM_CONTEXT_TOKENS] = {"llm.context_tokens", "STIGMER_LLM_CONTEXT_TOKENS", CONFIG_INT, 0, 100000000, NULL,
        "0", "size of the model's context (Ollama's num_ctx); 0 follows the model"},
    [CONFIG_BUDGET_MAX_TURNS] = {"budget.max_turns", "STIGMER_BUDGET_MAX_TURNS", CONFIG_INT, 1, 100000, NULL,
        "100", "model calls of one execution"},
    [CONFIG_BUDGET_MAX_TOKENS] = {"budget.max_tokens", "STIGMER_BUDGET_MAX_TOKENS", CONFIG_INT, 0, INT64_MAX, NULL,
        "0", "tokens, in and out, of one execution; 0 is no limit"},
    [CONFIG_BUDGET_MAX_DURATION] = {"budget.max_duration", "STIGMER_BUDGET_MAX_DURATION", CONFIG_DURATION, 1000, 0, NULL,
        "1h", "time one execution may be worked on; the time without a runner, or for a person's approval, does not count"},
    [CONFIG_SANDBOX_REQUIRE] = {"sandbox.require", "STIGMER_SANDBOX_REQUIRE", CONFIG_CHOICES, 0, 0, layers,
        "landlock,seccomp", "sandbox layers without which no tool runs; none switches the check off"},
    [CONFIG_SANDBOX_EGRESS] = {"sandbox.egress", "STIGMER_SANDBOX_EGRESS", CONFIG_EGRESS, 0, 0, NULL,
        "public", "where the agents' tools may connect to: public (any host with a public address), deny, allow (anywhere, directly) or a list of hosts such as *.debian.org,api.example.org:443, where * stands for hosts with a public address"},
    [CONFIG_TOOLS_REQUIRE_APPROVAL] = {"tools.require_approval", "STIGMER_TOOLS_REQUIRE_APPROVAL", CONFIG_TOOLS, 0, 0, NULL,
        "", "tools whose calls wait until a person approves them, for every agent, besides those that an agent names itself; * stands for anything, as in write_*"},
};
/* clang-format on */
_Static_assert(sizeof rows / sizeof rows[0] == CONFIG_KEYS, "every key has a row");

/* Of the complete product; saying so beats "unknown key". A name that ends with a dot is a folder.
 */
static const char *const later_keys[] = {"server.console", "llm.fallback", "budget.max_cost_usd",
                                         NULL};

static const struct {
    const char *name, *model, *base_url, *key_env;
} provider_rows[] = {
    {"anthropic", "claude-sonnet-4-5", "https://api.anthropic.com", "ANTHROPIC_API_KEY"},
    {"openai", "gpt-4.1", "https://api.openai.com/v1", "OPENAI_API_KEY"},
    {"ollama", "qwen2.5-coder:7b", "http://localhost:11434", NULL},
    {"replay", "recorded", "", NULL},
};
#define PROVIDERS (sizeof provider_rows / sizeof provider_rows[0])

void config_init(struct config *c)
{
    *c = (struct config){0};
}

void config_done(struct config *c)
{
    for (int k = 0; k < CONFIG_KEYS; k++)
        for (int o = 0; o < CONFIG_ORIGINS; o++)
            free(c->text[k][o]);
    *c = (struct config){0};
}

const struct config_row *config_row(enum config_key key)
{
    return &rows[key];
}

bool config_find(const char *name, enum config_key *ret)
{
    for (int k = 0; k < CONFIG_KEYS; k++)
        if (str_eq(rows[k].name, name)) {
            *ret = (enum config_key)k;
            return true;
        }
    return false;
}

static bool is_later(const char *name)
{
    for (size_t i = 0; later_keys[i]; i++) {
        size_t n = strlen(later_keys[i]);
        bool folder = later_keys[i][n - 1] == '.';

        if (str_eq(later_keys[i], name) || (folder && str_starts(name, later_keys[i])) ||
            (folder && strlen(name) == n - 1 && strncmp(name, later_keys[i], n - 1) == 0))
            return true;
    }
    return false;
}

enum err_code config_lookup(const char *name, enum config_key *ret, struct err *err)
{
    const char *names[CONFIG_KEYS + 1] = {0};
    const char *near;

    if (config_find(name, ret))
        return ERR_OK;
    if (is_later(name))
        return err_set(err, ERR_INVALID, "key '%.80s' is not available in this version", name);
    for (int k = 0; k < CONFIG_KEYS; k++)
        names[k] = rows[k].name;
    near = strlen(name) <= 64 ? str_nearest(name, names) : NULL;
    if (near)
        return err_hint(
            err, err_set(err, ERR_INVALID, "unknown key '%.80s', did you mean '%s'?", name, near),
            "stigmer config list");
    return err_hint(err, err_set(err, ERR_INVALID, "unknown key '%.80s'", name),
                    "stigmer config list");
}

/* ---- is a text a value ------------------------------------------------------------------- */

static bool is_one_of(const char *const *values, const char *word, size_t n)
{
    for (; *values; values++)
        if (strlen(*values) == n && memcmp(*values, word, n) == 0)
            return true;
    return false;
}

static enum err_code refuse_choice(const struct config_row *r, const char *text, struct err *err)
{
    OWN_BUF struct buf list = {0};

    for (size_t i = 0; r->values[i]; i++)
        buf_printf(&list, "%s%s", i ? ", " : "", r->values[i]);
    return err_set(err, ERR_INVALID, "'%.80s' is not one of %s", text, buf_text(&list));
}

static enum err_code check_choice(enum config_key key, const char *text, struct err *err)
{
    const struct config_row *r = &rows[key];

    if (is_one_of(r->values, text, strlen(text)))
        return ERR_OK;
    return refuse_choice(r, text, err);
}

static enum err_code check_choices(const struct config_row *r, const char *text, struct err *err)
{
    if (str_eq(text, "none"))
        return ERR_OK;
    for (const char *p = text;; p++) {
        size_t n = strcspn(p, ",");
        if (!is_one_of(r->values, p, n))
            return refuse_choice(r, text, err);
        if (n == 4 && memcmp(p, "none", 4) == 0)
            return err_set(err, ERR_INVALID, "'none' stands alone");
        p += n;
        if (!*p)
            return ERR_OK;
    }
}

static enum err_code check_address(const char *text, struct err *err)
{
    const char *colon = strrchr(text, ':');
    bool bracketed = text[0] == '[';
    int64_t port;

    if (!colon || colon == text || (bracketed && colon[-1] != ']') ||
        (!bracketed && memchr(text, ':', (size_t)(colon - text))) || strpbrk(text, " \t/") ||
        strlen(text) > 255 || str_to_int(colon + 1, 0, 65535, &port, NULL))
        return err_set(err, ERR_INVALID, "'%.80s' is not an address such as 127.0.0.1:7234", text);
    return ERR_OK;
}

static enum err_code check_url(const char *text, struct err *err)
{
    if (str_starts(text, "http://") || str_starts(text, "https://")) {
        const char *host = strstr(text, "://") + 3;
        if (*host && *host != '/' && !strpbrk(text, " \t\n"))
            return ERR_OK;
    } else if (str_starts(text, "file:/") || text[0] == '/') {
        return ERR_OK;
    }
    return err_set(
        err, ERR_INVALID,
        "'%.120s' is not a URL such as http://localhost:11434, nor the path of a recording", text);
}

static enum err_code check_number(const char *text, struct err *err)
{
    char *end;
    double v;

    errno = 0;
    v = strtod(text, &end);
    if (*end || errno || !(v >= 0) || v > 1e9 || text[0] < '0' || text[0] > '9')
        return err_set(err, ERR_INVALID, "'%.80s' is not a number such as 1.5", text);
    return ERR_OK;
}

/* "deny", "allow", "public", or host patterns: names with dots, and * as a whole label. */
static enum err_code check_egress(const char *text, struct err *err)
{
    static const char host[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-*:,";

    if (str_eq(text, "deny") || str_eq(text, "allow") || str_eq(text, "public"))
        return ERR_OK;
    if (!strchr(text, '.') || text[strspn(text, host)] || strstr(text, ",,") || text[0] == ',' ||
        str_ends(text, ","))
        return err_set(err, ERR_INVALID,
                       "'%.80s' is not deny, allow, public or a list of hosts such as *.debian.org",
                       text);
    return ERR_OK;
}

static enum err_code check_tools(const char *text, struct err *err)
{
    OWN_FREE char *copy = mem_str(text);
    char *rest = copy, *pattern;
    size_t count = 0;
    enum err_code code = ERR_OK;

    while (*text && !code && (pattern = strsep(&rest, ",")))
        code = ++count > POLICY_PATTERNS_MAX
                   ? err_set(err, ERR_INVALID, "more than %d names of tools", POLICY_PATTERNS_MAX)
                   : policy_check(pattern, err);
    return code;
}

static enum err_code check_ranged(const struct config_row *r, const char *text, struct err *err)
{
    enum err_code code;
    int64_t v;

    if (r->type == CONFIG_INT)
        return str_to_int(text, r->min, r->max, &v, err);
    code = r->type == CONFIG_SIZE ? str_to_size(text, &v, err) : str_to_duration_ms(text, &v, err);
    if (code)
        return code;
    if (v < r->min)
        return err_set(err, ERR_INVALID, "'%.80s' is less than the minimum of %lld %s", text,
                       (long long)r->min, r->type == CONFIG_SIZE ? "bytes" : "ms");
    return ERR_OK;
}

static enum err_code check_type(enum config_key key, const char *text, struct err *err)
{
    const struct config_row *r = &rows[key];

    switch (r->type) {
    case CONFIG_TEXT:
        return ERR_OK;
    case CONFIG_PATH:
        if (text[0] != '/')
            return err_set(err, ERR_INVALID, "'%.120s' is not an absolute path", text);
        return ERR_OK;
    case CONFIG_ADDRESS:
        return check_address(text, err);
    case CONFIG_URL:
        return check_url(text, err);
    case CONFIG_INT:
    case CONFIG_DURATION:
    case CONFIG_SIZE:
        return check_ranged(r, text, err);
    case CONFIG_NUMBER:
        return check_number(text, err);
    case CONFIG_CHOICE:
        return check_choice(key, text, err);
    case CONFIG_CHOICES:
        return check_choices(r, text, err);
    case CONFIG_EGRESS:
        return check_egress(text, err);
    case CONFIG_TOOLS:
        return check_tools(text, err);
    }
    return err_set(err, ERR_INTERNAL, "key %s has no type", r->name);
}

enum err_code config_check(enum config_key key, const char *text, struct err *err)
{
    enum err_code code;

    if (str_is_empty(text))
        return err_set(err, ERR_INVALID, "%s: the value is empty", rows[key].name);
    if (strlen(text) > 4096 || str_utf8_check(text, strlen(text)) != strlen(text) ||
        strpbrk(text, "\n\r"))
        return err_set(err, ERR_INVALID, "%s: the value is not one line of at most 4096 bytes",
                       rows[key].name);
    code = check_type(key, text, err);
    return code ? err_wrap(err, code, "%s", rows[key].name) : ERR_OK;
}

/* ---- places ------------------------------------------------------------------------------ */

static void put_value(struct config *c, enum config_key key, enum config_origin origin,
                      const char *text)
{
    free(c->text[key][origin]);
    c->text[key][origin] = mem_str(text);
}

enum err_code config_set(struct config *c, enum config_key key, enum config_origin origin,
                         const char *text, struct err *err)
{
    enum err_code code = config_check(key, text, err);

    if (code)
        return code;
    put_value(c, key, origin, text);
    return ERR_OK;
}

enum err_code config_set_pair(struct config *c, enum config_origin origin, const char *pair,
                              struct err *err)
{
    const char *equal = strchr(pair, '=');
    OWN_FREE char *name = NULL;
    enum config_key key;
    enum err_code code;

    if (!equal)
        return err_set(err, ERR_INVALID, "'%.120s' is not key=value", pair);
    name = mem_strn(pair, (size_t)(equal - pair));
    code = config_lookup(name, &key, err);
    return code ? code : config_set(c, key, origin, equal + 1, err);
}

/* ---- the file ---------------------------------------------------------------------------- */

struct loading {
    struct config found; /* values of the document, taken over when all of it is right */
    struct buf faults;
    int fault_count;
    config_line_fn *line;
    void *line_arg;
};

static void add_fault(struct loading *l, const char *path, const struct err *e)
{
    int at = l->line ? l->line(path, l->line_arg) : 0;

    if (l->fault_count++)
        buf_putc(&l->faults, '\n');
    if (at > 0)
        buf_printf(&l->faults, "line %d: ", at);
    buf_puts(&l->faults, e->msg);
}

/* A scalar as the text a person would type; false when it is none. */
static bool scalar_text(const json_t *v, struct buf *b)
{
    buf_clear(b);
    if (json_is_string(v))
        buf_puts(b, json_string_value(v));
    else if (json_is_integer(v))
        buf_printf(b, "%lld", (long long)json_integer_value(v));
    else if (json_is_real(v))
        buf_printf(b, "%.15g", json_real_value(v));
    else if (json_is_boolean(v))
        buf_puts(b, json_is_true(v) ? "true" : "false");
    else
        return false;
    return true;
}

static bool value_text(const struct config_row *r, const json_t *v, struct buf *ret)
{
    bool many = r->type == CONFIG_CHOICES || r->type == CONFIG_EGRESS || r->type == CONFIG_TOOLS;
    OWN_BUF struct buf item = {0};
    size_t i;
    json_t *e;

    if (!json_is_array(v))
        return scalar_text(v, ret);
    if (!many)
        return false;
    json_array_foreach(v, i, e)
    {
        if (!scalar_text(e, &item))
            return false;
        buf_printf(ret, "%s%s", i ? "," : "", buf_text(&item));
    }
    return true;
}

static void load_value(struct loading *l, enum config_key key, const json_t *v)
{
    OWN_BUF struct buf text = {0};
    struct err e = {0};

    if (json_is_null(v))
        return;
    if (!value_text(&rows[key], v, &text))
        err_set(&e, ERR_INVALID, "%s: a single value is expected", rows[key].name);
    else
        (void)!config_set(&l->found, key, CONFIG_FROM_FILE, buf_text(&text), &e);
    if (e.code)
        add_fault(l, rows[key].name, &e);
}

/* Is path the folder of some key, such as "server" or "server.log"? */
static bool is_folder(const char *path)
{
    size_t n = strlen(path);

    for (int k = 0; k < CONFIG_KEYS; k++)
        if (strncmp(rows[k].name, path, n) == 0 && rows[k].name[n] == '.')
            return true;
    return false;
}

static void load_object(struct loading *l, const char *prefix, const json_t *object)
{
    const char *name;
    json_t *v;

    json_object_foreach((json_t *)(uintptr_t)object, name, v)
    {
        OWN_BUF struct buf path = {0};
        enum config_key key;
        struct err e = {0};

        buf_printf(&path, "%s%s%s", prefix, *prefix ? "." : "", name);
        if (config_find(buf_text(&path), &key)) {
            load_value(l, key, v);
        } else if (is_folder(buf_text(&path)) && (json_is_object(v) || json_is_null(v))) {
            if (json_is_object(v))
                load_object(l, buf_text(&path), v);
        } else if (is_folder(buf_text(&path))) {
            err_set(&e, ERR_INVALID, "%s: keys are expected below it", buf_text(&path));
            add_fault(l, buf_text(&path), &e);
        } else {
            (void)!config_lookup(buf_text(&path), &key, &e);
            add_fault(l, buf_text(&path), &e);
        }
    }
}

enum err_code config_load(struct config *c, const json_t *doc, config_line_fn *line, void *arg,
                          struct err *err)
{
    struct loading l = {.line = line, .line_arg = arg};
    enum err_code code = ERR_OK;

    if (!doc || json_is_null(doc))
        return ERR_OK;
    if (!json_is_object(doc))
        return err_set(err, ERR_INVALID, "the configuration is not a set of keys");
    load_object(&l, "", doc);
    if (l.fault_count) {
        code = err_set(err, ERR_INVALID, "%.1000s", buf_text(&l.faults));
    } else {
        for (int k = 0; k < CONFIG_KEYS; k++)
            if (l.found.text[k][CONFIG_FROM_FILE])
                put_value(c, (enum config_key)k, CONFIG_FROM_FILE,
                          l.found.text[k][CONFIG_FROM_FILE]);
    }
    buf_done(&l.faults);
    config_done(&l.found);
    return code;
}

enum err_code config_load_env(struct config *c, config_env_fn *get, void *arg, struct err *err)
{
    OWN_BUF struct buf faults = {0};

    for (int k = 0; k < CONFIG_KEYS; k++) {
        const char *text = get(rows[k].env, arg);
        struct err e = {0};

        if (str_is_empty(text))
            continue;
        if (config_set(c, (enum config_key)k, CONFIG_FROM_ENV, text, &e))
            buf_printf(&faults, "%s%s: %s", faults.len ? "\n" : "", rows[k].env, e.msg);
    }
    if (faults.len)
        return err_set(err, ERR_INVALID, "%.1000s", buf_text(&faults));
    return ERR_OK;
}

/* ---- reading ----------------------------------------------------------------------------- */

static bool follows_provider(enum config_key key)
{
    return key == CONFIG_LLM_MODEL || key == CONFIG_LLM_BASE_URL ||
           key == CONFIG_LLM_API_KEY_FILE || key == CONFIG_LLM_MAX_OUTPUT_TOKENS ||
           key == CONFIG_LLM_CONTEXT_TOKENS;
}

/* The provider as a place sees it: its own, or that of the places below. */
static const char *provider_at(const struct config *c, int origin)
{
    for (int o = origin; o > CONFIG_FROM_DEFAULT; o--)
        if (c->text[CONFIG_LLM_PROVIDER][o])
            return c->text[CONFIG_LLM_PROVIDER][o];
    return rows[CONFIG_LLM_PROVIDER].fallback;
}

static const char *default_of(const struct config *c, enum config_key key)
{
    const char *provider = provider_at(c, CONFIG_FROM_FLAG);

    for (size_t i = 0; i < PROVIDERS; i++) {
        if (!str_eq(provider_rows[i].name, provider))
            continue;
        if (key == CONFIG_LLM_MODEL)
            return provider_rows[i].model;
        if (key == CONFIG_LLM_BASE_URL)
            return provider_rows[i].base_url;
    }
    return rows[key].fallback;
}

bool config_temporal_is_managed(const struct config *c)
{
    if (!str_eq(config_get_str(c, CONFIG_TEMPORAL_MANAGED), "true"))
        return false;
    return config_origin(c, CONFIG_TEMPORAL_MANAGED) != CONFIG_FROM_DEFAULT ||
           config_origin(c, CONFIG_TEMPORAL_ADDRESS) == CONFIG_FROM_DEFAULT;
}

bool config_temporal_has_tls(const struct config *c)
{
    static const enum config_key signs[] = {
        CONFIG_TEMPORAL_TLS_CA, CONFIG_TEMPORAL_TLS_CERT, CONFIG_TEMPORAL_TLS_KEY,
        CONFIG_TEMPORAL_TLS_SERVER_NAME, CONFIG_TEMPORAL_API_KEY_FILE};

    if (!str_eq(config_get_str(c, CONFIG_TEMPORAL_TLS), "auto"))
        return str_eq(config_get_str(c, CONFIG_TEMPORAL_TLS), "true");
    for (size_t i = 0; i < sizeof signs / sizeof signs[0]; i++)
        if (*config_get_str(c, signs[i]))
            return true;
    return false;
}

enum config_origin config_origin(const struct config *c, enum config_key key)
{
    for (int o = CONFIG_FROM_FLAG; o > CONFIG_FROM_DEFAULT; o--)
        if (c->text[key][o] &&
            (!follows_provider(key) || str_eq(provider_at(c, o), provider_at(c, CONFIG_FROM_FLAG))))
            return (enum config_origin)o;
    return CONFIG_FROM_DEFAULT;
}

const char *config_get_str(const struct config *c, enum config_key key)
{
    enum config_origin o = config_origin(c, key);

    return o == CONFIG_FROM_DEFAULT ? default_of(c, key) : c->text[key][o];
}

const char *config_origin_name(enum config_origin origin)
{
    static const char *const names[] = {"default", "file", "environment", "flag"};

    return (unsigned)origin < CONFIG_ORIGINS ? names[origin] : "unknown";
}

int64_t config_get_int(const struct config *c, enum config_key key)
{
    const char *text = config_get_str(c, key);
    int64_t v = 0;

    if (rows[key].type == CONFIG_SIZE)
        (void)!str_to_size(text, &v, NULL);
    else if (rows[key].type == CONFIG_DURATION)
        (void)!str_to_duration_ms(text, &v, NULL);
    else
        (void)!str_to_int(text, INT64_MIN, INT64_MAX, &v, NULL);
    return v;
}

int64_t config_get_duration(const struct config *c, enum config_key key)
{
    return config_get_int(c, key);
}

int64_t config_get_size(const struct config *c, enum config_key key)
{
    return config_get_int(c, key);
}

double config_get_number(const struct config *c, enum config_key key)
{
    return strtod(config_get_str(c, key), NULL);
}

bool config_has(const struct config *c, enum config_key key, const char *word)
{
    size_t n = strlen(word);

    for (const char *p = config_get_str(c, key); *p;) {
        size_t len = strcspn(p, ",");
        if (len == n && memcmp(p, word, n) == 0)
            return true;
        p += len + (p[len] == ',');
    }
    return false;
}

bool config_is_loopback(const char *address)
{
    const char *colon = strrchr(address, ':');
    bool bracketed = address[0] == '[';
    size_t len = colon ? (size_t)(colon - address) : 0;
    struct in6_addr a6;
    struct in_addr a4;
    char host[64];

    if (!len || len >= sizeof host || (bracketed && (len < 3 || colon[-1] != ']')))
        return false;
    memcpy(host, address + bracketed, len - 2u * bracketed);
    host[len - 2u * bracketed] = '\0';
    if (bracketed)
        return inet_pton(AF_INET6, host, &a6) == 1 &&
               (IN6_IS_ADDR_LOOPBACK(&a6) ||
                (IN6_IS_ADDR_V4MAPPED(&a6) && a6.s6_addr[12] == IN_LOOPBACKNET));
    if (inet_pton(AF_INET, host, &a4) == 1)
        return ntohl(a4.s_addr) >> 24 == IN_LOOPBACKNET;
    return str_eq(host, "localhost");
}

enum err_code config_check_listen(const struct config *c, struct err *err)
{
    static const enum config_key needed[] = {CONFIG_SERVER_TOKEN_FILE, CONFIG_SERVER_TLS_CERT,
                                             CONFIG_SERVER_TLS_KEY};
    const char *listen = config_get_str(c, CONFIG_SERVER_LISTEN), *first = NULL;
    OWN_BUF struct buf missing = {0};

    if (config_is_loopback(listen))
        return ERR_OK;
    for (size_t i = 0; i < sizeof needed / sizeof needed[0]; i++) {
        const char *name = rows[needed[i]].name;

        if (!str_is_empty(config_get_str(c, needed[i])))
            continue;
        buf_printf(&missing, "%s%s", missing.len ? ", " : "", name);
        first = first ? first : name;
    }
    if (!first)
        return ERR_OK;
    err_set(err, ERR_INVALID,
            "server.listen: '%.80s' is beyond loopback, which needs a token and TLS: set %s",
            listen, buf_text(&missing));
    return err_hint(err, ERR_INVALID, "stigmer config set %s /path/to/file", first);
}

const char *config_egress(const struct config *c)
{
    return config_get_str(c, CONFIG_SANDBOX_EGRESS);
}

void config_warnings(const struct config *c, struct buf *ret)
{
    if (str_eq(config_get_str(c, CONFIG_SANDBOX_REQUIRE), "none"))
        buf_puts(ret, "sandbox.require is none: tools run with whatever confinement there is\n");
}

const char *config_key_env(const char *provider)
{
    for (size_t i = 0; i < PROVIDERS; i++)
        if (str_eq(provider_rows[i].name, provider))
            return provider_rows[i].key_env;
    return NULL;
}
