#include "core/policy.h"

#include <string.h>

#include "base/str.h"
#include "core/tooldef.h"

#define NAME_BYTES "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-*"

/* One star at a time: the last one seen takes a byte more whenever what follows does not fit. */
bool policy_fits(const char *pattern, const char *tool)
{
    const char *star = NULL, *taken = NULL;

    while (*tool) {
        if (*pattern == '*') {
            star = pattern++;
            taken = tool;
        } else if (*pattern == *tool) {
            pattern++;
            tool++;
        } else if (star) {
            pattern = star + 1;
            tool = ++taken;
        } else {
            return false;
        }
    }
    return pattern[strspn(pattern, "*")] == '\0';
}

bool policy_asks(const char *const *patterns, size_t count, const char *tool)
{
    for (size_t i = 0; i < count; i++)
        if (policy_fits(patterns[i], tool))
            return true;
    return false;
}

enum err_code policy_check(const char *pattern, struct err *err)
{
    size_t count, len = strlen(pattern), at = 0;
    const struct tooldef *all = tooldef_all(&count);
    char names[300] = "";

    if (!len || len > POLICY_PATTERN_MAX || strspn(pattern, NAME_BYTES) != len)
        return err_set(err, ERR_INVALID,
                       "'%.100s' is no name of a tool: letters, digits, _ . - and * for anything",
                       pattern);
    if (strstr(pattern, "__"))
        return ERR_OK;
    for (size_t i = 0; i < count; i++)
        if (!all[i].in_loop && policy_fits(pattern, all[i].name))
            return ERR_OK;
    for (size_t i = 0; i < count; i++)
        if (!all[i].in_loop &&
            str_format(names + at, sizeof names - at, "%s%s", at ? ", " : "", all[i].name))
            at += strlen(names + at);
    return err_set(err, ERR_INVALID, "'%s' fits no tool; the tools are: %s", pattern, names);
}
