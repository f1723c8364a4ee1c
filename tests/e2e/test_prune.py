"""What crashes and old sessions leave: shown, asked about, removed; and what is live or a stranger's stays."""
import fcntl
import json
import os
import pathlib
import pty
import signal
import socket
import sqlite3
import subprocess
import time

import pytest

import engines
from homes import STIGMER, Home, workspace_of

docker_missing = pytest.mark.skipif(subprocess.run(["docker", "version"], capture_output=True).returncode != 0,
                                    reason="no container engine answers")
GONE = "ses-01h0000000000000000000000"  # and one more character


def items(home, *args):
    return json.loads(home.ok("prune", "-o", "json", *args))["items"]


def whats(home, *args):
    return sorted(f"{i['kind']} {i['what']}" for i in items(home, *args))


def crash(home):
    """Keeper and server at once, as a power cut would. They are gone when the home's lock is free: a server's
    last thread may outlive its first."""
    for line in pathlib.Path(f"{home.dir}/data/run/server.pid").read_text().splitlines():
        os.kill(int(line.split()[1]), signal.SIGKILL)
    with open(f"{home.dir}/data/lock") as f:
        fcntl.flock(f, fcntl.LOCK_EX)


def workspaces(home):
    return pathlib.Path(f"{home.dir}/data/workspace")


def age(path, days=100):
    then = time.time() - days * 86400
    os.utime(path, (then, then), follow_symlinks=False)


def make_old(home, days=100):
    """Sessions that were used long ago; the server is stopped."""
    with sqlite3.connect(f"{home.dir}/data/stigmer.db") as db:
        db.execute("UPDATE execution SET created_ms = created_ms - ?1, ended_ms = ended_ms - ?1", (days * 86400000,))
    db.close()
    for path in workspaces(home).iterdir():
        age(path, days)


@pytest.fixture
def quiet(home):
    """A home whose server has run and was stopped."""
    home.up()
    home.ok("server", "stop")
    return home


def test_nothing_is_stale_in_a_home_that_was_never_used(model):
    with Home(model) as h:
        r = h.stigmer("prune")
        assert (r.returncode, r.stdout) == (0, "") and "nothing is stale" in r.stderr
        assert os.listdir(h.dir) == ["config.yaml"]


def test_what_a_crash_left_is_shown_and_goes_only_with_yes(home):
    home.up()
    crash(home)
    for args in ((), ("--no-input",)):
        r = home.stigmer("prune", *args)
        assert r.returncode == 2 and "--yes" in r.stderr, r.stderr
        assert r.stdout.split()[:5] == ["KIND", "WHAT", "SIZE", "AGE", "WHY"] and "data/run/api.sock" in r.stdout
    assert whats(home, "--dry-run")[0] == "id data/run/server.pid"
    assert os.path.exists(f"{home.dir}/data/run/server.pid")
    done = json.loads(home.ok("prune", "--yes", "-o", "json"))
    assert done["schema"] == "stigmer.cli/prune/v1" and not done["dryRun"] and not done["serverRuns"]
    assert all(i["removed"] for i in done["items"])
    assert [i["kind"] for i in done["items"]] == ["socket", "socket", "id", "keys"]
    assert sorted(os.listdir(f"{home.dir}/data/run")) == ["runner", "start.lock"]
    assert items(home, "--dry-run") == []
    home.ok("server", "start")


def test_a_person_is_asked_on_a_terminal(home):
    home.up()
    crash(home)
    for answer, code, there in ((b"n\n", 1, True), (b"y\n", 0, False)):
        leader, terminal = pty.openpty()
        p = subprocess.Popen([STIGMER, "prune"], env=home.env, stdin=terminal, stdout=subprocess.DEVNULL, stderr=terminal)
        os.close(terminal)
        text = b""
        while b"[y/N]" not in text:
            text += os.read(leader, 4096)
        os.write(leader, answer)
        assert p.wait(30) == code
        os.close(leader)
        assert os.path.exists(f"{home.dir}/data/run/server.pid") == there


def test_a_running_server_loses_nothing(home):
    home.up()
    run = home.begin("wait-at-gate")
    home.ok("run", "worker", "-m", "write-it")
    before = sorted(os.listdir(f"{home.dir}/data/run"))
    assert items(home, "--older-than", "0s", "--yes") == []
    assert sorted(os.listdir(f"{home.dir}/data/run")) == before
    while not os.path.isdir(workspace_of(home, run)):
        os.sched_yield()
    pathlib.Path(workspace_of(home, run), "go").touch()
    assert "The gate opened." in home.ok("attach", run)


def test_a_run_that_is_under_way_keeps_its_workspace_however_old(home):
    """Also one that waits in the journal for the next start."""
    home.up()
    run = home.begin("wait-at-gate")
    while not os.path.exists(f"{workspace_of(home, run)}/count"):
        os.sched_yield()
    place = workspace_of(home, run)
    crash(home)
    make_old(home)
    assert not [w for w in whats(home, "--older-than", "1d", "--yes") if "workspace" in w]
    assert os.path.exists(f"{place}/count")


def test_workspaces_go_by_age_and_only_when_it_is_given(home):
    home.up()
    home.ok("run", "worker", "-m", "write-it")
    home.ok("server", "stop")
    old = next(workspaces(home).iterdir())
    make_old(home)
    home.ok("server", "start")
    home.ok("run", "worker", "-m", "write-it")
    (workspaces(home) / "mine").mkdir()  # no session's
    age(workspaces(home) / "mine")
    for _ in range(2):  # with a server, and without
        assert items(home, "--dry-run") == []
        assert items(home, "--dry-run", "--older-than", "200d") == []
        [one] = items(home, "--dry-run", "--older-than", "30d")
        assert one["what"] == f"data/workspace/{old.name}" and one["bytes"] > 0
        assert one["ageMs"] > 99 * 86400000 and "no run under way" in one["why"]
        home.ok("server", "stop")
    home.ok("server", "start")
    home.ok("prune", "--older-than", "30d", "--yes")
    assert not old.exists() and len(list(workspaces(home).iterdir())) == 2


def test_links_in_a_workspace_lead_nowhere(quiet, tmp_path):
    (tmp_path / "kept").write_text("kept")
    for n, target in enumerate((str(tmp_path), "../../../..", "/", f"{quiet.dir}/config.yaml")):
        (workspaces(quiet) / f"{GONE}{n}").mkdir()
        (workspaces(quiet) / f"{GONE}{n}/way-out").symlink_to(target)
        age(workspaces(quiet) / f"{GONE}{n}")
    closed = workspaces(quiet) / f"{GONE}9"
    (closed / "deep").mkdir(parents=True)
    (closed / "deep/f").write_text("x")
    (closed / "deep").chmod(0)
    age(closed)
    assert len(items(quiet, "--older-than", "1d", "--yes")) == 5
    assert list(workspaces(quiet).iterdir()) == [] and (tmp_path / "kept").read_text() == "kept"
    assert os.path.exists(f"{quiet.dir}/config.yaml")


@pytest.mark.skipif(os.getuid() != 0, reason="mounts something")
def test_what_is_mounted_in_a_workspace_is_told_and_left(quiet, tmp_path):
    (tmp_path / "kept").write_text("kept")
    place = workspaces(quiet) / f"{GONE}0"
    (place / "m").mkdir(parents=True)
    (place / "mine").write_text("x")
    subprocess.run(["mount", "--bind", str(tmp_path), str(place / "m")], check=True)
    try:
        age(place)
        r = quiet.stigmer("prune", "--older-than", "1d", "--yes")
        assert r.returncode == 1 and "mounted" in r.stderr, r.stderr
        assert (tmp_path / "kept").exists()
    finally:
        subprocess.run(["umount", "-l", *map(str, workspaces(quiet).glob("*/m"))], check=True)
    assert [w.split()[0] for w in whats(quiet, "--yes")] == ["temp"]  # the rest of it
    assert list(workspaces(quiet).iterdir()) == []


def test_a_persons_folder_stays_when_its_link_goes(quiet, tmp_path):
    (tmp_path / "mine").write_text("kept")
    (workspaces(quiet) / f"{GONE}0").symlink_to(tmp_path)
    [link] = items(quiet, "--yes")
    assert link["kind"] == "link" and link["removed"]
    assert not os.path.lexists(workspaces(quiet) / f"{GONE}0") and (tmp_path / "mine").read_text() == "kept"


def test_without_a_store_workspaces_are_left_alone(quiet):
    (workspaces(quiet) / f"{GONE}0").mkdir()
    age(workspaces(quiet) / f"{GONE}0")
    pathlib.Path(f"{quiet.dir}/data/stigmer.db").write_bytes(b"no database " * 400)
    doc = json.loads(quiet.ok("prune", "--older-than", "1d", "--yes", "-o", "json"))
    assert doc["items"] == [] and "cannot be read" in doc["warnings"][0]


def test_unfinished_writes_and_old_backups_go(quiet):
    data = pathlib.Path(quiet.dir, "data")
    for name, days in (("run/server.pid.new", 1), ("stigmer.db.bak-0", 100), ("stigmer.db.bak-1", 90)):
        (data / name).write_text("x")
        age(data / name, days)
    (data / "run/engine.new").write_text("x")  # of this moment: it may be being written
    assert whats(quiet, "--yes") == ["temp data/run/server.pid.new"]
    assert whats(quiet, "--older-than", "30d", "--yes") == ["backup data/stigmer.db.bak-0"]
    assert (data / "stigmer.db.bak-1").exists() and (data / "run/engine.new").exists()


def test_a_socket_that_somebody_listens_on_is_not_stale(quiet):
    with socket.socket(socket.AF_UNIX) as s:  # as a service manager does before it starts the server
        s.bind(f"{quiet.dir}/data/run/api.sock")
        s.listen()
        assert items(quiet, "--yes") == []
        assert os.path.exists(f"{quiet.dir}/data/run/api.sock")


# ---- containers ---------------------------------------------------------------------------------

@pytest.fixture(params=["docker", "podman"])
def engine(request):
    """runtime, environment, and a way to ask."""
    if request.param == "docker":
        if subprocess.run(["docker", "version"], capture_output=True).returncode:
            pytest.skip("no container engine answers")
        yield "docker", {}, lambda name: subprocess.run(["docker", "inspect", name], capture_output=True).returncode == 0
        return
    e = engines.podman()
    try:
        e.start()
        yield "podman", {"CONTAINER_HOST": e.url, "DOCKER_HOST": f"unix://{e.dir}/none.sock"}, lambda name: bool(e.inspect(name))
    finally:
        e.close()


def test_containers_of_this_home_go_and_those_of_another_stay(model, engine):
    kind, env, exists = engine
    names = [f"stigmer-test-{os.urandom(4).hex()}" for _ in range(2)]
    with Home(model, kind=kind, name=names[0]) as one, Home(model, kind=kind, name=names[1]) as two:
        for home in (one, two):
            home.env.update(env)
            home.up()
        assert items(one, "--older-than", "0s", "--yes") == [] and exists(names[0])
        crash(one)
        crash(two)
        assert f"container {names[0]}" in whats(one, "--dry-run")
        assert f"container {names[1]}" not in whats(one, "--dry-run")
        one.ok("prune", "--yes")
        assert not exists(names[0]) and exists(names[1])
        assert not os.path.exists(f"{one.dir}/data/agent-runner-container.id")
        assert os.path.exists(f"{two.dir}/data/agent-runner-container.id")


@docker_missing
def test_an_engine_that_is_away_keeps_what_finds_its_containers(model):
    name = f"stigmer-test-{os.urandom(4).hex()}"
    with Home(model, kind="docker", name=name) as home:
        home.up()
        crash(home)
        engine = pathlib.Path(home.dir, "data/run/engine")
        good = engine.read_text()
        engine.write_text("docker /tmp/nowhere.sock\n")
        home.env["DOCKER_HOST"] = "unix:///tmp/nowhere.sock"
        r = home.stigmer("prune", "--yes")
        assert r.returncode == 1 and "containers may be left" in r.stderr and "is still there" in r.stderr
        assert os.path.exists(f"{home.dir}/data/agent-runner-container.id")
        del home.env["DOCKER_HOST"]
        engine.write_text(good)
        home.ok("prune", "--yes")
        assert subprocess.run(["docker", "inspect", name], capture_output=True).returncode == 1
