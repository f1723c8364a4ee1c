/* pbjson-tool — our protobuf ↔ JSON, a line of question a line of answer, for comparison with
 * Python's json_format:
 *   to NAME HEX      → the message as JSON
 *   from NAME JSON   → its bytes as hex
 * Failures answer "error: WHY". NAME is the full name of any message of ours. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/str.h"
#include "proto-all.h"
#include "wire/pbjson.h"

static const ProtobufCMessageDescriptor *const all[] = {
#include "message-table.h"
};

static const ProtobufCMessageDescriptor *find(const char *name, void *arg)
{
    (void)arg;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (str_eq(all[i]->name, name))
            return all[i];
    return NULL;
}

static enum err_code to_json(const ProtobufCMessageDescriptor *d, const char *hex, struct buf *out,
                             struct err *err)
{
    const struct pbjson_opts opts = {.resolve = find};
    struct buf bytes = {0};
    ProtobufCMessage *m;
    json_t *json = NULL;
    enum err_code code;
    unsigned byte;

    for (; sscanf(hex, "%2x", &byte) == 1; hex += 2)
        buf_putc(&bytes, (char)byte);
    m = protobuf_c_message_unpack(d, NULL, bytes.len, bytes.data);
    buf_done(&bytes);
    if (!m)
        return err_set(err, ERR_INVALID, "not a message");
    code = pbjson_to(m, &opts, &json, err);
    protobuf_c_message_free_unpacked(m, NULL);
    if (!code)
        pbjson_print(json, 0, out);
    json_decref(json);
    return code;
}

static enum err_code from_json(const ProtobufCMessageDescriptor *d, const char *text,
                               struct buf *out, struct err *err)
{
    const struct pbjson_opts opts = {.resolve = find};
    json_error_t at;
    json_t *json = json_loads(text, JSON_DECODE_ANY, &at);
    ProtobufCMessage *m;
    enum err_code code;
    uint8_t *bytes;
    size_t len;

    if (!json)
        return err_set(err, ERR_INVALID, "no JSON: %s", at.text);
    code = pbjson_from(d, json, &opts, &m, err);
    json_decref(json);
    if (code)
        return code;
    len = protobuf_c_message_get_packed_size(m);
    bytes = mem_array(len, 1);
    protobuf_c_message_pack(m, bytes);
    for (size_t i = 0; i < len; i++)
        buf_printf(out, "%02x", bytes[i]);
    free(bytes);
    protobuf_c_message_free_unpacked(m, NULL);
    return ERR_OK;
}

static void answer(char *line)
{
    char *how = strsep(&line, " "), *name = strsep(&line, " ");
    const ProtobufCMessageDescriptor *d = name ? find(name, NULL) : NULL;
    struct buf out = {0};
    struct err err;
    enum err_code code;

    if (!d || !line)
        code = err_set(&err, ERR_NOT_FOUND, "no message '%s'", name ? name : "");
    else
        code = str_eq(how, "to") ? to_json(d, line, &out, &err) : from_json(d, line, &out, &err);
    if (code)
        printf("error: %s\n", err.msg);
    else
        printf("%s\n", buf_text(&out));
    fflush(stdout);
    buf_done(&out);
}

int main(void)
{
    char *line = NULL;
    size_t size = 0;

    while (getline(&line, &size, stdin) > 0) {
        line[strcspn(line, "\n")] = '\0';
        answer(line);
    }
    free(line);
    return 0;
}
