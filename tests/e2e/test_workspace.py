"""A person's own folder as the workspace of a run: run --workspace DIR."""
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time

import pytest

from homes import Home, last, started

docker_missing = pytest.mark.skipif(subprocess.run(["docker", "version"], capture_output=True).returncode != 0,
                                    reason="no container engine answers")


@pytest.fixture(params=["process", pytest.param("docker", marks=docker_missing)])
def stack(request, model):
    """A home with each kind of runner; a container gets a name of its own."""
    name = f"stigmer-test-{os.urandom(4).hex()}"
    with Home(model, kind=request.param, name=name) as h:
        h.name = name
        h.is_container = request.param == "docker"
        yield h


@pytest.fixture
def boxed(model):
    name = f"stigmer-test-{os.urandom(4).hex()}"
    with Home(model, kind="docker", name=name, session_idle="1s") as h:
        h.name = name
        yield h


@pytest.fixture
def project():
    d = tempfile.mkdtemp(prefix="sp-", dir="/tmp")
    with open(f"{d}/there", "w") as f:
        f.write("before")
    yield d
    shutil.rmtree(d)


def names(home):
    out = subprocess.run(["docker", "ps", "-a", "--filter", f"label=ai.stigmer.home={home.dir}", "--format", "{{.Names}}"],
                         capture_output=True, text=True).stdout
    return out.split()


def session_of(home, run):
    x = json.loads(home.ok("get", "executions", run, "-o", "json"))
    return (x["items"][0] if "items" in x else x)["spec"]["sessionId"]


def test_the_agent_works_in_the_persons_folder_and_files_are_theirs(stack, project):
    stack.up()
    assert stack.ok("run", "worker", "-m", "write-it", "-w", project).strip() == "It is written."
    with open(f"{project}/out.txt") as f:
        assert f.read() == "hello\n"
    assert os.stat(f"{project}/out.txt").st_uid == os.stat(project).st_uid
    assert os.stat(project).st_uid == os.getuid()  # the folder itself is as it was
    run = json.loads(stack.ok("ps", "-a", "-o", "json"))["items"][0]["id"]
    session = session_of(stack, run)
    if stack.is_container:
        assert sorted(names(stack)) == [stack.name, f"{stack.name}-{session}"]
        box = json.loads(subprocess.run(["docker", "inspect", f"{stack.name}-{session}"], capture_output=True).stdout)[0]
        assert {m["Source"]: m["Destination"] for m in box["Mounts"] if m["RW"]} == {project: f"/workspace/{session}"}
        assert box["HostConfig"]["CapDrop"] == ["ALL"] and box["HostConfig"]["ReadonlyRootfs"]
        assert any(c.get("workspace") == project and c["state"] == "ready" for c in stack.status()["components"])
    # the next run of the session finds the folder by itself
    os.unlink(f"{project}/out.txt")
    stack.ok("run", "--session", session, "-m", "write-it")
    assert os.path.exists(f"{project}/out.txt")
    stack.ok("server", "stop")
    if stack.is_container:
        assert names(stack) == []
    assert sorted(os.listdir(f"{stack.dir}/data/run")) == ["runner", "start.lock"]
    assert os.path.exists(f"{project}/there")


@pytest.mark.skipif(os.getuid() != 0, reason="gives a folder to another user")
def test_a_folder_of_another_user_gets_files_of_that_user(stack, project):
    os.chown(project, 4242, 4242)
    stack.up()
    stack.ok("run", "worker", "-m", "write-it", "-w", project)
    st = os.stat(f"{project}/out.txt")
    assert (st.st_uid, st.st_gid) == (4242, 4242)


def test_what_cannot_be_a_workspace_is_exit_5_and_says_why(stack, tmp_path):
    stack.up()
    for folder in ("/", os.path.expanduser("~"), stack.dir, f"{stack.dir}/data", "/etc", "/tmp", "/usr/share"):
        r = stack.stigmer("run", "worker", "-m", "write-it", "-w", folder)
        assert r.returncode == 5, (folder, r.returncode, r.stderr)
        assert "cannot be a workspace" in r.stderr and "hint: " in r.stderr
    r = stack.stigmer("run", "worker", "-m", "write-it", "-w", str(tmp_path / "none"))
    assert r.returncode == 4 and "none" in r.stderr
    (tmp_path / "file").touch()
    r = stack.stigmer("run", "worker", "-m", "write-it", "-w", str(tmp_path / "file"))
    assert r.returncode == 2 and "not a folder" in r.stderr
    assert json.loads(stack.ok("ps", "-a", "-o", "json"))["items"] == []


def test_a_sessions_folder_cannot_be_changed(stack, project, tmp_path):
    stack.up()
    stack.ok("run", "worker", "-m", "just-say", "-w", project)
    session = session_of(stack, json.loads(stack.ok("ps", "-a", "-o", "json"))["items"][0]["id"])
    r = stack.stigmer("run", "--session", session, "-m", "just-say", "-w", str(tmp_path))
    assert r.returncode == 2 and project in r.stderr, r.stderr
    stack.ok("run", "--session", session, "-m", "just-say", "-w", project)


@docker_missing
def test_the_container_of_a_session_goes_when_it_is_idle(boxed, project):
    boxed.up()
    boxed.ok("run", "worker", "-m", "write-it", "-w", project)
    end = time.monotonic() + 60
    while names(boxed) != [boxed.name]:
        assert time.monotonic() < end, names(boxed)
    boxed.ok("run", "worker", "-m", "write-it", "-w", project)  # and comes again


@docker_missing
def test_a_killed_server_finds_the_containers_of_sessions_again(model, project):
    name = f"stigmer-test-{os.urandom(4).hex()}"
    with Home(model, kind="docker", name=name) as h:
        h.up()
        run = h.ok("run", "worker", "-m", "wait-at-gate", "-w", project, "--detach").strip()
        events = h.follow(run)
        started(events, "execute")
        before = {c["name"]: c.get("containerId") for c in h.status()["components"]}
        assert len(before) == 4
        os.kill(h.component("stigmer-server")["pid"], signal.SIGKILL)
        end = time.monotonic() + 30
        while True:
            r = h.stigmer("server", "status", "-o", "json")
            now = {c["name"]: c.get("containerId") for c in json.loads(r.stdout)["components"]}
            if now == before:
                break
            assert time.monotonic() < end, (before, now, h.logs())
        with open(f"{project}/go", "w"):
            pass
        assert last(events)["phase"] == "completed"
        with open(f"{project}/count") as f:
            assert len(f.readlines()) == 1
