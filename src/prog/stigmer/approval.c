#include "prog/stigmer/approval.h"

#include <inttypes.h>
#include <string.h>

#include "base/own.h"
#include "base/str.h"
#include "prog/stigmer/out.h"

#define SPACES_MAX 8 /* in a row: more would push out of sight what stands before them */

enum err_code approval_parse(const char *word, char ret_run[APPROVAL_NAME], uint64_t *ret_seq,
                             struct err *err)
{
    const char *dot = strrchr(word, '.');
    int len = dot ? (int)(dot - word) : (int)strlen(word);
    int64_t seq = 0;

    if (!len || len >= APPROVAL_NAME || (dot && str_to_int(dot + 1, 1, INT64_MAX, &seq, NULL)))
        return err_hint(err,
                        err_set(err, ERR_INVALID,
                                "'%.120s' names no approval: it is a run's id, a dot and a number, "
                                "as in aex-01h....12, or a run's id alone",
                                word),
                        "stigmer approvals ls");
    (void)str_format(ret_run, APPROVAL_NAME, "%.*s", len, word);
    *ret_seq = (uint64_t)seq;
    return ERR_OK;
}

void approval_name(const char *execution_id, uint64_t seq, char ret[APPROVAL_NAME])
{
    (void)str_format(ret, APPROVAL_NAME, "%.80s.%" PRIu64, execution_id, seq);
}

/* Of the characters that are not seen: those that mark directions, join, or take no room. */
static bool is_unseen(uint32_t c)
{
    return c == 0xad || c == 0x61c || c == 0x180e || (c >= 0x200b && c <= 0x200f) ||
           (c >= 0x2028 && c <= 0x202e) || (c >= 0x2060 && c <= 0x206f) || c == 0xfeff ||
           (c >= 0xfff9 && c <= 0xfffb) || (c >= 0xe0000 && c <= 0xe0fff);
}

/* Bytes of the character at s, and what it is; 0: not UTF-8. */
static size_t decode(const char *s, size_t len, uint32_t *ret)
{
    const unsigned char *p = (const unsigned char *)s;
    size_t n = *p < 0x80 ? 1 : *p >> 5 == 6 ? 2 : *p >> 4 == 14 ? 3 : *p >> 3 == 30 ? 4 : 0;

    if (!n || n > len || str_utf8_check(s, n) != n)
        return 0;
    *ret = n == 1 ? *p : *p & (0xffu >> (n + 1));
    for (size_t i = 1; i < n; i++)
        *ret = *ret << 6 | (p[i] & 0x3fu);
    return n;
}

void approval_show_args(struct buf *b, const char *args_json, size_t max)
{
    size_t len = strlen(args_json), at = 0, spaces = 0;

    while (at < len && at < max) {
        uint32_t c = 0;
        size_t n = decode(args_json + at, len - at, &c);

        spaces = n == 1 && strchr(" \t\r\n", (int)c) ? spaces + 1 : 0;
        if (spaces) {
            if (spaces <= SPACES_MAX)
                buf_puts(b, spaces < SPACES_MAX ? " " : " …");
        } else if (n && is_unseen(c)) {
            buf_printf(b, "\\u%04x", (unsigned)c);
        } else {
            out_text(b, args_json + at, n ? n : 1, true);
        }
        at += n ? n : 1;
    }
    if (at < len)
        buf_printf(b, " … (%zu bytes more)", len - at);
}
