/* main.c — stigmer-server's command line. The CLI starts it; a person does so with --foreground. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/own.h"
#include "base/str.h"
#include "platform/notify.h"
#include "prog/stigmer-server/cleanup.h"
#include "prog/stigmer-server/doctor.h"
#include "prog/stigmer-server/folders.h"
#include "prog/stigmer-server/image.h"
#include "prog/stigmer-server/keeper-link.h"
#include "prog/stigmer-server/models-main.h"
#include "prog/stigmer-server/prune.h"
#include "prog/stigmer-server/runner-logs.h"
#include "prog/stigmer-server/serve.h"
#include "prog/stigmer-server/settings.h"

enum what { KEEP, SERVE, CLEAN_UP, DOCTOR, MODEL, PRUNE, IMAGE, RUNNER_LOGS };

struct command {
    struct settings_args args;
    struct paths paths;
    enum what what;
    bool online, follows;    /* of DOCTOR */
    const char *verb, *name; /* of MODEL */
    const char *before, *fd; /* of PRUNE */
    const char *from, *tag;  /* of IMAGE, as is verb */
};

static const char usage[] =
    "usage: stigmer-server [--home DIR] [--set KEY=VALUE]… [--foreground | --cleanup | --doctor]\n"
    "       stigmer-server --version\n"
    "'stigmer server start' starts it; see stigmer-server(8).\n";

static enum err_code take_fd_number(const char *text, int *ret, struct err *err)
{
    int64_t fd;
    enum err_code code = str_to_int(text, 3, 1024, &fd, err);

    if (!code)
        *ret = (int)fd;
    return code;
}

static enum err_code take_value(struct settings_args *a, const char *flag, const char *value,
                                struct err *err)
{
    if (str_eq(flag, "--home"))
        a->home = value;
    else if (str_eq(flag, "--ready-fd"))
        return take_fd_number(value, &a->ready_fd, err);
    else if (str_eq(flag, "--secrets-fd"))
        return take_fd_number(value, &a->secrets_fd, err);
    else if (str_eq(flag, "--keeper-fd"))
        return take_fd_number(value, &a->keeper_fd, err);
    else if (str_eq(flag, "--sockets"))
        a->sockets = value;
    else if (a->set_count == SETTINGS_SETS)
        return err_set(err, ERR_INVALID, "more than %d settings", SETTINGS_SETS);
    else
        a->sets[a->set_count++] = value;
    return ERR_OK;
}

static bool wants_value(const char *flag)
{
    static const char *const flags[] = {
        "--home", "--ready-fd", "--secrets-fd", "--keeper-fd", "--set", "--sockets", NULL};

    for (size_t i = 0; flags[i]; i++)
        if (str_eq(flag, flags[i]))
            return true;
    return false;
}

static enum err_code parse(int argc, char **argv, struct command *c, struct err *err)
{
    enum err_code code = ERR_OK;

    c->args.ready_fd = c->args.secrets_fd = c->args.keeper_fd = -1;
    for (int i = 1; i < argc && !code; i++) {
        if (wants_value(argv[i]) && i + 1 < argc) {
            code = take_value(&c->args, argv[i], argv[i + 1], err);
            i++;
        } else if (str_eq(argv[i], "--foreground")) {
            c->args.foreground = true;
        } else if (str_eq(argv[i], "--serve")) {
            c->what = SERVE;
        } else if (str_eq(argv[i], "--cleanup")) {
            c->what = CLEAN_UP;
        } else if (str_eq(argv[i], "--model") && i + 1 < argc) {
            c->what = MODEL;
            c->verb = argv[++i];
            c->name = i + 1 < argc ? argv[++i] : "";
        } else if (str_eq(argv[i], "--image") && i + 3 < argc) {
            c->what = IMAGE;
            c->verb = argv[++i];
            c->from = argv[++i];
            c->tag = argv[++i];
        } else if (str_eq(argv[i], "--prune") && i + 2 < argc) {
            c->what = PRUNE;
            c->before = argv[++i];
            c->fd = argv[++i];
        } else if (str_eq(argv[i], "--online")) {
            c->online = true;
        } else if (str_eq(argv[i], "--runner-logs")) {
            c->what = RUNNER_LOGS;
        } else if (str_eq(argv[i], "--follow")) {
            c->follows = true;
        } else if (str_eq(argv[i], "--doctor")) {
            c->what = DOCTOR;
        } else {
            code = err_set(err, ERR_INVALID, "unknown word '%.80s'", argv[i]);
        }
    }
    return code ? code
                : paths_make(c->args.home, getenv("STIGMER_HOME"), getenv("HOME"), &c->paths, err);
}

/* The keeper is this process; what it starts is this program again, with --serve. */
static int keep(const struct command *c, char **argv)
{
    char sockets[640];
    const char *args[SETTINGS_SETS * 2 + 16];
    size_t n = 0;
    struct err err;

    notify_take_sockets(sockets, sizeof sockets);
    for (char **a = argv + 1; *a && n < sizeof args / sizeof args[0] - 3; a++)
        args[n++] = *a;
    if (*sockets) {
        args[n++] = "--sockets";
        args[n++] = sockets;
    }
    args[n] = NULL;
    if (folders_base(&c->paths, &err) == ERR_OK)
        (void)keeper_link_become(&c->paths, c->args.ready_fd, c->args.foreground,
                                 (char *const *)(uintptr_t)args, &err);
    notify_status("", err.msg);
    log_error("start failed", "why", err.msg, "hint", err.hint);
    return (int)err_code_exit(err.code);
}

int main(int argc, char **argv)
{
    struct command c = {0};
    struct err err;

    own_standard_fds();
    if (argc == 2 && str_eq(argv[1], "--version")) {
        (void)puts("stigmer-server " STIGMER_VERSION);
        return EXIT_OK;
    }
    if (parse(argc, argv, &c, &err)) {
        fprintf(stderr, "stigmer-server: error: %s\n%s", err.msg, usage);
        return EXIT_USAGE;
    }
    log_set_unit("stigmer-server");
    if (c.what == CLEAN_UP)
        return cleanup_main(&c.paths);
    if (c.what == DOCTOR)
        return doctor_main(&c.args, &c.paths, c.online);
    if (c.what == IMAGE)
        return image_main(&c.args, &c.paths, c.verb, c.from, c.tag);
    if (c.what == PRUNE)
        return prune_main(&c.paths, c.before, c.fd);
    if (c.what == RUNNER_LOGS)
        return runner_logs_main(&c.paths, c.follows);
    if (c.what == MODEL)
        return models_main(&c.args, &c.paths, c.verb, c.name);
    return c.what == SERVE ? serve_run(&c.args, &c.paths) : keep(&c, argv);
}
