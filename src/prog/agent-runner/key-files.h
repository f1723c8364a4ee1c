/* key-files.h — the secrets of a runner, read by the launcher before anything else runs: the files
 * of STIGMER_KEYS_DIR by their names, and single files by the variables that name them. A variable
 * wins over a file of the folder; what it names has to be there.
 *
 *   STIGMER_RUNNER_TOKEN_FILE   runner.token       ANTHROPIC_API_KEY_FILE   llm.anthropic
 *   STIGMER_TLS_CA              server.ca          OPENAI_API_KEY_FILE      llm.openai
 *   TEMPORAL_TLS_CA             temporal.ca        TEMPORAL_TLS_CERT        temporal.cert
 *   TEMPORAL_TLS_KEY            temporal.key       TEMPORAL_API_KEY_FILE    temporal.api_key
 *
 * Threads: one. */
#ifndef PROG_AGENT_RUNNER_KEY_FILES_H
#define PROG_AGENT_RUNNER_KEY_FILES_H

#include "base/err.h"

#define KEY_FILES_MAX 32                /* keys */
#define KEY_FILES_BYTES ((size_t)65536) /* of one */

/* One JSON object, name → content, in a sealed memfd. */
MUST_CHECK enum err_code key_files_seal(int *ret_fd, struct err *err);

#endif
