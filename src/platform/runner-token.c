#include "platform/runner-token.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/random.h>

#include "base/mem.h"
#include "base/str.h"
#include "platform/vault.h"

#define NAME "runner.token"
#define BYTES 32

enum err_code runner_token_get(const char *home, char **ret, struct err *err)
{
    return vault_get(home, NAME, ret, err);
}

enum err_code runner_token_make(const char *home, bool rotate, char **ret, struct err *err)
{
    char text[2 * BYTES + 1];
    uint8_t dice[BYTES];
    enum err_code code = rotate ? ERR_NOT_FOUND : vault_get(home, NAME, ret, err);

    if (code != ERR_NOT_FOUND)
        return code;
    if (getrandom(dice, sizeof dice, 0) != (ssize_t)sizeof dice)
        return err_sys(err, errno, "make a runner token");
    str_hex(dice, sizeof dice, text);
    code = vault_put(home, NAME, text, err);
    if (!code)
        *ret = mem_str(text);
    explicit_bzero(text, sizeof text);
    explicit_bzero(dice, sizeof dice);
    return code;
}
