#include "prog/agent-runner/key-files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/own.h"
#include "base/str.h"

static const struct {
    const char *variable, *name;
} named[] = {
    {"STIGMER_RUNNER_TOKEN_FILE", "runner.token"},
    {"STIGMER_TLS_CA", "server.ca"},
    {"ANTHROPIC_API_KEY_FILE", "llm.anthropic"},
    {"OPENAI_API_KEY_FILE", "llm.openai"},
    {"TEMPORAL_TLS_CA", "temporal.ca"},
    {"TEMPORAL_TLS_CERT", "temporal.cert"},
    {"TEMPORAL_TLS_KEY", "temporal.key"},
    {"TEMPORAL_API_KEY_FILE", "temporal.api_key"},
};

/* Takes the content without the white space of its end. False: longer than a key may be. */
static bool take(json_t *keys, const char *name, int fd)
{
    char text[KEY_FILES_BYTES + 1];
    ssize_t n = 0, got;

    while ((got = read(fd, text + n, sizeof text - (size_t)n)) > 0)
        n += got;
    bool fits = (size_t)n < sizeof text;

    while (n > 0 && (text[n - 1] == '\n' || text[n - 1] == '\r'))
        n--;
    if (fits && n > 0)
        json_object_set_new(keys, name, json_stringn(text, (size_t)n));
    explicit_bzero(text, sizeof text);
    return fits;
}

static void add_key(json_t *keys, int dir, const char *name)
{
    OWN_FD int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    struct stat st;

    if (fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
        (void)take(keys, name, fd);
}

/* Back from another user's id. */
static enum err_code be_root(bool changed, struct err *err)
{
    return changed && seteuid(0) < 0 ? err_sys(err, errno, "cannot become root again") : ERR_OK;
}

/* As the folder's owner: root without DAC_OVERRIDE could not. */
static enum err_code read_folder(const char *path, json_t *keys, struct err *err)
{
    DIR *dir = opendir(path);
    struct stat st;
    const struct dirent *e;
    bool changed = false;

    if (!dir && errno == EACCES && geteuid() == 0 && stat(path, &st) == 0) {
        changed = seteuid(st.st_uid) == 0;
        dir = opendir(path);
    } else if (dir && geteuid() == 0 && fstat(dirfd(dir), &st) == 0) {
        changed = seteuid(st.st_uid) == 0;
    }
    if (!dir)
        return err_sys(err, errno, "cannot read the keys folder %.200s", path);
    while ((e = readdir(dir)) && json_object_size(keys) < KEY_FILES_MAX)
        if (e->d_name[0] != '.')
            add_key(keys, dirfd(dir), e->d_name);
    (void)closedir(dir);
    return be_root(changed, err);
}

static enum err_code read_named(const char *variable, const char *name, const char *path,
                                json_t *keys, struct err *err)
{
    OWN_FD int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    struct stat st;
    bool changed = false;

    if (fd < 0 && errno == EACCES && geteuid() == 0 && stat(path, &st) == 0) {
        changed = seteuid(st.st_uid) == 0;
        fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    }
    int sys = errno;

    if (be_root(changed, err))
        return err->code;
    if (fd < 0)
        return err_sys(err, sys, "%s: cannot read '%.200s'", variable, path);
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
        return err_set(err, ERR_INVALID, "%s: '%.200s' is no file", variable, path);
    json_object_del(keys, name);
    if (!take(keys, name, fd))
        return err_set(err, ERR_LIMIT, "%s: '%.200s' has more than %zu bytes", variable, path,
                       KEY_FILES_BYTES);
    if (!json_object_get(keys, name))
        return err_set(err, ERR_INVALID, "%s: '%.200s' holds no text", variable, path);
    return ERR_OK;
}

static enum err_code read_all(json_t *keys, struct err *err)
{
    const char *folder = getenv("STIGMER_KEYS_DIR");
    enum err_code code = str_is_empty(folder) ? ERR_OK : read_folder(folder, keys, err);

    for (size_t i = 0; i < sizeof named / sizeof named[0] && !code; i++) {
        const char *path = getenv(named[i].variable);

        if (!str_is_empty(path))
            code = read_named(named[i].variable, named[i].name, path, keys, err);
    }
    return code;
}

enum err_code key_files_seal(int *ret_fd, struct err *err)
{
    OWN_FD int fd = memfd_create("keys", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    json_t *keys = json_object();
    enum err_code code = read_all(keys, err);
    char *text;
    bool ok;

    text = mem_check(json_dumps(keys, JSON_COMPACT));
    json_decref(keys);
    ok = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text) &&
         lseek(fd, 0, SEEK_SET) == 0 &&
         fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) == 0;
    explicit_bzero(text, strlen(text));
    free(text);
    if (code)
        return code;
    if (!ok)
        return err_sys(err, errno, "cannot keep the keys");
    *ret_fd = take_fd(&fd);
    return ERR_OK;
}
