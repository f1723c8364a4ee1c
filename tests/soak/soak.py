"""Start and stop cycles with random kills in between. Every run must end completed, its effect must
have happened at most once, and after each stop nothing may be left of the stack."""
import argparse
import contextlib
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time

sys.path[:0] = [os.path.join(os.path.dirname(__file__), d) for d in ("..", "../e2e", "../fake")]
os.environ.setdefault("STIGMER_BUILD", "build/san")
import leaks  # noqa: E402
from homes import AGENT, Home  # noqa: E402
from scripted_model import ScriptedModel, call  # noqa: E402
from temporals import Temporal  # noqa: E402

TURNS = [("", [call("c1", "execute", command="echo one >> effects; sleep 0.2")]),
         ("", [call("c2", "execute", command="echo two >> effects; sleep 0.2")]), ("Done.", [])]


def descriptors(pid):
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return 0


class Soak:
    def __init__(self, home, rng, docker, temporal):
        self.home, self.rng, self.docker, self.temporal = home, rng, docker, temporal
        self.runs, self.kills, self.cycles, self.lost, self.doubled, self.leaks, self.faults = 0, 0, 0, 0, 0, [], []
        self.mounts = leaks.mounts()
        self.fds = {}  # of the server, at the end of a cycle: at first and at most

    def victims(self):
        """What may be killed now: (name, how)."""
        found = []
        try:
            with open(f"{self.home.dir}/data/run/server.pid") as f:
                for line in f:
                    role, pid, _ = line.split()
                    found.append((role, lambda pid=int(pid): os.kill(pid, signal.SIGKILL)))
        except OSError:
            pass
        status = self.home.stigmer("server", "status", "-o", "json").stdout
        for c in json.loads(status)["components"] if status else []:
            if c["name"] == "agent-runner" and c.get("pid"):
                found.append(("runner", lambda pid=c["pid"]: os.kill(pid, signal.SIGKILL)))
            if c["name"] == "agent-runner" and c.get("containerId"):
                found.append(("container", lambda i=c["containerId"]: subprocess.run(["docker", "kill", i], capture_output=True)))
        if self.temporal:
            found.append(("temporal", self.kill_temporal))
        return found

    def kill_temporal(self):
        """It is another machine's: somebody there starts it again."""
        self.temporal.kill()
        time.sleep(self.rng.random())
        self.temporal.start()

    def kill_one(self):
        victims = self.victims()
        if not victims:
            return
        name, how = self.rng.choice(victims)
        try:
            how()
            self.kills += 1
        except ProcessLookupError:
            pass
        return name

    def start(self):
        runner = "docker" if self.docker and self.rng.random() < 0.3 else "process"
        r = self.home.stigmer("server", "start", "--runner", runner)
        if r.returncode:
            self.faults.append(f"start: {r.returncode} {r.stderr[-400:]}")

    def settle(self, run):
        """Until the run has ended, starting what a kill of the keeper took away."""
        end = time.monotonic() + 90
        while time.monotonic() < end:
            r = self.home.stigmer("inspect", run, "-o", "json")
            if r.returncode == 3:
                self.start()
                continue
            phase = json.loads(r.stdout).get("status", {}).get("phase", "") if r.returncode == 0 else ""
            if phase in ("EXECUTION_COMPLETED", "EXECUTION_FAILED", "EXECUTION_CANCELLED"):
                return phase
            time.sleep(0.05)
        return "LOST"

    def check_run(self, run):
        phase = self.settle(run)
        r = self.home.stigmer("inspect", run, "-o", "json")
        if r.returncode == 3:  # its keeper was killed, and it has followed
            self.start()
            r = self.home.stigmer("inspect", run, "-o", "json")
        x = json.loads(r.stdout)
        if "spec" not in x:
            self.faults.append(f"{run}: {phase}, and then inspect: {r.returncode} {r.stderr} {self.home.logs()}")
            return
        path = pathlib.Path(self.home.dir, "data/workspace", x["spec"]["sessionId"], "effects")
        effects = path.read_text().split() if path.exists() else []
        if phase != "EXECUTION_COMPLETED":
            self.faults.append(f"{run}: {phase}")
            self.lost += 1
        if len(effects) != len(set(effects)):
            self.faults.append(f"{run}: effects {effects}")
            self.doubled += 1

    def cycle(self):
        self.start()
        if not self.cycles:
            self.home.ok("apply", "-f", "-", input=AGENT)
        ids = []
        for _ in range(self.rng.randint(0, 2)):
            r = self.home.stigmer("run", "worker", "-m", "go", "--detach")
            if r.returncode == 0:
                ids.append(r.stdout.strip().splitlines()[-1])
        self.runs += len(ids)
        for _ in range(self.rng.randint(0, 2)):
            time.sleep(self.rng.random() * 0.3)
            self.kill_one()
        for run in ids:
            self.check_run(run)
        self.count_descriptors()
        r = self.home.stigmer("server", "stop", "--grace", "2s", *(["--force"] if self.rng.random() < 0.2 else []))
        if r.returncode:
            self.faults.append(f"stop: {r.returncode} {r.stderr[-400:]}")
        self.cycles += 1

    def count_descriptors(self):
        """A server that has been through a cycle has about as many as any other has."""
        text = self.home.stigmer("server", "status", "-o", "json").stdout
        for c in json.loads(text)["components"] if text else []:
            n = descriptors(c["pid"]) if c.get("pid") else 0
            if n > self.fds.setdefault(c["name"], n) + 32:
                self.leaks.append(f"cycle {self.cycles}: {c['name']} has {n} descriptors, {self.fds[c['name']]} at first")

    def count_leaks(self):
        left = {**leaks.left(self.home.dir), "files": sorted(leaks.temporary(self.home.dir)),
                "mounts": ["more"] if leaks.mounts() > self.mounts else []}
        for what, found in left.items():
            if found:
                self.leaks.append(f"cycle {self.cycles}: {what}: {found}")


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--minutes", type=float, default=20)
    p.add_argument("--cycles", type=int, default=0, help="end after so many, whatever the time")
    p.add_argument("--seed", type=int, default=random.SystemRandom().randint(0, 1 << 30))
    p.add_argument("--engine", choices=["embedded", "temporal"], default="embedded")
    args = p.parse_args()
    docker = subprocess.run(["docker", "version"], capture_output=True).returncode == 0
    print(f"soak: seed {args.seed}, engine {args.engine}, {'with' if docker else 'without'} containers", flush=True)
    end = time.monotonic() + args.minutes * 60
    with contextlib.ExitStack() as own_temporal, ScriptedModel(TURNS) as model, Home(1, name=f"stigmer-soak-{os.getpid()}") as home:
        with open(f"{home.dir}/config.yaml") as f:
            config = json.load(f)
        config["llm"]["base_url"] = model.url
        temporal = own_temporal.enter_context(Temporal()) if args.engine == "temporal" else None
        if temporal:
            config.update(temporal.settings())
        with open(f"{home.dir}/config.yaml", "w") as f:
            json.dump(config, f)
        soak = Soak(home, random.Random(args.seed), docker, temporal)
        own = descriptors(os.getpid())
        while time.monotonic() < end and not (args.cycles and soak.cycles >= args.cycles):
            soak.cycle()
            soak.count_leaks()
            for line in soak.leaks[-1:] + soak.faults[-1:]:
                print(f"soak: {line}", flush=True)
            if soak.leaks or len(soak.faults) > 5:
                break
            if soak.cycles % 20 == 0:
                size = sum(f.stat().st_size for f in pathlib.Path(home.dir, "data").glob("*.db*"))
                print(f"soak: {soak.cycles} cycles, {soak.runs} runs, {soak.kills} kills, store {size >> 10} KiB", flush=True)
        if descriptors(os.getpid()) > own + 8:
            soak.leaks.append("descriptors of this program")
        print(f"{soak.cycles} cycles, {soak.runs} runs, {soak.kills} kills, {soak.lost} lost, "
              f"{soak.doubled} doubled, {len(soak.faults)} faults, leaks = {len(soak.leaks)}")
        return 1 if soak.leaks or soak.faults else 0


with tempfile.TemporaryDirectory():
    sys.exit(main())
