"""The runner in a container, beside an empty static program in a container on the same engine, both
on the host's network: created → attached, `server start`, and sizes."""
import datetime
import http.client
import json
import os
import re
import socket
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time

from common import PREFIX, SHORT, STIGMER, Home, median_ms, row, rss_kb, timed

ROUNDS = 3 if SHORT else 15
NAME = f"stigmer-bench-{os.getpid()}"
EMPTY = f"stigmer-bench-empty:{os.getpid()}"


class Engine(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect("/var/run/docker.sock")

    def ask(self, method, path, body=None):
        self.request(method, "/v1.41" + path, json.dumps(body) if body is not None else None,
                     {"Content-Type": "application/json"})
        r = self.getresponse()
        data = r.read()
        if r.status >= 300:
            sys.exit(f"bench: {method} {path}: {r.status} {data.decode()}")
        return json.loads(data) if data else None


def make_empty_image():
    """A static program that does nothing but wait."""
    with tempfile.TemporaryDirectory() as d:
        with open(f"{d}/e.c", "w") as f:
            f.write("#include <unistd.h>\nint main(void) { return pause(); }\n")
        subprocess.run(["gcc", "-Os", "-static", "-s", "-o", f"{d}/e", f"{d}/e.c"], check=True)
        with tarfile.open(f"{d}/e.tar", "w") as t:
            t.add(f"{d}/e", "e")
        subprocess.run(["docker", "import", f"{d}/e.tar", EMPTY], check=True, stdout=subprocess.DEVNULL)


def floor(engine):
    """Create and start of the empty program, in seconds."""
    t = time.monotonic()
    made = engine.ask("POST", "/containers/create", {
        "Image": EMPTY, "Cmd": ["/e"], "HostConfig": {"NetworkMode": "host"}})
    engine.ask("POST", f"/containers/{made['Id']}/start")
    took = time.monotonic() - t
    engine.ask("DELETE", f"/containers/{made['Id']}?force=1")
    return took


def at(text):
    return datetime.datetime.fromisoformat(re.sub(r"(\.\d{6})\d*", r"\1", text).replace("Z", "+00:00")).timestamp()


def attached_after(home, engine):
    """From the engine's word for the creation to the server's for the attach."""
    box = engine.ask("GET", f"/containers/{NAME}/json")
    with open(f"{home.dir}/data/logs/stigmer-server.log") as f:
        lines = [line for line in f if 'msg="runner attached"' in line]
    return at(re.search(r"at=(\S+)", lines[-1])[1]) - at(box["Created"])


def rss_of_container(engine):
    pids = [int(p[1]) for p in engine.ask("GET", f"/containers/{NAME}/top")["Processes"]]
    return sum(rss_kb(p) for p in pids) / 1024


def main():
    engine = Engine("docker")
    make_empty_image()
    archive = os.path.getsize(os.path.join(PREFIX, "share/stigmer/agent-runner-image.tar"))
    floors, attached, starts = [], [], []
    with Home(**{"runner.kind": "docker", "runner.name": NAME}) as home:
        home.run("server", "start")  # loads the image
        memory = rss_of_container(engine)
        home.run("server", "stop")
        for _ in range(ROUNDS):
            floors.append(floor(engine))
            starts.append(timed([STIGMER, "server", "start"], env=home.env))
            attached.append(attached_after(home, engine))
            home.run("server", "stop")
    subprocess.run(["docker", "rmi", "-f", EMPTY], stdout=subprocess.DEVNULL)
    least = median_ms(floors)
    row("runner image", f"{archive / 1e6:.2f} MB", "original: 2040 MB", "", "≤ 10 MB")
    row("runner container idle RSS (launcher and worker)", f"{memory:.1f} MB", "original: 150 MB", "", "≤ 8 MB")
    row("container created → runner attached", f"{median_ms(attached):.0f} ms",
        f"create + start of an empty static program: {least:.0f} ms",
        f"{statistics.median(attached) / statistics.median(floors):.2f}", "≤ 1.5")
    row("`server start` → ready, Docker, image present", f"{median_ms(starts):.0f} ms", f"the same floor: {least:.0f} ms",
        f"+{median_ms(starts) - least:.0f} ms", "≤ 1.3 × floor + 60 ms")


main()
