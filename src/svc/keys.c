#include "svc/keys.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <openssl/sha.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/own.h"
#include "base/str.h"

enum err_code keys_dir(const char *home, char ret[KEYS_PATH], struct err *err)
{
    const char *runtime = getenv("XDG_RUNTIME_DIR");
    bool fits;

    if (!str_is_empty(runtime) && runtime[0] == '/' && access(runtime, W_OK) == 0)
        fits = str_format(ret, KEYS_PATH, "%s/stigmer-%016" PRIx64, runtime, str_hash(home));
    else
        fits = str_format(ret, KEYS_PATH, "/dev/shm/stigmer-%u-%016" PRIx64, (unsigned)getuid(),
                          str_hash(home));
    return fits ? ERR_OK : err_set(err, ERR_INVALID, "XDG_RUNTIME_DIR is too long");
}

/* /dev/shm is everybody's: the folder must be ours and nobody else's. */
static enum err_code open_dir(const char *dir, int *ret, struct err *err)
{
    OWN_FD int fd = -1;
    struct stat st;

    if (mkdir(dir, 0700) < 0 && errno != EEXIST)
        return err_hint(err, err_sys(err, errno, "make the folder for keys '%s'", dir),
                        "keys are kept in memory: make /dev/shm a tmpfs of mode 1777, or set "
                        "XDG_RUNTIME_DIR to a folder of yours in memory");
    fd = open(dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0)
        return err_sys(err, errno, "open the folder for keys '%s'", dir);
    if (st.st_uid != getuid() || (st.st_mode & 077))
        return err_hint(err,
                        err_set(err, ERR_DENIED, "'%s' is not a folder of this user alone", dir),
                        "remove it: it was not made by stigmer");
    *ret = take_fd(&fd);
    return ERR_OK;
}

static enum err_code write_at(int dir, const char *name, const char *value, size_t len,
                              struct err *err)
{
    OWN_FD int fd = -1;

    (void)unlinkat(dir, "new", 0);
    fd = openat(dir, "new", O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0400);
    if (fd < 0 || write(fd, value, len) != (ssize_t)len || renameat(dir, "new", dir, name) < 0)
        return err_sys(err, errno, "write the key '%s'", name);
    return ERR_OK;
}

static bool read_token(int dir, char ret[KEYS_TOKEN])
{
    OWN_FD int fd = openat(dir, "runner.token", O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, ret, KEYS_TOKEN - 1);

    if (n != KEYS_TOKEN - 1)
        return false;
    ret[n] = '\0';
    return strspn(ret, "0123456789abcdef") == KEYS_TOKEN - 1;
}

enum err_code keys_open(const char *dir, char ret_token[KEYS_TOKEN], struct err *err)
{
    uint8_t random_bytes[(KEYS_TOKEN - 1) / 2];
    OWN_FD int fd = -1;
    enum err_code code = open_dir(dir, &fd, err);

    if (code || read_token(fd, ret_token))
        return code;
    if (getrandom(random_bytes, sizeof random_bytes, 0) != (ssize_t)sizeof random_bytes)
        return err_sys(err, errno, "make the runner token");
    str_hex(random_bytes, sizeof random_bytes, ret_token);
    return write_at(fd, "runner.token", ret_token, KEYS_TOKEN - 1, err);
}

enum err_code keys_put(const char *dir, const char *name, const char *value, struct err *err)
{
    OWN_FD int fd = -1;
    const char *from = value ? value + strspn(value, " \t\r\n") : "";
    size_t len = strlen(from);
    enum err_code code = open_dir(dir, &fd, err);

    if (code)
        return code;
    while (len && strchr(" \t\r\n", from[len - 1]))
        len--;
    if (len > KEYS_MAX)
        return err_set(err, ERR_LIMIT, "the key '%s' has %zu bytes; the limit is %d", name, len,
                       KEYS_MAX);
    if (len)
        return write_at(fd, name, from, len, err);
    if (unlinkat(fd, name, 0) < 0 && errno != ENOENT)
        return err_sys(err, errno, "remove the key '%s'", name);
    return ERR_OK;
}

enum err_code keys_read_file(const char *path, char **ret, struct err *err)
{
    OWN_FD int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    OWN_FREE char *text = mem_new(KEYS_MAX + 2);
    ssize_t n;

    if (fd < 0 || (n = read(fd, text, KEYS_MAX + 1)) < 0)
        return err_sys(err, errno, "read the key file '%s'", path);
    if (n > KEYS_MAX)
        return err_set(err, ERR_LIMIT, "the key file '%s' has more than %d bytes", path, KEYS_MAX);
    if (text[strspn(text, " \t\r\n")] == '\0')
        return err_set(err, ERR_INVALID, "the key file '%s' is empty", path);
    *ret = TAKE(text);
    return ERR_OK;
}

/* H(token H(token data)): a MAC, because the token is secret and as long as the hash. (HMAC itself
 * cannot be had: its header and base/err.h both name an ERR_STATE.) The order of a folder's names
 * is not told, hence the sum. */
static enum err_code mark_one(int dir, const char *name, const char *token,
                              uint8_t sum[SHA256_DIGEST_LENGTH], struct err *err)
{
    enum { TOKEN_LEN = KEYS_TOKEN - 1 };
    uint8_t text[TOKEN_LEN + NAME_MAX + 1 + KEYS_MAX], one[SHA256_DIGEST_LENGTH];
    size_t head = TOKEN_LEN + strlen(name) + 1;
    OWN_FD int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    ssize_t n;

    memcpy(text, token, TOKEN_LEN);
    memcpy(text + TOKEN_LEN, name, head - TOKEN_LEN);
    if (fd < 0 || (n = read(fd, text + head, KEYS_MAX)) < 0)
        return err_sys(err, errno, "read the key '%s'", name);
    SHA256(text, head + (size_t)n, text + TOKEN_LEN);
    SHA256(text, TOKEN_LEN + SHA256_DIGEST_LENGTH, one);
    explicit_bzero(text, sizeof text);
    for (size_t i = 0; i < sizeof one; i++)
        sum[i] ^= one[i];
    return ERR_OK;
}

enum err_code keys_mark(const char *dir, const char *token, char ret[KEYS_MARK], struct err *err)
{
    uint8_t sum[SHA256_DIGEST_LENGTH] = {0};
    enum err_code code = ERR_OK;
    const struct dirent *e;
    DIR *d = opendir(dir);

    if (!d)
        return err_sys(err, errno, "open the folder for keys '%s'", dir);
    while (!code && (e = readdir(d)))
        if (e->d_name[0] != '.')
            code = mark_one(dirfd(d), e->d_name, token, sum, err);
    closedir(d);
    if (!code)
        str_hex(sum, sizeof sum, ret);
    return code;
}

void keys_remove(const char *dir)
{
    DIR *d = opendir(dir);
    struct dirent *e;

    if (!d)
        return;
    while ((e = readdir(d)))
        if (e->d_name[0] != '.')
            (void)unlinkat(dirfd(d), e->d_name, 0);
    closedir(d);
    (void)rmdir(dir);
}
