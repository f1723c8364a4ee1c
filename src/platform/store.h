/* store.h — the one SQLite file under a data directory, held by one server at a time.
 *
 * WAL, synchronous=FULL, one writer thread. Work that writes is a job: it runs on the writer
 * thread inside a transaction together with every other job that was submitted while the previous
 * transaction was being made durable (group commit). A job's done callback runs on the loop's
 * thread after the COMMIT that contains it is on disk, so what it acknowledges is never lost.
 * A job that fails is rolled back alone (SAVEPOINT); its neighbours go on.
 *
 *   loop thread: store_submit ─▶ queue ─▶ writer thread: BEGIN, job*, COMMIT(fsync) ─▶ loop: done*
 *
 * Reads that need no write go through store_read_db on the loop's thread and see what is committed.
 * When a COMMIT fails (disk full, I/O error) every job of that transaction gets the error and
 * nothing of it happened.
 * Schema: PRAGMA user_version; migrations are a table of steps, applied in one transaction after
 * a copy of the file was made (stigmer.db.bak-<version>). */
#ifndef PLATFORM_STORE_H
#define PLATFORM_STORE_H

#include <sqlite3.h>
#include <stdbool.h>

#include "base/err.h"
#include "platform/loop.h"

struct store;

/* Migration i brings the schema from version i to i + 1. */
struct store_schema {
    const char *const *migrations; /* SQL scripts */
    int count;
};

/* Opens (and creates) dir/stigmer.db and takes dir/lock.
 *   ERR_CONFLICT  another live process holds this directory
 *   ERR_CORRUPT   written by a newer stigmer, or not a database of ours */
MUST_CHECK enum err_code store_open(struct loop *loop, const char *dir,
                                    const struct store_schema *schema, struct store **ret,
                                    struct err *err);
void store_free(struct store *s); /* finishes what was submitted (without done), then closes */

/* On the writer thread. Touches only db and arg. */
typedef enum err_code store_job_fn(sqlite3 *db, void *arg, struct err *err);
/* On the loop's thread, once; err is NULL on success. */
typedef void store_done_fn(const struct err *err, void *arg);
void store_submit(struct store *s, store_job_fn *job, store_done_fn *done, void *arg);

/* For reading only. What is read in one turn of the loop is one snapshot; a done callback sees the
 * commit that it is told of. Ask for it again in every turn. */
sqlite3 *store_read_db(struct store *s);

/* A statement prepared once per connection and kept; reset and with bindings cleared.
 * sql must be a literal (it is the cache's key by pointer). */
MUST_CHECK enum err_code store_prepare(sqlite3 *db, const char *sql, sqlite3_stmt **ret,
                                       struct err *err);
/* The SQLite error of db as our error. */
enum err_code store_error(sqlite3 *db, const char *what, struct err *err);

/* Runs a statement that gives no rows, and resets it. what: for the error. */
MUST_CHECK enum err_code store_step_done(sqlite3 *db, sqlite3_stmt *st, const char *what,
                                         struct err *err);

#endif
