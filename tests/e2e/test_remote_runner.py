"""Runners on other machines: the token for them, TLS, what they are told when something is wrong, what status tells
of them, and where the folders of sessions lie. Here the other machine is this one, reached over TCP."""
import json
import os
import pathlib
import sys

import grpc
import pytest

from fronts import RealTemporal, spread
from homes import Home, until
from remote_runners import API_TOKEN, Runner

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../fake"))
from command_model import CommandModel  # noqa: E402

ATTACH = "/stigmer.runner.v1.RunnerService/attach"


class Stack(Home):
    """A server for the network, without a runner of its own."""

    def __init__(self, model, certs, cert="server", temporal=None, kind="none"):
        super().__init__(model, kind=kind)
        path = pathlib.Path(self.dir) / "config.yaml"
        config = json.loads(path.read_text())
        config["server"].update(token_file=spread(f"{self.dir}/api-token", API_TOKEN),
                                tls={"cert": certs.path(f"{cert}.pem"), "key": certs.path(f"{cert}.key")})
        if temporal:
            config.update(engine="temporal", temporal={"address": temporal, "heartbeat": "2s"})
        path.write_text(json.dumps(config))
        self.address, self.ca, self.temporal = f"tls://localhost:{self.port}", certs.path("ca.pem"), temporal

    def token(self, *args):
        return self.ok("server", "runner-token", *args).strip()

    def runner(self, name, **more):
        more = {"server": self.address, "token": self.token(), "ca": self.ca, "temporal": self.temporal, **more}
        return Runner(self.dir, name, **more)

    def attached(self, count):
        return until(lambda: len(r := self.status()["runners"]) == count and r)

    def answer(self, run):
        p = self.follow(run)
        out = p.stdout.read().splitlines()
        p.wait()
        return json.loads(out[-1])

    def claims(self, run):
        """The runners that had it."""
        p = self.follow(run)
        events = [json.loads(line) for line in p.stdout]
        p.wait()
        return [e["runner"] for e in events if e["kind"] == "claimed"], events


@pytest.fixture(scope="module")
def commands():
    with CommandModel() as m:
        yield m.port


@pytest.fixture(scope="module")
def temporal():
    t = RealTemporal()
    yield t
    t.close()


@pytest.fixture(params=["embedded", "temporal"])
def stack(request, commands, certs):
    temporal = request.getfixturevalue("temporal").address if request.param == "temporal" else None
    with Stack(commands, certs, temporal=temporal) as s:
        yield s


def test_a_runner_by_hand_runs_and_is_told_of(stack):
    stack.up()
    with stack.runner("hand", domain="elsewhere") as r:
        seen = stack.attached(1)[0]
        assert seen["remote"] and seen["domain"] == "elsewhere" and seen["id"].endswith("@elsewhere")
        assert seen["host"] == os.uname().nodename and seen["slots"] == {"used": 0, "max": 8}
        assert stack.ok("run", "worker", "-m", "echo from afar").splitlines()[0].endswith("from afar")
        text = stack.ok("server", "status")
        assert "RUNNER" in text and seen["id"] in text and "0/8" in text
        pids = [r.process.pid, *map(int, pathlib.Path(f"/proc/{r.process.pid}/task/{r.process.pid}/children").read_text().split())]
        for pid in pids:
            assert stack.token().encode() not in pathlib.Path(f"/proc/{pid}/environ").read_bytes()


def test_beside_a_runner_of_the_server_itself(commands, certs):
    with Stack(commands, certs, kind="process") as s:
        s.up()
        with s.runner("hand", domain="elsewhere"):
            runners = s.attached(2)
            assert sorted(r["remote"] for r in runners) == [False, True]
            assert {r["domain"] for r in runners} == {"", "elsewhere"}
            assert s.component("agent-runner")["state"] == "ready"


def test_the_token_is_made_once_and_anew_when_asked(stack):
    first = stack.token()  # before there is a server
    assert len(first) == 64 and first == stack.token()
    stack.up()
    assert stack.token() == first
    with stack.runner("hand") as r:
        stack.attached(1)
        second = stack.token("--rotate")
        assert second != first and stack.token() == second
        until(lambda: "does not accept this token" in r.text())
        assert stack.status()["runners"] == []
    with stack.runner("again"):
        stack.attached(1)
    assert first not in stack.logs() and second not in stack.logs()


def test_each_token_opens_its_own_door(commands, certs):
    def call(path, token, body=b""):
        trust = grpc.ssl_channel_credentials(certs.read("ca.pem"))
        with grpc.secure_channel(f"localhost:{s.port}", trust) as c:
            fn = c.unary_unary(path, request_serializer=lambda b: b, response_deserializer=lambda b: b)
            try:
                fn(body, metadata=[("authorization", f"Bearer {token}")] if token else [], timeout=10)
                return grpc.StatusCode.OK
            except grpc.RpcError as e:
                return e.code()

    beat, status = "/stigmer.runner.v1.RunnerService/heartbeat", "/stigmer.execution.v1.ServerService/status"
    with Stack(commands, certs) as s:
        s.up()
        assert call(beat, API_TOKEN) == grpc.StatusCode.UNAUTHENTICATED  # none was ever made
        token = s.token()
        assert call(beat, token) == grpc.StatusCode.OK
        assert call(status, API_TOKEN) == grpc.StatusCode.OK
        local = next(pathlib.Path(s.status()["runnerFolders"]["keys"]).glob("runner.token")).read_text()
        for wrong in (API_TOKEN, local, None, token + "0"):
            assert call(beat, wrong) == grpc.StatusCode.UNAUTHENTICATED
        assert call(status, token) == grpc.StatusCode.UNAUTHENTICATED


def test_a_runner_of_another_version_is_told_of(commands, certs):
    with Stack(commands, certs) as s:
        s.up()
        trust = grpc.ssl_channel_credentials(certs.read("ca.pem"))
        with grpc.secure_channel(f"localhost:{s.port}", trust) as c:
            fn = c.unary_stream(ATTACH, request_serializer=lambda b: b, response_deserializer=lambda b: b)
            stream = fn(b"\x0a\x05run-x\x12\x059.9.9\x18\x01", metadata=[("authorization", f"Bearer {s.token()}")])
            next(stream)
            assert s.attached(1)[0]["trouble"].startswith("it is of version 9.9.9, the server of ")
            assert "run-x: it is of version 9.9.9" in s.stigmer("server", "status").stdout
            assert "a runner is of another version" in s.logs()
            stream.cancel()


@pytest.mark.parametrize("case", ["token", "authority", "expired", "unreachable", "no name"])
def test_a_runner_says_why_it_cannot_attach(commands, certs, case):
    with Stack(commands, certs, cert="old" if case == "expired" else "server") as s:
        s.up()
        how, words = {
            "token": ({"token": "0123456789abcdef0123456789"}, ["does not accept this token", "stigmer server runner-token"]),
            "authority": ({"ca": certs.path("other.pem")}, ["authority that is not trusted", "STIGMER_TLS_CA"]),
            "expired": ({}, ["has expired"]),
            "unreachable": ({"server": "tls://127.0.0.1:1"}, ["cannot be reached", "refused"]),
            "no name": ({"server": "tls://nobody.invalid:7234"}, ["cannot be reached", "cannot be resolved"]),
        }[case]
        s.token()
        with s.runner("hand", **how) as r:
            until(lambda: all(w in r.text() for w in words))
            if case != "token":
                assert r.text().count("cannot be reached") == 1  # once for each reason
            assert s.status()["runners"] == []


def test_a_server_that_is_stopped_or_started_anew_has_its_runners_again(stack):
    stack.up()
    with stack.runner("hand") as r:
        before = stack.attached(1)[0]
        run = stack.begin("echo begun >> ledger; sleep 1; cat ledger")
        until(lambda: stack.status()["runners"][0]["slots"]["used"] == 1)
        stack.ok("server", "restart")
        assert stack.answer(run)["kind"] == "completed"
        assert stack.attached(1)[0]["id"] == before["id"]
        stack.ok("server", "stop")
        until(lambda: "cannot be reached" in r.text() or "detached" in r.text())
        stack.ok("server", "start")
        assert stack.attached(1)[0]["id"] == before["id"] and r.process.poll() is None
        assert "fine" in stack.ok("run", "worker", "-m", "echo fine")


@pytest.mark.parametrize("change,words", [
    ({"STIGMER_RUNNER_TOKEN_FILE": "/nowhere"}, "STIGMER_RUNNER_TOKEN_FILE: cannot read '/nowhere'"),
    ({"STIGMER_RUNNER_TOKEN_FILE": ""}, "wants a runner token"),
    ({"STIGMER_BACKEND_ENDPOINT": "tcp://10.1.1.1:7234"}, "not sent in the clear"),
    ({"STIGMER_WORKSPACE_DOMAIN": "a b"}, "STIGMER_WORKSPACE_DOMAIN: 'a b' has to be"),
    ({"STIGMER_TLS_CA": "/dev/null"}, "STIGMER_TLS_CA: '/dev/null' is no file"),
    ({"TEMPORAL_SERVICE_ADDRESS": "10.1.1.1:7233", "TEMPORAL_TLS": "false", "TEMPORAL_API_KEY_FILE": "TOKEN"},
     "TEMPORAL_API_KEY_FILE: a key is not sent in the clear"),
])
def test_what_is_wrong_beforehand_ends_it(tmp_path, certs, change, words):
    r = Runner(tmp_path, "wrong", "tls://127.0.0.1:1", "0123456789abcdef0123", certs.path("ca.pem"))
    r.env.update({k: r.env["STIGMER_RUNNER_TOKEN_FILE"] if v == "TOKEN" else v for k, v in change.items()})
    r.start()
    assert r.process.wait(20) != 0 and words in r.text(), r.text()


def test_a_session_stays_with_the_machines_that_have_its_folder(stack):
    stack.up()
    count = "echo x >> file; wc -l < file"  # tells how often it ran in this very folder

    def go_on(session=None):
        more = ["--session", session] if session else []
        return stack.ok("run", *([] if session else ["worker"]), "-m", count, *more, "--detach").strip().splitlines()[-1]

    def said(run):
        end = stack.answer(run)
        assert end["kind"] == "completed", end
        return end["answer"].split()[0]

    with stack.runner("south", domain="south") as south:
        stack.attached(1)
        first = go_on()
        assert said(first) == "1"
        x = json.loads(stack.ok("get", "executions", first, "-o", "json"))
        session = (x["items"][0] if "items" in x else x)["spec"]["sessionId"]
        with stack.runner("north", domain="north"):
            stack.attached(2)
            for n in (2, 3, 4):
                run = go_on(session)
                assert said(run) == str(n)
                claims, _ = stack.claims(run)
                assert [c.endswith("@south") for c in claims] == [True]
            south.stop()
            stack.attached(1)
            run = go_on(session)
            assert any(e["kind"] == "notice" and "'south'" in e["text"] for e in events_of(stack, run))
            south.start()
            assert said(run) == "5"


def events_of(stack, run):
    """Those that are there now."""
    p = stack.follow(run)
    found = []
    for line in p.stdout:
        found.append(json.loads(line))
        if found[-1]["kind"] in ("notice", "completed"):
            break
    p.terminate()
    p.wait()
    return found
