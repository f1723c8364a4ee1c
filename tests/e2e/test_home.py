"""What happens to a server whose files are taken away under it: its sockets, its pid file, its folders,
and the right to write."""
import contextlib
import json
import os
import shutil
import signal
import subprocess

import pytest

from homes import Home, gone, last, started, until, workspace_of


def pids(home):
    with open(f"{home.dir}/data/run/server.pid") as f:
        return [int(line.split()[1]) for line in f]


def log_of(home):
    with open(f"{home.dir}/data/logs/stigmer-server.log") as f:
        return f.read()


def test_a_socket_that_is_removed_is_put_back_and_the_run_goes_on(home):
    home.up()
    before = pids(home)
    run = home.begin("wait-at-gate")
    events = home.follow(run)
    started(events, "execute")
    for _ in range(3):
        for path in (f"{home.dir}/data/run/api.sock", f"{home.dir}/data/run/runner/runner.sock"):
            os.unlink(path)
            until(lambda: os.path.exists(path))
    fds = len(os.listdir(f"/proc/{before[1]}/fd"))
    assert home.status()["state"] == "ready" and pids(home) == before
    os.kill(home.component("agent-runner")["pid"], signal.SIGKILL)  # the next one finds it, too
    until(lambda: (c := home.look("agent-runner")) and c["restarts"] == 1 and c["state"] == "ready")
    with open(f"{workspace_of(home, run)}/go", "w"):
        pass
    assert last(events)["phase"] == "completed"
    assert log_of(home).count('msg="socket was removed; it is there again"') == 6
    assert len(os.listdir(f"/proc/{before[1]}/fd")) <= fds + 4  # the old ones are closed
    assert os.stat(f"{home.dir}/data/run/api.sock").st_mode & 0o777 == 0o600
    home.ok("server", "stop")


def test_a_pid_file_that_is_removed_is_written_again(home):
    home.up()
    before = pids(home)
    path = f"{home.dir}/data/run/server.pid"
    os.unlink(path)
    until(lambda: os.path.exists(path))
    assert pids(home) == before
    home.ok("server", "stop")
    assert all(gone(p) for p in before)


@pytest.mark.parametrize("how", ["run", "home", "moved"])
def test_a_server_whose_folders_are_taken_away_ends_and_a_start_goes_on(home, how):
    home.up()
    was = home.dir
    done = json.loads(home.ok("run", "worker", "-m", "just-say", "-o", "json"))["executionId"]
    before = [*pids(home), home.component("agent-runner")["pid"]]
    config = open(f"{was}/config.yaml").read()
    if how == "moved":
        os.rename(was, f"{was}-moved")
    else:
        shutil.rmtree(f"{was}/data/run" if how == "run" else was)
    for pid in before:
        until(lambda: gone(pid))
    r = home.stigmer("server", "status")
    assert r.returncode == 3 and "stigmer server start" in r.stderr, r.stderr
    home.ok("server", "stop")
    if how == "moved":
        shutil.rmtree(was, ignore_errors=True)
        home.dir = home.env["STIGMER_HOME"] = f"{was}-moved"
        assert 'msg="the server\'s folder was moved or removed: it ends"' in log_of(home)
    os.makedirs(home.dir, exist_ok=True)
    with open(f"{home.dir}/config.yaml", "w") as f:
        f.write(config)
    home.ok("server", "start")
    kept = home.ok("ps", "-a", "-q")
    assert (done in kept) == (how != "home")
    if how != "home":
        assert home.ok("run", "worker", "-m", "just-say").strip() == "Said."


@contextlib.contextmanager
def read_only(path):
    subprocess.run(["mount", "--bind", path, path], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", path], check=True)
        yield
    finally:
        subprocess.run(["umount", "-l", path], check=True)


@pytest.mark.skipif(os.getuid() != 0, reason="mounting takes root")
def test_a_home_that_became_read_only_is_told_and_stop_works(home):
    home.up()
    before = pids(home)
    with read_only(home.dir):
        assert home.status()["state"] == "ready"
        told = home.ok("run", "worker", "-m", "write-it", "-o", "json")  # the tool's trouble is the model's
        run = json.loads(told)["executionId"]
        assert "Read-only file system" in home.ok("inspect", run, "-o", "json")
        for args in (["server", "start"], ["config", "set", "runner.memory", "1GiB"]):
            r = home.stigmer(*args)
            assert r.returncode not in (0, -6, -11) and "Read-only file system" in r.stderr and home.dir in r.stderr, r.stderr
        checks = {c["id"]: c for c in json.loads(home.stigmer("doctor", "-o", "json").stdout)["checks"]}
        assert checks["disk"]["status"] == "fail" and "read-only" in checks["disk"]["detail"]
        r = home.stigmer("server", "stop")
        assert r.returncode == 0 and "Read-only file system; stopping all the same" in r.stderr, r.stderr
        assert all(gone(p) for p in before)
    home.ok("server", "start")
    assert run in home.ok("ps", "-a", "-q")
    assert home.ok("run", "worker", "-m", "write-it").strip() == "It is written."


def test_a_stop_without_its_home_is_no_error(model):
    with Home(model) as h:
        shutil.rmtree(h.dir)
        r = h.stigmer("server", "stop")
        assert r.returncode == 0 and "not running" in r.stderr
