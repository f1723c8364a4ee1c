/* tls-fault.h — OpenSSL's reasons as words for a person. Threads: the error queue's own. */
#ifndef PLATFORM_TLS_FAULT_H
#define PLATFORM_TLS_FAULT_H

#include <stdbool.h>

#include "base/err.h"

struct ssl_st;
struct x509_st;

struct tls_fault_view {
    const struct ssl_st *ssl;
    const struct x509_st *refused; /* the certificate that was not accepted; NULL: not known */
    const char *host;              /* whom we called; NULL: we are the server */
    const char *ca_hint;           /* may be NULL */
    bool shows_cert;               /* we have a certificate to show */
};

/* Why the handshake or a read of this session failed. Empties OpenSSL's error queue. */
enum err_code tls_fault_tell(const struct tls_fault_view *v, struct err *err);

/* Why a file was not accepted: the newest entry of OpenSSL's error queue, which is emptied. */
enum err_code tls_fault_file(const char *what, const char *path, struct err *err);

#endif
