/* Where tools may connect to: hosts by pattern, addresses by kind. */
#include "core/egress.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <string.h>

static bool is_public(const char *text)
{
    struct sockaddr_in v4 = {.sin_family = AF_INET};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
    const char *why = NULL;
    bool yes;

    if (inet_pton(AF_INET, text, &v4.sin_addr) == 1) {
        yes = egress_is_public((const struct sockaddr *)&v4, &why);
    } else {
        assert_int_equal(inet_pton(AF_INET6, text, &v6.sin6_addr), 1);
        yes = egress_is_public((const struct sockaddr *)&v6, &why);
    }
    assert_non_null(why);
    return yes;
}

static void only_addresses_of_the_internet_are_public(void **state)
{
    static const char *const yes[] = {
        "1.1.1.1",          "8.8.8.8",         "9.255.255.255", "11.0.0.0",       "100.63.255.255",
        "100.128.0.0",      "126.255.255.255", "168.63.129.17", "128.0.0.0",      "172.15.255.255",
        "172.32.0.0",       "192.167.255.255", "192.169.0.0",   "198.17.255.255", "198.20.0.0",
        "223.255.255.255",  "2606:4700::1111", "2a00::1",       "2620:fe::fe",    "::ffff:8.8.8.8",
        "64:ff9b::8.8.8.8", "2002:808:808::1"};
    static const char *const no[] = {"0.0.0.0",
                                     "0.255.255.255",
                                     "10.0.0.1",
                                     "10.255.255.255",
                                     "100.64.0.1",
                                     "100.127.255.255",
                                     "127.0.0.1",
                                     "127.255.255.255",
                                     "168.63.129.16",
                                     "169.254.169.254",
                                     "172.16.0.1",
                                     "172.31.255.255",
                                     "192.0.0.1",
                                     "192.0.2.1",
                                     "192.88.99.1",
                                     "192.168.0.1",
                                     "198.18.0.1",
                                     "198.19.255.255",
                                     "198.51.100.1",
                                     "203.0.113.1",
                                     "224.0.0.1",
                                     "239.255.255.255",
                                     "240.0.0.1",
                                     "255.255.255.255",
                                     "::",
                                     "::1",
                                     "::2",
                                     "fe80::1",
                                     "febf::1",
                                     "fec0::1",
                                     "fc00::1",
                                     "fd00:ec2::254",
                                     "ff02::1",
                                     "100::1",
                                     "2001:db8::1",
                                     "3fff::1",
                                     "2001::1",
                                     "2001:10::1",
                                     "::ffff:127.0.0.1",
                                     "::ffff:10.0.0.1",
                                     "::ffff:169.254.169.254",
                                     "::127.0.0.1",
                                     "64:ff9b::127.0.0.1",
                                     "64:ff9b:1::1",
                                     "2002:7f00:1::1",
                                     "2002:a00:1::1",
                                     "2001:0:1:2:3:4:80ff:fffe" /* Teredo of 127.0.0.1 */,
                                     "4000::1",
                                     "5f00::1"};

    (void)state;
    for (size_t i = 0; i < sizeof yes / sizeof *yes; i++)
        if (!is_public(yes[i]))
            fail_msg("%s is public", yes[i]);
    for (size_t i = 0; i < sizeof no / sizeof *no; i++)
        if (is_public(no[i]))
            fail_msg("%s is not public", no[i]);
}

static void a_list_allows_what_it_names_and_nothing_else(void **state)
{
    static const char policy[] =
        "api.github.com,*.debian.org:443,own.debian.org, 10.0.0.5:8080,[::1]:9,[fd00::1]";
    static const struct {
        const char *host;
        unsigned port;
        enum egress_verdict verdict;
    } rows[] = {{"api.github.com", 443, EGRESS_ALLOWED},
                {"API.GitHub.com.", 80, EGRESS_ALLOWED},
                {"github.com", 443, EGRESS_REFUSED},
                {"xapi.github.com", 443, EGRESS_REFUSED},
                {"api.github.com.evil.org", 443, EGRESS_REFUSED},
                {"deb.debian.org", 443, EGRESS_IF_PUBLIC},
                {"a.b.debian.org", 443, EGRESS_IF_PUBLIC},
                {"own.debian.org", 443, EGRESS_ALLOWED},
                {"deb.debian.org", 80, EGRESS_REFUSED},
                {"debian.org", 443, EGRESS_REFUSED},
                {"evildebian.org", 443, EGRESS_REFUSED},
                {"10.0.0.5", 8080, EGRESS_ALLOWED},
                {"10.0.0.5", 8081, EGRESS_REFUSED},
                {"::1", 9, EGRESS_ALLOWED},
                {"::1", 10, EGRESS_REFUSED},
                {"fd00::1", 1, EGRESS_ALLOWED},
                {"", 443, EGRESS_REFUSED},
                {".", 443, EGRESS_REFUSED},
                {"api.github.com", 0, EGRESS_REFUSED},
                {"api.github.com", 65536, EGRESS_REFUSED}};

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (egress_judge(policy, rows[i].host, rows[i].port) != rows[i].verdict)
            fail_msg("%s:%u", rows[i].host, rows[i].port);
}

static void public_asks_for_the_address_and_deny_for_nothing(void **state)
{
    char long_name[300];

    (void)state;
    assert_int_equal(egress_judge("public", "example.org", 443), EGRESS_IF_PUBLIC);
    assert_int_equal(egress_judge("public", "127.0.0.1", 443), EGRESS_IF_PUBLIC);
    assert_int_equal(egress_judge("deny", "example.org", 443), EGRESS_REFUSED);
    memset(long_name, 'a', sizeof long_name - 1);
    long_name[sizeof long_name - 1] = '\0';
    assert_int_equal(egress_judge("public", long_name, 443), EGRESS_REFUSED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_addresses_of_the_internet_are_public),
        cmocka_unit_test(a_list_allows_what_it_names_and_nothing_else),
        cmocka_unit_test(public_asks_for_the_address_and_deny_for_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
