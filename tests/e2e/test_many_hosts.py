"""A server, its runners and Temporal on machines of their own (network namespaces): runs spread over the runners,
one that is cut off loses its runs to another and changes nothing when it is back, and clocks that differ end no
run. Both engines stand side by side."""
import datetime
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import threading
import time

import pytest

from clocks import faked
from fronts import TEMPORAL, RealTemporal, spread
from homes import AGENT, STIGMER, until
from machines import Site
from remote_runners import API_TOKEN, Runner

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../fake"))
from command_model import CommandModel  # noqa: E402

ENGINES = ("embedded", "temporal")


class TemporalThere(RealTemporal):
    def serves(self):
        assert self.process.poll() is None, "temporal has ended"
        return self.machine.run(TEMPORAL, "operator", "cluster", "health", "--address", f"{self.machine.ip}:7233").returncode == 0

    def __init__(self, machine):
        self.machine = machine
        super().__init__("0.0.0.0", 7233, machine.prefix)  # its parts find each other by any address but its own


class Stack:
    """A server on `machine`; what it is asked goes over its unix socket, which is no network's."""

    def __init__(self, machine, certs, engine, port, model, skew=0, limit="2m"):
        self.dir = tempfile.mkdtemp(prefix="sm-", dir="/tmp")
        self.machine, self.engine, self.ca = machine, engine, certs.path("ca.pem")
        self.address, self.temporal = f"tls://server.site:{port}", "temporal.site:7233" if engine == "temporal" else None
        config = {"server": {"listen": f"{machine.ip}:{port}", "token_file": spread(f"{self.dir}/api-token", API_TOKEN),
                             "tls": {"cert": certs.path("site.pem"), "key": certs.path("site.key")}},
                  "runner": {"kind": "none"}, "engine": engine, "budget": {"max_duration": limit},
                  "temporal": {"address": "temporal.site:7233", "heartbeat": "3s"},
                  "llm": {"provider": "openai", "model": "m", "base_url": f"http://model.site:{model}/v1"}}
        (pathlib.Path(self.dir) / "config.yaml").write_text(json.dumps(config))
        self.env = {**os.environ, "STIGMER_HOME": self.dir}
        if skew:
            self.env.update(faked(skew))
        self.runners = []

    def stigmer(self, *args, input=None):
        return subprocess.run([*self.machine.prefix, STIGMER, *args], env=self.env, input=input, capture_output=True,
                              text=True, timeout=120)

    def ok(self, *args, input=None):
        r = self.stigmer(*args, input=input)
        assert r.returncode == 0, (args, r.stdout, r.stderr, self.texts())
        return r.stdout

    def texts(self):
        log = pathlib.Path(self.dir, "data/logs/stigmer-server.log")
        return "\n".join([log.read_text()[-3000:] if log.exists() else ""] + [r.text()[-2000:] for r in self.runners])

    def up(self, *machines, skews=(0, 0)):
        self.ok("server", "start")
        self.ok("apply", "-f", "-", input=AGENT)
        token = self.ok("server", "runner-token").strip()
        shared = pathlib.Path(self.dir, "shared")
        shared.mkdir(mode=0o777)
        for m, skew in zip(machines, skews):
            self.runners.append(Runner(self.dir, m.name, self.address, token, self.ca, domain="shared", temporal=self.temporal,
                                       prefix=m.prefix, skew=skew, WORKSPACE_ROOT=str(shared), STIGMER_SANDBOX_EGRESS="deny").start())
        until(lambda: len(self.attached()) == len(machines))
        return self

    def attached(self):
        """By the name of their machine."""
        return {r["host"]: r for r in json.loads(self.stigmer("server", "status", "-o", "json").stdout)["runners"]}

    def begin(self, command):
        return self.ok("run", "worker", "-m", command, "--detach").strip().splitlines()[-1]

    def events(self, run):
        """To its end."""
        return [json.loads(line) for line in self.stigmer("attach", run, "-o", "jsonl").stdout.splitlines()]

    def now(self, run):
        return json.loads(self.ok("inspect", run, "-o", "json"))

    def folder(self, run):
        x = json.loads(self.ok("get", "executions", run, "-o", "json"))
        return pathlib.Path(self.dir, "shared", (x["items"][0] if "items" in x else x)["spec"]["sessionId"])

    def down(self):
        for r in self.runners:
            r.stop()
        self.stigmer("server", "stop", "--grace", "1s")
        shutil.rmtree(self.dir, ignore_errors=True)


@pytest.fixture(scope="module")
def site(certs):
    certs.leaf("site", "DNS:server.site")
    with Site("server", "north", "south", "temporal", "model") as s:
        model = s["model"].there(lambda: CommandModel("0.0.0.0"))
        temporal = TemporalThere(s["temporal"])
        with model:
            s.model, s.certs = model.port, certs
            yield s
        temporal.close()


def both(site, base, **kw):
    return [Stack(site["server"], site.certs, engine, base + n, site.model, **kw)
            for n, engine in enumerate(ENGINES)]


def who(events):
    return [e["runner"] for e in events if e["kind"] == "claimed"]


def kinds(events, kind):
    return [e for e in events if e["kind"] == kind]


def test_runs_spread_and_survive_a_runner_that_is_cut_off(site):
    stacks = both(site, 7300)
    try:
        for s in stacks:
            s.up(site["north"], site["south"])
        spread_over(stacks)
        cut_off(site, stacks)
    finally:
        site["north"].plug()
        for s in stacks:
            s.down()


def spread_over(stacks):
    for s in stacks:
        runs = [s.begin(f"sleep 1; echo run {n}") for n in range(10)]
        logs = [s.events(r) for r in runs]
        assert all(log[-1]["kind"] == "completed" and f"run {n}" in log[-1]["answer"] for n, log in enumerate(logs))
        ids = {r["id"] for r in s.attached().values()}
        assert {w for log in logs for w in who(log)} == ids and len(ids) == 2, s.texts()


def cut_off(site, stacks):
    """One run of each engine is on north when its cable is pulled; its command goes on there, and ends while the
    cable is out, or after."""
    runs = {}
    for s in stacks:
        north, others = s.attached()["north"]["id"], []
        while True:
            run = s.begin("echo begun >> ledger; while [ ! -e go ]; do sleep 0.1; done; echo late >> ledger")
            if who(so_far(s, run, "tool_started")) == [north]:
                break
            others.append(run)
            assert len(others) < 8
        for other in others:  # south has them
            (s.folder(other) / "go").touch()
            assert s.events(other)[-1]["kind"] == "completed"
        runs[s.engine] = run
    site["north"].pull()
    ends = {}
    waiting = [threading.Thread(target=lambda s=s: ends.update({s.engine: s.events(runs[s.engine])})) for s in stacks]
    for t in waiting:
        t.start()
    for t in waiting:
        t.join()  # longer than heartbeat and lease: south has gone on, and finished
    for s in stacks:
        events, ledger = ends[s.engine], s.folder(runs[s.engine]) / "ledger"
        assert events[-1]["kind"] == "completed", events[-1]
        assert len(who(events)) == 2 and who(events)[1] == s.attached()["south"]["id"]
        assert ledger.read_text() == "begun\n"  # an effect is not run twice
        assert s.attached().get("north", {"trouble": "nothing is heard"})["trouble"].startswith("nothing is heard")
        assert s.events(s.begin("echo meanwhile"))[-1]["kind"] == "completed"
        (s.folder(runs[s.engine]) / "go").touch()
    site["north"].plug()
    for s in stacks:
        until(lambda: "lost" in s.runners[0].text() and "trouble" not in s.attached().get("north", {"trouble": 1}))
        written = [[e for e in log if "seq" in e] for log in (s.events(runs[s.engine]), ends[s.engine])]
        assert written[0] == written[1] and len(kinds(written[0], "completed")) == 1  # what north did late is not in it
        until(lambda: s.attached()["north"]["slots"]["used"] == 0)
        until(lambda: len(takers(s)) == 2)  # its polls come back with their back-off


def takers(s):
    """Who takes six runs."""
    logs = [s.events(r) for r in [s.begin(f"sleep 1; echo again {n}") for n in range(6)]]
    assert all(log[-1]["kind"] == "completed" for log in logs)
    return {w for log in logs for w in who(log)}


def so_far(s, run, kind):
    """The events up to the first of this kind."""
    p = subprocess.Popen([*s.machine.prefix, STIGMER, "attach", run, "-o", "jsonl"], env=s.env, stdout=subprocess.PIPE, text=True,
                         stderr=subprocess.DEVNULL)
    found = []
    for line in p.stdout:
        found.append(json.loads(line))
        if found[-1]["kind"] == kind:
            break
    p.terminate()
    p.wait()
    return found


@pytest.mark.parametrize("skew", [300, -300])
def test_clocks_that_differ_by_five_minutes_end_no_run(site, skew):
    """A run may take 2 minutes: less than the clocks are apart."""
    stacks = both(site, 7310 if skew > 0 else 7320, skew=skew)
    try:
        for s in stacks:
            s.up(site["north"], site["south"])
            run = s.begin("echo one; sleep 1; echo two")
            events = s.events(run)
            assert events[-1]["kind"] == "completed" and "two" in events[-1]["answer"], events[-1]
            assert len(who(events)) == 1
            handed = s.begin("echo begun >> ledger; sleep 60")
            started = so_far(s, handed, "tool_started")
            first = next(r for r in s.runners if s.attached()[r.name]["id"] == who(started)[0])
            first.stop()  # another one goes on with what this one has written
            end = s.events(handed)
            assert end[-1]["kind"] == "completed" and len(who(end)) == 2, end[-1]
    finally:
        for s in stacks:
            s.down()


LIMIT_S, LEASE_S, APART_S = 30, 15, 300


def at(event):
    return datetime.datetime.fromisoformat(event["at"]).timestamp()


def test_runners_whose_clocks_are_five_minutes_ahead_and_behind_end_no_run(site):
    """Ten minutes lie between the two. A run may take half a minute: that is neither cut nor stretched. The journal has
    the server's time."""
    stacks = both(site, 7330, limit=f"{LIMIT_S}s")
    try:
        for s in stacks:
            s.up(site["north"], site["south"], skews=(APART_S, -APART_S))
            assert [round((first_line(r) - time.time()) / APART_S) for r in s.runners] == [1, -1]  # they are as told
        began = time.time()
        longer = [(s, on_each(s, f"sleep {LEASE_S + 3}; echo over")) for s in stacks]
        endless = [(s, on_each(s, "sleep 600")) for s in stacks]
        for s, runs in longer:
            for events in map(s.events, runs):
                assert events[-1]["kind"] == "completed" and "over" in events[-1]["answer"], events[-1]
                assert len(who(events)) == 1  # no lease was lost
                in_order(events, began)
        for s, runs in endless:
            for events in map(s.events, runs):
                assert events[-1]["kind"] == "failed" and events[-1]["error"]["class"] == "limit", events[-1]
                claimed = kinds(events, "claimed")
                assert len(claimed) == 1 and LIMIT_S - 1 < at(events[-1]) - at(claimed[0]) < LIMIT_S + 10
                in_order(events, began)
        for s in stacks:
            for n in (0, 1):
                hand_over(s, n, began)
    finally:
        for s in stacks:
            s.down()


def first_line(runner):
    """When it was written, by the runner's own clock."""
    return at({"at": runner.text().split("at=", 1)[1].split()[0]})


def on_each(s, command):
    """Runs of this command until every runner has one."""
    runs, on = [], set()
    while len(on) < len(s.runners):
        runs.append(s.begin(command))
        on |= set(who(so_far(s, runs[-1], "tool_started")))
        assert len(runs) < 8, s.texts()
    return runs


def in_order(events, began):
    """What a runner writes never goes back, nor before its claim, nor away from the server's time."""
    last = 0
    for e in (e for e in events if "seq" in e and e["kind"] not in ("notice", "cancel_requested")):
        assert at(e) >= last, events
        assert began - 1 < at(e) < time.time() + 1, e
        last = at(e)


def hand_over(s, n, began):
    """From runner n, which stops, to the other one."""
    ids = {r.name: s.attached()[r.name]["id"] for r in s.runners}
    mine, other = (ids[s.runners[i].name] for i in (n, 1 - n))
    runs = on_each(s, "echo begun >> ledger; while [ ! -e go ]; do sleep 0.1; done")
    run = next(r for r in runs if who(so_far(s, r, "tool_started")) == [mine])
    stopping = threading.Thread(target=s.runners[n].stop)
    stopping.start()
    for r in runs:
        (s.folder(r) / "go").touch()
    events = s.events(run)
    stopping.join()
    assert events[-1]["kind"] == "completed" and who(events)[-1] == other, events[-1]
    assert (s.folder(run) / "ledger").read_text() == "begun\n"
    in_order(events, began)
    s.runners[n].start()
    until(lambda: len(s.attached()) == 2 and "trouble" not in s.attached()[s.runners[n].name])
