#include "svc/session-place.h"

#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "platform/store.h"

const char *session_place_domain_of(const char *runner_id)
{
    const char *at = strchr(runner_id, '@');

    return at ? at + 1 : "";
}

bool session_place_find(sqlite3 *db, const char *session_id, char ret[SESSION_PLACE_DOMAIN])
{
    sqlite3_stmt *st;
    bool found = false;

    if (store_prepare(db,
                      "SELECT runner FROM execution WHERE session_id = ?1 AND runner <> ''"
                      " ORDER BY id DESC LIMIT 1",
                      &st, NULL))
        return false;
    sqlite3_bind_text(st, 1, session_id, -1, SQLITE_STATIC);
    if (sqlite3_step(st) == SQLITE_ROW)
        found = str_format(ret, SESSION_PLACE_DOMAIN, "%s",
                           session_place_domain_of((const char *)sqlite3_column_text(st, 0)));
    sqlite3_reset(st);
    return found;
}

char *session_place_folder(sqlite3 *db, const char *session_id)
{
    sqlite3_stmt *st;
    char *folder = NULL;

    if (store_prepare(db,
                      "SELECT folder FROM execution WHERE session_id = ?1 AND folder <> ''"
                      " ORDER BY id DESC LIMIT 1",
                      &st, NULL))
        return NULL;
    sqlite3_bind_text(st, 1, session_id, -1, SQLITE_STATIC);
    if (sqlite3_step(st) == SQLITE_ROW)
        folder = mem_str((const char *)sqlite3_column_text(st, 0));
    sqlite3_reset(st);
    return folder;
}

void session_place_tell(struct journal *j, const char *execution_id, const char *domain)
{
    Exec__Event n = EXEC__EVENT__INIT;
    Exec__Notice m = EXEC__NOTICE__INIT;
    char text[300];

    if (*domain)
        (void)str_format(text, sizeof text,
                         "waiting for a runner of '%s', where the folder of this session is",
                         domain);
    else
        (void)str_format(text, sizeof text,
                         "waiting for a runner on the server's machine, where the folder of this "
                         "session is");
    m.text = text;
    n.kind_case = EXEC__EVENT__KIND_NOTICE;
    n.notice = &m;
    n.at_ms = clock_wall_ms();
    log_info("execution waits for the runner that has its folder", "run", execution_id, "domain",
             domain);
    journal_append(j, execution_id, JOURNAL_SERVER, (Exec__Event *[]){&n}, 1, NULL, NULL);
}
