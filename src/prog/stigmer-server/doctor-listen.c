/* The way in: the token and the certificate of the API. */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/str.h"
#include "platform/secret-file.h"
#include "prog/stigmer-server/doctor-impl.h"
#include "prog/stigmer-server/listeners.h"

void doctor_token(struct doctor *d)
{
    const char *path = config_get_str(&d->config, CONFIG_SERVER_TOKEN_FILE);
    char *token = NULL;
    struct err err;

    if (str_is_empty(path)) {
        doctor_say(d, "token", DOCTOR_OK, "", "not used: only this user's programs can call");
    } else if (secret_file_token(path, &token, &err)) {
        doctor_say(d, "token", DOCTOR_FAIL,
                   *err.hint ? err.hint : "openssl rand -hex 32, into a file of mode 600", "%s",
                   err.msg);
    } else {
        doctor_say(d, "token", DOCTOR_OK, "", "calls over TCP must show what '%s' holds", path);
        explicit_bzero(token, strlen(token));
        free(token);
    }
}

void doctor_tls(struct doctor *d)
{
    static const char hint[] =
        "renew the certificate of server.tls.cert, then: stigmer server restart";
    struct tls_context *tls = NULL;
    char words[200];
    struct err err;

    if (listeners_tls(&d->config, &tls, &err))
        doctor_say(d, "tls", DOCTOR_FAIL,
                   *err.hint ? err.hint
                             : "set server.tls.cert and server.tls.key to PEM files that "
                               "belong together",
                   "%s", err.msg);
    else if (!tls)
        doctor_say(d, "tls", DOCTOR_OK, "", "not used: the API listens on loopback only");
    else if (tls_context_is_stale(tls, clock_wall_ms() / 1000, words, sizeof words))
        doctor_say(d, "tls", DOCTOR_WARN, hint, "%s", words);
    else
        doctor_say(d, "tls", DOCTOR_OK, "", "the certificate is in its time");
    tls_context_free(tls);
}
