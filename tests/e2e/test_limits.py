"""What a tool may use up: memory and processes. Limits hold, the stack lives, the run goes on and the
model is told; other sessions do not notice. In a container and as a process."""
import os
import shutil
import subprocess
import sys
import tempfile
import time

import pytest

from homes import Home, last, started, until

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../fake"))
from command_model import CommandModel  # noqa: E402

KINDS = ["process", "docker"] if subprocess.run(["docker", "version"], capture_output=True).returncode == 0 else ["process"]
# Every shell of it starts more of its kind, and what stays when no more can be started is asleep.
BOMB = "exec 2>/dev/null; bomb() { while :; do sleep 500 & bomb & done; }; touch begun; bomb & exec sleep 500"


@pytest.fixture(scope="module")
def model():
    with CommandModel() as m:
        yield m


def stack(model, kind, **runner):
    return Home(model.port, kind=kind, name=f"stigmer-test-{os.urandom(4).hex()}", **runner)


def replaced(home):
    """The runner after its first restart, ready."""
    return until(lambda: (c := home.look("agent-runner")) and c["restarts"] and c["state"] == "ready" and c)


def docker(*args):
    return subprocess.run(["docker", *args], capture_output=True, text=True).stdout.strip()


def container_of(home):
    return home.component("agent-runner")["containerId"]


def runner_pid(home):
    c = home.component("agent-runner")
    return c.get("pid") or int(docker("inspect", "-f", "{{.State.Pid}}", c["containerId"]))


def below(pid):
    """Every descendant."""
    found, todo = set(), [pid]
    while todo:
        p = todo.pop()
        try:
            with open(f"/proc/{p}/task/{p}/children") as f:
                more = [int(c) for c in f.read().split()]
        except OSError:
            continue
        found.update(more)
        todo += more
    return found


# ---- memory ---------------------------------------------------------------------------------------

def test_a_memory_hog_in_a_container_is_killed_alone_and_the_model_is_told(model):
    with stack(model, KINDS[-1], memory="64MiB") as h:
        h.up()
        before = container_of(h)
        told = h.ok("run", "worker", "-m", "tail -c 300m /dev/zero")
        assert "killed by SIGKILL" in told and "because memory ran out" in told and "runner.memory" in told, told
        told = h.ok("run", "worker", "-m", "tail -c 300m /dev/zero; exit $?")
        assert "exit code 137" in told and "because memory ran out" in told, told
        assert h.ok("run", "worker", "-m", "echo fine").startswith("fine\n")
        c = h.component("agent-runner")
        assert (c["containerId"], c["restarts"], c["state"]) == (before, 0, "ready")
        until(lambda: "memory ran out in the runner's container" in h.ok("server", "logs", "--tail", "all"))
        h.ok("run", "worker", "-m", "sleep 1.2")  # an end that is not at once after has another reason
        docker("kill", before)
        assert replaced(h)["lastExit"] == "killed by signal 9 (Killed)"


def test_a_full_tmp_in_a_container_leaves_memory_for_the_runner(model):
    with stack(model, KINDS[-1], memory="64MiB") as h:
        h.up()
        told = h.ok("run", "worker", "-m", "head -c 300m /dev/zero >$TMPDIR/x; ls -s $TMPDIR/x; rm $TMPDIR/x")
        assert "32768" in told, told
        assert h.component("agent-runner")["restarts"] == 0


@pytest.mark.skipif(KINDS[-1] != "docker", reason="no container engine answers")
def test_a_container_that_dies_of_memory_is_told_as_such_and_the_run_goes_on(model):
    with stack(model, "docker", memory="48MiB") as h:
        h.up()
        run = h.begin("echo begun; while [ ! -e go ]; do :; done")
        events = h.follow(run)
        started(events, "execute")
        # no tool can: the memory that the runner itself may write to is filled from outside
        docker("exec", container_of(h), "/bin/busybox", "sh", "-c", "head -c 64m /dev/zero >/dev/shm/x; tail -c 64m /dev/zero")
        assert replaced(h)["lastExit"] == "out of memory: it had more than 48 MiB"
        assert "out of memory: it had more than 48 MiB" in h.ok("server", "status")
        assert 'why="out of memory: it had more than 48 MiB"' in h.ok("server", "logs", "--tail", "all")
        end = last(events)
        assert end["phase"] == "completed", end


def test_a_memory_hog_of_the_process_runner_meets_its_limit(model):
    with stack(model, "process", memory="256MiB") as h:
        h.up()
        told = h.ok("run", "worker", "-m", "python3 -c 'x = bytearray(400 << 20)'; cat /proc/self/oom_score_adj")
        assert "MemoryError" in told, told
        assert h.ok("run", "worker", "-m", "python3 -c 'x = bytearray(100 << 20); print(len(x))'").startswith("104857600\n")
        assert "\n1000\n" in told, told  # when the machine's memory runs out, tools go first
        assert h.component("agent-runner")["restarts"] == 0


# ---- processes ------------------------------------------------------------------------------------

@pytest.fixture
def project():
    d = tempfile.mkdtemp(prefix="sp-", dir="/tmp")
    yield d
    shutil.rmtree(d)


def name_of(pid):
    try:
        with open(f"/proc/{pid}/comm") as f:
            return f.read().strip()
    except OSError:
        return ""


def session_pid(home):
    box = docker("ps", "-q", "--filter", f"label=ai.stigmer.home={home.dir}", "--filter", "label=ai.stigmer.session")
    return box and int(docker("inspect", "-f", "{{.State.Pid}}", box))


def sleeping(launcher):
    """How many the bomb has left below this launcher; 0 while it still grows."""
    n = sum(name_of(p) == "sleep" for p in below(launcher))
    return n if n > 20 else 0


@pytest.mark.parametrize("own", [False, True], ids=["workspace", "own-folder"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_fork_bomb_is_held_and_other_sessions_go_on(model, project, kind, own):
    with stack(model, kind, pids="128") as h:
        h.up()
        args = ["-w", project] if own else []
        run = h.ok("run", "worker", "-m", BOMB, "--detach", *args).strip().splitlines()[-1]
        launcher = runner_pid(h) if not own or kind == "process" else until(lambda: session_pid(h))
        most = until(lambda: sleeping(launcher), 20)
        for _ in range(3):  # pipes of several processes in another session
            assert h.ok("run", "worker", "-m", "seq 5 | cat | cat | tail -n 1").startswith("5\n")
            most = max(most, sleeping(launcher))
        assert most < 450, most
        assert h.status()["state"] == "ready"
        bombers = below(launcher)
        if own:
            h.ok("cancel", run)
            until(lambda: not sleeping(launcher))
        h.ok("server", "stop", "--grace", "1s")
        assert not [p for p in bombers if name_of(p) in ("sleep", "sh", "busybox")]
