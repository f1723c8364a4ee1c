/* OpenAI's chat completions, streamed, and the dialects of the servers that call themselves
 * compatible. What they do differently is accepted wherever it has one meaning:
 *   whole tool calls in one piece; no index, or the same index for all; no id; arguments as an
 *   object; content null or a list of parts; no finish_reason or no [DONE] (but one of the two);
 *   usage null or on a piece without choices; an error object inside a 200 stream; an answer that
 *   is not streamed at all. */
#include "base/mem.h"
#include "base/own.h"
#include "base/str.h"
#include "clients/model-impl.h"

/* With a path, the base is taken as it is ("…/openai/v1", "…/v1beta/openai"); without one, /v1 is
 * meant. A query stays behind. */
static char *endpoint(const char *base)
{
    OWN_BUF struct buf b;
    const char *query = strchr(base, '?'), *host = strstr(base, "://");
    size_t len = query ? (size_t)(query - base) : strlen(base);
    bool has_path;

    buf_init(&b, 0);
    while (len && base[len - 1] == '/')
        len--;
    host = host ? host + 3 : base;
    has_path = host < base + len && memchr(host, '/', (size_t)(base + len - host));
    buf_put(&b, base, len);
    if (!str_ends(buf_text(&b), "/chat/completions"))
        buf_puts(&b, has_path ? "/chat/completions" : "/v1/chat/completions");
    if (query)
        buf_puts(&b, query);
    return buf_take_text(&b);
}

static void auth(const char *key, struct buf *line)
{
    buf_printf(line, "Authorization: Bearer %s", key);
}

/* ---- the request ----------------------------------------------------------------------------- */

/* Reasoning models refuse max_tokens, and other servers do not know the new name. */
static const char *max_tokens_name(const char *model)
{
    bool is_new = str_starts(model, "gpt-5") || str_starts(model, "o1") ||
                  str_starts(model, "o3") || str_starts(model, "o4");

    return is_new ? "max_completion_tokens" : "max_tokens";
}

/* Arguments that are no JSON make some servers refuse the whole conversation. */
static json_t *args_text(const char *args_json)
{
    json_t *o = model_parse_args_object(args_json), *ret;
    OWN_FREE char *text = mem_check(json_dumps(o, JSON_COMPACT));

    ret = json_string(text);
    json_decref(o);
    return ret;
}

static json_t *assistant(const struct model_message *m)
{
    json_t *o = json_pack("{s:s}", "role", "assistant"), *calls;

    json_object_set_new(o, "content",
                        str_is_empty(m->text) && m->call_count ? json_null()
                                                               : model_parse_string(m->text));
    if (!m->call_count)
        return o;
    calls = json_array();
    for (size_t i = 0; i < m->call_count; i++)
        json_array_append_new(calls,
                              json_pack("{s:o,s:s,s:{s:o,s:o}}", "id",
                                        model_parse_string(m->calls[i].call_id), "type", "function",
                                        "function", "name", model_parse_string(m->calls[i].name),
                                        "arguments", args_text(m->calls[i].args_json)));
    json_object_set_new(o, "tool_calls", calls);
    return o;
}

static json_t *message_of(const struct model_message *m)
{
    if (m->role == MODEL_ASSISTANT)
        return assistant(m);
    if (m->role == MODEL_TOOL)
        return json_pack("{s:s,s:o,s:o}", "role", "tool", "tool_call_id",
                         model_parse_string(m->call_id), "content", model_parse_string(m->text));
    return json_pack("{s:s,s:o}", "role", "user", "content", model_parse_string(m->text));
}

static json_t *body(const struct model_request *req)
{
    json_t *o = json_object(), *messages = json_array(), *tools;

    json_object_set_new(o, "model", model_parse_string(req->model));
    json_object_set_new(o, "stream", json_true());
    json_object_set_new(o, "stream_options", json_pack("{s:b}", "include_usage", 1));
    if (req->max_output_tokens > 0)
        json_object_set_new(o, max_tokens_name(req->model), json_integer(req->max_output_tokens));
    if (!str_is_empty(req->system))
        json_array_append_new(messages, json_pack("{s:s,s:o}", "role", "system", "content",
                                                  model_parse_string(req->system)));
    for (size_t i = 0; i < req->message_count; i++)
        json_array_append_new(messages, message_of(&req->messages[i]));
    json_object_set_new(o, "messages", messages);
    if (!req->tool_count)
        return o;
    tools = json_array();
    for (size_t i = 0; i < req->tool_count; i++)
        json_array_append_new(
            tools, json_pack("{s:s,s:{s:o,s:o,s:o}}", "type", "function", "function", "name",
                             model_parse_string(req->tools[i].name), "description",
                             model_parse_string(req->tools[i].description), "parameters",
                             model_parse_args_object(req->tools[i].schema_json)));
    json_object_set_new(o, "tools", tools);
    return o;
}

/* ---- the answer ------------------------------------------------------------------------------ */

static void content(struct model_parse *p, const json_t *c)
{
    json_t *part;
    size_t i;

    model_parse_text(p, c);
    json_array_foreach(c, i, part)
    {
        model_parse_text(p, part);
        model_parse_text(p, json_object_get(part, "text"));
    }
}

static bool is_whole_json(const struct buf *b)
{
    json_t *v = b->len ? json_loads(buf_text(b), 0, NULL) : NULL;

    json_decref(v);
    return v != NULL;
}

/* Which call a piece belongs to. A new id begins a new call even under a used index, and so does a
 * name when the call before it is already whole. */
static struct model_parse_call *call_of(struct model_parse *p, json_t *piece, const char *id,
                                        const char *name)
{
    json_t *index = json_object_get(piece, "index");
    struct model_parse_call *c;

    if (json_is_integer(index)) {
        size_t before = p->call_count;

        c = model_parse_call_at(p, json_integer_value(index));
        if (!c || p->call_count > before)
            return c;
    } else {
        c = p->call_count ? &p->calls[p->call_count - 1] : NULL;
    }
    if (!c || (id[0] && c->id[0] && !str_eq(id, c->id)) ||
        (name[0] && !id[0] && c->name[0] && (!c->id[0] || !str_eq(name, c->name)) &&
         is_whole_json(&c->args)))
        return model_parse_call_new(p, c ? c->key : 0);
    return c;
}

static void tool_calls(struct model_parse *p, json_t *pieces)
{
    json_t *piece;
    size_t i;

    json_array_foreach(pieces, i, piece)
    {
        json_t *f = json_object_get(piece, "function");
        const char *id = model_parse_field(piece, "id"), *name = model_parse_field(f, "name");
        struct model_parse_call *c = call_of(p, piece, id, name);

        if (!c)
            return;
        model_parse_call_name(c, id, name);
        model_parse_call_args(p, c, json_object_get(f, "arguments"));
    }
}

static void finish_reason(struct model_parse *p, const char *reason)
{
    if (!reason[0])
        return;
    if (str_eq(reason, "stop"))
        reason = "end_turn";
    else if (str_eq(reason, "length"))
        reason = "max_tokens";
    else if (str_eq(reason, "tool_calls") || str_eq(reason, "function_call"))
        reason = "tool_use";
    model_parse_stop(p, reason);
    p->complete = true; /* usage may still follow; the stream's end is waited for a moment */
}

static void usage(struct model_parse *p, const json_t *u)
{
    if (!json_is_object(u))
        return;
    p->usage.input_tokens = model_parse_number(u, "prompt_tokens", p->usage.input_tokens);
    p->usage.output_tokens = model_parse_number(u, "completion_tokens", p->usage.output_tokens);
    p->usage.cache_read_tokens = model_parse_number(json_object_get(u, "prompt_tokens_details"),
                                                    "cached_tokens", p->usage.cache_read_tokens);
}

static void event(struct model_parse *p, json_t *ev)
{
    json_t *choice = json_array_get(json_object_get(ev, "choices"), 0);
    json_t *error = json_object_get(ev, "error"), *delta;

    if (error && !json_is_null(error)) {
        model_parse_fail_json(p, 0, ev);
        return;
    }
    model_parse_model(p, model_parse_field(ev, "model"));
    usage(p, json_object_get(ev, "usage"));
    if (!choice)
        return;
    delta = json_object_get(choice, "delta");
    if (!json_is_object(delta))
        delta = json_object_get(choice, "message");
    content(p, json_object_get(delta, "content"));
    content(p, json_object_get(delta, "refusal"));
    tool_calls(p, json_object_get(delta, "tool_calls"));
    finish_reason(p, model_parse_field(choice, "finish_reason"));
}

static void whole(struct model_parse *p, json_t *all)
{
    event(p, all);
    if (json_array_size(json_object_get(all, "choices")))
        p->complete = true;
}

const struct model_provider model_openai = {
    .name = "openai",
    .url = "https://api.openai.com/v1",
    .model = "gpt-4.1",
    .key_name = "OPENAI_API_KEY",
    .endpoint = endpoint,
    .auth = auth,
    .body = body,
    .event = event,
    .whole = whole,
};
