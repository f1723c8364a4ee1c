#include "prog/stigmer/approval.h"

#include <inttypes.h>
#include <string.h>

#include "base/own.h"
#include "base/str.h"
#include "prog/stigmer/out.h"

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

void approval_show_args(struct buf *b, const char *args_json, size_t max)
{
    size_t len = strlen(args_json), shown = len < max ? len : max;

    while (shown < len && shown && ((unsigned char)args_json[shown] & 0xc0) == 0x80)
        shown--;
    out_text(b, args_json, shown, true);
    if (shown < len)
        buf_printf(b, " … (%zu bytes more)", len - shown);
}
