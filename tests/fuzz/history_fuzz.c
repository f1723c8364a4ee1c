/* Any bytes as a history and as payloads: checked, unpacked, decided, and put in words, as the
 * answers of a Temporal server are. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "clients/temporal-payload.h"
#include "core/workflow.h"
#include "wire/pbcheck.h"

static void read_value(const Tcom__Payloads *p)
{
    struct err err;
    json_t *value;

    if (!temporal_payload_read(p, &value, &err))
        json_decref(value);
}

static void decide(const Thist__History *h)
{
    struct workflow_decision d, again;
    struct err err;
    char words[300];

    for (size_t n = 0; n <= h->n_events; n++) {
        if (workflow_decide(h->events, n, &d, &err))
            continue;
        assert(!workflow_decide(h->events, n, &again, &err) && d.step == again.step);
        assert(d.cancel_reason && d.cancel_by && d.heard <= n);
        assert(d.hand_backs <= WORKFLOW_HAND_BACKS_MAX);
        read_value(d.input);
        read_value(d.result);
        temporal_payload_failure(d.failure, words, sizeof words);
        assert(str_utf8_check(words, strlen(words)) == strlen(words));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct err err;

    if (!pbcheck(&thist__history__descriptor, data, size, 64, &err)) {
        Thist__History *h = thist__history__unpack(NULL, size, data);

        if (h && h->n_events < 64)
            decide(h);
        if (h)
            thist__history__free_unpacked(h, NULL);
    }
    if (!pbcheck(&tcom__payloads__descriptor, data, size, 64, &err)) {
        Tcom__Payloads *p = tcom__payloads__unpack(NULL, size, data);

        if (p) {
            read_value(p);
            tcom__payloads__free_unpacked(p, NULL);
        }
    }
    return 0;
}
