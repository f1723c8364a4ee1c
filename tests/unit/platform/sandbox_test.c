#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "platform/landlock.h"
#include "platform/sandbox.h"
#include "platform/seccomp-filter.h"

/* What check returns becomes the exit code: confinement is for good, so each runs in a child. */
static int in_child(int (*check)(void))
{
    int status;
    pid_t pid = fork();

    if (pid == 0)
        _exit(check());
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void a_missing_layer_is_named_with_the_reason(void **state)
{
    struct sandbox_report r = {.missing[SANDBOX_NAMESPACES] = "not allowed here"};
    struct err err;

    (void)state;
    assert_int_equal(sandbox_require(&r, NULL, &err), ERR_OK);
    assert_int_equal(sandbox_require(&r, "seccomp", &err), ERR_OK);
    assert_int_equal(sandbox_require(&r, "none", &err), ERR_OK);
    assert_int_equal(sandbox_require(&r, "landlock, namespaces", &err), ERR_SANDBOX);
    assert_non_null(strstr(err.msg, "'namespaces' is missing: not allowed here"));
    assert_int_equal(err_code_exit(ERR_SANDBOX), 10);
    assert_int_equal(sandbox_require(&r, "none,landlock", &err), ERR_INVALID);
    memcpy(r.missing[SANDBOX_LANDLOCK], "old kernel", 11);
    assert_int_equal(sandbox_require(&r, "", &err), ERR_SANDBOX);
}

static void a_report_survives_its_json(void **state)
{
    struct sandbox_report r = {.landlock_abi = 7, .egress = SANDBOX_EGRESS_ALLOW}, back;
    char *json;

    (void)state;
    memcpy(r.missing[SANDBOX_UIDS], "why \"so\"", 9);
    json = sandbox_report_json(&r);
    assert_int_equal(sandbox_report_parse(json, &back, NULL), ERR_OK);
    assert_string_equal(back.missing[SANDBOX_UIDS], "why \"so\"");
    assert_string_equal(back.missing[SANDBOX_LANDLOCK], "");
    assert_int_equal(back.landlock_abi, 7);
    assert_int_equal(back.egress, SANDBOX_EGRESS_ALLOW);
    free(json);
    assert_int_equal(sandbox_report_parse("{}", &back, NULL), ERR_INVALID);
    assert_int_equal(sandbox_report_parse(NULL, &back, NULL), ERR_INVALID);
}

static void egress_by_the_proxy_needs_tcp_rules_or_is_deny_and_noted(void **state)
{
    struct sandbox_report r, back;
    char *json;

    (void)state;
    sandbox_probe("api.example.org", &r);
    if (r.missing[SANDBOX_LANDLOCK_NET][0]) {
        assert_int_equal(r.egress, SANDBOX_EGRESS_DENY);
        assert_non_null(strstr(r.egress_note, "'api.example.org' needs"));
    } else {
        assert_int_equal(r.egress, SANDBOX_EGRESS_PROXY);
        assert_string_equal(r.egress_note, "");
    }
    json = sandbox_report_json(&r);
    assert_int_equal(sandbox_report_parse(json, &back, NULL), ERR_OK);
    assert_int_equal(back.egress, r.egress);
    free(json);
    sandbox_probe("allow", &r);
    assert_int_equal(r.egress, SANDBOX_EGRESS_ALLOW);
    assert_string_equal(r.egress_note, "");
    sandbox_probe(NULL, &r);
    assert_int_equal(r.egress, SANDBOX_EGRESS_DENY);
}

static int only_named_paths(void)
{
    const struct landlock_rule rules[] = {{.path = "/usr", .access = LANDLOCK_EXEC},
                                          {.path = "/nowhere", .optional = true},
                                          {.path = "/dev/null", .access = LANDLOCK_OPEN}};
    const struct landlock_policy p = {.rules = rules, .count = 3, .files = true};

    if (landlock_enter(&p, NULL))
        return 1;
    if (open("/usr/bin/env", O_RDONLY) < 0 || open("/dev/null", O_RDWR) < 0)
        return 2;
    return open("/etc/passwd", O_RDONLY) < 0 && errno == EACCES ? 0 : 3;
}

static void landlock_leaves_only_what_is_named(void **state)
{
    (void)state;
    assert_true(landlock_abi() > 0);
    assert_int_equal(in_child(only_named_paths), 0);
}

static int nested_reaches_nobody_outside(void)
{
    if (kill(getppid(), 0) < 0)
        return 1;
    return sandbox_nest() && kill(getppid(), 0) < 0 && errno == EPERM ? 0 : 2;
}

static void a_nested_domain_reaches_no_process_outside(void **state)
{
    (void)state;
    if (landlock_abi() < 6) {
        assert_null(getenv("CI"));
        skip();
    }
    assert_int_equal(in_child(nested_reaches_nobody_outside), 0);
}

static int metadata_by_path(void)
{
    const struct seccomp_filter f = {.kind = SECCOMP_FILTER_TOOL, .no_metadata = true};
    char path[] = "/tmp/stigmer-sandbox-XXXXXX";
    int fd = mkstemp(path);
    const struct timespec now[2] = {{0, UTIME_NOW}, {0, UTIME_NOW}};

    if (fd < 0 || seccomp_filter_enter(&f, NULL))
        return 1;
    if (chmod(path, 0600) == 0 || chown(path, getuid(), getgid()) == 0 ||
        utimensat(AT_FDCWD, path, now, 0) == 0)
        return 2;
    if (fchmod(fd, 0600) < 0 || futimens(fd, now) < 0)
        return 3;
    return unlink(path) == 0 ? 0 : 4;
}

static void metadata_can_be_left_to_open_descriptors(void **state)
{
    (void)state;
    assert_int_equal(in_child(metadata_by_path), 0);
}

static char mine[] = "/tmp/stigmer-sandbox-XXXXXX"; /* a person's file */

static int worker_calls(void)
{
    struct sandbox_report r;
    int fd;

    sandbox_probe("deny", &r);
    if (sandbox_enter_worker(&r, NULL))
        return 1;
    fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0 || socket(AF_UNIX, SOCK_STREAM, 0) < 0 || socket(AF_INET6, SOCK_DGRAM, 0) < 0)
        return 2;
    if (fork() >= 0 || errno != EPERM)
        return 3;
    if (execl("/bin/true", "true", (char *)NULL) == 0 || errno != EPERM)
        return 4;
    if (socket(AF_PACKET, SOCK_DGRAM, 0) >= 0 || socket(AF_INET, SOCK_RAW, 0) >= 0)
        return 5;
    if (open(mine, O_RDONLY) >= 0 || open(mine, O_WRONLY) >= 0 || unlink(mine) == 0 ||
        open("/home", O_RDONLY) >= 0 || open("/etc/hosts", O_WRONLY) >= 0)
        return 6;
    if (open("/etc/hosts", O_RDONLY) < 0) /* names are looked up by what is there then */
        return 10;
    if (open("/proc/self/statm", O_RDONLY) < 0)
        return 7;
    return kill(getppid(), 0) < 0 || r.landlock_abi < 6 ? 0 : 8;
}

static void the_worker_has_sockets_and_neither_programs_nor_files(void **state)
{
    int fd = mkstemp(mine), end;

    (void)state;
    assert_true(fd >= 0);
    (void)close(fd);
    end = in_child(worker_calls);
    assert_int_equal(unlink(mine), 0);
    assert_int_equal(end, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_missing_layer_is_named_with_the_reason),
        cmocka_unit_test(a_report_survives_its_json),
        cmocka_unit_test(egress_by_the_proxy_needs_tcp_rules_or_is_deny_and_noted),
        cmocka_unit_test(landlock_leaves_only_what_is_named),
        cmocka_unit_test(a_nested_domain_reaches_no_process_outside),
        cmocka_unit_test(metadata_can_be_left_to_open_descriptors),
        cmocka_unit_test(the_worker_has_sockets_and_neither_programs_nor_files),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
