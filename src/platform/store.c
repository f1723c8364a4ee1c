#include "platform/store.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/own.h"
#include "base/str.h"

#define APPLICATION_ID 0x5354474d /* "STGM": another program's database is not taken for ours */
#define PATH_SIZE 4096
#define BUSY_MS 5000

struct job {
    struct job *next;
    store_job_fn *run;
    store_done_fn *done;
    void *arg;
    bool failed;
    struct err err;
};

struct jobs {
    struct job *head;
    struct job **tail;
};

/* What a finished batch reaches the store through: it outlives the store while one is under way. */
struct ticket {
    struct store *store; /* borrowed; NULL once the store is gone. Loop thread */
    atomic_int posted;
};

struct store {
    struct loop *loop;      /* borrowed */
    int lock;               /* owned; flock held as long as we live */
    sqlite3 *write_db;      /* owned; the writer thread's once it runs */
    sqlite3 *read_db;       /* owned; the loop thread's */
    bool reading;           /* a read transaction is open, until the turn ends */
    struct loop_hook *hook; /* owned */
    struct ticket *ticket;  /* owned while posted is 0 */
    struct jobs turn;       /* loop thread: submitted in this turn */

    pthread_t thread;
    bool thread_runs;
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    struct jobs queue;    /* guarded */
    struct jobs finished; /* guarded; waiting for their done callbacks */
    bool closing;         /* guarded */
};

static void jobs_init(struct jobs *j)
{
    j->head = NULL;
    j->tail = &j->head;
}

static void jobs_add(struct jobs *j, struct job *job)
{
    job->next = NULL;
    *j->tail = job;
    j->tail = &job->next;
}

static void jobs_move(struct jobs *to, struct jobs *from)
{
    if (!from->head)
        return;
    *to->tail = from->head;
    to->tail = from->tail;
    jobs_init(from);
}

static void jobs_drop(struct jobs *j)
{
    while (j->head) {
        struct job *it = j->head;
        j->head = it->next;
        free(it);
    }
    jobs_init(j);
}

/* ---- errors and statements ------------------------------------------------------------------- */

static enum err_code code_of(int rc)
{
    switch (rc & 0xff) {
    case SQLITE_FULL:
        return ERR_LIMIT;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return ERR_CORRUPT;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return ERR_UNAVAILABLE;
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_AUTH:
    case SQLITE_CANTOPEN:
        return ERR_DENIED;
    case SQLITE_CONSTRAINT:
        return ERR_EXISTS;
    case SQLITE_TOOBIG:
        return ERR_INVALID;
    default:
        return ERR_IO;
    }
}

enum err_code store_error(sqlite3 *db, const char *what, struct err *err)
{
    enum err_code code = code_of(sqlite3_extended_errcode(db));

    err_set(err, code, "%s: %s", what, sqlite3_errmsg(db));
    if (code == ERR_LIMIT)
        err_hint(err, code, "free some space on the disk that holds the stigmer home");
    if (code == ERR_CORRUPT)
        err_hint(err, code, "restore the newest stigmer.db.bak-* beside it, or move it away");
    return code;
}

enum err_code store_step_done(sqlite3 *db, sqlite3_stmt *st, const char *what, struct err *err)
{
    int rc = sqlite3_step(st);
    enum err_code code =
        rc == SQLITE_DONE || rc == SQLITE_ROW ? ERR_OK : store_error(db, what, err);

    sqlite3_reset(st);
    return code;
}

/* The connection keeps a list of its own statements: that is the cache. */
enum err_code store_prepare(sqlite3 *db, const char *sql, sqlite3_stmt **ret, struct err *err)
{
    sqlite3_stmt *st = NULL;

    while ((st = sqlite3_next_stmt(db, st)))
        if (!sqlite3_stmt_busy(st) && strcmp(sqlite3_sql(st), sql) == 0)
            break;
    if (!st && sqlite3_prepare_v3(db, sql, -1, SQLITE_PREPARE_PERSISTENT, &st, NULL) != SQLITE_OK)
        return store_error(db, "preparing a statement", err);
    sqlite3_reset(st);
    sqlite3_clear_bindings(st);
    *ret = st;
    return ERR_OK;
}

static void close_db(sqlite3 *db)
{
    sqlite3_stmt *st;

    if (!db)
        return;
    while ((st = sqlite3_next_stmt(db, NULL)))
        sqlite3_finalize(st);
    sqlite3_close(db);
}

static enum err_code exec(sqlite3 *db, const char *sql, const char *what, struct err *err)
{
    if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK)
        return store_error(db, what, err);
    return ERR_OK;
}

static enum err_code pragma_int(sqlite3 *db, const char *sql, int *ret, struct err *err)
{
    sqlite3_stmt *st = NULL;
    enum err_code code = ERR_OK;

    if (sqlite3_prepare_v2(db, sql, -1, &st, NULL) == SQLITE_OK && sqlite3_step(st) == SQLITE_ROW)
        *ret = sqlite3_column_int(st, 0);
    else
        code = store_error(db, "reading the file's header", err);
    sqlite3_finalize(st);
    return code;
}

/* ---- the writer thread ----------------------------------------------------------------------- */

static void fail_all(struct jobs *batch, const struct err *why)
{
    for (struct job *j = batch->head; j; j = j->next)
        if (!j->failed) {
            j->failed = true;
            j->err = *why;
        }
}

/* One job in its savepoint. False: SQLite has rolled the whole transaction back (a full disk and
 * some I/O errors do that), so nothing of the batch happened. */
/* As exec, for what is said at every job: kept prepared. */
static enum err_code say(sqlite3 *db, const char *sql, struct err *err)
{
    sqlite3_stmt *st;
    enum err_code code = store_prepare(db, sql, &st, err);

    if (code)
        return code;
    if (sqlite3_step(st) != SQLITE_DONE)
        code = store_error(db, sql, err);
    sqlite3_reset(st);
    return code;
}

static bool run_job(sqlite3 *db, struct job *j)
{
    if (say(db, "SAVEPOINT job", &j->err)) {
        j->failed = true;
        return !sqlite3_get_autocommit(db);
    }
    j->failed = j->run(db, j->arg, &j->err) != ERR_OK;
    if (sqlite3_get_autocommit(db)) {
        j->failed = true;
        return false;
    }
    if (j->failed)
        (void)say(db, "ROLLBACK TO job", NULL);
    if (say(db, "RELEASE job", j->failed ? NULL : &j->err))
        j->failed = true;
    return !sqlite3_get_autocommit(db);
}

static void run_batch(sqlite3 *db, struct jobs *batch)
{
    struct err err;

    if (exec(db, "BEGIN IMMEDIATE", "writing to the journal", &err)) {
        fail_all(batch, &err);
        return;
    }
    for (struct job *j = batch->head; j; j = j->next)
        if (!run_job(db, j)) {
            fail_all(batch, &j->err);
            return;
        }
    if (exec(db, "COMMIT", "writing to the journal", &err)) {
        fail_all(batch, &err);
        if (!sqlite3_get_autocommit(db))
            (void)exec(db, "ROLLBACK", "undoing", NULL);
    }
}

static void deliver(void *arg);

static void *writer(void *arg)
{
    struct store *s = arg;
    struct jobs batch;

    pthread_mutex_lock(&s->mutex);
    for (;;) {
        while (!s->queue.head && !s->closing)
            pthread_cond_wait(&s->wake, &s->mutex);
        if (!s->queue.head)
            break;
        jobs_init(&batch);
        jobs_move(&batch, &s->queue);
        pthread_mutex_unlock(&s->mutex);
        run_batch(s->write_db, &batch);
        pthread_mutex_lock(&s->mutex);
        jobs_move(&s->finished, &batch);
        atomic_fetch_add(&s->ticket->posted, 1);
        loop_post(s->loop, deliver, s->ticket);
    }
    pthread_mutex_unlock(&s->mutex);
    return NULL;
}

/* ---- the loop's thread ----------------------------------------------------------------------- */

/* One read transaction serves a whole turn: taking SQLite's locks costs more than a small read. */
sqlite3 *store_read_db(struct store *s)
{
    if (!s->reading)
        s->reading = say(s->read_db, "BEGIN", NULL) == ERR_OK;
    return s->read_db;
}

static void end_reading(struct store *s)
{
    if (s->reading)
        (void)say(s->read_db, "COMMIT", NULL);
    s->reading = false;
}

static void deliver(void *arg)
{
    struct ticket *t = arg;
    struct jobs done;
    bool last = atomic_fetch_sub(&t->posted, 1) == 1;

    if (!t->store) {
        if (last)
            free(t);
        return;
    }
    end_reading(t->store); /* whoever is told of a commit sees it */
    jobs_init(&done);
    pthread_mutex_lock(&t->store->mutex);
    jobs_move(&done, &t->store->finished);
    pthread_mutex_unlock(&t->store->mutex);
    while (done.head) {
        struct job *j = done.head;
        done.head = j->next;
        if (j->done)
            j->done(j->failed ? &j->err : NULL, j->arg);
        free(j);
    }
}

static void hand_over_turn(void *arg)
{
    struct store *s = arg;

    end_reading(s);
    if (!s->turn.head)
        return;
    pthread_mutex_lock(&s->mutex);
    jobs_move(&s->queue, &s->turn);
    pthread_cond_signal(&s->wake);
    pthread_mutex_unlock(&s->mutex);
}

void store_submit(struct store *s, store_job_fn *job, store_done_fn *done, void *arg)
{
    struct job *j = mem_new(sizeof *j);

    j->run = job;
    j->done = done;
    j->arg = arg;
    jobs_add(&s->turn, j);
}

/* ---- opening --------------------------------------------------------------------------------- */

static enum err_code take_lock(struct store *s, const char *dir, struct err *err)
{
    char path[PATH_SIZE];

    if (mkdir(dir, 0700) < 0 && errno != EEXIST)
        return err_sys(err, errno, "make the data directory '%s'", dir);
    if (!str_format(path, sizeof path, "%s/lock", dir))
        return err_set(err, ERR_INVALID, "the data directory's path is too long");
    s->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (s->lock < 0)
        return err_sys(err, errno, "open '%s'", path);
    if (flock(s->lock, LOCK_EX | LOCK_NB) == 0)
        return ERR_OK;
    if (errno != EWOULDBLOCK)
        return err_sys(err, errno, "lock '%s'", path);
    return err_hint(err,
                    err_set(err, ERR_CONFLICT, "'%s' is in use by another stigmer-server", dir),
                    "stigmer server status");
}

static enum err_code open_db(const char *path, int flags, sqlite3 **ret, struct err *err)
{
    sqlite3 *db = NULL;
    enum err_code code;

    if (sqlite3_open_v2(path, &db, flags | SQLITE_OPEN_NOMUTEX, NULL) != SQLITE_OK) {
        code = db ? store_error(db, path, err) : err_set(err, ERR_IO, "%s: out of memory", path);
        sqlite3_close(db);
        return code;
    }
    sqlite3_busy_timeout(db, BUSY_MS);
    *ret = db;
    return ERR_OK;
}

static enum err_code backup(sqlite3 *db, const char *path, int version, struct err *err)
{
    char copy[PATH_SIZE];
    sqlite3 *to = NULL;
    sqlite3_backup *b;
    enum err_code code;

    if (!str_format(copy, sizeof copy, "%s.bak-%d", path, version))
        return err_set(err, ERR_INVALID, "the data directory's path is too long");
    (void)unlink(copy);
    if ((code = open_db(copy, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, &to, err)))
        return code;
    b = sqlite3_backup_init(to, "main", db, "main");
    if (!b || sqlite3_backup_step(b, -1) != SQLITE_DONE)
        code = store_error(to, "copying the store before its migration", err);
    if (b)
        sqlite3_backup_finish(b);
    sqlite3_close(to);
    return code;
}

static enum err_code migrate(sqlite3 *db, const char *path, const struct store_schema *schema,
                             int have, struct err *err)
{
    char sql[64];
    enum err_code code;

    if (have > 0 && (code = backup(db, path, have, err)))
        return code;
    if ((code = exec(db, "BEGIN IMMEDIATE", "beginning the migration", err)))
        return code;
    for (int v = have; v < schema->count; v++)
        if ((code = exec(db, schema->migrations[v], "migrating the store", err))) {
            (void)exec(db, "ROLLBACK", "undoing", NULL);
            return code;
        }
    (void)str_format(sql, sizeof sql, "PRAGMA user_version=%d; PRAGMA application_id=%d",
                     schema->count, APPLICATION_ID);
    if ((code = exec(db, sql, "writing the schema version", err)) ||
        (code = exec(db, "COMMIT", "ending the migration", err)))
        (void)exec(db, "ROLLBACK", "undoing", NULL);
    return code;
}

static enum err_code check_schema(sqlite3 *db, const char *path, const struct store_schema *schema,
                                  struct err *err)
{
    int have = 0, id = 0, tables = 0;
    enum err_code code;

    if ((code = pragma_int(db, "PRAGMA user_version", &have, err)) ||
        (code = pragma_int(db, "PRAGMA application_id", &id, err)) ||
        (code = pragma_int(db, "SELECT count(*) FROM sqlite_schema", &tables, err)))
        return code;
    if (id != APPLICATION_ID && (id || have || tables))
        return err_hint(err, err_set(err, ERR_CORRUPT, "it is not a database of stigmer"),
                        "move it away, or choose another home");
    if (have > schema->count)
        return err_hint(err,
                        err_set(err, ERR_CORRUPT,
                                "its schema is version %d and this stigmer knows up to %d", have,
                                schema->count),
                        "use the newer stigmer that wrote it");
    return have < schema->count ? migrate(db, path, schema, have, err) : ERR_OK;
}

static enum err_code open_both(struct store *s, const char *path, const struct store_schema *schema,
                               struct err *err)
{
    enum err_code code;

    if ((code = open_db(path, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, &s->write_db, err)))
        return code;
    /* FULL: an acknowledged event must survive power loss, not only our own crash. */
    if ((code = exec(s->write_db,
                     "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON;"
                     "PRAGMA cache_size=-2000; PRAGMA journal_size_limit=16777216;"
                     "PRAGMA wal_autocheckpoint=4000", /* 16 MiB: a checkpoint costs two syncs */
                     "setting up", err)) ||
        (code = check_schema(s->write_db, path, schema, err)) ||
        (code = open_db(path, SQLITE_OPEN_READONLY, &s->read_db, err)))
        return code;
    return exec(s->read_db, "PRAGMA cache_size=-1000", "setting up", err);
}

enum err_code store_open(struct loop *loop, const char *dir, const struct store_schema *schema,
                         struct store **ret, struct err *err)
{
    struct store *s = mem_new(sizeof *s);
    char path[PATH_SIZE];
    mode_t old;
    enum err_code code;

    s->loop = loop;
    s->lock = -1; /* calloc says 0, and 0 is stdin */
    jobs_init(&s->turn);
    jobs_init(&s->queue);
    jobs_init(&s->finished);
    pthread_mutex_init(&s->mutex, NULL);
    pthread_cond_init(&s->wake, NULL);
    s->ticket = mem_new(sizeof *s->ticket);
    s->ticket->store = s;

    if ((code = take_lock(s, dir, err)) == ERR_OK) {
        (void)str_format(path, sizeof path, "%s/stigmer.db", dir);
        old = umask(0077);
        code = open_both(s, path, schema, err);
        umask(old);
        if (code)
            err_wrap(err, code, "open the store '%s'", path);
    }
    if (!code && pthread_create(&s->thread, NULL, writer, s))
        code = err_set(err, ERR_LIMIT, "start the store's writer thread");
    if (code) {
        store_free(s);
        return code;
    }
    s->thread_runs = true;
    s->hook = loop_hook_new(loop, hand_over_turn, s);
    *ret = s;
    return ERR_OK;
}

void store_free(struct store *s)
{
    if (!s)
        return;
    loop_hook_free(s->hook);
    end_reading(s);
    if (s->thread_runs) {
        hand_over_turn(s);
        pthread_mutex_lock(&s->mutex);
        s->closing = true;
        pthread_cond_signal(&s->wake);
        pthread_mutex_unlock(&s->mutex);
        pthread_join(s->thread, NULL);
    }
    jobs_drop(&s->turn);
    jobs_drop(&s->finished);
    close_db(s->read_db);
    close_db(s->write_db); /* before the lock: nobody else may see a half-closed WAL */
    own_fd(&s->lock);
    s->ticket->store = NULL;
    if (atomic_load(&s->ticket->posted) == 0)
        free(s->ticket);
    pthread_cond_destroy(&s->wake);
    pthread_mutex_destroy(&s->mutex);
    free(s);
}
