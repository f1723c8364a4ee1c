#include "platform/vault.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/own.h"
#include "base/str.h"

#define VERSION 1
#define KEY_SIZE crypto_aead_xchacha20poly1305_ietf_KEYBYTES
#define NONCE_SIZE crypto_aead_xchacha20poly1305_ietf_NPUBBYTES
#define TAG_SIZE crypto_aead_xchacha20poly1305_ietf_ABYTES
#define HEAD_SIZE (1 + NONCE_SIZE)
#define FILE_MAX (HEAD_SIZE + VAULT_VALUE_MAX + TAG_SIZE)

bool vault_name_is_valid(const char *name)
{
    size_t n = strlen(name);

    return n > 0 && n <= VAULT_NAME_MAX &&
           strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789._-") == n && name[0] != '.' &&
           name[0] != '_' && name[0] != '-';
}

static enum err_code check_name(const char *name, struct err *err)
{
    if (vault_name_is_valid(name))
        return ERR_OK;
    return err_hint(err, err_set(err, ERR_INVALID, "'%.80s' is no name of a secret", name),
                    "1 to %d of a-z 0-9 . _ - and a letter or digit first, such as llm.anthropic",
                    VAULT_NAME_MAX);
}

static enum err_code open_folder(const char *home, bool make, int *ret, struct err *err)
{
    char path[PATH_MAX];
    int fd;

    if (!str_format(path, sizeof path, "%s/data/secrets", home))
        return err_set(err, ERR_INVALID, "the path of the home is too long");
    for (char *p = strchr(path + 1, '/'); make && p; p = strchr(p + 1, '/')) {
        *p = '\0';
        (void)mkdir(path, 0700); /* what is missing shows when the folder itself is opened */
        *p = '/';
    }
    if (make && mkdir(path, 0700) < 0 && errno != EEXIST)
        return err_sys(err, errno, "make the folder '%s'", path);
    fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return err_sys(err, errno, "open the folder '%s'", path);
    *ret = fd;
    return ERR_OK;
}

/* ---- the key ------------------------------------------------------------------------------- */

static enum err_code read_key(int fd, const char *path, bool is_credential, uint8_t *ret,
                              struct err *err)
{
    struct stat st;
    uint8_t more;

    if (fstat(fd, &st) < 0)
        return err_sys(err, errno, "look at '%s'", path);
    if (!is_credential && (st.st_mode & (S_IRWXG | S_IRWXO)))
        return err_hint(
            err, err_set(err, ERR_DENIED, "others can read the key of the secrets, '%s'", path),
            "chmod 600 %.200s", path);
    if (read(fd, ret, KEY_SIZE) != KEY_SIZE || read(fd, &more, 1) != 0)
        return err_hint(err,
                        err_set(err, ERR_CORRUPT, "the key of the secrets, '%s', has not %d bytes",
                                path, (int)KEY_SIZE),
                        "put it back from a copy; or remove it and data/secrets and set them anew");
    return ERR_OK;
}

/* Made whole or not at all: a key half written would lose every secret. */
static enum err_code make_key(const char *home, const char *path, struct err *err)
{
    char temp[PATH_MAX + 8];
    uint8_t key[KEY_SIZE];
    OWN_FD int fd = -1, dir = open(home, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool ok;

    /* One at a time: of two, one would take away what the other writes. */
    if (dir < 0 || flock(dir, LOCK_EX) < 0)
        return err_sys(err, errno, "lock the home '%s'", home);
    (void)str_format(temp, sizeof temp, "%s.new", path);
    (void)unlink(temp);
    fd = open(temp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_sys(err, errno, "make the key of the secrets '%s'", path);
    randombytes_buf(key, sizeof key);
    ok = write(fd, key, sizeof key) == (ssize_t)sizeof key && fsync(fd) == 0 &&
         link(temp, path) == 0 && fsync(dir) == 0;
    sodium_memzero(key, sizeof key);
    if (!ok && errno != EEXIST) /* somebody else was faster: theirs counts */
        err_sys(err, errno, "make the key of the secrets '%s'", path);
    else
        ok = true;
    (void)unlink(temp);
    return ok ? ERR_OK : ERR_IO;
}

static enum err_code get_key(const char *home, bool make, uint8_t *ret, struct err *err)
{
    const char *credentials = getenv("CREDENTIALS_DIRECTORY");
    char path[PATH_MAX];
    OWN_FD int fd = -1;
    enum err_code code;

    if (sodium_init() < 0)
        return err_set(err, ERR_INTERNAL, "libsodium cannot be used");
    if (!str_is_empty(credentials) &&
        str_format(path, sizeof path, "%s/stigmer.key", credentials) &&
        (fd = open(path, O_RDONLY | O_CLOEXEC)) >= 0)
        return read_key(fd, path, true, ret, err);
    if (!str_format(path, sizeof path, "%s/secret.key", home))
        return err_set(err, ERR_INVALID, "the path of the home is too long");
    if (make && access(path, F_OK) < 0 && errno == ENOENT && (code = make_key(home, path, err)))
        return code;
    fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return err_sys(err, errno, "open the key of the secrets '%s'", path);
    return read_key(fd, path, false, ret, err);
}

/* ---- values -------------------------------------------------------------------------------- */

static enum err_code replace(int dir, const char *name, const uint8_t *data, size_t len,
                             struct err *err)
{
    char temp[VAULT_NAME_MAX + 8];
    OWN_FD int fd = -1;

    (void)str_format(temp, sizeof temp, ".%s.new", name);
    if (flock(dir, LOCK_EX) < 0) /* until dir is closed, as in make_key */
        return err_sys(err, errno, "lock the secrets");
    (void)unlinkat(dir, temp, 0);
    fd = openat(dir, temp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd >= 0 && write(fd, data, len) == (ssize_t)len && fsync(fd) == 0 &&
        renameat(dir, temp, dir, name) == 0 && fsync(dir) == 0)
        return ERR_OK;
    err_sys(err, errno, "write the secret '%s'", name);
    (void)unlinkat(dir, temp, 0);
    return err ? err->code : ERR_IO;
}

enum err_code vault_put(const char *home, const char *name, const char *value, struct err *err)
{
    size_t len = strlen(value);
    OWN_FREE uint8_t *file = NULL;
    uint8_t key[KEY_SIZE];
    unsigned long long sealed;
    OWN_FD int dir = -1;
    enum err_code code = check_name(name, err);

    if (code)
        return code;
    if (!len || len > VAULT_VALUE_MAX)
        return err_set(err, ERR_INVALID, "a secret has 1 to %zu bytes, not %zu", VAULT_VALUE_MAX,
                       len);
    if ((code = open_folder(home, true, &dir, err)) || (code = get_key(home, true, key, err)))
        return code;
    file = mem_array(HEAD_SIZE + len + TAG_SIZE, 1);
    file[0] = VERSION;
    randombytes_buf(file + 1, NONCE_SIZE);
    (void)crypto_aead_xchacha20poly1305_ietf_encrypt(
        file + HEAD_SIZE, &sealed, (const uint8_t *)value, len, (const uint8_t *)name, strlen(name),
        NULL, file + 1, key);
    sodium_memzero(key, sizeof key);
    return replace(dir, name, file, HEAD_SIZE + (size_t)sealed, err);
}

static enum err_code spoiled(const char *name, struct err *err)
{
    return err_hint(err,
                    err_set(err, ERR_CORRUPT,
                            "the secret '%s' cannot be opened: its file or the key was changed",
                            name),
                    "stigmer secret set %s", name);
}

static enum err_code read_file(int dir, const char *name, uint8_t **ret, size_t *ret_len,
                               struct err *err)
{
    OWN_FD int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    OWN_FREE uint8_t *data = NULL;
    struct stat st;

    if (fd < 0 && errno == ENOENT)
        return err_hint(err, err_set(err, ERR_NOT_FOUND, "there is no secret '%s'", name),
                        "stigmer secret set %s", name);
    if (fd < 0 || fstat(fd, &st) < 0)
        return err_sys(err, errno, "open the secret '%s'", name);
    if (!S_ISREG(st.st_mode) || st.st_size < (off_t)(HEAD_SIZE + TAG_SIZE) ||
        st.st_size > (off_t)FILE_MAX)
        return spoiled(name, err);
    data = mem_array((size_t)st.st_size, 1);
    if (read(fd, data, (size_t)st.st_size) != st.st_size)
        return err_sys(err, errno, "read the secret '%s'", name);
    *ret_len = (size_t)st.st_size;
    *ret = TAKE(data);
    return ERR_OK;
}

enum err_code vault_get(const char *home, const char *name, char **ret, struct err *err)
{
    OWN_FREE uint8_t *file = NULL;
    uint8_t key[KEY_SIZE];
    size_t len = 0;
    char *value;
    int bad;
    OWN_FD int dir = -1;
    enum err_code code = check_name(name, err);

    if (code)
        return code;
    if (open_folder(home, false, &dir, NULL))
        return err_hint(err, err_set(err, ERR_NOT_FOUND, "there is no secret '%s'", name),
                        "stigmer secret set %s", name);
    if ((code = read_file(dir, name, &file, &len, err)) || (code = get_key(home, false, key, err)))
        return code;
    value = mem_array(len - HEAD_SIZE - TAG_SIZE + 1, 1);
    bad = file[0] != VERSION || crypto_aead_xchacha20poly1305_ietf_decrypt(
                                    (uint8_t *)value, NULL, NULL, file + HEAD_SIZE, len - HEAD_SIZE,
                                    (const uint8_t *)name, strlen(name), file + 1, key);
    sodium_memzero(key, sizeof key);
    if (bad) {
        free(value);
        return spoiled(name, err);
    }
    *ret = value;
    return ERR_OK;
}

enum err_code vault_remove(const char *home, const char *name, struct err *err)
{
    OWN_FD int dir = -1;
    enum err_code code = check_name(name, err);

    if (code)
        return code;
    if (open_folder(home, false, &dir, NULL) || (unlinkat(dir, name, 0) < 0 && errno == ENOENT))
        return err_set(err, ERR_NOT_FOUND, "there is no secret '%s'", name);
    if (faccessat(dir, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
        return err_sys(err, errno, "remove the secret '%s'", name);
    (void)fsync(dir);
    return ERR_OK;
}

enum err_code vault_list(const char *home, vault_fn *fn, void *arg, struct err *err)
{
    char path[PATH_MAX];
    struct dirent **names = NULL;
    struct stat st;
    int count;

    if (!str_format(path, sizeof path, "%s/data/secrets", home))
        return err_set(err, ERR_INVALID, "the path of the home is too long");
    count = scandir(path, &names, NULL, alphasort);
    if (count < 0)
        return errno == ENOENT ? ERR_OK : err_sys(err, errno, "read the folder '%s'", path);
    for (int i = 0; i < count; i++) {
        char file[PATH_MAX + 256];

        (void)str_format(file, sizeof file, "%s/%s", path, names[i]->d_name);
        if (vault_name_is_valid(names[i]->d_name) && lstat(file, &st) == 0 && S_ISREG(st.st_mode))
            fn(names[i]->d_name, (int64_t)st.st_size - (int64_t)(HEAD_SIZE + TAG_SIZE),
               (int64_t)st.st_mtim.tv_sec * 1000 + st.st_mtim.tv_nsec / 1000000, arg);
        free(names[i]);
    }
    free(names);
    return ERR_OK;
}

/* ---- values that are kept elsewhere -------------------------------------------------------- */

#define SEALED "sealed:v1:"
#define BASE64 sodium_base64_VARIANT_ORIGINAL

bool vault_is_sealed(const char *text)
{
    return str_starts(text, SEALED);
}

enum err_code vault_seal(const char *home, const char *value, char **ret, struct err *err)
{
    size_t len = strlen(value), size = NONCE_SIZE + len + TAG_SIZE;
    size_t chars = sodium_base64_encoded_len(size, BASE64);
    OWN_FREE uint8_t *bytes = NULL;
    uint8_t key[KEY_SIZE];
    enum err_code code;

    if (len > VAULT_VALUE_MAX)
        return err_set(err, ERR_LIMIT, "a secret value has at most %zu bytes", VAULT_VALUE_MAX);
    if ((code = get_key(home, true, key, err)))
        return code;
    bytes = mem_array(size, 1);
    randombytes_buf(bytes, NONCE_SIZE);
    (void)crypto_aead_xchacha20poly1305_ietf_encrypt(
        bytes + NONCE_SIZE, NULL, (const uint8_t *)value, len, (const uint8_t *)SEALED,
        strlen(SEALED), NULL, bytes, key);
    sodium_memzero(key, sizeof key);
    *ret = mem_array(strlen(SEALED) + chars, 1);
    memcpy(*ret, SEALED, strlen(SEALED));
    (void)sodium_bin2base64(*ret + strlen(SEALED), chars, bytes, size, BASE64);
    return ERR_OK;
}

enum err_code vault_open(const char *home, const char *sealed, char **ret, struct err *err)
{
    const char *text = sealed + strlen(SEALED);
    size_t room = strlen(text), size = 0;
    OWN_FREE uint8_t *bytes = mem_array(room + 1, 1);
    uint8_t key[KEY_SIZE];
    char *value;
    int bad;
    enum err_code code = get_key(home, false, key, err);

    if (code)
        return code;
    bad = sodium_base642bin(bytes, room, text, room, NULL, &size, NULL, BASE64) != 0 ||
          size < NONCE_SIZE + TAG_SIZE;
    value = mem_array(bad ? 1 : size - NONCE_SIZE - TAG_SIZE + 1, 1);
    bad = bad || crypto_aead_xchacha20poly1305_ietf_decrypt(
                     (uint8_t *)value, NULL, NULL, bytes + NONCE_SIZE, size - NONCE_SIZE,
                     (const uint8_t *)SEALED, strlen(SEALED), bytes, key) != 0;
    sodium_memzero(key, sizeof key);
    if (bad) {
        free(value);
        return err_hint(err,
                        err_set(err, ERR_CORRUPT,
                                "a stored secret cannot be opened: it or secret.key was changed"),
                        "put secret.key back from a copy, or give the value again");
    }
    *ret = value;
    return ERR_OK;
}
