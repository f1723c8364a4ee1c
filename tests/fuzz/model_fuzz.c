/* The three wire formats of model answers: the first byte chooses the format, the rest are lines
 * of JSON, one event each. */
#include <stdint.h>
#include <string.h>

#include "clients/model-cassette.h"
#include "clients/model-impl.h"
#include "wire/ndjson.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct target {
    const struct model_provider *provider;
    struct model_parse parse;
};

static bool on_line(const char *line, size_t len, void *arg)
{
    struct target *t = arg;
    json_t *v = model_parse_json(line, len);

    if (json_is_object(v))
        t->provider->event(&t->parse, v);
    json_decref(v);
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct model_provider *const all[] = {&model_anthropic, &model_openai,
                                                       &model_ollama};
    struct target t = {0};
    struct model_turn turn;
    struct ndjson n;
    char why[512];
    json_t *found = NULL;

    if (!size)
        return 0;
    t.provider = all[data[0] % 3];
    model_parse_init(&t.parse);
    ndjson_init(&n, 1 << 20, on_line, &t);
    if (ndjson_feed(&n, data + 1, size - 1, NULL) == ERR_OK)
        ndjson_finish(&n);
    model_parse_take(&t.parse, 1, &turn);
    model_turn_done(&turn);
    model_parse_done(&t.parse);
    ndjson_done(&n);
    (void)model_fault_read(data[0] * 3, (const char *)data + 1, size - 1, why, sizeof why);
    if (model_cassette_find((const char *)data + 1, size - 1, data[0] % 4, &found, NULL) == ERR_OK)
        json_decref(found);
    return 0;
}
