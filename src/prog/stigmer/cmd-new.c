/* new: a small agent project that works as it is. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/own.h"
#include "base/str.h"
#include "core/resource.h"
#include "prog/stigmer/cli.h"
#include "prog/stigmer/cmds.h"
#include "prog/stigmer/out.h"

static void put_agent(struct buf *b, const char *name)
{
    buf_printf(
        b,
        "# An agent of Stigmer: what it is told. `stigmer apply -f agent.yaml` makes or updates "
        "it.\n"
        "apiVersion: agentic.stigmer.ai/v1\n"
        "kind: Agent\n"
        "metadata: {name: %s}\n"
        "spec:\n"
        "  description: Helps in this folder\n"
        "  instructions: |\n"
        "    You help with the files in your workspace. Look at what is there before you answer.\n"
        "    Change only what you are asked to change, and say in one or two sentences what you "
        "did.\n",
        name);
}

static void put_readme(struct buf *b, const char *name)
{
    buf_printf(b,
               "# %s\n\n"
               "An agent for [Stigmer](https://stigmer.ai): `agent.yaml` says what it is told.\n\n"
               "```sh\n"
               "stigmer server start\n"
               "stigmer apply -f agent.yaml\n"
               "stigmer run %s -m \"What is in this folder?\" --workspace .\n"
               "```\n\n"
               "`stigmer doctor` tells what is missing, such as a model or its key. `stigmer ps "
               "-a` lists what ran,\n"
               "`stigmer server stop` ends the server.\n",
               name, name);
}

static void put_ignore(struct buf *b, const char *name)
{
    (void)name;
    buf_puts(b, "# What an agent's tools keep beside their work\n.stigmer/\n*.cassette\n");
}

static const struct {
    const char *file;
    void (*put)(struct buf *b, const char *name);
} files[] = {{"agent.yaml", put_agent}, {"README.md", put_readme}, {".gitignore", put_ignore}};

/* The first file a person can see in there; "" for none. */
static void visible(int dir, char ret[NAME_MAX + 1])
{
    DIR *d = fdopendir(dup(dir));
    const struct dirent *e;

    *ret = '\0';
    while (d && (e = readdir(d)))
        if (e->d_name[0] != '.' || str_eq(e->d_name, ".gitignore")) {
            (void)str_format(ret, NAME_MAX + 1, "%s", e->d_name);
            break;
        }
    if (d)
        (void)closedir(d);
}

static enum err_code name_of(const char *path, char ret[RESOURCE_SLUG], struct err *err)
{
    char real[PATH_MAX];
    const char *base = realpath(path, real) ? strrchr(real, '/') + 1 : "";

    resource_make_slug(base, ret);
    return *ret ? ERR_OK
                : err_set(err, ERR_INVALID,
                          "'%.200s' gives an agent no name: use letters or digits", path);
}

static enum err_code open_folder(const char *path, int *ret, struct err *err)
{
    char there[NAME_MAX + 1];
    OWN_FD int dir = -1;

    if (mkdir(path, 0755) && errno != EEXIST)
        return err_sys(err, errno, "cannot make the folder %.300s", path);
    dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0)
        return err_sys(err, errno, "cannot open the folder %.300s", path);
    visible(dir, there);
    if (*there)
        return err_hint(
            err, err_set(err, ERR_CONFLICT, "%.300s is not empty: there is %.100s", path, there),
            "stigmer new ANOTHER-FOLDER");
    *ret = take_fd(&dir);
    return ERR_OK;
}

static enum err_code write_all(int dir, const char *name, struct err *err)
{
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        OWN_BUF struct buf b = {0};
        OWN_FD int fd = openat(dir, files[i].file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);

        files[i].put(&b, name);
        if (fd < 0 || !out_flush(fd, &b))
            return err_sys(err, errno, "cannot write %s", files[i].file);
    }
    return ERR_OK;
}

/* As a shell reads it back: quoted where the name is not plain. */
static void put_cd(struct buf *b, const char *path)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                "._/-";
    bool quoted = path[strspn(path, plain)] != '\0';

    buf_printf(b, "cd %s%s", path[0] == '-' ? "./" : "", quoted ? "'" : "");
    for (const char *p = path; *p; p++)
        if (*p == '\'')
            buf_puts(b, "'\\''");
        else
            buf_putc(b, *p);
    buf_printf(b, "%s && ", quoted ? "'" : "");
}

int cmd_new_run(struct cli *cli)
{
    const char *path = cli_word(cli, 0) ? cli_word(cli, 0) : ".";
    char name[RESOURCE_SLUG];
    OWN_BUF struct buf cd = {0};
    struct err err = {0};
    OWN_FD int dir = -1;
    json_t *o;

    if (open_folder(path, &dir, &err) || name_of(path, name, &err) || write_all(dir, name, &err))
        return cli_fail(cli, &err);
    if (cli->format == CLI_TEXT) {
        cli_note(cli, "an agent named %s is in %s", name, path);
        if (!str_eq(path, "."))
            put_cd(&cd, path);
        cli_note(cli,
                 "next: %sstigmer server start && stigmer apply -f agent.yaml && stigmer run "
                 "%s -m \"What is in this folder?\" -w .",
                 buf_text(&cd), name);
        return EXIT_OK;
    }
    o = json_pack("{s:s,s:s,s:s,s:[s,s,s]}", "schema", "stigmer.cli/new/v1", "folder", path,
                  "agent", name, "files", files[0].file, files[1].file, files[2].file);
    out_document(cli, o);
    json_decref(o);
    return EXIT_OK;
}
