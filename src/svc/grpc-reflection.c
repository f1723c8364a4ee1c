/* grpc-reflection.c — questions are rare, so nothing is indexed: each one unpacks the descriptors
 * it has to look into and lets go of them. */
#include "svc/grpc-reflection.h"

#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "proto-all.h"

struct file {
    const uint8_t *data; /* borrowed: a FileDescriptorProto inside proto_set */
    size_t len;
    char *name;
    char *package;
};

struct grpc_reflection {
    struct rpc_server *server;
    struct file *files;
    size_t count;
};

typedef Google__Protobuf__FileDescriptorProto file_desc;

/* ---- the set of files ---- */

static size_t varint(const uint8_t *p, const uint8_t *end, uint64_t *ret)
{
    *ret = 0;
    for (size_t i = 0; p + i < end && i < 10; i++) {
        *ret |= (uint64_t)(p[i] & 0x7f) << (7 * i);
        if (!(p[i] & 0x80))
            return i + 1;
    }
    return 0;
}

static void add_file(struct grpc_reflection *r, const uint8_t *data, size_t len)
{
    file_desc *d = google__protobuf__file_descriptor_proto__unpack(NULL, len, data);
    if (!d)
        return;
    r->files = mem_grow(r->files, r->count + 1, sizeof *r->files);
    r->files[r->count++] = (struct file){
        .data = data, .len = len, .name = mem_str(d->name), .package = mem_str(d->package)};
    google__protobuf__file_descriptor_proto__free_unpacked(d, NULL);
}

/* FileDescriptorSet is one repeated field: tag 0x0a, length, bytes. */
static void cut_set(struct grpc_reflection *r)
{
    const uint8_t *p = proto_set;
    while (p < proto_set_end && *p == 0x0a) {
        uint64_t len;
        size_t n = varint(p + 1, proto_set_end, &len);
        if (!n || len > (size_t)(proto_set_end - (p + 1 + n)))
            return;
        p += 1 + n;
        add_file(r, p, (size_t)len);
        p += len;
    }
}

static size_t file_by_name(const struct grpc_reflection *r, const char *name)
{
    size_t i = 0;
    while (i < r->count && !str_eq(r->files[i].name, name))
        i++;
    return i;
}

/* ---- looking for a symbol ---- */

/* The rest of `symbol` after "name" or "name."; NULL when it goes elsewhere. */
static const char *step(const char *symbol, const char *name)
{
    size_t n = name ? strlen(name) : 0;
    if (!n || strncmp(symbol, name, n) != 0)
        return NULL;
    if (symbol[n] == '\0')
        return symbol + n;
    return symbol[n] == '.' ? symbol + n + 1 : NULL;
}

static bool enum_has(const Google__Protobuf__EnumDescriptorProto *e, const char *symbol)
{
    const char *rest = step(symbol, e->name);
    if (rest && !*rest)
        return true;
    for (size_t i = 0; i < e->n_value; i++) /* values are siblings of their enum */
        if (str_eq(e->value[i]->name, symbol) || (rest && str_eq(e->value[i]->name, rest)))
            return true;
    return false;
}

static bool message_has(const Google__Protobuf__DescriptorProto *m, const char *symbol)
{
    const char *rest = step(symbol, m->name);
    if (!rest)
        return false;
    bool found = !*rest;
    for (size_t i = 0; !found && i < m->n_field; i++)
        found = str_eq(m->field[i]->name, rest);
    for (size_t i = 0; !found && i < m->n_oneof_decl; i++)
        found = str_eq(m->oneof_decl[i]->name, rest);
    for (size_t i = 0; !found && i < m->n_extension; i++)
        found = str_eq(m->extension[i]->name, rest);
    for (size_t i = 0; !found && i < m->n_enum_type; i++)
        found = enum_has(m->enum_type[i], rest);
    for (size_t i = 0; !found && i < m->n_nested_type; i++)
        found = message_has(m->nested_type[i], rest);
    return found;
}

static bool service_has(const Google__Protobuf__ServiceDescriptorProto *s, const char *symbol)
{
    const char *rest = step(symbol, s->name);
    if (!rest)
        return false;
    bool found = !*rest;
    for (size_t i = 0; !found && i < s->n_method; i++)
        found = str_eq(s->method[i]->name, rest);
    return found;
}

static bool file_has(const struct file *f, const char *symbol)
{
    const char *rest = str_is_empty(f->package) ? symbol : step(symbol, f->package);
    if (!rest || !*rest)
        return false;
    file_desc *d = google__protobuf__file_descriptor_proto__unpack(NULL, f->len, f->data);
    bool found = false;
    for (size_t i = 0; d && !found && i < d->n_message_type; i++)
        found = message_has(d->message_type[i], rest);
    for (size_t i = 0; d && !found && i < d->n_enum_type; i++)
        found = enum_has(d->enum_type[i], rest);
    for (size_t i = 0; d && !found && i < d->n_service; i++)
        found = service_has(d->service[i], rest);
    for (size_t i = 0; d && !found && i < d->n_extension; i++)
        found = str_eq(d->extension[i]->name, rest);
    if (d)
        google__protobuf__file_descriptor_proto__free_unpacked(d, NULL);
    return found;
}

static size_t file_by_symbol(const struct grpc_reflection *r, const char *symbol)
{
    size_t i = 0;
    if (symbol[0] == '.')
        symbol++;
    while (i < r->count && !file_has(&r->files[i], symbol))
        i++;
    return i;
}

/* ---- answers ---- */

static void answer_error(Refl__ServerReflectionResponse *res, Refl__ErrorResponse *e,
                         enum err_code code, char *text)
{
    refl__error_response__init(e);
    e->error_code = err_code_grpc(code);
    e->error_message = text;
    res->message_response_case = REFL__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_ERROR_RESPONSE;
    res->error_response = e;
}

/* The file and, after it, everything it imports that is not in the list yet. */
static void collect(const struct grpc_reflection *r, size_t at, bool *seen,
                    Refl__FileDescriptorResponse *list)
{
    if (at >= r->count || seen[at])
        return;
    const struct file *f = &r->files[at];
    seen[at] = true;
    list->file_descriptor_proto[list->n_file_descriptor_proto++] =
        (ProtobufCBinaryData){.data = (uint8_t *)(uintptr_t)f->data, .len = f->len};
    file_desc *d = google__protobuf__file_descriptor_proto__unpack(NULL, f->len, f->data);
    for (size_t i = 0; d && i < d->n_dependency; i++)
        collect(r, file_by_name(r, d->dependency[i]), seen, list);
    if (d)
        google__protobuf__file_descriptor_proto__free_unpacked(d, NULL);
}

static void send_files(const struct grpc_reflection *r, struct rpc_call *call,
                       Refl__ServerReflectionResponse *res, size_t at, const char *asked)
{
    Refl__FileDescriptorResponse list;
    Refl__ErrorResponse e;
    char text[256];
    bool *seen = mem_array(r->count, sizeof *seen);
    refl__file_descriptor_response__init(&list);
    list.file_descriptor_proto = mem_array(r->count, sizeof *list.file_descriptor_proto);
    if (at < r->count) {
        collect(r, at, seen, &list);
        res->message_response_case =
            REFL__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_FILE_DESCRIPTOR_RESPONSE;
        res->file_descriptor_response = &list;
    } else {
        (void)str_format(text, sizeof text, "%.200s is not known", asked);
        answer_error(res, &e, ERR_NOT_FOUND, text);
    }
    rpc_call_send(call, &res->base);
    free(list.file_descriptor_proto);
    free(seen);
}

static void send_services(const struct grpc_reflection *r, struct rpc_call *call,
                          Refl__ServerReflectionResponse *res)
{
    Refl__ListServiceResponse list;
    size_t n = 0;
    refl__list_service_response__init(&list);
    while (rpc_server_service(r->server, RPC_GATE_API, n))
        n++;
    Refl__ServiceResponse *rows = mem_array(n, sizeof *rows);
    list.service = mem_array(n, sizeof *list.service);
    list.n_service = n;
    for (size_t i = 0; i < n; i++) {
        refl__service_response__init(&rows[i]);
        rows[i].name = (char *)(uintptr_t)rpc_server_service(r->server, RPC_GATE_API, i);
        list.service[i] = &rows[i];
    }
    res->message_response_case =
        REFL__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_LIST_SERVICES_RESPONSE;
    res->list_services_response = &list;
    rpc_call_send(call, &res->base);
    free(list.service);
    free(rows);
}

static void send_extensions(const struct grpc_reflection *r, struct rpc_call *call,
                            Refl__ServerReflectionResponse *res, char *type)
{
    Refl__ExtensionNumberResponse none;
    Refl__ErrorResponse e;
    char text[] = "that type is not known";
    refl__extension_number_response__init(&none);
    none.base_type_name = type; /* our files extend nothing */
    res->message_response_case =
        REFL__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_ALL_EXTENSION_NUMBERS_RESPONSE;
    res->all_extension_numbers_response = &none;
    if (file_by_symbol(r, type) == r->count)
        answer_error(res, &e, ERR_NOT_FOUND, text);
    rpc_call_send(call, &res->base);
}

static void on_question(struct rpc_call *call, const ProtobufCMessage *msg, void *arg)
{
    const struct grpc_reflection *r = arg;
    const Refl__ServerReflectionRequest *q = (const Refl__ServerReflectionRequest *)msg;
    Refl__ServerReflectionResponse res;
    Refl__ErrorResponse e;
    char no_extension[] = "that extension is not known";
    char empty[] = "the request asks for nothing";
    refl__server_reflection_response__init(&res);
    res.valid_host = q->host;
    res.original_request = (Refl__ServerReflectionRequest *)(uintptr_t)q;
    switch (q->message_request_case) {
    case REFL__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_FILE_BY_FILENAME:
        send_files(r, call, &res, file_by_name(r, q->file_by_filename), q->file_by_filename);
        return;
    case REFL__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_FILE_CONTAINING_SYMBOL:
        send_files(r, call, &res, file_by_symbol(r, q->file_containing_symbol),
                   q->file_containing_symbol);
        return;
    case REFL__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_LIST_SERVICES:
        send_services(r, call, &res);
        return;
    case REFL__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_ALL_EXTENSION_NUMBERS_OF_TYPE:
        send_extensions(r, call, &res, q->all_extension_numbers_of_type);
        return;
    case REFL__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_FILE_CONTAINING_EXTENSION:
        answer_error(&res, &e, ERR_NOT_FOUND, no_extension);
        break;
    case REFL__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST__NOT_SET:
    case _REFL__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST__CASE_IS_INT_SIZE:
    default:
        answer_error(&res, &e, ERR_INVALID, empty);
        break;
    }
    rpc_call_send(call, &res.base);
}

struct grpc_reflection *grpc_reflection_new(struct rpc_server *server)
{
    static const struct rpc_method methods[] = {
        {"ServerReflectionInfo", &refl__server_reflection_request__descriptor,
         &refl__server_reflection_response__descriptor, true, on_question, true, NULL},
        {0},
    };
    static const struct rpc_service v1 = {"grpc.reflection.v1.ServerReflection", methods};
    static const struct rpc_service v1alpha = {"grpc.reflection.v1alpha.ServerReflection", methods};
    struct grpc_reflection *r = mem_new(sizeof *r);
    r->server = server;
    cut_set(r);
    rpc_server_add(server, &v1, r);
    rpc_server_add(server, &v1alpha, r);
    return r;
}

void grpc_reflection_free(struct grpc_reflection *r)
{
    if (!r)
        return;
    for (size_t i = 0; i < r->count; i++) {
        free(r->files[i].name);
        free(r->files[i].package);
    }
    free(r->files);
    free(r);
}
