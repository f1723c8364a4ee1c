#include "core/egress.h"

#include <netinet/in.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/str.h"

/* ---- hosts --------------------------------------------------------------------------------- */

/* One pattern, len bytes: host, *.domain or [address], and perhaps :port. Who owns a domain says
 * what the names below it mean, so those are not named by the person who wrote the pattern. */
static enum egress_verdict judge_by(const char *pattern, size_t len, const char *host,
                                    size_t host_len, unsigned port)
{
    const char *colon = memrchr(pattern, ':', len), *end = pattern + len;
    size_t name;

    if (len && *pattern == '[') {
        const char *bracket = memchr(pattern, ']', len);

        if (!bracket)
            return EGRESS_REFUSED;
        colon = bracket + 1 < end && bracket[1] == ':' ? bracket + 1 : NULL;
        pattern++;
        name = (size_t)(bracket - pattern);
    } else {
        name = (size_t)((colon ? colon : end) - pattern);
    }
    if (colon && strtoul(colon + 1, NULL, 10) != port)
        return EGRESS_REFUSED;
    if (name > 2 && pattern[0] == '*' && pattern[1] == '.')
        return host_len > name - 1 &&
                       strncasecmp(host + host_len - (name - 1), pattern + 1, name - 1) == 0
                   ? EGRESS_IF_PUBLIC
                   : EGRESS_REFUSED;
    return name == host_len && strncasecmp(pattern, host, name) == 0 ? EGRESS_ALLOWED
                                                                     : EGRESS_REFUSED;
}

enum egress_verdict egress_judge(const char *policy, const char *host, unsigned port)
{
    enum egress_verdict verdict = EGRESS_REFUSED;
    size_t host_len = strlen(host);

    if (host_len && host[host_len - 1] == '.') /* the root's dot says nothing */
        host_len--;
    if (!host_len || host_len > EGRESS_HOST_MAX || !port || port > 65535 || str_eq(policy, "deny"))
        return EGRESS_REFUSED;
    if (str_eq(policy, "public") || str_eq(policy, "allow"))
        return EGRESS_IF_PUBLIC;
    for (const char *p = policy; *p && verdict != EGRESS_ALLOWED;) {
        size_t len = strcspn(p, ", ");
        enum egress_verdict by = len ? judge_by(p, len, host, host_len, port) : EGRESS_REFUSED;

        if (by != EGRESS_REFUSED)
            verdict = by;
        p += len;
        p += strspn(p, ", ");
    }
    return verdict;
}

/* ---- addresses ----------------------------------------------------------------------------- */

/* The registries of special addresses: IANA iana-ipv4-special-registry (RFC 6890 and later). */
static const struct {
    uint32_t net;
    unsigned bits;
    const char *what;
} v4[] = {
    {0x00000000, 8, "an address of this network"},
    {0x0a000000, 8, "a private address"},
    {0x64400000, 10, "a carrier's shared address"},
    {0x7f000000, 8, "a loopback address"},
    {0xa83f8110, 32, "a cloud's metadata address"}, /* 168.63.129.16, Azure's documentation */
    {0xa9fe0000, 16, "a link-local or metadata address"},
    {0xac100000, 12, "a private address"},
    {0xc0000000, 24, "a protocol's address"},
    {0xc0000200, 24, "an address for documentation"},
    {0xc0586300, 24, "a relay's anycast address"},
    {0xc0a80000, 16, "a private address"},
    {0xc6120000, 15, "an address for benchmarks"},
    {0xc6336400, 24, "an address for documentation"},
    {0xcb007100, 24, "an address for documentation"},
    {0xe0000000, 4, "a multicast address"},
    {0xf0000000, 4, "a reserved or broadcast address"},
};

static bool is_public_v4(uint32_t address, const char **ret_why)
{
    for (size_t i = 0; i < sizeof v4 / sizeof v4[0]; i++)
        if ((address ^ v4[i].net) >> (32 - v4[i].bits) == 0) {
            *ret_why = v4[i].what;
            return false;
        }
    return true;
}

static uint32_t v4_at(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static bool begins(const uint8_t *address, const uint8_t *net, unsigned bits)
{
    unsigned bytes = bits / 8, rest = bits % 8;

    return memcmp(address, net, bytes) == 0 &&
           (!rest || (address[bytes] ^ net[bytes]) >> (8 - rest) == 0);
}

/* Where an IPv4 address hides in an IPv6 one (RFC 4291, 3056, 6052, 4380). */
static bool holds_v4(const uint8_t *a, uint32_t *ret)
{
    static const uint8_t zero[12] = {0}, mapped[12] = {[10] = 0xff, [11] = 0xff},
                         nat64[12] = {0x00, 0x64, 0xff, 0x9b};

    if (memcmp(a, mapped, 12) == 0 || memcmp(a, nat64, 12) == 0 ||
        (memcmp(a, zero, 12) == 0 && v4_at(a + 12) > 1)) /* :: and ::1 are no IPv4 */
        *ret = v4_at(a + 12);
    else if (a[0] == 0x20 && a[1] == 0x02)
        *ret = v4_at(a + 2);
    else if (a[0] == 0x20 && a[1] == 0x01 && a[2] == 0 && a[3] == 0)
        *ret = ~v4_at(a + 12);
    else
        return false;
    return true;
}

static bool is_public_v6(const uint8_t *a, const char **ret_why)
{
    static const struct {
        uint8_t net[16];
        unsigned bits;
        const char *what;
    } v6[] = {
        {{0xfe, 0x80}, 10, "a link-local address"},
        {{0xfe, 0xc0}, 10, "a site-local address"},
        {{0xfc}, 7, "a private address"}, /* the cloud's metadata at fd00:ec2::254 too */
        {{0xff}, 8, "a multicast address"},
        {{0x01, 0x00}, 64, "a discard address"},
        {{0x20, 0x01, 0x0d, 0xb8}, 32, "an address for documentation"},
        {{0x3f, 0xff}, 20, "an address for documentation"},
        {{0x20, 0x01}, 23, "a protocol's address"},
        {{0x00, 0x64, 0xff, 0x9b, 0x00, 0x01}, 48, "a translator's private address"},
    };
    static const uint8_t global[1] = {0x20};
    uint32_t inner;

    if (holds_v4(a, &inner))
        return is_public_v4(inner, ret_why);
    for (size_t i = 0; i < sizeof v6 / sizeof v6[0]; i++)
        if (begins(a, v6[i].net, v6[i].bits)) {
            *ret_why = v6[i].what;
            return false;
        }
    *ret_why = a[15] == 1 && !a[0] ? "a loopback address" : "no global address";
    return begins(a, global, 3); /* 2000::/3 is all that is given out (RFC 4291) */
}

bool egress_is_public(const struct sockaddr *address, const char **ret_why)
{
    *ret_why = "no Internet address";
    if (address->sa_family == AF_INET)
        return is_public_v4(
            ntohl(((const struct sockaddr_in *)(const void *)address)->sin_addr.s_addr), ret_why);
    if (address->sa_family == AF_INET6)
        return is_public_v6(((const struct sockaddr_in6 *)(const void *)address)->sin6_addr.s6_addr,
                            ret_why);
    return false;
}
