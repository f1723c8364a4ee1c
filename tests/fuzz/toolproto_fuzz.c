/* What launcher, worker and tool host read from each other: any bytes as a stream of frames, each
 * body as a call, and the whole as a request to the launcher. */
#include <stdint.h>
#include <stdlib.h>

#include "wire/toolproto.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char folder[TOOLPROTO_FOLDER_MAX + 1];
    uint64_t serial;
    unsigned port;
    size_t at = 0, used = 1;

    while (used) {
        struct toolproto_frame f;
        struct toolproto_call c;

        if (toolproto_next(data + at, size - at, 4096, &f, &used, NULL))
            break;
        if (!used)
            break;
        if (f.len > 4096 || used > size - at)
            abort();
        at += used;
        if (toolproto_call_parse(f.body, f.len, &c, NULL) == ERR_OK)
            toolproto_call_done(&c);
    }
    if (toolproto_open_parse((const char *)data, size, &serial, folder, &port, NULL) == ERR_OK &&
        !toolproto_folder_is_valid(folder))
        abort();
    return 0;
}
