/* prompt.h — the system prompt: the agent's instructions, then what every agent must know about
 * its workspace, its tools and how to end. A pure function of its inputs, with no date in it, so
 * that providers' prompt caches hold and recordings can be replayed.
 * Threads: none of its own. */
#ifndef CORE_PROMPT_H
#define CORE_PROMPT_H

#include "base/buf.h"

#define PROMPT_INSTRUCTIONS_MAX                                                                    \
    ((size_t)256 << 10) /* longer instructions are cut, and it says so */

struct prompt_input {
    const char *agent_name;   /* may be empty */
    const char *instructions; /* may be empty */
    const char *workspace;    /* the folder as the tools see it */
};

void prompt_system(const struct prompt_input *in, struct buf *ret);

#endif
