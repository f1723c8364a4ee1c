#include "core/resource.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "ai/stigmer/agentic/agent/v1/agent.pb-c.h"
#include "ai/stigmer/agentic/agentexecution/v1/agentexecution.pb-c.h"
#include "ai/stigmer/agentic/agentinstance/v1/agentinstance.pb-c.h"
#include "ai/stigmer/agentic/session/v1/session.pb-c.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/ulid.h"

static const struct resource_kind kinds[] = {
    {RESOURCE_AGENT, "Agent", "agent", "agt", &agent__agent__descriptor,
     &agent__agent_status__descriptor},
    {RESOURCE_EXECUTION, "AgentExecution", "agent_execution", "aex",
     &aexec__agent_execution__descriptor, &aexec__agent_execution_status__descriptor},
    {RESOURCE_SESSION, "Session", "session", "ses", &sess__session__descriptor,
     &meta__api_resource_audit_status__descriptor},
    {RESOURCE_INSTANCE, "AgentInstance", "agent_instance", "ain",
     &ainst__agent_instance__descriptor, &meta__api_resource_audit_status__descriptor},
};

/* The view relies on all four messages having their first five fields in one order. */
#define SAME_LAYOUT(type)                                                                          \
    _Static_assert(offsetof(type, metadata) == offsetof(struct resource, metadata) &&              \
                       offsetof(type, spec) == offsetof(struct resource, spec) &&                  \
                       offsetof(type, status) == offsetof(struct resource, status),                \
                   #type " is laid out as struct resource")
SAME_LAYOUT(Agent__Agent);
SAME_LAYOUT(Aexec__AgentExecution);
SAME_LAYOUT(Sess__Session);
SAME_LAYOUT(Ainst__AgentInstance);

const struct resource_kind *resource_kind(enum resource_number number)
{
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (kinds[i].number == number)
            return &kinds[i];
    return NULL;
}

const struct resource_kind *resource_kind_by_word(const char *word)
{
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (str_eq(kinds[i].word, word))
            return &kinds[i];
    return NULL;
}

struct resource *resource_of(ProtobufCMessage *m)
{
    return (struct resource *)m;
}

void resource_make_id(const struct resource_kind *k, int64_t wall_ms, char ret[RESOURCE_ID])
{
    char ulid[ULID_LEN + 1];

    ulid_make(wall_ms, ulid);
    snprintf(ret, RESOURCE_ID, "%s-%s", k->prefix, ulid);
}

bool resource_is_id(const struct resource_kind *k, const char *text)
{
    size_t n = strlen(k->prefix);

    return strncmp(text, k->prefix, n) == 0 && text[n] == '-' && ulid_is_valid(text + n + 1);
}

/* U+00C0–U+017F without their marks; '\0' where there is no plain letter. */
static const char folded[] = "aaaaaaaceeeeiiiidnooooo\0ouuuuytsaaaaaaaceeeeiiiidnooooo\0ouuuuyty"
                             "aaaaaaccccccccddddeeeeeeeeeegggggggghhhhiiiiiiiiiiiijjkkklllllll"
                             "lllnnnnnnnnnoooooooorrrrrrssssssssttttttuuuuuuuuuuuuwwyyyzzzzzzs";

static char fold(const char *p, size_t *ret_len)
{
    unsigned char a = (unsigned char)p[0], b = (unsigned char)p[1];
    unsigned code;

    *ret_len = 1;
    if (a < 0x80)
        return p[0];
    if (a < 0xc3 || a > 0xc5 || (b & 0xc0) != 0x80)
        return '\0';
    *ret_len = 2;
    code = (a & 0x1fu) << 6 | (b & 0x3fu);
    return code >= 0xc0 && code - 0xc0 < sizeof folded - 1 ? folded[code - 0xc0] : '\0';
}

void resource_make_slug(const char *name, char ret[RESOURCE_SLUG])
{
    size_t n = 0;

    while (*name && n < RESOURCE_SLUG - 1) {
        size_t len;
        char c = fold(name, &len);
        name += len;
        if (c >= 'A' && c <= 'Z')
            c = (char)(c - 'A' + 'a');
        if (c == ' ')
            c = '-';
        if ((c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-')
            continue;
        if (c == '-' && (n == 0 || ret[n - 1] == '-'))
            continue;
        ret[n++] = c;
    }
    while (n && ret[n - 1] == '-')
        n--;
    ret[n] = '\0';
}

bool resource_is_slug(const char *text)
{
    size_t n = strlen(text);

    return n > 0 && n < RESOURCE_SLUG && text[0] != '-' && text[n - 1] != '-' &&
           strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789-") == n;
}

void resource_set_text(char **field, const char *value)
{
    if (*field && *field != (char *)protobuf_c_empty_string)
        free(*field);
    *field = mem_str(value);
}

ProtobufCMessage *resource_copy(const ProtobufCMessage *m)
{
    size_t len = protobuf_c_message_get_packed_size(m);
    uint8_t *bytes = mem_array(len, 1);
    ProtobufCMessage *copy;

    protobuf_c_message_pack(m, bytes);
    copy = mem_check(protobuf_c_message_unpack(m->descriptor, NULL, len, bytes));
    free(bytes);
    return copy;
}

/* ---- audit
 * --------------------------------------------------------------------------------------- */

static Meta__ApiResourceAudit **audit_of(ProtobufCMessage *status)
{
    const ProtobufCFieldDescriptor *f =
        protobuf_c_message_descriptor_get_field_by_name(status->descriptor, "audit");

    return (Meta__ApiResourceAudit **)((char *)status + f->offset);
}

static Meta__ApiResourceAuditActor *actor_of(const char *id)
{
    Meta__ApiResourceAuditActor *a = mem_new(sizeof *a);

    meta__api_resource_audit_actor__init(a);
    resource_set_text(&a->id, id);
    return a;
}

static Google__Protobuf__Timestamp *time_of(int64_t wall_ms)
{
    Google__Protobuf__Timestamp *t = mem_new(sizeof *t);

    google__protobuf__timestamp__init(t);
    t->seconds = wall_ms / 1000;
    t->nanos = (int32_t)(wall_ms % 1000) * 1000000;
    return t;
}

static Meta__ApiResourceAuditInfo *info_of(const Meta__ApiResourceAuditInfo *old, const char *actor,
                                           int64_t wall_ms)
{
    Meta__ApiResourceAuditInfo *i = mem_new(sizeof *i);

    meta__api_resource_audit_info__init(i);
    i->created_by = old && old->created_by
                        ? (Meta__ApiResourceAuditActor *)resource_copy(&old->created_by->base)
                        : actor_of(actor);
    i->created_at = old && old->created_at
                        ? (Google__Protobuf__Timestamp *)resource_copy(&old->created_at->base)
                        : time_of(wall_ms);
    i->updated_by = actor_of(actor);
    i->updated_at = time_of(wall_ms);
    resource_set_text(&i->event, old ? "updated" : "created");
    return i;
}

void resource_audit(struct resource *m, const struct resource_kind *k, const struct resource *old,
                    const char *actor, int64_t wall_ms)
{
    const Meta__ApiResourceAudit *before = old && old->status ? *audit_of(old->status) : NULL;
    const Meta__ApiResourceAuditInfo *was = before ? before->spec_audit : NULL;
    Meta__ApiResourceAudit *a = mem_new(sizeof *a);
    Meta__ApiResourceAudit **field;

    meta__api_resource_audit__init(a);
    a->spec_audit = info_of(was, actor, wall_ms);
    a->status_audit = info_of(was, actor, wall_ms);
    if (!m->status) {
        m->status = mem_new(k->status->sizeof_message);
        protobuf_c_message_init(k->status, m->status);
    }
    field = audit_of(m->status);
    if (*field)
        meta__api_resource_audit__free_unpacked(*field, NULL);
    *field = a;
}
