"""Commands that are killed half way, or made at the same time: start and stop, the migration of the store,
apply, config set, secret set. What was acknowledged is there afterwards, and the same command can be made
again."""
import fcntl
import json
import os
import pathlib
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))
import leaks  # noqa: E402
from runs import AGENT, STIGMER, Stack, check_journal, command_line, descendants, free_port, until  # noqa: E402
from scripted_model import ScriptedModel, call  # noqa: E402

SEED = int(os.environ.get("STIGMER_CRASH_SEED") or random.SystemRandom().randint(0, 1 << 30))
TURNS = [("", [call("c1", "execute", command="echo one >> effects; sleep 0.2")]), ("Done.", [])]


@pytest.fixture
def rng():
    print(f"STIGMER_CRASH_SEED={SEED}")
    return random.Random(SEED)


@pytest.fixture
def home(tmp_path):
    (tmp_path / "config.yaml").write_text(f"server:\n  listen: 127.0.0.1:{free_port()}\n")
    return tmp_path


def stigmer(home, *args, **kw):
    return subprocess.Popen([STIGMER, *args], env={**os.environ, "STIGMER_HOME": str(home)}, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True, **kw)


def ok(p, text=None):
    out, err = p.communicate(text, timeout=60)
    assert p.returncode == 0, (p.args, p.returncode, err)
    return out


# ---- files of the home -----------------------------------------------------------------------

SETTINGS = {"runner.slots": "7", "runner.pids": "300", "runner.memory": "300MiB", "server.log.max_files": "4",
            "server.log.level": "debug", "runner.session_idle": "3m"}


def test_of_settings_made_at_the_same_time_none_is_lost(home):
    for _ in range(10):
        for p in [stigmer(home, "config", "set", k, v) for k, v in SETTINGS.items()]:
            ok(p)
        for key, value in SETTINGS.items():
            assert ok(stigmer(home, "config", "get", key)).strip() == value
            ok(stigmer(home, "config", "unset", key))


def test_a_killed_config_set_leaves_the_old_file_or_the_new_one(home, rng):
    value = "1"
    for n in range(2, 60):
        p = stigmer(home, "config", "set", "runner.slots", str(n))
        time.sleep(rng.random() * 0.006)
        p.kill()
        acknowledged = p.wait() == 0
        p.communicate()
        now = ok(stigmer(home, "config", "get", "runner.slots")).strip()
        assert now == str(n) or (not acknowledged and now in (value, "16")), (n, now, value, acknowledged)
        value = now


def test_of_secrets_made_at_the_same_time_each_is_whole(home):
    """Also the first ones, that make the key."""
    for n in range(8):
        names = ["openai", "openai", "openai", "other", "other", f"third-{n}"]
        made = [stigmer(home, "secret", "set", name, stdin=subprocess.PIPE) for name in names]
        for p in made:
            p.stdin.write("a-value-of-some-length" * 40)
            p.stdin.close()
            p.stdin = None
        for p in made:
            ok(p)
        assert (home / "secret.key").stat().st_size == 32
        assert sorted(os.listdir(home / "data/secrets")) == sorted(set(names))
        assert len({p.stat().st_size for p in (home / "data/secrets").iterdir()}) == 1
        for p in (home / "secret.key", *(home / "data/secrets").iterdir()):
            p.unlink()


# ---- a server that goes meanwhile ------------------------------------------------------------

def test_what_apply_acknowledged_survives_the_death_of_the_server(rng):
    with ScriptedModel(TURNS) as model, Stack(model.url) as stack:
        acknowledged = []

        def kill():
            try:
                stack.kill_server()
            except ProcessLookupError:
                pass  # it is between two lives

        for n in range(24):
            killer = threading.Timer(rng.random() * 0.015, kill) if n % 4 == 3 else None  # more are too many for a server
            if killer:
                killer.start()
            r = stack.cli("apply", "-f", "-", input=AGENT.replace("worker-test", f"agent-{n}"), check=False)
            if r.returncode == 0:
                acknowledged.append(f"agent-{n}")
            if killer:
                killer.join()
                stack.cli("server", "start")  # returns when it is ready
        names = {a["metadata"]["name"] for a in json.loads(stack.cli("get", "agents", "-o", "json").stdout)["items"]}
        assert len(acknowledged) >= 18 and set(acknowledged) <= names


def test_a_start_or_a_stop_that_is_killed_can_be_made_again(rng):
    """The command itself, or any part of the stack, at any moment of it."""
    with ScriptedModel(TURNS) as model, Stack(model.url) as stack:
        for n in range(6):
            run = stack.cli("run", "worker-test", "-m", "go", "--detach").stdout.strip()
            for command in ("stop", "start"):
                p = subprocess.Popen([STIGMER, "server", command], env=stack.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                time.sleep(rng.random() * 0.12)
                victims = [v for v in leaks.processes(stack.home) if v != p.pid]
                for pid in [p.pid] if not victims or rng.random() < 0.4 else rng.sample(victims, rng.randint(1, len(victims))):
                    try:
                        os.kill(pid, signal.SIGKILL)
                    except ProcessLookupError:
                        pass
                p.kill() if p.poll() is None and rng.random() < 0.5 else None
                p.wait(timeout=60)
            stack.cli("server", "stop", "--grace", "1s")
            end = time.monotonic() + 5
            while (found := leaks.left(stack.home)) and time.monotonic() < end:
                time.sleep(0.05)
            assert not found, (n, found)
            stack.cli("server", "start")
            log = check_journal([json.loads(line) for line in stack.cli("attach", run, "-o", "jsonl").stdout.splitlines()])
            assert log[-1]["kind"] == "completed", log[-1]
            session = json.loads(stack.cli("inspect", run, "-o", "json").stdout)["spec"]["sessionId"]
            effects = pathlib.Path(stack.home, "data/workspace", session, "effects")
            assert not effects.exists() or effects.read_text() == "one\n", (n, effects.read_text())


def test_a_stop_waits_for_a_server_that_is_about_to_be_gone():
    """It has removed its pid file, and holds its home still."""
    with ScriptedModel(TURNS) as model, Stack(model.url) as stack:
        stack.cli("server", "stop")
        lock = os.open(os.path.join(stack.home, "data/lock"), os.O_RDWR)
        fcntl.flock(lock, fcntl.LOCK_EX)
        p = subprocess.Popen([STIGMER, "server", "stop"], env=stack.env, stderr=subprocess.PIPE, text=True)
        until(lambda: any("--cleanup" in command_line(child) for child in descendants(p.pid)))
        assert p.poll() is None
        os.close(lock)
        _, err = p.communicate(timeout=30)
        assert p.returncode == 0, err


def old_store(path):
    """Back to the schema of version 1, and large, so that its copy takes a while."""
    with sqlite3.connect(path) as db:
        db.execute("ALTER TABLE execution DROP COLUMN folder")
        for table in ("inbox", "approval", "workflow_end"):
            db.execute(f"DROP TABLE {table}")
        db.execute("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 40) "
                   "INSERT INTO blob SELECT randomblob(32), randomblob(2000000) FROM n")
        db.execute("PRAGMA user_version = 1")
    db.close()


def test_a_migration_that_is_killed_is_made_again_from_a_whole_store(rng):
    with ScriptedModel(TURNS) as model, Stack(model.url) as stack:
        run = next(e["executionId"] for e in stack.follow("go"))
        stack.cli("server", "stop")
        store = os.path.join(stack.home, "data/stigmer.db")
        old_store(store)
        for _ in range(6):
            p = subprocess.Popen([STIGMER, "server", "start"], env=stack.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(rng.random() * 0.4)
            for pid in [*leaks.processes(stack.home), p.pid]:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            p.wait()
        stack.cli("server", "start")
        log = check_journal([json.loads(line) for line in stack.cli("attach", run, "-o", "jsonl").stdout.splitlines()])
        assert log[-1]["answer"] == "Done."
        stack.cli("server", "stop")
        for path, version in ((store, 5), (store + ".bak-1", 1)):
            with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as db:
                assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
                assert db.execute("PRAGMA user_version").fetchone() == (version,)
                assert db.execute("SELECT count(*) FROM blob").fetchone() == (40,)
            db.close()
        stack.cli("server", "start")
