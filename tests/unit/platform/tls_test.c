/* Two ends of TLS in one process, no socket: what each shows, accepts and says. The certificates
 * are made by the openssl command. */
#include "platform/tls.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/str.h"

#define HINT "name its authority"

static char dir[64];
static char paths[16][96];

/* A path in the test's folder; good for a few calls. */
static const char *in(const char *name)
{
    static int at;
    char *p = paths[at++ % 16];

    (void)str_format(p, sizeof paths[0], "%s/%s", dir, name);
    return p;
}

static const char script[] =
    "set -e; cd \"$0\"\n"
    "ca() { openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30"
    " -keyout $1.key -out $1.pem -subj \"/CN=$1\" 2>/dev/null; }\n"
    "leaf() { # NAME CA SAN EXTRA…\n"
    "  n=$1 a=$2 s=$3; shift 3\n"
    "  openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout $n.key -out $n.csr"
    " -subj \"/CN=$n\" 2>/dev/null\n"
    "  echo \"subjectAltName=$s\" > $n.ext\n"
    "  openssl x509 -req -in $n.csr -CA $a.pem -CAkey $a.key -CAcreateserial -extfile $n.ext"
    " -out $n.pem \"$@\" 2>/dev/null; chmod 600 $n.key; }\n"
    "ca ca; ca other\n"
    "leaf server ca DNS:good.example,IP:127.0.0.1,IP:::1 -days 30\n"
    "leaf soon ca DNS:good.example -days 3\n"
    "leaf old ca DNS:good.example -days -1\n"
    "leaf client ca DNS:client -days 30\n"
    "leaf stranger other DNS:client -days 30\n"
    "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -keyout self.key"
    " -out self.pem -subj /CN=self -addext subjectAltName=DNS:good.example 2>/dev/null\n"
    "chmod 600 self.key; cp server.key open.key; chmod 644 open.key\n"
    "openssl ec -aes128 -passout pass:secret -in server.key -out locked.key 2>/dev/null\n";

static int make_certificates(void **state)
{
    pid_t pid;
    int status;

    (void)state;
    (void)str_format(dir, sizeof dir, "/tmp/tls-test-XXXXXX");
    if (!mkdtemp(dir))
        return -1;
    pid = fork();
    if (pid == 0) {
        execl("/bin/sh", "sh", "-c", script, dir, (char *)NULL);
        _exit(127);
    }
    return pid > 0 && waitpid(pid, &status, 0) == pid && status == 0 ? 0 : -1;
}

static int remove_certificates(void **state)
{
    pid_t pid = fork();

    (void)state;
    if (pid == 0) {
        execlp("rm", "rm", "-r", dir, (char *)NULL);
        _exit(127);
    }
    return waitpid(pid, NULL, 0) == pid ? 0 : -1;
}

struct pair {
    struct tls_context *server_context, *client_context;
    struct tls *server, *client;
    struct err server_err, client_err; /* the first failure of each */
    char heard[256];                   /* by the client */
};

static struct tls_context *server_context(const char *name, const char *client_ca)
{
    char cert[32], key[32];
    struct tls_context *c = NULL;
    struct err err;

    (void)str_format(cert, sizeof cert, "%s.pem", name);
    (void)str_format(key, sizeof key, "%s.key", name);
    if (tls_context_server(&(struct tls_server_options){.cert_file = in(cert),
                                                        .key_file = in(key),
                                                        .client_ca_file = client_ca},
                           &c, &err))
        fail_msg("%s", err.msg);
    return c;
}

/* show: the client's certificate, or NULL. */
static struct tls_context *client_context(const char *ca, const char *show)
{
    char cert[32] = "", key[32] = "";
    struct tls_context *c = NULL;
    struct err err;

    if (show) {
        (void)str_format(cert, sizeof cert, "%s.pem", show);
        (void)str_format(key, sizeof key, "%s.key", show);
    }
    if (tls_context_client(&(struct tls_client_options){.ca_file = in(ca),
                                                        .ca_hint = HINT,
                                                        .cert_file = show ? in(cert) : NULL,
                                                        .key_file = show ? in(key) : NULL},
                           &c, &err))
        fail_msg("%s", err.msg);
    return c;
}

/* One end's output into the other; false when there is none. Fed in pieces of `piece` bytes. */
static bool carry(struct tls *from, struct tls *to, size_t piece, struct err *err)
{
    struct buf b = {0};
    bool any;

    tls_take(from, &b);
    any = b.len != 0;
    for (size_t at = 0; at < b.len && !err->code; at += piece)
        (void)!tls_feed(to, b.data + at, b.len - at < piece ? b.len - at : piece, err);
    buf_done(&b);
    return any;
}

static void talk(struct pair *p, const char *host, size_t piece)
{
    static const char words[] = "hello";
    bool said = false, more = true;
    size_t n = 0, at = 0;
    char c;

    p->server = tls_new_server(p->server_context);
    p->client = tls_new_client(p->client_context, host);
    while (more) {
        more = carry(p->client, p->server, piece, &p->server_err);
        more |= carry(p->server, p->client, piece, &p->client_err);
        if (!said && tls_is_ready(p->server)) {
            assert_int_equal(tls_write(p->server, words, sizeof words, NULL), ERR_OK);
            said = more = true;
        }
        while (!p->client_err.code && tls_is_ready(p->client) &&
               !tls_read(p->client, &c, 1, &n, &p->client_err) && n)
            p->heard[at++] = c;
    }
}

static void done(struct pair *p)
{
    tls_free(p->server);
    tls_free(p->client);
    tls_context_free(p->server_context);
    tls_context_free(p->client_context);
}

static void the_right_certificate_is_accepted_by_each_name(void **state)
{
    static const char *const hosts[] = {"good.example", "127.0.0.1", "::1"};
    static const size_t pieces[] = {1, 7, 65536};

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        struct pair p = {.server_context = server_context("server", NULL),
                         .client_context = client_context("ca.pem", NULL)};

        talk(&p, hosts[i], pieces[i]);
        if (p.client_err.code)
            fail_msg("%s: %s", hosts[i], p.client_err.msg);
        assert_string_equal(p.heard, "hello");
        tls_end(p.server);
        (void)carry(p.server, p.client, 65536, &p.client_err);
        size_t n;
        char c;
        assert_int_equal(tls_read(p.client, &c, 1, &n, NULL), ERR_OK);
        assert_true(n == 0 && tls_is_ended(p.client));
        done(&p);
    }
}

static void a_wrong_certificate_is_refused_in_words(void **state)
{
    static const struct {
        const char *cert, *ca, *host, *words, *hint;
    } rows[] = {
        {"server", "ca.pem", "bad.example",
         "the certificate that bad.example shows is for good.example, 127.0.0.1, ::1",
         "a name of its certificate"},
        {"server", "ca.pem", "127.0.0.2", "127.0.0.2 shows is for good.example", "name"},
        {"server", "other.pem", "good.example", "from an authority that is not trusted", HINT},
        {"self", "ca.pem", "good.example", "self-signed", HINT},
        {"old", "ca.pem", "good.example", "has expired (20", "renew"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct pair p = {.server_context = server_context(rows[i].cert, NULL),
                         .client_context = client_context(rows[i].ca, NULL)};

        talk(&p, rows[i].host, 65536);
        assert_int_equal(p.client_err.code, ERR_UNAUTHENTICATED);
        if (!strstr(p.client_err.msg, rows[i].words) || !strstr(p.client_err.hint, rows[i].hint))
            fail_msg("%zu: %s / %s", i, p.client_err.msg, p.client_err.hint);
        assert_string_equal(p.heard, "");
        assert_int_equal(p.server_err.code, ERR_UNAUTHENTICATED); /* by the alert */
        done(&p);
    }
}

static void a_client_certificate_is_wanted_shown_and_judged(void **state)
{
    static const struct {
        const char *show;
        enum err_code code;
        const char *words;
    } rows[] = {
        {"client", ERR_OK, ""},
        {NULL, ERR_UNAUTHENTICATED, "good.example wants a client certificate"},
        {"stranger", ERR_UNAUTHENTICATED,
         "refused our certificate: it does not know its authority"},
        {"old", ERR_UNAUTHENTICATED, "refused our certificate: it has expired"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct pair p = {.server_context = server_context("server", in("ca.pem")),
                         .client_context = client_context("ca.pem", rows[i].show)};

        talk(&p, "good.example", 65536);
        assert_int_equal(p.client_err.code, rows[i].code);
        if (rows[i].code && !strstr(p.client_err.msg, rows[i].words))
            fail_msg("%s", p.client_err.msg);
        assert_string_equal(p.heard, rows[i].code ? "" : "hello");
        done(&p);
    }
}

static char *content(const char *name)
{
    FILE *f = fopen(in(name), "re");
    char *text = mem_new(16384);

    assert_non_null(f);
    assert_true(fread(text, 1, 16383, f) > 0);
    (void)fclose(f);
    return text;
}

static void texts_serve_in_place_of_files(void **state)
{
    char *ca = content("ca.pem"), *cert = content("client.pem"), *key = content("client.key");
    const struct tls_client_options good = {
        .ca_pem = ca, .cert_pem = cert, .key_pem = key, .cert_file = "CERT", .key_file = "KEY"};
    struct tls_client_options bad = good;
    struct pair p = {.server_context = server_context("server", in("ca.pem"))};
    struct tls_context *none;
    struct err err;

    (void)state;
    assert_int_equal(tls_context_client(&good, &p.client_context, &err), ERR_OK);
    talk(&p, "good.example", 65536);
    if (p.client_err.code)
        fail_msg("%s", p.client_err.msg);
    assert_string_equal(p.heard, "hello");
    done(&p);
    bad.key_pem = NULL;
    assert_int_equal(tls_context_client(&bad, &none, &err), ERR_INVALID);
    assert_non_null(strstr(err.msg, "the key is missing"));
    bad.key_pem = cert;
    assert_int_equal(tls_context_client(&bad, &none, &err), ERR_INVALID);
    assert_non_null(strstr(err.msg, "'KEY'"));
    bad = (struct tls_client_options){.ca_pem = key, .ca_file = "CA"};
    assert_int_equal(tls_context_client(&bad, &none, &err), ERR_INVALID);
    assert_non_null(strstr(err.msg, "'CA'"));
    free(ca);
    free(cert);
    free(key);
}

static void files_are_refused_with_what_mends_them(void **state)
{
    static const struct {
        const char *cert, *key;
        enum err_code code;
        const char *words, *hint;
    } rows[] = {
        {"server.pem", "open.key", ERR_DENIED, "others may use the TLS key", "chmod 600 '"},
        {"server.pem", "none.key", ERR_NOT_FOUND, "none.key", ""},
        {"none.pem", "server.key", ERR_NOT_FOUND, "none.pem", ""},
        {"server.pem", "client.key", ERR_INVALID, "is not accepted", ""},
        {"server.key", "server.key", ERR_INVALID, "the TLS certificate", ""},
        {"server.pem", "locked.key", ERR_INVALID, "the TLS key", ""},
    };
    struct tls_context *c = NULL;
    struct err err;

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct tls_server_options o = {.cert_file = in(rows[i].cert), .key_file = in(rows[i].key)};

        assert_int_equal(tls_context_server(&o, &c, &err), rows[i].code);
        if (!strstr(err.msg, rows[i].words) || !strstr(err.hint, rows[i].hint))
            fail_msg("%zu: %s / %s", i, err.msg, err.hint);
    }
    assert_int_equal(
        tls_context_client(&(struct tls_client_options){.cert_file = in("client.pem")}, &c, &err),
        ERR_INVALID);
    assert_null(c);
}

static void a_certificate_out_of_its_time_is_told(void **state)
{
    static const struct {
        const char *cert;
        int64_t days;
        const char *words;
    } rows[] = {{"server", 0, NULL},
                {"soon", 0, "expires in "},
                {"old", 0, "has expired"},
                {"server", 31, "has expired"},
                {"server", -2, "is not valid yet"}};
    char words[160];

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct tls_context *c = server_context(rows[i].cert, NULL);
        bool stale =
            tls_context_is_stale(c, time(NULL) + rows[i].days * 86400, words, sizeof words);

        if (stale != (rows[i].words != NULL) || (stale && !strstr(words, rows[i].words)))
            fail_msg("%zu: %s", i, stale ? words : "nothing");
        tls_context_free(c);
    }
}

static void what_is_no_tls_is_named(void **state)
{
    static const char http[] = "HTTP/1.1 400 Bad Request\r\n\r\n";
    static const uint8_t h2[] = {0, 0, 0, 4, 0, 0, 0, 0, 0};
    struct tls_context *c = client_context("ca.pem", NULL), *s = server_context("server", NULL);
    struct err err = {0};

    (void)state;
    for (int i = 0; i < 3; i++) {
        struct tls *t = i < 2 ? tls_new_client(c, "good.example") : tls_new_server(s);
        const void *bytes = i == 0   ? (const void *)http
                            : i == 1 ? (const void *)h2
                                     : "GET / HTTP/1.0\r\n";

        assert_int_equal(tls_feed(t, bytes,
                                  i == 0   ? sizeof http
                                  : i == 1 ? sizeof h2
                                           : 16,
                                  &err),
                         ERR_UNSUPPORTED);
        assert_non_null(strstr(err.msg, "does not speak TLS"));
        assert_int_equal(tls_feed(t, "x", 1, &err), ERR_UNAVAILABLE); /* failed is failed */
        tls_free(t);
    }
    assert_true(tls_is_hello("\x16\x03\x01", 3));
    assert_false(tls_is_hello("PRI", 3));
    assert_false(tls_is_hello("", 0));
    tls_context_free(c);
    tls_context_free(s);
}

/* A session that is cut off, and one that is spoiled, at any byte: an end, never a crash. */
static void spoiled_bytes_end_a_session(void **state)
{
    (void)state;
    for (size_t at = 0; at < 600; at += 13) {
        struct pair p = {.server_context = server_context("server", NULL),
                         .client_context = client_context("ca.pem", NULL)};
        struct buf b = {0};

        p.server = tls_new_server(p.server_context);
        p.client = tls_new_client(p.client_context, "good.example");
        (void)carry(p.client, p.server, 65536, &p.server_err);
        tls_take(p.server, &b);
        if (at < b.len)
            b.data[at] ^= 0x40;
        (void)!tls_feed(p.client, b.data, b.len, &p.client_err);
        assert_true(at >= b.len || p.client_err.code || !tls_is_ready(p.client));
        buf_done(&b);
        done(&p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_right_certificate_is_accepted_by_each_name),
        cmocka_unit_test(a_wrong_certificate_is_refused_in_words),
        cmocka_unit_test(a_client_certificate_is_wanted_shown_and_judged),
        cmocka_unit_test(texts_serve_in_place_of_files),
        cmocka_unit_test(files_are_refused_with_what_mends_them),
        cmocka_unit_test(a_certificate_out_of_its_time_is_told),
        cmocka_unit_test(what_is_no_tls_is_named),
        cmocka_unit_test(spoiled_bytes_end_a_session),
    };

    return cmocka_run_group_tests(tests, make_certificates, remove_certificates);
}
