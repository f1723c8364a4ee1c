/* server install and uninstall: units for systemd, for one person or for the machine. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/own.h"
#include "base/str.h"
#include "prog/stigmer/cli.h"
#include "prog/stigmer/cmds.h"
#include "prog/stigmer/out.h"

#define MARK "# Made by `stigmer server install`; `stigmer server uninstall` removes it."

static bool for_machine(const struct cli *cli)
{
    return args_bool(&cli->args, "system", false);
}

static enum err_code folder_of(const struct cli *cli, char ret[PATHS_MAX], struct err *err)
{
    const char *config = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");
    bool fits;

    if (for_machine(cli) && args_bool(&cli->args, "user", false))
        return err_set(err, ERR_INVALID, "--user and --system exclude each other");
    if (for_machine(cli))
        fits = str_format(ret, PATHS_MAX, "/etc/systemd/system");
    else if (!str_is_empty(config))
        fits = str_format(ret, PATHS_MAX, "%s/systemd/user", config);
    else if (!str_is_empty(home))
        fits = str_format(ret, PATHS_MAX, "%s/.config/systemd/user", home);
    else
        return err_set(err, ERR_INVALID, "server install: HOME is not set");
    return fits ? ERR_OK : err_set(err, ERR_INVALID, "the path of the units' folder is too long");
}

/* The keeper is the main process; its child tells that it is ready, so all may.
 * MemoryDenyWriteExecute and RestrictNamespaces are left out: the process runner's tools (node, a
 * JVM) make code at run time, and each tool host enters namespaces of its own. */
static void put_service(const struct cli *cli, struct buf *b)
{
    buf_printf(b,
               MARK "\n"
                    "[Unit]\nDescription=Stigmer: AI agents on this machine\n"
                    "Documentation=man:stigmer(1)\nAfter=network-online.target docker.service "
                    "podman.socket\nWants=network-online.target\n\n"
                    "[Service]\nType=notify\nNotifyAccess=all\nWatchdogSec=30\n"
                    "ExecStart=\"%s\" --home \"%s\" server start --foreground\n"
                    "Restart=on-failure\nRestartSec=2\nKillMode=mixed\nTimeoutStopSec=30\n"
                    "# Keys of model providers, out of the reach of other services:\n"
                    "#LoadCredential=llm.anthropic:/etc/stigmer/anthropic.key\n"
                    "#LoadCredential=llm.openai:/etc/stigmer/openai.key\n"
                    "UMask=0077\nLimitNOFILE=65536\nLimitCORE=0\nNoNewPrivileges=%s\n"
                    "ProtectSystem=full\nProtectKernelTunables=%s\nProtectKernelModules=yes\n"
                    "ProtectClock=yes\nLockPersonality=yes\nRestrictRealtime=yes\n"
                    "SystemCallArchitectures=native\n"
                    "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK\n\n"
                    "[Install]\nWantedBy=%s\n",
               cli->program, cli->paths.home, for_machine(cli) ? "no" : "yes",
               for_machine(cli) ? "no" : "yes",
               for_machine(cli) ? "multi-user.target" : "default.target");
}

static void put_socket(const struct cli *cli, struct buf *b)
{
    buf_printf(b, MARK "\n"
                       "[Unit]\nDescription=Stigmer's API\n\n"
                       "[Socket]\nListenStream=127.0.0.1:7234\nFileDescriptorName=tcp\n"
                       "Service=stigmer.service\n\n[Install]\nWantedBy=sockets.target\n");
    (void)cli;
}

/* A file of ours, or none: anything else is a person's own. */
static enum err_code check_ours(const char *path, struct err *err)
{
    OWN_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
    char head[sizeof MARK] = "";

    if (fd < 0 && errno == ENOENT)
        return ERR_OK;
    if (fd < 0 || read(fd, head, sizeof head - 1) < 0)
        return err_sys(err, errno, "cannot read %s", path);
    if (str_eq(head, MARK))
        return ERR_OK;
    return err_hint(err,
                    err_set(err, ERR_CONFLICT, "%s is there and was not made by stigmer", path),
                    "move it away, or see what would be written: stigmer server install --print");
}

static enum err_code make_parents(const char *path, struct err *err)
{
    char part[PATHS_MAX + 32];

    (void)str_format(part, sizeof part, "%s", path);
    for (char *p = strchr(part + 1, '/'); p; p = strchr(p + 1, '/')) {
        *p = '\0';
        if (mkdir(part, 0755) && errno != EEXIST)
            return err_sys(err, errno, "cannot make the folder %s", part);
        *p = '/';
    }
    return ERR_OK;
}

static enum err_code write_unit(const char *path, struct buf *text, struct err *err)
{
    OWN_FD int fd = -1;
    enum err_code code = check_ours(path, err);

    if (!code)
        code = make_parents(path, err);
    if (code)
        return code;
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0 || !out_flush(fd, text))
        return err_sys(err, errno, "cannot write %s", path);
    return ERR_OK;
}

int cmd_server_install_run(struct cli *cli)
{
    static const char *const names[] = {"stigmer.service", "stigmer.socket"};
    static void (*const puts_of[])(const struct cli *, struct buf *) = {put_service, put_socket};
    const char *flag = for_machine(cli) ? "" : "--user ";
    char folder[PATHS_MAX], path[PATHS_MAX + 32];
    struct err err = {0};

    if (folder_of(cli, folder, &err))
        return cli_fail(cli, &err);
    for (int i = 0; i < 2; i++) {
        OWN_BUF struct buf b = {0};

        puts_of[i](cli, &b);
        (void)str_format(path, sizeof path, "%s/%s", folder, names[i]);
        if (args_bool(&cli->args, "print", false)) {
            printf("# %s\n", path);
            fflush(stdout);
            (void)out_flush(STDOUT_FILENO, &b);
            continue;
        }
        if (write_unit(path, &b, &err))
            return cli_fail(cli, &err);
        cli_note(cli, "written: %s", path);
    }
    if (!args_bool(&cli->args, "print", false))
        cli_note(cli, "next: systemctl %sdaemon-reload && systemctl %senable --now stigmer", flag,
                 flag);
    return EXIT_OK;
}

int cmd_server_install_remove(struct cli *cli)
{
    static const char *const names[] = {"stigmer.service", "stigmer.socket"};
    char folder[PATHS_MAX], path[PATHS_MAX + 32];
    struct err err = {0};

    if (folder_of(cli, folder, &err))
        return cli_fail(cli, &err);
    for (int i = 0; i < 2; i++) {
        (void)str_format(path, sizeof path, "%s/%s", folder, names[i]);
        if (check_ours(path, &err))
            return cli_fail(cli, &err);
        if (unlink(path) == 0)
            cli_note(cli, "removed: %s", path);
    }
    cli_note(cli, "next: systemctl %sdaemon-reload", for_machine(cli) ? "" : "--user ");
    return EXIT_OK;
}
