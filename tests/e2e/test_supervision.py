"""What the keeper and the supervisor do when parts of the stack are killed or stopped, and that they do
nothing when nothing happens."""
import json
import os
import signal
import subprocess
import time

import pytest

from homes import gone, started, workspace_of


def pids(home):
    """Of keeper and server."""
    with open(f"{home.dir}/data/run/server.pid") as f:
        return [int(line.split()[1]) for line in f]


def wait_gone(pid):
    end = time.monotonic() + 30
    while not gone(pid):
        assert time.monotonic() < end, pid
        os.sched_yield()


def test_a_crash_of_the_server_is_told_with_its_signal_and_last_words(home):
    home.up()
    keeper, server = pids(home)
    os.kill(server, signal.SIGABRT)
    wait_gone(server)
    end = time.monotonic() + 30
    while home.stigmer("server", "status").returncode:
        assert time.monotonic() < end, home.logs()
    c = home.component("stigmer-server")
    assert c["restarts"] == 1 and c["lastExit"].startswith("signal 6")
    assert any('msg="ready"' in line for line in c["lastLines"])
    assert pids(home)[0] == keeper
    with open(f"/proc/{keeper}/status") as f:
        rss = int(next(line for line in f if line.startswith("VmRSS")).split()[1])
    assert rss <= 1500, rss


def test_a_killed_keeper_takes_the_stack_with_it_and_a_start_goes_on(home):
    home.up()
    run = home.begin("wait-at-gate")
    events = home.follow(run)
    started(events, "execute")
    runner = home.component("agent-runner")["pid"]
    keeper, server = pids(home)
    os.kill(keeper, signal.SIGKILL)
    for pid in (keeper, server, runner):
        wait_gone(pid)
    events.kill()
    events.wait()
    r = home.stigmer("server", "status")
    assert r.returncode == 3 and "ended without being stopped" in r.stdout, r.stdout
    home.ok("server", "start")
    with open(f"{workspace_of(home, run)}/go", "w"):
        pass
    assert json.loads(home.ok("attach", run, "-o", "jsonl").splitlines()[-1])["phase"] == "completed"


def test_a_stopped_server_is_told_and_stop_ends_it(home):
    home.up()
    server = pids(home)[1]
    os.kill(server, signal.SIGSTOP)
    r = home.stigmer("server", "status", "--timeout", "500ms")
    assert r.returncode == 1 and "does not answer" in r.stdout, r.stdout
    home.ok("server", "stop", "--grace", "1s", "--force")
    assert gone(server) and home.stigmer("server", "status").returncode == 3


def test_an_idle_stack_sleeps(home):
    """No process of it wakes up: what the kernel counts as its own decision to wait does not grow."""
    home.up()
    home.ok("run", "worker", "-m", "just-say")
    launcher = home.component("agent-runner")["pid"]
    watched = [*pids(home), launcher, next(p for p in children(launcher) if "worker" in name_of(p))]
    trace = f"{home.dir}/trace"
    watcher = subprocess.Popen(["strace", "-f", "-qq", "-e", "trace=all", "-o", trace, *(w for p in watched for w in ("-p", str(p)))])
    while not os.path.exists(trace):
        assert watcher.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        watcher.wait(20)
    watcher.terminate()
    watcher.wait()
    with open(trace) as f:
        calls = [line.split(None, 1) for line in f]
    woken = {pid: [c for p, c in calls if p == pid] for pid, _ in calls}
    for pid, lines in woken.items():  # the call that it sleeps in; what went to sleep last; one timer at most
        returns = [c for c in lines if "resumed" in c or "=" in c]
        assert len(returns) <= 6, (pid, lines)
    assert len(woken) >= 4


def children(pid):
    with open(f"/proc/{pid}/task/{pid}/children") as f:
        return [int(p) for p in f.read().split()]


def name_of(pid):
    with open(f"/proc/{pid}/comm") as f:
        return f.read()
