/* prune-impl.h — between prune.c, which tells and removes, and prune-find.c and prune-session.c,
 * which know what is stale. */
#ifndef PROG_STIGMER_SERVER_PRUNE_IMPL_H
#define PROG_STIGMER_SERVER_PRUNE_IMPL_H

#include <jansson.h>
#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "core/paths.h"

#define PRUNE_TRASH ".prune-" /* a workspace that is being removed has this before its name */

struct prune {
    const struct paths *paths;
    int64_t now_ms, before_ms; /* before_ms 0: no age was given */
    bool is_live;              /* a server of this home runs */
    int workspace;             /* the open folder; -1: there is none */
    sqlite3 *db;               /* read-only; NULL: there is none, or it cannot be read */
    json_t *items, *warnings;  /* owned */
};

/* Appends one: what is below the home, or a container's name; path for removal, see prune.c. */
struct prune_item {
    const char *kind, *what, *path, *why;
    int64_t bytes;    /* < 0: not told */
    int64_t since_ms; /* 0: not known */
};
json_t *prune_add(struct prune *p, const struct prune_item *item);
void prune_warn(struct prune *p, const char *fmt, ...) ERR_PRINTF(2, 3);

void prune_find_all(struct prune *p);

/* What the store says of a session. ERR_NOT_FOUND never: exists tells. */
struct prune_session {
    bool exists, is_running;
    int64_t last_ms; /* when a run of it began or ended last; 0: never */
};
void prune_session_open(struct prune *p);
MUST_CHECK enum err_code prune_session_ask(const struct prune *p, const char *id,
                                           struct prune_session *ret, struct err *err);

#endif
