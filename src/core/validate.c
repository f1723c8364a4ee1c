#include "core/validate.h"

#include <string.h>

#include "ai/stigmer/agentic/agent/v1/agent.pb-c.h"
#include "ai/stigmer/agentic/agentexecution/v1/agentexecution.pb-c.h"
#include "ai/stigmer/agentic/agentinstance/v1/agentinstance.pb-c.h"
#include "ai/stigmer/agentic/session/v1/session.pb-c.h"
#include "base/buf.h"
#include "base/str.h"
#include "core/policy.h"

#define INSTRUCTIONS_MIN 10 /* characters */

struct faults {
    struct buf text; /* owned */
};

static void fault(struct faults *f, const char *field, const char *rule)
{
    buf_printf(&f->text, "\n - %s: %s", field, rule);
}

static void fault_at(struct faults *f, const char *list, size_t i, const char *field,
                     const char *rule)
{
    buf_printf(&f->text, "\n - %s[%zu]%s%s: %s", list, i, *field ? "." : "", field, rule);
}

static size_t characters(const char *s)
{
    size_t n = 0;

    for (; *s; s++)
        n += ((unsigned char)*s & 0xc0) != 0x80;
    return n;
}

static bool is_version(const char *s)
{
    return strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") ==
           strlen(s);
}

static void check_refs(struct faults *f, const char *list, Meta__ApiResourceReference **refs,
                       size_t count, int kind, int also)
{
    for (size_t i = 0; i < count; i++) {
        if ((int)refs[i]->kind != kind && (int)refs[i]->kind != also)
            fault_at(f, list, i, "kind",
                     kind == KIND__API_RESOURCE_KIND__skill ? "must be 43 (skill)"
                                                            : "must be 53 (environment)");
        if ((int)refs[i]->scope < 0 || (int)refs[i]->scope > 3)
            fault_at(f, list, i, "scope", "must be one of the defined values");
        if (!is_version(refs[i]->version))
            fault_at(f, list, i, "version", "must be empty, latest, a tag or a hash");
    }
}

/* ---- agent
 * ---------------------------------------------------------------------------------------- */

static void check_ports(struct faults *f, size_t i, const Agent__DockerServer *d)
{
    for (size_t p = 0; p < d->n_ports; p++)
        if (d->ports[p]->host_port < 1 || d->ports[p]->container_port < 1)
            fault_at(f, "spec.mcp_servers", i, "docker.ports", "ports must be 1 or more");
    for (size_t v = 0; v < d->n_volumes; v++)
        if (!*d->volumes[v]->host_path || !*d->volumes[v]->container_path)
            fault_at(f, "spec.mcp_servers", i, "docker.volumes",
                     "host_path and container_path are required");
}

static void check_mcp(struct faults *f, const Agent__AgentSpec *s)
{
    for (size_t i = 0; i < s->n_mcp_servers; i++) {
        const Agent__McpServerDefinition *m = s->mcp_servers[i];
        if (!*m->name)
            fault_at(f, "spec.mcp_servers", i, "name", "is required");
        switch ((int)m->server_type_case) {
        case AGENT__MCP_SERVER_DEFINITION__SERVER_TYPE_STDIO:
            if (!*m->stdio->command)
                fault_at(f, "spec.mcp_servers", i, "stdio.command", "is required");
            break;
        case AGENT__MCP_SERVER_DEFINITION__SERVER_TYPE_HTTP:
            if (!*m->http->url)
                fault_at(f, "spec.mcp_servers", i, "http.url", "is required");
            break;
        case AGENT__MCP_SERVER_DEFINITION__SERVER_TYPE_DOCKER:
            if (!*m->docker->image)
                fault_at(f, "spec.mcp_servers", i, "docker.image", "is required");
            check_ports(f, i, m->docker);
            break;
        default:
            break;
        }
    }
}

static void check_approvals(struct faults *f, const Agent__AgentSpec *s)
{
    struct err why;

    if (s->n_require_approval > POLICY_PATTERNS_MAX)
        fault(f, "spec.require_approval", "has more than 64 names of tools");
    for (size_t i = 0; i < s->n_require_approval && i < POLICY_PATTERNS_MAX; i++)
        if (policy_check(s->require_approval[i], &why))
            fault_at(f, "spec.require_approval", i, "", why.msg);
}

static void check_agent(struct faults *f, const Agent__AgentSpec *s)
{
    if (characters(s->instructions) < INSTRUCTIONS_MIN)
        fault(f, "spec.instructions", "must have at least 10 characters");
    check_refs(f, "spec.skill_refs", s->skill_refs, s->n_skill_refs, KIND__API_RESOURCE_KIND__skill,
               KIND__API_RESOURCE_KIND__skill);
    check_mcp(f, s);
    check_approvals(f, s);
    for (size_t i = 0; i < s->n_sub_agents; i++) {
        const Agent__SubAgent *a = s->sub_agents[i];
        if (!*a->name)
            fault_at(f, "spec.sub_agents", i, "name", "is required");
        if (characters(a->instructions) < INSTRUCTIONS_MIN)
            fault_at(f, "spec.sub_agents", i, "instructions", "must have at least 10 characters");
        check_refs(f, "spec.sub_agents.skill_refs", a->skill_refs, a->n_skill_refs,
                   KIND__API_RESOURCE_KIND__skill, KIND__API_RESOURCE_KIND__skill);
    }
}

/* ---- the others
 * ------------------------------------------------------------------------------------- */

static void check_execution(struct faults *f, const Aexec__AgentExecutionSpec *s)
{
    if (!*s->message)
        fault(f, "spec.message", "must have at least 1 character");
    if (!*s->session_id && !*s->agent_id)
        fault(f, "spec", "session_id or agent_id is required");
    for (size_t i = 0; i < s->n_runtime_env; i++)
        if (!s->runtime_env[i]->value || !*s->runtime_env[i]->value->value)
            buf_printf(&f->text,
                       "\n - spec.runtime_env[\"%s\"].value: must have at least 1 character",
                       s->runtime_env[i]->key);
}

static void check_spec(struct faults *f, const struct resource *m, const struct resource_kind *k)
{
    if (!m->spec) {
        if (k->number != RESOURCE_INSTANCE)
            fault(f, "spec", "is required");
        else
            fault(f, "spec.agent_id", "must have at least 1 character");
        return;
    }
    switch (k->number) {
    case RESOURCE_AGENT:
        check_agent(f, (const Agent__AgentSpec *)m->spec);
        break;
    case RESOURCE_EXECUTION:
        check_execution(f, (const Aexec__AgentExecutionSpec *)m->spec);
        break;
    case RESOURCE_SESSION:
        if (!*((const Sess__SessionSpec *)m->spec)->agent_instance_id)
            fault(f, "spec.agent_instance_id", "is required");
        break;
    case RESOURCE_INSTANCE: {
        const Ainst__AgentInstanceSpec *s = (const Ainst__AgentInstanceSpec *)m->spec;
        if (!*s->agent_id)
            fault(f, "spec.agent_id", "must have at least 1 character");
        /* 52 is what the original demanded here by mistake: read as 53 */
        check_refs(f, "spec.environment_refs", s->environment_refs, s->n_environment_refs, 53, 52);
        break;
    }
    default:
        break;
    }
}

static void check_scope(struct faults *f, const struct resource_kind *k, int scope)
{
    static const char platform_or_org[] = "must be 1 (platform) or 2 (organization)";
    static const char org_or_account[] = "must be 2 (organization) or 3 (identity_account)";

    if (scope < 0 || scope > 3)
        fault(f, "metadata.owner_scope", "must be one of the defined values");
    else if (k->number == RESOURCE_AGENT && scope != 1 && scope != 2)
        fault(f, "metadata.owner_scope", platform_or_org);
    else if (k->number == RESOURCE_SESSION && scope != 2 && scope != 3)
        fault(f, "metadata.owner_scope", org_or_account);
    else if (k->number == RESOURCE_EXECUTION && scope != 0)
        fault(f, "metadata.owner_scope", "must be 0 (unspecified)");
}

static void check_metadata(struct faults *f, const struct resource *m,
                           const struct resource_kind *k)
{
    const Meta__ApiResourceMetadata *d = m->metadata;
    char slug[RESOURCE_SLUG];

    if (!d) {
        fault(f, "metadata", "is required");
        return;
    }
    check_scope(f, k, (int)d->owner_scope);
    if (*d->id && !resource_is_id(k, d->id))
        buf_printf(&f->text, "\n - metadata.id: must be %s- and a lower-case ULID", k->prefix);
    if (*d->slug && !resource_is_slug(d->slug))
        fault(f, "metadata.slug", "must be of a-z, 0-9 and inner hyphens");
    resource_make_slug(d->name, slug);
    if (!*d->slug && !*d->name)
        fault(f, "metadata.name", "is required");
    else if (!*d->slug && !*slug)
        fault(f, "metadata.name", "has no character that a slug can be made of");
}

enum err_code validate_resource(const struct resource *m, const struct resource_kind *k,
                                struct err *err)
{
    struct faults f = {0};
    enum err_code code = ERR_OK;

    if (!str_eq(m->api_version, RESOURCE_API_VERSION))
        fault(&f, "api_version", "must be " RESOURCE_API_VERSION);
    if (!str_eq(m->kind, k->name))
        buf_printf(&f.text, "\n - kind: must be %s", k->name);
    check_metadata(&f, m, k);
    check_spec(&f, m, k);
    if (f.text.len)
        code = err_set(err, ERR_INVALID, "validation errors:%s", buf_text(&f.text));
    buf_done(&f.text);
    return code;
}

enum err_code validate_reference(const Meta__ApiResourceReference *r, const struct resource_kind *k,
                                 struct err *err)
{
    struct faults f = {0};
    enum err_code code = ERR_OK;

    if (!*r->slug)
        fault(&f, "slug", "is required");
    if (r->kind && (int)r->kind != (int)k->number)
        buf_printf(&f.text, "\n - kind: must be %d (%s) or 0", (int)k->number, k->word);
    if ((int)r->scope < 0 || (int)r->scope > 3)
        fault(&f, "scope", "must be one of the defined values");
    if (!is_version(r->version))
        fault(&f, "version", "must be empty, latest, a tag or a hash");
    if (f.text.len)
        code = err_set(err, ERR_INVALID, "validation errors:%s", buf_text(&f.text));
    buf_done(&f.text);
    return code;
}
