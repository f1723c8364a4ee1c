/* Ollama's /api/chat, streamed as newline-delimited JSON (github.com/ollama/ollama, docs/api.md).
 */
#include "base/mem.h"
#include "base/own.h"
#include "base/str.h"
#include "clients/model-impl.h"

#define CONTEXT_MIN 16384
#define CONTEXT_MAX 131072

/* People write the base of its OpenAI-compatible half too. */
static char *endpoint(const char *base)
{
    static const char *const tails[] = {"/api/chat", "/api", "/v1"};
    OWN_BUF struct buf b;
    size_t len = strlen(base);

    buf_init(&b, 0);
    while (len && base[len - 1] == '/')
        len--;
    for (size_t i = 0; i < 3; i++) {
        size_t n = strlen(tails[i]);

        if (len > n && !memcmp(base + len - n, tails[i], n)) {
            len -= n;
            break;
        }
    }
    buf_put(&b, base, len);
    buf_puts(&b, "/api/chat");
    return buf_take_text(&b);
}

static void auth(const char *key, struct buf *line)
{
    buf_printf(line, "Authorization: Bearer %s", key);
}

/* ---- the request ----------------------------------------------------------------------------- */

static json_t *assistant(const struct model_message *m)
{
    json_t *o = json_pack("{s:s,s:o}", "role", "assistant", "content", model_parse_string(m->text));
    json_t *state = m->provider_state ? json_loads(m->provider_state, 0, NULL) : NULL;
    json_t *thinking = json_object_get(state, "ollama"), *calls;

    if (json_is_string(thinking))
        json_object_set(o, "thinking", thinking);
    json_decref(state);
    if (!m->call_count)
        return o;
    calls = json_array();
    for (size_t i = 0; i < m->call_count; i++)
        json_array_append_new(calls, json_pack("{s:{s:o,s:o}}", "function", "name",
                                               model_parse_string(m->calls[i].name), "arguments",
                                               model_parse_args_object(m->calls[i].args_json)));
    json_object_set_new(o, "tool_calls", calls);
    return o;
}

static json_t *message_of(const struct model_message *m)
{
    if (m->role == MODEL_ASSISTANT)
        return assistant(m);
    if (m->role == MODEL_TOOL)
        return json_pack("{s:s,s:o,s:o}", "role", "tool", "tool_name",
                         model_parse_string(m->tool_name), "content", model_parse_string(m->text));
    return json_pack("{s:s,s:o}", "role", "user", "content", model_parse_string(m->text));
}

/* Ollama cuts a longer prompt off silently, and its own default is far too small for tools. A
 * change of num_ctx loads the model anew, so the size grows in few, large steps. About 3 bytes of
 * code or prose make a token. */
static int64_t context_for(const struct model_request *req, size_t prompt_bytes)
{
    int64_t out = req->max_output_tokens > 0 ? req->max_output_tokens : 4096;
    int64_t need = (int64_t)(prompt_bytes / 3) + out, size = CONTEXT_MIN;

    if (req->context_tokens > 0)
        return req->context_tokens;
    while (size < need && size < CONTEXT_MAX)
        size *= 2;
    return size;
}

static json_t *body(const struct model_request *req)
{
    json_t *o = json_object(), *messages = json_array(), *options = json_object(), *tools;
    size_t bytes;

    json_object_set_new(o, "model", model_parse_string(req->model));
    json_object_set_new(o, "stream", json_true());
    if (!str_is_empty(req->system))
        json_array_append_new(messages, json_pack("{s:s,s:o}", "role", "system", "content",
                                                  model_parse_string(req->system)));
    for (size_t i = 0; i < req->message_count; i++)
        json_array_append_new(messages, message_of(&req->messages[i]));
    json_object_set_new(o, "messages", messages);
    if (req->tool_count) {
        tools = json_array();
        for (size_t i = 0; i < req->tool_count; i++)
            json_array_append_new(
                tools, json_pack("{s:s,s:{s:o,s:o,s:o}}", "type", "function", "function", "name",
                                 model_parse_string(req->tools[i].name), "description",
                                 model_parse_string(req->tools[i].description), "parameters",
                                 model_parse_args_object(req->tools[i].schema_json)));
        json_object_set_new(o, "tools", tools);
    }
    bytes = json_dumpb(o, NULL, 0, JSON_COMPACT);
    json_object_set_new(options, "num_ctx", json_integer(context_for(req, bytes)));
    if (req->max_output_tokens > 0)
        json_object_set_new(options, "num_predict", json_integer(req->max_output_tokens));
    json_object_set_new(o, "options", options);
    return o;
}

/* ---- the answer ------------------------------------------------------------------------------ */

static void tool_calls(struct model_parse *p, json_t *calls)
{
    json_t *call;
    size_t i;

    json_array_foreach(calls, i, call)
    {
        json_t *f = json_object_get(call, "function");
        struct model_parse_call *c = model_parse_call_new(p, (int64_t)p->call_count);

        if (!c)
            return;
        model_parse_call_name(c, model_parse_field(call, "id"), model_parse_field(f, "name"));
        model_parse_call_args(p, c, json_object_get(f, "arguments"));
    }
}

static void end_of(struct model_parse *p, json_t *ev)
{
    const char *why = model_parse_field(ev, "done_reason");

    p->usage.input_tokens = model_parse_number(ev, "prompt_eval_count", 0);
    p->usage.output_tokens = model_parse_number(ev, "eval_count", 0);
    model_parse_stop(p, str_eq(why, "length") ? "max_tokens" : "end_turn");
    if (p->thinking.len) {
        p->blocks = json_object();
        json_object_set_new(p->blocks, "ollama", model_parse_string(buf_text(&p->thinking)));
    }
    p->complete = true;
}

static void event(struct model_parse *p, json_t *ev)
{
    json_t *message = json_object_get(ev, "message");

    if (json_object_get(ev, "error")) {
        model_parse_fail_json(p, 0, ev);
        return;
    }
    model_parse_model(p, model_parse_field(ev, "model"));
    model_parse_text(p, json_object_get(message, "content"));
    model_parse_thinking(p, json_object_get(message, "thinking"));
    tool_calls(p, json_object_get(message, "tool_calls"));
    if (json_is_true(json_object_get(ev, "done")) && !p->complete)
        end_of(p, ev);
}

const struct model_provider model_ollama = {
    .name = "ollama",
    .url = "http://localhost:11434",
    .model = "qwen2.5-coder:7b",
    .is_ndjson = true,
    .endpoint = endpoint,
    .auth = auth,
    .body = body,
    .event = event,
    .whole = event,
};
