/* status-runners.h — the runners that are attached, for status. */
#ifndef PROG_STIGMER_SERVER_STATUS_RUNNERS_H
#define PROG_STIGMER_SERVER_STATUS_RUNNERS_H

#include <jansson.h>

#include "svc/runner-api.h"

/* [{id, host, domain, version, remote, slots: {used, max}, since, rssBytes, session?, trouble?}];
 * the caller's. */
json_t *status_runners(const struct runner_api *a);

#endif
