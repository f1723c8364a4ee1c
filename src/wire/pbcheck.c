#include "wire/pbcheck.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/str.h"

/* One message that is being read; the chain of parents gives the path. */
struct frame {
    const struct frame *parent;
    const ProtobufCMessageDescriptor *d;
    const char *field; /* name within the parent; NULL at the top */
    const uint8_t *at, *end;
    unsigned depth; /* levels still allowed below */
};

struct walk {
    const uint8_t *start;
    size_t items;
    struct err *err;
};

static void path_text(const struct frame *f, const char *field, char *ret, size_t size)
{
    const char *names[32];
    size_t n = 0, len = 0;

    if (field)
        names[n++] = field;
    for (; f; f = f->parent)
        if (f->field && n < sizeof names / sizeof names[0])
            names[n++] = f->field;
    ret[0] = '\0';
    while (n > 0 && len + 1 < size) {
        size_t part = strlen(names[--n]);
        if (len + part + 2 > size)
            break;
        if (len)
            ret[len++] = '.';
        memcpy(ret + len, names[n], part + 1);
        len += part;
    }
}

static enum err_code fail(const struct walk *w, const struct frame *f, const char *field,
                          const uint8_t *at, enum err_code code, const char *why)
{
    char path[256];

    path_text(f, field, path, sizeof path);
    return err_set(w->err, code, "not a valid %s: %s%s%s at byte %zu", f->d->name, path,
                   path[0] ? ": " : "", why, (size_t)(at - w->start));
}

static bool read_varint(const uint8_t **at, const uint8_t *end, uint64_t *ret)
{
    uint64_t v = 0;
    const uint8_t *p = *at;

    for (unsigned shift = 0; shift < 70 && p < end; shift += 7, p++) {
        if (shift < 64)
            v |= (uint64_t)(*p & 0x7f) << shift;
        if (*p & 0x80)
            continue;
        if (shift == 63 && *p > 1)
            return false;
        *at = p + 1;
        *ret = v;
        return true;
    }
    return false;
}

static unsigned wire_type(ProtobufCType t)
{
    switch (t) {
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_DOUBLE:
        return 1;
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_BYTES:
    case PROTOBUF_C_TYPE_MESSAGE:
        return 2;
    case PROTOBUF_C_TYPE_FIXED32:
    case PROTOBUF_C_TYPE_SFIXED32:
    case PROTOBUF_C_TYPE_FLOAT:
        return 5;
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_BOOL:
    case PROTOBUF_C_TYPE_ENUM:
    default:
        return 0;
    }
}

/* The content of a packed list. */
static enum err_code check_packed(struct walk *w, const struct frame *f,
                                  const ProtobufCFieldDescriptor *field, const uint8_t *at,
                                  const uint8_t *end)
{
    unsigned type = wire_type(field->type);
    size_t width = type == 1 ? 8 : 4;
    uint64_t v;

    if (type != 0) {
        if ((size_t)(end - at) % width)
            return fail(w, f, field->name, at, ERR_INVALID, "a packed list has a broken length");
        w->items += (size_t)(end - at) / width;
        return ERR_OK;
    }
    for (; at < end; w->items++)
        if (!read_varint(&at, end, &v))
            return fail(w, f, field->name, at, ERR_INVALID, "a number is broken");
    return ERR_OK;
}

static enum err_code check_message(struct walk *w, struct frame *f);

/* A length-delimited value of a known field. */
static enum err_code check_bytes(struct walk *w, struct frame *f,
                                 const ProtobufCFieldDescriptor *field, const uint8_t *at,
                                 size_t len)
{
    if (field->type == PROTOBUF_C_TYPE_STRING) {
        size_t good = str_utf8_check(at, len);
        if (good < len)
            return fail(w, f, field->name, at + good, ERR_INVALID,
                        at[good] ? "the text is not UTF-8" : "the text holds a NUL byte");
    } else if (field->type == PROTOBUF_C_TYPE_MESSAGE) {
        struct frame sub = {f, field->descriptor, field->name, at, at + len, f->depth - 1};
        if (f->depth == 0)
            return fail(w, f, field->name, at, ERR_INVALID, "nested too deeply");
        return check_message(w, &sub);
    } else if (field->type != PROTOBUF_C_TYPE_BYTES) {
        return check_packed(w, f, field, at, at + len);
    }
    return ERR_OK;
}

static enum err_code check_value(struct walk *w, struct frame *f, unsigned type,
                                 const ProtobufCFieldDescriptor *field)
{
    const char *name = field ? field->name : NULL;
    const uint8_t *at = f->at;
    uint64_t v;

    if (type == 0) {
        if (!read_varint(&f->at, f->end, &v))
            return fail(w, f, name, at, ERR_INVALID, "a number is broken");
        return ERR_OK;
    }
    if (type == 1 || type == 5) {
        size_t width = type == 1 ? 8 : 4;
        if ((size_t)(f->end - f->at) < width)
            return fail(w, f, name, at, ERR_INVALID, "the bytes end within a number");
        f->at += width;
        return ERR_OK;
    }
    if (!read_varint(&f->at, f->end, &v))
        return fail(w, f, name, at, ERR_INVALID, "a length is broken");
    if (v > (uint64_t)(f->end - f->at))
        return fail(w, f, name, at, ERR_INVALID, "a length points past the end");
    at = f->at;
    f->at += v;
    return field ? check_bytes(w, f, field, at, (size_t)v) : ERR_OK;
}

static enum err_code check_message(struct walk *w, struct frame *f)
{
    while (f->at < f->end) {
        const uint8_t *at = f->at;
        const ProtobufCFieldDescriptor *field;
        enum err_code code;
        uint64_t tag;
        unsigned type;

        if (!read_varint(&f->at, f->end, &tag) || tag > UINT32_MAX || tag >> 3 == 0)
            return fail(w, f, NULL, at, ERR_INVALID, "a field's tag is broken");
        /* protobuf-c reads a tag from at most five bytes. */
        if (f->at - at > 5)
            return fail(w, f, NULL, at, ERR_INVALID, "a field's tag is broken");
        type = (unsigned)tag & 7;
        if (type != 0 && type != 1 && type != 2 && type != 5)
            return fail(w, f, NULL, at, ERR_INVALID, "a group or an unknown wire type");
        field = protobuf_c_message_descriptor_get_field(f->d, (unsigned)(tag >> 3));
        if (field && type != wire_type(field->type) &&
            !(type == 2 && field->label == PROTOBUF_C_LABEL_REPEATED))
            return fail(w, f, field->name, at, ERR_INVALID, "the value is of another type");
        if (++w->items > PBCHECK_ITEMS_MAX)
            return fail(w, f, NULL, at, ERR_LIMIT, "more than 500000 values");
        code = check_value(w, f, type, field);
        if (code)
            return code;
        if (w->items > PBCHECK_ITEMS_MAX)
            return fail(w, f, NULL, at, ERR_LIMIT, "more than 500000 values");
    }
    return ERR_OK;
}

enum err_code pbcheck(const ProtobufCMessageDescriptor *d, const void *data, size_t len,
                      unsigned max_depth, struct err *err)
{
    static const uint8_t none;
    const uint8_t *start = data ? data : &none;
    struct walk w = {start, 0, err};
    struct frame top = {NULL, d, NULL, start, start + len, max_depth};

    return check_message(&w, &top);
}
