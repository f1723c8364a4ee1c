/* policy.h — which tool calls wait until a person has approved them: patterns of tool names, from
 * the agent (spec.requireApproval) and from the machine (tools.require_approval); either is enough.
 *
 * A pattern is a tool's name in which * stands for any bytes, none included. One that fits no tool
 * is refused where it is written, because a name with a slip would let everything run; names of an
 * MCP server's tools (with __) are not known here and pass. What the agent's loop does itself
 * (write_todos) never waits. Threads: none of its own. */
#ifndef CORE_POLICY_H
#define CORE_POLICY_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

#define POLICY_PATTERNS_MAX 64
#define POLICY_PATTERN_MAX 100

/* ERR_INVALID, with words: it fits no tool, or is none. */
MUST_CHECK enum err_code policy_check(const char *pattern, struct err *err);

bool policy_fits(const char *pattern, const char *tool);
bool policy_asks(const char *const *patterns, size_t count, const char *tool);

#endif
