#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/base64.h"
#include "base/mem.h"
#include "base/own.h"
#include "base/str.h"
#include "google/protobuf/any.pb-c.h"
#include "google/protobuf/duration.pb-c.h"
#include "google/protobuf/struct.pb-c.h"
#include "google/protobuf/timestamp.pb-c.h"
#include "wire/jsonpath.h"
#include "wire/pbjson-text.h"
#include "wire/pbjson.h"

struct reader {
    const struct pbjson_opts *opts;
    unsigned depth, max_depth;
    struct buf path; /* owned: where we are */
    struct err *err;
};

static enum err_code read_message(struct reader *r, ProtobufCMessage *m, const json_t *j);

static enum err_code bad(struct reader *r, const char *want, const json_t *got)
{
    static const char *const names[] = {"an object", "a list", "text",  "a number",
                                        "a number",  "true",   "false", "null"};
    const char *where = r->path.len ? buf_text(&r->path) : "the document";

    return err_set(r->err, ERR_INVALID, "%s: %s is needed, not %s", where, want,
                   names[json_typeof(got)]);
}

static ProtobufCMessage *new_message(const ProtobufCMessageDescriptor *d)
{
    ProtobufCMessage *m = mem_new(d->sizeof_message);

    protobuf_c_message_init(d, m);
    return m;
}

/* ---- numbers ------------------------------------------------------------------------------------
 */

/* A whole number from a JSON number or from text, as the mapping allows both. */
static bool whole(const json_t *j, bool is_unsigned, int64_t *ret, uint64_t *ret_u)
{
    const char *s = json_string_value(j);
    double d = json_real_value(j);
    char *end;

    errno = 0;
    if (json_is_integer(j)) {
        *ret = json_integer_value(j);
        *ret_u = (uint64_t)*ret;
        return !is_unsigned || *ret >= 0;
    }
    if (json_is_real(j)) {
        if (d != floor(d) || d < (is_unsigned ? 0 : -9.2233720368547758e18) ||
            d >= (is_unsigned ? 1.8446744073709552e19 : 9.2233720368547758e18))
            return false;
        *ret = is_unsigned ? 0 : (int64_t)d;
        *ret_u = is_unsigned ? (uint64_t)d : 0;
        return true;
    }
    if (str_is_empty(s) || (*s != '-' && (*s < '0' || *s > '9')))
        return false;
    if (is_unsigned) {
        *ret_u = strtoull(s, &end, 10);
        return *s != '-' && !*end && !errno;
    }
    *ret = strtoll(s, &end, 10);
    return !*end && !errno;
}

static bool real_of(const json_t *j, double *ret)
{
    const char *s = json_string_value(j);
    char *end;

    if (json_is_number(j)) {
        *ret = json_number_value(j);
        return true;
    }
    if (str_eq(s, "NaN") && s)
        *ret = (double)NAN;
    else if (str_eq(s, "Infinity") && s)
        *ret = (double)INFINITY;
    else if (str_eq(s, "-Infinity") && s)
        *ret = -(double)INFINITY;
    else if (!str_is_empty(s) && strspn(s, "0123456789+-.eE") == strlen(s)) {
        *ret = strtod(s, &end);
        return !*end && isfinite(*ret);
    } else
        return false;
    return true;
}

static enum err_code read_enum(struct reader *r, const ProtobufCFieldDescriptor *f, int *ret,
                               const json_t *j)
{
    const ProtobufCEnumDescriptor *d = f->descriptor;
    const char *s = json_string_value(j);
    const ProtobufCEnumValue *v = s ? protobuf_c_enum_descriptor_get_value_by_name(d, s) : NULL;
    const char *names[200];
    const char *near;
    size_t n = 0;

    if (strcmp(d->name, "google.protobuf.NullValue") == 0 && json_is_null(j)) {
        *ret = 0;
        return ERR_OK;
    }
    if (json_is_integer(j) && json_integer_value(j) >= INT32_MIN &&
        json_integer_value(j) <= INT32_MAX) {
        *ret = (int)json_integer_value(j);
        return ERR_OK;
    }
    if (v) {
        *ret = v->value;
        return ERR_OK;
    }
    if (!s)
        return bad(r, "the name of an enum value", j);
    if (r->opts && r->opts->ignore_unknown)
        return ERR_OK;
    for (; n < d->n_values && n + 1 < sizeof names / sizeof names[0]; n++)
        names[n] = d->values[n].name;
    names[n] = NULL;
    near = str_nearest(s, names);
    err_set(r->err, ERR_INVALID, "%s: '%.80s' is no value of %s", buf_text(&r->path), s,
            d->short_name);
    return near ? err_hint(r->err, ERR_INVALID, "did you mean '%s'?", near) : ERR_INVALID;
}

/* ---- single values
 * -------------------------------------------------------------------------------- */

static enum err_code read_int(struct reader *r, ProtobufCType type, void *p, const json_t *j)
{
    bool is_u = type == PROTOBUF_C_TYPE_UINT32 || type == PROTOBUF_C_TYPE_FIXED32 ||
                type == PROTOBUF_C_TYPE_UINT64 || type == PROTOBUF_C_TYPE_FIXED64;
    bool is_64 = pbjson_text_size(type) == 8;
    int64_t i = 0;
    uint64_t u = 0;

    if (!whole(j, is_u, &i, &u))
        return bad(r, is_u ? "a whole number that is not negative" : "a whole number", j);
    if (!is_64 && (is_u ? u > UINT32_MAX : i < INT32_MIN || i > INT32_MAX))
        return err_set(r->err, ERR_INVALID, "%s: the number does not fit into 32 bits",
                       buf_text(&r->path));
    if (is_u && is_64)
        *(uint64_t *)p = u;
    else if (is_u)
        *(uint32_t *)p = (uint32_t)u;
    else if (is_64)
        *(int64_t *)p = i;
    else
        *(int32_t *)p = (int32_t)i;
    return ERR_OK;
}

static bool read_bytes(ProtobufCBinaryData *ret, const char *text)
{
    return base64_bytes(text, &ret->data, &ret->len);
}

static enum err_code read_text(struct reader *r, char **p, const json_t *j)
{
    size_t len = json_string_length(j);
    const char *s = json_string_value(j);

    if (!s)
        return bad(r, "text", j);
    if (strlen(s) != len)
        return err_set(r->err, ERR_INVALID, "%s: text with a NUL in it", buf_text(&r->path));
    *p = mem_str(s);
    return ERR_OK;
}

static enum err_code read_real(struct reader *r, ProtobufCType type, void *p, const json_t *j)
{
    double d;

    if (!real_of(j, &d))
        return bad(r, "a number", j);
    if (type == PROTOBUF_C_TYPE_DOUBLE) {
        *(double *)p = d;
        return ERR_OK;
    }
    if (isfinite(d) && fabs(d) > 3.4028234663852886e38)
        return err_set(r->err, ERR_INVALID, "%s: the number does not fit a float",
                       buf_text(&r->path));
    *(float *)p = (float)d;
    return ERR_OK;
}

static enum err_code read_value(struct reader *r, const ProtobufCFieldDescriptor *f, void *p,
                                const json_t *j)
{
    switch (f->type) {
    case PROTOBUF_C_TYPE_FLOAT:
    case PROTOBUF_C_TYPE_DOUBLE:
        return read_real(r, f->type, p, j);
    case PROTOBUF_C_TYPE_BOOL:
        if (!json_is_boolean(j))
            return bad(r, "true or false", j);
        *(protobuf_c_boolean *)p = json_is_true(j);
        return ERR_OK;
    case PROTOBUF_C_TYPE_ENUM:
        return read_enum(r, f, p, j);
    case PROTOBUF_C_TYPE_STRING:
        return read_text(r, p, j);
    case PROTOBUF_C_TYPE_BYTES:
        if (!json_is_string(j) || !read_bytes(p, json_string_value(j)))
            return bad(r, "base64 text", j);
        return ERR_OK;
    case PROTOBUF_C_TYPE_MESSAGE:
        *(ProtobufCMessage **)p = new_message(f->descriptor);
        return read_message(r, *(ProtobufCMessage **)p, j);
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
    default:
        return read_int(r, f->type, p, j);
    }
}

/* ---- lists and maps
 * -------------------------------------------------------------------------------- */

static void *list_room(ProtobufCMessage *m, const ProtobufCFieldDescriptor *f, size_t *ret_index)
{
    size_t *count = (size_t *)((char *)m + f->quantifier_offset);
    char **list = (char **)((char *)m + f->offset);
    size_t size = pbjson_text_size(f->type);

    *list = mem_grow(*list, *count + 1, size);
    memset(*list + *count * size, 0, size);
    if (f->type == PROTOBUF_C_TYPE_STRING)
        *(char **)(*list + *count * size) = NULL;
    *ret_index = *count;
    return *list + (*count)++ * size;
}

static enum err_code read_list(struct reader *r, ProtobufCMessage *m,
                               const ProtobufCFieldDescriptor *f, const json_t *j)
{
    if (!json_is_array(j))
        return bad(r, "a list", j);
    for (size_t i = 0; i < json_array_size(j); i++) {
        const json_t *item = json_array_get(j, i);
        size_t at = r->path.len, index;
        enum err_code code;
        jsonpath_index(&r->path, i);
        if (json_is_null(item) && f->type != PROTOBUF_C_TYPE_MESSAGE)
            return bad(r, "a value", item);
        code = read_value(r, f, list_room(m, f, &index), item);
        if (code)
            return code;
        jsonpath_cut(&r->path, at);
    }
    return ERR_OK;
}

static enum err_code read_key(struct reader *r, const ProtobufCFieldDescriptor *f, void *p,
                              const char *key)
{
    json_t *j;
    enum err_code code;

    if (f->type == PROTOBUF_C_TYPE_BOOL && (str_eq(key, "true") || str_eq(key, "false")))
        j = json_boolean(str_eq(key, "true"));
    else
        j = json_string(key);
    code = read_value(r, f, p, j);
    json_decref(j);
    return code;
}

static enum err_code read_map(struct reader *r, ProtobufCMessage *m,
                              const ProtobufCFieldDescriptor *f, const json_t *j)
{
    const ProtobufCMessageDescriptor *d = f->descriptor;
    const ProtobufCFieldDescriptor *kf = protobuf_c_message_descriptor_get_field(d, 1);
    const ProtobufCFieldDescriptor *vf = protobuf_c_message_descriptor_get_field(d, 2);
    const char *key;
    json_t *value;

    if (!json_is_object(j))
        return bad(r, "an object", j);
    json_object_foreach((json_t *)(uintptr_t)j, key, value)
    {
        size_t at = r->path.len, index;
        ProtobufCMessage **slot = list_room(m, f, &index);
        enum err_code code;
        *slot = new_message(d);
        jsonpath_key(&r->path, key);
        if ((code = read_key(r, kf, (char *)*slot + kf->offset, key)) ||
            (code = read_value(r, vf, (char *)*slot + vf->offset, value)))
            return code;
        jsonpath_cut(&r->path, at);
    }
    return ERR_OK;
}

/* ---- messages
 * ---------------------------------------------------------------------------------------- */

static const ProtobufCFieldDescriptor *find_field(const ProtobufCMessageDescriptor *d,
                                                  const char *name)
{
    for (unsigned i = 0; i < d->n_fields; i++) {
        char camel[PBJSON_NAME];
        pbjson_text_camel(d->fields[i].name, camel);
        if (strcmp(camel, name) == 0 || strcmp(d->fields[i].name, name) == 0)
            return &d->fields[i];
    }
    return NULL;
}

static enum err_code unknown_field(struct reader *r, const ProtobufCMessageDescriptor *d,
                                   const char *name)
{
    const char *names[200];
    char camel[200][PBJSON_NAME];
    const char *near;
    size_t n = 0;

    for (; n < d->n_fields && n + 1 < sizeof names / sizeof names[0]; n++) {
        pbjson_text_camel(d->fields[n].name, camel[n]);
        names[n] = camel[n];
    }
    names[n] = NULL;
    near = str_nearest(name, names);
    err_set(r->err, ERR_INVALID, "unknown field %s", buf_text(&r->path));
    return near ? err_hint(r->err, ERR_INVALID, "did you mean '%s'?", near) : ERR_INVALID;
}

static enum err_code read_field(struct reader *r, ProtobufCMessage *m,
                                const ProtobufCFieldDescriptor *f, const json_t *j)
{
    uint32_t *which = (uint32_t *)((char *)m + f->quantifier_offset);
    bool is_value =
        f->type == PROTOBUF_C_TYPE_MESSAGE && pbjson_text_wkt(f->descriptor) == PBJSON_VALUE;
    bool is_null_enum =
        f->type == PROTOBUF_C_TYPE_ENUM &&
        str_eq(((const ProtobufCEnumDescriptor *)f->descriptor)->name, "google.protobuf.NullValue");

    if (json_is_null(j) && !is_value && !is_null_enum)
        return ERR_OK; /* null is the default of every field */
    if (f->label == PROTOBUF_C_LABEL_REPEATED)
        return pbjson_text_is_map(f) ? read_map(r, m, f, j) : read_list(r, m, f, j);
    if (f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) {
        if (*which)
            return err_set(r->err, ERR_INVALID, "%s: another member of the same choice is set",
                           buf_text(&r->path));
        memset((char *)m + f->offset, 0, pbjson_text_size(f->type));
        *which = f->id;
    } else if (f->label == PROTOBUF_C_LABEL_OPTIONAL && f->type != PROTOBUF_C_TYPE_STRING &&
               f->type != PROTOBUF_C_TYPE_MESSAGE) {
        *(protobuf_c_boolean *)which = 1;
    }
    return read_value(r, f, (char *)m + f->offset, j);
}

static enum err_code read_plain(struct reader *r, ProtobufCMessage *m, const json_t *j)
{
    bool seen[512] = {false};
    const char *key;
    json_t *value;

    if (!json_is_object(j))
        return bad(r, "an object", j);
    json_object_foreach((json_t *)(uintptr_t)j, key, value)
    {
        const ProtobufCFieldDescriptor *f = find_field(m->descriptor, key);
        size_t at = r->path.len, index = f ? (size_t)(f - m->descriptor->fields) : 0;
        enum err_code code = ERR_OK;
        jsonpath_key(&r->path, key);
        if (!f)
            code =
                r->opts && r->opts->ignore_unknown ? ERR_OK : unknown_field(r, m->descriptor, key);
        else if (index < sizeof seen && seen[index])
            code = err_set(r->err, ERR_INVALID, "%s is given twice", buf_text(&r->path));
        else
            code = read_field(r, m, f, value);
        if (code)
            return code;
        if (f && index < sizeof seen)
            seen[index] = true;
        jsonpath_cut(&r->path, at);
    }
    return ERR_OK;
}

static enum err_code read_json_value(struct reader *r, Google__Protobuf__Value *v, const json_t *j)
{
    switch (json_typeof(j)) {
    case JSON_STRING:
        v->kind_case = GOOGLE__PROTOBUF__VALUE__KIND_STRING_VALUE;
        v->string_value = NULL;
        return read_text(r, &v->string_value, j);
    case JSON_INTEGER:
    case JSON_REAL:
        v->kind_case = GOOGLE__PROTOBUF__VALUE__KIND_NUMBER_VALUE;
        v->number_value = json_number_value(j);
        return ERR_OK;
    case JSON_TRUE:
    case JSON_FALSE:
        v->kind_case = GOOGLE__PROTOBUF__VALUE__KIND_BOOL_VALUE;
        v->bool_value = json_is_true(j);
        return ERR_OK;
    case JSON_OBJECT:
        v->struct_value =
            (Google__Protobuf__Struct *)new_message(&google__protobuf__struct__descriptor);
        v->kind_case = GOOGLE__PROTOBUF__VALUE__KIND_STRUCT_VALUE;
        return read_message(r, &v->struct_value->base, j);
    case JSON_ARRAY:
        v->list_value =
            (Google__Protobuf__ListValue *)new_message(&google__protobuf__list_value__descriptor);
        v->kind_case = GOOGLE__PROTOBUF__VALUE__KIND_LIST_VALUE;
        return read_message(r, &v->list_value->base, j);
    case JSON_NULL:
    default:
        v->kind_case = GOOGLE__PROTOBUF__VALUE__KIND_NULL_VALUE;
        return ERR_OK;
    }
}

static enum err_code read_any(struct reader *r, Google__Protobuf__Any *any, const json_t *j)
{
    const char *url = json_string_value(json_object_get(j, "@type"));
    const char *slash = url ? strrchr(url, '/') : NULL;
    const ProtobufCMessageDescriptor *d =
        url && r->opts && r->opts->resolve
            ? r->opts->resolve(slash ? slash + 1 : url, r->opts->resolve_arg)
            : NULL;
    ProtobufCMessage *m;
    json_t *bare;
    enum err_code code;

    if (json_is_object(j) && json_object_size(j) == 0)
        return ERR_OK;
    if (!d)
        return bad(r, "an object with an @type that is known", j);
    m = new_message(d);
    if (pbjson_text_wkt(d) != PBJSON_PLAIN) {
        code = json_object_get(j, "value") ? read_message(r, m, json_object_get(j, "value"))
                                           : bad(r, "an object with a value", j);
    } else {
        bare = json_copy((json_t *)(uintptr_t)j);
        json_object_del(bare, "@type");
        code = read_message(r, m, bare);
        json_decref(bare);
    }
    if (!code) {
        any->type_url = mem_str(url);
        any->value.len = protobuf_c_message_get_packed_size(m);
        any->value.data = mem_array(any->value.len, 1);
        protobuf_c_message_pack(m, any->value.data);
    }
    protobuf_c_message_free_unpacked(m, NULL);
    return code;
}

static enum err_code read_time(struct reader *r, ProtobufCMessage *m, const json_t *j,
                               bool is_duration)
{
    Google__Protobuf__Timestamp *t = (Google__Protobuf__Timestamp *)m;
    Google__Protobuf__Duration *d = (Google__Protobuf__Duration *)m;
    const char *s = json_string_value(j);

    if (is_duration)
        return s && pbjson_text_parse_duration(s, &d->seconds, &d->nanos)
                   ? ERR_OK
                   : bad(r, "a duration such as 1.5s", j);
    return s && pbjson_text_parse_timestamp(s, &t->seconds, &t->nanos)
               ? ERR_OK
               : bad(r, "a time such as 2026-01-31T12:00:00Z", j);
}

static enum err_code read_any_message(struct reader *r, ProtobufCMessage *m, const json_t *j)
{
    switch (pbjson_text_wkt(m->descriptor)) {
    case PBJSON_TIMESTAMP:
        return read_time(r, m, j, false);
    case PBJSON_DURATION:
        return read_time(r, m, j, true);
    case PBJSON_STRUCT:
        return read_map(r, m, m->descriptor->fields, j);
    case PBJSON_LIST:
        return read_list(r, m, m->descriptor->fields, j);
    case PBJSON_VALUE:
        return read_json_value(r, (Google__Protobuf__Value *)m, j);
    case PBJSON_ANY:
        return read_any(r, (Google__Protobuf__Any *)m, j);
    case PBJSON_PLAIN:
    default:
        return read_plain(r, m, j);
    }
}

static enum err_code read_message(struct reader *r, ProtobufCMessage *m, const json_t *j)
{
    enum err_code code;

    if (r->depth == r->max_depth)
        return err_set(r->err, ERR_INVALID, "%s: nested deeper than %u levels", buf_text(&r->path),
                       r->max_depth);
    r->depth++;
    code = read_any_message(r, m, j);
    r->depth--;
    return code;
}

enum err_code pbjson_from(const ProtobufCMessageDescriptor *d, const json_t *json,
                          const struct pbjson_opts *opts, ProtobufCMessage **ret, struct err *err)
{
    struct err own;
    struct reader r = {.opts = opts,
                       .max_depth = opts && opts->max_depth ? opts->max_depth : PBJSON_DEPTH,
                       .err = err ? err : &own};
    ProtobufCMessage *m = new_message(d);
    enum err_code code = read_message(&r, m, json);

    if (code) {
        protobuf_c_message_free_unpacked(m, NULL);
        if (opts && opts->path)
            (void)str_format(opts->path, opts->path_size, "%s", buf_text(&r.path));
    } else {
        *ret = m;
    }
    buf_done(&r.path);
    return code;
}
