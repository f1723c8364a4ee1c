/* tooldef.h — the tools an agent is offered: names, descriptions for the model, JSON schemas of
 * their arguments, and whether a call has an effect (contract: tools.md). One const table. */
#ifndef CORE_TOOLDEF_H
#define CORE_TOOLDEF_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

struct tooldef {
    const char *name;
    const char *description;
    const char *schema_json;
    bool effect;  /* must never silently run twice; pure tools run again after a crash */
    bool in_loop; /* carried out by the agent loop itself (write_todos), not by a tool host */
};

const struct tooldef *tooldef_all(size_t *ret_count);
const struct tooldef *tooldef_find(const char *name); /* NULL when there is no such tool */

/* Checks args_json against the tool's schema. ERR_INVALID: err says what was wrong and what is
 * accepted, in words a model can act on. */
MUST_CHECK enum err_code tooldef_check(const struct tooldef *t, const char *args_json,
                                       struct err *err);

#endif
