/* Anthropic's messages API, version 2023-06-01, streamed (platform.claude.com: Messages,
 * Streaming messages, Tool use, Prompt caching). */
#include "base/mem.h"
#include "base/own.h"
#include "base/str.h"
#include "clients/model-impl.h"

static char *endpoint(const char *base)
{
    OWN_BUF struct buf b;
    size_t len = strlen(base);

    buf_init(&b, 0);
    while (len && base[len - 1] == '/')
        len--;
    buf_put(&b, base, len);
    if (str_ends(buf_text(&b), "/messages"))
        return buf_take_text(&b);
    buf_puts(&b, str_ends(buf_text(&b), "/v1") ? "/messages" : "/v1/messages");
    return buf_take_text(&b);
}

static void auth(const char *key, struct buf *line)
{
    buf_printf(line, "x-api-key: %s", key);
}

/* ---- the request ----------------------------------------------------------------------------- */

/* The API wants a limit; these are what each family can write. */
static int64_t default_max_tokens(const char *model)
{
    if (strstr(model, "claude-3-5"))
        return 8192;
    if (str_starts(model, "claude-2") || strstr(model, "claude-3-opus") ||
        strstr(model, "claude-3-sonnet") || strstr(model, "claude-3-haiku"))
        return 4096;
    return 16384;
}

/* Ids that another provider made may hold characters that this API refuses. */
static json_t *clean_id(const char *id)
{
    OWN_FREE char *s = mem_str(id);

    for (char *p = s; *p; p++) {
        bool ok = (*p >= '0' && *p <= '9') || ((*p | 32) >= 'a' && (*p | 32) <= 'z') || *p == '_' ||
                  *p == '-';

        if (!ok)
            *p = '_';
    }
    return json_string(s);
}

static void add_text(json_t *content, const char *text)
{
    if (!str_is_empty(text))
        json_array_append_new(
            content, json_pack("{s:s,s:o}", "type", "text", "text", model_parse_string(text)));
}

static void add_assistant(json_t *content, const struct model_message *m)
{
    json_t *state = m->provider_state ? json_loads(m->provider_state, 0, NULL) : NULL;
    json_t *thinking = json_object_get(state, "anthropic");

    if (json_is_array(thinking))
        json_array_extend(content, thinking);
    json_decref(state);
    add_text(content, m->text);
    for (size_t i = 0; i < m->call_count; i++)
        json_array_append_new(content, json_pack("{s:s,s:o,s:o,s:o}", "type", "tool_use", "id",
                                                 clean_id(m->calls[i].call_id), "name",
                                                 model_parse_string(m->calls[i].name), "input",
                                                 model_parse_args_object(m->calls[i].args_json)));
}

static void add_result(json_t *content, const struct model_message *m)
{
    json_t *o = json_pack("{s:s,s:o,s:o}", "type", "tool_result", "tool_use_id",
                          clean_id(m->call_id), "content", model_parse_string(m->text));

    if (m->is_error)
        json_object_set_new(o, "is_error", json_true());
    json_array_append_new(content, o);
}

/* Turns must alternate, and the results of one turn's calls belong in one message. */
static json_t *messages_of(const struct model_request *req)
{
    json_t *all = json_array(), *content = NULL;
    const char *role = NULL;

    for (size_t i = 0; i < req->message_count; i++) {
        const struct model_message *m = &req->messages[i];
        const char *next = m->role == MODEL_ASSISTANT ? "assistant" : "user";

        if (!str_eq(role, next)) {
            if (content && !json_array_size(content))
                json_array_remove(all, json_array_size(all) - 1);
            role = next;
            content = json_array();
            json_array_append_new(all, json_pack("{s:s,s:o}", "role", role, "content", content));
        }
        if (m->role == MODEL_ASSISTANT)
            add_assistant(content, m);
        else if (m->role == MODEL_TOOL)
            add_result(content, m);
        else
            add_text(content, m->text);
    }
    if (content && !json_array_size(content))
        json_array_remove(all, json_array_size(all) - 1);
    return all;
}

/* Everything up to here is the same in the next call of the loop: ask for it to be cached. */
static void mark_cached(json_t *block)
{
    const char *type = model_parse_field(block, "type");

    if (str_eq(type, "text") || str_eq(type, "tool_result"))
        json_object_set_new(block, "cache_control", json_pack("{s:s}", "type", "ephemeral"));
}

static json_t *body(const struct model_request *req)
{
    int64_t max = req->max_output_tokens;
    json_t *o = json_object(), *messages = messages_of(req), *last, *tools;

    json_object_set_new(o, "model", model_parse_string(req->model));
    json_object_set_new(o, "max_tokens",
                        json_integer(max > 0 ? max : default_max_tokens(req->model)));
    json_object_set_new(o, "stream", json_true());
    if (!str_is_empty(req->system)) {
        json_t *block =
            json_pack("{s:s,s:o}", "type", "text", "text", model_parse_string(req->system));

        mark_cached(block);
        json_object_set_new(o, "system", json_pack("[o]", block));
    }
    last = json_object_get(json_array_get(messages, json_array_size(messages) - 1), "content");
    mark_cached(json_array_get(last, json_array_size(last) - 1));
    json_object_set_new(o, "messages", messages);
    if (!req->tool_count)
        return o;
    tools = json_array();
    for (size_t i = 0; i < req->tool_count; i++)
        json_array_append_new(
            tools, json_pack("{s:o,s:o,s:o}", "name", model_parse_string(req->tools[i].name),
                             "description", model_parse_string(req->tools[i].description),
                             "input_schema", model_parse_args_object(req->tools[i].schema_json)));
    json_object_set_new(o, "tools", tools);
    return o;
}

/* ---- the answer ------------------------------------------------------------------------------ */

/* The API counts cached input apart; our input_tokens is all of it, as with other providers. */
static void usage(struct model_parse *p, const json_t *u)
{
    struct model_usage *s = &p->usage;
    int64_t fresh = s->input_tokens - s->cache_read_tokens - s->cache_write_tokens;

    s->cache_read_tokens = model_parse_number(u, "cache_read_input_tokens", s->cache_read_tokens);
    s->cache_write_tokens =
        model_parse_number(u, "cache_creation_input_tokens", s->cache_write_tokens);
    fresh = model_parse_number(u, "input_tokens", fresh);
    s->input_tokens = fresh + s->cache_read_tokens + s->cache_write_tokens;
    s->output_tokens = model_parse_number(u, "output_tokens", s->output_tokens);
}

static json_t *thinking_blocks(struct model_parse *p)
{
    if (!p->blocks)
        p->blocks = json_pack("{s:[]}", "anthropic");
    return json_object_get(p->blocks, "anthropic");
}

/* The text of a thinking block is gathered aside and put in when the block ends: it goes back
 * exactly as it came. */
static void thinking_close(struct model_parse *p)
{
    json_t *all = json_object_get(p->blocks, "anthropic");
    json_t *block = json_array_get(all, json_array_size(all) - 1);

    if (block && p->thinking.len)
        json_object_set_new(block, "thinking", model_parse_string(buf_text(&p->thinking)));
    buf_clear(&p->thinking);
}

static void block_start(struct model_parse *p, int64_t index, json_t *block)
{
    const char *type = model_parse_field(block, "type");
    json_t *input = json_object_get(block, "input");

    thinking_close(p);
    if (str_eq(type, "text")) {
        model_parse_text(p, json_object_get(block, "text"));
    } else if (str_eq(type, "tool_use")) {
        struct model_parse_call *c = model_parse_call_new(p, index);

        if (!c)
            return;
        model_parse_call_name(c, model_parse_field(block, "id"), model_parse_field(block, "name"));
        if (json_object_size(input))
            model_parse_call_args(p, c, input);
    } else if (str_eq(type, "thinking") || str_eq(type, "redacted_thinking")) {
        json_array_append(thinking_blocks(p), block);
    }
}

static void signature(struct model_parse *p, json_t *piece)
{
    json_t *all = thinking_blocks(p);
    json_t *block = json_array_get(all, json_array_size(all) - 1);

    if (block && json_is_string(piece))
        json_object_set(block, "signature", piece);
}

static void block_delta(struct model_parse *p, int64_t index, json_t *delta)
{
    const char *type = model_parse_field(delta, "type");

    if (str_eq(type, "text_delta")) {
        model_parse_text(p, json_object_get(delta, "text"));
    } else if (str_eq(type, "input_json_delta")) {
        struct model_parse_call *c = model_parse_call_at(p, index);

        if (c)
            model_parse_call_args(p, c, json_object_get(delta, "partial_json"));
    } else if (str_eq(type, "thinking_delta")) {
        model_parse_thinking(p, json_object_get(delta, "thinking"));
    } else if (str_eq(type, "signature_delta")) {
        signature(p, json_object_get(delta, "signature"));
    }
}

static int status_of(const char *type)
{
    static const struct {
        const char *type;
        int status;
    } table[] = {
        {"overloaded_error", 529}, {"rate_limit_error", 429},      {"api_error", 500},
        {"timeout_error", 504},    {"invalid_request_error", 400}, {"authentication_error", 401},
        {"permission_error", 403}, {"not_found_error", 404},       {"request_too_large", 413},
    };

    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        if (str_eq(type, table[i].type))
            return table[i].status;
    }
    return 0;
}

static void event(struct model_parse *p, json_t *ev)
{
    const char *type = model_parse_field(ev, "type");
    int64_t index = model_parse_number(ev, "index", 0);
    json_t *message = json_object_get(ev, "message"), *delta = json_object_get(ev, "delta");

    if (str_eq(type, "message_start")) {
        model_parse_model(p, model_parse_field(message, "model"));
        usage(p, json_object_get(message, "usage"));
    } else if (str_eq(type, "content_block_start")) {
        block_start(p, index, json_object_get(ev, "content_block"));
    } else if (str_eq(type, "content_block_delta")) {
        block_delta(p, index, delta);
    } else if (str_eq(type, "message_delta")) {
        model_parse_stop(p, model_parse_field(delta, "stop_reason"));
        usage(p, json_object_get(ev, "usage"));
    } else if (str_eq(type, "content_block_stop")) {
        thinking_close(p);
    } else if (str_eq(type, "message_stop")) {
        thinking_close(p);
        p->complete = true;
    } else if (str_eq(type, "error")) {
        const char *kind = model_parse_field(json_object_get(ev, "error"), "type");

        model_parse_fail_json(p, status_of(kind), ev);
    } /* ping, and kinds to come: nothing to do */
}

static void whole(struct model_parse *p, json_t *all)
{
    json_t *block;
    size_t i;

    if (json_object_get(all, "error")) {
        event(p, all);
        return;
    }
    if (!str_eq(model_parse_field(all, "type"), "message"))
        return;
    model_parse_model(p, model_parse_field(all, "model"));
    usage(p, json_object_get(all, "usage"));
    json_array_foreach(json_object_get(all, "content"), i, block) block_start(p, (int64_t)i, block);
    model_parse_stop(p, model_parse_field(all, "stop_reason"));
    p->complete = true;
}

const struct model_provider model_anthropic = {
    .name = "anthropic",
    .url = "https://api.anthropic.com",
    .model = "claude-sonnet-4-5",
    .key_name = "ANTHROPIC_API_KEY",
    .header = "anthropic-version: 2023-06-01",
    .endpoint = endpoint,
    .auth = auth,
    .body = body,
    .event = event,
    .whole = whole,
};
