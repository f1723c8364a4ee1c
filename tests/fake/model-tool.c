/* model-tool — drives the model client from scripts: one JSON request on stdin, JSON lines of what
 * happened on stdout ({"text":…}, {"record":…}, then {"done":…} or {"fail":…}).
 * cancel_after: the call is cancelled after that many pieces of text. */
#include "clients/model.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"

struct run {
    struct loop *loop;
    struct model_call *call;
    json_int_t cancel_after, pieces;
};

static void print(json_t *o)
{
    char *s = mem_check(json_dumps(o, JSON_COMPACT));

    puts(s);
    fflush(stdout);
    free(s);
    json_decref(o);
}

static void on_text(const char *text, size_t len, void *arg)
{
    struct run *r = arg;

    print(json_pack("{s:o}", "text", mem_check(json_stringn(text, len))));
    if (r->cancel_after && ++r->pieces == r->cancel_after) {
        model_cancel(r->call);
        print(json_pack("{s:b}", "cancelled", 1));
        loop_quit(r->loop);
    }
}

static void on_done(struct model_turn *t, void *arg)
{
    struct run *r = arg;
    json_t *calls = json_array();

    for (size_t i = 0; i < t->call_count; i++)
        json_array_append_new(calls, json_pack("{s:s,s:s,s:s}", "id", t->calls[i].call_id, "name",
                                               t->calls[i].name, "args", t->calls[i].args_json));
    print(json_pack("{s:{s:s,s:o,s:s,s:s,s:s?,s:[I,I,I,I]}}", "done", "text", t->text, "calls",
                    calls, "stop", t->stop, "model", t->model, "state", t->provider_state, "usage",
                    (json_int_t)t->usage.input_tokens, (json_int_t)t->usage.output_tokens,
                    (json_int_t)t->usage.cache_read_tokens,
                    (json_int_t)t->usage.cache_write_tokens));
    loop_quit(r->loop);
}

static void on_fail(const struct model_failure *f, void *arg)
{
    struct run *r = arg;

    print(json_pack("{s:{s:s,s:b,s:i,s:I,s:s,s:s}}", "fail", "fault", model_fault_name(f->fault),
                    "retryable", model_fault_is_retryable(f->fault), "status", f->status,
                    "retry_after_ms", (json_int_t)f->retry_after_ms, "message", f->err.msg, "hint",
                    f->err.hint));
    loop_quit(r->loop);
}

static void on_record(const char *line, void *arg)
{
    (void)arg;
    print(json_pack("{s:s}", "record", line));
}

static const char *text_of(json_t *o, const char *name)
{
    return json_string_value(json_object_get(o, name));
}

static struct model_message message_of(json_t *o)
{
    const char *role = text_of(o, "role");
    json_t *calls = json_object_get(o, "calls"), *c;
    struct model_tool_call *list = mem_array(json_array_size(calls), sizeof *list);
    struct model_message m = {.role = !strcmp(role, "user")        ? MODEL_USER
                                      : !strcmp(role, "assistant") ? MODEL_ASSISTANT
                                                                   : MODEL_TOOL,
                              .text = text_of(o, "text"),
                              .calls = list,
                              .call_count = json_array_size(calls),
                              .call_id = text_of(o, "call_id"),
                              .tool_name = text_of(o, "tool_name"),
                              .is_error = json_is_true(json_object_get(o, "is_error")),
                              .provider_state = text_of(o, "state")};
    size_t i;

    json_array_foreach(calls, i, c)
    {
        list[i].call_id = mem_str(text_of(c, "id"));
        list[i].name = mem_str(text_of(c, "name"));
        list[i].args_json = mem_str(text_of(c, "args"));
    }
    return m;
}

static void free_messages(struct model_message *list, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct model_tool_call *calls = (struct model_tool_call *)(uintptr_t)list[i].calls;

        for (size_t k = 0; k < list[i].call_count; k++) {
            free(calls[k].call_id);
            free(calls[k].name);
            free(calls[k].args_json);
        }
        free(calls);
    }
    free(list);
}

static void start(struct run *r, struct http *http, json_t *o)
{
    json_t *in = json_object_get(o, "messages"), *tools_in = json_object_get(o, "tools"), *v;
    struct model_message *messages = mem_array(json_array_size(in), sizeof *messages);
    struct model_tool *tools = mem_array(json_array_size(tools_in), sizeof *tools);
    const char *cassette = text_of(o, "cassette"), *model = text_of(o, "model");
    struct model_request req = {
        .provider = text_of(o, "provider"),
        .model = model ? model : "",
        .base_url = text_of(o, "base_url"),
        .api_key = text_of(o, "api_key"),
        .system = text_of(o, "system"),
        .messages = messages,
        .message_count = json_array_size(in),
        .tools = tools,
        .tool_count = json_array_size(tools_in),
        .max_output_tokens = json_integer_value(json_object_get(o, "max_output_tokens")),
        .context_tokens = json_integer_value(json_object_get(o, "context_tokens")),
        .first_byte_ms = json_integer_value(json_object_get(o, "first_byte_ms")),
        .stall_ms = json_integer_value(json_object_get(o, "stall_ms")),
        .cassette = cassette,
        .cassette_len = cassette ? strlen(cassette) : 0,
        .exchange = (unsigned)json_integer_value(json_object_get(o, "exchange")),
    };
    struct model_events ev = {.on_text = on_text,
                              .on_done = on_done,
                              .on_fail = on_fail,
                              .on_record =
                                  json_is_true(json_object_get(o, "record")) ? on_record : NULL,
                              .arg = r};
    size_t i;

    json_array_foreach(in, i, v) messages[i] = message_of(v);
    json_array_foreach(tools_in, i, v) tools[i] =
        (struct model_tool){text_of(v, "name"), text_of(v, "description"), text_of(v, "schema")};
    r->call = model_start(r->loop, http, &req, &ev);
    free_messages(messages, req.message_count);
    free(tools);
}

int main(void)
{
    struct run r = {0};
    struct http *http;
    json_error_t why;
    json_t *o = json_loadf(stdin, 0, &why);

    if (!o) {
        fprintf(stderr, "model-tool: stdin: %s\n", why.text);
        return 2;
    }
    sigaction(SIGPIPE, &(struct sigaction){.sa_handler = SIG_IGN}, NULL);
    r.loop = loop_new();
    http = http_new(r.loop);
    r.cancel_after = json_integer_value(json_object_get(o, "cancel_after"));
    start(&r, http, o);
    loop_run(r.loop);
    http_free(http);
    loop_free(r.loop);
    json_decref(o);
    return 0;
}
