/* model.h — one call to a language model: a conversation in, a stream of text and at last one
 * finished turn out. The same shape for every provider; each provider is a table of functions in
 * its own file (model-anthropic.c, model-openai.c, model-ollama.c).
 *
 * One call is one HTTP exchange: no retries here (core/retry decides, the session carries out).
 * replay: with a cassette the exchange is not sent; the recorded answer number `exchange` goes
 * through the same parser, so the whole path but the socket is the real one.
 * record: on_record gets one cassette line (JSON, no newline) for every exchange, with keys and
 * other credentials left out.
 *
 * Ownership: the request is borrowed until model_start returns. Threads: the loop's thread. */
#ifndef CLIENTS_MODEL_H
#define CLIENTS_MODEL_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "platform/http.h"
#include "platform/loop.h"

enum model_role { MODEL_USER, MODEL_ASSISTANT, MODEL_TOOL };

struct model_tool_call {
    char *call_id;
    char *name;
    char *args_json; /* as the model wrote it; may be no JSON */
};

/* One message of the conversation, oldest first. */
struct model_message {
    enum model_role role;
    const char *text;                    /* may be "" for an assistant turn of calls only */
    const struct model_tool_call *calls; /* MODEL_ASSISTANT */
    size_t call_count;
    const char *call_id;        /* MODEL_TOOL: which call this answers */
    const char *tool_name;      /* MODEL_TOOL */
    bool is_error;              /* MODEL_TOOL */
    const char *provider_state; /* MODEL_ASSISTANT: model_turn.provider_state, or NULL */
};

struct model_tool {
    const char *name;
    const char *description;
    const char *schema_json; /* JSON schema of the arguments: an object */
};

struct model_request {
    const char *provider; /* anthropic, openai, ollama */
    const char *model;
    const char *base_url; /* NULL or "": the provider's own */
    const char *api_key;  /* NULL or "": none is sent */
    const char *system;
    const struct model_message *messages;
    size_t message_count;
    const struct model_tool *tools;
    size_t tool_count;
    int64_t max_output_tokens; /* 0: by model */
    int64_t context_tokens;    /* 0: by model; Ollama's num_ctx */
    int64_t first_byte_ms;     /* 0: 10 min; local models load slowly */
    int64_t stall_ms;          /* 0: 2 min */
    const char *cassette;      /* NULL: send for real. Text of a cassette file */
    size_t cassette_len;
    unsigned exchange; /* which recorded answer, from 0 */
};

/* input_tokens is all of the input, cached or not, with every provider. */
struct model_usage {
    int64_t input_tokens, output_tokens, cache_read_tokens, cache_write_tokens;
};

struct model_turn {
    char *text;
    struct model_tool_call *calls;
    size_t call_count;
    struct model_usage usage;
    char stop[32];        /* end_turn, tool_use, max_tokens, refusal, content_filter, … */
    char *provider_state; /* JSON to send back with this turn, or NULL */
    char model[96];       /* as the endpoint names it */
};
void model_turn_done(struct model_turn *t);

/* Why a call failed, as retry and the person need it. */
enum model_fault {
    MODEL_FAULT_AUTH,       /* 401, 403: no retry */
    MODEL_FAULT_REQUEST,    /* 400, 404, 422: ours or the model's name is wrong; no retry */
    MODEL_FAULT_CONTEXT,    /* the conversation is longer than the model takes; no retry */
    MODEL_FAULT_RATE,       /* 429: retry after retry_after_ms or back-off */
    MODEL_FAULT_OVERLOADED, /* 5xx, 529 */
    MODEL_FAULT_CONNECT,    /* no connection */
    MODEL_FAULT_FIRST_BYTE,
    MODEL_FAULT_STALLED,
    MODEL_FAULT_BROKEN,    /* stream cut, or not what the format allows */
    MODEL_FAULT_TOO_LARGE, /* answer over our limit; no retry */
    MODEL_FAULT_CASSETTE   /* the recording has no such answer; no retry */
};
const char *model_fault_name(enum model_fault f);
bool model_fault_is_retryable(enum model_fault f);

struct model_failure {
    enum model_fault fault;
    int status;             /* HTTP, or 0 */
    int64_t retry_after_ms; /* -1: not said */
    struct err err;         /* names provider, model, status, and what to do */
};

struct model_call;
struct model_events {
    void (*on_text)(const char *text, size_t len, void *arg); /* UTF-8, whole characters */
    void (*on_done)(struct model_turn *turn, void *arg);      /* may take what it wants out */
    void (*on_fail)(const struct model_failure *f, void *arg);
    void (*on_record)(const char *line, void *arg); /* NULL: not recorded */
    void *arg;
};

/* Exactly one of on_done and on_fail follows, never before model_start has returned. The handle
 * is gone when that callback returns. */
struct model_call *model_start(struct loop *loop, struct http *http,
                               const struct model_request *req, const struct model_events *ev);
void model_cancel(struct model_call *c); /* no callback follows */

/* The model used when none is configured, e.g. "qwen2.5-coder:7b"; NULL for openai-compatible
 * endpoints without one. And the provider's own endpoint. */
const char *model_default_name(const char *provider);
const char *model_default_url(const char *provider);

#endif
