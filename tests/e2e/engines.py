"""Container engines of the tests' own, that may be stopped, killed and started again: a dockerd beside
the machine's, and Podman's API service."""
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile

import pytest


class Engine:
    """A folder, a socket, and a process that is started on demand."""

    def __init__(self, command):
        self.dir = tempfile.mkdtemp(prefix="en-", dir="/tmp")
        self.path = f"{self.dir}/engine.sock"
        self.url = f"unix://{self.path}"
        self.command = [word.format(dir=self.dir, url=self.url) for word in command]
        self.process = None

    def start(self):
        log = open(f"{self.dir}/log", "ab")
        self.process = subprocess.Popen(self.command, stdout=log, stderr=log)
        log.close()
        while not self.answers():
            assert self.process.poll() is None, pathlib.Path(f"{self.dir}/log").read_text()[-3000:]
        return self

    def request(self, method, path):
        """Status and body, over a connection of its own."""
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(20)
            s.connect(self.path)
            s.sendall(f"{method} {path} HTTP/1.0\r\nHost: e\r\n\r\n".encode())
            data = b"".join(iter(lambda: s.recv(65536), b""))
        head, _, body = data.partition(b"\r\n\r\n")
        return int(head.split()[1]), body

    def answers(self):
        try:
            return self.request("GET", "/_ping")[0] == 200
        except OSError:
            return False

    def containers(self):
        return json.loads(self.request("GET", "/v1.41/containers/json?all=1")[1])

    def inspect(self, name):
        status, body = self.request("GET", f"/v1.41/containers/{name}/json")
        return json.loads(body) if status == 200 else None

    def do(self, name, verb):
        status, body = self.request("POST", f"/v1.41/containers/{name}/{verb}")
        assert status < 300, body

    def remove(self, name):
        self.request("DELETE", f"/v1.41/containers/{name}?force=1")

    def end(self, sig=signal.SIGTERM):
        if self.process:
            self.process.send_signal(sig)
            self.process.wait(60)
        self.process = None
        pid_file = pathlib.Path(f"{self.dir}/exec/containerd/containerd.pid")
        if sig == signal.SIGKILL and pid_file.exists():  # dockerd's own child; a next dockerd starts another
            pid = int(pid_file.read_text())
            os.kill(pid, signal.SIGKILL)
            while os.path.exists(f"/proc/{pid}/root"):
                os.sched_yield()
            pid_file.unlink()

    def close(self):
        if self.process and self.process.poll() is None and self.answers():
            for c in self.containers():
                self.remove(c["Id"])
        self.end()
        for root, _, _ in os.walk(self.dir):  # what a killed engine left mounted
            if os.path.ismount(root):
                subprocess.run(["umount", "-l", root], capture_output=True)
        shutil.rmtree(self.dir, ignore_errors=True)


class Dockerd(Engine):
    """With a bridge of its own: without one it would take away that of the machine's dockerd."""

    def __init__(self):
        self.bridge = f"st-{os.urandom(4).hex()}"
        self.ip("add", "name", self.bridge, "type", "bridge")
        subprocess.run(["ip", "address", "add", "10.254.253.1/24", "dev", self.bridge], check=True)
        super().__init__(["dockerd", "-H", "{url}", "--data-root", "{dir}/data", "--exec-root", "{dir}/exec",
                          "--pidfile", "{dir}/pid", "--bridge", self.bridge, "--iptables=false"])

    def ip(self, *args):
        subprocess.run(["ip", "link", *args], check=True)

    def close(self):
        super().close()
        self.ip("delete", self.bridge)


def dockerd():
    if not shutil.which("dockerd"):
        pytest.skip("there is no dockerd")
    return Dockerd()


def podman():
    if not shutil.which("podman"):
        pytest.skip("there is no podman")
    return Engine(["podman", "--root", "{dir}/data", "--runroot", "{dir}/run", "--runtime", shutil.which("runc") or "runc",
                   "--cgroup-manager", "cgroupfs", "system", "service", "--time=0", "{url}"])
