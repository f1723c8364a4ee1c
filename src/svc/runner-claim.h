/* runner-claim.h — what a runner is handed at a claim: agent, model, history, journal. */
#ifndef SVC_RUNNER_CLAIM_H
#define SVC_RUNNER_CLAIM_H

#include <sqlite3.h>

#include "base/err.h"
#include "stigmer/runner/v1/runner.pb-c.h"
#include "svc/journal.h"
#include "svc/runner-api.h"

/* Fills the claim for an execution whose claim (epoch) is committed. The message is the caller's
 * (runner__claim_response__free_unpacked). ERR_NOT_FOUND: an agent, instance or session is gone. */
MUST_CHECK enum err_code runner_claim_make(sqlite3 *db, struct journal *j,
                                           const struct runner_api_config *config,
                                           const char *execution_id, Runner__ClaimResponse **ret,
                                           struct err *err);

#endif
