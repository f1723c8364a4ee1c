#include "core/egress-request.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/str.h"

/* "host:port", "[v6]:port" or "host"; false: it is none. */
static bool take_authority(struct egress_request *r, const char *text, size_t len,
                           unsigned default_port)
{
    const char *end = text + len, *host = text, *stop, *port = NULL;
    size_t n;
    unsigned long number = default_port;

    if (len && *text == '[') {
        host++;
        stop = memchr(host, ']', (size_t)(end - host));
        if (!stop)
            return false;
        if (stop + 1 < end && stop[1] == ':')
            port = stop + 2;
        else if (stop + 1 != end)
            return false;
    } else {
        stop = memchr(text, ':', len);
        port = stop ? stop + 1 : NULL;
        stop = stop ? stop : end;
    }
    n = (size_t)(stop - host);
    if (!n || n > EGRESS_HOST_MAX ||
        strspn(host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRST"
                     "UVWXYZ0123456789.-_:") < n)
        return false;
    if (port) {
        char digits[8];

        if (port == end || end - port > 5 || strspn(port, "0123456789") < (size_t)(end - port))
            return false;
        (void)str_format(digits, sizeof digits, "%.*s", (int)(end - port), port);
        number = strtoul(digits, NULL, 10);
    }
    memcpy(r->host, host, n);
    r->host[n] = '\0';
    r->port = (unsigned)number;
    return number >= 1 && number <= 65535;
}

/* The value of a header field; NULL: it is not there. */
static const char *field(const char *head, const char *name, size_t *ret_len)
{
    size_t n = strlen(name);

    for (const char *line = strstr(head, "\r\n"); line && line[2] && line[2] != '\r';
         line = strstr(line + 2, "\r\n")) {
        const char *p = line + 2;

        if (strncasecmp(p, name, n) != 0 || p[n] != ':')
            continue;
        p += n + 1;
        p += strspn(p, " \t");
        *ret_len = strcspn(p, "\r");
        return p;
    }
    return NULL;
}

const char *egress_request_credentials(const char *head, size_t *ret_len)
{
    return field(head, "Proxy-Authorization", ret_len);
}

/* Of the connection, not of the message (RFC 9110, section 7.6.1), or said anew. */
static bool is_dropped(const char *line)
{
    return strncasecmp(line, "proxy-", 6) == 0 || strncasecmp(line, "connection:", 11) == 0 ||
           strncasecmp(line, "host:", 5) == 0;
}

/* The request in the form that a server wants. line_end: of the request line. */
static void rewrite(const char *head, const char *authority, const char *path, const char *line_end,
                    struct buf *ret)
{
    buf_put(ret, head, (size_t)(strchr(head, ' ') - head) + 1);
    if (*path != '/')
        buf_putc(ret, '/');
    buf_put(ret, path, (size_t)(line_end - path));
    buf_puts(ret, "\r\nHost: ");
    buf_put(ret, authority, (size_t)(path - authority));
    for (const char *line = line_end; line[2] != '\r';) {
        const char *p = line + 2, *next = strstr(p, "\r\n");

        if (!is_dropped(p)) {
            buf_puts(ret, "\r\n");
            buf_put(ret, p, (size_t)(next - p));
        }
        line = next;
    }
    buf_puts(ret, "\r\nConnection: close\r\n\r\n");
}

static bool read_absolute(const char *head, const char *target, size_t len, const char *line_end,
                          struct egress_request *ret, struct buf *ret_forward)
{
    static const char scheme[] = "http://";
    const size_t skip = sizeof scheme - 1;
    const char *authority = target + skip;
    size_t n;

    if (len <= skip || strncasecmp(target, scheme, skip) != 0)
        return false;
    n = strcspn(authority, "/?# ");
    if (memchr(authority, '@', n) || !take_authority(ret, authority, n, 80))
        return false;
    rewrite(head, authority, authority + n, line_end, ret_forward);
    return true;
}

bool egress_request_read(const char *head, size_t len, struct egress_request *ret,
                         struct buf *ret_forward)
{
    const char *line_end = strstr(head, "\r\n"), *space = strchr(head, ' '), *target, *end;

    *ret = (struct egress_request){0};
    if (memchr(head, '\0', len) || !line_end || !space || space > line_end)
        return false;
    target = space + 1;
    end = memchr(target, ' ', (size_t)(line_end - target));
    if (!end || strncmp(end + 1, "HTTP/1.", 7) != 0)
        return false;
    ret->is_connect = strncmp(head, "CONNECT ", 8) == 0;
    if (ret->is_connect)
        return take_authority(ret, target, (size_t)(end - target), 0);
    return read_absolute(head, target, (size_t)(end - target), line_end, ret, ret_forward);
}
