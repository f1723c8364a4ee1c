#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/base64.h"
#include "base/mem.h"
#include "google/protobuf/any.pb-c.h"
#include "google/protobuf/duration.pb-c.h"
#include "google/protobuf/struct.pb-c.h"
#include "google/protobuf/timestamp.pb-c.h"
#include "wire/pbjson-text.h"
#include "wire/pbjson.h"

struct writer {
    const struct pbjson_opts *opts;
    unsigned depth, max_depth;
    struct err *err;
};

static json_t *message_json(struct writer *w, const ProtobufCMessage *m);

static json_t *fail(struct writer *w, const char *what)
{
    err_set(w->err, ERR_INVALID, "%s", what);
    return NULL;
}

static json_t *text_json(struct writer *w, const char *s)
{
    json_t *j = json_string(s ? s : "");

    return j ? j : fail(w, "text that is not UTF-8");
}

static json_t *real_json(double v, bool is_float)
{
    char text[40];

    if (isnan(v))
        return json_string("NaN");
    if (isinf(v))
        return json_string(v > 0 ? "Infinity" : "-Infinity");
    pbjson_text_real(v, is_float, text);
    return json_real(strtod(text, NULL));
}

static json_t *int64_json(int64_t v)
{
    char text[24];

    snprintf(text, sizeof text, "%" PRId64, v);
    return json_string(text);
}

static json_t *uint64_json(uint64_t v)
{
    char text[24];

    snprintf(text, sizeof text, "%" PRIu64, v);
    return json_string(text);
}

static json_t *enum_json(const ProtobufCEnumDescriptor *d, int v)
{
    const ProtobufCEnumValue *e = protobuf_c_enum_descriptor_get_value(d, v);

    if (strcmp(d->name, "google.protobuf.NullValue") == 0)
        return json_null();
    return e ? json_string(e->name) : json_integer(v);
}

static json_t *bytes_json(const ProtobufCBinaryData *b)
{
    char *text = base64_text(b->data, b->len);
    json_t *j = json_string(text);

    free(text);
    return j;
}

/* One value of field f at p. */
static json_t *value_json(struct writer *w, const ProtobufCFieldDescriptor *f, const void *p)
{
    switch (f->type) {
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
        return json_integer(*(const int32_t *)p);
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
        return json_integer(*(const uint32_t *)p);
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
        return int64_json(*(const int64_t *)p);
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
        return uint64_json(*(const uint64_t *)p);
    case PROTOBUF_C_TYPE_FLOAT:
        return real_json((double)*(const float *)p, true);
    case PROTOBUF_C_TYPE_DOUBLE:
        return real_json(*(const double *)p, false);
    case PROTOBUF_C_TYPE_BOOL:
        return json_boolean(*(const protobuf_c_boolean *)p);
    case PROTOBUF_C_TYPE_ENUM:
        return enum_json(f->descriptor, *(const int *)p);
    case PROTOBUF_C_TYPE_STRING:
        return text_json(w, *(char *const *)p);
    case PROTOBUF_C_TYPE_BYTES:
        return bytes_json(p);
    case PROTOBUF_C_TYPE_MESSAGE:
        return message_json(w, *(ProtobufCMessage *const *)p);
    default:
        return fail(w, "a field of no known type");
    }
}

/* A map's key as the name of a member. */
static void key_text(const ProtobufCFieldDescriptor *f, const void *p, struct buf *ret)
{
    switch ((int)f->type) {
    case PROTOBUF_C_TYPE_STRING:
        buf_puts(ret, *(char *const *)p ? *(char *const *)p : "");
        break;
    case PROTOBUF_C_TYPE_BOOL:
        buf_puts(ret, *(const protobuf_c_boolean *)p ? "true" : "false");
        break;
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
        buf_printf(ret, "%" PRId64, *(const int64_t *)p);
        break;
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
        buf_printf(ret, "%" PRIu64, *(const uint64_t *)p);
        break;
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
        buf_printf(ret, "%" PRIu32, *(const uint32_t *)p);
        break;
    default:
        buf_printf(ret, "%" PRId32, *(const int32_t *)p);
        break;
    }
}

static json_t *map_json(struct writer *w, const ProtobufCFieldDescriptor *f,
                        ProtobufCMessage *const *entries, size_t count)
{
    const ProtobufCMessageDescriptor *d = f->descriptor;
    const ProtobufCFieldDescriptor *kf = protobuf_c_message_descriptor_get_field(d, 1);
    const ProtobufCFieldDescriptor *vf = protobuf_c_message_descriptor_get_field(d, 2);
    json_t *object = json_object();

    for (size_t i = 0; i < count; i++) {
        const char *base = (const char *)entries[i];
        OWN_BUF struct buf key = {0};
        json_t *value;
        key_text(kf, base + kf->offset, &key);
        if (vf->type == PROTOBUF_C_TYPE_MESSAGE && !*(void *const *)(base + vf->offset))
            value = json_object();
        else
            value = value_json(w, vf, base + vf->offset);
        if (!value || json_object_set_new(object, buf_text(&key), value)) {
            json_decref(object);
            return value ? fail(w, "a map key that is not UTF-8") : NULL;
        }
    }
    return object;
}

static json_t *list_json(struct writer *w, const ProtobufCFieldDescriptor *f, const char *items,
                         size_t count)
{
    json_t *array = json_array();

    for (size_t i = 0; i < count; i++) {
        json_t *value = value_json(w, f, items + i * pbjson_text_size(f->type));
        if (!value || json_array_append_new(array, value)) {
            json_decref(array);
            return NULL;
        }
    }
    return array;
}

static bool is_zero(const ProtobufCFieldDescriptor *f, const void *p)
{
    static const char zeros[sizeof(double)];
    const char *s;

    if (f->type == PROTOBUF_C_TYPE_STRING)
        return !(s = *(char *const *)p) || !*s;
    if (f->type == PROTOBUF_C_TYPE_BYTES)
        return ((const ProtobufCBinaryData *)p)->len == 0;
    return memcmp(p, zeros, pbjson_text_size(f->type)) == 0;
}

/* Is the singular field to be shown? */
static bool is_shown(const struct writer *w, const ProtobufCMessage *m,
                     const ProtobufCFieldDescriptor *f, const void *p)
{
    if (f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF)
        return *(const uint32_t *)((const char *)m + f->quantifier_offset) == f->id;
    if (f->type == PROTOBUF_C_TYPE_MESSAGE)
        return *(ProtobufCMessage *const *)p != NULL;
    if (f->label == PROTOBUF_C_LABEL_OPTIONAL && f->type != PROTOBUF_C_TYPE_STRING)
        return *(const protobuf_c_boolean *)((const char *)m + f->quantifier_offset);
    return (w->opts && w->opts->emit_defaults) || !is_zero(f, p);
}

static bool put_field(struct writer *w, json_t *object, const ProtobufCMessage *m,
                      const ProtobufCFieldDescriptor *f)
{
    const char *p = (const char *)m + f->offset;
    char name[PBJSON_NAME];
    json_t *value;

    if (f->label == PROTOBUF_C_LABEL_REPEATED) {
        size_t count = *(const size_t *)((const char *)m + f->quantifier_offset);
        if (!count && !(w->opts && w->opts->emit_defaults))
            return true;
        value = pbjson_text_is_map(f) ? map_json(w, f, *(ProtobufCMessage *const *const *)p, count)
                                      : list_json(w, f, *(const char *const *)p, count);
    } else if (is_shown(w, m, f, p)) {
        value = value_json(w, f, p);
    } else {
        return true;
    }
    if (w->opts && w->opts->proto_names)
        snprintf(name, sizeof name, "%s", f->name);
    else
        pbjson_text_camel(f->name, name);
    return value && json_object_set_new(object, name, value) == 0;
}

static json_t *plain_json(struct writer *w, const ProtobufCMessage *m)
{
    json_t *object = json_object();

    for (unsigned i = 0; i < m->descriptor->n_fields; i++)
        if (!put_field(w, object, m, &m->descriptor->fields[i])) {
            json_decref(object);
            return NULL;
        }
    return object;
}

/* ---- the well-known types ----------------------------------------------------------------------
 */

static json_t *wkt_value(struct writer *w, const Google__Protobuf__Value *v)
{
    switch ((int)v->kind_case) {
    case GOOGLE__PROTOBUF__VALUE__KIND_NUMBER_VALUE:
        if (!isfinite(v->number_value))
            return fail(w, "a number inside a Struct that JSON cannot hold");
        return real_json(v->number_value, false);
    case GOOGLE__PROTOBUF__VALUE__KIND_STRING_VALUE:
        return text_json(w, v->string_value);
    case GOOGLE__PROTOBUF__VALUE__KIND_BOOL_VALUE:
        return json_boolean(v->bool_value);
    case GOOGLE__PROTOBUF__VALUE__KIND_STRUCT_VALUE:
        return message_json(w, &v->struct_value->base);
    case GOOGLE__PROTOBUF__VALUE__KIND_LIST_VALUE:
        return message_json(w, &v->list_value->base);
    default:
        return json_null();
    }
}

static json_t *wkt_any(struct writer *w, const Google__Protobuf__Any *any)
{
    const char *slash = strrchr(any->type_url, '/');
    const char *name = slash ? slash + 1 : any->type_url;
    const ProtobufCMessageDescriptor *d =
        w->opts && w->opts->resolve ? w->opts->resolve(name, w->opts->resolve_arg) : NULL;
    ProtobufCMessage *m;
    json_t *j;

    if (!*name)
        return json_object();
    if (!d)
        return fail(w, "an Any of a type that is not known");
    m = protobuf_c_message_unpack(d, NULL, any->value.len, any->value.data);
    if (!m)
        return fail(w, "an Any whose value cannot be read");
    j = message_json(w, m);
    protobuf_c_message_free_unpacked(m, NULL);
    if (j && pbjson_text_wkt(d) != PBJSON_PLAIN) {
        json_t *outer = json_object();
        json_object_set_new(outer, "value", j);
        j = outer;
    }
    if (j)
        json_object_set_new(j, "@type", json_string(any->type_url));
    return j;
}

static json_t *wkt_time(struct writer *w, const ProtobufCMessage *m, bool is_duration)
{
    const Google__Protobuf__Timestamp *t = (const Google__Protobuf__Timestamp *)m;
    const Google__Protobuf__Duration *d = (const Google__Protobuf__Duration *)m;
    char text[40];
    bool ok = is_duration ? pbjson_text_duration(d->seconds, d->nanos, text)
                          : pbjson_text_timestamp(t->seconds, t->nanos, text);

    return ok ? json_string(text) : fail(w, "a time outside what JSON can say");
}

static json_t *any_message(struct writer *w, const ProtobufCMessage *m)
{
    const Google__Protobuf__Struct *s = (const Google__Protobuf__Struct *)m;
    const Google__Protobuf__ListValue *l = (const Google__Protobuf__ListValue *)m;
    const ProtobufCFieldDescriptor *f = m->descriptor->fields;

    switch (pbjson_text_wkt(m->descriptor)) {
    case PBJSON_TIMESTAMP:
        return wkt_time(w, m, false);
    case PBJSON_DURATION:
        return wkt_time(w, m, true);
    case PBJSON_STRUCT:
        return map_json(w, f, (ProtobufCMessage *const *)s->fields, s->n_fields);
    case PBJSON_LIST:
        return list_json(w, f, (const char *)l->values, l->n_values);
    case PBJSON_VALUE:
        return wkt_value(w, (const Google__Protobuf__Value *)m);
    case PBJSON_ANY:
        return wkt_any(w, (const Google__Protobuf__Any *)m);
    case PBJSON_PLAIN:
    default:
        return plain_json(w, m);
    }
}

static json_t *message_json(struct writer *w, const ProtobufCMessage *m)
{
    json_t *j;

    if (w->depth == w->max_depth)
        return fail(w, "a message nested deeper than the limit");
    w->depth++;
    j = any_message(w, m);
    w->depth--;
    return j;
}

enum err_code pbjson_to(const ProtobufCMessage *msg, const struct pbjson_opts *opts, json_t **ret,
                        struct err *err)
{
    struct err own;
    struct writer w = {.opts = opts,
                       .max_depth = opts && opts->max_depth ? opts->max_depth : PBJSON_DEPTH,
                       .err = err ? err : &own};
    json_t *j;

    err_set(w.err, ERR_INVALID, "a message that JSON cannot hold");
    j = message_json(&w, msg);
    if (!j)
        return err_wrap(w.err, ERR_INVALID, "%s to JSON", msg->descriptor->name);
    *ret = j;
    return ERR_OK;
}
