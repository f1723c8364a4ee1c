#include "prog/stigmer/kinds.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "base/ulid.h"

#define PAGE 200

#define SAME_START(type)                                                                           \
    _Static_assert(offsetof(type, metadata) == offsetof(struct kinds_any, metadata) &&             \
                       offsetof(type, spec) == offsetof(struct kinds_any, spec) &&                 \
                       offsetof(type, status) == offsetof(struct kinds_any, status),               \
                   "a resource begins as all do")
SAME_START(Agent__Agent);
SAME_START(Ainst__AgentInstance);
SAME_START(Sess__Session);
SAME_START(Aexec__AgentExecution);

/* clang-format off */
static const struct kind kinds[] = {
    {"agent", "Agent", "agent", "agents", "ai.stigmer.agentic.agent.v1",
     &agent__agent__descriptor, &agent__agent_id__descriptor, 3},
    {"agent_instance", "AgentInstance", "instance", "instances", "ai.stigmer.agentic.agentinstance.v1",
     &ainst__agent_instance__descriptor, &ainst__agent_instance_id__descriptor, 4},
    {"session", "Session", "session", "sessions", "ai.stigmer.agentic.session.v1",
     &sess__session__descriptor, &sess__session_id__descriptor, 5},
    {"agent_execution", "AgentExecution", "execution", "executions", "ai.stigmer.agentic.agentexecution.v1",
     &aexec__agent_execution__descriptor, &meta__api_resource_id__descriptor, 0},
    {"agent_execution", "", "run", "runs", "ai.stigmer.agentic.agentexecution.v1",
     &aexec__agent_execution__descriptor, &meta__api_resource_id__descriptor, 0},
    {"skill", "Skill", "skill", "skills", "", NULL, NULL, 1},
    {"environment", "Environment", "environment", "environments", "", NULL, NULL, 2},
};
/* clang-format on */
#define KINDS (sizeof kinds / sizeof kinds[0])

static const struct {
    const char *names[4]; /* as the service has it and people write it */
} service_names[] = {{{"agent", "Agent"}},
                     {{"agent_instance", "AgentInstance"}},
                     {{"session", "Session"}},
                     {{"agent_execution", "AgentExecution"}}};

const struct kind *kinds_by_word(const char *word)
{
    for (size_t i = 0; i < KINDS; i++)
        if (str_eq(kinds[i].word, word) || str_eq(kinds[i].words, word) ||
            str_eq(kinds[i].name, word) || (*kinds[i].type && str_eq(kinds[i].type, word)))
            return &kinds[i];
    return NULL;
}

const struct kind *kinds_by_type(const char *type)
{
    for (size_t i = 0; i < KINDS; i++)
        if (*kinds[i].type && str_eq(kinds[i].type, type))
            return &kinds[i];
    return NULL;
}

const char *kinds_nearest_type(const char *type)
{
    const char *names[KINDS + 1] = {0};
    size_t n = 0;

    for (size_t i = 0; i < KINDS; i++)
        if (*kinds[i].type)
            names[n++] = kinds[i].type;
    return strlen(type) <= 64 ? str_nearest(type, names) : NULL;
}

enum err_code kinds_lookup(const char *word, const struct kind **ret, struct err *err)
{
    const struct kind *k = kinds_by_word(word);
    const char *names[KINDS + 1] = {0};
    const char *near;

    for (size_t i = 0; i < KINDS; i++)
        names[i] = kinds[i].words;
    if (k && !k->message)
        return err_set(err, ERR_INVALID, "kind '%s' is not available in this version", word);
    if (k) {
        *ret = k;
        return ERR_OK;
    }
    near = strlen(word) <= 64 ? str_nearest(word, names) : NULL;
    err_set(err, ERR_INVALID, "unknown kind '%.80s'%s%s%s", word, near ? ", did you mean '" : "",
            near ? near : "", near ? "'?" : "");
    return err_hint(err, ERR_INVALID, "kinds: agents, instances, sessions, executions");
}

/* "ai.stigmer.agentic.agent.v1" and "Agent" make "/….AgentCommandController/apply". */
static void command_path(const struct kind *k, const char *verb, char *ret, size_t size)
{
    const char *type = k->type;

    for (size_t i = 0; i < sizeof service_names / sizeof service_names[0]; i++)
        if (str_eq(service_names[i].names[0], k->name))
            type = service_names[i].names[1];
    (void)str_format(ret, size, "/%s.%sCommandController/%s", k->package, type, verb);
}

static enum err_code unpack(const struct kind *k, const ProtobufCBinaryData *bytes,
                            struct kinds_any **ret, struct err *err)
{
    ProtobufCMessage *m = protobuf_c_message_unpack(k->message, NULL, bytes->len, bytes->data);

    if (!m)
        return err_set(err, ERR_CORRUPT, "the server's answer is no %s", k->word);
    *ret = (struct kinds_any *)m;
    return ERR_OK;
}

enum err_code kinds_find(struct conn *c, const struct kind *k, const char *ref,
                         struct kinds_any **ret, struct err *err)
{
    Res__FindRequest request = RES__FIND_REQUEST__INIT;
    ProtobufCMessage *answer = NULL;
    enum err_code code;

    request.kind = (char *)(uintptr_t)k->name;
    request.ref = (char *)(uintptr_t)ref;
    code = conn_call(c, "/stigmer.resource.v1.ResourceService/find", &request.base,
                     &res__find_response__descriptor, 0, &answer, err);
    if (code == ERR_NOT_FOUND) {
        err_set(err, code, "no %s '%.200s'", k->word, ref);
        return err_hint(err, code, "stigmer get %s", k->words);
    }
    if (code)
        return code;
    code = unpack(k, &((Res__FindResponse *)answer)->item, ret, err);
    protobuf_c_message_free_unpacked(answer, NULL);
    return code;
}

void kinds_list_done(struct kinds_list *l)
{
    for (size_t i = 0; i < l->count; i++)
        kinds_free(l->items[i]);
    free(l->items);
    *l = (struct kinds_list){0};
}

static enum err_code take_page(const struct kind *k, const Res__ListResponse *page, size_t limit,
                               struct kinds_list *l, struct err *err)
{
    for (size_t i = 0; i < page->n_items && (!limit || l->count < limit); i++) {
        struct kinds_any *r = NULL;
        enum err_code code = unpack(k, &page->items[i], &r, err);
        if (code)
            return code;
        l->items = mem_grow(l->items, l->count + 1, sizeof(struct kinds_any *));
        l->items[l->count++] = r;
    }
    l->total = page->total;
    return ERR_OK;
}

enum err_code kinds_list(struct conn *c, const struct kind *k, const char *parent, size_t limit,
                         struct kinds_list *ret, struct err *err)
{
    Res__ListRequest request = RES__LIST_REQUEST__INIT;
    struct kinds_list l = {0};
    char *token = mem_str("");
    enum err_code code = ERR_OK;
    bool more = true;

    request.kind = (char *)(uintptr_t)k->name;
    request.parent = (char *)(uintptr_t)(parent ? parent : "");
    request.page_size = limit && limit < PAGE ? (int32_t)limit : PAGE;
    while (!code && more) {
        ProtobufCMessage *answer = NULL;
        request.page_token = token;
        code = conn_call(c, "/stigmer.resource.v1.ResourceService/list", &request.base,
                         &res__list_response__descriptor, 0, &answer, err);
        if (code)
            break;
        code = take_page(k, (Res__ListResponse *)answer, limit, &l, err);
        free(token);
        token = mem_str(((Res__ListResponse *)answer)->next_page_token);
        protobuf_c_message_free_unpacked(answer, NULL);
        more = *token && (!limit || l.count < limit);
    }
    free(token);
    if (code)
        kinds_list_done(&l);
    else
        *ret = l;
    return code;
}

enum err_code kinds_command(struct conn *c, const struct kind *k, const char *verb,
                            const ProtobufCMessage *request, struct kinds_any **ret,
                            struct err *err)
{
    ProtobufCMessage *answer = NULL;
    char path[160];
    enum err_code code;

    command_path(k, verb, path, sizeof path);
    code = conn_call(c, path, request, k->message, 0, &answer, err);
    if (!code)
        *ret = (struct kinds_any *)answer;
    return code;
}

enum err_code kinds_delete(struct conn *c, const struct kind *k, const char *id, struct err *err)
{
    Agent__AgentId request; /* every kind's id message is one text in field 1 */
    struct kinds_any *gone = NULL;
    enum err_code code;

    protobuf_c_message_init(k->delete_id, &request);
    request.value = (char *)(uintptr_t)id;
    code = kinds_command(c, k, "delete", &request.base, &gone, err);
    if (!code)
        kinds_free(gone);
    return code;
}

void kinds_free(struct kinds_any *r)
{
    if (r)
        protobuf_c_message_free_unpacked(&r->base, NULL);
}

const char *kinds_id(const struct kinds_any *r)
{
    return r->metadata && r->metadata->id ? r->metadata->id : "";
}

const char *kinds_name(const struct kinds_any *r)
{
    return r->metadata && r->metadata->name ? r->metadata->name : "";
}

const char *kinds_slug(const struct kinds_any *r)
{
    return r->metadata && r->metadata->slug ? r->metadata->slug : "";
}

/* An id tells its own birth: "agt-" and a ULID, whose first ten characters are milliseconds. */
int64_t kinds_created_ms(const struct kinds_any *r)
{
    static const char alphabet[] = "0123456789abcdefghjkmnpqrstvwxyz";
    const char *dash = strchr(kinds_id(r), '-');
    int64_t ms = 0;

    if (!dash || !ulid_is_valid(dash + 1))
        return 0;
    for (int i = 1; i <= 10; i++)
        ms = ms * 32 + (strchr(alphabet, dash[i]) - alphabet);
    return ms;
}

const char *kinds_phase_name(int phase)
{
    static const char *const names[] = {"unknown",   "pending", "running",
                                        "completed", "failed",  "cancelled"};

    return phase >= 0 && phase < 6 ? names[phase] : "unknown";
}
