/* toolproto.h — what launcher, worker and tool host say to each other. Bytes in, frames out.
 *
 *   worker ⇄ tool host, a stream:  u32 length of the rest (little-endian) │ u8 kind │ u64 id │ body
 *     CALL    worker → host  JSON {"name", "args": {…}, "env": {…}}
 *     CANCEL  worker → host  empty: end the call, no answer follows
 *     RESULT  host → worker  text for the model
 *     ERROR   host → worker  text for the model: bad arguments, a refused path
 *     READY   host → worker  id 0, empty: the host is confined; or text why it could not be
 *   worker → launcher, one datagram each:  "open <serial> <folder> <port>", port
 *     being the one TCP port of this machine that the host may connect to, or 0; the answer is
 *     "opened <serial>" with the tool host's descriptor, or "failed <serial> <why>"
 *
 * A peer that breaks these rules is not trusted further: ERR_CORRUPT, and its connection ends. */
#ifndef WIRE_TOOLPROTO_H
#define WIRE_TOOLPROTO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

#define TOOLPROTO_CALL_MAX ((size_t)12 << 20) /* body, worker → host */
#define TOOLPROTO_REPLY_MAX ((size_t)1 << 20) /* body, host → worker */
#define TOOLPROTO_DATAGRAM_MAX 512
#define TOOLPROTO_FOLDER_MAX 64
#define TOOLPROTO_ENV_MAX 256

enum toolproto_kind {
    TOOLPROTO_CALL = 1,
    TOOLPROTO_CANCEL,
    TOOLPROTO_RESULT,
    TOOLPROTO_ERROR,
    TOOLPROTO_READY
};

struct toolproto_frame {
    enum toolproto_kind kind;
    uint64_t id;
    const char *body; /* borrowed from the input */
    size_t len;
};

/* body_max is the limit of the reading side. */
void toolproto_put(struct buf *out, enum toolproto_kind kind, uint64_t id, const void *body,
                   size_t len);

/* One frame from the front of in. *ret_used: bytes it takes, 0 while more are needed. */
MUST_CHECK enum err_code toolproto_next(const void *in, size_t len, size_t body_max,
                                        struct toolproto_frame *ret, size_t *ret_used,
                                        struct err *err);

struct toolproto_call {
    char *name;      /* owned */
    char *args_json; /* owned; an object */
    char **env;      /* owned; "NAME=value", NULL-ended */
};

char *toolproto_call_make(const char *name, const char *args_json, const char *const env[][2],
                          size_t env_count); /* owned by the caller */
MUST_CHECK enum err_code toolproto_call_parse(const char *body, size_t len,
                                              struct toolproto_call *ret, struct err *err);
void toolproto_call_done(struct toolproto_call *c);

bool toolproto_folder_is_valid(const char *folder); /* [A-Za-z0-9][A-Za-z0-9._-]{0,63} */

/* The launcher's side: strict, no allocation. */
MUST_CHECK enum err_code toolproto_open_parse(const char *text, size_t len, uint64_t *ret_serial,
                                              char ret_folder[TOOLPROTO_FOLDER_MAX + 1],
                                              unsigned *ret_port, struct err *err);

#endif
