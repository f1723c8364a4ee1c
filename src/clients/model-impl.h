/* model-impl.h — what the files of the model client share: the table of one provider, the parser
 * that builds a turn out of its events, and how failures are worded. Not for other modules. */
#ifndef CLIENTS_MODEL_IMPL_H
#define CLIENTS_MODEL_IMPL_H

#include "base/buf.h"
#include "clients/model.h"

#define MODEL_ANSWER_MAX ((size_t)8 << 20) /* text, arguments and thinking together */
#define MODEL_ARGS_MAX ((size_t)1 << 20)   /* of one call */
#define MODEL_CALLS_MAX 128
#define MODEL_EVENT_MAX ((size_t)16 << 20) /* one event on the wire: escapes make it longer */
#define MODEL_RAW_MAX ((size_t)512 << 20)  /* the whole stream, framing included */

struct model_parse;

/* One wire format. */
struct model_provider {
    const char *name;
    const char *url;      /* default endpoint */
    const char *model;    /* default model, or NULL */
    const char *key_name; /* the variable a person sets */
    bool is_ndjson;       /* else server-sent events */

    char *(*endpoint)(const char *base);               /* the URL to post to; owned by the caller */
    void (*auth)(const char *key, struct buf *line);   /* one "Name: value", or nothing */
    const char *header;                                /* one more header, or NULL */
    json_t *(*body)(const struct model_request *req);  /* the request; owned by the caller */
    void (*event)(struct model_parse *p, json_t *ev);  /* one event of the stream */
    void (*whole)(struct model_parse *p, json_t *all); /* an answer that was not streamed */
};
extern const struct model_provider model_anthropic, model_openai, model_ollama;

/* NULL when there is no such provider. */
const struct model_provider *model_provider_find(const char *name);

/* ---- model-parse.c: events in, a turn out ---------------------------------------------------- */

struct model_parse_call {
    int64_t key; /* the provider's number of the call */
    char *id;    /* owned; "" until said */
    char *name;  /* owned; "" until said */
    struct buf args;
};

struct model_parse {
    struct buf text, thinking;
    struct model_parse_call *calls; /* owned */
    size_t call_count;
    json_t *blocks; /* owned: thinking blocks as the provider wants them back, or NULL */
    struct model_usage usage;
    char stop[32];
    char model[96];
    size_t total;  /* against MODEL_ANSWER_MAX */
    bool complete; /* the format's own end was seen */
    bool failed;   /* the first failure stays */
    enum model_fault fault;
    int fault_status;
    char why[600];
    void (*on_text)(const char *text, size_t len, void *arg); /* may be NULL */
    void *arg;
};
void model_parse_init(struct model_parse *p);
void model_parse_done(struct model_parse *p);

/* Invalid UTF-8 and lone surrogate escapes become U+FFFD, so that one bad byte costs one
 * character. NULL when it is no JSON. */
json_t *model_parse_json(const char *data, size_t len);
json_t *model_parse_string(const char *text); /* a JSON string, whatever the bytes */
const char *model_parse_field(const json_t *o, const char *name); /* text of a member, or "" */
int64_t model_parse_number(const json_t *o, const char *name, int64_t otherwise);

void model_parse_text(struct model_parse *p, const json_t *text); /* ignores what is no string */
void model_parse_thinking(struct model_parse *p, const json_t *text);
/* The call of that key, made when there is none; NULL at the limit (p has failed then). */
struct model_parse_call *model_parse_call_at(struct model_parse *p, int64_t key);
struct model_parse_call *model_parse_call_new(struct model_parse *p, int64_t key);
void model_parse_call_name(struct model_parse_call *c, const char *id, const char *name);
void model_parse_call_args(struct model_parse *p, struct model_parse_call *c, const json_t *args);
void model_parse_stop(struct model_parse *p, const char *stop);
void model_parse_model(struct model_parse *p, const char *model);

ERR_PRINTF(4, 5)
void model_parse_fail(struct model_parse *p, enum model_fault fault, int status, const char *fmt,
                      ...);
/* An error object inside the stream. */
void model_parse_fail_json(struct model_parse *p, int status, json_t *error);

/* Moves the result out. salt tells the ids of calls that came without one apart between turns. */
void model_parse_take(struct model_parse *p, uint32_t salt, struct model_turn *ret);

/* Arguments as an object for formats that want one; what is no object is wrapped. */
json_t *model_parse_args_object(const char *args_json);

/* ---- model-fault.c: what went wrong, in words ------------------------------------------------ */

/* What an error answer or error event means. type and code may be "". */
enum model_fault model_fault_of(int status, const char *type, const char *code,
                                const char *message);
/* The human part of an error answer, JSON or not, into ret; and its fault. */
enum model_fault model_fault_read(int status, const char *body, size_t len, char *ret, size_t size);
enum model_fault model_fault_read_json(int status, const json_t *body, char *ret, size_t size);
/* Retry-After in its three spellings; -1 when not said. */
int64_t model_fault_retry_after(const char *retry_after, const char *retry_after_ms,
                                int64_t wall_ms);
struct model_fault_about {
    const struct model_provider *provider;
    const char *model, *url, *api_key;
};
void model_fault_fill(struct model_failure *f, const struct model_fault_about *about,
                      const char *why);

#endif
