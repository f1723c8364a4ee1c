#include "platform/secret-file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/own.h"

enum err_code secret_file_open(const char *what, const char *path, int *ret_fd, struct err *err)
{
    OWN_FD int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat st;

    if (fd < 0 || fstat(fd, &st) < 0)
        return err_sys(err, errno, "cannot open the %s '%.300s'", what, path);
    if (!S_ISREG(st.st_mode))
        return err_set(err, ERR_INVALID, "the %s '%.300s' is no file", what, path);
    if (st.st_uid != geteuid() && st.st_uid != 0)
        return err_set(err, ERR_DENIED, "the %s '%.300s' belongs to another user (%u)", what, path,
                       (unsigned)st.st_uid);
    if (st.st_mode & 077)
        return err_hint(err,
                        err_set(err, ERR_DENIED, "others may use the %s '%.300s' (mode %03o)", what,
                                path, (unsigned)(st.st_mode & 0777)),
                        "chmod 600 '%.200s'", path);
    *ret_fd = take_fd(&fd);
    return ERR_OK;
}

enum err_code secret_file_check_token(const char *text, const char *from, struct err *err)
{
    size_t n = strlen(text);

    for (const char *p = text; *p; p++)
        if (*p <= ' ' || *p > '~')
            return err_set(err, ERR_INVALID,
                           "%.300s does not hold a token: one line of visible ASCII characters",
                           from);
    if (n < SECRET_FILE_TOKEN_MIN || n > SECRET_FILE_TOKEN_MAX)
        return err_hint(err,
                        err_set(err, ERR_INVALID,
                                "the token in %.300s has %zu characters; %d to %d are accepted",
                                from, n, SECRET_FILE_TOKEN_MIN, SECRET_FILE_TOKEN_MAX),
                        "openssl rand -hex 32 makes a good one");
    return ERR_OK;
}

enum err_code secret_file_token(const char *path, char **ret, struct err *err)
{
    OWN_FD int fd = -1;
    enum err_code code = secret_file_open("token file", path, &fd, err);
    char text[SECRET_FILE_TOKEN_MAX + 3];
    ssize_t n;

    if (code)
        return code;
    n = read(fd, text, sizeof text - 1);
    if (n < 0)
        return err_sys(err, errno, "cannot read the token file '%.300s'", path);
    text[n] = '\0';
    text[strcspn(text, "\r\n")] = '\0' /* what follows the first line is looked at below */;
    size_t len = strlen(text);
    for (ssize_t i = (ssize_t)len + 1; i < n && !code; i++)
        if (text[i] != '\n' && text[i] != '\r')
            code =
                err_set(err, ERR_INVALID, "the token file '%.300s' has more than one line", path);
    if (!code)
        code = secret_file_check_token(text, path, err);
    if (!code)
        *ret = mem_str(text);
    explicit_bzero(text, sizeof text);
    return code;
}
