/* What the runner's container is made of, and when one that is there may be gone on with. */
#include "svc/container-spec.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "base/str.h"

static const char *const env[] = {"MODE=local", "WORKSPACE_ROOT=/workspace", NULL};

static struct container_spec usual(void)
{
    return (struct container_spec){.image = "stigmer-agent-runner:local",
                                   .network = "host",
                                   .home = "/h",
                                   .env = env,
                                   .workspace = "/h/data/workspace",
                                   .api_folder = "/h/data/run/runner",
                                   .keys_folder = "/dev/shm/k",
                                   .program = "/p/agent-runner",
                                   .keys_mark = "m1",
                                   .memory = 512 << 20,
                                   .log_max_size = 10 << 20,
                                   .pids = 512,
                                   .log_max_files = 5};
}

static json_t *our_image(const char *id)
{
    return json_pack("{s:s,s:{s:{s:s}}}", "Id", id, "Config", "Labels", "ai.stigmer.component",
                     "agent-runner");
}

static json_t *body_of(const struct container_spec *s, const char *image_id)
{
    json_t *image = our_image(image_id), *body = container_spec_body(s, image);

    json_decref(image);
    return body;
}

/* As the engine would describe a container that was made from body. */
static json_t *container(const json_t *body, bool running)
{
    return json_pack("{s:{s:O},s:{s:b}}", "Config", "Labels", json_object_get(body, "Labels"),
                     "State", "Running", (int)running);
}

static const char *text_at(const json_t *o, const char *a, const char *b)
{
    return json_string_value(json_object_get(json_object_get(o, a), b));
}

static void it_has_three_capabilities_and_no_way_to_write_its_root(void **state)
{
    struct container_spec s = usual();
    json_t *body = body_of(&s, "sha256:1"), *host = json_object_get(body, "HostConfig");

    (void)state;
    assert_true(json_is_true(json_object_get(host, "ReadonlyRootfs")));
    assert_string_equal(json_string_value(json_array_get(json_object_get(host, "CapDrop"), 0)),
                        "ALL");
    assert_int_equal(json_array_size(json_object_get(host, "CapAdd")), 3);
    assert_string_equal(text_at(body, "HostConfig", "NetworkMode"), "host");
    assert_int_equal(json_array_size(json_object_get(host, "Mounts")), 3);
    assert_null(json_object_get(body, "Entrypoint"));
    json_decref(body);
}

static void podman_is_told_limits_and_not_asked_about_health(void **state)
{
    struct container_spec s = usual();
    json_t *body = body_of(&s, "sha256:1"), *host = json_object_get(body, "HostConfig");

    (void)state;
    assert_non_null(json_object_get(body, "Healthcheck"));
    assert_null(json_object_get(host, "Ulimits"));
    json_decref(body);
    s.is_podman = true;
    s.open_files = s.processes = 4096;
    body = body_of(&s, "sha256:1");
    host = json_object_get(body, "HostConfig");
    assert_null(json_object_get(body, "Healthcheck"));
    assert_int_equal(json_array_size(json_object_get(host, "Ulimits")), 2);
    json_decref(body);
}

static void a_newer_engine_asks_often_only_until_it_is_healthy(void **state)
{
    struct container_spec s = usual();
    json_t *old = body_of(&s, "sha256:1"), *new;

    (void)state;
    s.api = 44;
    new = body_of(&s, "sha256:1");
    assert_null(json_object_get(json_object_get(old, "Healthcheck"), "StartInterval"));
    assert_int_equal(
        json_integer_value(json_object_get(json_object_get(new, "Healthcheck"), "StartInterval")),
        1000000000);
    assert_int_equal(
        json_integer_value(json_object_get(json_object_get(new, "Healthcheck"), "Interval")),
        60000000000);
    json_decref(old);
    json_decref(new);
}

static void a_sessions_own_container_sees_its_folder_and_no_other(void **state)
{
    struct container_spec s = usual();
    json_t *body, *mount;

    (void)state;
    s.session = "ses-1";
    s.workspace = "/home/p/project";
    body = body_of(&s, "sha256:1");
    mount = json_array_get(json_object_get(json_object_get(body, "HostConfig"), "Mounts"), 0);
    assert_string_equal(json_string_value(json_object_get(mount, "Source")), "/home/p/project");
    assert_string_equal(json_string_value(json_object_get(mount, "Target")), "/workspace/ses-1");
    assert_string_equal(text_at(body, "Labels", "ai.stigmer.session"), "ses-1");
    json_decref(body);
}

static void another_image_gets_the_runner_mounted_and_started(void **state)
{
    struct container_spec s = usual();
    json_t *image = json_pack("{s:s,s:{s:n}}", "Id", "sha256:2", "Config", "Labels");
    json_t *body = container_spec_body(&s, image), *last;

    (void)state;
    last = json_array_get(json_object_get(json_object_get(body, "HostConfig"), "Mounts"), 3);
    assert_string_equal(json_string_value(json_object_get(last, "Source")), "/p/agent-runner");
    assert_string_equal(json_string_value(json_array_get(json_object_get(body, "Entrypoint"), 0)),
                        json_string_value(json_object_get(last, "Target")));
    json_decref(body);
    json_decref(image);
}

static void only_the_same_and_running_is_gone_on_with(void **state)
{
    struct container_spec s = usual(), other = usual();
    json_t *body = body_of(&s, "sha256:1"), *up = container(body, true),
           *down = container(body, false);

    (void)state;
    assert_int_equal(container_spec_match(&s, body, up), CONTAINER_SPEC_SAME);
    assert_int_equal(container_spec_match(&s, body, down), CONTAINER_SPEC_OTHER);
    other.home = "/other";
    assert_int_equal(container_spec_match(&other, body, up), CONTAINER_SPEC_STRANGER);
    assert_string_equal(container_spec_owner(up), "/h");
    json_decref(up);
    json_decref(down);
    json_decref(body);
}

static void expect_other(const struct container_spec *now, const char *image_id)
{
    struct container_spec s = usual();
    json_t *was = body_of(&s, "sha256:1"), *wanted = body_of(now, image_id),
           *up = container(was, true);

    assert_int_equal(container_spec_match(now, wanted, up), CONTAINER_SPEC_OTHER);
    json_decref(up);
    json_decref(wanted);
    json_decref(was);
}

static void whatever_it_was_made_from_makes_another(void **state)
{
    static const char *const more[] = {"MODE=local", NULL};
    struct container_spec s = usual();

    (void)state;
    expect_other(&s, "sha256:another-build");
    s.keys_mark = "m2";
    expect_other(&s, "sha256:1");
    s = usual();
    s.env = more;
    expect_other(&s, "sha256:1");
    s = usual();
    s.memory *= 2;
    expect_other(&s, "sha256:1");
    s = usual();
    s.network = "bridge";
    expect_other(&s, "sha256:1");
}

static void a_container_without_labels_is_a_strangers(void **state)
{
    struct container_spec s = usual();
    json_t *body = body_of(&s, "sha256:1"), *theirs = json_pack("{s:{}}", "Config");

    (void)state;
    assert_int_equal(container_spec_match(&s, body, theirs), CONTAINER_SPEC_STRANGER);
    assert_null(container_spec_owner(theirs));
    json_decref(theirs);
    json_decref(body);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_has_three_capabilities_and_no_way_to_write_its_root),
        cmocka_unit_test(another_image_gets_the_runner_mounted_and_started),
        cmocka_unit_test(podman_is_told_limits_and_not_asked_about_health),
        cmocka_unit_test(a_newer_engine_asks_often_only_until_it_is_healthy),
        cmocka_unit_test(a_sessions_own_container_sees_its_folder_and_no_other),
        cmocka_unit_test(only_the_same_and_running_is_gone_on_with),
        cmocka_unit_test(whatever_it_was_made_from_makes_another),
        cmocka_unit_test(a_container_without_labels_is_a_strangers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
