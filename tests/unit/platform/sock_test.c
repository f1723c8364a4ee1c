/* Addresses of this machine and of others. */
#include "platform/sock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <netinet/in.h>

static void an_address_is_own_or_not(void **state)
{
    static const struct {
        const char *text;
        bool own;
    } rows[] = {
        {"127.0.0.1", true}, {"127.9.9.9", true}, {"8.8.8.8", false}, {"198.51.100.7", false}};

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct sock_addr a = {.len = sizeof(struct sockaddr_in)};
        struct sockaddr_in *in = (struct sockaddr_in *)&a.ss;

        in->sin_family = AF_INET;
        in->sin_port = htons(443);
        assert_int_equal(inet_pton(AF_INET, rows[i].text, &in->sin_addr), 1);
        if (sock_is_own(&a) != rows[i].own)
            fail_msg("%s", rows[i].text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(an_address_is_own_or_not)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
