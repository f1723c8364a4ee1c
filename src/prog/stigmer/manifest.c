#include "prog/stigmer/manifest.h"

#include <dirent.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/mem.h"
#include "base/own.h"
#include "base/str.h"
#include "prog/stigmer/settings.h"
#include "wire/pbjson.h"
#include "wire/yaml.h"

#define API_VERSION "agentic.stigmer.ai/v1"
#define DOCUMENT_FAULTS_MAX 20
#define INSTRUCTIONS_MIN 10
#define PATH_TEXT_MAX 512

/* One document while it is read. */
struct document {
    struct manifest *m;
    const char *file;
    const struct yaml_docs *docs;
    size_t index;
};

void manifest_init(struct manifest *m)
{
    *m = (struct manifest){0};
}

void manifest_done(struct manifest *m)
{
    for (size_t i = 0; i < m->count; i++)
        kinds_free(m->items[i].resource);
    free(m->items);
    buf_done(&m->faults);
    *m = (struct manifest){0};
}

static void add_fault(struct manifest *m, const char *text)
{
    buf_printf(&m->faults, "%s%.500s", m->fault_count++ ? "\n" : "", text);
}

static void fault_at(struct document *d, const char *path, const char *fmt, ...) ERR_PRINTF(3, 4);

static void fault_at(struct document *d, const char *path, const char *fmt, ...)
{
    OWN_BUF struct buf b = {0};
    unsigned line = 1, column = 1;
    char text[700];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    (void)yaml_docs_where(d->docs, d->index, path, &line, &column);
    buf_printf(&b, "%.200s:%u:%u: %s", d->file, line, column, text);
    add_fault(d->m, buf_text(&b));
}

/* ---- taking a faulty value out, so that the rest is checked too ---------------------------- */

/* One step of a path as wire/jsonpath.h writes it: .key ["key"] [3]. False at the end. */
static bool next_step(const char **p, struct buf *key, size_t *ret_index, bool *ret_is_index)
{
    const char *s = *p;
    int64_t index = 0;

    buf_clear(key);
    *ret_is_index = false;
    if (!*s)
        return false;
    if (*s == '.')
        s++;
    if (*s != '[') {
        size_t n = strcspn(s, ".[");
        buf_put(key, s, n);
        *p = s + n;
        return n > 0;
    }
    s++;
    if (*s == '"') {
        for (s++; *s && *s != '"'; s++)
            buf_putc(key, *s == '\\' && s[1] ? *++s : *s);
        s += *s == '"';
    } else {
        OWN_FREE char *digits = mem_strn(s, strspn(s, "0123456789"));
        if (str_to_int(digits, 0, INT32_MAX, &index, NULL))
            return false;
        s += strlen(digits);
        *ret_is_index = true;
    }
    *ret_index = (size_t)index;
    *p = s + (*s == ']');
    return true;
}

static bool remove_at(json_t *root, const char *path)
{
    OWN_BUF struct buf key = {0}, parent_key = {0};
    json_t *parent = NULL, *v = root;
    size_t index = 0, parent_index = 0;
    bool is_index, parent_is_index = false;

    while (next_step(&path, &key, &index, &is_index)) {
        parent = v;
        v = is_index ? json_array_get(v, index) : json_object_get(v, buf_text(&key));
        if (!v)
            return false;
        parent_index = index;
        parent_is_index = is_index;
        buf_clear(&parent_key);
        buf_put(&parent_key, key.data, key.len);
    }
    if (!parent)
        return false;
    return parent_is_index ? json_array_set_new(parent, parent_index, json_object()) == 0
                           : json_object_del(parent, buf_text(&parent_key)) == 0;
}

/* ---- what a resource must have ------------------------------------------------------------- */

static void check_agent(struct document *d, const Agent__AgentSpec *s)
{
    if (!s || strlen(s->instructions) < INSTRUCTIONS_MIN)
        fault_at(d, "spec.instructions", "spec.instructions needs at least %d characters",
                 INSTRUCTIONS_MIN);
    for (size_t i = 0; s && i < s->n_sub_agents; i++) {
        char path[80];
        snprintf(path, sizeof path, "spec.subAgents[%zu]", i);
        if (!*s->sub_agents[i]->name)
            fault_at(d, path, "%s needs a name", path);
        if (strlen(s->sub_agents[i]->instructions) < INSTRUCTIONS_MIN)
            fault_at(d, path, "%s.instructions needs at least %d characters", path,
                     INSTRUCTIONS_MIN);
    }
    for (size_t i = 0; s && i < s->n_mcp_servers; i++) {
        char path[80];
        snprintf(path, sizeof path, "spec.mcpServers[%zu]", i);
        if (!*s->mcp_servers[i]->name)
            fault_at(d, path, "%s needs a name", path);
    }
}

static void check_resource(struct document *d, const struct kind *k, struct kinds_any *r)
{
    if (!r->metadata) {
        fault_at(d, "", "metadata is missing: it needs a name");
        return;
    }
    if (!*r->metadata->name && !*r->metadata->slug)
        fault_at(d, "metadata", "metadata.name is missing");
    if (str_eq(k->type, "Agent"))
        check_agent(d, (const Agent__AgentSpec *)r->spec);
    else if (str_eq(k->type, "AgentInstance") &&
             (!r->spec || !*((const Ainst__AgentInstanceSpec *)r->spec)->agent_id))
        fault_at(d, "spec", "spec.agentId is missing");
    else if (str_eq(k->type, "Session") &&
             (!r->spec || !*((const Sess__SessionSpec *)r->spec)->agent_instance_id))
        fault_at(d, "spec", "spec.agentInstanceId is missing");
}

static void set_text(char **field, const char *text)
{
    if (*field && *field != (const char *)protobuf_c_empty_string)
        free(*field);
    *field = mem_str(text);
}

static void put_defaults(struct kinds_any *r)
{
    if (r->metadata->owner_scope ==
        META__API_RESOURCE_OWNER_SCOPE__api_resource_owner_scope_unspecified)
        r->metadata->owner_scope = META__API_RESOURCE_OWNER_SCOPE__organization;
    if (!*r->metadata->org)
        set_text(&r->metadata->org, "local");
}

/* ---- one document -------------------------------------------------------------------------- */

/* The kind, or NULL with a fault. */
static const struct kind *find_kind(struct document *d, const json_t *root)
{
    const char *type = json_string_value(json_object_get(root, "kind"));
    const char *version = json_string_value(json_object_get(root, "apiVersion"));
    const struct kind *k = type ? kinds_by_type(type) : NULL;
    const char *near;

    if (!version)
        version = json_string_value(json_object_get(root, "api_version"));
    if (!version)
        fault_at(d, "", "apiVersion is missing: %s", API_VERSION);
    else if (!str_eq(version, API_VERSION))
        fault_at(d, "apiVersion", "apiVersion '%.80s' is not %s", version, API_VERSION);
    if (!type) {
        fault_at(d, "", "kind is missing: Agent, AgentInstance or Session");
    } else if (!k) {
        near = kinds_nearest_type(type);
        fault_at(d, "kind", "unknown kind '%.80s'%s%s%s", type, near ? ", did you mean '" : "",
                 near ? near : "", near ? "'?" : "");
    } else if (!k->message) {
        fault_at(d, "kind", "kind '%s' is not available in this version", type);
        k = NULL;
    } else if (!k->order) {
        fault_at(d, "kind", "an execution is not applied: start one with `stigmer run`");
        k = NULL;
    }
    return k;
}

/* Every unknown or wrong field is told: a faulty one is taken out and the rest is tried again. */
static ProtobufCMessage *read_message(struct document *d, const struct kind *k, const json_t *root)
{
    json_t *copy = json_deep_copy(root);
    ProtobufCMessage *m = NULL;

    for (int i = 0; i < DOCUMENT_FAULTS_MAX; i++) {
        char path[PATH_TEXT_MAX] = "";
        struct pbjson_opts opts = {.path = path, .path_size = sizeof path};
        struct err e = {0};
        if (!pbjson_from(k->message, copy, &opts, &m, &e))
            break;
        fault_at(d, path, "%s%s%s", e.msg, e.hint[0] ? ": " : "", e.hint);
        if (!remove_at(copy, path))
            break;
    }
    json_decref(copy);
    return m;
}

static void add_document(struct document *d)
{
    const json_t *root = yaml_docs_root(d->docs, d->index);
    unsigned before = d->m->fault_count;
    const struct kind *k;
    struct kinds_any *r;

    if (!json_is_object(root)) {
        fault_at(d, "", "a resource is a set of fields: apiVersion, kind, metadata, spec");
        return;
    }
    k = find_kind(d, root);
    r = k ? (struct kinds_any *)read_message(d, k, root) : NULL;
    if (r)
        check_resource(d, k, r);
    if (!r || d->m->fault_count != before) {
        kinds_free(r);
        return;
    }
    put_defaults(r);
    d->m->items = mem_grow(d->m->items, d->m->count + 1, sizeof *d->m->items);
    d->m->items[d->m->count++] = (struct manifest_item){k, r};
}

/* ---- files --------------------------------------------------------------------------------- */

static void add_file(struct manifest *m, const char *path)
{
    OWN_BUF struct buf text = {0};
    struct yaml_docs *docs = NULL;
    struct err e = {0};

    m->files++;
    if (settings_read_file(path, MANIFEST_FILE_MAX, &text, &e) ||
        yaml_docs_parse(buf_text(&text), text.len, path, NULL, &docs, &e)) {
        add_fault(m, e.msg);
        return;
    }
    for (size_t i = 0; i < yaml_docs_count(docs); i++) {
        struct document d = {m, str_eq(path, "-") ? "standard input" : path, docs, i};
        add_document(&d);
    }
    if (!yaml_docs_count(docs)) {
        OWN_BUF struct buf b = {0};
        buf_printf(&b, "%s: holds no document", path);
        add_fault(m, buf_text(&b));
    }
    yaml_docs_free(docs);
}

static bool is_resource_file(const char *name)
{
    return str_ends(name, ".yaml") || str_ends(name, ".yml") || str_ends(name, ".json");
}

static int not_hidden(const struct dirent *e)
{
    return e->d_name[0] != '.';
}

static enum err_code add_folder(struct manifest *m, const char *path, int depth, struct err *err)
{
    struct dirent **names = NULL;
    int n = scandir(path, &names, not_hidden, alphasort);
    enum err_code code = ERR_OK;

    if (n < 0)
        return err_sys(err, errno, "cannot read the folder %s", path);
    for (int i = 0; i < n; i++) {
        OWN_BUF struct buf b = {0};
        struct stat st;
        buf_printf(&b, "%s/%s", path, names[i]->d_name);
        if (!code && m->files >= MANIFEST_FILES_MAX)
            code = err_set(err, ERR_LIMIT, "more than %d files below %s", MANIFEST_FILES_MAX, path);
        /* Links to folders are not followed: they can lead round in circles. */
        if (!code && lstat(buf_text(&b), &st) == 0 && S_ISDIR(st.st_mode)) {
            if (depth < MANIFEST_DEPTH)
                code = add_folder(m, buf_text(&b), depth + 1, err);
        } else if (!code && is_resource_file(names[i]->d_name)) {
            add_file(m, buf_text(&b));
        } else if (!code && str_eq(names[i]->d_name, "SKILL.md")) {
            OWN_BUF struct buf why = {0};
            buf_printf(&why, "%s: skills are not available in this version", buf_text(&b));
            add_fault(m, buf_text(&why));
        }
        free(names[i]);
    }
    free(names);
    return code;
}

enum err_code manifest_add(struct manifest *m, const char *path, struct err *err)
{
    struct stat st;

    if (str_eq(path, "-")) {
        add_file(m, path);
        return ERR_OK;
    }
    if (stat(path, &st))
        return err_sys(err, errno, "cannot read %s", path);
    if (!S_ISDIR(st.st_mode)) {
        add_file(m, path);
        return ERR_OK;
    }
    return add_folder(m, path, 0, err);
}

static int by_order(const void *a, const void *b)
{
    const struct manifest_item *x = a, *y = b;

    return (int)x->kind->order - (int)y->kind->order;
}

/* Stable, which qsort is not: files of one kind keep the order in which they were written. */
static void sort_items(struct manifest *m)
{
    for (size_t i = 1; i < m->count; i++) {
        struct manifest_item item = m->items[i];
        size_t at = i;
        for (; at > 0 && by_order(&m->items[at - 1], &item) > 0; at--)
            m->items[at] = m->items[at - 1];
        m->items[at] = item;
    }
}

enum err_code manifest_check(struct manifest *m, struct err *err)
{
    const char *text = buf_text(&m->faults);
    size_t shown = m->faults.len;

    if (!m->fault_count && !m->count)
        return err_set(err, ERR_INVALID, "no resources found (*.yaml, *.yml, *.json)");
    if (!m->fault_count) {
        sort_items(m);
        return ERR_OK;
    }
    if (shown > 900) /* whole lines */
        for (shown = 900; shown && text[shown] != '\n'; shown--)
            ;
    return err_set(err, ERR_INVALID, "%u fault%s, nothing was sent:\n%.*s%s", m->fault_count,
                   m->fault_count == 1 ? "" : "s", (int)shown, text,
                   shown < m->faults.len ? "\n…" : "");
}
