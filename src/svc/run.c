#include "svc/run.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/own.h"
#include "base/str.h"
#include "clients/model.h"
#include "core/agent.h"
#include "core/prompt.h"
#include "core/retry.h"
#include "core/tooldef.h"

#define SECRET_MIN 6 /* shorter values would be masked in innocent text */

struct run_tool {
    struct run *run;
    struct run_tool *next;
    struct toolhost_call *call; /* NULL until started and after its end */
    char *call_id;
    bool ended;
};

struct run {
    struct run_env env;
    run_over_fn *over;
    void *arg;
    char *id, *session, *workspace, *agent_name, *instructions;
    char *provider, *model, *base_url;
    int64_t max_output_tokens, context_tokens;
    struct toolhost_env *vars; /* owned, texts too */
    bool *var_secret;
    size_t var_count;
    char *cassette; /* owned; NULL: a real endpoint */
    size_t cassette_len;
    bool record;
    char *recorded; /* line of the exchange in flight, published when it succeeds */

    struct agent *agent;
    struct server_run *server;
    struct model_call *call;
    struct run_tool *tools;
    struct loop_timer *retry, *deadline;
    struct retry_policy policy;
    unsigned calls_made; /* for this turn */
    int64_t first_call_ms;
    int64_t begun_wall_ms; /* its events' time goes on from that of its claim, the server's, */
    int64_t begun_ms;      /* by the loop's clock: wall clocks differ, and jump */
    int64_t deadline_ms;   /* as the timer has it */
    uint64_t epoch;
    bool pumping, finished, parking, lost, told, dead, later_due, waits;
};

static void pump(struct run *r);
static void set_deadline(struct run *r);
static void tell_waits(struct run *r);

const char *run_id(const struct run *r)
{
    return r->id;
}

const char *run_session(const struct run *r)
{
    return r->session;
}

uint64_t run_epoch(const struct run *r)
{
    return r->epoch;
}

enum run_end run_end(const struct run *r)
{
    return r->finished ? RUN_ENDED : r->lost ? RUN_LOST : RUN_PARKED;
}

const char *run_phase(const struct run *r)
{
    Exec__Event__KindCase end = agent_end(r->agent);

    return end == EXEC__EVENT__KIND_COMPLETED   ? "EXECUTION_COMPLETED"
           : end == EXEC__EVENT__KIND_CANCELLED ? "EXECUTION_CANCELLED"
                                                : "EXECUTION_FAILED";
}

static int64_t now_of(const struct run *r)
{
    return r->begun_wall_ms + loop_now_ms(r->env.loop) - r->begun_ms;
}

static void step(struct run *r, const struct agent_input *in)
{
    agent_step(r->agent, in, now_of(r));
    pump(r);
}

static void free_later(void *arg)
{
    struct run *r = arg;

    r->later_due = false;
    if (r->dead)
        free(r);
    else
        r->over(r, r->arg);
}

/* Tells the owner, once and never from within what the owner called. */
static void be_over(struct run *r)
{
    if (r->told)
        return;
    r->told = r->later_due = true;
    loop_later(r->env.loop, free_later, r);
}

static void check_parked(struct run *r)
{
    if (r->parking && !r->tools && server_run_is_idle(r->server))
        be_over(r);
}

/* ---- secrets -------------------------------------------------------------------------------- */

static char *replace_all(char *text, const char *what, const char *with)
{
    const char *at = strstr(text, what), *from = text;
    struct buf out;

    if (!at)
        return text;
    buf_init(&out, 0);
    for (; at; at = strstr(from, what)) {
        buf_put(&out, from, (size_t)(at - from));
        buf_puts(&out, with);
        from = at + strlen(what);
    }
    buf_puts(&out, from);
    free(text);
    return buf_take_text(&out);
}

/* What a tool printed goes to the journal and to a model: values known as secret do not. */
static char *without_secrets(const struct run *r, const char *text, size_t len)
{
    char *out = mem_strn(text, len), name[160];
    const char *key;
    json_t *value;

    for (size_t i = 0; i < len; i++)
        if (!out[i])
            out[i] = ' ';
    for (size_t i = 0; i < r->var_count; i++) {
        if (!r->var_secret[i] || strlen(r->vars[i].value) < SECRET_MIN)
            continue;
        (void)str_format(name, sizeof name, "[secret %.100s]", r->vars[i].name);
        out = replace_all(out, r->vars[i].value, name);
    }
    json_object_foreach((json_t *)(uintptr_t)r->env.keys, key, value)
    {
        const char *secret = json_string_value(value);

        (void)str_format(name, sizeof name, "[secret %.100s]", key);
        if (secret && strlen(secret) >= SECRET_MIN)
            out = replace_all(out, secret, name);
    }
    return out;
}

/* ---- tools ---------------------------------------------------------------------------------- */

static void tool_unlink(struct run_tool *t)
{
    struct run_tool **at = &t->run->tools;

    while (*at != t)
        at = &(*at)->next;
    *at = t->next;
    free(t->call_id);
    free(t);
}

static void on_tool(enum toolhost_outcome outcome, const char *text, size_t len, void *arg)
{
    static const Exec__ToolFinished__Outcome outcomes[] = {
        [TOOLHOST_RESULT] = EXEC__TOOL_FINISHED__OUTCOME__OUTCOME_RESULT,
        [TOOLHOST_ERROR] = EXEC__TOOL_FINISHED__OUTCOME__OUTCOME_ERROR,
        [TOOLHOST_UNKNOWN] = EXEC__TOOL_FINISHED__OUTCOME__OUTCOME_UNKNOWN,
    };
    struct run_tool *t = arg;
    struct run *r = t->run;
    OWN_FREE char *clean = without_secrets(r, text, len);
    OWN_FREE char *id = mem_str(t->call_id);

    if (t->call)
        tool_unlink(t);
    else
        t->ended = true; /* toolhost_start has not returned yet: it unlinks */
    log_debug("tool ended", "run", r->id, "call", id, "bytes", log_int(len));
    step(r, &(struct agent_input){
                .kind = AGENT_TOOL, .call_id = id, .outcome = outcomes[outcome], .text = clean});
    check_parked(r);
}

static void run_tool(struct run *r, const struct agent_request *q)
{
    struct run_tool *t = mem_new(sizeof *t);
    struct toolhost_request req = {
        .session_id = r->session,
        .run = r->id,
        .workspace = r->workspace,
        .name = q->name,
        .args_json = *q->args_json ? q->args_json : "{}",
        .env = r->vars,
        .env_count = r->var_count,
    };
    struct toolhost_call *call;

    t->run = r;
    t->call_id = mem_str(q->call_id);
    t->next = r->tools;
    r->tools = t;
    log_debug("tool starts", "run", r->id, "call", q->call_id, "tool", q->name);
    call = toolhost_start(r->env.toolhosts, &req, on_tool, t);
    if (t->ended)
        tool_unlink(t);
    else
        t->call = call;
}

static void stop_tool(struct run *r, const char *call_id)
{
    for (struct run_tool *t = r->tools; t; t = t->next) {
        if (strcmp(t->call_id, call_id) != 0)
            continue;
        toolhost_cancel(t->call);
        tool_unlink(t);
        return;
    }
}

/* ---- the model ------------------------------------------------------------------------------ */

static void on_text(const char *text, size_t len, void *arg)
{
    struct run *r = arg;

    server_run_text(r->server, agent_turn(r->agent), agent_attempt(r->agent), text, len);
}

static void on_record(const char *line, void *arg)
{
    struct run *r = arg;

    free(r->recorded);
    r->recorded = mem_str(line);
}

static void on_turn(struct model_turn *turn, void *arg)
{
    struct run *r = arg;
    OWN_FREE struct agent_request *calls = mem_array(turn->call_count, sizeof *calls);
    struct agent_input in = {.kind = AGENT_TURN,
                             .text = turn->text,
                             .stop = turn->stop,
                             .provider_state = turn->provider_state,
                             .calls = calls,
                             .call_count = turn->call_count};

    r->call = NULL;
    r->calls_made = 0;
    for (size_t i = 0; i < turn->call_count; i++)
        calls[i] = (struct agent_request){turn->calls[i].call_id, turn->calls[i].name,
                                          turn->calls[i].args_json};
    in.usage.input_tokens = turn->usage.input_tokens;
    in.usage.output_tokens = turn->usage.output_tokens;
    in.usage.cache_read_tokens = turn->usage.cache_read_tokens;
    in.usage.cache_write_tokens = turn->usage.cache_write_tokens;
    if (r->recorded)
        server_run_record(r->server, r->recorded);
    free(TAKE(r->recorded));
    log_debug("turn ended", "run", r->id, "stop", turn->stop, "calls", log_int(turn->call_count));
    step(r, &in);
}

static void tell_retry(struct run *r, const struct err *why, int64_t wait_ms)
{
    char text[1400], when[32] = "at once";

    if (wait_ms >= 100)
        (void)str_format(when, sizeof when, "in %" PRId64 ".%" PRId64 " s", wait_ms / 1000,
                         wait_ms % 1000 / 100);
    (void)str_format(text, sizeof text, "%s; trying again %s (attempt %u of %u)", why->msg, when,
                     r->calls_made + 1, r->policy.max_attempts);
    log_warn("model call failed, trying again", "run", r->id, "why", why->msg, "wait_ms",
             log_int(wait_ms));
    loop_timer_in(r->retry, wait_ms);
    step(r, &(struct agent_input){.kind = AGENT_NOTICE, .text = text});
}

static void on_fail(const struct model_failure *f, void *arg)
{
    struct run *r = arg;
    struct retry_case c = {.retryable = model_fault_is_retryable(f->fault),
                           .attempt = r->calls_made,
                           .retry_after_ms = f->retry_after_ms,
                           .started_ms = r->first_call_ms,
                           .now_ms = loop_now_ms(r->env.loop),
                           .chance = (double)arc4random() / 4294967296.0};
    enum retry_verdict verdict;
    int64_t wait_ms = 0;
    char text[1600];

    r->call = NULL;
    free(TAKE(r->recorded));
    verdict = retry_decide(&r->policy, &c, &wait_ms);
    if (verdict == RETRY_WAIT) {
        tell_retry(r, &f->err, wait_ms);
        return;
    }
    (void)str_format(text, sizeof text, "%s%s%s%s%s", f->err.msg,
                     verdict == RETRY_NO_USE ? "" : "; ",
                     verdict == RETRY_NO_USE ? "" : retry_verdict_text(verdict),
                     f->err.hint[0] ? "; " : "", f->err.hint);
    log_warn("model call failed", "run", r->id, "fault", model_fault_name(f->fault), "why", text);
    step(r, &(struct agent_input){.kind = f->fault == MODEL_FAULT_CONTEXT ? AGENT_MODEL_CONTEXT
                                                                          : AGENT_MODEL_FAILED,
                                  .text = text});
}

static void on_retry(void *arg)
{
    step(arg, &(struct agent_input){.kind = AGENT_MODEL_AGAIN});
}

static struct model_message *messages_of(const struct agent_conversation *c,
                                         struct model_tool_call **ret_calls)
{
    static const enum model_role roles[] = {[AGENT_USER] = MODEL_USER,
                                            [AGENT_ASSISTANT] = MODEL_ASSISTANT,
                                            [AGENT_RESULT] = MODEL_TOOL};
    struct model_message *list = mem_array(c->count, sizeof *list);
    struct model_tool_call *calls;
    size_t n = 0;

    for (size_t i = 0; i < c->count; i++)
        n += c->messages[i].call_count;
    *ret_calls = calls = mem_array(n, sizeof *calls);
    for (size_t i = 0; i < c->count; i++) {
        const struct agent_message *m = &c->messages[i];

        list[i] = (struct model_message){.role = roles[m->role],
                                         .text = m->text,
                                         .calls = calls,
                                         .call_count = m->call_count,
                                         .call_id = m->call_id,
                                         .tool_name = m->tool_name,
                                         .is_error = m->is_error,
                                         .provider_state = m->provider_state};
        for (size_t k = 0; k < m->call_count; k++)
            *calls++ = (struct model_tool_call){(char *)(uintptr_t)m->calls[k].call_id,
                                                (char *)(uintptr_t)m->calls[k].name,
                                                (char *)(uintptr_t)m->calls[k].args_json};
    }
    return list;
}

static void system_prompt(const struct run *r, struct buf *ret)
{
    char folder[2048];

    (void)str_format(folder, sizeof folder, "%s/%s", r->env.workspace_root, r->workspace);
    prompt_system(&(struct prompt_input){.agent_name = r->agent_name,
                                         .instructions = r->instructions,
                                         .workspace = folder},
                  ret);
}

static const char *key_of(const struct run *r)
{
    char name[64];

    (void)str_format(name, sizeof name, "llm.%.40s", r->provider);
    return json_string_value(json_object_get(r->env.keys, name));
}

static void call_model(struct run *r)
{
    struct agent_conversation conv;
    struct model_tool_call *calls;
    size_t tool_count;
    const struct tooldef *defs = tooldef_all(&tool_count);
    OWN_FREE struct model_tool *tools = mem_array(tool_count, sizeof *tools);
    OWN_BUF struct buf system = {0};

    system_prompt(r, &system);
    agent_conversation_make(r->agent, &conv);
    OWN_FREE struct model_message *messages = messages_of(&conv, &calls);
    for (size_t i = 0; i < tool_count; i++)
        tools[i] = (struct model_tool){defs[i].name, defs[i].description, defs[i].schema_json};
    if (r->calls_made++ == 0)
        r->first_call_ms = loop_now_ms(r->env.loop);
    log_debug("model call", "run", r->id, "turn", log_int(agent_turn(r->agent)), "messages",
              log_int(conv.count), "clipped", log_int(conv.clipped));
    r->call = model_start(r->env.loop, r->env.http,
                          &(struct model_request){
                              .provider = r->provider,
                              .model = r->model,
                              .base_url = r->base_url,
                              .api_key = key_of(r),
                              .system = buf_text(&system),
                              .messages = messages,
                              .message_count = conv.count,
                              .tools = tools,
                              .tool_count = tool_count,
                              .max_output_tokens = r->max_output_tokens,
                              .context_tokens = r->context_tokens,
                              .cassette = r->cassette,
                              .cassette_len = r->cassette_len,
                              .exchange = agent_finished_turns(r->agent),
                          },
                          &(struct model_events){.on_text = on_text,
                                                 .on_done = on_turn,
                                                 .on_fail = on_fail,
                                                 .on_record = r->record ? on_record : NULL,
                                                 .arg = r});
    free(calls);
    agent_conversation_done(&conv);
}

static void stop_model(struct run *r)
{
    loop_timer_at(r->retry, INT64_MAX);
    if (r->call)
        model_cancel(TAKE(r->call));
    free(TAKE(r->recorded));
}

/* ---- carrying out --------------------------------------------------------------------------- */

static void carry_out(struct run *r, const struct agent_action *act)
{
    switch (act->kind) {
    case AGENT_APPEND:
        server_run_append(r->server, act->event);
        break;
    case AGENT_CALL_MODEL:
        call_model(r);
        break;
    case AGENT_STOP_MODEL:
        stop_model(r);
        break;
    case AGENT_RUN_TOOL:
        run_tool(r, &act->call);
        break;
    case AGENT_STOP_TOOL:
        stop_tool(r, act->call.call_id);
        break;
    case AGENT_FINISH:
        r->finished = true;
        be_over(r);
        break;
    default:
        break;
    }
}

static void pump(struct run *r)
{
    struct agent_action act;

    if (r->pumping)
        return;
    r->pumping = true;
    while (!r->told && agent_next(r->agent, &act))
        carry_out(r, &act);
    r->pumping = false;
    set_deadline(r);
    tell_waits(r);
}

static void tell_waits(struct run *r)
{
    bool waits = !agent_is_over(r->agent) && agent_waits_for_person(r->agent);

    if (waits == r->waits)
        return;
    r->waits = waits;
    server_run_waits(r->server, waits);
    if (r->env.on_waits)
        r->env.on_waits(r->id, waits, r->env.arg);
}

/* While a person is waited for there is none. */
static void set_deadline(struct run *r)
{
    int64_t at = agent_deadline_ms(r->agent), now = now_of(r);

    if (at == r->deadline_ms)
        return;
    r->deadline_ms = at;
    if (at == INT64_MAX)
        loop_timer_at(r->deadline, INT64_MAX);
    else
        loop_timer_in(r->deadline, at > now ? at - now : 0);
}

static void on_deadline(void *arg)
{
    struct run *r = arg;

    step(r, &(struct agent_input){.kind = AGENT_TICK});
    if (!agent_is_over(r->agent) && r->deadline_ms != INT64_MAX)
        loop_timer_in(r->deadline, 1000); /* the wall clock was set back */
}

static void on_acked(uint64_t seq, void *arg)
{
    struct run *r = arg;

    step(r, &(struct agent_input){.kind = AGENT_ACKED, .seq = seq});
    check_parked(r);
}

static void on_lost(const char *why, void *arg)
{
    struct run *r = arg;

    log_warn("run lost", "run", r->id, "why", why);
    r->lost = true;
    stop_model(r);
    while (r->tools)
        stop_tool(r, r->tools->call_id);
    be_over(r);
}

void run_cancel(struct run *r, const char *by, const char *reason)
{
    step(r, &(struct agent_input){.kind = AGENT_CANCEL, .by = by, .text = reason});
}

static void give_input(struct run *r, const Runner__Input *in)
{
    OWN_FREE char *clean = without_secrets(r, in->text, strlen(in->text));

    agent_step(
        r->agent,
        &(struct agent_input){.kind = AGENT_INPUT, .id = in->id, .by = in->by, .text = clean},
        now_of(r));
}

static void give_decision(struct run *r, const Runner__Decision *d)
{
    OWN_FREE char *clean = without_secrets(r, d->reason, strlen(d->reason));

    agent_step(r->agent,
               &(struct agent_input){.kind = AGENT_DECISION,
                                     .call_id = d->call_id,
                                     .approved = d->approved,
                                     .by = d->by,
                                     .text = clean},
               now_of(r));
}

void run_decision(struct run *r, const Runner__Decision *d)
{
    log_debug("a call is decided on", "run", r->id, "call", d->call_id, "approved",
              d->approved ? "yes" : "no");
    give_decision(r, d);
    pump(r);
}

void run_input(struct run *r, const Runner__Input *in)
{
    give_input(r, in);
    pump(r);
}

void run_park(struct run *r)
{
    r->parking = true;
    step(r, &(struct agent_input){.kind = AGENT_PARK});
    check_parked(r);
}

/* ---- life ----------------------------------------------------------------------------------- */

static void copy_claim(struct run *r, const Runner__ClaimResponse *c)
{
    const Runner__Model *m = c->model;

    r->epoch = c->epoch;
    r->id = mem_str(c->execution_id);
    r->session = mem_str(c->session_id);
    r->workspace = mem_str(*c->workspace ? c->workspace : c->session_id);
    r->agent_name = mem_str(c->agent_name);
    r->instructions = mem_str(c->instructions);
    r->provider = mem_str(m ? m->provider : "");
    r->model = mem_str(m ? m->name : "");
    r->base_url = mem_str(m ? m->base_url : "");
    r->max_output_tokens = m ? m->max_output_tokens : 0;
    r->context_tokens = m ? m->context_tokens : 0;
    r->record = c->record;
    if (c->cassette.len) {
        r->cassette = mem_strn((const char *)c->cassette.data, c->cassette.len);
        r->cassette_len = c->cassette.len;
    }
    r->vars = mem_array(c->n_env, sizeof *r->vars);
    r->var_secret = mem_array(c->n_env, sizeof *r->var_secret);
    r->var_count = c->n_env;
    for (size_t i = 0; i < c->n_env; i++) {
        r->vars[i].name = mem_str(c->env[i]->name);
        r->vars[i].value = mem_str(c->env[i]->value);
        r->var_secret[i] = c->env[i]->secret;
    }
}

/* What every command finds its way out by; curl, pip, npm and git read one or the other. */
static void let_out(struct run *r)
{
    static const char *const names[] = {"HTTP_PROXY",  "HTTPS_PROXY", "http_proxy",
                                        "https_proxy", "ALL_PROXY",   "all_proxy"};
    static const size_t count = sizeof names / sizeof names[0];
    char url[EGRESS_PROXY_URL];

    if (!r->env.proxy)
        return;
    egress_proxy_grant(r->env.proxy, r->id, url);
    r->vars = mem_grow(r->vars, r->var_count + count, sizeof *r->vars);
    r->var_secret = mem_grow(r->var_secret, r->var_count + count, sizeof *r->var_secret);
    for (size_t i = 0; i < count; i++) {
        r->vars[r->var_count].name = mem_str(names[i]);
        r->vars[r->var_count].value = mem_str(url);
        r->var_secret[r->var_count++] = true; /* it lets this run out, and nobody else */
    }
    explicit_bzero(url, sizeof url);
}

static struct agent *agent_of(const struct run *r, const Runner__ClaimResponse *c)
{
    OWN_FREE struct agent_exchange *history = mem_array(c->n_history, sizeof *history);
    OWN_BUF struct buf system = {0};
    size_t count, tools = 0;
    const struct tooldef *defs = tooldef_all(&count);

    for (size_t i = 0; i < c->n_history; i++)
        history[i] = (struct agent_exchange){c->history[i]->message, c->history[i]->answer};
    for (size_t i = 0; i < count; i++)
        tools += strlen(defs[i].description) + strlen(defs[i].schema_json);
    system_prompt(r, &system);
    return agent_new(&(struct agent_config){
        .provider = r->provider,
        .model = r->model,
        .epoch = c->epoch,
        .max_turns = c->limits ? c->limits->max_turns : 0,
        .max_tokens = c->limits ? c->limits->max_tokens : 0,
        .max_duration_ms = c->limits ? c->limits->max_duration_ms : 0,
        .context_tokens = r->context_tokens,
        .max_output_tokens = r->max_output_tokens,
        .overhead_bytes = system.len + tools,
        .history = history,
        .history_count = c->n_history,
        .require_approval = (const char *const *)c->require_approval,
        .require_count = c->n_require_approval,
    });
}

static int64_t claimed_at(const Runner__ClaimResponse *c)
{
    for (size_t i = c->n_journal; i-- > 0;)
        if (c->journal[i]->kind_case == EXEC__EVENT__KIND_CLAIMED)
            return c->journal[i]->at_ms;
    return clock_wall_ms();
}

enum err_code run_new(const struct run_env *env, const Runner__ClaimResponse *claim,
                      run_over_fn *over, void *arg, struct run **ret, struct err *err)
{
    struct run *r = mem_new(sizeof *r);
    enum err_code code = ERR_OK;

    r->env = *env;
    r->over = over;
    r->arg = arg;
    r->policy = retry_policy_default();
    r->begun_wall_ms = claimed_at(claim);
    r->begun_ms = loop_now_ms(env->loop);
    r->deadline_ms = INT64_MAX;
    copy_claim(r, claim);
    let_out(r);
    r->agent = agent_of(r, claim);
    for (size_t i = 0; i < claim->n_journal && !code; i++)
        code = agent_fold(r->agent, claim->journal[i], err);
    if (code) {
        run_free(r);
        return code;
    }
    r->retry = loop_timer_new(env->loop, on_retry, r);
    r->deadline = loop_timer_new(env->loop, on_deadline, r);
    r->server = server_run_open(
        env->server, r->id, claim->epoch,
        &(struct server_run_events){.on_acked = on_acked, .on_lost = on_lost, .arg = r});
    *ret = r;
    log_info("run starts", "run", r->id, "session", r->session, "provider", r->provider, "model",
             r->model, "events", log_int(claim->n_journal));
    for (size_t i = 0; i < claim->n_inputs; i++)
        give_input(r, claim->inputs[i]);
    for (size_t i = 0; i < claim->n_decisions; i++)
        give_decision(r, claim->decisions[i]);
    step(r, &(struct agent_input){.kind = AGENT_START});
    return ERR_OK;
}

void run_free(struct run *r)
{
    if (!r)
        return;
    if (r->call)
        model_cancel(r->call);
    while (r->tools)
        stop_tool(r, r->tools->call_id);
    if (r->env.proxy)
        egress_proxy_revoke(r->env.proxy, r->id);
    server_run_close(r->server); /* before the agent: it borrows the agent's events */
    loop_timer_free(r->retry);
    loop_timer_free(r->deadline);
    agent_free(r->agent);
    for (size_t i = 0; i < r->var_count; i++) {
        free((char *)(uintptr_t)r->vars[i].name);
        explicit_bzero((char *)(uintptr_t)r->vars[i].value, strlen(r->vars[i].value));
        free((char *)(uintptr_t)r->vars[i].value);
    }
    free(r->vars);
    free(r->var_secret);
    free(r->cassette);
    free(r->recorded);
    free(r->id);
    free(r->session);
    free(r->workspace);
    free(r->agent_name);
    free(r->instructions);
    free(r->provider);
    free(r->model);
    free(r->base_url);
    r->dead = true;
    if (!r->later_due)
        free(r);
}
