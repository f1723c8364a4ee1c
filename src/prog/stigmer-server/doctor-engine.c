/* The container engines and what the runner needs of them. */
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/str.h"
#include "prog/stigmer-server/doctor-impl.h"
#include "prog/stigmer-server/engine-ask.h"
#include "prog/stigmer-server/runner-unit.h"
#include "svc/backend-docker.h"
#include "svc/container-spec.h"

static const char *wanted(const struct doctor *d)
{
    return config_get_str(&d->config, CONFIG_RUNNER_KIND);
}

/* One that `stigmer image build` made keeps the runner of that day. */
static bool is_of_another_version(const json_t *image, char hint[240])
{
    const json_t *labels = json_object_get(json_object_get(image, "Config"), "Labels");
    const char *version = json_string_value(json_object_get(labels, CONTAINER_SPEC_LABEL_VERSION));
    const char *base = json_string_value(json_object_get(labels, CONTAINER_SPEC_LABEL_BASE));

    (void)str_format(hint, 240, "stigmer image build --from %.150s", base ? base : "IMAGE");
    return !str_is_empty(base) && !str_eq(version, STIGMER_VERSION);
}

static bool has_archive(void)
{
    char archive[PATHS_MAX];

    return runner_unit_archive(archive, NULL) == ERR_OK && access(archive, R_OK) == 0;
}

static void check_image(struct doctor *d, const char *runtime, const char *id)
{
    const char *image = config_get_str(&d->config, CONFIG_RUNNER_IMAGE), *have;
    bool ours = str_eq(image, BACKEND_DOCKER_IMAGE);
    char own[RUNNER_UNIT_IMAGE_ID], hint[240];
    json_t *there;
    struct err err;

    runner_unit_archive_id(own);
    if (engine_ask_image(runtime, image, &there, &err)) {
        doctor_say(d, id, DOCTOR_FAIL, err.hint, "%s", err.msg);
        return;
    }
    have = json_string_value(json_object_get(there, "Id"));
    if (there && is_of_another_version(there, hint))
        doctor_say(d, id, DOCTOR_WARN, hint, "the runner in %s is not of this version, %s", image,
                   STIGMER_VERSION);
    else if (there && (!ours || !*own || str_eq(have, own)))
        doctor_say(d, id, DOCTOR_OK, "", "%s %.19s", image, have ? have : "");
    else if (ours && *own && has_archive())
        doctor_say(d, id, DOCTOR_OK, "", "%s %s; the installed one is loaded at the start", image,
                   there ? "is of another build" : "is not there");
    else
        doctor_say(d, id, DOCTOR_FAIL,
                   ours ? "install stigmer again: scripts/build.sh makes its archive"
                        : "docker pull it, or: stigmer config unset runner.image",
                   there ? "'%s' is of another build, and the installed archive is missing"
                         : "there is no image '%s'",
                   image);
    json_decref(there);
}

/* Limits are only as good as the groups that the kernel gives the engine. */
static void check_groups(struct doctor *d)
{
    struct statfs fs;
    bool v2 = statfs("/sys/fs/cgroup", &fs) == 0 && fs.f_type == 0x63677270; /* linux/magic.h */
    bool memory = v2, pids = v2;
    FILE *f = fopen(v2 ? "/sys/fs/cgroup/cgroup.controllers" : "/proc/cgroups", "re");
    char line[512];

    if (f && v2)
        memory = pids = false;
    while (f && fgets(line, sizeof line, f)) {
        memory |= strstr(line, "memory") != NULL;
        pids |= strstr(line, "pids") != NULL;
    }
    if (f)
        (void)fclose(f);
    doctor_say(d, "cgroup", memory && pids ? DOCTOR_OK : DOCTOR_WARN,
               "boot with cgroup_enable=memory, or with systemd.unified_cgroup_hierarchy=1",
               "version %d%s%s", v2 ? 2 : 1, memory ? "" : ", no memory limits",
               pids ? "" : ", no process limits");
}

static void check_engine(struct doctor *d, const char *runtime, const char *id,
                         const char *image_id)
{
    bool by_name = str_eq(wanted(d), runtime);
    json_t *version;
    struct err err;

    if (engine_ask_version(runtime, &version, &err)) {
        doctor_say(d, id, by_name ? DOCTOR_FAIL : DOCTOR_WARN, err.hint, "%s", err.msg);
        return;
    }
    doctor_say(d, id, DOCTOR_OK, "", "version %s at %s",
               json_string_value(json_object_get(version, "Version")),
               json_string_value(json_object_get(version, "Socket")));
    json_decref(version);
    check_image(d, runtime, image_id);
}

void doctor_docker(struct doctor *d)
{
    if (str_eq(wanted(d), "auto") || str_eq(wanted(d), "docker"))
        check_engine(d, "docker", "docker.socket", "docker.image");
}

/* With auto it matters only where Docker does not answer. */
void doctor_podman(struct doctor *d)
{
    json_t *docker = NULL;

    if (str_eq(wanted(d), "auto") && engine_ask_version("docker", &docker, NULL) == ERR_OK) {
        json_decref(docker);
        return;
    }
    if (str_eq(wanted(d), "auto") || str_eq(wanted(d), "podman"))
        check_engine(d, "podman", "podman.socket", "podman.image");
}

void doctor_runner_kind(struct doctor *d)
{
    const char *kind = wanted(d);
    size_t failing = 0, i;
    json_t *c;

    if (!str_eq(kind, "process") && !str_eq(kind, "none"))
        check_groups(d);
    json_array_foreach(d->checks, i, c)
    {
        const char *id = json_string_value(json_object_get(c, "id"));

        failing += str_ends(id, ".socket") &&
                   !str_eq(json_string_value(json_object_get(c, "status")), "ok");
    }
    if (str_eq(kind, "none"))
        doctor_say(d, "runner.kind", DOCTOR_WARN, "stigmer config unset runner.kind",
                   "none: runs wait until a runner attaches from elsewhere");
    else if (str_eq(kind, "auto") && failing >= 2)
        doctor_say(d, "runner.kind", DOCTOR_WARN,
                   "start Docker or Podman, or settle it: stigmer config set runner.kind process",
                   "no engine answers: the runner would be a sandboxed process of this machine");
    else
        doctor_say(d, "runner.kind", DOCTOR_OK, "", "%s", kind);
}

void doctor_archive(struct doctor *d)
{
    char archive[PATHS_MAX];
    struct err err;

    if (runner_unit_archive(archive, &err) || access(archive, R_OK) < 0)
        doctor_say(d, "runner.archive", DOCTOR_WARN,
                   "install stigmer again: scripts/build.sh makes it",
                   "the archive of the runner's image is not installed");
    else
        doctor_say(d, "runner.archive", DOCTOR_OK, "", "%s", archive);
}

void doctor_program(struct doctor *d)
{
    static const char *const names[] = {"agent-runner", "stigmer-keeper"};
    char folder[PATHS_MAX], program[PATHS_MAX + 32];

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (runner_unit_libexec(folder, NULL) ||
            !str_format(program, sizeof program, "%s/%s", folder, names[i]) ||
            access(program, X_OK) < 0) {
            doctor_say(d, "programs", DOCTOR_FAIL, "install stigmer again: scripts/build.sh",
                       "%s is not installed beside stigmer-server", names[i]);
            return;
        }
    }
    doctor_say(d, "programs", DOCTOR_OK, "", "installed in %s", folder);
}
