#include "prog/stigmer-server/doctor.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/own.h"
#include "base/str.h"
#include "platform/sandbox.h"
#include "platform/sock.h"
#include "prog/stigmer-server/engine-ask.h"
#include "prog/stigmer-server/runner-unit.h"
#include "svc/backend-docker.h"

#define SPACE_LOW ((unsigned long long)256 << 20) /* bytes */

struct doctor {
    const struct settings_args *args;
    const struct paths *paths;
    struct config config;
    json_t *checks;
    bool failed;
};

static void say(struct doctor *d, const char *id, const char *status, const char *detail,
                const char *hint)
{
    d->failed |= str_eq(status, "fail");
    json_array_append_new(d->checks, json_pack("{s:s,s:s,s:s,s:s}", "id", id, "status", status,
                                               "detail", detail, "hint", hint));
}

static void check_config(struct doctor *d)
{
    struct err err;

    if (settings_load(d->args, d->paths, &d->config, &err))
        say(d, "config", "fail", err.msg, *err.hint ? err.hint : "stigmer config validate");
    else
        say(d, "config", "ok", "the settings are valid", "");
}

static void check_home(struct doctor *d)
{
    char detail[PATHS_MAX + 128];
    struct statvfs v;
    bool there = access(d->paths->home, F_OK) == 0;

    if (there && access(d->paths->home, W_OK | X_OK) < 0) {
        (void)str_format(detail, sizeof detail, "'%s': %s", d->paths->home, strerror(errno));
        say(d, "home", "fail", detail, "choose another home with --home or STIGMER_HOME");
        return;
    }
    say(d, "home", "ok", there ? d->paths->home : "will be made at the first start", "");
    if (!there || statvfs(d->paths->home, &v) < 0)
        return;
    (void)str_format(detail, sizeof detail, "%llu MiB are free",
                     (unsigned long long)v.f_bavail * v.f_frsize >> 20);
    say(d, "disk", (unsigned long long)v.f_bavail * v.f_frsize < SPACE_LOW ? "warn" : "ok", detail,
        (unsigned long long)v.f_bavail * v.f_frsize < SPACE_LOW ? "free some space" : "");
}

/* A port that a running server of this home holds is as it should be: the CLI asks that one. */
static void check_port(struct doctor *d)
{
    const char *address = config_get_str(&d->config, CONFIG_SERVER_LISTEN);
    OWN_FD int fd = -1;
    struct err err;

    if (access(d->paths->api_sock, F_OK) == 0)
        say(d, "port", "ok", "this home's server may hold it; see 'stigmer server status'", "");
    else if (sock_listen(address, 0, &fd, &err))
        say(d, "port", "fail", err.msg, "stigmer config set server.listen 127.0.0.1:PORT");
    else
        say(d, "port", "ok", address, "");
}

static void check_sandbox(struct doctor *d)
{
    struct sandbox_report r;
    struct err err;

    sandbox_probe(config_egress(&d->config), &r);
    if (sandbox_require(&r, config_get_str(&d->config, CONFIG_SANDBOX_REQUIRE), &err))
        say(d, "sandbox", "fail", err.msg, err.hint);
    else
        say(d, "sandbox", "ok", config_get_str(&d->config, CONFIG_SANDBOX_REQUIRE), "");
}

static void check_runner(struct doctor *d)
{
    char folder[PATHS_MAX], program[PATHS_MAX + 16];

    if (runner_unit_libexec(folder, NULL) ||
        !str_format(program, sizeof program, "%s/agent-runner", folder) ||
        access(program, X_OK) < 0)
        say(d, "runner", "fail", "agent-runner is not installed beside stigmer-server",
            "scripts/build.sh");
    else
        say(d, "runner", "ok", program, "");
}

static void check_image(struct doctor *d)
{
    const char *image = config_get_str(&d->config, CONFIG_RUNNER_IMAGE);
    char detail[PATHS_MAX + 160], archive[PATHS_MAX];
    bool ours = str_eq(image, BACKEND_DOCKER_IMAGE);
    json_t *there;
    struct err err;

    if (engine_ask_image("docker", image, &there, &err)) {
        say(d, "docker.image", "fail", err.msg, err.hint);
        return;
    }
    if (there) {
        json_decref(there);
        say(d, "docker.image", "ok", image, "");
    } else if (ours && !runner_unit_archive(archive, &err) && access(archive, R_OK) == 0) {
        (void)str_format(detail, sizeof detail, "will be loaded from '%s'", archive);
        say(d, "docker.image", "ok", detail, "");
    } else {
        (void)str_format(detail, sizeof detail, "there is no image '%s'", image);
        say(d, "docker.image", "fail", detail,
            ours ? "scripts/build.sh makes its archive"
                 : "docker pull it, or: stigmer config unset runner.image");
    }
}

/* An engine that is missing is a fault only where it was asked for by name. */
static void check_engine(struct doctor *d)
{
    const char *kind = config_get_str(&d->config, CONFIG_RUNNER_KIND);
    json_t *version;
    struct err err;

    if (str_eq(kind, "process") || str_eq(kind, "none"))
        return;
    if (!engine_ask_version("docker", &version, &err)) {
        say(d, "docker.socket", "ok", json_string_value(json_object_get(version, "Version")), "");
        json_decref(version);
        check_image(d);
    } else if (str_eq(kind, "docker")) {
        say(d, "docker.socket", "fail", err.msg, err.hint);
    } else {
        say(d, "docker.socket", "warn", err.msg,
            "start Docker to have the runner in a container, not as a process");
    }
}

static void check_key(struct doctor *d)
{
    const char *env = config_key_env(config_get_str(&d->config, CONFIG_LLM_PROVIDER));
    const char *file = config_get_str(&d->config, CONFIG_LLM_API_KEY_FILE);
    char hint[160];

    if (!env || !str_is_empty(file) || !str_is_empty(getenv(env))) {
        say(d, "llm.key", "ok", env ? "a key is there" : "this provider needs no key", "");
        return;
    }
    (void)str_format(hint, sizeof hint, "set %s before 'stigmer server start', or llm.api_key_file",
                     env);
    say(d, "llm.key", "warn", "no key for the configured provider", hint);
}

int doctor_main(const struct settings_args *args, const struct paths *paths)
{
    struct doctor d = {.args = args, .paths = paths, .checks = json_array()};
    json_t *whole;

    config_init(&d.config);
    check_config(&d);
    check_home(&d);
    check_port(&d);
    check_runner(&d);
    check_engine(&d);
    check_sandbox(&d);
    check_key(&d);
    whole = json_pack("{s:s,s:b,s:o}", "schema", "stigmer.cli/doctor/v1", "ok", !d.failed, "checks",
                      d.checks);
    (void)json_dumpf(whole, stdout, JSON_COMPACT);
    (void)putchar('\n');
    json_decref(whole);
    config_done(&d.config);
    return d.failed ? EXIT_FAILED : EXIT_OK;
}
