/* power-vfs.h — a SQLite file system that knows what is on the disk: what was synced, and after a
 * power cut some of what was not. It stands between SQLite and the real one and notes every write
 * since a file's last sync.
 *
 *   power_vfs_start(dir)   files of dir are watched from now on
 *   power_vfs_cut()        the power goes; what is written from now on never happened
 *   power_vfs_stop()       dir holds what the disk held, and SQLite is as before
 *
 * Of the writes that were not synced, a random third (by seed) reached the disk, and of another
 * third the first sectors.
 * One process, one folder. Source: sqlite.org/c3ref/io_methods.html. */
#ifndef TESTS_UNIT_SVC_POWER_VFS_H
#define TESTS_UNIT_SVC_POWER_VFS_H

#include <pthread.h>
#include <sqlite3.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/str.h"

#define POWER_FILES 8
#define POWER_SECTOR 512

struct power_write {
    struct power_write *next;
    sqlite3_int64 at;
    int len;
    char data[];
};

/* One path and what is known of it. */
struct power_disk {
    char path[128];
    char *data; /* owned: as of its last sync */
    sqlite3_int64 len;
    struct power_write *unsynced; /* owned, newest first */
};

struct power_file {
    sqlite3_file base;
    struct power_disk *disk; /* NULL: not watched */
    sqlite3_file *real;
};

static struct {
    pthread_mutex_t lock;
    sqlite3_vfs vfs, *real;
    sqlite3_io_methods methods;
    char dir[64];
    struct power_disk disks[POWER_FILES];
    unsigned seed;
    bool cut;
} power = {.lock = PTHREAD_MUTEX_INITIALIZER};

static inline sqlite3_file *power_real(sqlite3_file *f)
{
    return ((struct power_file *)f)->real;
}

static inline int power_close(sqlite3_file *f)
{
    int rc = power_real(f)->pMethods->xClose(power_real(f));

    sqlite3_free(power_real(f));
    return rc;
}

static inline int power_read(sqlite3_file *f, void *to, int n, sqlite3_int64 at)
{
    return power_real(f)->pMethods->xRead(power_real(f), to, n, at);
}

static inline int power_write(sqlite3_file *f, const void *from, int n, sqlite3_int64 at)
{
    struct power_disk *d = ((struct power_file *)f)->disk;

    pthread_mutex_lock(&power.lock);
    if (d && !power.cut) {
        struct power_write *w = mem_new(sizeof *w + (size_t)n);

        *w = (struct power_write){.next = d->unsynced, .at = at, .len = n};
        memcpy(w->data, from, (size_t)n);
        d->unsynced = w;
    }
    pthread_mutex_unlock(&power.lock);
    return power_real(f)->pMethods->xWrite(power_real(f), from, n, at);
}

static inline int power_truncate(sqlite3_file *f, sqlite3_int64 size)
{
    return power_real(f)->pMethods->xTruncate(power_real(f), size);
}

static inline void power_forget(struct power_disk *d)
{
    while (d->unsynced) {
        struct power_write *w = d->unsynced;

        d->unsynced = w->next;
        free(w);
    }
}

/* A sync that has not come back when the power goes may have done nothing: it is noted at its end,
 * and then for all that was written before it. */
static inline int power_sync(sqlite3_file *f, int flags)
{
    struct power_disk *d = ((struct power_file *)f)->disk;
    sqlite3_file *real = power_real(f);
    int rc = real->pMethods->xSync(real, flags);

    pthread_mutex_lock(&power.lock);
    if (d && !power.cut && rc == SQLITE_OK &&
        real->pMethods->xFileSize(real, &d->len) == SQLITE_OK) {
        free(d->data);
        d->data = mem_new((size_t)d->len);
        rc = d->len ? real->pMethods->xRead(real, d->data, (int)d->len, 0) : SQLITE_OK;
        power_forget(d);
    }
    pthread_mutex_unlock(&power.lock);
    return rc;
}

static inline int power_size(sqlite3_file *f, sqlite3_int64 *ret)
{
    return power_real(f)->pMethods->xFileSize(power_real(f), ret);
}

static inline int power_lock(sqlite3_file *f, int level)
{
    return power_real(f)->pMethods->xLock(power_real(f), level);
}

static inline int power_unlock(sqlite3_file *f, int level)
{
    return power_real(f)->pMethods->xUnlock(power_real(f), level);
}

static inline int power_check(sqlite3_file *f, int *ret)
{
    return power_real(f)->pMethods->xCheckReservedLock(power_real(f), ret);
}

static inline int power_control(sqlite3_file *f, int op, void *arg)
{
    return power_real(f)->pMethods->xFileControl(power_real(f), op, arg);
}

static inline int power_sector(sqlite3_file *f)
{
    return power_real(f)->pMethods->xSectorSize(power_real(f));
}

static inline int power_traits(sqlite3_file *f)
{
    return power_real(f)->pMethods->xDeviceCharacteristics(power_real(f));
}

static inline int power_shm_map(sqlite3_file *f, int page, int size, int extend,
                                void volatile **ret)
{
    return power_real(f)->pMethods->xShmMap(power_real(f), page, size, extend, ret);
}

static inline int power_shm_lock(sqlite3_file *f, int offset, int n, int flags)
{
    return power_real(f)->pMethods->xShmLock(power_real(f), offset, n, flags);
}

static inline void power_shm_barrier(sqlite3_file *f)
{
    power_real(f)->pMethods->xShmBarrier(power_real(f));
}

static inline int power_shm_unmap(sqlite3_file *f, int remove)
{
    return power_real(f)->pMethods->xShmUnmap(power_real(f), remove);
}

static inline struct power_disk *power_disk_of(const char *path)
{
    if (!path || !str_starts(path, power.dir))
        return NULL;
    for (size_t i = 0; i < POWER_FILES; i++) {
        struct power_disk *d = &power.disks[i];

        if (!d->path[0])
            (void)str_format(d->path, sizeof d->path, "%s", path);
        if (str_eq(d->path, path))
            return d;
    }
    return NULL;
}

static inline int power_open(sqlite3_vfs *vfs, const char *path, sqlite3_file *f, int flags,
                             int *ret_flags)
{
    struct power_file *p = (struct power_file *)f;
    int rc;

    (void)vfs;
    p->base.pMethods = NULL;
    p->real = sqlite3_malloc(power.real->szOsFile);
    memset(p->real, 0, (size_t)power.real->szOsFile);
    rc = power.real->xOpen(power.real, path, p->real, flags, ret_flags);
    if (rc != SQLITE_OK || !p->real->pMethods) {
        sqlite3_free(p->real);
        return rc;
    }
    pthread_mutex_lock(&power.lock);
    p->disk = power_disk_of(path);
    pthread_mutex_unlock(&power.lock);
    p->base.pMethods = &power.methods;
    return SQLITE_OK;
}

/* Taken to be on the disk when it returns: SQLite asks for the folder's sync where it matters. */
static inline int power_delete(sqlite3_vfs *vfs, const char *path, int sync_dir)
{
    struct power_disk *d;

    (void)vfs;
    pthread_mutex_lock(&power.lock);
    d = power.cut ? NULL : power_disk_of(path);
    if (d) {
        free(d->data);
        d->data = NULL;
        power_forget(d);
    }
    pthread_mutex_unlock(&power.lock);
    return power.real->xDelete(power.real, path, sync_dir);
}

static inline void power_vfs_start(const char *dir, unsigned seed)
{
    power.real = sqlite3_vfs_find("unix");
    power.vfs = *power.real;
    power.vfs.zName = "power";
    power.vfs.szOsFile = (int)sizeof(struct power_file);
    power.vfs.xOpen = power_open;
    power.vfs.xDelete = power_delete;
    power.methods = (sqlite3_io_methods){2,
                                         power_close,
                                         power_read,
                                         power_write,
                                         power_truncate,
                                         power_sync,
                                         power_size,
                                         power_lock,
                                         power_unlock,
                                         power_check,
                                         power_control,
                                         power_sector,
                                         power_traits,
                                         power_shm_map,
                                         power_shm_lock,
                                         power_shm_barrier,
                                         power_shm_unmap,
                                         NULL,
                                         NULL};
    (void)str_format(power.dir, sizeof power.dir, "%s", dir);
    power.seed = seed;
    power.cut = false;
    sqlite3_vfs_register(&power.vfs, 1);
}

static inline void power_vfs_cut(void)
{
    pthread_mutex_lock(&power.lock);
    power.cut = true;
    pthread_mutex_unlock(&power.lock);
}

static inline void power_apply(FILE *f, const struct power_write *w)
{
    if (!w)
        return;
    power_apply(f, w->next); /* oldest first */
    size_t len = (size_t)w->len, sectors = len / POWER_SECTOR;
    int fate = rand_r(&power.seed) % 3;

    if (fate == 0)
        return;
    if (fate == 1) /* torn; what is no whole sector is not there */
        len = sectors ? (size_t)rand_r(&power.seed) % sectors * POWER_SECTOR : 0;
    fseek(f, (long)w->at, SEEK_SET);
    fwrite(w->data, 1, len, f);
}

static inline void power_vfs_stop(void)
{
    char shm[160];

    sqlite3_vfs_register(power.real, 1);
    sqlite3_vfs_unregister(&power.vfs);
    for (size_t i = 0; i < POWER_FILES; i++) {
        struct power_disk *d = &power.disks[i];
        FILE *f;

        if (d->path[0] && (d->data || d->unsynced)) {
            (void)str_format(shm, sizeof shm, "%s-shm", d->path);
            (void)unlink(shm);
            f = fopen(d->path, "we");
            if (d->data)
                fwrite(d->data, 1, (size_t)d->len, f);
            power_apply(f, d->unsynced);
            fclose(f);
        }
        free(d->data);
        power_forget(d);
        *d = (struct power_disk){0};
    }
}

#endif
