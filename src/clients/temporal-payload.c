#include "clients/temporal-payload.h"

#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/own.h"
#include "base/str.h"

#define VALUE_MAX ((size_t)2 << 20) /* Temporal's own limit of one value */
#define ENCODING "encoding"

void temporal_payload_init(struct temporal_payload *p, const json_t *value)
{
    static char key[] = ENCODING, json_plain[] = "json/plain";

    *p = (struct temporal_payload){.payloads = TCOM__PAYLOADS__INIT,
                                   .payload = TCOM__PAYLOAD__INIT,
                                   .encoding = TCOM__PAYLOAD__METADATA_ENTRY__INIT};
    p->text = mem_check(json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY | JSON_SORT_KEYS));
    p->encoding.key = key;
    p->encoding.value.data = (uint8_t *)json_plain;
    p->encoding.value.len = sizeof json_plain - 1;
    p->metadata[0] = &p->encoding;
    p->payload.metadata = p->metadata;
    p->payload.n_metadata = 1;
    p->payload.data.data = (uint8_t *)p->text;
    p->payload.data.len = strlen(p->text);
    p->list[0] = &p->payload;
    p->payloads.payloads = p->list;
    p->payloads.n_payloads = 1;
}

void temporal_payload_done(struct temporal_payload *p)
{
    free(p->text);
}

static bool is_encoding(const Tcom__Payload *p, const char *name)
{
    for (size_t i = 0; i < p->n_metadata; i++) {
        const ProtobufCBinaryData *v = &p->metadata[i]->value;

        if (str_eq(p->metadata[i]->key, ENCODING))
            return v->len == strlen(name) && memcmp(v->data, name, v->len) == 0;
    }
    return false;
}

enum err_code temporal_payload_read(const Tcom__Payloads *payloads, json_t **ret, struct err *err)
{
    const Tcom__Payload *p = payloads && payloads->n_payloads ? payloads->payloads[0] : NULL;
    json_error_t why;
    json_t *value;

    if (!p || is_encoding(p, "binary/null")) {
        *ret = json_null();
        return ERR_OK;
    }
    if (!is_encoding(p, "json/plain") && !is_encoding(p, "json/protobuf"))
        return err_set(err, ERR_UNSUPPORTED,
                       "the value is neither json/plain nor json/protobuf; a codec that encrypts "
                       "values is not supported, and needed by nothing: only ids are in them");
    if (p->data.len > VALUE_MAX)
        return err_set(err, ERR_LIMIT, "the value has more than %zu bytes", VALUE_MAX);
    value = json_loadb((const char *)p->data.data, p->data.len,
                       JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, &why);
    if (!value)
        return err_set(err, ERR_INVALID, "the value is no JSON: %s", why.text);
    *ret = value;
    return ERR_OK;
}

void temporal_payload_failure(const Tfail__Failure *f, char *ret, size_t size)
{
    OWN_BUF struct buf text = {0};

    for (unsigned n = 0; f && n < TEMPORAL_PAYLOAD_CAUSES; f = f->cause, n++) {
        if (str_is_empty(f->message))
            continue;
        if (text.len)
            buf_puts(&text, ": ");
        buf_put_text(&text, f->message, strnlen(f->message, 600));
    }
    for (size_t i = 0; i < text.len; i++)
        if (text.data[i] < ' ')
            text.data[i] = ' ';
    (void)str_format(ret, size, "%s", text.len ? buf_text(&text) : "no reason was given");
    str_cut_bad(ret);
}
