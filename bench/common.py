"""What the benches share: an installed prefix, a home of their own, peers, medians, rows.

A row is printed as a line of a Markdown table: what | ours | anchor | ratio | bar. Nothing here
asserts a time: machines are noisy, and a figure only means something beside its anchor."""
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

PREFIX = os.environ["STIGMER_PREFIX"]
PEERS = os.environ["STIGMER_PEERS"]
STIGMER = os.path.join(PREFIX, "bin/stigmer")
SHORT = "--short" in sys.argv


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def median_ms(samples):
    return statistics.median(samples) * 1000


def timed(args, **kw):
    t = time.monotonic()
    subprocess.run(args, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, **kw)
    return time.monotonic() - t


def row(what, ours, anchor="", ratio="", bar=""):
    print(f"| {what} | {ours} | {anchor} | {ratio} | {bar} |", flush=True)


def rss_kb(pid):
    with open(f"/proc/{pid}/status") as f:
        for line in f:
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
    return 0


def children(pid):
    """pid and every descendant."""
    found, todo = [], [pid]
    while todo:
        p = todo.pop()
        found.append(p)
        try:
            with open(f"/proc/{p}/task/{p}/children") as f:
                todo += [int(c) for c in f.read().split()]
        except OSError:
            pass
    return found


def wait_for(what, ready, seconds=30):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if ready():
            return
        time.sleep(0.02)
    sys.exit(f"bench: {what} did not come up within {seconds} s")


def port_answers(port):
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) == 0


class Home:
    """A stigmer home in a temporary folder, with its server stopped at the end."""

    def __init__(self, **settings):
        self.dir = tempfile.mkdtemp(prefix="sb-", dir="/tmp")
        self.settings = {"server.listen": f"127.0.0.1:{free_port()}", **settings}
        with open(os.path.join(self.dir, "config.yaml"), "w") as f:
            tree = {}
            for key, value in self.settings.items():
                at = tree
                *path, last = key.split(".")
                for part in path:
                    at = at.setdefault(part, {})
                at[last] = value
            json.dump(tree, f)  # JSON is YAML
        self.env = {**os.environ, "STIGMER_HOME": self.dir, "OPENAI_API_KEY": "bench"}

    def run(self, *args, **kw):
        r = subprocess.run([STIGMER, *args], env=self.env, capture_output=True, text=True, **kw)
        if r.returncode:
            sys.exit(f"bench: stigmer {' '.join(args)} exited {r.returncode}: {r.stderr}")
        return r.stdout

    def status(self):
        return json.loads(self.run("server", "status", "-o", "json"))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        subprocess.run([STIGMER, "server", "stop", "--grace", "1s"], env=self.env, capture_output=True)
        shutil.rmtree(self.dir, ignore_errors=True)


class Aimock:
    """The model endpoint: answers a task with one shell command, then with a sentence."""

    FIXTURES = {"fixtures": [
        {"match": {"toolCallId": "call_bench"}, "response": {"content": "Done: the file holds hello."}},
        {"match": {"userMessage": "bench-codex"}, "response": {"toolCalls": [
            {"id": "call_bench", "name": "exec_command", "arguments": {"cmd": "echo hello > out.txt"}}]}},
        {"match": {"userMessage": "bench-stigmer"}, "response": {"toolCalls": [
            {"id": "call_bench", "name": "execute", "arguments": {"command": "echo hello > out.txt"}}]}},
    ]}

    def __enter__(self):
        self.dir = tempfile.mkdtemp(prefix="sb-aimock-")
        self.port = free_port()
        with open(os.path.join(self.dir, "f.json"), "w") as f:
            json.dump(self.FIXTURES, f)
        self.proc = subprocess.Popen(
            [os.path.join(PEERS, ".bin/llmock"), "-p", str(self.port), "-f", os.path.join(self.dir, "f.json"),
             "--log-level", "warn"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for("aimock", lambda: port_answers(self.port))
        return self

    def __exit__(self, *_):
        self.proc.send_signal(signal.SIGTERM)
        self.proc.wait()
        shutil.rmtree(self.dir, ignore_errors=True)


AGENT = """apiVersion: agentic.stigmer.ai/v1
kind: Agent
metadata: {name: bench}
spec: {instructions: "You do what the task says."}
"""
