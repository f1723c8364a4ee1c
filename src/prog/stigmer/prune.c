#include "prog/stigmer/prune.h"

#include <errno.h>
#include <inttypes.h>
#include <sys/mman.h>

#include "base/own.h"
#include "base/str.h"
#include "prog/stigmer/spawn.h"

/* What was agreed on goes in a file in memory: it may be longer than a command line. */
static enum err_code write_agreed(const json_t *agreed, int *ret_fd, struct err *err)
{
    int fd = memfd_create("stigmer-prune", 0); /* the server program inherits it */

    if (fd < 0 || json_dumpfd(agreed, fd, JSON_COMPACT) < 0) {
        int why = errno;

        own_fd(&fd);
        return err_sys(err, why, "write down what shall go");
    }
    *ret_fd = fd;
    return ERR_OK;
}

enum err_code prune_ask(const struct cli *cli, int64_t before_ms, const json_t *agreed,
                        json_t **ret, struct err *err)
{
    char before[24], number[16];
    const char *const args[] = {"--prune", before, number, NULL};
    OWN_BUF struct buf text = {0};
    OWN_FD int fd = -1;
    enum err_code code = agreed ? write_agreed(agreed, &fd, err) : ERR_OK;

    (void)str_format(before, sizeof before, "%" PRId64, before_ms);
    (void)str_format(number, sizeof number, "%d", fd);
    if (!code)
        code = spawn_output(cli, args, "looking at what is there", &text, err);
    if (code)
        return code;
    *ret = json_loadb(buf_text(&text), text.len, 0, NULL);
    if (!json_is_object(*ret)) {
        json_decref(*ret);
        return err_set(err, ERR_INTERNAL, "stigmer-server gave no answer");
    }
    return ERR_OK;
}
