/* model-cassette.h — recorded model exchanges: JSON lines.
 *
 *   {"schema":"stigmer.cassette/v1"}
 *   {"provider":"openai","request":{"model":…,"bytes":…,"messages":…,"fnv1a64":"…"},
 *    "status":200,"headers":{"content-type":…},"chunks":["data: …","…"]}
 *
 * One line per exchange, in order. chunks are the answer's bytes as they came; one that is not
 * UTF-8 is {"hex":"…"}. "failure" names a transport failure after the chunks (connect,
 * first_byte, stalled, broken). "too_large": the answer did not fit a line and is not there.
 * Of the headers only those on a short list are kept, of the request only a digest: no key and no
 * cookie can get in. Limits: 4 MiB a file, 2 MiB a line. */
#ifndef CLIENTS_MODEL_CASSETTE_H
#define CLIENTS_MODEL_CASSETTE_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define MODEL_CASSETTE_MAX ((size_t)4 << 20)
#define MODEL_CASSETTE_LINE_MAX ((size_t)2 << 20)

/* The first line of a cassette, without newline; on_record's lines come after it. */
const char *model_cassette_header(void);

/* Exchange number n, from 0. *ret is owned by the caller. ERR_NOT_FOUND when the recording has
 * fewer, ERR_CORRUPT when it is no cassette. */
MUST_CHECK enum err_code model_cassette_find(const char *text, size_t len, unsigned n, json_t **ret,
                                             struct err *err);

/* One recorded exchange, as it is written. Starts with the request's digest. */
struct model_cassette;
struct model_cassette *model_cassette_new(const char *provider, const char *model, const char *body,
                                          size_t len, size_t messages);
void model_cassette_free(struct model_cassette *c);
void model_cassette_head(struct model_cassette *c, int status);
void model_cassette_keep(struct model_cassette *c, const char *name, const char *value);
void model_cassette_chunk(struct model_cassette *c, const void *data, size_t len);
void model_cassette_failure(struct model_cassette *c, const char *name);
char *model_cassette_line(struct model_cassette *c); /* owned by the caller */

/* The bytes of one recorded chunk, owned by the caller; NULL when it is none. */
char *model_cassette_bytes(const json_t *chunk, size_t *ret_len);

/* Headers that are kept; NULL-ended. */
extern const char *const model_cassette_headers[];

uint64_t model_cassette_hash(const void *data, size_t len); /* FNV-1a, 64 bits */

#endif
