#include "svc/runner-claim.h"

#include <stdlib.h>
#include <string.h>

#include "ai/stigmer/agentic/agent/v1/agent.pb-c.h"
#include "ai/stigmer/agentic/agentexecution/v1/agentexecution.pb-c.h"
#include "ai/stigmer/agentic/agentinstance/v1/agentinstance.pb-c.h"
#include "ai/stigmer/agentic/session/v1/session.pb-c.h"
#include "base/mem.h"
#include "base/str.h"
#include "svc/approvals.h"
#include "svc/inbox.h"
#include "svc/own-folder.h"
#include "svc/secret-fields.h"

#define HISTORY_RUNS 20
#define HISTORY_BYTES ((size_t)64 << 10)
#define SAID_MAX (HISTORY_BYTES / 8) /* of one task, with what was said on the way */

/* The stored message of a resource; the caller's. */
static enum err_code load(sqlite3 *db, const char *what, const char *id,
                          const ProtobufCMessageDescriptor *d, ProtobufCMessage **ret,
                          struct err *err)
{
    sqlite3_stmt *st;
    enum err_code code = store_prepare(db, "SELECT data FROM resource WHERE id = ?1", &st, err);

    if (code)
        return code;
    sqlite3_bind_text(st, 1, id, -1, SQLITE_STATIC);
    *ret = NULL;
    if (sqlite3_step(st) != SQLITE_ROW) {
        code = err_set(err, ERR_NOT_FOUND, "the %s '%.80s' of this execution does not exist", what,
                       id);
    } else {
        *ret = protobuf_c_message_unpack(d, NULL, (size_t)sqlite3_column_bytes(st, 0),
                                         sqlite3_column_blob(st, 0));
        if (!*ret)
            code = err_set(err, ERR_CORRUPT, "the stored %s '%.80s' cannot be read", what, id);
    }
    sqlite3_reset(st);
    return code;
}

static void set_text(char **field, const char *value)
{
    *field = mem_str(value);
}

static void list_add(void ***list, size_t *count, void *item)
{
    *list = mem_grow(*list, *count + 1, sizeof **list);
    (*list)[(*count)++] = item;
}

static void put_model(Runner__ClaimResponse *r, const Aexec__AgentExecutionSpec *spec,
                      const struct runner_api_config *c)
{
    const char *asked = spec->execution_config ? spec->execution_config->model_name : "";

    r->model = mem_new(sizeof *r->model);
    runner__model__init(r->model);
    set_text(&r->model->provider, spec->cassette.len ? "replay" : c->provider);
    set_text(&r->model->name, str_is_empty(asked) ? c->model : asked);
    set_text(&r->model->base_url, c->base_url);
    r->model->max_output_tokens = c->max_output_tokens;
    r->model->context_tokens = c->context_tokens;
}

static void put_limits(Runner__ClaimResponse *r, const struct runner_api_config *c)
{
    r->limits = mem_new(sizeof *r->limits);
    runner__limits__init(r->limits);
    r->limits->max_turns = c->max_turns;
    r->limits->max_duration_ms = c->max_duration_ms;
    r->limits->max_tokens = c->max_tokens;
}

static enum err_code put_env(Runner__ClaimResponse *r, const Aexec__AgentExecutionSpec *spec,
                             const struct runner_api_config *c, struct err *err)
{
    for (size_t i = 0; i < spec->n_runtime_env; i++) {
        const Ectx__ExecutionValue *from = spec->runtime_env[i]->value;
        Runner__EnvVar *v;
        char *opened = NULL;
        enum err_code code;

        if (!from)
            continue;
        if (from->is_secret && (code = secret_fields_open(c->home, from->value, &opened, err)))
            return err_wrap(err, code, "%.80s of its environment", spec->runtime_env[i]->key);
        v = mem_new(sizeof *v);
        runner__env_var__init(v);
        set_text(&v->name, spec->runtime_env[i]->key);
        set_text(&v->value, opened ? opened : from->value);
        v->secret = from->is_secret;
        list_add((void ***)&r->env, &r->n_env, v);
        if (opened)
            explicit_bzero(opened, strlen(opened));
        free(opened);
    }
    return ERR_OK;
}

static void put_bytes(ProtobufCBinaryData *field, const void *data, size_t len)
{
    if (!len)
        return;
    field->data = mem_copy(data, len);
    field->len = len;
}

static enum err_code put_spec(sqlite3 *db, Runner__ClaimResponse *r, const char *id,
                              const struct runner_api_config *c, struct err *err)
{
    ProtobufCMessage *m;
    Aexec__AgentExecution *x;
    enum err_code code = load(db, "resource", id, &aexec__agent_execution__descriptor, &m, err);

    if (code)
        return code;
    x = (Aexec__AgentExecution *)m;
    if (!x->spec) {
        protobuf_c_message_free_unpacked(m, NULL);
        return err_set(err, ERR_CORRUPT, "execution '%.80s' has no spec", id);
    }
    set_text(&r->execution_id, id);
    set_text(&r->session_id, x->spec->session_id);
    set_text(&r->workspace, x->spec->session_id);
    set_text(&r->org, x->metadata ? x->metadata->org : "");
    put_model(r, x->spec, c);
    put_limits(r, c);
    code = put_env(r, x->spec, c, err);
    if (x->spec->cassette.len)
        put_bytes(&r->cassette, x->spec->cassette.data, x->spec->cassette.len);
    else if (str_eq(c->provider, "replay"))
        put_bytes(&r->cassette, c->cassette, c->cassette_len);
    r->record = x->spec->record;
    protobuf_c_message_free_unpacked(m, NULL);
    return code;
}

static void add_pattern(Runner__ClaimResponse *r, const char *pattern)
{
    list_add((void ***)&r->require_approval, &r->n_require_approval, mem_str(pattern));
}

/* What the machine holds back, and what the agent does. */
static void put_policy(Runner__ClaimResponse *r, const Agent__AgentSpec *spec,
                       const struct runner_api_config *c)
{
    char *copy = mem_str(c->require_approval ? c->require_approval : ""), *rest = copy, *pattern;

    while ((pattern = strsep(&rest, ",")))
        if (*pattern)
            add_pattern(r, pattern);
    for (size_t i = 0; spec && i < spec->n_require_approval; i++)
        add_pattern(r, spec->require_approval[i]);
    free(copy);
}

/* session → instance → agent, as the original resolves it. */
static enum err_code put_agent(sqlite3 *db, Runner__ClaimResponse *r,
                               const struct runner_api_config *c, struct err *err)
{
    ProtobufCMessage *session = NULL, *instance = NULL, *agent = NULL;
    const Sess__Session *s;
    const Ainst__AgentInstance *i;
    const Agent__Agent *a;
    enum err_code code;

    if ((code = load(db, "session", r->session_id, &sess__session__descriptor, &session, err)))
        goto done;
    s = (const Sess__Session *)session;
    if ((code = load(db, "agent instance", s->spec ? s->spec->agent_instance_id : "",
                     &ainst__agent_instance__descriptor, &instance, err)))
        goto done;
    i = (const Ainst__AgentInstance *)instance;
    if ((code = load(db, "agent", i->spec ? i->spec->agent_id : "", &agent__agent__descriptor,
                     &agent, err)))
        goto done;
    a = (const Agent__Agent *)agent;
    set_text(&r->agent_name, a->metadata ? a->metadata->name : "");
    set_text(&r->instructions, a->spec ? a->spec->instructions : "");
    put_policy(r, a->spec, c);
done:
    if (session)
        protobuf_c_message_free_unpacked(session, NULL);
    if (instance)
        protobuf_c_message_free_unpacked(instance, NULL);
    if (agent)
        protobuf_c_message_free_unpacked(agent, NULL);
    return code;
}

static bool add_event(const Exec__Event *e, void *arg)
{
    Runner__ClaimResponse *r = arg;
    size_t len = exec__event__get_packed_size(e);
    uint8_t *bytes = mem_array(len, 1);

    exec__event__pack(e, bytes);
    list_add((void ***)&r->journal, &r->n_journal,
             mem_check(exec__event__unpack(NULL, len, bytes)));
    free(bytes);
    return true;
}

static void add_input(const struct inbox_input *in, void *arg)
{
    Runner__ClaimResponse *r = arg;
    Runner__Input *m = mem_new(sizeof *m);

    runner__input__init(m);
    set_text(&m->execution_id, r->execution_id);
    set_text(&m->id, in->id);
    set_text(&m->by, in->by);
    set_text(&m->text, in->text);
    list_add((void ***)&r->inputs, &r->n_inputs, m);
}

static bool add_decision(const struct approvals_row *row, void *arg)
{
    Runner__ClaimResponse *r = arg;
    Runner__Decision *m;

    if (!row->decided)
        return true;
    m = mem_new(sizeof *m);
    runner__decision__init(m);
    set_text(&m->execution_id, row->execution_id);
    set_text(&m->call_id, row->call_id);
    set_text(&m->by, row->by);
    set_text(&m->reason, row->reason);
    m->approved = row->approved;
    list_add((void ***)&r->decisions, &r->n_decisions, m);
    return true;
}

struct exchange {
    char *message, *answer; /* owned */
};

static bool take_exchange(const Exec__Event *e, void *arg)
{
    struct exchange *x = arg;

    if (e->kind_case == EXEC__EVENT__KIND_SUBMITTED && !x->message)
        x->message = mem_str(e->submitted->message);
    if (e->kind_case == EXEC__EVENT__KIND_COMPLETED && !x->answer)
        x->answer = mem_str(e->completed->answer);
    return true;
}

/* What was said on the way belongs to the task. */
static bool take_input(const Exec__Event *e, void *arg)
{
    struct exchange *x = arg;
    struct buf all;

    if (e->kind_case != EXEC__EVENT__KIND_INPUT_RECEIVED || !x->message ||
        strlen(x->message) + strlen(e->input_received->text) > SAID_MAX)
        return true; /* too long for a history: its task and its answer stay */
    buf_init(&all, 0);
    buf_printf(&all, "%s\n\n%s", x->message, e->input_received->text);
    free(x->message);
    x->message = buf_take_text(&all);
    return true;
}

/* Adds one earlier run in front. False when there is no room for it or any before it. */
static bool add_exchange(sqlite3 *db, struct journal *j, Runner__ClaimResponse *r, const char *id,
                         const struct journal_head *head, size_t *room)
{
    struct exchange x = {0};
    Runner__Exchange *m;
    size_t need;

    if (journal_read(j, id, 1, 1, take_exchange, &x, NULL) ||
        (inbox_any(db, id) && journal_read(j, id, 2, SIZE_MAX, take_input, &x, NULL)) ||
        journal_read(j, id, head->seq, 1, take_exchange, &x, NULL) || !x.message || !x.answer) {
        free(x.message);
        free(x.answer);
        return true; /* not a plain question and answer: leave it out */
    }
    need = strlen(x.message) + strlen(x.answer);
    if (need > *room) {
        free(x.message);
        free(x.answer);
        return false;
    }
    *room -= need;
    m = mem_new(sizeof *m);
    runner__exchange__init(m);
    m->message = x.message;
    m->answer = x.answer;
    list_add((void ***)&r->history, &r->n_history, m);
    memmove(r->history + 1, r->history, (r->n_history - 1) * sizeof *r->history);
    r->history[0] = m;
    return true;
}

/* The session's newest completed runs before this one, oldest first, within bounds. */
static enum err_code put_history(sqlite3 *db, struct journal *j, Runner__ClaimResponse *r,
                                 struct err *err)
{
    char ids[HISTORY_RUNS][JOURNAL_TEXT];
    size_t count = 0, room = HISTORY_BYTES;
    sqlite3_stmt *st;
    enum err_code code =
        store_prepare(db,
                      "SELECT id FROM execution WHERE session_id = ?1 AND id < ?2 AND phase = 3"
                      " ORDER BY id DESC LIMIT ?3",
                      &st, err);

    if (code)
        return code;
    sqlite3_bind_text(st, 1, r->session_id, -1, SQLITE_STATIC);
    sqlite3_bind_text(st, 2, r->execution_id, -1, SQLITE_STATIC);
    sqlite3_bind_int(st, 3, HISTORY_RUNS);
    while (count < HISTORY_RUNS && sqlite3_step(st) == SQLITE_ROW)
        (void)str_format(ids[count++], JOURNAL_TEXT, "%s",
                         (const char *)sqlite3_column_text(st, 0));
    sqlite3_reset(st);
    for (size_t i = 0; i < count; i++) {
        struct journal_head head;
        if (journal_head(j, ids[i], &head, NULL) || !add_exchange(db, j, r, ids[i], &head, &room))
            break;
    }
    return ERR_OK;
}

enum err_code runner_claim_make(sqlite3 *db, struct journal *j,
                                const struct runner_api_config *config, const char *execution_id,
                                Runner__ClaimResponse **ret, struct err *err)
{
    Runner__ClaimResponse *r = mem_new(sizeof *r);
    struct journal_head head;
    size_t unread;
    enum err_code code;

    runner__claim_response__init(r);
    if ((code = put_spec(db, r, execution_id, config, err)) ||
        (code = put_agent(db, r, config, err)) ||
        (code = journal_head(j, execution_id, &head, err)) ||
        (*head.folder && config->workspace_root &&
         (code = own_folder_link(config->workspace_root, r->workspace, head.folder, err))) ||
        (code = journal_read(j, execution_id, 1, SIZE_MAX, add_event, r, err)) ||
        (code = put_history(db, j, r, err)) ||
        (code = inbox_unread(db, execution_id, add_input, r, &unread, err)) ||
        (code = approvals_open(db, execution_id, add_decision, r, err))) {
        runner__claim_response__free_unpacked(r, NULL);
        return code;
    }
    r->epoch = head.epoch;
    *ret = r;
    return ERR_OK;
}
