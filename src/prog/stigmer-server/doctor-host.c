/* What of the machine and of the home is not as it should be. */
#include <errno.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include "base/str.h"
#include "platform/sock.h"
#include "prog/stigmer-server/doctor-impl.h"
#include "prog/stigmer-server/engine-ask.h"
#include "prog/stigmer-server/home-lock.h"
#include "svc/keys.h"

#define MIB ((unsigned long long)1 << 20)
#define SPACE_LOW (256 * MIB) /* a journal and its logs go on for a while */
#define SPACE_NONE (16 * MIB) /* they do not */
#define INODES_LOW 1000ull
#define FILES_FEW 1024ull /* 16 slots need about 200 */
#define FUTURE_S 120      /* a file this much younger than now was written by another clock */
#define YEAR_2024 1704067200ll

static bool home_is_there(const struct doctor *d)
{
    return access(d->paths->home, F_OK) == 0;
}

/* The home, or the nearest folder above it that is there. */
static void nearest(const struct doctor *d, char ret[PATHS_MAX])
{
    (void)str_format(ret, PATHS_MAX, "%s", d->paths->home);
    while (access(ret, F_OK) < 0 && strrchr(ret, '/') != ret)
        *strrchr(ret, '/') = '\0';
    if (access(ret, F_OK) < 0)
        (void)str_format(ret, PATHS_MAX, "/");
}

void doctor_home(struct doctor *d)
{
    static const char hint[] = "choose another home with --home or STIGMER_HOME";
    char folder[PATHS_MAX];
    struct stat st;

    nearest(d, folder);
    if (home_is_there(d) && (stat(folder, &st) < 0 || !S_ISDIR(st.st_mode)))
        doctor_say(d, "home", DOCTOR_FAIL, hint, "'%s' is not a folder", folder);
    else if (access(folder, W_OK | X_OK) < 0)
        doctor_say(d, "home", DOCTOR_FAIL, hint, "'%s': %s", folder, strerror(errno));
    else if (home_is_there(d))
        doctor_say(d, "home", DOCTOR_OK, "", "%s", folder);
    else
        doctor_say(d, "home", DOCTOR_OK, "", "'%s' will be made at the first start",
                   d->paths->home);
}

void doctor_home_access(struct doctor *d)
{
    char hint[PATHS_MAX + 32];
    struct stat st, file;

    (void)str_format(hint, sizeof hint, "chmod go-rw '%s'", d->paths->home);
    if (stat(d->paths->home, &st) < 0)
        return;
    if (st.st_uid != geteuid())
        doctor_say(d, "home.access", DOCTOR_WARN, "run stigmer as the user whose home it is",
                   "'%s' belongs to user %u, not to you (%u)", d->paths->home, (unsigned)st.st_uid,
                   (unsigned)geteuid());
    else if (st.st_mode & (S_IRGRP | S_IWGRP | S_IROTH | S_IWOTH))
        doctor_say(d, "home.access", DOCTOR_WARN, hint, "others may look into '%s' (mode %03o)",
                   d->paths->home, (unsigned)(st.st_mode & 0777));
    else if (stat(d->paths->config, &file) == 0 && (file.st_mode & (S_IWGRP | S_IWOTH)))
        doctor_say(d, "home.access", DOCTOR_WARN, "chmod go-w config.yaml",
                   "others may change '%s'", d->paths->config);
    else
        doctor_say(d, "home.access", DOCTOR_OK, "", "only yours");
}

/* SQLite's locks and our sockets want a file system of this machine. */
void doctor_home_network(struct doctor *d)
{
    static const struct {
        unsigned long magic;
        const char *name;
    } remote[] = {{NFS_SUPER_MAGIC, "NFS"}, {CIFS_SUPER_MAGIC, "SMB"}, {SMB2_SUPER_MAGIC, "SMB"},
                  {SMB_SUPER_MAGIC, "SMB"}, {AFS_SUPER_MAGIC, "AFS"},  {CEPH_SUPER_MAGIC, "Ceph"},
                  {V9FS_MAGIC, "9p"},       {FUSE_SUPER_MAGIC, "FUSE"}};
    char folder[PATHS_MAX];
    struct statfs fs;

    nearest(d, folder);
    if (statfs(folder, &fs) < 0)
        return;
    for (size_t i = 0; i < sizeof remote / sizeof remote[0]; i++)
        if ((unsigned long)fs.f_type == remote[i].magic) {
            doctor_say(d, "home.filesystem", DOCTOR_WARN,
                       "put the home on a local disk: --home or STIGMER_HOME",
                       "'%s' is on %s: its locks may not hold, and a sync may not reach a disk",
                       folder, remote[i].name);
            return;
        }
    doctor_say(d, "home.filesystem", DOCTOR_OK, "", "a file system of this machine");
}

void doctor_disk(struct doctor *d)
{
    char folder[PATHS_MAX];
    struct statvfs v;
    unsigned long long left;

    nearest(d, folder);
    if (statvfs(folder, &v) < 0)
        return;
    left = (unsigned long long)v.f_bavail * v.f_frsize;
    if (v.f_flag & ST_RDONLY)
        doctor_say(d, "disk", DOCTOR_FAIL, "mount it read-write, or choose another home",
                   "the file system of '%s' is read-only", folder);
    else
        doctor_say(d, "disk",
                   left < SPACE_NONE  ? DOCTOR_FAIL
                   : left < SPACE_LOW ? DOCTOR_WARN
                                      : DOCTOR_OK,
                   "free some space, or choose another home with STIGMER_HOME",
                   "%llu MiB are free at '%s'", left / MIB, folder);
}

void doctor_inodes(struct doctor *d)
{
    char folder[PATHS_MAX];
    struct statvfs v;

    nearest(d, folder);
    if (statvfs(folder, &v) < 0 || v.f_files == 0) /* 0: it counts none */
        return;
    doctor_say(d, "disk.inodes", v.f_favail < INODES_LOW ? DOCTOR_WARN : DOCTOR_OK,
               "remove small files: find DIR -xdev -type f | wc -l finds where they are",
               "%llu files can be made at '%s'", (unsigned long long)v.f_favail, folder);
}

void doctor_store(struct doctor *d)
{
    static const char head[] = "SQLite format 3";
    char bytes[sizeof head] = "";
    FILE *f = fopen(d->paths->db, "re");
    struct stat st;

    if (!f) {
        doctor_say(d, "store", errno == ENOENT ? DOCTOR_OK : DOCTOR_FAIL,
                   "give the file back to the user who runs the server", "'%s': %s", d->paths->db,
                   errno == ENOENT ? "will be made at the first start" : strerror(errno));
        return;
    }
    if (fstat(fileno(f), &st) < 0 ||
        (st.st_size && fread(bytes, 1, sizeof bytes, f) < sizeof bytes) ||
        (st.st_size && memcmp(bytes, head, sizeof head) != 0))
        doctor_say(d, "store", DOCTOR_FAIL,
                   "put the newest data/stigmer.db.bak-* in its place, with the server stopped",
                   "'%s' is no database", d->paths->db);
    else
        doctor_say(d, "store", DOCTOR_OK, "", "%lld KiB", (long long)st.st_size / 1024);
    (void)fclose(f);
}

/* A pid file whose processes are gone, sockets that nobody listens on, a container that is away. */
void doctor_stale(struct doctor *d)
{
    static const char hint[] = "stigmer server stop (removes what a crash left), or start";
    bool lives = home_lock_pids_live(d->paths);
    json_t *left;
    size_t count;

    if (lives) {
        doctor_say(d, "stale", DOCTOR_OK, "", "a server of this home runs");
        return;
    }
    left = engine_ask_list(d->paths, NULL);
    count = json_array_size(left);
    json_decref(left);
    if (count)
        doctor_say(d, "stale", DOCTOR_WARN, hint,
                   "no server runs, but %zu container%s of this home %s there", count,
                   count == 1 ? "" : "s", count == 1 ? "is" : "are");
    else if (access(d->paths->pid_file, F_OK) == 0 || access(d->paths->api_sock, F_OK) == 0)
        doctor_say(d, "stale", DOCTOR_WARN, hint,
                   "a server of this home ended without being stopped and left its files");
    else
        doctor_say(d, "stale", DOCTOR_OK, "", "nothing is left of a crash");
}

/* Times in the journal and the logs come from this clock. */
void doctor_clock(struct doctor *d)
{
    const char *const files[] = {d->paths->db, d->paths->log_server, d->paths->log_runner};
    time_t now = time(NULL), newest = 0;

    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        struct stat st;

        if (stat(files[i], &st) == 0 && st.st_mtime > newest)
            newest = st.st_mtime;
    }
    if (now < YEAR_2024)
        doctor_say(d, "clock", DOCTOR_FAIL, "set the clock: timedatectl set-ntp true",
                   "the clock says %lld s since 1970: it is not set", (long long)now);
    else if (newest > now + FUTURE_S)
        doctor_say(d, "clock", DOCTOR_WARN, "timedatectl set-ntp true",
                   "the newest file of this home is %lld s in the future: the clock was set back",
                   (long long)(newest - now));
    else
        doctor_say(d, "clock", DOCTOR_OK, "", "agrees with the home's files");
}

void doctor_files(struct doctor *d)
{
    struct rlimit l;

    if (getrlimit(RLIMIT_NOFILE, &l) < 0)
        return;
    doctor_say(d, "limits.files", l.rlim_max < FILES_FEW ? DOCTOR_WARN : DOCTOR_OK,
               "raise it: ulimit -n 4096, or LimitNOFILE= of the service",
               "%llu open files are allowed, at most %llu", (unsigned long long)l.rlim_cur,
               (unsigned long long)l.rlim_max);
}

void doctor_memory(struct doctor *d)
{
    long long wanted = config_get_size(&d->config, CONFIG_RUNNER_MEMORY), free_kib = 0;
    FILE *f = fopen("/proc/meminfo", "re");
    char line[128];

    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "MemAvailable: %lld kB", &free_kib) == 1)
            break;
    if (f)
        (void)fclose(f);
    doctor_say(d, "memory", free_kib * 1024 < wanted / 4 ? DOCTOR_WARN : DOCTOR_OK,
               "end other programs, or lower runner.memory",
               "%lld MiB are available; the runner may use up to %lld MiB", free_kib / 1024,
               wanted >> 20);
}

/* Keys belong in memory, not on a disk. */
void doctor_keys(struct doctor *d)
{
    char folder[KEYS_PATH];
    struct statfs fs;
    struct err err;

    if (keys_dir(d->paths->home, folder, &err)) {
        doctor_say(d, "keys", DOCTOR_FAIL, err.hint, "%s", err.msg);
        return;
    }
    *strrchr(folder, '/') = '\0';
    if (statfs(folder, &fs) == 0 && (unsigned long)fs.f_type == TMPFS_MAGIC)
        doctor_say(d, "keys", DOCTOR_OK, "", "kept in memory at '%s'", folder);
    else
        doctor_say(d, "keys", DOCTOR_WARN, "mount a tmpfs there, or set XDG_RUNTIME_DIR to one",
                   "'%s' is not in memory: provider keys would lie on a disk while a server runs",
                   folder);
}
