/* The head of a request to the tools' proxy: any bytes. What is understood has a host and a port
 * that can be judged, and what goes on is one head with one Host. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/egress-request.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct egress_request r;
    struct buf head, forward;
    const char *end;
    size_t len;

    buf_init(&head, 0);
    buf_init(&forward, 0);
    buf_put(&head, data, size);
    buf_puts(&head, "\r\n\r\n");
    end = memmem(head.data, head.len, "\r\n\r\n", 4);
    len = (size_t)(end + 4 - (const char *)head.data);
    (void)egress_request_credentials(buf_text(&head), &len);
    len = (size_t)(end + 4 - (const char *)head.data);
    if (egress_request_read(buf_text(&head), len, &r, &forward)) {
        const char *host = forward.len ? strstr(buf_text(&forward), "\r\nHost: ") : NULL;

        if (!r.host[0] || !r.port || r.port > 65535 || r.is_connect == (forward.len > 0) ||
            (!r.is_connect && (!host || strcasestr(host + 2, "\r\nHost:") ||
                               memcmp(forward.data + forward.len - 4, "\r\n\r\n", 4) != 0)))
            abort();
    }
    buf_done(&head);
    buf_done(&forward);
    return 0;
}
