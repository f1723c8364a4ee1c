"""The runner in a container: a real engine, the installed image, the same tasks."""
import hashlib
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tarfile
import tempfile
import threading
import time

import pytest

from homes import PREFIX, Home, begun, last, started, until, workspace_of

REPO = pathlib.Path(__file__).resolve().parents[2]
IMAGE = "stigmer-agent-runner:local"
ARCHIVE = os.path.join(PREFIX, "share/stigmer/agent-runner-image.tar")


def docker(*args, check=True, **kw):
    r = subprocess.run(["docker", *args], capture_output=True, text=True, timeout=120, **kw)
    assert not check or r.returncode == 0, (args, r.stderr)
    return r.stdout.strip()


pytestmark = pytest.mark.skipif(subprocess.run(["docker", "version"], capture_output=True).returncode != 0,
                                reason="no container engine answers")


@pytest.fixture
def name():
    """A container name of this test's own, free afterwards."""
    name = f"stigmer-test-{os.urandom(4).hex()}"
    yield name
    docker("rm", "-f", name, check=False)


@pytest.fixture
def boxed(model, name):
    with Home(model, kind="docker", name=name) as h:
        yield h


def inspect(name):
    return json.loads(docker("inspect", name))[0]


def container_of(home):
    return home.component("agent-runner")["containerId"]


def exists(name):
    return docker("ps", "-aq", "--filter", f"name=^/{name}$") != ""


@pytest.mark.parametrize("provider", ["openai", "anthropic", "ollama"])
def test_a_task_is_done_in_a_container_over_each_wire_format(model, name, provider):
    with Home(model, provider, kind="docker", name=name) as h:
        h.up()
        assert h.ok("run", "worker", "-m", "write-it").strip() == "It is written."
        run = json.loads(h.ok("ps", "-a", "-o", "json"))["items"][0]["id"]
        path = f"{workspace_of(h, run)}/out.txt"
        with open(path) as f:
            assert f.read() == "hello\n"
        assert os.stat(path).st_uid == (os.getuid() or 10002)


def test_status_names_the_container_and_its_layers(boxed, name):
    boxed.up()
    status = boxed.status()
    runner = boxed.component("agent-runner")
    assert status["state"] == "ready"
    assert (runner["kind"], runner["runtime"], runner["network"]) == ("container", "docker", "host")
    assert runner["image"] == IMAGE and runner["containerId"] == inspect(name)["Id"]
    assert "pid" not in runner and runner["rssBytes"] > 0
    assert status["sandbox"]["layers"][0] == "container"
    assert {"landlock", "seccomp", "rlimits", "uids"} <= set(status["sandbox"]["layers"])
    with open(f"{boxed.dir}/data/agent-runner-container.id") as f:
        assert f.read().strip() == runner["containerId"]


def test_the_container_is_confined_and_knows_no_key(boxed, name):
    boxed.up()
    text = docker("inspect", name)
    box = json.loads(text)[0]
    host = box["HostConfig"]
    assert "k-openai" not in text
    assert host["ReadonlyRootfs"] and host["NetworkMode"] == "host" and not host["Privileged"]
    assert host["CapDrop"] == ["ALL"]
    assert sorted(c.removeprefix("CAP_") for c in host["CapAdd"]) == ["KILL", "SETGID", "SETUID"]
    assert host["SecurityOpt"] == ["no-new-privileges"]
    assert (host["Memory"], host["PidsLimit"]) == (512 << 20, 512)
    assert host["LogConfig"] == {"Type": "json-file", "Config": {"max-size": str(32 << 20), "max-file": "2"}}
    assert {m["Destination"]: m["RW"] for m in box["Mounts"]} == {
        "/workspace": True, "/run/stigmer/api": False, "/run/stigmer/keys": False}
    assert not any("docker.sock" in m["Source"] for m in box["Mounts"])
    assert box["Config"]["Labels"]["ai.stigmer.home"] == boxed.dir
    uids = {line.split()[0] for line in docker("top", name, "-eo", "uid,pid").splitlines()[1:]}
    assert uids == {"0", "10001"}
    status = pathlib.Path(f"/proc/{box['State']['Pid']}/status").read_text()
    assert int(status.split("CapBnd:")[1].split()[0], 16) == 1 << 5 | 1 << 6 | 1 << 7  # kill setgid setuid


def test_the_runner_tells_its_own_health(boxed, name):
    boxed.up()
    docker("exec", name, "/usr/bin/agent-runner", "healthcheck")
    assert inspect(name)["Config"]["Healthcheck"]["Test"] == ["CMD", "/usr/bin/agent-runner", "healthcheck"]


def test_stop_leaves_no_container_or_id_file(boxed, name):
    boxed.up()
    boxed.ok("server", "stop")
    assert not exists(name)
    assert not os.path.exists(f"{boxed.dir}/data/agent-runner-container.id")
    assert sorted(os.listdir(f"{boxed.dir}/data/run")) == ["runner", "start.lock"]


@pytest.mark.parametrize("how", [["kill", "-s", "KILL"], ["rm", "-f"], ["stop", "-t", "1"]])
def test_a_container_that_dies_is_replaced_and_the_run_completes_once(boxed, name, how):
    boxed.up()
    run = boxed.begin("wait-at-gate")
    events = boxed.follow(run)
    started(events, "execute")
    before = container_of(boxed)
    docker(*how, name)
    end = last(events)
    assert end["phase"] == "completed", end
    assert begun(boxed, run) <= 1  # an effect is not silently run twice
    runner = boxed.component("agent-runner")
    assert runner["containerId"] != before and runner["restarts"] == 1
    assert runner["lastExit"] in ("killed by signal 9 (Killed)", "the container was removed", "exit code 0")
    assert len(docker("ps", "-aq", "--filter", f"label=ai.stigmer.home={boxed.dir}").split()) == 1


def wait_ready(home):
    """The server is back: asked again and again, each time a new process."""
    end = time.monotonic() + 30
    while home.stigmer("server", "status").returncode != 0:
        assert time.monotonic() < end, home.logs()


def open_gate(home, run):
    path = f"{workspace_of(home, run)}/go"
    with open(path, "w"):
        pass


def test_a_killed_server_finds_its_container_again(boxed, name):
    boxed.up()
    run = boxed.begin("wait-at-gate")
    events = boxed.follow(run)
    started(events, "execute")
    before = container_of(boxed)
    os.kill(boxed.component("stigmer-server")["pid"], signal.SIGKILL)
    wait_ready(boxed)
    assert container_of(boxed) == before
    open_gate(boxed, run)
    end = last(events)
    assert end["phase"] == "completed", end
    assert begun(boxed, run) == 1
    text = boxed.ok("inspect", run, "-o", "json")
    assert "OUTCOME_UNKNOWN" not in text  # the command was not disturbed
    log = boxed.ok("server", "logs", "-c", "agent-runner", "--tail", "all", "--no-prefix").splitlines()
    assert len(log) == len(set(log)), log  # nothing twice


def kill_all(home):
    """Keeper and server, as a power cut of everything but the engine."""
    with open(f"{home.dir}/data/run/server.pid") as f:
        pids = [int(line.split()[1]) for line in f]
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    for pid in pids:  # gone, not only told
        while os.path.exists(f"/proc/{pid}") and open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()[0] != "Z":
            os.sched_yield()


def test_start_goes_on_with_the_container_that_a_crash_left(boxed, name):
    boxed.up()
    run = boxed.begin("wait-at-gate")
    events = boxed.follow(run)
    started(events, "execute")
    before = container_of(boxed)
    kill_all(boxed)
    boxed.ok("server", "start")
    assert container_of(boxed) == before
    open_gate(boxed, run)
    assert json.loads(boxed.ok("attach", run, "-o", "jsonl").splitlines()[-1])["phase"] == "completed"
    assert begun(boxed, run) == 1
    events.kill()
    events.wait()


def test_stop_removes_the_container_that_a_crash_left(boxed, name):
    boxed.up()
    kill_all(boxed)
    assert exists(name)
    boxed.ok("server", "stop")
    assert not exists(name)
    assert not os.path.exists(f"{boxed.dir}/data/agent-runner-container.id")


@pytest.mark.parametrize("how", ["missing", "garbage", "another's"])
def test_an_id_file_that_is_wrong_misleads_nobody(boxed, name, how):
    boxed.up()
    before, other = container_of(boxed), f"{name}-other"
    path = pathlib.Path(boxed.dir, "data/agent-runner-container.id")
    events = boxed.follow(boxed.begin("wait-at-gate"))  # with work the server does not end before it is killed
    started(events, "execute")
    docker("create", "--name", other, IMAGE)
    try:
        path.unlink()
        if how != "missing":
            path.write_text("\0../../x\n" if how == "garbage" else inspect(other)["Id"] + "\n")
        kill_all(boxed)
        boxed.ok("server", "start")
        assert container_of(boxed) == before == path.read_text().strip()
        path.write_text(inspect(other)["Id"] + "\n")
        kill_all(boxed)
        boxed.ok("server", "stop")  # what carries our label goes, whatever the file says
        assert not exists(name) and exists(other)
    finally:
        events.kill()
        events.wait()
        docker("rm", "-f", other)


def test_an_image_that_is_removed_under_its_container_is_loaded_again(boxed, name):
    boxed.up()
    before = container_of(boxed)
    docker("rmi", "-f", IMAGE, check=False)
    assert boxed.ok("run", "worker", "-m", "write-it").strip() == "It is written."
    docker("rm", "-f", name)
    until(lambda: (c := boxed.look("agent-runner")) and c["restarts"] and c["state"] == "ready")
    assert container_of(boxed) != before
    assert boxed.ok("run", "worker", "-m", "write-it").strip() == "It is written."


@pytest.mark.parametrize("network", ["bridge", "none"])
def test_the_api_needs_no_network(model, name, network):
    """The runner attaches by the mounted socket; on a bridge this machine has a name."""
    with Home(model, kind="docker", name=name, network=network) as h:
        h.up()
        assert h.component("agent-runner")["network"] == network
        hosts = docker("exec", name, "/bin/busybox", "cat", "/etc/hosts")
        assert ("host.docker.internal" in hosts) == (network == "bridge")


def test_another_key_means_another_container(boxed, name):
    """A container that was left has read the old key already."""
    boxed.up()
    before = container_of(boxed)
    kill_all(boxed)
    boxed.env["OPENAI_API_KEY"] = "another"
    boxed.ok("server", "start")
    assert container_of(boxed) != before


def test_a_name_that_a_stranger_has_is_exit_9_and_names_the_key(boxed, name):
    docker("image", "load", "-i", ARCHIVE)
    docker("create", "--name", name, IMAGE)
    r = boxed.stigmer("server", "start")
    assert r.returncode == 9, r.stderr
    assert f"'{name}' is taken by a container of another kind" in r.stderr and "runner.name" in r.stderr
    assert exists(name)


def test_a_name_that_another_home_has_is_exit_9_and_names_the_home(model, boxed, name):
    boxed.up()
    with Home(model, kind="docker", name=name) as other:
        r = other.stigmer("server", "start")
        assert r.returncode == 9, r.stderr
        assert boxed.dir in r.stderr
    assert boxed.status()["state"] == "ready"


def test_no_engine_by_name_is_exit_10_with_a_hint(boxed):
    boxed.env["DOCKER_HOST"] = "unix:///nonexistent/docker.sock"
    r = boxed.stigmer("server", "start")
    assert r.returncode == 10, r.stderr
    assert "/nonexistent/docker.sock" in r.stderr and "hint:" in r.stderr and "--runner process" in r.stderr
    assert boxed.logs().count('msg="start failed"') == 1
    checks = {c["id"]: c for c in json.loads(boxed.stigmer("doctor", "-o", "json").stdout)["checks"]}
    assert checks["docker.socket"]["status"] == "fail"


def test_no_engine_with_auto_is_a_process_and_a_notice(model):
    with Home(model, kind="auto") as h:
        h.env["DOCKER_HOST"] = "unix:///nonexistent/docker.sock"
        r = h.stigmer("server", "start")
        assert r.returncode == 0, r.stderr
        assert "sandboxed process" in r.stderr and "/nonexistent/docker.sock" in r.stderr
        checks = {c["id"]: c for c in json.loads(h.stigmer("doctor", "-o", "json").stdout)["checks"]}
        assert "install or start Docker" in checks["docker.socket"]["hint"]
        assert h.component("agent-runner")["kind"] == "process"


def test_auto_takes_a_container_when_an_engine_answers(model, name):
    with Home(model, kind="auto", name=name) as h:
        h.ok("server", "start")
        assert h.component("agent-runner")["kind"] == "container"


@pytest.mark.parametrize("network,word", [("bridge", "host.docker.internal"), ("none", "reaches no model")])
def test_a_model_out_of_reach_is_told_at_the_start(model, name, network, word):
    with Home(model, kind="docker", name=name, network=network) as h:
        r = h.stigmer("server", "start")
        assert r.returncode == 0 and word in r.stderr, r.stderr
        assert inspect(name)["HostConfig"]["NetworkMode"] == network
        assert word in h.status()["warnings"][0]


def test_egress_allow_takes_the_runner_off_the_hosts_network(boxed, name):
    """Tools that may connect anywhere must not reach this machine's own services."""
    boxed.ok("config", "set", "sandbox.egress", "allow")
    boxed.ok("server", "start")
    assert inspect(name)["HostConfig"]["NetworkMode"] == "bridge"
    assert boxed.component("agent-runner")["network"] == "bridge"


@pytest.fixture
def copy_of_prefix(tmp_path, monkeypatch):
    """An installation whose archive may be spoiled."""
    shutil.copytree(PREFIX, tmp_path / "p")
    monkeypatch.setattr("homes.STIGMER", str(tmp_path / "p/bin/stigmer"))
    return tmp_path / "p"


def test_a_missing_image_is_loaded_from_the_archive(boxed):
    docker("rmi", "-f", IMAGE, check=False)
    boxed.ok("server", "start")
    with open(f"{ARCHIVE}.id") as f:
        assert docker("image", "inspect", "-f", "{{.Id}}", IMAGE) == f.read().strip()


def test_an_image_of_another_build_is_replaced(boxed, name):
    with tarfile.open("/tmp/other.tar", "w") as t:
        t.add("/bin/busybox", "bin/busybox")
    docker("import", "/tmp/other.tar", IMAGE)
    os.unlink("/tmp/other.tar")
    boxed.ok("server", "start")
    with open(f"{ARCHIVE}.id") as f:
        assert inspect(name)["Image"] == f.read().strip()


def test_no_image_and_no_archive_names_the_command(boxed, copy_of_prefix):
    docker("rmi", "-f", IMAGE, check=False)
    for f in copy_of_prefix.glob("share/stigmer/agent-runner-image*"):
        f.unlink()
    r = boxed.stigmer("server", "start")
    assert r.returncode == 4, r.stderr
    assert f"'{IMAGE}' is not there" in r.stderr and "scripts/build.sh" in r.stderr


def test_an_image_of_another_build_without_its_archive_is_told_by_start_and_doctor(boxed, copy_of_prefix):
    (copy_of_prefix / "share/stigmer/agent-runner-image.tar").unlink()
    (copy_of_prefix / "share/stigmer/agent-runner-image.tar.id").write_text("sha256:" + "0" * 64 + "\n")
    r = boxed.stigmer("server", "start")
    assert r.returncode == 4, r.stderr
    assert "is of another build" in r.stderr or "is not there" in r.stderr
    assert "install stigmer again" in r.stderr and "--runner process" in r.stderr
    checks = {c["id"]: c for c in json.loads(boxed.stigmer("doctor", "-o", "json").stdout)["checks"]}
    assert checks["docker.image"]["status"] == "fail" and "scripts/build.sh" in checks["docker.image"]["hint"]


@pytest.mark.parametrize("spoil", ["cut", "noise"])
def test_a_corrupt_archive_is_told(boxed, copy_of_prefix, spoil):
    docker("rmi", "-f", IMAGE, check=False)
    archive = copy_of_prefix / "share/stigmer/agent-runner-image.tar"
    data = archive.read_bytes()
    archive.write_bytes(data[:len(data) // 2] if spoil == "cut" else os.urandom(1 << 16))
    r = boxed.stigmer("server", "start")
    assert r.returncode == 1, r.stderr
    assert "image" in r.stderr and "install stigmer again" in r.stderr
    assert boxed.stigmer("server", "status").returncode == 3


def test_another_image_gets_the_runner_mounted(model, name, tmp_path):
    image = f"stigmer-test-base:{os.urandom(4).hex()}"
    with tarfile.open(tmp_path / "base.tar", "w") as t:
        t.add("/bin/busybox", "bin/busybox")
        link = tarfile.TarInfo("bin/sh")
        link.type, link.linkname = tarfile.SYMTYPE, "busybox"
        t.addfile(link)
    docker("import", str(tmp_path / "base.tar"), image)
    try:
        with Home(model, kind="docker", name=name, image=image) as h:
            h.up()
            assert h.ok("run", "worker", "-m", "write-it").strip() == "It is written."
            assert h.component("agent-runner")["image"] == image
            docker("exec", name, "/.stigmer/agent-runner", "healthcheck")
    finally:
        docker("rmi", "-f", image, check=False)


def test_another_image_that_is_missing_is_not_pulled(boxed):
    boxed.ok("config", "set", "runner.image", "nowhere.invalid/none:1")
    r = boxed.stigmer("server", "start")
    assert r.returncode == 4, r.stderr
    assert "docker pull nowhere.invalid/none:1" in r.stderr
    error = next(line for line in r.stderr.splitlines() if line.startswith("stigmer: error: "))
    assert error.count("nowhere.invalid/none:1") == 1  # the engine's own words say it twice


@pytest.mark.parametrize("image", ["../containers", "a b", "x?y", "x%2f"])
def test_what_is_no_image_name_is_told(boxed, image):
    boxed.ok("config", "set", "runner.image", image)
    r = boxed.stigmer("server", "start")
    assert r.returncode == 2, r.stderr
    assert "is no name of an image" in r.stderr


def test_restart_can_move_the_runner(boxed, name):
    boxed.up()
    boxed.ok("server", "restart", "--runner", "process")
    assert boxed.component("agent-runner")["kind"] == "process" and not exists(name)
    boxed.ok("server", "restart", "--runner", "docker")
    assert boxed.component("agent-runner")["kind"] == "container" and exists(name)


def test_the_log_is_collected_and_rotated(boxed, name):
    logs = pathlib.Path(f"{boxed.dir}/data/logs")
    logs.mkdir(parents=True, mode=0o700)
    (logs / "agent-runner.log").write_text("an older line\n" * 5000)  # over the limit
    boxed.ok("config", "set", "server.log.max_size", "64KiB")
    boxed.ok("config", "set", "server.log.max_files", "2")
    boxed.up()
    boxed.ok("run", "worker", "-m", "just-say")
    assert "attached" in boxed.ok("server", "logs", "-c", "agent-runner", "--tail", "20")
    assert sorted(p.name for p in logs.glob("agent-runner.log*")) == ["agent-runner.log", "agent-runner.log.1"]
    assert (logs / "agent-runner.log").stat().st_size < 65536


def test_the_image_is_small_and_its_two_recipes_agree(tmp_path):
    assert os.path.getsize(ARCHIVE) <= 10_000_000
    docker("load", "-i", ARCHIVE)
    ours = json.loads(docker("image", "inspect", IMAGE))[0]
    assert ours["Size"] <= 10_000_000
    subprocess.run([REPO / "image/rootfs.sh", os.path.join(PREFIX, "libexec/stigmer/agent-runner"),
                    tmp_path / "rootfs.tar"], check=True)
    with tarfile.open(ARCHIVE) as t:  # the same files, byte for byte
        layer = hashlib.sha256(t.extractfile("layer.tar").read()).hexdigest()
    assert layer == hashlib.sha256((tmp_path / "rootfs.tar").read_bytes()).hexdigest()
    shutil.copy(REPO / "image/Dockerfile", tmp_path)
    tag = f"stigmer-test-built:{os.urandom(4).hex()}"
    docker("build", "-t", tag, "--build-arg", f"VERSION={ours['Config']['Labels']['ai.stigmer.version']}", str(tmp_path))
    try:
        built = json.loads(docker("image", "inspect", tag))[0]["Config"]
        for key in ("Env", "Entrypoint", "Cmd", "WorkingDir", "StopSignal", "Healthcheck", "Labels"):
            assert built.get(key) == ours["Config"].get(key), key
    finally:
        docker("rmi", "-f", tag, check=False)


# ---- what is no engine, or a strange one ------------------------------------------------------------

class FakeEngine:
    """Answers each connection with the same bytes; None: never."""

    def __init__(self, data):
        self.dir = tempfile.mkdtemp(prefix="fe-", dir="/tmp")
        self.path = f"{self.dir}/engine.sock"
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.bind(self.path)
        self.socket.listen(16)
        self.open = []
        self.thread = threading.Thread(target=self.serve, args=(data,), daemon=True)
        self.thread.start()

    def serve(self, data):
        while True:
            try:
                s, _ = self.socket.accept()
            except OSError:
                return
            self.open.append(s)
            if data is not None:
                s.recv(65536)
                s.sendall(data)
                s.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
        self.thread.join(10)
        for s in self.open:
            s.close()
        shutil.rmtree(self.dir)


def http(status, body, *headers):
    return "\r\n".join([f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", *headers, "", body]).encode()


@pytest.mark.parametrize("data,word", [
    (None, "no container engine answers"), (b"SSH-2.0-OpenSSH_9.2\r\n", "no container engine answers"),
    (http(200, "<html></html>"), "no container engine"), (http(200, "{}", "Api-Version: 1.24"), "1.41 is needed"),
    (http(200, "{}", "Api-Version: banana"), "no container engine"), (http(500, '{"message":"on fire"}'), "on fire"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n", "no container engine"), (b"", "no container engine answers")],
    ids=["silent", "ssh", "html", "old", "banana", "500", "huge", "closed"])
def test_what_is_no_engine_is_exit_10_or_words_and_auto_goes_on(model, data, word):
    with FakeEngine(data) as engine, Home(model, kind="docker") as h:
        h.env["DOCKER_HOST"] = f"unix://{engine.path}"
        r = h.stigmer("server", "start")
        assert r.returncode in (1, 10) and word in r.stderr, r.stderr
        r = h.stigmer("server", "start", "--runner", "auto")
        assert r.returncode == 0 and "sandboxed process" in r.stderr, r.stderr
