/* models.h — what a provider has: its list of models, what it says of one, pulling one (Ollama),
 * and one cheap call to see that it answers. Each call blocks. Errors are the provider's own words
 * with what to do about them; a key is never part of one.
 *
 *   Ollama     GET /api/tags, POST /api/show, POST /api/pull (its docs/api.md)
 *   OpenAI     GET /models, and every endpoint compatible with it
 *   Anthropic  GET /v1/models
 */
#ifndef PROG_STIGMER_SERVER_MODELS_H
#define PROG_STIGMER_SERVER_MODELS_H

#include <jansson.h>
#include <stdbool.h>

#include "base/err.h"

struct models { /* text is borrowed */
    const char *provider, *base_url;
    const char *key; /* NULL: none */
};

/* An array of {"name", and what is known: "bytes","family","parameters","quantization",
 * "modifiedAt"}; the caller's. */
MUST_CHECK enum err_code models_list(const struct models *m, json_t **ret, struct err *err);

/* {"contextTokens": n or null, "tools": true, false or null}; the caller's. ERR_NOT_FOUND. */
MUST_CHECK enum err_code models_show(const struct models *m, const char *name, json_t **ret,
                                     struct err *err);

/* Is it in a list that models_list gave? Ollama's ":latest" need not be written, nor the day at the
 * end of an Anthropic model ("-20250929"). */
bool models_has(const json_t *list, const char *name);

/* progress: {"status","completed","total"} as they come. Ollama only. */
typedef void models_progress_fn(const json_t *progress, void *arg);
MUST_CHECK enum err_code models_pull(const struct models *m, const char *name,
                                     models_progress_fn *progress, void *arg, struct err *err);

/* {"firstMs","totalMs","inputTokens","outputTokens","answer","model"}; the caller's. */
MUST_CHECK enum err_code models_try(const struct models *m, const char *name, json_t **ret,
                                    struct err *err);

#endif
