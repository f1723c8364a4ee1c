/* config.h — the settings of one installation: one table of keys, and a value of each key for
 * every place that can set it.
 *
 *   flag > environment > file > default
 *
 * All places are kept apart until a value is asked for. That is what makes the one rule that is
 * not plain layering possible: a place that changes llm.provider does not inherit llm.model,
 * llm.base_url, llm.api_key_file and the token limits that a lower place gave to another
 * provider; their defaults follow the provider.
 *
 * No I/O here: the caller reads the file and turns its YAML into a JSON document. Secrets are
 * never values of this table, only names of files that hold them.
 * Errors: ERR_INVALID; all faults of a document are told at once, one a line, with line numbers
 * when the caller can say them. Threads: none of its own; a filled struct may be read by all. */
#ifndef CORE_CONFIG_H
#define CORE_CONFIG_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

enum config_key {
    CONFIG_SERVER_LISTEN,
    CONFIG_SERVER_TOKEN_FILE,
    CONFIG_SERVER_TLS_CERT,
    CONFIG_SERVER_TLS_KEY,
    CONFIG_SERVER_LOG_LEVEL,
    CONFIG_SERVER_LOG_MAX_SIZE,
    CONFIG_SERVER_LOG_MAX_FILES,
    CONFIG_ENGINE,
    CONFIG_TEMPORAL_ADDRESS,
    CONFIG_TEMPORAL_NAMESPACE,
    CONFIG_TEMPORAL_MANAGED,
    CONFIG_TEMPORAL_BINARY,
    CONFIG_TEMPORAL_UI,
    CONFIG_TEMPORAL_HEARTBEAT,
    CONFIG_TEMPORAL_TLS,
    CONFIG_TEMPORAL_TLS_CA,
    CONFIG_TEMPORAL_TLS_CERT,
    CONFIG_TEMPORAL_TLS_KEY,
    CONFIG_TEMPORAL_TLS_SERVER_NAME,
    CONFIG_TEMPORAL_API_KEY_FILE,
    CONFIG_RUNNER_KIND,
    CONFIG_RUNNER_NAME,
    CONFIG_RUNNER_IMAGE,
    CONFIG_RUNNER_NETWORK,
    CONFIG_RUNNER_SLOTS,
    CONFIG_RUNNER_MEMORY,
    CONFIG_RUNNER_CPUS,
    CONFIG_RUNNER_PIDS,
    CONFIG_RUNNER_SESSION_IDLE,
    CONFIG_LLM_PROVIDER,
    CONFIG_LLM_MODEL,
    CONFIG_LLM_BASE_URL,
    CONFIG_LLM_API_KEY_FILE,
    CONFIG_LLM_MAX_OUTPUT_TOKENS,
    CONFIG_LLM_CONTEXT_TOKENS,
    CONFIG_BUDGET_MAX_TURNS,
    CONFIG_BUDGET_MAX_TOKENS,
    CONFIG_BUDGET_MAX_DURATION,
    CONFIG_SANDBOX_REQUIRE,
    CONFIG_SANDBOX_EGRESS,
    CONFIG_TOOLS_REQUIRE_APPROVAL,
    CONFIG_KEYS
};

enum config_type {
    CONFIG_TEXT,
    CONFIG_PATH,     /* absolute */
    CONFIG_ADDRESS,  /* host:port; an IPv6 host in brackets */
    CONFIG_URL,      /* http:// or https://; for provider replay a path or file: URL */
    CONFIG_INT,      /* whole number from min to max */
    CONFIG_NUMBER,   /* not negative */
    CONFIG_DURATION, /* config_get_int gives milliseconds */
    CONFIG_SIZE,     /* config_get_int gives bytes */
    CONFIG_CHOICE,   /* one of values */
    CONFIG_CHOICES,  /* comma-separated, each one of values; "none" alone */
    CONFIG_EGRESS,   /* deny, allow, public, or host patterns */
    CONFIG_TOOLS     /* comma-separated patterns of tool names, see policy.h */
};

/* What a key is: docs/configuration.md, `stigmer config` and the checks are made from these. */
struct config_row {
    const char *name; /* "llm.model" */
    const char *env;  /* "STIGMER_LLM_MODEL" */
    enum config_type type;
    int64_t min, max;          /* of CONFIG_INT; of CONFIG_SIZE and CONFIG_DURATION min alone */
    const char *const *values; /* of CONFIG_CHOICE and CONFIG_CHOICES, NULL-ended */
    const char *fallback;      /* the default as text; "" none; by provider for llm.* */
    const char *help;
};

enum config_origin {
    CONFIG_FROM_DEFAULT,
    CONFIG_FROM_FILE,
    CONFIG_FROM_ENV,
    CONFIG_FROM_FLAG,
    CONFIG_ORIGINS
};

struct config {
    char *text[CONFIG_KEYS][CONFIG_ORIGINS]; /* owned; NULL where that place says nothing */
};

void config_init(struct config *c);
void config_done(struct config *c);

const struct config_row *config_row(enum config_key key);
bool config_find(const char *name, enum config_key *ret);

/* Fails with the nearest name, or with "not available in this version" for a key that the
 * complete product has and this one does not. */
MUST_CHECK enum err_code config_lookup(const char *name, enum config_key *ret, struct err *err);

/* Is text a value of key? The message says what is accepted. */
MUST_CHECK enum err_code config_check(enum config_key key, const char *text, struct err *err);

/* One value of one place; text is copied. */
MUST_CHECK enum err_code config_set(struct config *c, enum config_key key,
                                    enum config_origin origin, const char *text, struct err *err);

/* "key=value" as --set has it. */
MUST_CHECK enum err_code config_set_pair(struct config *c, enum config_origin origin,
                                         const char *pair, struct err *err);

/* The line of the key that path ("llm.model") names, from 1; 0 when not known. */
typedef int config_line_fn(const char *path, void *arg);

/* The document of config.yaml: nested objects; null and a missing document say nothing.
 * line may be NULL. On failure nothing of the document is taken. */
MUST_CHECK enum err_code config_load(struct config *c, const json_t *doc, config_line_fn *line,
                                     void *arg, struct err *err);

/* Every variable of the table; get is getenv or a stand-in. A set, empty variable says nothing. */
typedef const char *config_env_fn(const char *name, void *arg);
MUST_CHECK enum err_code config_load_env(struct config *c, config_env_fn *get, void *arg,
                                         struct err *err);

/* The value that counts, as text; never NULL ("" is none). */
const char *config_get_str(const struct config *c, enum config_key key);
enum config_origin config_origin(const struct config *c, enum config_key key);

/* Is the Temporal server ours to start? temporal.managed as somebody has set it; else yes, unless
 * somebody has named an address. */
bool config_temporal_is_managed(const struct config *c);

/* Is TLS spoken to Temporal? */
bool config_temporal_has_tls(const struct config *c);
const char *config_origin_name(enum config_origin origin); /* default, file, environment, flag */

/* CONFIG_INT, CONFIG_DURATION (milliseconds), CONFIG_SIZE (bytes); 0 when the value is empty. */
int64_t config_get_int(const struct config *c, enum config_key key);
int64_t config_get_duration(const struct config *c, enum config_key key);
int64_t config_get_size(const struct config *c, enum config_key key);
double config_get_number(const struct config *c, enum config_key key);

/* Is word one of the comma-separated words of the value? */
bool config_has(const struct config *c, enum config_key key, const char *word);

/* Does "host:port" name this machine alone? Numbers of the loopback networks, and localhost. */
bool config_is_loopback(const char *address);

/* A server.listen beyond loopback needs a token and TLS. The one rule that joins several keys: true
 * of a whole configuration, not of one value. */
MUST_CHECK enum err_code config_check_listen(const struct config *c, struct err *err);

/* The text of sandbox.egress, as core/egress.h reads it. */
const char *config_egress(const struct config *c);

/* Lines a person should see at start, each ending with a newline; none when all is well. */
void config_warnings(const struct config *c, struct buf *ret);

/* The environment variable that carries the key of a provider, or NULL when it needs none. */
const char *config_key_env(const char *provider);

#endif
