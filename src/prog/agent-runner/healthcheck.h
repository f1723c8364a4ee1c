/* healthcheck.h — is the worker of this container attached to its server? The worker says so in
 * its process name, which needs no file and ends with it. */
#ifndef PROG_AGENT_RUNNER_HEALTHCHECK_H
#define PROG_AGENT_RUNNER_HEALTHCHECK_H

#include <stdbool.h>

void healthcheck_tell(bool attached); /* the worker, about itself */
int healthcheck_main(void);           /* 0: attached; else 1, and why on stderr */

#endif
