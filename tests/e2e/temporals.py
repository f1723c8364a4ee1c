"""A Temporal server of the tests' own: free port, own database, started and ended by its pid; its CLI as
an operator uses it; and a proxy between it and its clients that delays or cuts."""
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

import grpc

TEMPORAL = shutil.which("temporal") or os.path.expanduser("~/.cache/stigmer/bin/temporal")
WORKFLOW = "stigmer/agent-execution/invoke"
SERVING = b"\x08\x01"  # grpc.health.v1.HealthCheckResponse


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def workflow_id(run):
    return f"{WORKFLOW}/{run}"


class Temporal:
    def __init__(self, start=True):
        self.dir = tempfile.mkdtemp(prefix="st-", dir="/tmp")
        self.port, self.process = free_port(), None
        self.address = f"127.0.0.1:{self.port}"
        if start:
            self.start()

    def start(self):
        """Returns when it answers that it serves."""
        with open(f"{self.dir}/log", "a") as log:
            self.process = subprocess.Popen(
                [TEMPORAL, "server", "start-dev", "--headless", "--ip", "127.0.0.1", "--port", str(self.port),
                 "--http-port", "0", "--metrics-port", "0", "--db-filename", f"{self.dir}/db", "--log-level", "warn"],
                stdout=log, stderr=log, start_new_session=True)
        end = time.monotonic() + 60
        while not self.serves():
            assert self.process.poll() is None and time.monotonic() < end, self.log()
            time.sleep(0.05)
        return self

    def serves(self):
        with grpc.insecure_channel(self.address) as channel:
            check = channel.unary_unary("/grpc.health.v1.Health/Check")
            service = b"temporal.api.workflowservice.v1.WorkflowService"
            try:
                return check(b"\x0a" + bytes([len(service)]) + service, timeout=2) == SERVING
            except grpc.RpcError:
                return False

    def log(self):
        with open(f"{self.dir}/log") as f:
            return f.read()[-3000:]

    def kill(self):
        self.process.kill()
        self.process.wait()

    def freeze(self):
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self):
        self.process.send_signal(signal.SIGCONT)

    def lose_everything(self):
        """Its database is gone: as with a development server that keeps none."""
        self.kill()
        for name in os.listdir(self.dir):
            if name.startswith("db"):
                os.unlink(f"{self.dir}/{name}")

    def close(self):
        if self.process and self.process.poll() is None:
            self.kill()
        shutil.rmtree(self.dir, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    # ---- its CLI

    def cli(self, *args, check=True):
        r = subprocess.run([TEMPORAL, *args, "--address", self.address], capture_output=True, text=True, timeout=60,
                           env={**os.environ, "HOME": self.dir})
        assert not check or r.returncode == 0, (args, r.returncode, r.stdout, r.stderr, self.log())
        return r

    def workflow(self, what, run, *args, check=True):
        """`temporal workflow WHAT` of an execution's workflow."""
        return self.cli("workflow", what, "-w", workflow_id(run), *args, check=check)

    def describe(self, run):
        return json.loads(self.workflow("describe", run, "-o", "json").stdout)

    def status(self, run):
        """RUNNING, COMPLETED, …; "" while there is no such workflow."""
        r = self.workflow("describe", run, "-o", "json", check=False)
        if r.returncode:
            return ""
        return json.loads(r.stdout)["workflowExecutionInfo"]["status"].removeprefix("WORKFLOW_EXECUTION_STATUS_")

    def history(self, run):
        return json.loads(self.workflow("show", run, "-o", "json").stdout)["events"]

    def attempts(self, run):
        """Of the activity, while it is open; 0: there is none."""
        pending = self.describe(run).get("pendingActivities") or []
        return pending[0].get("attempt", 1) if pending else 0

    # ---- as settings of a stack

    def settings(self, address=None, **more):
        return {"engine": "temporal", "temporal": {"address": address or self.address, "heartbeat": "2s", **more}}


class Proxy:
    """TCP from a port of its own to another one. delay: seconds that every piece waits, either way. cut: what is
    open is closed, and new connections are refused a peer; hold: bytes wait where they are, as in a network
    that is partitioned."""

    def __init__(self, port, delay=0.0):
        self.target, self.delay = port, delay
        self.is_cut, self.held = False, threading.Event()
        self.held.set()
        self.answers_held = threading.Event()
        self.answers_held.set()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.address, self.open, self.ending = f"127.0.0.1:{self.port}", [], False
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while not self.ending:
            try:
                near, _ = self.listener.accept()
                if self.is_cut:
                    near.close()
                    continue
                far = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                continue
            self.open += [near, far]
            for a, b, held in ((near, far, self.held), (far, near, self.answers_held)):
                threading.Thread(target=self.carry, args=[a, b, held], daemon=True).start()

    def carry(self, a, b, held):
        try:
            while data := a.recv(1 << 16):
                if self.delay:
                    time.sleep(self.delay)
                held.wait()
                b.sendall(data)
        except OSError:
            pass
        for s in (a, b):
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def cut(self):
        self.is_cut = True
        self.drop()

    def drop(self):
        for s in self.open:
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        self.open = []

    def mend(self):
        self.is_cut = False

    def hold_answers(self):
        """What is asked still comes through."""
        self.answers_held.clear()

    def hold(self):
        self.held.clear()
        self.hold_answers()

    def release(self):
        self.held.set()
        self.answers_held.set()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.ending = True
        self.release()
        self.listener.close()
        self.drop()
