/* live.h — what state the server is in, by asking it and by its pid file. */
#ifndef PROG_STIGMER_LIVE_H
#define PROG_STIGMER_LIVE_H

#include <jansson.h>

#include "base/err.h"
#include "prog/stigmer/cli.h"

enum live_state {
    LIVE_ANSWERS, /* *ret_status is what it says */
    LIVE_SILENT,  /* its process lives and does not answer */
    LIVE_GONE
};

/* *ret_status: owned, NULL unless it answers. timeout_ms: how long an answer may take. err: why
 * there is none; NULL: not asked for. */
enum live_state live_ask(const struct cli *cli, int64_t timeout_ms, json_t **ret_status,
                         struct err *err);

/* Ask it to end. Returns when it has said yes. */
MUST_CHECK enum err_code live_shutdown(const struct cli *cli, int64_t grace_ms, struct err *err);

#endif
