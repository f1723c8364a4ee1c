"""What the runner's container writes is in the log once, each line, whatever ends and begins meanwhile: the
server, the engine, a log file. The lines are written to the container's own stdout from outside."""
import json
import os
import pathlib
import random
import signal
import subprocess
import threading
import time

import pytest

import engines
from homes import STIGMER, Home


def docker(*args):
    return subprocess.run(["docker", *args], capture_output=True, text=True, timeout=120)


pytestmark = pytest.mark.skipif(docker("version").returncode != 0, reason="no container engine answers")


@pytest.fixture
def name():
    name = f"stigmer-test-{os.urandom(4).hex()}"
    yield name
    docker("rm", "-f", name)


class Writer(threading.Thread):
    """Numbered lines in bursts; every third is the same text as others are."""

    def __init__(self, pid, count, seed=1, pause=0.002):
        super().__init__(daemon=True)
        self.fd = os.open(f"/proc/{pid}/fd/1", os.O_WRONLY)
        self.count, self.pause, self.random = count, pause, random.Random(seed)
        self.start()

    def run(self):
        n = 0
        while n < self.count:
            burst = min(self.random.choice((1, 5, 80)), self.count - n)
            text = "".join(f"line {i:07d} {'x' * self.random.randint(0, 60)}\n" + ("again\n" if i % 3 == 0 else "")
                           for i in range(n, n + burst)).encode()
            while text:
                text = text[os.write(self.fd, text):]
            n += burst
            time.sleep(self.pause)
        os.close(self.fd)


def numbers(text):
    return [int(line.split("line ")[1].split()[0]) for line in text.splitlines() if "line 0" in line]


def check(text, count):
    got = numbers(text)
    assert got == list(range(count)), [(a, b) for a, b in zip(got, got[1:]) if b != a + 1][:5]
    assert sum(line.endswith("again") for line in text.splitlines()) == (count + 2) // 3


def parts(home):
    """The runner's log, oldest first: what was there at some moment while it is rotated."""
    paths = pathlib.Path(home.dir, "data/logs").glob("agent-runner.log*")
    try:
        return [p.read_bytes() for p in sorted(paths, key=lambda p: int(p.suffix[1:]) if p.suffix != ".log" else 0, reverse=True)]
    except FileNotFoundError:
        return parts(home)


def collected(home):
    return b"".join(parts(home)).decode()


def until(wanted, what):
    end = time.monotonic() + 60
    while not wanted():
        assert time.monotonic() < end, what()


def wait_for(home, count):
    until(lambda: f"line {count - 1:07d}" in collected(home), lambda: (home.logs(), numbers(collected(home))[-3:]))


def pid_of(name):
    return json.loads(docker("inspect", name).stdout)[0]["State"]["Pid"]



def pids(home):
    text = next(pathlib.Path(home.dir, "data").rglob("*server*.pid")).read_text()
    return {line.split()[0]: int(line.split()[1]) for line in text.splitlines()}


def command_of(pid):
    try:
        return pathlib.Path("/proc", pid, "cmdline").read_bytes().decode(errors="replace")
    except OSError:  # gone, or no process
        return ""


def follows(pid):
    try:
        return any("inotify" in os.readlink(f"/proc/{pid}/fd/{n}") for n in os.listdir(f"/proc/{pid}/fd"))
    except FileNotFoundError:  # closed meanwhile
        return False


def ready(home):
    def is_ready():
        r = home.stigmer("server", "status", "-o", "json")
        return r.returncode == 0 and json.loads(r.stdout)["state"] == "ready"
    until(is_ready, home.logs)


def all_down(home):
    """Server and keeper die at once: nobody stops the container."""
    p = pids(home)
    os.kill(p["keeper"], signal.SIGSTOP)
    for who in ("server", "keeper"):
        os.kill(p[who], signal.SIGKILL)
    until(lambda: not any(os.path.exists(f"/proc/{pid}/root") for pid in p.values()), lambda: p)


@pytest.mark.parametrize("max_size", ["10MiB", "128KiB"])
def test_no_line_is_lost_or_doubled_while_the_server_is_killed_again_and_again(model, name, max_size):
    with Home(model, kind="docker", name=name) as h:
        h.ok("config", "set", "server.log.max_size", max_size)
        h.ok("config", "set", "server.log.max_files", "60")
        h.up()
        w = Writer(pid_of(name), 30000)
        for _ in range(5):
            os.kill(pids(h)["server"], signal.SIGKILL)
            ready(h)
        w.join()
        wait_for(h, 30000)
        check(collected(h), 30000)
        assert h.component("agent-runner")["restarts"] == 0


def test_a_container_that_ended_while_nobody_listened_has_its_last_words_in_the_log(model, name):
    with Home(model, kind="docker", name=name) as h:
        h.up()
        all_down(h)
        Writer(pid_of(name), 500).join()
        docker("kill", name)
        assert numbers(h.ok("server", "logs", "-c", "agent-runner", "--grep", "^line")) == list(range(500))
        h.ok("server", "start")
        check(collected(h), 500)


@pytest.mark.parametrize("how", ["killed", "hung"])
def test_logs_show_what_a_container_writes_while_no_server_listens(model, name, how):
    with Home(model, kind="docker", name=name) as h:
        h.up()
        Writer(pid_of(name), 100).join()
        wait_for(h, 100)
        stopped = pids(h)["server"]
        if how == "killed":
            all_down(h)
        else:
            os.kill(stopped, signal.SIGSTOP)
        p = subprocess.Popen([STIGMER, "server", "logs", "-f", "-c", "agent-runner", "--tail", "0", "--no-prefix"], env=h.env,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        until(lambda: follows(p.pid), h.logs)
        fd = os.open(f"/proc/{pid_of(name)}/fd/1", os.O_WRONLY)
        os.write(fd, "".join(f"line {i:07d}\n" for i in range(100, 150)).encode() + b'at=2026-03-01T10:00:00.000Z level=warn msg="w" run=aex-9\n')
        args = ("server", "logs", "-c", "agent-runner", "--no-prefix")
        until(lambda: len(numbers(h.ok(*args, "--tail", "all"))) == 150, h.logs)
        check(h.ok(*args, "--tail", "all").replace("again\n", "") + "again\n" * 50, 150)
        assert numbers(h.ok(*args, "--tail", "2", "--grep", "^line")) == [148, 149]  # its own lines are among them
        assert numbers(h.ok(*args, "--tail", "60", "--grep", "^line")) == list(range(90, 150))
        assert h.ok(*args, "--run", "aex-9").count("msg=") == 1 and h.ok(*args, "--level", "warn").count("aex-9") == 1
        assert "line 0000149" in h.ok(*args, "--since", "1m") and "line 0000149" not in h.ok(*args, "--until", "10m")
        stamped = [line for line in h.ok(*args, "-t", "--grep", "line 0000149").splitlines()]
        assert len(stamped) == 1 and stamped[0][:2] == "20" and stamped[0].endswith("Z line 0000149")
        record = json.loads(h.ok(*args, "--grep", "line 0000149", "-o", "json"))
        assert record["raw"] == "line 0000149" and record["at"].startswith(stamped[0][:19]), record
        shown = [p.stdout.readline() for _ in range(10)]
        if how == "killed":
            h.ok("server", "start")
        else:
            os.kill(stopped, signal.SIGCONT)
        os.write(fd, b"line 0000150\n")
        while "line 0000150" not in shown[-1]:
            shown.append(p.stdout.readline())
        p.send_signal(signal.SIGINT)
        assert p.wait(10) == 130
        assert not [c for c in map(command_of, os.listdir("/proc")) if h.dir in c and "--runner-logs" in c]
        assert [n for n in numbers("".join(shown)) if n >= 100] == list(range(100, 151)), p.stderr.read()
        os.close(fd)
        assert numbers(collected(h)) == list(range(151))


def test_long_lines_and_bytes_of_any_kind_come_through(model, name):
    with Home(model, kind="docker", name=name) as h:
        h.up()
        fd = os.open(f"/proc/{pid_of(name)}/fd/1", os.O_WRONLY)
        data = b"y" * 100_000 + b"\n\n" + b"\x00\xff\x1b[31m\r|\n" + b"z" * 300_000 + b"\nline 0000000\n"
        while data:
            data = data[os.write(fd, data):]
        os.close(fd)
        wait_for(h, 1)
        os.kill(pids(h)["server"], signal.SIGKILL)
        ready(h)
        raw = pathlib.Path(h.dir, "data/logs/agent-runner.log").read_bytes()
        texts = [line[31:] for line in raw.split(b"\n") if b" at=" not in line]
        at = texts.index(b"y" * 100_000)
        assert texts[at + 1] == b""
        assert texts[at + 2] == "\0\ufffd\x1b[31m\r|".encode()  # the engine keeps JSON: text
        assert texts[at + 3] == b"z" * 262144 and texts[at + 4] == b"z" * (300_000 - 262144)
        assert raw.count(b"line 0000000") == 1


@pytest.fixture(scope="module")
def podman():
    e = engines.podman().start()
    yield e
    e.close()


@pytest.fixture
def dockerd():
    e = engines.dockerd()
    e.command.append("--live-restore")
    e.start()
    yield e
    e.close()


def home_on(model, engine, kind, name):
    h = Home(model, kind=kind, name=name)
    h.env["DOCKER_HOST"] = h.env["CONTAINER_HOST"] = "unix:///nonexistent/engine.sock"
    h.env["CONTAINER_HOST" if kind == "podman" else "DOCKER_HOST"] = engine.url
    return h


def test_podmans_lines_are_there_once_through_kills_of_the_server(model, podman, name):
    with home_on(model, podman, "podman", name) as h:
        h.up()
        w = Writer(podman.inspect(name)["State"]["Pid"], 5000)
        for _ in range(3):
            os.kill(pids(h)["server"], signal.SIGKILL)
            ready(h)
        w.join()
        wait_for(h, 5000)
        check(collected(h), 5000)
        all_down(h)
        Writer(podman.inspect(name)["State"]["Pid"], 5010).join()
        shown = numbers(h.ok("server", "logs", "-c", "agent-runner", "--tail", "all", "--no-prefix"))
        assert shown == list(range(5000)) + list(range(5010))


def test_an_engine_that_is_killed_under_a_writer_doubles_no_line_and_what_comes_later_is_there(model, dockerd, name):
    with home_on(model, dockerd, "docker", name) as h:
        h.up()
        pid = dockerd.inspect(name)["State"]["Pid"]
        w = Writer(pid, 20000)
        until(lambda: len(numbers(collected(h))) > 1000, h.logs)
        dockerd.end(signal.SIGKILL)
        dockerd.start()
        ready(h)
        w.join(60)
        assert not w.is_alive()
        wait_for(h, 20000)
        got = numbers(collected(h))
        assert all(a < b for a, b in zip(got, got[1:])), [(a, b) for a, b in zip(got, got[1:]) if a >= b]
        lost = 20000 - len(got)
        assert lost < 2000, lost  # what the killed engine had read and not written
        assert h.component("agent-runner")["containerId"] == dockerd.inspect(name)["Id"]


@pytest.mark.parametrize("kind", ["docker", "process"])
def test_a_flood_of_output_takes_bounded_disk_and_memory_and_runs_go_on(model, name, kind):
    mib = int(os.environ.get("STIGMER_FLOOD_MIB", "64"))
    with Home(model, kind=kind, name=name) as h:
        h.ok("config", "set", "server.log.max_size", "1MiB")
        h.ok("config", "set", "server.log.max_files", "3")
        h.up()
        server = pids(h)["server"]
        before = rss_kib(server)
        fd = os.open(f"/proc/{h.look('agent-runner').get('pid') or pid_of(name)}/fd/2", os.O_WRONLY)
        flood = threading.Thread(target=pour, args=(fd, mib), daemon=True)
        begun = time.monotonic()
        flood.start()
        most = runs = size = 0
        while flood.is_alive():
            assert h.ok("run", "worker", "-m", "just-say").strip() == "Said."
            runs += 1
            most = max(most, rss_kib(server))
            size = max(size, sum(len(part) for part in parts(h)))
        os.write(fd, b"line 0000000\n")
        os.close(fd)
        until(lambda: numbers(collected(h)) == [0], h.logs)
        print(f"{kind}: {mib} MiB in {time.monotonic() - begun:.1f} s, {runs} runs meanwhile, logs {size} bytes at most, "
              f"server RSS {before} KiB before, {most} KiB at most")
        assert runs and size < 4 << 20
        assert most < before + 4096
        assert h.component("agent-runner")["restarts"] == 0


def rss_kib(pid):
    text = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(text.split("VmRSS:")[1].split()[0])


def pour(fd, mib):
    text = (b"f" * 127 + b"\n") * 512
    for _ in range(mib * 16):
        rest = text
        while rest:
            rest = rest[os.write(fd, rest):]
