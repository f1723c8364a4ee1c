#include "wire/yaml.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/own.h"
#include "base/str.h"
#include "wire/jsonpath.h"

struct place {
    char *path; /* owned */
    unsigned line, column;
};

struct document {
    json_t *root;         /* owned */
    struct place *places; /* owned */
    size_t place_count, place_cap;
};

struct yaml_docs {
    struct document *docs; /* owned */
    size_t count;
};

struct anchor {
    char *name;    /* owned */
    json_t *value; /* owned; NULL while it is being read: no alias into itself */
    size_t nodes;
};

struct reader {
    yaml_parser_t parser;
    const char *name;
    struct yaml_limits limits;
    struct document *doc; /* borrowed: the one being read */
    struct anchor *anchors;
    size_t anchor_count;
    struct buf path; /* owned */
    size_t nodes;
    unsigned depth;
    struct err *err;
};

static enum err_code at(struct reader *r, const yaml_mark_t *m, const char *what)
{
    return err_set(r->err, ERR_INVALID, "%s:%zu:%zu: %s", r->name, m->line + 1, m->column + 1,
                   what);
}

static enum err_code next(struct reader *r, yaml_event_t *ret)
{
    if (yaml_parser_parse(&r->parser, ret))
        return ERR_OK;
    if (r->parser.error == YAML_MEMORY_ERROR)
        return err_set(r->err, ERR_LIMIT, "%s: out of memory", r->name);
    return at(r, &r->parser.problem_mark,
              r->parser.problem ? r->parser.problem : "this is not YAML");
}

static void remember(struct reader *r, const yaml_mark_t *m)
{
    struct document *d = r->doc;

    if (d->place_count == d->place_cap) {
        d->place_cap = d->place_cap ? d->place_cap * 2 : 32;
        d->places = mem_grow(d->places, d->place_cap, sizeof *d->places);
    }
    d->places[d->place_count++] =
        (struct place){mem_str(buf_text(&r->path)), (unsigned)m->line + 1, (unsigned)m->column + 1};
}

static enum err_code count_nodes(struct reader *r, size_t n, const yaml_mark_t *m)
{
    r->nodes += n;
    return r->nodes > r->limits.nodes ? at(r, m, "more values than the limit allows") : ERR_OK;
}

/* ---- scalars
 * --------------------------------------------------------------------------------------- */

/* YAML 1.2 core schema: decimal, 0o and 0x integers. */
static json_t *integer_of(const char *s)
{
    const char *digits = s + (*s == '-' || *s == '+');
    int base = 10;
    char *end;
    long long v;

    if (digits[0] == '0' && (digits[1] == 'x' || digits[1] == 'o') && digits == s) {
        base = digits[1] == 'x' ? 16 : 8;
        digits += 2;
    }
    if (!*digits || strspn(digits, base == 16  ? "0123456789abcdefABCDEF"
                                   : base == 8 ? "01234567"
                                               : "0123456789") != strlen(digits))
        return NULL;
    errno = 0;
    v = strtoll(base == 10 ? s : digits, &end, base);
    return errno || *end ? json_real(strtod(s, NULL)) : json_integer(v);
}

static json_t *real_of(const char *s)
{
    bool digit = strpbrk(s, "0123456789") != NULL;
    char *end;
    double v;

    if (!digit || strspn(s, "0123456789+-.eE") != strlen(s) || strchr("eE", s[0]))
        return NULL;
    v = strtod(s, &end);
    return *end ? NULL : json_real(v); /* NULL too for what is beyond a double */
}

static json_t *plain_of(const char *s)
{
    json_t *j;

    if (!*s || str_eq(s, "~") || str_eq(s, "null") || str_eq(s, "Null") || str_eq(s, "NULL"))
        return json_null();
    if (str_eq(s, "true") || str_eq(s, "True") || str_eq(s, "TRUE"))
        return json_true();
    if (str_eq(s, "false") || str_eq(s, "False") || str_eq(s, "FALSE"))
        return json_false();
    if ((j = integer_of(s)) || (j = real_of(s)))
        return j;
    return json_string(s);
}

static bool is_core_tag(const yaml_char_t *tag, const char *word)
{
    return str_starts((const char *)tag, "tag:yaml.org,2002:") && str_ends((const char *)tag, word);
}

static enum err_code scalar(struct reader *r, const yaml_event_t *e, json_t **ret)
{
    const char *s = (const char *)e->data.scalar.value;
    const yaml_char_t *tag = e->data.scalar.tag;
    static const char *const refused[] = {".inf", "-.inf", "+.inf", ".nan", ".Inf", ".NaN"};

    if (strlen(s) != e->data.scalar.length)
        return at(r, &e->start_mark, "text with a NUL in it");
    if (tag && !is_core_tag(tag, "str") && !is_core_tag(tag, "int") && !is_core_tag(tag, "float") &&
        !is_core_tag(tag, "bool") && !is_core_tag(tag, "null"))
        return at(r, &e->start_mark, "tags are not supported");
    if (e->data.scalar.plain_implicit && !tag) {
        for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++)
            if (strcmp(s, refused[i]) == 0)
                return at(r, &e->start_mark, "infinities and NaN cannot be used here");
        *ret = plain_of(s);
    } else {
        *ret = tag && !is_core_tag(tag, "str") ? plain_of(s) : json_string(s);
    }
    return *ret ? ERR_OK : at(r, &e->start_mark, "text that is not UTF-8");
}

/* ---- anchors
 * ---------------------------------------------------------------------------------------- */

static struct anchor *find_anchor(struct reader *r, const char *name)
{
    for (size_t i = r->anchor_count; i-- > 0;)
        if (strcmp(r->anchors[i].name, name) == 0)
            return &r->anchors[i];
    return NULL;
}

static size_t begin_anchor(struct reader *r, const yaml_char_t *name)
{
    if (!name)
        return SIZE_MAX;
    r->anchors = mem_grow(r->anchors, r->anchor_count + 1, sizeof *r->anchors);
    r->anchors[r->anchor_count] = (struct anchor){.name = mem_str((const char *)name)};
    return r->anchor_count++;
}

static void end_anchor(struct reader *r, size_t index, json_t *value, size_t nodes)
{
    if (index == SIZE_MAX)
        return;
    r->anchors[index].value = json_incref(value);
    r->anchors[index].nodes = nodes;
}

static void drop_anchors(struct reader *r)
{
    for (size_t i = 0; i < r->anchor_count; i++) {
        free(r->anchors[i].name);
        json_decref(r->anchors[i].value);
    }
    free(r->anchors);
    r->anchors = NULL;
    r->anchor_count = 0;
}

static enum err_code alias(struct reader *r, const yaml_event_t *e, json_t **ret)
{
    struct anchor *a = find_anchor(r, (const char *)e->data.alias.anchor);
    enum err_code code;

    if (!a || !a->value)
        return at(r, &e->start_mark, "an alias to an anchor that is not there");
    if ((code = count_nodes(r, a->nodes, &e->start_mark)))
        return code;
    *ret = json_deep_copy(a->value);
    return ERR_OK;
}

/* ---- collections
 * -------------------------------------------------------------------------------------- */

static enum err_code value(struct reader *r, yaml_event_t *e, json_t **ret);

static enum err_code sequence(struct reader *r, json_t *array)
{
    size_t base = r->path.len;

    for (size_t i = 0;; i++) {
        yaml_event_t e;
        json_t *item = NULL;
        enum err_code code = next(r, &e);
        if (code)
            return code;
        if (e.type == YAML_SEQUENCE_END_EVENT) {
            yaml_event_delete(&e);
            return ERR_OK;
        }
        jsonpath_index(&r->path, i);
        remember(r, &e.start_mark);
        code = value(r, &e, &item);
        yaml_event_delete(&e);
        jsonpath_cut(&r->path, base);
        if (code)
            return code;
        json_array_append_new(array, item);
    }
}

static enum err_code member(struct reader *r, const yaml_event_t *key, json_t *object)
{
    const char *name = (const char *)key->data.scalar.value;
    size_t base = r->path.len;
    json_t *item = NULL;
    yaml_event_t e;
    enum err_code code;

    if (key->type != YAML_SCALAR_EVENT)
        return at(r, &key->start_mark, "a key must be plain text");
    if (strlen(name) != key->data.scalar.length ||
        str_utf8_check(name, strlen(name)) != strlen(name))
        return at(r, &key->start_mark, "a key with bytes that are not text");
    if (str_eq(name, "<<") && key->data.scalar.plain_implicit)
        return at(r, &key->start_mark, "merge keys (<<) are not supported");
    if (json_object_get(object, name))
        return at(r, &key->start_mark, "this key is given twice");
    jsonpath_key(&r->path, name);
    remember(r, &key->start_mark);
    if ((code = next(r, &e)))
        return code;
    code = value(r, &e, &item);
    yaml_event_delete(&e);
    jsonpath_cut(&r->path, base);
    if (!code)
        json_object_set_new(object, name, item);
    return code;
}

static enum err_code mapping(struct reader *r, json_t *object)
{
    for (;;) {
        yaml_event_t e;
        enum err_code code = next(r, &e);
        if (code)
            return code;
        if (e.type == YAML_MAPPING_END_EVENT) {
            yaml_event_delete(&e);
            return ERR_OK;
        }
        code = member(r, &e, object);
        yaml_event_delete(&e);
        if (code)
            return code;
    }
}

static enum err_code collection(struct reader *r, const yaml_event_t *e, json_t **ret)
{
    bool is_map = e->type == YAML_MAPPING_START_EVENT;
    const yaml_char_t *tag = is_map ? e->data.mapping_start.tag : e->data.sequence_start.tag;
    json_t *j;
    enum err_code code;

    if (tag && !is_core_tag(tag, "map") && !is_core_tag(tag, "seq"))
        return at(r, &e->start_mark, "tags are not supported");
    if (r->depth == r->limits.depth)
        return at(r, &e->start_mark, "nested deeper than the limit");
    r->depth++;
    j = is_map ? json_object() : json_array();
    code = is_map ? mapping(r, j) : sequence(r, j);
    r->depth--;
    if (code)
        json_decref(j);
    else
        *ret = j;
    return code;
}

static enum err_code value(struct reader *r, yaml_event_t *e, json_t **ret)
{
    size_t before = r->nodes, anchor = SIZE_MAX;
    enum err_code code = count_nodes(r, 1, &e->start_mark);

    if (code)
        return code;
    switch ((int)e->type) {
    case YAML_ALIAS_EVENT:
        return alias(r, e, ret);
    case YAML_SCALAR_EVENT:
        anchor = begin_anchor(r, e->data.scalar.anchor);
        code = scalar(r, e, ret);
        break;
    case YAML_MAPPING_START_EVENT:
        anchor = begin_anchor(r, e->data.mapping_start.anchor);
        code = collection(r, e, ret);
        break;
    case YAML_SEQUENCE_START_EVENT:
        anchor = begin_anchor(r, e->data.sequence_start.anchor);
        code = collection(r, e, ret);
        break;
    default:
        return at(r, &e->start_mark, "a value is needed here");
    }
    if (!code)
        end_anchor(r, anchor, *ret, r->nodes - before);
    return code;
}

/* ---- documents
 * ------------------------------------------------------------------------------------------ */

static void done_document(struct document *d)
{
    for (size_t i = 0; i < d->place_count; i++)
        free(d->places[i].path);
    free(d->places);
    json_decref(d->root);
}

/* The event after a document's start. An empty document is one null without an anchor or quotes. */
static enum err_code document(struct reader *r, struct yaml_docs *docs)
{
    struct document d = {0};
    yaml_event_t e;
    bool empty;
    enum err_code code = next(r, &e);

    if (code)
        return code;
    r->doc = &d;
    empty = e.type == YAML_SCALAR_EVENT && e.data.scalar.length == 0 &&
            e.data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    remember(r, &e.start_mark);
    code = value(r, &e, &d.root);
    yaml_event_delete(&e);
    drop_anchors(r);
    if (!code && !empty && docs->count == r->limits.documents)
        code =
            err_set(r->err, ERR_LIMIT, "%s: more than %zu documents", r->name, r->limits.documents);
    if (code || empty) {
        done_document(&d);
        return code;
    }
    docs->docs = mem_grow(docs->docs, docs->count + 1, sizeof *docs->docs);
    docs->docs[docs->count++] = d;
    return ERR_OK;
}

static enum err_code stream(struct reader *r, struct yaml_docs *docs)
{
    for (;;) {
        yaml_event_t e;
        int type;
        enum err_code code = next(r, &e);
        if (code)
            return code;
        type = (int)e.type;
        yaml_event_delete(&e);
        if (type == YAML_STREAM_END_EVENT)
            return ERR_OK;
        if (type == YAML_DOCUMENT_START_EVENT && (code = document(r, docs)))
            return code;
    }
}

static struct yaml_limits limits_of(const struct yaml_limits *l)
{
    struct yaml_limits d = l ? *l : (struct yaml_limits){0};

    d.bytes = d.bytes ? d.bytes : (size_t)4 << 20;
    d.nodes = d.nodes ? d.nodes : 100000;
    d.documents = d.documents ? d.documents : 1000;
    d.depth = d.depth ? d.depth : 64;
    return d;
}

enum err_code yaml_docs_parse(const void *text, size_t len, const char *name,
                              const struct yaml_limits *limits, struct yaml_docs **ret,
                              struct err *err)
{
    struct err own;
    struct reader r = {.name = str_eq(name, "-") ? "standard input" : name,
                       .limits = limits_of(limits),
                       .err = err ? err : &own};
    struct yaml_docs *docs;
    enum err_code code;

    if (len > r.limits.bytes)
        return err_set(r.err, ERR_LIMIT, "%s has %zu bytes; the limit is %zu", r.name, len,
                       r.limits.bytes);
    if (!yaml_parser_initialize(&r.parser))
        return err_set(r.err, ERR_LIMIT, "%s: out of memory", r.name);
    yaml_parser_set_input_string(&r.parser, len ? text : (const unsigned char *)"", len);
    yaml_parser_set_encoding(&r.parser, YAML_UTF8_ENCODING);
    docs = mem_new(sizeof *docs);
    code = stream(&r, docs);
    yaml_parser_delete(&r.parser);
    drop_anchors(&r);
    buf_done(&r.path);
    if (code)
        yaml_docs_free(docs);
    else
        *ret = docs;
    return code;
}

void yaml_docs_free(struct yaml_docs *docs)
{
    if (!docs)
        return;
    for (size_t i = 0; i < docs->count; i++)
        done_document(&docs->docs[i]);
    free(docs->docs);
    free(docs);
}

size_t yaml_docs_count(const struct yaml_docs *docs)
{
    return docs->count;
}

const json_t *yaml_docs_root(const struct yaml_docs *docs, size_t i)
{
    return i < docs->count ? docs->docs[i].root : NULL;
}

static const struct place *find_place(const struct document *d, const char *path)
{
    for (size_t i = 0; i < d->place_count; i++)
        if (strcmp(d->places[i].path, path) == 0)
            return &d->places[i];
    return NULL;
}

bool yaml_docs_where(const struct yaml_docs *docs, size_t i, const char *path, unsigned *ret_line,
                     unsigned *ret_column)
{
    OWN_FREE char *p = mem_str(path);
    const struct place *found;
    size_t n = strlen(p);

    if (i >= docs->count)
        return false;
    while (!(found = find_place(&docs->docs[i], p)) && n) {
        while (n && p[n - 1] != '.' && p[n - 1] != '[')
            n--;
        n -= n > 0;
        p[n] = '\0';
    }
    if (!found)
        return false;
    *ret_line = found->line;
    *ret_column = found->column;
    return true;
}
