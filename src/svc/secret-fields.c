#include "svc/secret-fields.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "core/resource.h"
#include "platform/vault.h"

struct walk {
    const char *home; /* NULL: mask */
    struct err *err;
    enum err_code code;
};

static void *at(const ProtobufCMessage *m, const ProtobufCFieldDescriptor *f)
{
    return (char *)(uintptr_t)m + f->offset;
}

static const ProtobufCFieldDescriptor *field(const ProtobufCMessage *m, const char *name,
                                             ProtobufCType type)
{
    const ProtobufCFieldDescriptor *f =
        protobuf_c_message_descriptor_get_field_by_name(m->descriptor, name);

    return f && f->type == type && f->label != PROTOBUF_C_LABEL_REPEATED ? f : NULL;
}

/* Where the secret text of this very message is; NULL: it has none. */
static char **secret_of(const ProtobufCMessage *m)
{
    const ProtobufCFieldDescriptor *value = field(m, "value", PROTOBUF_C_TYPE_STRING);
    const ProtobufCFieldDescriptor *flag = field(m, "is_secret", PROTOBUF_C_TYPE_BOOL);

    return value && flag && *(protobuf_c_boolean *)at(m, flag) ? at(m, value) : NULL;
}

static void treat(struct walk *w, char **text, const ProtobufCMessage *old)
{
    char **before = old ? secret_of(old) : NULL;
    char *sealed;

    if (!w->home) {
        resource_set_text(text, SECRET_FIELDS_MASK);
    } else if (str_eq(*text, SECRET_FIELDS_MASK) && before) {
        resource_set_text(text, *before);
    } else if (!w->code && str_eq(*text, SECRET_FIELDS_MASK)) {
        w->code = err_hint(w->err,
                           err_set(w->err, ERR_INVALID,
                                   "validation errors:\n - the value of a secret is '%s', which "
                                   "stands for one that is kept, and there is none",
                                   *text),
                           "give the value itself");
    } else if (!w->code && !str_is_empty(*text)) {
        w->code = vault_seal(w->home, *text, &sealed, w->err);
        if (!w->code) {
            explicit_bzero(*text, strlen(*text));
            resource_set_text(text, sealed);
            free(sealed);
        }
    }
}

/* Of a map's entry: its key; else NULL. */
static const char *key_of(const ProtobufCMessage *m)
{
    const ProtobufCFieldDescriptor *f = field(m, "key", PROTOBUF_C_TYPE_STRING);

    return f ? *(char **)at(m, f) : NULL;
}

/* The entry of the old list with the same key. */
static const ProtobufCMessage *same(const ProtobufCMessage *entry, ProtobufCMessage *const *list,
                                    size_t count)
{
    const char *key = key_of(entry);

    for (size_t i = 0; key && i < count; i++)
        if (str_eq(key_of(list[i]), key))
            return list[i];
    return NULL;
}

static void walk(struct walk *w, ProtobufCMessage *m, const ProtobufCMessage *old);

static void walk_field(struct walk *w, ProtobufCMessage *m, const ProtobufCMessage *old,
                       const ProtobufCFieldDescriptor *f)
{
    if (f->label == PROTOBUF_C_LABEL_REPEATED) {
        size_t count = *(size_t *)((char *)m + f->quantifier_offset);
        size_t olds = old ? *(const size_t *)((const char *)old + f->quantifier_offset) : 0;
        ProtobufCMessage **list = *(ProtobufCMessage ***)at(m, f);
        ProtobufCMessage *const *before = old ? *(ProtobufCMessage ***)at(old, f) : NULL;

        for (size_t i = 0; i < count; i++)
            walk(w, list[i], same(list[i], before, olds));
        return;
    }
    if ((f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) &&
        *(const uint32_t *)((const char *)m + f->quantifier_offset) != f->id)
        return;
    if ((f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) && old &&
        *(const uint32_t *)((const char *)old + f->quantifier_offset) != f->id)
        old = NULL;
    if (*(ProtobufCMessage **)at(m, f))
        walk(w, *(ProtobufCMessage **)at(m, f), old ? *(ProtobufCMessage **)at(old, f) : NULL);
}

static void walk(struct walk *w, ProtobufCMessage *m, const ProtobufCMessage *old)
{
    char **secret = secret_of(m);

    if (secret)
        treat(w, secret, old);
    for (unsigned i = 0; i < m->descriptor->n_fields; i++)
        if (m->descriptor->fields[i].type == PROTOBUF_C_TYPE_MESSAGE)
            walk_field(w, m, old, &m->descriptor->fields[i]);
}

enum err_code secret_fields_seal(ProtobufCMessage *m, const ProtobufCMessage *old, const char *home,
                                 struct err *err)
{
    struct walk w = {.home = home, .err = err};

    if (m)
        walk(&w, m, old);
    return w.code;
}

void secret_fields_mask(ProtobufCMessage *m)
{
    struct walk w = {0};

    if (m)
        walk(&w, m, NULL);
}

enum err_code secret_fields_open(const char *home, const char *stored, char **ret, struct err *err)
{
    if (!vault_is_sealed(stored)) { /* of a home that is older than the sealing */
        *ret = mem_str(stored);
        return ERR_OK;
    }
    return vault_open(home, stored, ret, err);
}
