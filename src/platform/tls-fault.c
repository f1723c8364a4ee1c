/* The typedef ERR_STATE of OpenSSL and our error code of that name cannot both be had. */
#define ERR_STATE OPENSSL_ERR_STATE
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#undef ERR_STATE

#include "platform/tls-fault.h"

#include <arpa/inet.h>
#include <string.h>

#include "base/buf.h"
#include "base/str.h"

#define NAMES_SHOWN 4

static void time_text(const ASN1_TIME *t, char ret[32])
{
    struct tm tm;

    if (ASN1_TIME_to_tm(t, &tm) != 1 || !strftime(ret, 32, "%Y-%m-%d %H:%M UTC", &tm))
        (void)str_format(ret, 32, "an unknown time");
}

/* The names and addresses that a certificate is for: "a.example, 10.0.0.1". */
static void put_names(const X509 *cert, struct buf *ret)
{
    GENERAL_NAMES *all = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
    int shown = 0;

    for (int i = 0; i < sk_GENERAL_NAME_num(all) && shown < NAMES_SHOWN; i++) {
        const GENERAL_NAME *n = sk_GENERAL_NAME_value(all, i);
        if (n->type == GEN_DNS) {
            buf_puts(ret, shown++ ? ", " : "");
            buf_put_text(ret, ASN1_STRING_get0_data(n->d.dNSName),
                         (size_t)ASN1_STRING_length(n->d.dNSName));
        } else if (n->type == GEN_IPADD) {
            int family = ASN1_STRING_length(n->d.iPAddress) == 4 ? AF_INET : AF_INET6;
            char text[INET6_ADDRSTRLEN];
            if (ASN1_STRING_length(n->d.iPAddress) == (family == AF_INET ? 4 : 16) &&
                inet_ntop(family, ASN1_STRING_get0_data(n->d.iPAddress), text, sizeof text))
                buf_printf(ret, "%s%s", shown++ ? ", " : "", text);
        }
    }
    if (!shown)
        buf_puts(ret, "no name");
    else if (sk_GENERAL_NAME_num(all) > shown)
        buf_puts(ret, ", …");
    GENERAL_NAMES_free(all);
}

static enum err_code wrong_name(const struct tls_fault_view *v, struct err *err)
{
    OWN_BUF struct buf names = {0};

    put_names(v->refused, &names);
    err_set(err, ERR_UNAUTHENTICATED, "the certificate that %s shows is for %.400s", v->host,
            buf_text(&names));
    return err_hint(err, ERR_UNAUTHENTICATED,
                    "call it by a name of its certificate, or give it one for %.100s", v->host);
}

/* As a client: the server's certificate was looked at and refused. */
static enum err_code untrusted(const struct tls_fault_view *v, long verdict, struct err *err)
{
    char when[32];

    switch (verdict) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
        time_text(X509_get0_notAfter(v->refused), when);
        err_set(err, ERR_UNAUTHENTICATED, "the certificate of %s has expired (%s)", v->host, when);
        return err_hint(err, ERR_UNAUTHENTICATED,
                        "renew it there and restart, or set the clock of this machine right");
    case X509_V_ERR_CERT_NOT_YET_VALID:
        time_text(X509_get0_notBefore(v->refused), when);
        err_set(err, ERR_UNAUTHENTICATED, "the certificate of %s is not valid before %s", v->host,
                when);
        return err_hint(err, ERR_UNAUTHENTICATED, "set the clock of this machine right");
    case X509_V_ERR_HOSTNAME_MISMATCH:
    case X509_V_ERR_IP_ADDRESS_MISMATCH:
        return wrong_name(v, err);
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    case X509_V_ERR_CERT_UNTRUSTED:
        err_set(err, ERR_UNAUTHENTICATED, "the certificate of %s is %s", v->host,
                verdict == X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT
                    ? "self-signed, and not among the authorities that are trusted"
                    : "from an authority that is not trusted");
        return v->ca_hint ? err_hint(err, ERR_UNAUTHENTICATED, "%s", v->ca_hint)
                          : ERR_UNAUTHENTICATED;
    default:
        return err_set(err, ERR_UNAUTHENTICATED, "the certificate of %s is not accepted: %s",
                       v->host, X509_verify_cert_error_string(verdict));
    }
}

/* What the other end told us in an alert. */
static enum err_code alerted(const struct tls_fault_view *v, int reason, struct err *err)
{
    const char *who = v->host ? v->host : "the client";

    switch (reason) {
    case SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED:
        err_set(err, ERR_UNAUTHENTICATED, "%s wants a client certificate", who);
        return err_hint(err, ERR_UNAUTHENTICATED,
                        "give it one that its authority has signed, with its key");
    case SSL_R_TLSV1_ALERT_UNKNOWN_CA:
    case SSL_R_SSLV3_ALERT_BAD_CERTIFICATE:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_REVOKED:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN:
    case SSL_R_SSLV3_ALERT_UNSUPPORTED_CERTIFICATE:
    case SSL_R_TLSV1_ALERT_ACCESS_DENIED:
    case SSL_R_TLSV1_ALERT_DECRYPT_ERROR:
        return err_set(err, ERR_UNAUTHENTICATED, "%s refused our certificate: %s", who,
                       reason == SSL_R_TLSV1_ALERT_UNKNOWN_CA ? "it does not know its authority"
                       : reason == SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED ? "it has expired"
                       : reason == SSL_R_SSLV3_ALERT_CERTIFICATE_REVOKED ? "it was revoked"
                                                                         : "it is not accepted");
    case SSL_R_SSLV3_ALERT_HANDSHAKE_FAILURE:
        err_set(err, ERR_UNSUPPORTED, "%s broke the TLS handshake off", who);
        if (v->host && !v->shows_cert)
            err_hint(err, ERR_UNSUPPORTED, "it may want a client certificate");
        return ERR_UNSUPPORTED;
    case SSL_R_TLSV1_ALERT_NO_APPLICATION_PROTOCOL:
        return err_set(err, ERR_UNSUPPORTED, "%s does not speak HTTP/2", who);
    case SSL_R_TLSV1_ALERT_PROTOCOL_VERSION:
    case SSL_R_UNSUPPORTED_PROTOCOL:
        return err_set(err, ERR_UNSUPPORTED, "%s and this end have no version of TLS in common",
                       who);
    case SSL_R_WRONG_VERSION_NUMBER:
    case SSL_R_HTTP_REQUEST:
    case SSL_R_PACKET_LENGTH_TOO_LONG:
        return err_set(err, ERR_UNSUPPORTED, "%s does not speak TLS", who);
    case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE:
        return err_set(err, ERR_UNAUTHENTICATED, "%s showed no certificate", who);
    case SSL_R_UNEXPECTED_EOF_WHILE_READING:
        return err_set(err, ERR_UNAVAILABLE, "%s closed the connection", who);
    default:
        return err_set(err, ERR_UNAVAILABLE, "TLS with %s failed: %s", who,
                       ERR_reason_error_string(ERR_PACK(ERR_LIB_SSL, 0, reason)));
    }
}

enum err_code tls_fault_tell(const struct tls_fault_view *v, struct err *err)
{
    unsigned long e = ERR_get_error();
    long verdict = SSL_get_verify_result(v->ssl);

    ERR_clear_error();
    if (ERR_GET_REASON(e) == SSL_R_CERTIFICATE_VERIFY_FAILED && v->host && v->refused)
        return untrusted(v, verdict, err);
    if (ERR_GET_REASON(e) == SSL_R_CERTIFICATE_VERIFY_FAILED)
        return err_set(err, ERR_UNAUTHENTICATED, "%s's certificate is not accepted: %s",
                       v->host ? v->host : "the client", X509_verify_cert_error_string(verdict));
    if (ERR_GET_LIB(e) == ERR_LIB_SSL)
        return alerted(v, ERR_GET_REASON(e), err);
    return err_set(err, ERR_UNAVAILABLE, "TLS with %s failed: %s", v->host ? v->host : "the client",
                   e ? ERR_reason_error_string(e) : "the connection was closed");
}

enum err_code tls_fault_file(const char *what, const char *path, struct err *err)
{
    unsigned long e = ERR_peek_last_error();
    const char *why = e ? ERR_reason_error_string(e) : NULL;

    ERR_clear_error();
    return err_set(err, ERR_INVALID, "the %s '%.300s' is not accepted: %s", what, path,
                   why ? why : "no PEM file");
}
