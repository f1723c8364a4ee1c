/* cleanup.h — `stigmer-server --cleanup`: removes what a crash left of this home and nothing else.
 * Refuses while a server holds the home. */
#ifndef PROG_STIGMER_SERVER_CLEANUP_H
#define PROG_STIGMER_SERVER_CLEANUP_H

#include "core/paths.h"

int cleanup_main(const struct paths *paths);

#endif
