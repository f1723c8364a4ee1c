/* What is stale: see prune.h. */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/own.h"
#include "base/str.h"
#include "base/ulid.h"
#include "platform/tree.h"
#include "prog/stigmer-server/engine-ask.h"
#include "prog/stigmer-server/prune-impl.h"
#include "svc/container-spec.h"
#include "svc/keys.h"

#define UNKNOWN_MS                                                                                 \
    60000               /* how long a container may be there before its server has noted its id    \
                         */
#define QUIET_MS 600000 /* after a run: its tool host may still be warm */
#define SECOND 1000

static const char *text_of(const json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));

    return s ? s : "";
}

static int64_t mtime_ms(const struct stat *st)
{
    return (int64_t)st->st_mtim.tv_sec * SECOND + st->st_mtim.tv_nsec / 1000000;
}

static int64_t disk_bytes(const struct stat *st)
{
    return (int64_t)st->st_blocks * 512;
}

/* ---- containers ---------------------------------------------------------------------------- */

static bool file_names(const char *path, const char *id)
{
    OWN_FD int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    char text[80] = "";
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);

    if (n <= 0)
        return false;
    text[strcspn(text, "\n")] = '\0';
    return str_eq(text, id);
}

static bool is_session_file(const char *name)
{
    return str_starts(name, "container-") && str_ends(name, ".id");
}

/* Has the server that runs written this id down? */
static bool is_known(const struct prune *p, const char *id)
{
    char path[PATHS_MAX + 256];
    const struct dirent *e;
    DIR *dir = opendir(p->paths->run);
    bool known = file_names(p->paths->container_id, id);

    while (dir && !known && (e = readdir(dir)))
        known = is_session_file(e->d_name) &&
                str_format(path, sizeof path, "%s/%s", p->paths->run, e->d_name) &&
                file_names(path, id);
    if (dir)
        (void)closedir(dir);
    return known;
}

static void find_containers(struct prune *p)
{
    struct err err = {0};
    json_t *list = engine_ask_list(p->paths, &err), *c;
    size_t i;

    json_array_foreach(list, i, c)
    {
        const char *name = json_string_value(json_array_get(json_object_get(c, "Names"), 0));
        int64_t made = json_integer_value(json_object_get(c, "Created")) * SECOND;
        json_t *item;

        if (p->is_live && (is_known(p, text_of(c, "Id")) || p->now_ms - made < UNKNOWN_MS))
            continue;
        name = str_is_empty(name) ? text_of(c, "Id") : name + (*name == '/');
        item = prune_add(p, &(struct prune_item){
                                .kind = "container",
                                .what = name,
                                .path = text_of(c, "Id"),
                                .why = p->is_live ? "of this home, and its server does not know it"
                                                  : "of this home, and no server of it runs",
                                .bytes = -1,
                                .since_ms = made});
        json_object_set_new(item, "engine", json_string(text_of(c, "Engine")));
        json_object_set_new(item, "socket", json_string(text_of(c, "Socket")));
    }
    json_decref(list);
    if (err.code)
        prune_warn(p, "containers may be left: %s", err.msg);
}

/* ---- files --------------------------------------------------------------------------------- */

static void add_file(struct prune *p, const char *kind, const char *path, const char *why)
{
    size_t home = strlen(p->paths->home) + 1;
    struct stat st;

    if (lstat(path, &st) < 0 || S_ISDIR(st.st_mode))
        return;
    prune_add(p, &(struct prune_item){.kind = kind,
                                      .what = str_starts(path, p->paths->home) ? path + home : path,
                                      .path = path,
                                      .why = why,
                                      .bytes = disk_bytes(&st),
                                      .since_ms = mtime_ms(&st)});
}

/* A socket may be somebody's who is no server of ours: a service manager that waits to start one. A
 * connection would wake it, so the kernel's list is read (proc(5): the path is the last column). */
static bool is_bound(const char *path)
{
    FILE *f = fopen("/proc/net/unix", "re");
    char line[PATHS_MAX + 128];
    bool found = false;

    while (f && !found && fgets(line, sizeof line, f)) {
        line[strcspn(line, "\n")] = '\0';
        found = str_ends(line, path) && line[strlen(line) - strlen(path) - 1] == ' ';
    }
    if (f)
        (void)fclose(f);
    return found;
}

static void add_socket(struct prune *p, const char *path, const char *why)
{
    if (!is_bound(path))
        add_file(p, "socket", path, why);
}

static void find_run_files(struct prune *p)
{
    static const char why[] = "no server of this home runs";
    char path[PATHS_MAX + 256], keys[KEYS_PATH];
    const struct dirent *e;
    struct stat st;
    DIR *dir;

    if (p->is_live)
        return;
    add_socket(p, p->paths->api_sock, why);
    add_socket(p, p->paths->runner_sock, why);
    add_file(p, "id", p->paths->pid_file, why);
    add_file(p, "id", p->paths->state_file, why);
    add_file(p, "id", p->paths->container_id, why);
    dir = opendir(p->paths->run);
    while (dir && (e = readdir(dir)))
        if (is_session_file(e->d_name) &&
            str_format(path, sizeof path, "%s/%s", p->paths->run, e->d_name))
            add_file(p, "id", path, why);
    if (dir)
        (void)closedir(dir);
    if (keys_dir(p->paths->home, keys, NULL) == ERR_OK && lstat(keys, &st) == 0 &&
        S_ISDIR(st.st_mode) && st.st_uid == geteuid())
        prune_add(p, &(struct prune_item){.kind = "keys",
                                          .what = keys,
                                          .path = keys,
                                          .why = why,
                                          .bytes = -1,
                                          .since_ms = mtime_ms(&st)});
}

/* What was written to be renamed, and was not: NAME.new. */
static void find_temp(struct prune *p, const char *folder)
{
    char path[PATHS_MAX + 256];
    const struct dirent *e;
    DIR *dir = opendir(folder);
    struct stat st;

    while (dir && (e = readdir(dir)))
        if (str_ends(e->d_name, ".new") &&
            str_format(path, sizeof path, "%s/%s", folder, e->d_name) && lstat(path, &st) == 0 &&
            S_ISREG(st.st_mode) && p->now_ms - mtime_ms(&st) >= UNKNOWN_MS)
            add_file(p, "temp", path, "a write that was not finished");
    if (dir)
        (void)closedir(dir);
}

static void find_temps(struct prune *p)
{
    char secrets[PATHS_MAX + 16];

    (void)str_format(secrets, sizeof secrets, "%s/secrets", p->paths->data);
    find_temp(p, p->paths->home);
    find_temp(p, p->paths->data);
    find_temp(p, p->paths->run);
    find_temp(p, secrets);
}

/* Of the store, before a migration. The newest one is what `doctor` would have put back. */
static void find_backups(struct prune *p)
{
    char path[PATHS_MAX + 256], newest[256] = "";
    const struct dirent *e;
    int64_t newest_ms = 0;
    struct stat st;
    DIR *dir = p->before_ms ? opendir(p->paths->data) : NULL;

    for (int round = 0; dir && round < 2; round++) {
        rewinddir(dir);
        while ((e = readdir(dir))) {
            if (!str_starts(e->d_name, "stigmer.db.bak-") ||
                !str_format(path, sizeof path, "%s/%s", p->paths->data, e->d_name) ||
                lstat(path, &st) < 0)
                continue;
            if (round == 1 && !str_eq(e->d_name, newest) && mtime_ms(&st) < p->before_ms) {
                add_file(p, "backup", path, "of the store, and not the newest");
            } else if (round == 0 && mtime_ms(&st) >= newest_ms) {
                newest_ms = mtime_ms(&st);
                (void)str_format(newest, sizeof newest, "%s", e->d_name);
            }
        }
    }
    if (dir)
        (void)closedir(dir);
}

/* ---- workspaces ---------------------------------------------------------------------------- */

static void add_workspace(struct prune *p, const char *kind, const char *name, const char *why,
                          int64_t since_ms)
{
    char what[320];
    struct tree_size size;
    json_t *item;

    tree_measure(p->workspace, name, &size);
    (void)str_format(what, sizeof what, "data/workspace/%s", name);
    item = prune_add(
        p, &(struct prune_item){.kind = kind,
                                .what = what,
                                .path = name,
                                .why = size.has_mount ? "something is mounted in it" : why,
                                .bytes = size.bytes,
                                .since_ms = since_ms});
    if (size.is_part)
        json_object_set_new(item, "bytesAtLeast", json_true());
}

static void look_at_session(struct prune *p, const char *name, const struct stat *st)
{
    struct prune_session s;
    struct err err;
    int64_t last;

    if (prune_session_ask(p, name, &s, &err)) {
        if (p->db)
            prune_warn(p, "'data/workspace/%s' is left alone: %s", name, err.msg);
        return;
    }
    last = s.last_ms > mtime_ms(st) ? s.last_ms : mtime_ms(st);
    if (S_ISLNK(st->st_mode)) {
        if (!s.exists && !s.is_running)
            add_workspace(p, "link", name, "its session is gone; the folder itself stays", last);
        return;
    }
    if (!S_ISDIR(st->st_mode) || !p->before_ms || last >= p->before_ms || s.is_running ||
        (p->is_live && s.exists && p->now_ms - last < QUIET_MS))
        return;
    add_workspace(p, "workspace", name,
                  s.exists ? "its session has no run under way" : "its session is gone", last);
}

static void find_workspaces(struct prune *p)
{
    int fd = p->workspace < 0 ? -1 : openat(p->workspace, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    const struct dirent *e;
    struct stat st;

    while (dir && (e = readdir(dir))) {
        if (fstatat(fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
            continue;
        if (str_starts(e->d_name, PRUNE_TRASH "ses-"))
            add_workspace(p, "temp", e->d_name, "a removal that was not finished", mtime_ms(&st));
        else if (str_starts(e->d_name, "ses-") && ulid_is_valid(e->d_name + 4))
            look_at_session(p, e->d_name, &st);
    }
    if (dir)
        (void)closedir(dir);
    else if (fd >= 0)
        (void)close(fd);
}

void prune_find_all(struct prune *p)
{
    find_containers(p);
    find_run_files(p);
    find_temps(p);
    find_workspaces(p);
    find_backups(p);
}
