"""The tools of a tool host, through launcher and worker, as a model's calls reach them."""
import json
import os
import pathlib
import resource
import shutil
import signal
import socket
import subprocess
import tempfile
import time

import pytest

from toolbox import MODES, Toolbox


@pytest.fixture(scope="module")
def module_box():
    folder = tempfile.mkdtemp(prefix="stigmer-tools-", dir="/var/tmp")
    os.chmod(folder, 0o755)
    yield Toolbox(folder, MODES[0])
    shutil.rmtree(folder)


@pytest.fixture
def box(module_box):
    """An empty workspace for each test."""
    shutil.rmtree(module_box.root / "s1", ignore_errors=True)
    module_box.workspace()
    return module_box


PROCESS_MODES = [m for m in MODES if m != "container"]  # the launcher is this process's child


@pytest.fixture(params=PROCESS_MODES)
def any_box(request):
    folder = tempfile.mkdtemp(prefix="stigmer-tools-", dir="/var/tmp")
    os.chmod(folder, 0o755)
    box = Toolbox(folder, request.param)
    box.workspace()
    yield box
    shutil.rmtree(folder)


def put(box, name, data):
    path = box.workspace() / name
    for up in reversed(path.relative_to(box.workspace()).parents):
        up = box.workspace() / up
        if not up.exists():
            up.mkdir()
            os.chown(up, box.tool_uid, box.tool_uid)
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    os.chown(path, box.tool_uid, box.tool_uid)
    return path


# ---- execute --------------------------------------------------------------------------------

def test_output_is_in_order_of_arrival_and_the_exit_code_follows(box):
    out = box.text("execute", command="echo a; echo b >&2; echo c; exit 3")
    assert out == "a\nb\nc\nexit code 3\n"


def test_output_without_a_line_end_gets_one(box):
    assert box.text("execute", command="printf x") == "x\nexit code 0\n"


def test_a_signal_is_named(box):
    assert box.text("execute", command="kill -TERM $$") == "killed by SIGTERM\n"


def test_the_time_out_is_told_with_the_output_so_far(box):
    start = time.monotonic()
    out = box.text("execute", command="echo before; sleep 60", timeout_seconds=1)
    assert out == "before\ntimed out after 1 s\n"
    assert time.monotonic() - start < 10


def test_standard_input_is_empty(box):
    assert box.text("execute", command="cat; echo end") == "end\nexit code 0\n"


def test_a_working_folder_below_the_workspace(box):
    put(box, "sub/f", "x")
    assert box.text("execute", command="pwd; ls", working_dir="sub").startswith(
        f"{box.root}/s1/sub\nf\n")
    assert "does not exist" in box.error("execute", command="pwd", working_dir="nope")
    assert "outside" in box.error("execute", command="pwd", working_dir="../other")


def test_the_runs_environment_wins_over_the_base(box):
    answer = box.call("execute", env={"TERM": "vt100", "TOKEN": "t"}, command="echo $TERM $TOKEN")
    assert answer["text"] == "vt100 t\nexit code 0\n"


def test_long_output_keeps_head_and_tail_with_the_exact_count(box):
    out = box.text("execute", command="seq 1 100000")
    whole = "".join(f"{i}\n" for i in range(1, 100001))
    head, rest = out.split("\n[", 1)
    note, tail = rest.split("]\n", 1)
    tail = tail[:-len("exit code 0\n")]
    cut = int(note.split()[0])
    assert whole.startswith(head) and whole.endswith(tail)
    assert len(head) + len(tail) + cut == len(whole)
    assert len(out) < 66 * 1024
    kept = box.workspace() / note.split(" is in ")[1]
    assert kept.read_text() == whole
    assert (box.workspace() / ".stigmer/.gitignore").read_text() == "*\n"


def test_an_endless_writer_is_bounded(box):
    out = box.text("execute", command="yes", timeout_seconds=1)
    assert out.endswith("timed out after 1 s\n") and len(out) < 66 * 1024
    assert "the first 16777216 bytes are in .stigmer/output/" in out
    assert (box.workspace() / ".stigmer/output/1.txt").stat().st_size == 16 << 20


def test_bytes_that_are_no_text_are_shown_as_such(box):
    out = box.text("execute", command=r"printf 'a\000b\377c\303\251'")
    assert out == "a\\0b\ufffdcé\nexit code 0\n"


DAEMONS = {
    "background": "sleep {n} &",
    "own_session": "setsid sleep {n} &",
    "double_fork": "(setsid sh -c '(setsid sleep {n} &) &' &)",
    "ignores_signals": "(trap '' HUP INT TERM; sleep {n}) &",
    "nohup": "nohup sleep {n} >/dev/null 2>&1 &",
}


def running(marker):
    found = []
    for p in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if f"sleep\0{marker}\0" in p.read_text():
                found.append(int(p.parent.name))
        except OSError:
            pass
    return found


@pytest.mark.parametrize("how", DAEMONS)
def test_nothing_outlives_its_command(any_box, how):
    marker = 100000 + os.getpid()
    command = DAEMONS[how].format(n=marker)
    # Seen while the command runs, so that its absence later means something.
    calls = [{"name": "execute", "args": {"command": f"{command}\nsleep 0.3; echo done"}},
             {"name": "execute", "args": {"command": "true"}, "wait": True},
             {"name": "execute", "args": {"command": "sleep 1"}}]
    p = any_box.start()
    p.stdin.write("".join(json.dumps(c) + "\n" for c in calls))
    p.stdin.close()
    deadline = time.monotonic() + 10
    while not running(marker) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert running(marker)
    first = p.stdout.readline()
    assert "done" in first and "exit code 0" in first
    assert running(marker) == []
    p.stdout.read()
    p.wait()


def test_a_time_out_ends_daemons_too(any_box):
    marker = 200000 + os.getpid()
    out = any_box.text("execute", command=f"(setsid sleep {marker} &); setsid sleep {marker}",
                       timeout_seconds=1)
    assert "timed out" in out
    assert running(marker) == []


def test_a_cancelled_command_is_ended(any_box):
    marker = 300000 + os.getpid()
    answers = any_box.calls([
        {"name": "execute", "args": {"command": f"setsid sleep {marker} & sleep {marker}"},
         "cancelMs": 300},
        {"name": "execute", "args": {"command": "sleep 0.5; echo next"}, "wait": True}])
    assert answers[0]["outcome"] == "cancelled"
    assert answers[1]["text"] == "next\nexit code 0\n"
    assert running(marker) == []


def test_commands_run_beside_each_other(box):
    start = time.monotonic()
    answers = box.calls([{"name": "execute", "args": {"command": "sleep 1; echo x"}}] * 5)
    assert [a["text"] for a in answers] == ["x\nexit code 0\n"] * 5
    assert time.monotonic() - start < 4


@pytest.mark.parametrize("sig", [signal.SIGKILL, signal.SIGTERM])
def test_the_launchers_end_is_everybodys(any_box, sig):
    marker = 400000 + os.getpid() + sig
    p = any_box.start()
    p.stdin.write('{"pids":true}\n{"name":"execute","args":{"command":"sleep %d"}}\n' % marker)
    p.stdin.close()
    deadline = time.monotonic() + 10
    while not running(marker) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert running(marker)
    p.send_signal(sig)
    p.wait()
    deadline = time.monotonic() + 10
    while running(marker) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert running(marker) == []


def tool_hosts(parent):
    """The tool hosts' processes that are children of parent."""
    found = []
    for f in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            args = (f.parent / "cmdline").read_text().split("\0")
            if args[1:2] == ["tool-host"] and int(f.read_text().rsplit(")", 1)[1].split()[1]) == parent:
                found.append(int(f.parent.name))
        except OSError:
            continue
    return found


def is_alive(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def test_a_tool_host_that_hangs_does_not_outlive_its_launcher(any_box):
    """What it has not read yet would be done beside the next runner."""
    marker = 600000 + os.getpid()
    p = any_box.start()
    p.stdin.write('{"name":"execute","args":{"command":"sleep %d"}}\n' % marker)
    p.stdin.close()
    deadline = time.monotonic() + 10
    while not running(marker) and time.monotonic() < deadline:
        time.sleep(0.01)
    hosts = tool_hosts(p.pid)
    if any_box.mode in ("root", "user"):  # that one waits for the one inside the namespaces
        hosts = tool_hosts(hosts[0])
    assert len(hosts) == 1
    os.kill(hosts[0], signal.SIGSTOP)
    p.kill()
    p.wait()
    deadline = time.monotonic() + 10
    while (is_alive(hosts[0]) or running(marker)) and time.monotonic() < deadline:
        time.sleep(0.01)
    left = is_alive(hosts[0])
    if left:
        os.kill(hosts[0], signal.SIGKILL)
    assert not left and running(marker) == []


def test_an_ending_launcher_still_opens_hosts_for_calls_that_run(any_box):
    """The worker ends when it is ready to; until then "no" would be the last word on a call."""
    marker = 700000 + os.getpid()
    p = any_box.start(preexec_fn=lambda: signal.signal(signal.SIGTERM, signal.SIG_IGN))  # the worker inherits it
    p.stdin.write('{"name":"execute","args":{"command":"sleep %d"},"cancelMs":1500}\n'
                  '{"name":"execute","args":{"command":"echo late"},"session":"s2","wait":true}\n' % marker)
    p.stdin.close()
    deadline = time.monotonic() + 10
    while not running(marker) and time.monotonic() < deadline:
        time.sleep(0.01)
    p.send_signal(signal.SIGTERM)
    out = p.stdout.read().splitlines()
    p.wait()
    assert json.loads(out[1]) == {"n": 1, "outcome": "result", "text": "late\nexit code 0\n"}


@pytest.mark.parametrize("mode", [m for m in MODES if m.startswith("root")])
def test_a_command_that_could_not_begin_is_an_error_and_no_result(mode):
    """Two processes of the tools' user: the host and the command's keeper, and none for the command."""
    folder = tempfile.mkdtemp(prefix="stigmer-tools-", dir="/var/tmp")
    os.chmod(folder, 0o755)
    try:
        limited = Toolbox(folder, mode)
        p = limited.start(preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NPROC, (2, 2)))
        out, _ = p.communicate('{"name":"execute","args":{"command":"touch done"}}\n')
        answer = json.loads(out)
        assert answer["outcome"] == "error" and "cannot start a process" in answer["text"], answer
        assert not (limited.workspace() / "done").exists()
    finally:
        shutil.rmtree(folder)


def test_a_dead_tool_host_makes_effects_unknown_and_is_replaced(any_box):
    marker = 500000 + os.getpid()
    p = any_box.start()
    p.stdin.write('{"name":"execute","args":{"command":"sleep %d"}}\n'
                  '{"name":"execute","args":{"command":"echo again"},"wait":true}\n' % marker)
    p.stdin.close()
    deadline = time.monotonic() + 10
    while not running(marker) and time.monotonic() < deadline:
        time.sleep(0.01)
    hosts = tool_hosts(p.pid)
    assert len(hosts) == 1
    os.kill(hosts[0], signal.SIGKILL)
    out = p.stdout.read().splitlines()
    p.wait()
    assert '"unknown"' in out[0] and "again" in out[1]
    assert running(marker) == []


# ---- files ----------------------------------------------------------------------------------

def test_read_file_numbers_lines_and_pages(box):
    put(box, "f.txt", "".join(f"line {i}\n" for i in range(1, 1001)))
    out = box.text("read_file", file_path="f.txt", offset=10, limit=2)
    assert out == "    11\tline 11\n    12\tline 12\n[there is more; go on with offset 12]\n"
    out = box.text("read_file", file_path="f.txt", offset=998, limit=2)
    assert out == "   999\tline 999\n  1000\tline 1000\n"
    assert box.text("read_file", file_path="f.txt").splitlines()[-1] == \
        "[there is more; go on with offset 500]"
    assert "has 1000 lines" in box.error("read_file", file_path="f.txt", offset=1000)


def test_read_file_of_special_contents(box):
    put(box, "empty", "")
    put(box, "open", "a\nb")
    put(box, "long", "x" * 4500 + "\nend\n")
    put(box, "bad", b"a\xffb\n")
    put(box, "bin", b"\x7fELF\x00\x01")
    put(box, "pic.png", b"\x89PNG\r\n\x1a\n\x00")
    assert box.text("read_file", file_path="empty") == "(the file is empty)\n"
    assert box.text("read_file", file_path="open") == "     1\ta\n     2\tb\n"
    lines = box.text("read_file", file_path="long").splitlines()
    assert [line.split("\t")[0].strip() for line in lines] == ["1", "1.1", "1.2", "2"]
    assert "".join(line.split("\t")[1] for line in lines) == "x" * 4500 + "end"
    assert box.text("read_file", file_path="bad") == "     1\ta\ufffdb\n"
    assert "ELF program, 6 bytes" in box.error("read_file", file_path="bin")
    assert "PNG image, 9 bytes" in box.error("read_file", file_path="pic.png")


def test_a_large_file_is_cut_and_says_where_to_go_on(box):
    put(box, "big", "0123456789\n" * 50000)
    out = box.text("read_file", file_path="big", limit=100000)
    last = out.splitlines()[-1]
    assert last.startswith("[cut at 64 KB; go on with offset ")
    shown = len(out.splitlines()) - 1
    assert last.endswith(f"offset {shown}]")


def test_paths_relative_absolute_and_alias(box):
    put(box, "d/f", "x\n")
    for path in ("d/f", "./d//f", f"{box.root}/s1/d/f", "/workspace/d/f", "d/../d/f"):
        assert box.text("read_file", file_path=path) == "     1\tx\n"


@pytest.mark.parametrize("path", ["../secret", "/etc/passwd", "d/../../x", "/workspace/../etc",
                                  "/workspacex/f", "/"])
def test_paths_outside_are_refused_with_the_root_named(box, path):
    for tool, more in (("read_file", {}), ("write_file", {"content": ""}),
                       ("edit_file", {"old_string": "a", "new_string": "b"})):
        text = box.error(tool, file_path=path, **more)
        assert "outside the workspace" in text and f"{box.root}/s1" in text


def test_links_that_lead_out_are_refused(box):
    ws = box.workspace()
    (ws / "out").symlink_to("/etc/passwd")
    (ws / "up").symlink_to("..")
    (ws / "proc").symlink_to("/proc/self/root/etc")
    for path in ("out", "up/secret", "proc/passwd"):
        assert "leads out" in box.error("read_file", file_path=path)
    for path in ("out", "up/f", "proc/f"):
        assert "out" in box.error("write_file", file_path=path, content="x")
    assert "leads out" in box.error("ls", path="up")
    assert "leads out" in box.error("glob", pattern="*", path="up")
    assert "leads out" in box.error("grep", pattern="root", path="out")
    assert box.text("grep", pattern="root") == "no match\n"


def test_a_link_inside_is_followed_and_stays_a_link(box):
    put(box, "d/real", "one\n")
    (box.workspace() / "l").symlink_to("d/real")
    assert box.text("read_file", file_path="l") == "     1\tone\n"
    box.text("write_file", file_path="l", content="two\n")
    assert (box.workspace() / "l").is_symlink()
    assert (box.workspace() / "d/real").read_text() == "two\n"


def test_what_is_no_file_is_never_waited_for(box):
    os.mkfifo(box.workspace() / "pipe")
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(str(box.workspace() / "sock"))
        assert "is a pipe" in box.error("read_file", file_path="pipe")
        assert "is a socket" in box.error("read_file", file_path="sock")
    assert "is a folder" in box.error("read_file", file_path=".")
    assert "is not a file" in box.error("write_file", file_path="pipe", content="x")
    assert box.text("grep", pattern="x") == "no match\n"


def test_write_file_makes_folders_and_keeps_the_mode(box):
    assert box.text("write_file", file_path="a/b/c.sh", content="x\ny") == \
        "created a/b/c.sh: 3 bytes, 2 lines\n"
    path = box.workspace() / "a/b/c.sh"
    os.chmod(path, 0o755)
    assert box.text("write_file", file_path="a/b/c.sh", content="").startswith("replaced")
    assert path.stat().st_mode & 0o777 == 0o755 and path.read_text() == ""
    assert path.stat().st_uid == box.tool_uid
    assert sorted(os.listdir(path.parent)) == ["c.sh"]
    assert "not a folder" in box.error("write_file", file_path="a/b/c.sh/d", content="")


def test_edit_file_shows_a_diff(box):
    path = put(box, "f.c", "one\ntwo\nthree\nfour\nfive\n")
    out = box.text("edit_file", file_path="f.c", old_string="three\n", new_string="3\n3b\n")
    assert out == ("edited f.c: 1 replacement\n@@ line 3 @@\n one\n two\n-three\n+3\n+3b\n"
                   " four\n five\n")
    assert path.read_text() == "one\ntwo\n3\n3b\nfour\nfive\n"
    out = box.text("edit_file", file_path="f.c", old_string="wo", new_string="WO")
    assert "-two\n+tWO\n" in out


def test_edit_file_refuses_what_is_not_clear(box):
    path = put(box, "f", "a b\n  count = 1;\na b\n")
    text = box.error("edit_file", file_path="f", old_string="a b", new_string="c")
    assert "2 times (lines 1, 3)" in text
    text = box.error("edit_file", file_path="f", old_string="count = 2;", new_string="c")
    assert "0 matches" in text and "2:   count = 1;" in text
    assert "the same" in box.error("edit_file", file_path="f", old_string="a", new_string="a")
    assert path.read_text() == "a b\n  count = 1;\na b\n"
    box.text("edit_file", file_path="f", old_string="a b", new_string="c", replace_all=True)
    assert path.read_text() == "c\n  count = 1;\nc\n"


def test_edit_file_explains_line_ends(box):
    put(box, "f", "a\r\nb\r\n")
    assert "CR LF" in box.error("edit_file", file_path="f", old_string="a\nb", new_string="c")


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small disk: needs root")
def test_a_full_disk_leaves_the_old_file(box):
    full = box.workspace() / "full"
    full.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size=64k,mode=700,uid={box.tool_uid}", "small",
                    full], check=True)
    try:
        put(box, "full/f", "old")
        assert "No space left" in box.error("write_file", file_path="full/f", content="x" * 100000)
        assert (full / "f").read_text() == "old"
        assert os.listdir(full) == ["f"]
        out = box.text("execute", command="seq 1 100000 > big; wc -c < f", working_dir="full")
        assert out.endswith("3\nexit code 0\n")
    finally:
        subprocess.run(["umount", full], check=True)


def test_ls_lists_folders_first(box):
    put(box, "b.txt", "12345")
    put(box, "a/x", "")
    (box.workspace() / "c").symlink_to("b.txt")
    lines = [line.split() for line in box.text("ls").splitlines() if ".stigmer" not in line]
    assert lines == [["dir", "a/"], ["file", "5", "b.txt"], ["link", "c", "->", "b.txt"]]
    assert "does not exist" in box.error("ls", path="nope")


# ---- search ---------------------------------------------------------------------------------

def test_glob_crosses_folders_newest_first(box):
    for i, name in enumerate(["src/old.c", "src/deep/mid.c", "new.c", "src/x.h"]):
        os.utime(put(box, name, ""), (1000 + i, 1000 + i))
    assert box.text("glob", pattern="**/*.c") == "new.c\nsrc/deep/mid.c\nsrc/old.c\n"
    assert box.text("glob", pattern="src/*.{c,h}") == "src/x.h\nsrc/old.c\n"
    assert box.text("glob", pattern="*.c", path="src") == "src/old.c\n"
    assert box.text("glob", pattern="/workspace/src/*.h") == "src/x.h\n"
    assert box.text("glob", pattern="*.py") == "no file matches\n"


def test_grep_modes(box):
    put(box, "a.txt", "one\ntwo.x\nthree\n")
    put(box, "d/b.py", "twozx\ntwo.x two.x\n")
    assert box.text("grep", pattern="two.x") == "a.txt\nd/b.py\n"
    assert box.text("grep", pattern="two.x", output_mode="count") == "a.txt:1\nd/b.py:1\n"
    assert box.text("grep", pattern="two.x", regex=True, output_mode="count") == \
        "a.txt:1\nd/b.py:2\n"
    assert box.text("grep", pattern="two.x", output_mode="content", context=1, path="a.txt") == \
        "a.txt-1-one\na.txt:2:two.x\na.txt-3-three\n"
    assert box.text("grep", pattern="two", glob="*.py") == "d/b.py\n"
    assert "not a POSIX" in box.error("grep", pattern="a(", regex=True)
    assert box.text("grep", pattern="a(") == "no match\n"


def test_grep_leaves_out_what_gitignore_names_and_binaries(box):
    put(box, ".gitignore", "*.log\n/build/\n!keep.log\nsub/gen.*\n")
    for name in ("a.log", "keep.log", "build/x", "sub/build/x", "sub/gen.c", "gen.c", "a.txt"):
        put(box, name, "needle\n")
    put(box, "bin", b"needle\x00")
    put(box, ".git/config", "needle\n")
    assert box.text("grep", pattern="needle").split() == ["a.txt", "gen.c", "keep.log",
                                                          "sub/build/x"]


def test_a_hostile_expression_is_ended(box):
    put(box, "f", "a" * 40 + "b\n")
    start = time.monotonic()
    answers = box.calls([
        {"name": "grep", "args": {"pattern": r"^(a?){40}(a*)*\1\2c$", "regex": True},
         "cancelMs": 500},
        {"name": "ls", "args": {}, "wait": True}])
    assert answers[1]["outcome"] == "result"
    assert time.monotonic() - start < 20


# ---- arguments ------------------------------------------------------------------------------

def test_bad_arguments_are_errors_for_the_model(box):
    assert "did you mean 'command'" in box.error("execute", cmmand="ls")
    assert "there is no tool 'fly'" in box.error("fly")
    assert "accepted: 1 to 3600" in box.error("execute", command="x", timeout_seconds=0)
