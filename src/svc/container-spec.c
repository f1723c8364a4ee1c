#include "svc/container-spec.h"

#include <openssl/sha.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"

#define LABEL_DIGEST "ai.stigmer.digest"
#define MOUNTED_RUNNER "/.stigmer/agent-runner"
#define TMP_OPTIONS "rw,exec,nosuid,nodev,mode=1777,size=%lld"
#define API_START_INTERVAL 44 /* Docker 25: asks more often until it is healthy */
/* Of the engine's own copy of the output: Docker before 23 loses lines for those who listen when it
 * rotates this often, so it seldom does; and the server needs only what it has not seen yet. */
#define ENGINE_LOG_SIZE "33554432"
#define ENGINE_LOG_FILES "2"
#define SECOND ((json_int_t)1000000000)

static json_t *mount(const char *from, const char *to, bool read_only)
{
    return json_pack("{s:s,s:s,s:s,s:b,s:{s:s}}", "Type", "bind", "Source", from, "Target", to,
                     "ReadOnly", (int)read_only, "BindOptions", "Propagation", "rprivate");
}

static json_t *mounts(const struct container_spec *s, bool foreign)
{
    json_t *list = json_array();

    char workspace[128] = "/workspace";

    if (s->session)
        (void)str_format(workspace, sizeof workspace, "/workspace/%.80s", s->session);
    json_array_append_new(list, mount(s->workspace, workspace, false));
    json_array_append_new(list, mount(s->api_folder, "/run/stigmer/api", true));
    json_array_append_new(list, mount(s->keys_folder, "/run/stigmer/keys", true));
    if (foreign)
        json_array_append_new(list, mount(s->program, MOUNTED_RUNNER, true));
    return list;
}

static json_t *ulimit(const char *name, int64_t n)
{
    return json_pack("{s:s,s:I,s:I}", "Name", name, "Soft", (json_int_t)n, "Hard", (json_int_t)n);
}

static json_t *host_config(const struct container_spec *s, bool foreign)
{
    char tmp[96];
    json_t *h;

    /* Its content counts as the container's memory, and no kill frees it. */
    (void)str_format(tmp, sizeof tmp, TMP_OPTIONS, (long long)s->memory / 2);
    h = json_pack(
        "{s:s,s:b,s:[s],s:[sss],s:[s],s:I,s:I,s:I,s:o,s:{s:s},s:{s:s,s:{s:s,s:s}},s:{s:s}}",
        "NetworkMode", s->network, "ReadonlyRootfs", 1, "CapDrop", "ALL", "CapAdd", "SETUID",
        "SETGID", "KILL", "SecurityOpt", "no-new-privileges", "Memory", (json_int_t)s->memory,
        "MemorySwap", (json_int_t)s->memory, "PidsLimit", (json_int_t)s->pids, "Mounts",
        mounts(s, foreign), "Tmpfs", "/tmp", tmp, "LogConfig", "Type", "json-file", "Config",
        "max-size", ENGINE_LOG_SIZE, "max-file", ENGINE_LOG_FILES, "RestartPolicy", "Name", "no");

    if (s->cpus > 0)
        json_object_set_new(h, "NanoCpus", json_integer((json_int_t)(s->cpus * 1e9)));
    if (s->is_podman) { /* its own defaults may be more than it is allowed to set */
        json_object_set_new(
            h, "Ulimits",
            json_pack("[o,o]", ulimit("nofile", s->open_files), ulimit("nproc", s->processes)));
    }
    if (str_eq(s->network, "bridge")) /* this machine's own services have a name there */
        json_object_set_new(h, "ExtraHosts", json_pack("[s]", "host.docker.internal:host-gateway"));
    return h;
}

static bool is_foreign(const json_t *image)
{
    const json_t *labels = json_object_get(json_object_get(image, "Config"), "Labels");

    return !str_eq(json_string_value(json_object_get(labels, CONTAINER_SPEC_LABEL_COMPONENT)),
                   CONTAINER_SPEC_COMPONENT_RUNNER);
}

/* In an image that is not ours nothing of its start counts but its files. */
static void start_mounted_runner(json_t *body)
{
    json_object_set_new(body, "Entrypoint", json_pack("[s]", MOUNTED_RUNNER));
    json_object_set_new(body, "Cmd", json_pack("[s]", "launch"));
    json_object_set_new(body, "User", json_string("0:0"));
    json_object_set_new(body, "WorkingDir", json_string("/"));
}

/* Seldom once it is healthy. Older engines know one interval only: `docker ps` is to show it soon.
 */
static json_t *health_check(const struct container_spec *s, bool foreign)
{
    bool twofold = s->api >= API_START_INTERVAL;
    json_t *h = json_pack("{s:[sss],s:I,s:I,s:I,s:i}", "Test", "CMD",
                          foreign ? MOUNTED_RUNNER : "/usr/bin/agent-runner", "healthcheck",
                          "Interval", (twofold ? 60 : 10) * SECOND, "Timeout", 5 * SECOND,
                          "StartPeriod", 10 * SECOND, "Retries", 3);

    if (twofold)
        json_object_set_new(h, "StartInterval", json_integer(SECOND));
    return h;
}

static void digest_of(const json_t *body, char ret[CONTAINER_SPEC_DIGEST])
{
    char *text = mem_check(json_dumps(body, JSON_COMPACT | JSON_SORT_KEYS));
    unsigned char sum[SHA256_DIGEST_LENGTH];

    SHA256((const unsigned char *)text, strlen(text), sum);
    free(text);
    str_hex(sum, sizeof sum, ret);
}

json_t *container_spec_body(const struct container_spec *s, const json_t *image)
{
    bool foreign = is_foreign(image);
    const char *id = json_string_value(json_object_get(image, "Id"));
    char digest[CONTAINER_SPEC_DIGEST];
    json_t *env = json_array(), *body;

    for (size_t i = 0; s->env[i]; i++)
        json_array_append_new(env, json_string(s->env[i]));
    body = json_pack("{s:s,s:o,s:{s:s,s:s,s:s,s:s,s:s},s:o}", "Image", s->image, "Env", env,
                     "Labels", CONTAINER_SPEC_LABEL_HOME, s->home, CONTAINER_SPEC_LABEL_COMPONENT,
                     CONTAINER_SPEC_COMPONENT_RUNNER, CONTAINER_SPEC_LABEL_VERSION, STIGMER_VERSION,
                     "ai.stigmer.image", id ? id : "", "ai.stigmer.keys", s->keys_mark,
                     "HostConfig", host_config(s, foreign));
    if (foreign)
        start_mounted_runner(body);
    if (!s->is_podman)
        json_object_set_new(body, "Healthcheck", health_check(s, foreign));
    if (s->session)
        json_object_set_new(json_object_get(body, "Labels"), CONTAINER_SPEC_LABEL_SESSION,
                            json_string(s->session));
    digest_of(body, digest);
    json_object_set_new(json_object_get(body, "Labels"), LABEL_DIGEST, json_string(digest));
    return body;
}

static const char *label(const json_t *container, const char *name)
{
    const json_t *labels = json_object_get(json_object_get(container, "Config"), "Labels");

    return json_string_value(json_object_get(labels, name));
}

const char *container_spec_owner(const json_t *container)
{
    return label(container, CONTAINER_SPEC_LABEL_HOME);
}

enum container_spec_match container_spec_match(const struct container_spec *s, const json_t *body,
                                               const json_t *container)
{
    const json_t *labels = json_object_get(body, "Labels");
    const json_t *running = json_object_get(json_object_get(container, "State"), "Running");

    if (!str_eq(container_spec_owner(container), s->home))
        return CONTAINER_SPEC_STRANGER;
    return json_is_true(running) && str_eq(label(container, LABEL_DIGEST),
                                           json_string_value(json_object_get(labels, LABEL_DIGEST)))
               ? CONTAINER_SPEC_SAME
               : CONTAINER_SPEC_OTHER;
}
