"""Temporal's development server, of one test's or bench's own: loopback, a temporary database."""
import os
import shutil
import socket
import subprocess
import tempfile
import time

TEMPORAL = shutil.which("temporal") or os.path.expanduser(
    os.path.join(os.environ.get("STIGMER_CACHE", "~/.cache/stigmer"), "bin/temporal"))


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class TemporalServer:
    """namespaces are there when it is ready; a home needs one of its own. in_memory: without a
    database on disk, whose speed is another matter. settings: its dynamic configuration."""

    def __init__(self, *namespaces, in_memory=False, settings=()):
        self.dir = tempfile.mkdtemp(prefix="st-", dir="/tmp")
        self.address = f"127.0.0.1:{free_port()}"
        self.args = [a for n in namespaces for a in ("--namespace", n)]
        self.args += [a for s in settings for a in ("--dynamic-config-value", s)]
        self.args += [] if in_memory else ["--db-filename", f"{self.dir}/db"]

    def __enter__(self):
        self.log = open(f"{self.dir}/log", "w+")
        self.proc = subprocess.Popen(
            [TEMPORAL, "server", "start-dev", "--headless", "--ip", "127.0.0.1", "--port", self.address.split(":")[1],
             "--http-port", "0", "--metrics-port", "0", "--log-level", "error", *self.args],
            stdout=self.log, stderr=self.log)
        end = time.monotonic() + 60
        while subprocess.run([TEMPORAL, "operator", "cluster", "health", "--address", self.address],
                             capture_output=True).returncode:
            if self.proc.poll() is not None or time.monotonic() > end:
                self.log.seek(0)
                raise RuntimeError(f"Temporal did not come up: {self.log.read()[-2000:]}")
        return self

    def __exit__(self, *_):
        self.proc.terminate()
        self.proc.wait()
        self.log.close()
        shutil.rmtree(self.dir, ignore_errors=True)

    def cli(self, namespace, *args):
        """What Temporal's own CLI prints."""
        return subprocess.run([TEMPORAL, *args, "--address", self.address, "--namespace", namespace], check=True,
                              capture_output=True, text=True, timeout=60).stdout
