#include "prog/stigmer-server/doctor.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/own.h"
#include "base/str.h"
#include "platform/sock.h"
#include "prog/stigmer-server/doctor-impl.h"

void doctor_say(struct doctor *d, const char *id, enum doctor_status status, const char *hint,
                const char *detail, ...)
{
    static const char *const names[] = {"ok", "warn", "fail"};
    char text[1024];
    va_list ap;

    va_start(ap, detail);
    (void)vsnprintf(text, sizeof text, detail, ap);
    va_end(ap);
    d->failed |= status == DOCTOR_FAIL;
    json_array_append_new(d->checks,
                          json_pack("{s:s,s:s,s:s*,s:s}", "id", id, "status", names[status],
                                    "detail", text, "hint", status == DOCTOR_OK ? "" : hint));
}

static void check_config(struct doctor *d)
{
    struct err err;

    if (settings_load(d->args, d->paths, &d->config, &err))
        doctor_say(d, "config", DOCTOR_FAIL, *err.hint ? err.hint : "stigmer config validate", "%s",
                   err.msg);
    else
        doctor_say(d, "config", DOCTOR_OK, "", "the settings are valid");
}

bool doctor_server_answers(const struct doctor *d)
{
    struct sock_addr to[SOCK_ADDRS];
    OWN_FD int probe = -1;
    char unix_address[PATHS_MAX + 8];
    bool done = false;
    size_t count;

    (void)str_format(unix_address, sizeof unix_address, "unix:%s", d->paths->api_sock);
    return sock_resolve(unix_address, to, &count, NULL) == ERR_OK &&
           sock_connect(&to[0], &probe, &done, NULL) == ERR_OK && done;
}

/* A port that a running server of this home holds is as it should be. */
static void check_port(struct doctor *d)
{
    const char *address = config_get_str(&d->config, CONFIG_SERVER_LISTEN);
    OWN_FD int fd = -1;
    struct err err;

    if (doctor_server_answers(d))
        doctor_say(d, "port", DOCTOR_OK, "", "%s is held by this home's server", address);
    else if (sock_listen(address, 0, &fd, &err))
        doctor_say(d, "port", DOCTOR_FAIL, "stigmer config set server.listen 127.0.0.1:PORT", "%s",
                   err.msg);
    else
        doctor_say(d, "port", DOCTOR_OK, "", "%s is free", address);
}

int doctor_main(const struct settings_args *args, const struct paths *paths, bool online)
{
    static doctor_check_fn *const checks[] = {
        check_config,        doctor_home,        doctor_home_access, doctor_home_network,
        doctor_disk,         doctor_inodes,      doctor_store,       doctor_stale,
        doctor_clock,        doctor_files,       doctor_memory,      check_port,
        doctor_token,        doctor_tls,         doctor_program,     doctor_docker,
        doctor_podman,       doctor_runner_kind, doctor_archive,     doctor_landlock,
        doctor_landlock_net, doctor_seccomp,     doctor_namespaces,  doctor_sandbox,
        doctor_keys,         doctor_model_key,   doctor_model,       doctor_model_call,
        doctor_temporal};
    struct doctor d = {.args = args, .paths = paths, .checks = json_array(), .online = online};
    json_t *whole;

    config_init(&d.config);
    for (size_t i = 0; i < sizeof checks / sizeof checks[0]; i++)
        checks[i](&d);
    whole = json_pack("{s:s,s:b,s:o}", "schema", "stigmer.cli/doctor/v1", "ok", !d.failed, "checks",
                      d.checks);
    (void)json_dumpf(whole, stdout, JSON_COMPACT);
    (void)putchar('\n');
    json_decref(whole);
    config_done(&d.config);
    return d.failed ? EXIT_FAILED : EXIT_OK;
}
