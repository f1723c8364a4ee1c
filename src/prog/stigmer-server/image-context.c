#include "prog/stigmer-server/image-context.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/own.h"
#include "base/str.h"
#include "svc/container-spec.h"

#define BLOCK 512
#define NAME 100
#define PROGRAM_MAX (256 << 20)

/* POSIX.1-1988 ustar. */
struct header {
    char name[NAME], mode[8], uid[8], gid[8], size[12], mtime[12], sum[8], type, link[NAME];
    char magic[6], version[2], user[32], group[32], major[8], minor[8], prefix[155], rest[12];
};
_Static_assert(sizeof(struct header) == BLOCK, "a header is one block");

static enum err_code put(int fd, const void *data, size_t len, struct err *err)
{
    const char *p = data;

    while (len) {
        ssize_t n = write(fd, p, len);

        if (n <= 0)
            return err_sys(err, n < 0 ? errno : EIO, "write the build's files in memory");
        p += n;
        len -= (size_t)n;
    }
    return ERR_OK;
}

static enum err_code put_header(int fd, const char *name, int mode, int64_t size, struct err *err)
{
    struct header h = {.type = '0', .magic = "ustar", .version = {'0', '0'}};
    unsigned sum = 0;

    (void)str_format(h.name, sizeof h.name, "%s", name);
    (void)snprintf(h.mode, sizeof h.mode, "%07o", (unsigned)mode);
    memcpy(h.uid, "0000000", 8);
    memcpy(h.gid, "0000000", 8);
    (void)snprintf(h.size, sizeof h.size, "%011llo", (unsigned long long)size);
    memcpy(h.mtime, "00000000000", 12);
    memset(h.sum, ' ', sizeof h.sum);
    for (size_t i = 0; i < sizeof h; i++)
        sum += ((const unsigned char *)&h)[i];
    (void)snprintf(h.sum, sizeof h.sum, "%06o", sum);
    h.sum[7] = ' ';
    return put(fd, &h, sizeof h, err);
}

static enum err_code pad(int fd, int64_t size, struct err *err)
{
    static const char zeros[BLOCK];

    return put(fd, zeros, (size_t)(BLOCK - size % BLOCK) % BLOCK, err);
}

static enum err_code put_text(int fd, const char *name, const struct buf *text, struct err *err)
{
    enum err_code code = put_header(fd, name, 0644, (int64_t)text->len, err);

    if (!code)
        code = put(fd, text->data, text->len, err);
    return code ? code : pad(fd, (int64_t)text->len, err);
}

static enum err_code put_file(int fd, const char *name, const char *path, struct err *err)
{
    OWN_FD int from = open(path, O_RDONLY | O_CLOEXEC);
    char chunk[65536];
    struct stat st;
    int64_t left;
    enum err_code code;

    if (from < 0 || fstat(from, &st) < 0)
        return err_sys(err, errno, "read the runner '%s'", path);
    if (st.st_size > PROGRAM_MAX)
        return err_set(err, ERR_LIMIT, "the runner '%s' has more than %d MiB", path,
                       PROGRAM_MAX >> 20);
    code = put_header(fd, name, 0755, st.st_size, err);
    for (left = st.st_size; !code && left > 0;) {
        ssize_t n = read(from, chunk, sizeof chunk);

        if (n <= 0 || n > left)
            return err_set(err, ERR_IO, "the runner '%s' changed while it was read", path);
        code = put(fd, chunk, (size_t)n, err);
        left -= n;
    }
    return code ? code : pad(fd, st.st_size, err);
}

/* As image/Dockerfile has it, on other files. By id: that one, local, and never fetched. */
static void write_recipe(struct buf *b, const char *base_id, const char *base)
{
    buf_printf(b,
               "FROM %s\n"
               "COPY agent-runner /usr/bin/agent-runner\n"
               "LABEL " CONTAINER_SPEC_LABEL_COMPONENT "=" CONTAINER_SPEC_COMPONENT_RUNNER
               " " CONTAINER_SPEC_LABEL_VERSION "=\"%s\" " CONTAINER_SPEC_LABEL_BASE "=\"%s\"\n"
               "USER 0:0\n"
               "WORKDIR /\n"
               "STOPSIGNAL SIGTERM\n"
               "HEALTHCHECK --interval=30s --timeout=5s --start-period=5s --retries=3 "
               "CMD [\"/usr/bin/agent-runner\", \"healthcheck\"]\n"
               "ENTRYPOINT [\"/usr/bin/agent-runner\"]\n"
               "CMD [\"launch\"]\n",
               str_starts(base_id, "sha256:") ? base_id + 7 : base_id, STIGMER_VERSION, base);
}

enum err_code image_context_make(const char *program, const char *base_id, const char *base,
                                 int *ret_fd, int64_t *ret_len, struct err *err)
{
    static const char end[2 * BLOCK];
    OWN_FD int fd = memfd_create("stigmer-build", MFD_CLOEXEC);
    OWN_BUF struct buf recipe = {0};
    enum err_code code;

    write_recipe(&recipe, base_id, base);
    if (fd < 0)
        return err_sys(err, errno, "make a file in memory");
    if ((code = put_text(fd, "Dockerfile", &recipe, err)) ||
        (code = put_file(fd, "agent-runner", program, err)) ||
        (code = put(fd, end, sizeof end, err)))
        return code;
    *ret_len = lseek(fd, 0, SEEK_CUR);
    if (lseek(fd, 0, SEEK_SET) < 0)
        return err_sys(err, errno, "rewind the build's files");
    *ret_fd = take_fd(&fd);
    return ERR_OK;
}
