"""What goes wrong around a run, through the product as its user has it: models that fail, hostile
bytes, a full disk, a home that cannot be read, a person who interrupts."""
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile

import pytest

import homes
from homes import Home, begun, free_port, last, started

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../fake"))
from llm_server import RESET, LlmServer, answer, head, named, sse  # noqa: E402


def delta(**d):
    return {"choices": [{"index": 0, "delta": d, "finish_reason": None}]}


def says(text, finish="stop"):
    return sse({"choices": [{"index": 0, "delta": {"role": "assistant", "content": text}, "finish_reason": finish}]})


def calls(name, arguments):
    return sse(delta(tool_calls=[{"index": 0, "id": "c1", "type": "function",
                                  "function": {"name": name, "arguments": arguments}}]),
               {"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]})


class Against:
    """A stack whose model is a script."""

    def __init__(self, *script, provider="openai"):
        self.model = LlmServer(*script)
        self.home = Home(1, provider)
        with open(f"{self.home.dir}/config.yaml") as f:
            config = json.load(f)
        config["llm"]["base_url"] = self.model.url + ("/v1" if provider == "openai" else "")
        with open(f"{self.home.dir}/config.yaml", "w") as f:
            json.dump(config, f)

    def __enter__(self):
        self.home.up()
        return self

    def __exit__(self, *a):
        self.home.__exit__(*a)
        self.model.__exit__(*a)

    def run(self, *args):
        return self.home.stigmer("run", "worker", "-m", "go", *args)

    def events(self):
        run = json.loads(self.home.ok("ps", "-a", "-o", "json"))["items"][0]["id"]
        return [json.loads(line) for line in self.home.ok("attach", run, "-o", "jsonl").splitlines()]


# ---- models ---------------------------------------------------------------------------------------

@pytest.mark.parametrize("provider", ["openai", "anthropic"])
def test_a_key_that_is_refused_is_told_with_provider_model_status_and_remedy(provider):
    with Against(answer(401, {"error": {"message": "invalid x-api-key"}}), provider=provider) as a:
        r = a.run()
        assert r.returncode == 1 and r.stdout == ""
        key = "OPENAI_API_KEY" if provider == "openai" else "ANTHROPIC_API_KEY"
        for word in (provider, "test-model", "401", "invalid x-api-key", f"check that the key in {key}"):
            assert word in r.stderr, r.stderr
        assert "k-openai" not in r.stderr and "k-anthropic" not in r.stderr
        assert len(a.model.requests) == 1  # asking again cannot help


@pytest.mark.parametrize("trouble", [
    answer(429, {"error": {"message": "slow down"}}, extra=("Retry-After: 1",)), answer(500, {"error": {"message": "boom"}}),
    answer(503, b"<html>busy</html>", "text/html"), sse(delta(content="half an ans"), done=False),
    [head(), b'data: {"choices":[{"ind', RESET]], ids=["429", "500", "503", "truncated", "reset"])
def test_what_passes_is_tried_again(trouble):
    with Against(trouble, says("All is well.")) as a:
        r = a.run()
        assert (r.returncode, r.stdout) == (0, "All is well.\n"), r.stderr
        assert len(a.model.requests) == 2
        assert "half an ans" not in json.dumps([e for e in a.events() if e["kind"] == "turn_finished"])


def test_a_model_that_stays_broken_fails_the_run_with_words(monkeypatch):
    with Against(*[answer(400, {"error": {"message": "max_tokens is too large"}})] * 8) as a:
        r = a.run()
        assert r.returncode == 1
        assert "max_tokens is too large" in r.stderr and "400" in r.stderr and "test-model" in r.stderr


@pytest.mark.parametrize("name,arguments,word", [
    ("execute", '{"command": "ec', "JSON"), ("execute", '{"comand": "echo"}', "comand"), ("execute", "[1]", "object"),
    ("no_such_tool", "{}", "no_such_tool"), ("read_file", '{"file_path": 7}', "file_path"),
    ("read_file", '{"file_path": "../../etc/passwd"}', "passwd")])
def test_a_bad_call_is_an_error_for_the_model_and_not_the_end(name, arguments, word):
    with Against(calls(name, arguments), says("I see.")) as a:
        r = a.run()
        assert (r.returncode, r.stdout) == (0, "I see.\n"), r.stderr
        told = [m for m in a.model.requests[1][2]["messages"] if m["role"] == "tool"]
        assert len(told) == 1 and word in told[0]["content"], told


def test_an_empty_answer_ends_the_run_with_words():
    with Against(*[says("")] * 8) as a:
        r = a.run()
        assert r.returncode in (0, 1)
        assert r.stderr.strip(), "an empty answer must not pass in silence"


def test_a_5_mb_answer_is_kept_up_to_a_limit_and_says_what_was_cut():
    text = "0123456789abcdef" * (5 * 65536)
    with Against(says(text)) as a:
        r = a.run()
        assert r.returncode == 0, r.stderr[-500:]
        kept, _, rest = r.stdout.partition("\n[")
        assert text.startswith(kept) and len(kept) >= 1000000
        assert rest == f"{len(text) - len(kept)} bytes were cut here]\n"


def test_anthropic_tool_use_with_broken_input_is_an_error_for_the_model():
    start = {"type": "message_start", "message": {"usage": {"input_tokens": 1, "output_tokens": 1}}}
    tool = named(start, {"type": "content_block_start", "index": 0, "content_block": {
        "type": "tool_use", "id": "t1", "name": "execute", "input": {}}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": '{"command": '}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 2}}, {"type": "message_stop"})
    text = named(start, {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
                 {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Sorry."}},
                 {"type": "content_block_stop", "index": 0},
                 {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}}, {"type": "message_stop"})
    with Against(tool, text, provider="anthropic") as a:
        r = a.run()
        assert (r.returncode, r.stdout) == (0, "Sorry.\n"), r.stderr
        result = a.model.requests[1][2]["messages"][-1]["content"][0]
        assert result["type"] == "tool_result" and result["is_error"] and "JSON" in json.dumps(result)


# ---- people ---------------------------------------------------------------------------------------

def run_live(home, *args):
    return subprocess.Popen([homes.STIGMER, "run", "worker", "-m", "wait-at-gate", *args], env=home.env,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_the_first_interrupt_cancels_the_run_and_says_so(home):
    home.up()
    p = run_live(home, "-o", "jsonl")
    started(p, "execute")
    p.send_signal(signal.SIGINT)
    out, err = p.communicate(timeout=30)
    assert p.returncode == 130, err
    assert "cancel" in err
    assert home.status()["state"] == "ready"  # it never reached the server
    assert json.loads(home.ok("ps", "-a", "-o", "json"))["items"][0]["phase"] == "cancelled"


def test_a_run_that_takes_too_long_is_exit_8(home):
    home.up()
    p = run_live(home, "--timeout", "1s")
    out, err = p.communicate(timeout=30)
    assert p.returncode == 8, err
    assert "1s" in err or "timed out" in err


def test_run_follows_through_a_restart_of_the_server(home):
    home.up()
    p = run_live(home, "-o", "jsonl")
    run = json.loads(p.stdout.readline())["executionId"]
    started(p, "execute")
    os.kill(home.component("stigmer-server")["pid"], signal.SIGKILL)
    assert last(p)["phase"] == "completed"
    assert begun(home, run) <= 1


def test_a_run_that_is_cancelled_elsewhere_ends_here(home):
    home.up()
    p = run_live(home, "-o", "jsonl")
    run = json.loads(p.stdout.readline())["executionId"]
    started(p, "execute")
    home.ok("cancel", run)
    assert last(p)["phase"] == "cancelled"
    assert p.returncode == 1


# ---- the machine ----------------------------------------------------------------------------------

def test_hostile_bytes_get_an_answer_or_a_close_and_the_server_lives(home):
    home.up()
    pid = home.component("stigmer-server")["pid"]
    for data in (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"POST /x HTTP/1.0\r\n\r\n", os.urandom(4096),
                 b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + os.urandom(2048), b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
                 b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff\xff\xff\x00\x00\x00\x00\x00\x00", b"\0" * 100000):
        with socket.create_connection(("127.0.0.1", home.port), timeout=30) as s:
            try:
                s.sendall(data)
                got = b"".join(iter(lambda: s.recv(65536), b""))
            except ConnectionError:
                got = b""
            if data.startswith((b"GET", b"POST")):
                assert got.startswith(b"HTTP/1.1 ") and b"gRPC" in got, got
    half_open = [socket.create_connection(("127.0.0.1", home.port)) for _ in range(100)]
    assert home.ok("run", "worker", "-m", "just-say").strip() == "Said."
    for s in half_open:
        s.close()
    assert home.component("stigmer-server")["pid"] == pid


@pytest.mark.skipif(os.getuid() != 0, reason="takes another user")
@pytest.mark.parametrize("address", ["127.0.0.1", "[::1]"])
def test_other_users_of_the_machine_are_refused_over_tcp(model, address):
    with Home(model) as h:
        with open(f"{h.dir}/config.yaml") as f:
            config = json.load(f)
        config["server"]["listen"] = f"{address}:{h.port}"
        with open(f"{h.dir}/config.yaml", "w") as f:
            json.dump(config, f)
        h.up()
        with tempfile.TemporaryDirectory(dir="/tmp") as d:
            os.chmod(d, 0o755)
            stranger = shutil.copy(homes.STIGMER, d)
            args = [stranger, "--home", f"{d}/none", "--server", f"{address}:{h.port}", "get", "agents"]
            env = {"PATH": os.environ["PATH"], "HOME": d}
            r = subprocess.run(args, capture_output=True, text=True, user="nobody", group="nogroup", cwd="/", env=env)
            assert r.returncode == 5, (r.stdout, r.stderr)
            assert "another user's" in r.stderr and "worker" not in r.stdout
            r = subprocess.run(args, capture_output=True, text=True, cwd="/", env=env)
            assert r.returncode == 0 and "worker" in r.stdout, r.stderr


def test_an_oversized_message_is_refused_with_both_sizes(home):
    home.up()
    r = home.stigmer("run", "worker", "-m", "-", input="x" * (5 << 20))
    assert r.returncode in (1, 2) and r.stdout == ""
    assert "MiB" in r.stderr or "bytes" in r.stderr, r.stderr
    assert home.status()["state"] == "ready"


@pytest.mark.skipif(os.getuid() != 0, reason="takes another user")
def test_a_home_that_cannot_be_used_is_told_with_a_remedy():
    with tempfile.TemporaryDirectory(prefix="se-", dir="/tmp") as d:
        os.chmod(d, 0o755)
        os.mkdir(f"{d}/closed", 0o700)
        for home in (f"{d}/closed", f"{d}/closed/home"):
            for args in (["server", "start"], ["doctor"], ["config", "list"]):
                r = subprocess.run([homes.STIGMER, "--home", home, *args], capture_output=True, text=True, cwd="/",
                                   user="nobody", group="nogroup", env={"PATH": os.environ["PATH"], "HOME": "/nonexistent"})
                assert r.returncode not in (0, -6, -11), (args, r.stdout)
                text = r.stdout + r.stderr
                assert "Permission denied" in text and d in text, (args, text)


@pytest.fixture
def small_disk(model):
    """A home on a file system of 6 MiB."""
    with Home(model) as h:
        small = tempfile.mkdtemp(prefix="sd-", dir="/tmp")
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m,mode=0711", "tmpfs", small], check=True)
        try:
            shutil.copy(f"{h.dir}/config.yaml", small)
            h.env["STIGMER_HOME"] = small
            h.disk = pathlib.Path(small)
            yield h
            h.stigmer("server", "stop", "--grace", "1s")
        finally:
            subprocess.run(["umount", "-l", small], check=True)
            os.rmdir(small)


def fill(path):
    """Until nothing more goes on that file system."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT)
    try:
        while True:
            os.write(fd, bytes(4096))
    except OSError:
        pass
    finally:
        os.close(fd)


@pytest.mark.skipif(os.getuid() != 0, reason="mounting takes root")
def test_a_full_disk_is_told_nothing_acknowledged_is_lost_and_room_heals_it(small_disk):
    h = small_disk
    h.up()
    done = h.ok("run", "worker", "-m", "just-say", "-o", "json")
    filler = h.disk / "filler"
    fill(filler)
    refused = None
    for _ in range(200):
        r = h.stigmer("apply", "-f", "-", input=homes.AGENT.replace("worker", f"w{os.urandom(6).hex()}"))
        if r.returncode:
            refused = r
            break
    assert refused is not None and refused.returncode == 1
    assert "full" in refused.stderr or "space" in refused.stderr, refused.stderr
    assert h.status()["state"] == "ready"
    filler.unlink()
    h.ok("apply", "-f", "-", input=homes.AGENT.replace("worker", "after"))
    assert h.ok("run", "after", "-m", "just-say").strip() == "Said."
    before = json.loads(done)
    assert before["executionId"] in h.ok("ps", "-a", "-q")
    h.ok("server", "stop")
    h.ok("server", "start")  # what is on disk is whole
    assert before["executionId"] in h.ok("ps", "-a", "-q")


def write_as_runner(home, text):
    fd = os.open(f"/proc/{home.look('agent-runner')['pid']}/fd/2", os.O_WRONLY)
    os.write(fd, text)
    os.close(fd)


@pytest.mark.skipif(os.getuid() != 0, reason="mounting takes root")
def test_logs_on_a_full_disk_are_told_and_counted_and_go_on_when_there_is_room(small_disk):
    h = small_disk
    h.ok("config", "set", "server.log.level", "debug")
    h.up()
    logs = [h.disk / "data/logs" / f"{name}.log" for name in ("stigmer-server", "agent-runner")]
    fill(h.disk / "filler")

    def both_told():
        r = h.stigmer("get", "agent", "nobody")  # a line of the server
        assert r.returncode == 4, r
        write_as_runner(h, b"at=2026-03-01T10:00:00.000Z level=info unit=t msg=filler\n" * 50)
        text = h.stigmer("server", "status").stdout
        return all(f"{log}' cannot be written: No space left on device" in text for log in logs)
    homes.until(both_told)
    assert h.stigmer("server", "status").returncode == 1
    (h.disk / "filler").unlink()

    def all_well():
        h.stigmer("get", "agent", "nobody")
        write_as_runner(h, b"at=2026-03-01T10:00:00.000Z level=info unit=t msg=filler\n" * 50)
        return h.stigmer("server", "status").returncode == 0
    homes.until(all_well)
    for log in logs:
        text = log.read_text()
        told = re.findall(r'level=warn unit=log msg="lines of this log could not be written" lines=(\d+) bytes=\d+ why="No space', text)
        assert told and int(told[0]) > 0, text[-2000:]
        assert all(line.startswith("at=") or line.endswith("…") for line in text.splitlines()), text[-2000:]


@pytest.mark.skipif(os.getuid() != 0, reason="mounting takes root")
def test_a_start_on_a_full_disk_says_so(small_disk):
    h = small_disk
    fill(h.disk / "filler")
    r = h.stigmer("server", "start")
    assert r.returncode == 1
    assert "space" in r.stderr or "full" in r.stderr, r.stderr
    assert str(h.disk) in r.stderr


@pytest.mark.skipif(os.getuid() != 0, reason="mounting takes root")
def test_a_setting_on_a_full_disk_is_refused_and_the_file_is_as_it_was(small_disk):
    h = small_disk
    before = (h.disk / "config.yaml").read_bytes()
    fill(h.disk / "filler")
    r = h.stigmer("config", "set", "runner.name", "x" * 60)
    assert r.returncode == 1 and "space" in r.stderr and str(h.disk) in r.stderr, r.stderr
    assert (h.disk / "config.yaml").read_bytes() == before
    assert sorted(p.name for p in h.disk.iterdir()) == ["config.yaml", "filler"]  # no half of a file is left
    (h.disk / "filler").unlink()
    h.ok("config", "set", "runner.name", "x" * 60)


def test_a_port_of_another_program_is_told_by_doctor_too(home):
    with socket.socket() as s:
        s.bind(("127.0.0.1", home.port))
        s.listen()
        r = home.stigmer("doctor", "-o", "json")
        assert r.returncode == 1
        checks = {c["id"]: c for c in json.loads(r.stdout)["checks"]}
        assert checks["port"]["status"] == "fail" and str(os.getpid()) in checks["port"]["detail"]
    assert free_port()
