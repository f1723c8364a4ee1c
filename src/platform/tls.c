/* The typedef ERR_STATE of OpenSSL and our error code of that name cannot both be had. */
#define ERR_STATE OPENSSL_ERR_STATE
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#undef ERR_STATE

#include "platform/tls.h"

#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/own.h"
#include "base/str.h"
#include "platform/secret-file.h"
#include "platform/tls-fault.h"

#define TAKE_BYTES ((size_t)16 << 10)
#define DAY_S ((int64_t)86400)
#define STALE_DAYS 14
#define RECORD_HANDSHAKE 22 /* RFC 8446, 5.1 */

struct tls_context {
    SSL_CTX *ssl; /* owned; sessions hold it, too */
    char *ca_hint;
    bool shows_cert;
};

struct tls {
    SSL *ssl;      /* owned */
    BIO *in, *out; /* the session's */
    char *host;    /* owned; NULL: we are the server */
    char *ca_hint;
    X509 *refused; /* owned; the certificate that was not accepted; NULL: none */
    bool shows_cert;
    bool asked;  /* the server wants a certificate */
    bool failed; /* no more of OpenSSL after a failure but its last bytes */
    bool ended;
};

static const uint8_t h2_only[] = {2, 'h', '2'};

/* ---- contexts --------------------------------------------------------------------------- */

static int choose_protocol(SSL *ssl, const unsigned char **out, unsigned char *out_len,
                           const unsigned char *in, unsigned in_len, void *arg)
{
    unsigned char *chosen;

    (void)ssl;
    (void)arg;
    if (SSL_select_next_proto(&chosen, out_len, h2_only, sizeof h2_only, in, in_len) !=
        OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_NOACK;
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}

static struct tls_context *context_new(const SSL_METHOD *method)
{
    struct tls_context *c = mem_new(sizeof *c);

    c->ssl = mem_check(SSL_CTX_new(method));
    ERR_clear_error();
    SSL_CTX_set_min_proto_version(c->ssl, TLS1_2_VERSION);
    SSL_CTX_set_options(c->ssl, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_NO_TICKET |
                                    SSL_OP_CIPHER_SERVER_PREFERENCE);
    SSL_CTX_set_num_tickets(c->ssl, 0);
    SSL_CTX_set_session_cache_mode(c->ssl, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_mode(c->ssl, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                                 SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    return c;
}

void tls_context_free(struct tls_context *c)
{
    if (!c)
        return;
    SSL_CTX_free(c->ssl);
    free(c->ca_hint);
    free(c);
}

/* Never asks a person at the terminal for the pass phrase of a key. */
static int no_pass_phrase(char *to, int size, int writing, void *arg)
{
    (void)to;
    (void)size;
    (void)writing;
    (void)arg;
    return -1;
}

/* Through the descriptor that was looked at, so that it is that very file. */
static enum err_code use_key(struct tls_context *c, const char *path, struct err *err)
{
    OWN_FD int fd = -1;
    char name[32];
    enum err_code code = secret_file_open("TLS key", path, &fd, err);

    if (code)
        return code;
    (void)str_format(name, sizeof name, "/proc/self/fd/%d", fd);
    SSL_CTX_set_default_passwd_cb(c->ssl, no_pass_phrase);
    if (SSL_CTX_use_PrivateKey_file(c->ssl, name, SSL_FILETYPE_PEM) == 1 &&
        SSL_CTX_check_private_key(c->ssl) == 1)
        return ERR_OK;
    return tls_fault_file("TLS key", path, err);
}

/* A certificate and what signed it, up to its authority. */
static enum err_code use_cert_text(struct tls_context *c, const char *pem, const char *name,
                                   struct err *err)
{
    BIO *in = mem_check(BIO_new_mem_buf(pem, -1));
    X509 *cert = PEM_read_bio_X509_AUX(in, NULL, no_pass_phrase, NULL);
    bool ok = cert && SSL_CTX_use_certificate(c->ssl, cert) == 1;

    X509_free(cert);
    while (ok && (cert = PEM_read_bio_X509(in, NULL, no_pass_phrase, NULL)))
        if (SSL_CTX_add0_chain_cert(c->ssl, cert) != 1) {
            X509_free(cert);
            ok = false;
        }
    BIO_free(in);
    if (!ok)
        return tls_fault_file("TLS certificate", name, err);
    ERR_clear_error(); /* of the end of the text */
    c->shows_cert = true;
    return ERR_OK;
}

static enum err_code use_key_text(struct tls_context *c, const char *pem, const char *name,
                                  struct err *err)
{
    BIO *in = mem_check(BIO_new_mem_buf(pem, -1));
    EVP_PKEY *key = PEM_read_bio_PrivateKey(in, NULL, no_pass_phrase, NULL);
    bool ok =
        key && SSL_CTX_use_PrivateKey(c->ssl, key) == 1 && SSL_CTX_check_private_key(c->ssl) == 1;

    EVP_PKEY_free(key);
    BIO_free(in);
    return ok ? ERR_OK : tls_fault_file("TLS key", name, err);
}

static enum err_code use_authorities_text(struct tls_context *c, const char *pem, const char *name,
                                          struct err *err)
{
    BIO *in = mem_check(BIO_new_mem_buf(pem, -1));
    X509_STORE *store = SSL_CTX_get_cert_store(c->ssl);
    size_t count = 0;
    X509 *cert;

    while ((cert = PEM_read_bio_X509_AUX(in, NULL, no_pass_phrase, NULL))) {
        count += X509_STORE_add_cert(store, cert) == 1;
        X509_free(cert);
    }
    BIO_free(in);
    if (!count)
        return tls_fault_file("file of authorities", name, err);
    ERR_clear_error();
    return ERR_OK;
}

static enum err_code readable(const char *what, const char *path, struct err *err)
{
    if (access(path, R_OK) == 0)
        return ERR_OK;
    return err_sys(err, errno, "cannot read the %s '%.300s'", what, path);
}

static enum err_code use_cert(struct tls_context *c, const char *cert, const char *key,
                              struct err *err)
{
    enum err_code code;

    if (str_is_empty(cert) || str_is_empty(key))
        return err_set(err, ERR_INVALID, "a TLS certificate and its key go together: %s is missing",
                       str_is_empty(cert) ? "the certificate" : "the key");
    if ((code = readable("TLS certificate", cert, err)))
        return code;
    if (SSL_CTX_use_certificate_chain_file(c->ssl, cert) != 1)
        return tls_fault_file("TLS certificate", cert, err);
    c->shows_cert = true;
    return use_key(c, key, err);
}

/* Of a client that holds texts. */
static enum err_code use_texts(struct tls_context *c, const struct tls_client_options *o,
                               struct err *err)
{
    enum err_code code;

    if (!o->cert_pem != !o->key_pem)
        return err_set(err, ERR_INVALID, "a TLS certificate and its key go together: %s is missing",
                       o->cert_pem ? "the key" : "the certificate");
    if (o->cert_pem && ((code = use_cert_text(c, o->cert_pem, o->cert_file, err)) ||
                        (code = use_key_text(c, o->key_pem, o->key_file, err))))
        return code;
    return ERR_OK;
}

/* Where the library's own places are not there (a static program in a small image), one of those
 * that systems use; NULL: the library's own. */
static const char *system_bundle(void)
{
    static const char *const files[] = {"/etc/ssl/certs/ca-certificates.crt",
                                        "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"};

    if (getenv(X509_get_default_cert_file_env()) || getenv(X509_get_default_cert_dir_env()) ||
        access(X509_get_default_cert_dir(), R_OK) == 0 ||
        access(X509_get_default_cert_file(), R_OK) == 0)
        return NULL;
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++)
        if (access(files[i], R_OK) == 0)
            return files[i];
    return NULL;
}

static enum err_code use_authorities(struct tls_context *c, const char *path, struct err *err)
{
    enum err_code code;

    if (!path)
        path = system_bundle();
    if (!path)
        return SSL_CTX_set_default_verify_paths(c->ssl) == 1
                   ? ERR_OK
                   : tls_fault_file("list of the system's authorities", "", err);
    if ((code = readable("file of authorities", path, err)))
        return code;
    return SSL_CTX_load_verify_file(c->ssl, path) == 1
               ? ERR_OK
               : tls_fault_file("file of authorities", path, err);
}

enum err_code tls_context_server(const struct tls_server_options *o, struct tls_context **ret,
                                 struct err *err)
{
    struct tls_context *c = context_new(TLS_server_method());
    enum err_code code = use_cert(c, o->cert_file, o->key_file, err);

    SSL_CTX_set_alpn_select_cb(c->ssl, choose_protocol, NULL);
    if (!code && o->client_ca_file) {
        code = use_authorities(c, o->client_ca_file, err);
        SSL_CTX_set_verify(c->ssl, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    }
    if (code) {
        tls_context_free(c);
        return code;
    }
    *ret = c;
    return ERR_OK;
}

/* The session forgets a certificate that it refuses; the words about it want it. */
static int keep_refused(int ok, X509_STORE_CTX *store)
{
    const SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
    struct tls *t = SSL_get_app_data(ssl);
    X509 *cert = X509_STORE_CTX_get_current_cert(store);

    if (!ok && t && !t->refused && cert && X509_up_ref(cert) == 1)
        t->refused = cert;
    return ok;
}

static int note_asked(SSL *ssl, void *arg)
{
    struct tls *t = SSL_get_app_data(ssl);

    (void)arg;
    if (t)
        t->asked = true;
    return 1;
}

const char *tls_suspicion(const struct tls *t)
{
    if (!t->asked)
        return NULL;
    return t->shows_cert ? "the server asked for a client certificate, saw ours, and closed the "
                           "connection"
                         : "the server wants a client certificate, got none, and closed the "
                           "connection";
}

enum err_code tls_context_client(const struct tls_client_options *o, struct tls_context **ret,
                                 struct err *err)
{
    struct tls_context *c = context_new(TLS_client_method());
    enum err_code code = o->ca_pem ? use_authorities_text(c, o->ca_pem, o->ca_file, err)
                                   : use_authorities(c, o->ca_file, err);

    if (!code && (o->cert_pem || o->key_pem))
        code = use_texts(c, o, err);
    else if (!code && (o->cert_file || o->key_file))
        code = use_cert(c, o->cert_file, o->key_file, err);
    mem_check(SSL_CTX_set_alpn_protos(c->ssl, h2_only, sizeof h2_only) ? NULL : c);
    SSL_CTX_set_verify(c->ssl, SSL_VERIFY_PEER, keep_refused);
    SSL_CTX_set_cert_cb(c->ssl, note_asked, NULL);
    if (code) {
        tls_context_free(c);
        return code;
    }
    c->ca_hint = o->ca_hint ? mem_str(o->ca_hint) : NULL;
    *ret = c;
    return ERR_OK;
}

/* Seconds from now_s to t; INT64_MIN when t cannot be read. */
static int64_t until(const ASN1_TIME *t, int64_t now_s)
{
    int days = 0, seconds = 0;
    ASN1_TIME *now = ASN1_TIME_set(NULL, (time_t)now_s);
    int64_t left = INT64_MIN;

    if (now && ASN1_TIME_diff(&days, &seconds, now, t) == 1)
        left = days * DAY_S + seconds;
    ASN1_TIME_free(now);
    return left;
}

bool tls_context_is_stale(const struct tls_context *c, int64_t now_s, char *ret, size_t size)
{
    const X509 *cert = SSL_CTX_get0_certificate(c->ssl);
    int64_t begins, left;

    if (!cert)
        return false;
    begins = until(X509_get0_notBefore(cert), now_s);
    left = until(X509_get0_notAfter(cert), now_s);
    if (begins > 0)
        (void)str_format(ret, size, "the TLS certificate is not valid yet: it begins in %lld hours",
                         (long long)(begins / 3600 + 1));
    else if (left < 0)
        (void)str_format(ret, size, "the TLS certificate has expired %lld days ago",
                         (long long)(-left / DAY_S));
    else if (left < STALE_DAYS * DAY_S)
        (void)str_format(ret, size, "the TLS certificate expires in %lld days",
                         (long long)(left / DAY_S));
    else
        return false;
    return true;
}

/* ---- sessions --------------------------------------------------------------------------- */

static struct tls *session_new(const struct tls_context *c)
{
    struct tls *t = mem_new(sizeof *t);

    t->ssl = mem_check(SSL_new(c->ssl));
    t->in = mem_check(BIO_new(BIO_s_mem()));
    t->out = mem_check(BIO_new(BIO_s_mem()));
    SSL_set_bio(t->ssl, t->in, t->out);
    SSL_set_app_data(t->ssl, t);
    t->shows_cert = c->shows_cert;
    t->ca_hint = c->ca_hint ? mem_str(c->ca_hint) : NULL;
    return t;
}

struct tls *tls_new_server(const struct tls_context *c)
{
    struct tls *t = session_new(c);

    SSL_set_accept_state(t->ssl);
    return t;
}

struct tls *tls_new_client(const struct tls_context *c, const char *host)
{
    struct tls *t = session_new(c);
    struct in6_addr a;
    bool is_address = inet_pton(AF_INET, host, &a) == 1 || inet_pton(AF_INET6, host, &a) == 1;

    t->host = mem_str(host);
    SSL_set_connect_state(t->ssl);
    if (is_address) {
        mem_check(X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(t->ssl), host) == 1 ? t : NULL);
    } else {
        SSL_set_hostflags(t->ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
        mem_check(SSL_set1_host(t->ssl, host) == 1 ? t : NULL);
        mem_check(SSL_set_tlsext_host_name(t->ssl, host) == 1 ? t : NULL);
    }
    (void)SSL_do_handshake(t->ssl); /* the hello is in t->out now */
    ERR_clear_error();
    return t;
}

void tls_free(struct tls *t)
{
    if (!t)
        return;
    SSL_free(t->ssl);
    X509_free(t->refused);
    free(t->host);
    free(t->ca_hint);
    free(t);
}

static enum err_code fail(struct tls *t, struct err *err)
{
    const struct tls_fault_view v = {.ssl = t->ssl,
                                     .refused = t->refused,
                                     .host = t->host,
                                     .ca_hint = t->ca_hint,
                                     .shows_cert = t->shows_cert};

    t->failed = true;
    return tls_fault_tell(&v, err);
}

/* OpenSSL's answer rc: ERR_OK when it only waits for the peer. */
static enum err_code judge(struct tls *t, int rc, struct err *err)
{
    switch (SSL_get_error(t->ssl, rc)) {
    case SSL_ERROR_NONE:
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE:
        return ERR_OK;
    case SSL_ERROR_ZERO_RETURN:
        t->ended = true;
        return ERR_OK;
    default:
        return fail(t, err);
    }
}

static bool has_chosen_h2(const struct tls *t)
{
    const unsigned char *name;
    unsigned len;

    SSL_get0_alpn_selected(t->ssl, &name, &len);
    return len == 2 && memcmp(name, "h2", 2) == 0;
}

enum err_code tls_feed(struct tls *t, const void *data, size_t len, struct err *err)
{
    size_t done = 0;
    enum err_code code;

    if (t->failed)
        return err_set(err, ERR_UNAVAILABLE, "the TLS session has failed");
    ERR_clear_error();
    mem_check(len == 0 || (BIO_write_ex(t->in, data, len, &done) == 1 && done == len) ? t : NULL);
    if (SSL_is_init_finished(t->ssl))
        return ERR_OK;
    code = judge(t, SSL_do_handshake(t->ssl), err);
    if (!code && t->host && SSL_is_init_finished(t->ssl) && !has_chosen_h2(t)) {
        t->failed = true;
        return err_set(err, ERR_UNSUPPORTED,
                       "%s speaks TLS, but not HTTP/2 over it: it is no gRPC server", t->host);
    }
    return code;
}

enum err_code tls_read(struct tls *t, void *to, size_t size, size_t *ret_len, struct err *err)
{
    size_t at = 0;
    enum err_code code = ERR_OK;

    ERR_clear_error();
    while (at < size && !t->failed && !t->ended && !code) {
        size_t n = 0;
        int rc = SSL_read_ex(t->ssl, (char *)to + at, size - at, &n);

        if (rc == 1) {
            at += n;
            continue;
        }
        code = judge(t, rc, err);
        break;
    }
    if (code)
        return code;
    *ret_len = at;
    return ERR_OK;
}

enum err_code tls_write(struct tls *t, const void *data, size_t len, struct err *err)
{
    const char *p = data;

    if (t->failed)
        return err_set(err, ERR_UNAVAILABLE, "the TLS session has failed");
    ERR_clear_error();
    while (len) {
        size_t n = 0;
        int rc = SSL_write_ex(t->ssl, p, len, &n);

        if (rc != 1) {
            enum err_code code = judge(t, rc, err);
            return code ? code : fail(t, err); /* memory is never full */
        }
        p += n;
        len -= n;
    }
    return ERR_OK;
}

void tls_take(struct tls *t, struct buf *out)
{
    char piece[TAKE_BYTES];
    int n;

    while ((n = BIO_read(t->out, piece, sizeof piece)) > 0)
        buf_put(out, piece, (size_t)n);
}

bool tls_is_ready(const struct tls *t)
{
    return !t->failed && SSL_is_init_finished(t->ssl);
}

bool tls_is_ended(const struct tls *t)
{
    return t->ended;
}

void tls_end(struct tls *t)
{
    if (!tls_is_ready(t))
        return;
    ERR_clear_error();
    (void)SSL_shutdown(t->ssl);
    ERR_clear_error();
}

bool tls_is_hello(const void *data, size_t len)
{
    return len && *(const uint8_t *)data == RECORD_HANDSHAKE;
}
