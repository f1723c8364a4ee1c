"""One agent from start to stop with the process runner: real server, runner, sandbox, model endpoint."""
import glob
import json
import os
import shutil
import signal
import socket
import subprocess

import grpc
import pytest

from homes import AGENT, STIGMER, Home, begun, last, started, workspace_of

@pytest.mark.parametrize("provider", ["openai", "anthropic", "ollama"])
def test_a_one_tool_task_is_done_over_each_wire_format(model, provider):
    with Home(model, provider) as h:
        h.up()
        assert h.ok("run", "worker", "-m", "write-it").strip() == "It is written."
        runs = json.loads(h.ok("ps", "-a", "-o", "json"))["items"]
        assert [(r["phase"], r["attempt"], r["turns"], r["toolCalls"]) for r in runs] == [("completed", 1, 2, 1)]
        if provider == "openai":  # the peer counts nothing in the other two
            assert runs[0]["usage"]["inputTokens"] > 0 and runs[0]["usage"]["outputTokens"] > 0
        with open(f"{workspace_of(h, runs[0]['id'])}/out.txt") as f:
            assert f.read() == "hello\n"


def test_stop_leaves_no_process_socket_or_key(home):
    home.up()
    pids = [home.component("stigmer-server")["pid"], home.component("agent-runner")["pid"]]
    home.ok("server", "stop")
    for pid in pids:
        try:
            with open(f"/proc/{pid}/stat") as f:
                assert f.read().rsplit(")", 1)[1].split()[0] == "Z"
        except OSError:
            pass
    assert sorted(os.listdir(f"{home.dir}/data/run")) == ["runner", "start.lock"]
    assert os.listdir(f"{home.dir}/data/run/runner") == []
    assert home.stigmer("server", "status").returncode == 3
    home.ok("server", "stop")


def test_the_worker_is_confined_before_it_hears_from_anybody(home):
    """It reads what models and servers send: it starts no program and opens no file of the person's."""
    home.up()
    launcher = home.component("agent-runner")["pid"]
    with open(f"/proc/{launcher}/task/{launcher}/children") as f:
        worker = f.read().split()[0]
    with open(f"/proc/{worker}/status") as f:
        status = dict(line.split(":", 1) for line in f)
    assert status["Seccomp"].strip() == "2" and status["NoNewPrivs"].strip() == "1"
    assert int(status["CapEff"], 16) == 0


def keys_folders():
    return set(glob.glob("/dev/shm/stigmer-*")) | set(glob.glob(os.environ.get("XDG_RUNTIME_DIR", "/nonexistent") + "/stigmer-*"))


def test_a_start_that_fails_leaves_no_key(home):
    before = keys_folders()
    with socket.socket() as s:  # a port that is taken: late in the start
        s.bind(("127.0.0.1", home.port))
        s.listen()
        assert home.stigmer("server", "start").returncode == 9
    assert home.stigmer("server", "start", "--foreground", "--runner", "nonsense").returncode == 2
    home.ok("config", "set", "llm.provider", "replay")
    home.ok("config", "set", "llm.base_url", "/nonexistent.cassette")  # early in the start
    assert home.stigmer("server", "start").returncode != 0
    assert keys_folders() == before


def test_the_servers_own_log_is_rotated(home):
    logs = f"{home.dir}/data/logs"
    os.makedirs(logs, 0o700)
    with open(f"{logs}/stigmer-server.log", "w") as f:
        f.write("an older line\n" * 6000)  # over the limit
    home.ok("config", "set", "server.log.max_size", "64KiB")
    home.up()
    with open(f"{logs}/stigmer-server.log") as f:
        text = f.read()
    assert "ready" in text and "an older line" not in text
    assert os.path.getsize(f"{logs}/stigmer-server.log.1") >= 6000 * 14


def test_start_again_says_so_and_changes_nothing(home):
    home.up()
    pid = home.component("stigmer-server")["pid"]
    home.ok("server", "start")
    assert home.component("stigmer-server")["pid"] == pid


def test_two_starts_at_once_make_one_server(home):
    both = [subprocess.Popen([STIGMER, "server", "start"], env=home.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            for _ in range(2)]
    assert [p.wait() for p in both] == [0, 0]
    assert home.status()["state"] == "ready"


@pytest.mark.skipif(os.getuid() != 0, reason="only root's tools run as another user")
def test_root_may_have_its_home_below_a_closed_folder(model):
    """As in a container: root in /root, and no namespaces to build another tree in."""
    with Home(model) as h:
        closed = f"{h.dir}/closed"
        os.mkdir(closed, 0o700)
        shutil.copy(f"{h.dir}/config.yaml", f"{closed}/config.yaml")
        home = f"{closed}/home"
        os.mkdir(home)
        shutil.move(f"{closed}/config.yaml", home)
        h.env["STIGMER_HOME"] = home
        r = subprocess.run(["setpriv", "--bounding-set=-sys_admin", STIGMER, "server", "start"], env=h.env,
                           capture_output=True, text=True)
        assert r.returncode == 0 and f"cannot pass through {closed}" in r.stderr, r.stderr
        workspaces = os.readlink(f"{home}/data/workspace")
        try:
            h.ok("apply", "-f", "-", input=AGENT)
            h.ok("run", "worker", "-m", "write-it")
            (session,) = os.listdir(f"{home}/data/workspace")
            with open(f"{home}/data/workspace/{session}/out.txt") as f:
                assert f.read() == "hello\n"
        finally:
            h.ok("server", "stop")
            shutil.rmtree(workspaces)


def test_a_taken_port_is_exit_9_and_names_the_holder(home):
    with socket.socket() as s:
        s.bind(("127.0.0.1", home.port))
        s.listen()
        r = home.stigmer("server", "start")
        assert r.returncode == 9, r.stderr
        assert str(os.getpid()) in r.stderr
        assert not os.path.exists(f"{home.dir}/data/run/api.sock")
    home.ok("server", "start")


def test_a_killed_runner_is_replaced_and_the_run_goes_on_once(home):
    home.up()
    run = home.begin("wait-at-gate")
    events = home.follow(run)
    started(events, "execute")
    os.kill(home.component("agent-runner")["pid"], signal.SIGKILL)
    end = last(events)
    assert end["phase"] == "completed", end
    assert begun(home, run) <= 1  # an effect is not silently run twice
    assert json.loads(home.ok("ps", "-a", "-o", "json"))["items"][0]["attempt"] == 2
    text = home.ok("inspect", run, "-o", "json")
    assert "OUTCOME_UNKNOWN" in text or "unknown" in text


def test_a_killed_server_is_restarted_and_the_run_completes(home):
    home.up()
    run = home.begin("wait-at-gate")
    events = home.follow(run)
    started(events, "execute")
    server = home.component("stigmer-server")["pid"]
    os.kill(server, signal.SIGKILL)
    end = last(events)
    assert end["phase"] == "completed", end
    now = home.component("stigmer-server")
    assert now["pid"] != server
    assert now["restarts"] == 1 and "signal 9" in now["lastExit"]
    assert begun(home, run) <= 1


def test_everything_killed_then_start_completes_the_run(home):
    home.up()
    run = home.begin("wait-at-gate")
    events = home.follow(run)
    started(events, "execute")
    events.kill()
    with open(f"{home.dir}/data/run/server.pid") as f:
        pids = [int(line.split()[1]) for line in f]
    runner = home.component("agent-runner")["pid"]
    for pid in [pids[0], pids[1], runner]:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    home.ok("server", "start")
    assert last(home.follow(run))["phase"] == "completed"


def test_cancel_ends_a_run_and_its_command(home):
    home.up()
    run = home.begin("wait-at-gate")
    events = home.follow(run)
    started(events, "execute")
    home.ok("cancel", run)
    assert last(events)["phase"] == "cancelled"


def test_a_run_of_nothing_known_is_exit_4(home):
    home.up()
    assert home.stigmer("run", "nobody", "-m", "x").returncode == 4
    assert home.stigmer("inspect", "aex-01arz3ndektsv4rrffq69g5fav").returncode == 4


def test_grpcurl_lists_and_calls_bare(home):
    home.up()
    grpcurl = shutil.which("grpcurl")
    assert grpcurl, "grpcurl is not installed: scripts/setup.sh --tests"
    address = f"127.0.0.1:{home.port}"
    listed = subprocess.run([grpcurl, "-plaintext", address, "list"], capture_output=True, text=True, check=True).stdout
    for service in ("agent.v1.AgentCommandController", "agentinstance.v1.AgentInstanceQueryController",
                    "session.v1.SessionQueryController", "agentexecution.v1.AgentExecutionQueryController"):
        assert f"ai.stigmer.agentic.{service}" in listed
    assert "stigmer.runner.v1" not in listed
    r = subprocess.run([grpcurl, "-plaintext", "-d", '{"slug": "worker"}', address,
                        "ai.stigmer.agentic.agent.v1.AgentQueryController/getByReference"],
                       capture_output=True, text=True, check=True)
    assert json.loads(r.stdout)["metadata"]["name"] == "worker"


def test_strange_bytes_on_the_port_leave_the_server_well(home):
    home.up()
    for bytes_ in (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", os.urandom(512), b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 64):
        with socket.create_connection(("127.0.0.1", home.port)) as s:
            s.sendall(bytes_)
            s.settimeout(10)
            try:
                while s.recv(4096):
                    pass
            except OSError:
                pass
    assert home.status()["state"] == "ready"


def test_a_recording_replays_to_the_same_answer(home, tmp_path):
    home.up()
    cassette = tmp_path / "c.cassette"
    first = home.ok("run", "worker", "-m", "write-it", "--record", str(cassette))
    assert cassette.stat().st_size > 0
    assert b"k-openai" not in cassette.read_bytes()
    assert home.ok("run", "worker", "-m", "write-it", "--replay", str(cassette)) == first


def test_lists_page_and_filter_by_tag(home):
    home.up()
    grpcurl = shutil.which("grpcurl")
    assert grpcurl, "grpcurl is not installed: scripts/setup.sh --tests"

    def rpc(method, **request):
        r = subprocess.run([grpcurl, "-plaintext", "-d", json.dumps(request), f"127.0.0.1:{home.port}",
                            f"ai.stigmer.agentic.{method}"], capture_output=True, text=True)
        assert r.returncode == 0, r.stderr
        return json.loads(r.stdout)

    instance = json.loads(home.ok("get", "agents", "worker", "-o", "json"))["status"]["defaultInstanceId"]
    for i in range(5):
        rpc("session.v1.SessionCommandController/create", apiVersion="agentic.stigmer.ai/v1", kind="Session",
            metadata={"name": f"s{i}", "org": "local", "ownerScope": "organization", "tags": ["odd"] if i % 2 else ["even"]},
            spec={"agentInstanceId": instance})
    query = "session.v1.SessionQueryController/list"
    names = lambda answer: [s["metadata"]["name"] for s in answer.get("entries", [])]
    assert names(rpc(query)) == ["s0", "s1", "s2", "s3", "s4"]
    assert names(rpc(query, pageSize=2, pageToken="2")) == ["s2", "s3"]
    assert rpc(query, pageSize=2)["totalPages"] == 3
    assert names(rpc(query, tags=["odd"])) == ["s1", "s3"]
    second = rpc(query, tags=["even"], pageSize=2, pageToken="2")
    assert names(second) == ["s4"] and second["totalPages"] == 2
    assert names(rpc(query, tags=["even", "odd"])) == []
