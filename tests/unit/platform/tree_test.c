/* Trees that somebody else has filled: what goes, and what must not. */
#include "platform/tree.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/own.h"
#include "base/str.h"

static char place[64];
static int dir = -1;

static void make_dir(int at, const char *name)
{
    assert_int_equal(mkdirat(at, name, 0755), 0);
}

static void make_file(int at, const char *name)
{
    OWN_FD int fd = openat(at, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, "kept", 4), 4);
}

static bool is_there(const char *name)
{
    return faccessat(dir, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

/* place/outside must survive everything; place/t is what goes. */
static int make_place(void **state)
{
    (void)state;
    (void)str_format(place, sizeof place, "/tmp/tree-XXXXXX");
    if (!mkdtemp(place))
        return -1;
    dir = open(place, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    make_dir(dir, "outside");
    make_file(dir, "outside/file");
    make_dir(dir, "t");
    return 0;
}

static int remove_place(void **state)
{
    char command[128];

    (void)state;
    (void)close(dir);
    (void)str_format(command, sizeof command, "chmod -R u+rwx %s; rm -rf %s", place, place);
    return system(command);
}

static void links_are_removed_and_never_followed(void **state)
{
    char target[96];

    (void)state;
    (void)str_format(target, sizeof target, "%s/outside", place);
    assert_int_equal(symlinkat(target, dir, "t/absolute"), 0);
    assert_int_equal(symlinkat("../outside", dir, "t/relative"), 0);
    make_dir(dir, "t/deep");
    assert_int_equal(symlinkat("../../outside/file", dir, "t/deep/file"), 0);
    assert_int_equal(symlinkat("..", dir, "t/deep/up"), 0);
    assert_int_equal(tree_remove(dir, "t", NULL), ERR_OK);
    assert_false(is_there("t"));
    assert_true(is_there("outside/file"));
}

static void a_link_in_place_of_the_tree_goes_itself(void **state)
{
    (void)state;
    assert_int_equal(symlinkat("outside", dir, "l"), 0);
    assert_int_equal(tree_remove(dir, "l", NULL), ERR_OK);
    assert_false(is_there("l"));
    assert_true(is_there("outside/file"));
}

static void a_tree_deeper_than_any_path_goes(void **state)
{
    OWN_FD int at = openat(dir, "t", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    (void)state;
    for (int i = 0; i < 3000; i++) { /* 2 bytes each: more than PATH_MAX, and than descriptors */
        int next;

        make_file(at, "f");
        make_dir(at, "d");
        next = openat(at, "d", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_true(next >= 0);
        (void)close(at);
        at = next;
    }
    assert_int_equal(tree_remove(dir, "t", NULL), ERR_OK);
    assert_false(is_there("t"));
}

static void folders_that_their_owner_closed_go(void **state)
{
    (void)state;
    make_dir(dir, "t/a");
    make_dir(dir, "t/a/b");
    make_dir(dir, "t/a/b/c");
    make_file(dir, "t/a/b/c/f");
    assert_int_equal(fchmodat(dir, "t/a/b/c", 0, 0), 0);
    assert_int_equal(fchmodat(dir, "t/a/b", 0, 0), 0);
    assert_int_equal(fchmodat(dir, "t/a", 0500, 0), 0);
    assert_int_equal(fchmodat(dir, "t", 0, 0), 0);
    assert_int_equal(tree_remove(dir, "t", NULL), ERR_OK);
    assert_false(is_there("t"));
}

/* In a mount namespace of a child's own; a machine that allows none has nothing to cross. */
static void a_mount_is_told_and_nothing_is_touched(void **state)
{
    struct tree_size size;
    char from[96], to[96];
    int status;
    pid_t pid;

    (void)state;
    make_file(dir, "t/mine");
    make_dir(dir, "t/m");
    (void)str_format(from, sizeof from, "%s/outside", place);
    (void)str_format(to, sizeof to, "%s/t/m", place);
    pid = fork();
    if (pid == 0) {
        int code = 0;

        if (unshare(geteuid() ? CLONE_NEWUSER | CLONE_NEWNS : CLONE_NEWNS) < 0 ||
            mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
            mount(from, to, NULL, MS_BIND, NULL) < 0)
            _exit(0);                                          /* not allowed here */
        dir = open(place, O_RDONLY | O_DIRECTORY | O_CLOEXEC); /* of this namespace */
        tree_measure(dir, "t", &size); /* the same file system: st_dev alone does not tell */
        code |= !size.has_mount;
        code |= (tree_remove(dir, "t", NULL) != ERR_DENIED) << 1;
        _exit(code);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_true(is_there("t/mine"));
    assert_true(is_there("outside/file"));
}

static void sizes_count_what_is_there_and_no_link(void **state)
{
    struct tree_size size, empty;
    char text[8192] = "x";
    OWN_FD int fd = openat(dir, "t/big", O_WRONLY | O_CREAT | O_CLOEXEC, 0644);

    (void)state;
    tree_measure(dir, "outside", &empty);
    assert_int_equal(write(fd, text, sizeof text), sizeof text);
    assert_int_equal(fsync(fd), 0);
    assert_int_equal(symlinkat("/", dir, "t/everything"), 0);
    tree_measure(dir, "t", &size);
    assert_true(size.bytes >= 8192 && size.bytes < 8192 + 65536);
    assert_false(size.is_part || size.has_mount);
    tree_measure(dir, "nothing", &size);
    assert_int_equal(size.bytes, 0);
}

static void what_is_not_there_is_not_found(void **state)
{
    struct err err;

    (void)state;
    assert_int_equal(tree_remove(dir, "nothing", &err), ERR_NOT_FOUND);
    assert_non_null(strstr(err.msg, "nothing"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(links_are_removed_and_never_followed, make_place,
                                        remove_place),
        cmocka_unit_test_setup_teardown(a_link_in_place_of_the_tree_goes_itself, make_place,
                                        remove_place),
        cmocka_unit_test_setup_teardown(a_tree_deeper_than_any_path_goes, make_place, remove_place),
        cmocka_unit_test_setup_teardown(folders_that_their_owner_closed_go, make_place,
                                        remove_place),
        cmocka_unit_test_setup_teardown(a_mount_is_told_and_nothing_is_touched, make_place,
                                        remove_place),
        cmocka_unit_test_setup_teardown(sizes_count_what_is_there_and_no_link, make_place,
                                        remove_place),
        cmocka_unit_test_setup_teardown(what_is_not_there_is_not_found, make_place, remove_place)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
