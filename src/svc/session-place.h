/* session-place.h — where the folder of a session lies, and so which runners may work in it.
 *
 * A runner on another machine keeps sessions' folders in its own WORKSPACE_ROOT. Machines that
 * share that folder are one workspace domain; a machine that shares it with nobody is one by
 * itself. A runner's id names its domain: "run-<ulid>@<domain>"; without "@" it is that of the
 * server's own data/workspace. A session is placed by the first runner that claims a run of it, and
 * its later runs are that domain's only: elsewhere its files would be missing. Threads: the loop's.
 */
#ifndef SVC_SESSION_PLACE_H
#define SVC_SESSION_PLACE_H

#include <sqlite3.h>
#include <stdbool.h>

#include "svc/journal.h"

#define SESSION_PLACE_DOMAIN 64 /* [A-Za-z0-9._-]{1,63} */

/* "": the server's own. Borrowed from the id. */
const char *session_place_domain_of(const char *runner_id);

/* False: no runner has had it yet. */
bool session_place_find(sqlite3 *db, const char *session_id, char ret[SESSION_PLACE_DOMAIN]);

/* The folder of its own that a person gave to the session; NULL: none. The caller's. */
char *session_place_folder(sqlite3 *db, const char *session_id);

/* The execution's log says which runners it waits for. */
void session_place_tell(struct journal *j, const char *execution_id, const char *domain);

#endif
