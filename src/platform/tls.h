/* tls.h — TLS on OpenSSL, for both ends: bytes in, bytes out; no descriptor and no clock.
 *
 *   from the wire ──tls_feed──▶ ┌─────┐ ──tls_read──▶ plain bytes
 *   for the wire  ◀──tls_take── └─────┘ ◀─tls_write── plain bytes
 *
 * A context holds files that were read once (certificates, keys, authorities) and serves any number
 * of sessions. TLS 1.2 or later, no renegotiation, no tickets; ALPN is "h2". A server answers a
 * client that offers no h2 all the same, so that what speaks HTTP/1 gets words; a client insists.
 *
 * Errors: ERR_UNAUTHENTICATED when one end does not accept what the other shows (expired, wrong
 * name, unknown authority, a certificate wanted or refused), ERR_UNSUPPORTED when the other end
 * speaks no TLS or none that we do, ERR_DENIED for a key that others may read. After a failure of
 * tls_feed or tls_read, tls_take may still have an alert for the peer.
 * Ownership: a session keeps its context alive. Threads: one at a time. */
#ifndef PLATFORM_TLS_H
#define PLATFORM_TLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

struct tls_context;
struct tls;

/* Paths of PEM files; borrowed for the call. */
struct tls_server_options {
    const char *cert_file;      /* with the chain up to its authority */
    const char *key_file;       /* refused when others than its owner may read it */
    const char *client_ca_file; /* NULL: clients are not asked for a certificate */
};

struct tls_client_options {
    const char *ca_file;   /* NULL: the system's authorities, SSL_CERT_FILE and SSL_CERT_DIR */
    const char *ca_hint;   /* how a person names an authority, for the hint of an unknown one */
    const char *cert_file; /* what we show to a server that asks; NULL: nothing */
    const char *key_file;  /* … and its key: both or none */
    /* The same as PEM text in place of a file, for who cannot read files; told by the name of the
     * file it stands for. */
    const char *ca_pem, *cert_pem, *key_pem;
};

MUST_CHECK enum err_code tls_context_server(const struct tls_server_options *o,
                                            struct tls_context **ret, struct err *err);
MUST_CHECK enum err_code tls_context_client(const struct tls_client_options *o,
                                            struct tls_context **ret, struct err *err);
void tls_context_free(struct tls_context *c);

/* Is our own certificate out of its time at now_s, or about to be (within two weeks)? Then ret says
 * so in words. False: all is well, or the context has no certificate. */
bool tls_context_is_stale(const struct tls_context *c, int64_t now_s, char *ret, size_t size);

struct tls *tls_new_server(const struct tls_context *c);
/* host: a name or an address (without brackets) that the certificate must be for. */
struct tls *tls_new_client(const struct tls_context *c, const char *host);
void tls_free(struct tls *t);

/* Bytes from the peer; goes on with the handshake. */
MUST_CHECK enum err_code tls_feed(struct tls *t, const void *data, size_t len, struct err *err);
/* At most size plain bytes; *ret_len 0: no more have come. */
MUST_CHECK enum err_code tls_read(struct tls *t, void *to, size_t size, size_t *ret_len,
                                  struct err *err);
/* Not before tls_is_ready. */
MUST_CHECK enum err_code tls_write(struct tls *t, const void *data, size_t len, struct err *err);
void tls_take(struct tls *t, struct buf *out); /* appends what is to be sent */

bool tls_is_ready(const struct tls *t); /* the handshake is done, as far as this end knows */
bool tls_is_ended(const struct tls *t); /* the peer has said that it sends no more */
void tls_end(struct tls *t);            /* … and so do we: queued for tls_take */

/* Of a client: why a server may close a fresh connection without a word, or with one that was lost
 * on the way: it has asked for a certificate. NULL: it has not. */
const char *tls_suspicion(const struct tls *t);

/* Of a server: are these the first bytes of a client that speaks TLS? */
bool tls_is_hello(const void *data, size_t len);

#endif
